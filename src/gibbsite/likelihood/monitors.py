"""Cheap, deterministic monitors of training. None of them is a likelihood."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gibbsite.errors import ArgumentError
from gibbsite.model import RBM
from gibbsite.sampling import reconstruct

BLOCK_BYTES = 2**25


@torch.no_grad()
def negative_free_energies(rbm: RBM, v: Tensor) -> Tensor:
    """-F(v) = log p(v) + log Z of each row, float64, (rows,), in blocks of bounded memory."""
    rows = max(1, BLOCK_BYTES // (rbm.hidden.n * v.element_size()))
    return torch.cat([-rbm.free_energy(block).double() for block in torch.split(v, rows)])


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
    train, test = rbm.visible.check_data(train), rbm.visible.check_data(test)
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
    v = rbm.visible.check_data(v)
    if math.isinf(rbm.visible.n_states) and math.isinf(rbm.hidden.n_states):
        raise ArgumentError("pseudo-likelihood needs binary units on one side at least")
    points, log_weights = rbm.visible.unit_grid(rbm.weight.abs().sum(1))
    rows = max(1, BLOCK_BYTES // (len(points) * (rbm.hidden.n + rbm.visible.n) * v.element_size()))
    total: float = sum(
        _unit_conditionals(rbm, block, unit, points[:, unit], log_weights[:, unit]).sum().item()
        for block in torch.split(v, rows)
        for unit in range(rbm.visible.n)
    )
    return total / len(v)


def _unit_conditionals(
    rbm: RBM, v: Tensor, unit: int, points: Tensor, log_weights: Tensor
) -> Tensor:
    """log p(v_unit | the others) of each row; moving one unit moves the inputs by rank one."""
    trials = v.repeat(len(points), 1, 1)
    trials[:, :, unit] = points[:, None]
    moved = rbm.visible.statistic(trials)[:, :, unit] - rbm.visible.statistic(v)[:, unit]
    inputs = rbm.hidden_inputs(v) + moved[:, :, None] * rbm.weight[unit]
    free_energies = rbm.visible.energy(trials) - rbm.hidden.log_partition(inputs)
    return -rbm.free_energy(v) - torch.logsumexp(log_weights[:, None] - free_energies, 0)
