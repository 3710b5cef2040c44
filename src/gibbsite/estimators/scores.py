"""How well a model explains each row: exact, estimated or pseudo log-likelihood."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gibbsite import exact
from gibbsite.estimators.training import check_choice
from gibbsite.likelihood import log_partition
from gibbsite.likelihood.monitors import negative_free_energies
from gibbsite.model import RBM
from gibbsite.rows import Rows

EXACT_STATES = 2**20
"""With at most so many states on one side, "auto" sums over them."""

BLOCK_BYTES = 2**24


@torch.no_grad()
def log_scores(rbm: RBM, rows: Rows, likelihood: str) -> NDArray[np.float64]:
    """log p(v) of each row in nats, or its pseudo-log-likelihood, (rows,); deterministic."""
    check_choice("likelihood", likelihood, "auto", "exact", "pseudo", "ais")
    if likelihood == "auto":
        likelihood = "exact" if exact.is_enumerable(rbm, EXACT_STATES) else "pseudo"
    if likelihood == "pseudo":
        return _by_blocks(rbm, rows, lambda v: pseudo_log_likelihoods(rbm, v))
    fixed = torch.Generator(rbm.weight.device).manual_seed(0)
    log_z = log_partition(rbm, likelihood, generator=fixed).value
    return _by_blocks(rbm, rows, lambda v: negative_free_energies(rbm, v) - log_z)


@torch.no_grad()
def pseudo_log_likelihoods(rbm: RBM, v: Tensor) -> Tensor:
    r"""$\sum_i \log p(v_i \mid v_{-i})$ of each row in nats, float64, (rows,).

    Moving one unit changes the hidden inputs by rank one and the visible energy by that unit's own
    part: as many hidden log-partitions a row as there are units times points of a unit.
    """
    points, log_weights = rbm.visible.unit_grid(rbm.weight.abs().sum(1))
    inputs = rbm.hidden_inputs(v)
    own = -rbm.hidden.log_partition(inputs)
    centre = rbm.visible.mean(torch.zeros_like(points[:1]))
    total = torch.zeros(len(v), dtype=torch.float64, device=v.device)
    for unit in range(rbm.visible.n):
        here, there = _moved(centre, unit, v[:, unit]), _moved(centre, unit, points[:, unit])
        shift = rbm.visible.statistic(there)[:, unit, None] - rbm.visible.statistic(here)[:, unit]
        trials = inputs + shift[:, :, None] * rbm.weight[unit]
        energies = rbm.visible.energy(there)[:, None] - rbm.hidden.log_partition(trials)
        log_sum = torch.logsumexp((log_weights[:, unit, None] - energies).double(), 0)
        total -= (rbm.visible.energy(here) + own).double() + log_sum
    return total


def _moved(state: Tensor, unit: int, values: Tensor) -> Tensor:
    """A visible state, (1, n), with one of its units at each of the values, (values, n)."""
    states = state.repeat(len(values), 1)
    states[:, unit] = values
    return states


def _by_blocks(rbm: RBM, rows: Rows, score: Callable[[Tensor], Tensor]) -> NDArray[np.float64]:
    """Scores of all rows, about `BLOCK_BYTES` at a time of what one row of each needs."""
    size = max(1, BLOCK_BYTES // (8 * (rbm.hidden.n + rbm.visible.n)))
    blocks = (rows[start : start + size] for start in range(0, len(rows), size))
    return np.concatenate([score(rbm.visible.coerce(block)).cpu().numpy() for block in blocks])
