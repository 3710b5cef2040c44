"""Formulas of layers of which only some units are known; the others are NaN in their columns.

Looked up by the type of the layer, as `fast` is: units that do not depend on each other, layers
side by side, correlated Gaussian units.
"""

from __future__ import annotations

import math
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor

from gibbsite.errors import ArgumentError, EntryError
from gibbsite.layers.base import Layer
from gibbsite.layers.mixed import Mixed, joined
from gibbsite.layers.moments import Moments
from gibbsite.layers.multivariate_gaussian import MultivariateGaussian

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def check_observed(layer: Layer, data: Any) -> Tensor:
    """`Layer.check_data` of the entries that are known; NaN in all columns of a unit is missing.

    Raises `EntryError` for a unit that is missing in some of its columns only.
    """
    x = layer.coerce(data)
    missing = torch.isnan(x)
    if x.ndim != 2 or not bool(missing.any()):
        return layer.check_data(data)
    partly = missing & ~missing_units(layer, missing)[:, columns_of_units(layer)]
    for row, column in partly.nonzero()[:1].tolist():
        unit = int(columns_of_units(layer)[column])
        remedy = f"unit {unit + 1} is missing in some of its columns only; make all of them NaN"
        raise EntryError("nan", row, column, remedy)
    layer.check_data(filled(layer, x))
    return x


def columns_of_units(layer: Layer) -> Tensor:
    """Unit that each column belongs to, int64 (width,)."""
    columns = torch.arange(layer.width, device=layer.like.device)
    if layer.width > layer.n:
        for unit in range(layer.n):
            columns[layer.unit_columns(unit)] = unit
    return columns


def missing_units(layer: Layer, missing: Tensor) -> Tensor:
    """True for units all of whose columns are missing, (rows, n), from (rows, width)."""
    if layer.width == layer.n:
        return missing
    known = torch.zeros(len(missing), layer.n, device=missing.device)
    return known.index_add_(1, columns_of_units(layer), (~missing).float()) == 0


def some_state(layer: Layer) -> Tensor:
    """A state of the layer, (width,), always the same."""
    generator = torch.Generator(layer.like.device).manual_seed(0)
    return layer.overdispersed(1, generator)[0]


def filled(layer: Layer, x: Tensor) -> Tensor:
    """x with `some_state` where it is NaN."""
    return torch.where(torch.isnan(x), some_state(layer), x)


@torch.no_grad()
def hot_deck(visible: Layer, x: Tensor) -> Tensor:
    """x with each missing unit as in another row, drawn at random; where none has it, at random."""
    generator = torch.Generator(x.device).manual_seed(0)
    missing, x = missing_units(visible, torch.isnan(x)), x.clone()
    draws = visible.sample(visible.zero_inputs(len(x)), generator)
    for unit in missing.any(0).nonzero()[:, 0].tolist():
        own, holes = visible.unit_columns(unit), missing[:, unit]
        donors = x[~holes, own] if bool((~holes).any()) else draws[:, own]
        count = (int(holes.sum()),)
        chosen = torch.randint(len(donors), count, generator=generator, device=x.device)
        x[holes, own] = donors[chosen]
    return x


@singledispatch
def log_partition_given(layer: Layer, x: Tensor, inputs: Tensor) -> Tensor:
    r"""Log of the sum over what is missing in x, (rows of x, rows of inputs):

    $$\log\int\exp(-\text{energy}(x) + \text{statistic}(x)\cdot\text{inputs})\,dx_\text{missing}$$

    `Layer.log_partition` of inputs where all is missing. Raises `ArgumentError` for a type of
    units of your own that depend on each other.
    """
    _require_independent(layer)
    missing, state = torch.isnan(x), some_state(layer)
    units = missing_units(layer, missing).to(inputs)
    share = layer.energy(state) / layer.n  # counted as the energy of each unit in that state
    own = units.sum(1) * share - layer.energy(torch.where(missing, state, x))
    known = layer.statistic(torch.where(missing, state, x)).masked_fill(missing, 0.0)
    parts = [
        _unit_log_partition(layer, unit, state, inputs if some else inputs[:1])
        for unit, some in enumerate(units.any(0).tolist())
    ]
    return (
        own[:, None]
        + known @ inputs.T
        + units @ torch.stack([part.expand(len(inputs)) for part in parts])
    )


