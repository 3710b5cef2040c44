"""Cheap, deterministic monitors of training. None of them is a likelihood."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gibbsite.errors import ArgumentError
from gibbsite.likelihood.rounding import precise_enough
from gibbsite.model import RBM
from gibbsite.precision import in_double
from gibbsite.sampling import reconstruct

BLOCK_BYTES = 2**25


@torch.no_grad()
def negative_free_energies(rbm: RBM, v: Tensor) -> Tensor:
    """-F(v) = log p(v) + log Z of each row, in float64, (rows,), in blocks of bounded memory."""
    wide = in_double(rbm)
    rows = max(1, BLOCK_BYTES // (8 * (rbm.visible.n + rbm.hidden.n)))
    return torch.cat([-wide.free_energy(block) for block in torch.split(v, rows)])


def as_states(rbm: RBM, data: Tensor) -> Tensor:
    """`Layer.check_data` in float64 for units of the data, so that no digit is lost."""
    visible = in_double(rbm.visible) if rbm.visible.has_units else rbm.visible
    return visible.check_data(data)


@torch.no_grad()
def reconstruction_error(rbm: RBM, v: Tensor) -> float:
    """Mean squared difference between v and `reconstruct(rbm, v)`, per visible unit.

    In squared units of the data. Falls when the model copies well, not when it models well.

    >>> import torch, gibbsite as gb
    >>> gb.reconstruction_error(gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2)), torch.ones(1, 3))
    0.25
    """
    v = rbm.visible.check_data(v)
    return ((v - reconstruct(rbm, v)) ** 2).mean().item()


@torch.no_grad()
def free_energy_gap(rbm: RBM, train: Tensor, test: Tensor) -> float:
    """mean F(test) - mean F(train), in nats: mean log p(train) - mean log p(test), as Z cancels.

    Positive and growing means overfitting. Needs no Z, so it is exact for any model.

    >>> import torch, gibbsite as gb
    >>> rbm = gb.RBM(gb.Bernoulli(2), gb.Bernoulli(2))
    >>> gb.free_energy_gap(rbm, torch.ones(1, 2), torch.zeros(1, 2))
    0.0
    """
    train, test = as_states(rbm, train), as_states(rbm, test)
    return (
        negative_free_energies(rbm, train).mean() - negative_free_energies(rbm, test).mean()
    ).item()


@torch.no_grad()
def pseudo_likelihood(rbm: RBM, v: Tensor) -> float:
    r"""Mean over rows of $\sum_i \log p(v_i \mid v_{-i})$, in nats; every unit, no sampling.

    Each conditional is exact: F is evaluated with unit i at every one of its states (for Gaussian
    units: integrated by quadrature). Costs 2 n_visible n_hidden softplus a row for binary units, so
    give it a few hundred rows. No bound on the likelihood; compare it only between like models.

    >>> import torch, gibbsite as gb
    >>> rbm = gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2))
    >>> round(gb.pseudo_likelihood(rbm, torch.ones(1, 3)), 4)  # 3 log 1/2
    -2.0794
    """
    return pseudo_log_likelihoods(rbm, as_states(rbm, v)).mean().item()


@torch.no_grad()
def pseudo_log_likelihoods(rbm: RBM, v: Tensor) -> Tensor:
    r"""$\sum_i \log p(v_i \mid v_{-i})$ of each row in nats, float64, (rows,).

    Moving one unit changes the hidden inputs by rank one and the visible energy by that unit's own
    part: as many hidden log-partitions a row as there are units times points of a unit.
    """
    if math.isinf(rbm.visible.n_states) and math.isinf(rbm.hidden.n_states):
        raise ArgumentError("pseudo-likelihood needs binary units on one side at least")
    rbm = precise_enough(rbm)
    v = rbm.visible.coerce(v)
    points, log_weights = rbm.visible.unit_grid(rbm.weight.abs().sum(1))
    rows = max(1, BLOCK_BYTES // (len(points) * (rbm.hidden.n + rbm.visible.n) * v.element_size()))
    blocks = torch.split(v, rows)
    return torch.cat([_pseudo_log_likelihoods(rbm, block, points, log_weights) for block in blocks])


def _pseudo_log_likelihoods(rbm: RBM, v: Tensor, points: Tensor, log_weights: Tensor) -> Tensor:
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
