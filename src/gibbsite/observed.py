r"""Exact sums over the missing entries of rows: log p*(v_observed) and its gradient.

Either what is missing is enumerated and the hidden units are summed in closed form, or the
hidden units are enumerated and what is missing is summed or integrated in closed form:

$$\log p^*(v_o) = \log\sum_{v_m} e^{-F(v_o, v_m)}
  = \log\sum_h e^{-E_h(h)} \int e^{-E_v(v_o,v_m) + s(v)\cdot W s(h)}\,dv_m$$

For each pattern of missing entries the way with fewer states is taken, in blocks of bounded
memory. Models are in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from gibbsite.errors import TooLargeError
from gibbsite.layers import Layer, Moments
from gibbsite.layers.codes import state_codes
from gibbsite.layers.missing import log_partition_given, missing_units, moments_given
from gibbsite.model import RBM

MAX_STATES = 2**25
"""The largest number of states that are summed over for a row."""

BLOCK_BYTES = 2**24
"""Size of one block of states with their inputs, about."""


class Phase(NamedTuple):
    """Weighted sums over rows, given their observed entries.

    Attributes:
        gradient: of -dE/dtheta, keyed by ``named_parameters()``.
        visible: of v, (visible.width,).
        hidden: of h, (hidden.width,).
    """

    gradient: dict[str, Tensor]
    visible: Tensor
    hidden: Tensor


class _Block(NamedTuple):
    """States of what is summed over, for some rows.

    Attributes:
        rows: their numbers.
        scores: log of the unnormalised probability of each state, (rows, states).
        moments: of v and h given each, (rows * states, width).
    """

    rows: Tensor
    scores: Tensor
    moments: Callable[[], tuple[Moments, Moments]]


def states_to_sum(rbm: RBM, v: Tensor) -> Tensor:
    """Number of states that are summed over for each row of v, float64 (rows,)."""
    missing = missing_units(rbm.visible, torch.isnan(v)).double()
    logs = missing @ missing.new_tensor(rbm.visible.sizes).log().clamp(max=1e3)
    return torch.minimum(logs.exp().round(), missing.new_tensor(rbm.hidden.n_states))


def log_sums(rbm: RBM, v: Tensor) -> Tensor:
    """log p*(v_observed) = log p + log Z of each row, (rows,): -F(v) where nothing is missing.

    Raises `TooLargeError` where neither the missing nor the hidden units can be enumerated.
    """
    total = torch.full((len(v),), -math.inf).to(v)
    for block in _blocks(rbm, v):
        new = torch.logaddexp(total[block.rows], torch.logsumexp(block.scores, 1))
        total = total.index_copy(0, block.rows, new)
    return total


@torch.no_grad()
def phase(rbm: RBM, v: Tensor, weights: Tensor | None = None) -> Phase:
    """The positive phase: `RBM.phase` averaged over p(v_missing, h | v_observed), row by row.

    Weights are 1/rows by default.
    """
    weights = v.new_full((len(v),), 1 / len(v)) if weights is None else weights
    total, parts = log_sums(rbm, v), []
    for block in _blocks(rbm, v):
        odds = torch.exp(block.scores - total[block.rows, None])
        each = (weights[block.rows, None] * odds).flatten()
        visible, hidden = block.moments()
        gradient = rbm.phase(visible, hidden, each)
        parts.append(Phase(gradient, each @ visible.mean, each @ hidden.mean))
    gradients, visible_means, hidden_means = zip(*parts, strict=True)
    gradient = {name: torch.stack([g[name] for g in gradients]).sum(0) for name in gradients[0]}
    return Phase(gradient, torch.stack(visible_means).sum(0), torch.stack(hidden_means).sum(0))


def _blocks(rbm: RBM, v: Tensor) -> Iterator[_Block]:
    """Every state to sum over for every row, in blocks."""
    missing = missing_units(rbm.visible, torch.isnan(v))
    patterns, which = torch.unique(missing, dim=0, return_inverse=True)
    hidden_states, many = rbm.hidden.n_states, []
    for index, units in enumerate(patterns):
        sizes = [rbm.visible.sizes[unit] for unit in units.nonzero()[:, 0].tolist()]
        rows = (which == index).nonzero()[:, 0]
        if min(math.prod(sizes), hidden_states) > MAX_STATES:
            raise _too_large(rbm, int(rows[0]), math.prod(sizes))
        if math.prod(sizes) <= hidden_states:
            yield from _by_completion(rbm, v, rows, units)
        else:
            many.append(rows)
    if many:
        yield from _by_hidden_state(rbm, v, torch.cat(many))


def _by_completion(rbm: RBM, v: Tensor, rows: Tensor, units: Tensor) -> Iterator[_Block]:
    """Blocks of all states of the units that are missing in these rows."""
    visible = rbm.visible
    total = math.prod(int(visible.sizes[unit]) for unit in units.nonzero()[:, 0].tolist())
    for some, start, stop in _pieces(rbm, rows, total):
        states = _states(visible, units, start, stop)
        given = v[some, None]
        full = torch.where(torch.isnan(given), states, given).flatten(0, 1)
        scores = -rbm.free_energy(full).reshape(len(some), -1)

        def moments(full: Tensor = full) -> tuple[Moments, Moments]:
            return visible.moments_at(full), rbm.hidden.moments(rbm.hidden_inputs(full))

        yield _Block(some, scores, moments)


def _states(layer: Layer, units: Tensor, start: int, stop: int) -> Tensor:
    """States number start to stop - 1 of some units, (states, width); 0 in the other columns."""
    chosen = units.nonzero()[:, 0].tolist()
    states = layer.zero_inputs(stop - start)
    if chosen:
        codes = state_codes([layer.sizes[unit] for unit in chosen], start, stop).to(states.device)
        for unit, code in zip(chosen, codes.T, strict=True):
            states[:, layer.unit_columns(unit)] = layer.unit_states(unit)[0][code]
    return states


def _by_hidden_state(rbm: RBM, v: Tensor, rows: Tensor) -> Iterator[_Block]:
    """Blocks of all hidden states."""
    for some, start, stop in _pieces(rbm, rows, int(rbm.hidden.n_states)):
        h = rbm.hidden.states(start, stop)
        inputs, given = rbm.visible_inputs(h), v[some]
        scores = log_partition_given(rbm.visible, given, inputs) - rbm.hidden.energy(h)

        def moments(
            h: Tensor = h, inputs: Tensor = inputs, given: Tensor = given
        ) -> tuple[Moments, Moments]:
            each = given.repeat_interleave(len(h), 0), inputs.repeat(len(given), 1)
            hidden = rbm.hidden.moments_at(h.repeat(len(given), 1))
            return moments_given(rbm.visible, *each), hidden

        yield _Block(some, scores, moments)


def _pieces(rbm: RBM, rows: Tensor, states: int) -> Iterator[tuple[Tensor, int, int]]:
    """Some of the rows with a range of states, so many that blocks are of `BLOCK_BYTES`."""
    pairs = max(1, BLOCK_BYTES // (8 * (rbm.visible.width + rbm.hidden.width)))
    at_once = max(1, min(states, pairs))
    for some in torch.split(rows, max(1, pairs // at_once)):
        for start in range(0, states, at_once):
            yield some, start, min(start + at_once, states)


def _too_large(rbm: RBM, row: int, states: float) -> TooLargeError:
    return TooLargeError(
        f"row {row + 1} (counted from 1): its missing entries have {states:.3g} states and "
        f"{rbm.hidden.describe()} {rbm.hidden.n_states:.3g}; exact sums over either stop at "
        f"{MAX_STATES:,} (2^25). Use gb.evaluate to estimate, gb.PCD to train"
    )
