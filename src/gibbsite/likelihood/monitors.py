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
    rows = max(1, BLOCK_BYTES // (8 * (rbm.visible.width + rbm.hidden.width)))
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

    Each conditional is exact: F is evaluated with unit i, all of its columns, at every one of its
    states (counts without a limit: at all that matter; real units: integrated by quadrature). Costs
    2 n_visible n_hidden softplus a row for binary units, so give it a few hundred rows. No bound on
    the likelihood; compare it only between like models. Raises `ArgumentError` for real units, or
    counts without a limit, whose inputs have no bound, as with Gaussian hidden units.

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
    bounds, as no number of points then covers its conditional.
    """
    rbm = precise_enough(rbm)
    reach = _reach(rbm)
    v = rbm.visible.coerce(v)
    width = rbm.hidden.width + rbm.visible.width
    rows = max(1, BLOCK_BYTES // (2 * width * v.element_size()))
    return torch.cat([_pseudo_log_likelihoods(rbm, block, reach) for block in torch.split(v, rows)])


def _pseudo_log_likelihoods(rbm: RBM, v: Tensor, reach: list[float]) -> Tensor:
    hidden, visible = rbm.hidden, in_double(rbm.visible)  # whose energies are nearly equal
    inputs, statistic = rbm.hidden_inputs(v), rbm.visible.statistic(v)
    centre = visible.mean(visible.zero_inputs(1))
    at_rest = visible.energy(centre)
    total = visible.n * hidden.log_partition(inputs).double() - visible.energy(v.double()) + at_rest
    at_once = max(1, BLOCK_BYTES // (inputs.numel() * inputs.element_size()))
    for unit in range(visible.n):
        columns = visible.unit_columns(unit)
        weight = rbm.weight[columns]
        rest = torch.addmm(inputs, statistic[:, columns], weight, alpha=-1)
        points, log_weights = visible.unit_states(unit, reach[unit])
        log_sum = torch.full_like(total, -torch.inf)
        for start in range(0, len(points), at_once):
            block = slice(start, start + at_once)
            states = centre.repeat(len(points[block]), 1)
            states[:, columns] = points[block]
            own = log_weights[block] - visible.energy(states) + at_rest
            moved = visible.statistic(states)[:, columns].to(weight) @ weight
            others = hidden.log_partition(rest + moved[:, None]).double()
            log_sum = torch.logaddexp(log_sum, torch.logsumexp(others + own[:, None], 0))
        total -= log_sum
    return total


def has_pseudo_likelihood(rbm: RBM) -> bool:
    """True unless a visible unit of endless states has inputs without bounds."""
    return all(map(math.isfinite, rbm.hidden.interval)) or not math.isinf(max(rbm.visible.sizes))


def _reach(rbm: RBM) -> list[float]:
    """Bound of |inputs| of each visible unit, from the range of the hidden states."""
    visible, hidden = rbm.visible, rbm.hidden
    ends = torch.tensor(hidden.interval, dtype=rbm.weight.dtype, device=rbm.weight.device)
    if not bool(torch.isfinite(ends).all()):
        if not has_pseudo_likelihood(rbm):
            raise ArgumentError(
                f"the pseudo-likelihood sums over one unit of {visible.describe()} at a time, but "
                f"its inputs have no bounds, as the states of {hidden.describe()} have none; use "
                "hidden units with bounds, such as gb.Bernoulli, or gb.evaluate"
            )
        return [math.inf] * visible.n
    # of each weight the larger and the smaller product with a hidden state, summed for each column
    products = hidden.scaled_weight(rbm.weight.T)[..., None] * ends
    low, high = products.amin(-1).sum(0), products.amax(-1).sum(0)
    bounds = torch.maximum(high, -low)
    return [float(bounds[visible.unit_columns(unit)].max()) for unit in range(visible.n)]
