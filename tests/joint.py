"""Sums over some units of a model by a grid of all their states, from its free energy alone."""

from __future__ import annotations

import torch

import gibbsite as gb


def log_sum(rbm: gb.RBM, row: torch.Tensor) -> float:
    """log of the sum or integral of exp(-F(v)) over the units that are NaN in a row.

    Each unit's own grid covers all inputs that the hidden units, which must have bounds, can send;
    or half of what finite or Gaussian ones may.
    """
    layer, free = rbm.visible, torch.isnan(row)
    reach = float(rbm.weight.abs().sum(1).max()) * hidden_size(rbm)
    grid, log_weights, places = torch.zeros(1, 0).double(), torch.zeros(1).double(), []
    for unit in range(layer.n):
        columns = layer.unit_columns(unit)
        if not bool(free[columns].any()):
            continue
        points, own = layer.unit_states(unit, reach)
        places += range(layer.width)[columns]
        old, new = len(grid), len(points)
        grid = torch.cat([grid.repeat_interleave(new, 0), points.repeat(old, 1)], 1)
        log_weights = log_weights.repeat_interleave(new) + own.repeat(old)
    rows = row.repeat(len(grid), 1)
    rows[:, places] = grid
    return float(torch.logsumexp(log_weights - rbm.free_energy(rows), 0))


def hidden_size(rbm: gb.RBM) -> float:
    """Largest statistic of a hidden unit that counts."""
    low, high = rbm.hidden.interval
    return min(12.0, max(abs(low), abs(high)))


def log_conditional(rbm: gb.RBM, row: torch.Tensor, known: torch.Tensor) -> float:
    """log p of what is not known of a row, but for its NaN, given the rest."""
    with torch.no_grad():
        return log_sum(rbm, row) - log_sum(rbm, torch.where(known, row, torch.nan))


def columns_of(layer: gb.layers.Layer, mask: int) -> torch.Tensor:
    """True for the columns of the units whose bit in the mask is set, (width,)."""
    known = torch.zeros(layer.width, dtype=torch.bool)
    for unit in range(layer.n):
        known[layer.unit_columns(unit)] = bool(mask >> unit & 1)
    return known
