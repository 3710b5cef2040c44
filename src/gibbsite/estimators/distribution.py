"""Distribution of one unit given others, on its states or on a grid."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gibbsite import observed
from gibbsite.datasets.column import Column
from gibbsite.likelihood.monitors import centred
from gibbsite.model import RBM
from gibbsite.precision import in_double
from gibbsite.sampling import impute

Array = NDArray[Any]

QUANTILES = {"5%": 0.05, "25%": 0.25, "50%": 0.5, "75%": 0.75, "95%": 0.95}

EXACT_STATES = 2**12
"""States of the other missing units up to which they are summed over."""

DRAWS, STEPS = 50, 200
"""Completions of a row that are averaged over where there are more, and steps of their chains."""

FINER = 4
"""Points of a grid for real units between two of the rule that integrates exactly."""


class Distribution(NamedTuple):
    """Distribution of a unit for each row.

    Attributes:
        points: states of the unit, (k, columns).
        probabilities: (rows, k), float64.
    """

    points: Tensor
    probabilities: Tensor


@torch.no_grad()
def distribution(
    rbm: RBM, v: Tensor, unit: int, real: bool, generator: torch.Generator | None = None
) -> Distribution:
    r"""p(v_unit | the known entries of v) of each row, NaN being unknown in v, (rows, width).

    $$p(x \mid v_c) \propto w_x \sum_{u} e^{-F(x, v_c, u)}$$

    over the other unknown entries u. The sum is exact if there are none, or they or the hidden
    units have at most 2^12 states; else the average of p(x | v_c, u) over 50 draws of u, by Gibbs
    chains of 200 steps. `real` units have a grid of an eighth of a sigma.
    """
    wide, columns = in_double(rbm), rbm.visible.unit_columns(unit)
    points, log_weights = _grid(rbm, unit, real)
    v = v.to(wide.weight).clone()
    v[:, columns] = points[0]
    many = observed.states_to_sum(wide, v) > EXACT_STATES
    result = v.new_empty(len(v), len(points))
    if not bool(many.all()):
        result[~many] = _probabilities(wide, v[~many], columns, points, log_weights)
    if bool(many.any()):
        rows = v[many].to(rbm.weight)
        rows[:, columns] = torch.nan
        drawn = impute(rbm, rows, draws=DRAWS, steps=STEPS, generator=generator).values
        each = _probabilities(wide, drawn.flatten(0, 1).double(), columns, points, log_weights)
        result[many] = each.reshape(DRAWS, len(rows), -1).mean(0)
    return Distribution(points, result)


def _grid(rbm: RBM, unit: int, real: bool) -> tuple[Tensor, Tensor]:
    """Points of the unit and their log-weights."""
    layer, reach = centred(rbm)
    points, log_weights = layer.unit_states(unit, reach[unit])
    if not real:
        return points, log_weights
    count = FINER * (len(points) - 1) + 1
    finer = torch.linspace(float(points[0]), float(points[-1]), count, dtype=points.dtype)
    return finer.to(points.device)[:, None], torch.zeros_like(finer)


def _probabilities(
    wide: RBM, v: Tensor, columns: slice, points: Tensor, log_weights: Tensor
) -> Tensor:
    """Probability of each point given the rest of each row, (rows, k)."""
    scores = v.new_empty(len(v), len(points))
    for index, point in enumerate(points):
        v[:, columns] = point
        scores[:, index] = observed.log_sums(wide, v) + log_weights[index]
    return torch.softmax(scores, 1)


def summary(found: Distribution, column: Column) -> tuple[list[str], list[Array]]:
    """Names of what is told of a column's distribution, and its values, (rows,) each.

    The probability of each category; or mean, standard deviation and quantiles of a number.
    """
    shares = found.probabilities.numpy()
    if column.values:
        return [str(x) for x in column.values], list(shares.T)
    states = found.points[:, 0].numpy()
    numbers = column.decode(states).values
    mean = shares @ numbers
    spread = np.sqrt(np.maximum(0, ((numbers - mean[:, None]) ** 2 * shares).sum(1)))
    at = _quantiles(states, shares, column.unit == "gaussian")
    return ["mean", "sd", *QUANTILES], [mean, spread, *(column.decode(x).values for x in at.T)]


def _quantiles(states: Array, shares: Array, real: bool) -> Array:
    """Quantiles of each row's distribution on ordered states, (rows, quantiles)."""
    below = shares.cumsum(1)
    if not real:
        found = [(below < q - 1e-12).sum(1) for q in QUANTILES.values()]
        at: Array = states[np.minimum(np.stack(found, 1), len(states) - 1)]
        return at
    middle = below - 0.5 * shares
    return np.stack([np.interp(list(QUANTILES.values()), row, states) for row in middle])
