r"""$\log\int e^{-F(v)}\,dv$ over the entries of rows that are missing: log p(the others) + log Z.

Rows with the same entries missing are summed over together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from gibbsite import exact
from gibbsite.errors import TooLargeError
from gibbsite.layers import Layer
from gibbsite.likelihood.condition import condition
from gibbsite.likelihood.monitors import (
    BLOCK_BYTES,
    bounded_inputs,
    centred,
    negative_free_energies,
)
from gibbsite.likelihood.partition import LogPartition
from gibbsite.model import RBM
from gibbsite.precision import in_double

FARTHEST = 2.0**13
"""Inputs of one unit beyond which no grid is tried."""

CONVERGED = 1e-11
"""Change of an integral in nats by a grid twice as wide that counts as none."""


class Marginal(NamedTuple):
    """Log sums of rows over what is missing in them, float64, in nats.

    Attributes:
        values: (rows,), to which those of the estimate are still to be added, if there is one.
        estimate: of a partition function that all of the rows have in common; None if exact.
        rows: which of the rows asked for these are, (rows,).
    """

    values: Tensor
    estimate: LogPartition | None
    rows: Tensor


def marginals(
    rbm: RBM, v: Tensor, method: str, estimate: Callable[[RBM], LogPartition]
) -> list[Marginal]:
    """Log sums of rows v, float64, (rows, width), over their entries that are NaN.

    Exact where nothing is missing, one unit is, or either the missing or the hidden units have few
    states; otherwise, or with a method other than ``auto`` and ``exact``, each distinct row has an
    estimate of the log Z of its `condition`.
    """
    if len(v) == 0:
        return []
    wide, result = in_double(rbm), list[Marginal]()
    patterns, which = torch.unique(torch.isnan(v), dim=0, return_inverse=True)
    for index, free in enumerate(patterns):
        rows = (which == index).nonzero()[:, 0]
        if not bool(free.any()):
            result.append(Marginal(negative_free_energies(rbm, v[rows]), None, rows))
            continue
        sums = None
        if method in ("auto", "exact"):
            part = Part.of(wide, v[rows], free)
            sums = part.log_sums(exact.MAX_STATES if method == "exact" else exact.EXACT_STATES)
        if sums is None and method == "exact":
            exact.check_enumerable(condition(rbm, v[rows[0]]))
        if sums is None:
            result += _estimated(rbm, v, rows, estimate)
        else:
            result.append(Marginal(sums, None, rows))
    return result


def _estimated(
    rbm: RBM, v: Tensor, rows: Tensor, estimate: Callable[[RBM], LogPartition]
) -> list[Marginal]:
    """A marginal for each distinct row among those of v, by the log Z of its `condition`."""
    known, which = torch.unique(v[rows].nan_to_num(nan=0.0), dim=0, return_inverse=True)
    result = []
    for index in range(len(known)):
        mine = rows[which == index]
        row = v[mine[0]]
        model, free = condition(rbm, row), torch.isnan(row)
        # any state tells by how much the energies of both models differ
        state = row.clone()
        state[free] = model.visible.mean(model.visible.zero_inputs(1)[0]).to(row)
        offset = negative_free_energies(rbm, state[None])
        offset = offset - negative_free_energies(model, state[None, free])
        result.append(Marginal(offset.expand(len(mine)), estimate(model), mine))
    return result


@dataclass(frozen=True)
class Part:
    """Rows in which the same units are missing, as inputs of the layers that are left.

    Attributes:
        layer, weight: of the missing units, `Layer.conditioned`.
        hidden: the hidden layer.
        inputs: that the known units send to it, (rows, hidden.width).
        energy: of the known units, (rows,).
    """

    layer: Layer
    weight: Tensor
    hidden: Layer
    inputs: Tensor
    energy: Tensor

    @classmethod
    def of(cls, rbm: RBM, v: Tensor, free: Tensor) -> Part:
        """Of rows v of a model in float64, all NaN where free."""
        layer, weight = rbm.visible.conditioned(v[0], rbm.weight)
        mean = layer.mean(layer.zero_inputs(1)[0])
        first = v[0].clone()
        first[free] = mean
        # where units depend on each other, missing ones are shifted by the values of the known
        filled = rbm.visible.clamped(first.expand_as(v), v)
        energy = rbm.visible.energy(filled) - layer.energy(mean)
        inputs = rbm.visible.statistic(filled) @ rbm.weight - layer.statistic(mean) @ weight
        return cls(layer, weight, rbm.hidden, inputs, energy)

    @cached_property
    def model(self) -> RBM:
        """The missing units with the hidden ones, for bounds of their inputs."""
        model = RBM(self.layer, self.hidden)
        model.weight.copy_(self.weight)
        return model

    def log_sums(self, limit: float) -> Tensor | None:
        """The log sum of each row, (rows,), over at most so many states; None if there are more."""
        ours, theirs = self.layer.n_states, self.hidden.n_states
        sums = self._over_one_unit() if self.layer.n == 1 and math.isinf(ours) else None
        if sums is None and min(ours, theirs) <= limit:
            sums = self._over_states() if ours <= theirs else self._over_hidden()
        return None if sums is None else sums - self.energy

    def _over_states(self) -> Tensor:
        """Over the states of the missing units; the hidden ones in closed form."""
        total, count = self._nothing(), int(self.layer.n_states)
        for start in range(0, count, self._at_once):
            states = self.layer.states(start, min(start + self._at_once, count))
            total = torch.logaddexp(total, self._over(states, states.new_zeros(len(states))))
        return total

    def _over_hidden(self) -> Tensor:
        """Over the states of the hidden units; the missing ones in closed form."""
        total, count = self._nothing(), int(self.hidden.n_states)
        size = max(len(total), self.layer.width, self.hidden.width)
        at_once = max(1, BLOCK_BYTES // (8 * size))
        for start in range(0, count, at_once):
            h = self.hidden.states(start, min(start + at_once, count))
            statistic = self.hidden.statistic(h)
            own = self.layer.log_partition(statistic @ self.weight.T) - self.hidden.energy(h)
            scores = torch.addmm(own[:, None], statistic, self.inputs.T)
            total = torch.logaddexp(total, torch.logsumexp(scores, 0))
        return total

    def _over_one_unit(self) -> Tensor | None:
        """Over a grid for one unit of endless states; None if there is no end to it.

        Without bounds of the unit's inputs the grid is made wider until nothing is added.
        """
        try:
            if bounded_inputs(self.model):
                layer, reach = centred(self.model)
                return self._over_points(*layer.unit_states(0, reach[0]))
            before, reach_now = self._over_points(*self.layer.unit_states(0, 4.0)), 8.0
            while reach_now <= FARTHEST:
                sums = self._over_points(*self.layer.unit_states(0, reach_now))
                if bool(((sums - before).abs() <= CONVERGED * (1 + sums.abs())).all()):
                    return sums
                before, reach_now = sums, 2 * reach_now
        except TooLargeError:
            pass
        return None

    def _over_points(self, points: Tensor, log_weights: Tensor) -> Tensor:
        total = self._nothing()
        for start in range(0, len(points), self._at_once):
            block = slice(start, start + self._at_once)
            total = torch.logaddexp(total, self._over(points[block], log_weights[block]))
        return total

    def _over(self, states: Tensor, log_weights: Tensor) -> Tensor:
        """Over some states of the missing units, (rows,)."""
        own = log_weights - self.layer.energy(states)
        added = self.layer.statistic(states) @ self.weight
        scores = self.hidden.log_partition(self.inputs[:, None] + added) + own
        return torch.logsumexp(scores, 1)

    @property
    def _at_once(self) -> int:
        """Number of states that fit a block of memory with all rows."""
        return max(1, BLOCK_BYTES // (8 * max(self.inputs.numel(), self.layer.width)))

    def _nothing(self) -> Tensor:
        return self.energy.new_full((len(self.energy),), -torch.inf)
