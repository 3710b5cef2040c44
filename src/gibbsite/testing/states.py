"""Checks of a layer's states: their enumeration, parameters at fault, extreme inputs."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from gibbsite.errors import ArgumentError
from gibbsite.testing.case import LayerCase
from gibbsite.testing.compare import MUST_BE_FINITE, require, require_close

MOST_STATES = 4096
EXTREME = 1e4


def columns_belong_to_units(case: LayerCase) -> None:
    """unit_columns give each column to one unit, in order."""
    layer, columns = case.layer, range(case.layer.width)
    found = [column for unit in range(layer.n) for column in columns[layer.unit_columns(unit)]]
    require(
        found == list(columns),
        f"unit_columns of the units are the columns {found}: expected {list(columns)}, each once",
    )


def states_are_enumerated(case: LayerCase) -> None:
    """As many as n_states, all different, made of each unit's states; or refused if endless."""
    layer = case.layer
    if math.isinf(layer.n_states):
        try:
            layer.states(0, 1)
        except ArgumentError:
            return
        raise AssertionError("n_states is infinite, but states(0, 1) raises no ArgumentError")
    total = min(int(layer.n_states), MOST_STATES)
    states = layer.states(0, total)
    require(
        states.shape == (total, layer.width) and states.dtype == layer.like.dtype,
        f"states(0, {total}) is {tuple(states.shape)}, {states.dtype}",
    )
    require(len(torch.unique(states, dim=0)) == total, f"states(0, {total}) are not all different")
    part = layer.states(total // 3, total // 2)
    require(
        torch.equal(part, states[total // 3 : total // 2]), "states(a, b) is not states(0, b)[a:]"
    )
    layer.check_states(states)
    counts = []
    for unit in range(layer.n):
        points, log_weights = layer.unit_states(unit)
        require(not log_weights.any(), f"unit_states({unit}) of finite units must weigh 0")
        counts.append(len(points))
        if total == layer.n_states:
            found = torch.unique(states[:, layer.unit_columns(unit)], dim=0)
            require_close(f"states of unit {unit}", found, torch.unique(points, dim=0), 0.0)
    require(
        math.prod(counts) == layer.n_states,
        f"n_states is {layer.n_states:g}, but the units have {counts} states",
    )


def codes_number_the_states(case: LayerCase) -> None:
    """encode(codes) picks each unit's state out of its `unit_states`; for layers that have it."""
    layer = case.layer
    encode = getattr(layer, "encode", None)
    if encode is None or math.isinf(layer.n_states):
        return
    sizes = [len(layer.unit_states(unit)[0]) for unit in range(layer.n)]
    draws = torch.rand(6, layer.n, generator=case.generator(), device=layer.like.device)
    codes = (draws * torch.tensor(sizes, device=draws.device)).long()
    expected = layer.zero_inputs(6)
    for unit in range(layer.n):
        expected[:, layer.unit_columns(unit)] = layer.unit_states(unit)[0][codes[:, unit]]
    require_close("encode(codes) by unit_states", encode(codes), expected, 0.0)


def faults_are_found(case: LayerCase) -> None:
    """fault() is "" for a layer that works, and names a parameter that holds NaN."""
    layer = case.copy()
    require(layer.fault() == "", f"fault() of a layer that works is {layer.fault()!r}")
    for name, parameter in layer.named_parameters():
        value = parameter.detach().clone()
        with torch.no_grad():
            parameter.flatten()[-1] = math.nan
        require(name in layer.fault(), f"fault() does not name {name}, which holds NaN")
        with torch.no_grad():
            parameter.copy_(value)


def extreme_inputs_stay_finite(case: LayerCase) -> None:
    """At inputs of 0 and +-1e4 nothing is NaN, and what float32 can hold is finite.

    Where the mean overflows by nature, as that of counts does, only NaN is wrong.
    """
    layer, double = case.layer, case.to(torch.float64).layer
    largest = torch.finfo(torch.float32).max / 1e12
    for size in (0.0, EXTREME, -EXTREME):
        inputs = torch.full_like(case.inputs, size)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("error")
            mean = double.mean(inputs.double())
            fits = bool((mean.abs() < largest).all())
            found = {
                "log_partition": layer.log_partition(inputs),
                **_moments(layer.moments(inputs)._asdict()),
            }
            if fits:
                x = layer.sample(inputs, case.generator())
                layer.check_states(x)
                found |= {
                    "sample": x,
                    "energy of a sample": layer.energy(x),
                    "log_prob of a sample": layer.log_prob(x, inputs),
                }
                what = f"mean at inputs of {size:g}"
                require_close(what, layer.mean(inputs), mean, _rounding(inputs))
        for name, value in found.items():
            good = torch.isfinite(value) if fits else ~torch.isnan(value)
            worst = value[~good].flatten()[:1].tolist()
            require(good.all(), f"{name} at inputs of {size:g} is {worst}; {MUST_BE_FINITE}")
        if fits:
            _require_finite_slope(case, inputs)


def _require_finite_slope(case: LayerCase, inputs: Tensor) -> None:
    inputs = inputs.clone().requires_grad_()
    total = case.layer.log_partition(inputs).sum()
    (slope,) = torch.autograd.grad(total, inputs)
    what = f"d log_partition / d inputs at inputs of {float(inputs.detach()[0, 0]):g}"
    expected = case.layer.statistic(case.layer.mean(inputs.detach()))
    require_close(what, slope, expected, _rounding(inputs))


def _rounding(inputs: Tensor) -> float:
    """Tolerance of results at inputs so large that a bias added to them loses digits."""
    return torch.finfo(inputs.dtype).eps * (100 + float(inputs.detach().abs().max()))


def _moments(fields: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"moments.{name}": value for name, value in fields.items() if torch.is_tensor(value)}


STATES = (
    states_are_enumerated,
    codes_number_the_states,
    faults_are_found,
    extreme_inputs_stay_finite,
)
