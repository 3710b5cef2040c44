"""Checks of a layer's formulas, against sums over the states of its units or against autograd."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gibbsite.layers import Layer, Moments
from gibbsite.testing.case import LayerCase
from gibbsite.testing.compare import MUST_BE_FINITE, require, require_close

TIGHT = 1e-10
SINGLE = 2e-4
"""Tolerance in float32: some thousand times its rounding."""

FAR = 1e4
"""Inputs that move units with endless states far out."""


def energy_adds_over_units(case: LayerCase) -> None:
    """E(x) = sum over units, if independent, of what the unit adds to E(base)."""
    layer, x, base = case.layer, case.some_states(), case.base
    start = layer.energy(base)
    parts = []
    for columns in case.blocks:
        one = base.repeat(len(x), 1)
        one[:, columns] = x[:, columns]
        parts.append(layer.energy(one) - start)
    expected = start + torch.stack(parts).sum(0)
    require_close("energy(x) is no sum over units", layer.energy(x), expected, TIGHT)


@torch.no_grad()
def energy_grows_as_curvature_says(case: LayerCase) -> None:
    """Far out, energy is at least curvature * statistic^2 / 2, up to a hundredth.

    Infinite curvature is for states in a bounded interval.
    """
    layer, curvature = case.layer, case.layer.curvature()
    bounded = all(map(math.isfinite, layer.interval)) or math.isfinite(layer.n_states)
    for unit in range(layer.n):
        columns = layer.unit_columns(unit)
        c = curvature[columns]
        if len(c) > 1 or float(c[0]) in (0.0, math.inf):
            continue
        for size in (FAR, -FAR):
            x = case.base.clone()
            x[columns] = layer.mean(torch.full_like(x, size))[columns]
            square = float(layer.statistic(x)[columns] ** 2)
            growth = 2 * float(layer.energy(x) - layer.energy(case.base)) / max(square, 1e-300)
            require(
                square < FAR or growth > 0.99 * float(c[0]),
                f"curvature() of unit {unit} is {float(c[0]):.6g}, but far out energy is "
                f"{growth:.6g} * statistic^2 / 2",
            )
    require(
        not torch.isinf(curvature).all() or bounded,
        "curvature() is infinite, but interval is not bounded",
    )


def statistic_is_linear_by_column(case: LayerCase) -> None:
    """Linear, and by column where units are independent."""
    x = case.normal(5, case.layer.width)
    matrix = case.layer.statistic(torch.diag(torch.ones_like(x[0])))
    found = case.layer.statistic(x)
    require_close("statistic(x) is not linear", found, x @ matrix, TIGHT)
    if case.layer.independent:
        own = torch.diag(matrix.diagonal())
        require_close("statistic is not by column: statistic(identity)", matrix, own, TIGHT)


def log_partition_is_the_sum(case: LayerCase) -> None:
    """log_partition = log of the sum of exp(-energy + statistic . inputs), unit by unit."""
    expected = case.exponent(case.base[None], case.inputs)[:, 0]
    expected = expected + torch.stack([part.log_sum for part in case.sums(case.inputs)]).sum(0)
    found = case.layer.log_partition(case.inputs)
    what = "log_partition(inputs) is not log sum exp(-energy + statistic . inputs) over unit_states"
    finite = bool(torch.isfinite(found).all() and torch.isfinite(expected).all())
    hint = "" if finite else f" ({MUST_BE_FINITE})"
    require_close(what + hint, found, expected, TIGHT)


def moments_are_expectations(case: LayerCase) -> None:
    """The mean is E[x | inputs]; see `check_layer` for the other moments."""
    layer, inputs = case.layer, case.inputs
    moments = layer.moments(inputs)
    mean = case.expectation(inputs)
    require_close("moments(inputs).mean is not E[x] over unit_states", moments.mean, mean)
    require_close("mean(inputs) is not E[x] over unit_states", layer.mean(inputs), mean)
    for name, found in _further(moments).items():
        expected = case.expectation(inputs, _moment_at(layer, name))
        if name == "variance":
            expected = expected + case.expectation(inputs, lambda x: x**2) - mean**2
        require_close(f"moments(inputs).{name} is not that over unit_states", found, expected)


def moments_at_states(case: LayerCase) -> None:
    x = case.some_states()
    moments = case.layer.moments_at(x)
    given, needed = (list(m._asdict()) for m in (moments, case.layer.moments(case.inputs)))
    require(
        given == needed,
        f"moments gives {', '.join(needed)}, but moments_at {', '.join(given)}: define moments_at",
    )
    require_close("moments_at(x).mean is not x", moments.mean, x, 0.0)
    for name, found in _further(moments).items():
        shape = tuple(found.shape)
        require(found.shape == x.shape, f"moments_at(x).{name} has shape {shape}: expected x's")


def mean_is_the_slope(case: LayerCase) -> None:
    """statistic(mean) = d log_partition / d inputs."""
    inputs = case.inputs.clone().requires_grad_()
    log_z = case.layer.log_partition(inputs)
    require(log_z.requires_grad, "log_partition(inputs) cannot be differentiated by autograd")
    (slope,) = torch.autograd.grad(log_z.sum(), inputs)
    found = case.layer.statistic(case.layer.mean(case.inputs))
    require_close("statistic(mean(inputs)) is not d log_partition / d inputs", found, slope)


def gradient_of_moments(case: LayerCase) -> None:
    """Against autograd of the weighted mean of -energy + statistic . coupling over states.

    The coupling is with inputs of its own, so that nothing cancels.
    """
    layer, inputs, other = case.layer, case.inputs, case.normal(*case.inputs.shape)
    weights = case.normal(len(inputs), seed=3)

    def exponent() -> Tensor:
        total = case.exponent(case.base[None], other)[:, 0]
        for part in case.sums(inputs):
            change = case.exponent(part.x, other) - case.exponent(case.base[None], other)
            total = total + (part.p * change).sum(-1)
        return weights @ total

    found = _gradient(layer, layer.moments(inputs), weights, other)
    _require_gradient(layer, "of moments(inputs)", found, exponent)


def gradient_of_states(case: LayerCase) -> None:
    layer, x = case.layer, case.some_states()
    weights, other = case.normal(len(x), seed=3), case.normal(len(x), layer.width)

    def exponent() -> Tensor:
        return weights @ ((layer.statistic(x) * other).sum(-1) - layer.energy(x))

    found = _gradient(layer, layer.moments_at(x), weights, other)
    _require_gradient(layer, "of moments_at(x)", found, exponent)


def gradient_is_that_of_log_partition(case: LayerCase) -> None:
    """By the parameters, too, log_partition can be differentiated by autograd."""
    layer, inputs = case.layer, case.inputs
    weights = torch.ones_like(inputs[:, 0])
    found = _gradient(layer, layer.moments(inputs), weights, inputs)
    _require_gradient(layer, "of log_partition", found, lambda: layer.log_partition(inputs).sum())


def scaled_weight_is_the_statistic(case: LayerCase) -> None:
    layer, x = case.layer, case.normal(5, case.layer.width)
    weight = case.normal(layer.width, 2, seed=3)
    require_close(
        "x @ scaled_weight(weight) is not statistic(x) @ weight",
        x @ layer.scaled_weight(weight),
        layer.statistic(x) @ weight,
    )


def log_prob_is_normalised(case: LayerCase) -> None:
    """The probabilities of all states sum or integrate to 1, for each row of inputs."""
    layer, inputs = case.layer, case.inputs[:, None]
    with torch.no_grad():
        start = layer.log_prob(case.base, inputs)[:, 0]
        total = start
        for block in range(len(case.blocks)):
            x, log_weights = case.states_of_block(block, float(inputs.abs().max()))
            change = layer.log_prob(x, inputs) - start[:, None]
            total = total + torch.logsumexp(log_weights + change, -1)
    nothing = torch.zeros_like(total)
    require_close("log of the sum of exp(log_prob) over all states", total, nothing)


def leading_axes_are_kept(case: LayerCase) -> None:
    """Inputs and states are (..., width): rows in two axes, or one row of no axis."""
    layer, width = case.layer, case.layer.width
    inputs, x = case.inputs[:4], case.some_states(4)
    shaped, states = inputs.reshape(2, 2, width), x.reshape(2, 2, width)
    pairs: list[tuple[str, Callable[[Tensor, Tensor], Tensor]]] = [
        ("log_partition", lambda inputs, x: layer.log_partition(inputs)),
        ("energy", lambda inputs, x: layer.energy(x)),
        ("statistic", lambda inputs, x: layer.statistic(x)),
        ("mean", lambda inputs, x: layer.mean(inputs)),
        ("log_prob", lambda inputs, x: layer.log_prob(x, inputs)),
    ]
    for name, method in pairs:
        flat = method(inputs, x)
        found = method(shaped, states)
        require_close(f"{name} of (2, 2, width)", found, flat.reshape(2, 2, *flat.shape[1:]))
        require_close(f"{name} of (width,)", method(inputs[0], x[0]), flat[0])
    drawn = layer.sample(shaped, case.generator())
    require(drawn.shape == shaped.shape, f"sample of (2, 2, width) has shape {tuple(drawn.shape)}")
    require(layer.sample(inputs[0], case.generator()).shape == (width,), "sample of (width,)")


def single_precision_agrees(double: LayerCase, single: LayerCase) -> None:
    """Every formula in float32 keeps its dtype and agrees with float64."""
    x, weights = double.some_states(), double.normal(5, seed=3)
    other, inputs = double.normal(5, double.layer.width), double.inputs

    def results(case: LayerCase) -> dict[str, Tensor]:
        dtype, layer = case.inputs.dtype, case.layer
        states, coupled, shares = x.to(dtype), other.to(dtype), weights.to(dtype)
        moments = layer.moments(inputs.to(dtype))
        gradient = _gradient(layer, layer.moments_at(states), shares, coupled)
        return {
            "energy": layer.energy(states),
            "statistic": layer.statistic(states),
            "log_partition": layer.log_partition(inputs.to(dtype)),
            "mean": moments.mean,
            **{f"moments.{name}": value for name, value in _further(moments).items()},
            **{f"gradient[{name!r}]": value for name, value in gradient.items()},
        }

    expected = results(double)
    for name, found in results(single).items():
        require(found.dtype == torch.float32, f"{name} is {found.dtype}: expected torch.float32")
        require_close(f"{name} in float32", found, expected[name], SINGLE)


def _moment_at(layer: Layer, name: str) -> Callable[[Tensor], Tensor]:
    return lambda x: getattr(layer.moments_at(x), name)


def _further(moments: Moments) -> dict[str, Tensor]:
    """The moments other than the mean that are one tensor."""
    fields = moments._asdict().items()
    return {name: value for name, value in fields if name != "mean" and torch.is_tensor(value)}


@torch.no_grad()
def _gradient(layer: Layer, moments: Moments, weights: Tensor, other: Tensor) -> dict[str, Tensor]:
    coupling = weights @ (layer.statistic(moments.mean) * other)
    return layer.gradient(moments, weights, lambda: coupling)


def _require_gradient(
    layer: Layer, of: str, found: dict[str, Tensor], exponent: Callable[[], Tensor]
) -> None:
    names = dict(layer.named_parameters())
    require(
        set(found) == set(names),
        f"gradient has the keys {sorted(found)}: expected those of named_parameters(), "
        f"{sorted(names)}",
    )
    value = exponent()
    slopes = torch.autograd.grad(value, list(names.values()), allow_unused=True)
    for (name, parameter), slope in zip(names.items(), slopes, strict=True):
        expected = torch.zeros_like(parameter) if slope is None else slope
        require_close(f"gradient[{name!r}] {of} is not that of autograd", found[name], expected)


FORMULAS = (
    energy_adds_over_units,
    statistic_is_linear_by_column,
    energy_grows_as_curvature_says,
    log_partition_is_the_sum,
    moments_at_states,
    moments_are_expectations,
    mean_is_the_slope,
    gradient_of_moments,
    gradient_of_states,
    gradient_is_that_of_log_partition,
    scaled_weight_is_the_statistic,
    log_prob_is_normalised,
    leading_axes_are_kept,
)