def _unit_log_partition(layer: Layer, unit: int, state: Tensor, inputs: Tensor) -> Tensor:
    """log-partition of one unit, (rows of inputs,), with an energy of 1/n of the total at a state.

    By the sum or quadrature of `unit_states`.
    """
    own, base = layer.unit_columns(unit), layer.energy(state)
    reach = float(inputs[:, own].detach().abs().max())
    with torch.no_grad():  # points that stay where they are integrate derivatives too
        points, log_weights = layer.unit_states(unit, reach)
    states = state.repeat(len(points), 1)
    states[:, own] = points
    energies = layer.energy(states) - base + base / layer.n
    exponents = inputs[:, own] @ layer.statistic(states)[:, own].T
    return torch.logsumexp(exponents + (log_weights - energies), 1)


@log_partition_given.register
def _(layer: Mixed, x: Tensor, inputs: Tensor) -> Tensor:
    pairs = zip(layer.split(x), layer.split(inputs), strict=True)
    return torch.stack([log_partition_given(part, own, i) for (part, own), (_, i) in pairs]).sum(0)


@log_partition_given.register
def _(layer: MultivariateGaussian, x: Tensor, inputs: Tensor) -> Tensor:
    """The log-partition and the log-density of the known units, those of a marginal Gaussian."""
    total = layer.log_partition(inputs).expand(len(x), -1)
    mean, covariance, densities = layer.mean(inputs), layer.covariance, torch.zeros_like(total)
    for known, rows in _patterns(x):
        root = torch.linalg.cholesky(covariance[known][:, known])
        ours, theirs = (
            torch.linalg.solve_triangular(root, (y - layer.bias)[:, known].T, upper=False).T
            for y in (x[rows], mean)
        )
        squares = (ours[:, None] - theirs).square().sum(-1)
        volume = root.diagonal().log().sum() + len(root) * _HALF_LOG_2PI
        densities = densities.index_copy(0, rows, -0.5 * squares - volume)
    return total + densities


@singledispatch
def moments_given(layer: Layer, x: Tensor, inputs: Tensor) -> Moments:
    """`Layer.moments` of the missing units in x given the others, row by row of x and inputs."""
    _require_independent(layer)
    missing = torch.isnan(x)
    free, known = layer.moments(inputs)._asdict(), layer.moments_at(filled(layer, x))
    parts = {name: torch.where(missing, free[name], y) for name, y in known._asdict().items()}
    return type(known)(**parts)


@moments_given.register
def _(layer: Mixed, x: Tensor, inputs: Tensor) -> Moments:
    pairs = zip(layer.split(x), layer.split(inputs), strict=True)
    return joined([moments_given(part, own, i) for (part, own), (_, i) in pairs])


@moments_given.register
def _(layer: MultivariateGaussian, x: Tensor, inputs: Tensor) -> Moments:
    """Means and mean squares of the conditional Gaussian of what is missing."""
    free = layer.moments(inputs)
    covariance, inverse = layer.covariance, torch.linalg.inv(layer.get_buffer("factor"))
    means, spread = torch.empty_like(free.mean), torch.empty_like(free.mean)
    for known, rows in _patterns(x):
        gain = torch.linalg.solve(covariance[known][:, known], covariance[known])
        gap = (x[rows] - free.mean[rows])[:, known]
        means[rows] = free.mean[rows] + gap @ gain
        left = covariance - covariance[:, known] @ gain
        spread[rows] = (inverse @ left @ inverse.T).diagonal()
    at = layer.moments_at(means)
    return type(at)(means, at.squares + spread)


def _patterns(x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Sets of known columns, bool (width,), each with the numbers of the rows that have it."""
    patterns, which = torch.unique(~torch.isnan(x), dim=0, return_inverse=True)
    return [(known, (which == i).nonzero()[:, 0]) for i, known in enumerate(patterns)]


def _require_independent(layer: Layer) -> None:
    if not layer.independent:
        raise ArgumentError(
            f"{layer.describe()} has units that depend on each other, and no sum over some of "
            "them; give rows without missing entries"
        )
