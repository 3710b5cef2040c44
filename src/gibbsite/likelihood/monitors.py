"""Cheap, deterministic monitors of training; none of them is a likelihood."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from gibbsite.errors import ArgumentError
from gibbsite.layers import Layer
from gibbsite.likelihood.rounding import precise_enough
from gibbsite.model import RBM
from gibbsite.precision import in_double
from gibbsite.sampling import reconstruct

BLOCK_BYTES = 2**25
"""Memory of the rows, or of the inputs, that are computed at a time."""


@torch.no_grad()
def negative_free_energies(rbm: RBM, v: Tensor) -> Tensor:
    """-F(v) = log p(v) + log Z of each row, in float64, (rows,), in blocks of bounded memory."""
    wide = in_double(rbm)
    rows = max(1, BLOCK_BYTES // (8 * (rbm.visible.width + rbm.hidden.width)))
    return torch.cat([-wide.free_energy(block) for block in torch.split(v, rows)])


def as_states(rbm: RBM, data: Tensor) -> Tensor:
    """`Layer.check_data`, in float64 for measured units, so that no digit is lost."""
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
    scores = [negative_free_energies(rbm, as_states(rbm, data)).mean() for data in (train, test)]
    return (scores[0] - scores[1]).item()


@torch.no_grad()
def pseudo_likelihood(rbm: RBM, v: Tensor) -> float:
    r"""Mean over rows of $\sum_i \log p(v_i \mid v_{-i})$, in nats; every unit, no sampling.

    Each conditional is exact: F is evaluated with unit i, all of its columns, at each of its states
    (unlimited counts: at all that matter; real units: at quadrature points). Costs
    2 n_visible n_hidden softplus a row for binary units, so give it a few hundred rows. No bound on
    the likelihood; compare it only between like models. Raises `ArgumentError` for real units, or
    counts without a limit, whose inputs have no bound, as with Gaussian hidden units; and for
    units that depend on each other, as `MultivariateGaussian`.

    >>> import torch, gibbsite as gb
    >>> rbm = gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2))
    >>> round(gb.pseudo_likelihood(rbm, torch.ones(1, 3)), 4)  # 3 log 1/2
    -2.0794
    """
    return pseudo_log_likelihoods(rbm, as_states(rbm, v)).mean().item()


@torch.no_grad()
def pseudo_log_likelihoods(rbm: RBM, v: Tensor) -> Tensor:
    r"""$\sum_i \log p(v_i \mid v_{-i})$ of each row in nats, float64, (rows,).

    Moving one unit changes the hidden inputs by its own columns of the weight and the visible
    energy by that unit's own part: as many hidden log-partitions a row as there are units times
    points of a unit. Raises `ArgumentError` where a unit of endless states has inputs without
    bounds, as then no number of points covers its conditional.
    """
    if not rbm.visible.independent:
        raise ArgumentError(
            f"the pseudo-likelihood moves one unit at a time, but those of "
            f"{rbm.visible.describe()} depend on each other; use gb.evaluate"
        )
    grid, rbm = centred(rbm), precise_enough(rbm)
    v = rbm.visible.coerce(v)
    width = rbm.hidden.width + rbm.visible.width
    rows = max(1, BLOCK_BYTES // (2 * width * v.element_size()))
    return torch.cat([_pseudo_log_likelihoods(rbm, block, *grid) for block in torch.split(v, rows)])


def _pseudo_log_likelihoods(rbm: RBM, v: Tensor, layer: Layer, reach: list[float]) -> Tensor:
    hidden, visible = rbm.hidden, in_double(rbm.visible)  # energies nearly cancel below
    inputs, statistic = rbm.hidden_inputs(v), rbm.visible.statistic(v)
    centre = visible.mean(visible.zero_inputs(1))
    base = visible.energy(centre)
    total = visible.n * hidden.log_partition(inputs).double() - visible.energy(v.double()) + base
    at_once = max(1, BLOCK_BYTES // (inputs.numel() * inputs.element_size()))
    for unit in range(visible.n):
        columns = visible.unit_columns(unit)
        weight = rbm.weight[columns]
        rest = torch.addmm(inputs, statistic[:, columns], weight, alpha=-1)
        points, log_weights = layer.unit_states(unit, reach[unit])
        log_sum = torch.full_like(total, -torch.inf)
        for start in range(0, len(points), at_once):
            block = slice(start, start + at_once)
            states = centre.repeat(len(points[block]), 1)
            states[:, columns] = points[block]
            own = log_weights[block] - visible.energy(states) + base
            added = visible.statistic(states)[:, columns].to(weight) @ weight
            scores = hidden.log_partition(rest + added[:, None]).double() + own[:, None]
            log_sum = torch.logaddexp(log_sum, torch.logsumexp(scores, 0))
        total -= log_sum
    return total


def has_pseudo_likelihood(rbm: RBM) -> bool:
    """True unless visible units depend on each other, or one of endless states has no bounds."""
    return rbm.visible.independent and bounded_inputs(rbm)


def bounded_inputs(rbm: RBM) -> bool:
    """True if the inputs of visible units have bounds, or these need none."""
    return all(map(math.isfinite, rbm.hidden.interval)) or not math.isinf(max(rbm.visible.sizes))


@torch.no_grad()
def centred(rbm: RBM) -> tuple[Layer, list[float]]:
    """The visible layer with biases moved to the middle of the range of its inputs, in float64.

    And how far that range goes from there, by unit: from the range of the hidden states.
    """
    visible, hidden = copy.deepcopy(rbm.visible).double(), rbm.hidden
    least, most = hidden.interval
    if math.isinf(most - least):
        if not bounded_inputs(rbm):
            raise ArgumentError(
                f"the pseudo-likelihood sums over one unit of {visible.describe()} at a time, but "
                f"its inputs have no bounds, as the states of {hidden.describe()} have none; use "
                "hidden units with bounds, such as gb.Bernoulli, or gb.evaluate"
            )
        return visible, [math.inf] * visible.n
    weight = hidden.scaled_weight(rbm.weight.T).double()
    up, down = weight.clamp(min=0).sum(0), weight.clamp(max=0).sum(0)
    low, high = least * up + most * down, most * up + least * down
    visible.shift_((low + high) / 2)
    reach = (high - low) / 2
    return visible, [float(reach[visible.unit_columns(unit)].max()) for unit in range(visible.n)]
