r"""Exact answers by enumeration: log Z, log-likelihood, moments, gradient, independent draws.

The side with fewer states is enumerated, the other is summed or integrated in closed form, so the
cost is min(2^n_visible, 2^n_hidden) rows. States are made in blocks, so memory stays bounded
(about `BLOCK_BYTES`, a few times over) whatever the number of states. Sums over states are in
float64 whatever the model's dtype; results are in the model's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gibbsite import observed
from gibbsite.checks import check_counts, check_generator, check_memory
from gibbsite.errors import TooLargeError
from gibbsite.layers.missing import check_observed
from gibbsite.model import RBM, check_usable
from gibbsite.precision import in_double

MAX_STATES = 2**25
"""The largest number of states enumerated; a larger request raises `TooLargeError`."""

EXACT_STATES = 2**20
"""Number of states up to which sums and draws are exact by default, not estimates or chains."""

BLOCK_BYTES = 2**22
"""Size of one block of states together with the other side's inputs."""


class Moments(NamedTuple):
    """First moments of p(v, h): <v> (n_visible,), <h> (n_hidden,), <v h> (n_visible, n_hidden)."""

    visible: Tensor
    hidden: Tensor
    product: Tensor


def is_enumerable(rbm: RBM, max_states: float = MAX_STATES) -> bool:
    """True if the side with fewer states has at most max_states of them."""
    return min(rbm.visible.n_states, rbm.hidden.n_states) <= max_states


def is_small(rbm: RBM) -> bool:
    """True for a model with at most `EXACT_STATES` states to sum over."""
    return is_enumerable(rbm, EXACT_STATES)


def check_enumerable(rbm: RBM) -> None:
    """Raise `TooLargeError` unless the model `is_enumerable`."""
    if is_enumerable(rbm):
        return
    smaller = min((rbm.visible, rbm.hidden), key=lambda layer: layer.n_states)
    if math.isinf(smaller.n_states):
        raise TooLargeError(
            f"neither {rbm.visible.describe()} nor {rbm.hidden.describe()} has few enough states "
            "to count; exact sums need a small side of finite units, such as binary ones"
        )
    raise TooLargeError(
        f"the smaller side, {smaller.describe()}, has {smaller.n_states:.3g} states; exact sums "
        f"stop at {MAX_STATES:,} (2^25). Use a smaller layer, or gb.evaluate and "
        "gb.log_partition with method='bridge' to estimate, gb.PCD to train"
    )


def log_partition(rbm: RBM) -> Tensor:
    r"""log Z in nats, a 0-d tensor of the model's dtype; differentiable.

    $$\log Z = \log\sum_h \int e^{-E(v,h)}\,dv = \log\sum_h e^{-F(h)}$$

    Raises `TooLargeError` beyond `MAX_STATES`. Source: Cheng's tutorial (2.2), (3.2).

    >>> import gibbsite as gb
    >>> rbm = gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2))
    >>> round(gb.exact.log_partition(rbm).item(), 4)  # 5 log 2
    3.4657
    """
    check_usable(rbm)
    return _log_partition(in_double(rbm)).to(rbm.weight.dtype)


def _log_partition(rbm: RBM) -> Tensor:
    side = _enumerated_side(rbm)
    return torch.logsumexp(_block_log_sums(side, list(_blocks(side))), 0)


def log_likelihood(rbm: RBM, v: Tensor) -> Tensor:
    """log p(v) = -F(v) - log Z of each row, in nats (for Gaussian units: of the density), (rows,).

    Take ``.mean()`` for the log-likelihood of a data set. NaN in all columns of a unit is a missing
    entry, over which is summed too: that row's value is log p(v_observed), 0 if all are missing.
    Raises `TooLargeError` beyond `MAX_STATES` and `DataError` for unfit data. Source: Cheng's
    tutorial (2.6), (3.6).

    >>> import torch, gibbsite as gb
    >>> rbm = gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2))
    >>> gb.exact.log_likelihood(rbm, torch.zeros(2, 3)).exp()
    tensor([0.1250, 0.1250], grad_fn=<ExpBackward0>)
    """
    check_usable(rbm)
    wide = in_double(rbm)
    v = check_observed(wide.visible, v)
    scores = observed.log_sums(wide, v) if bool(v.isnan().any()) else -wide.free_energy(v)
    return (scores - _log_partition(wide)).to(rbm.weight.dtype)


@torch.no_grad()
def moments(rbm: RBM) -> Moments:
    """<v>, <h> and <v h> under the model (of the states themselves, not of v/sigma)."""
    check_usable(rbm)
    side = _enumerated_side(rbm)

    def block_moments(x: Tensor, weights: Tensor) -> dict[str, Tensor]:
        other = side.hidden_mean(x)
        return {
            "ours": weights @ x,
            "theirs": weights @ other,
            "product": (x * weights[:, None]).T @ other,
        }

    mean = _expectation(side, block_moments)
    if side is rbm:
        return Moments(mean["ours"], mean["theirs"], mean["product"])
    return Moments(mean["theirs"], mean["ours"], mean["product"].T)


@torch.no_grad()
def model_phase(rbm: RBM) -> dict[str, Tensor]:
    """The negative phase: the mean of -dE/dtheta under p(v, h), keyed by ``named_parameters()``."""
    side = _enumerated_side(rbm)

    def block_phase(x: Tensor, weights: Tensor) -> dict[str, Tensor]:
        ours, theirs = side.visible.moments_at(x), side.hidden.moments(side.hidden_inputs(x))
        visible, hidden = (ours, theirs) if side is rbm else (theirs, ours)
        return rbm.phase(visible, hidden, weights)

    return _expectation(side, block_phase)


@torch.no_grad()
def gradient(rbm: RBM, v: Tensor) -> dict[str, Tensor]:
    """Gradient of the mean log-likelihood of the rows of v, keyed by ``rbm.named_parameters()``.

    Data expectation minus model expectation: Cheng's tutorial (2.14)-(2.16), (3.14)-(3.16). Missing
    entries, NaN, are summed over as in `log_likelihood`.

    >>> import torch, gibbsite as gb
    >>> rbm = gb.RBM(gb.Bernoulli(2), gb.Bernoulli(2))
    >>> gb.exact.gradient(rbm, torch.ones(4, 2))["visible.bias"].tolist()
    [0.5, 0.5]
    """
    check_usable(rbm)
    wide = in_double(rbm)
    v = check_observed(wide.visible, v)
    holes = bool(v.isnan().any())
    data = observed.phase(wide, v).gradient if holes else wide.data_phase(v)
    model = model_phase(wide)
    return {name: (data[name] - model[name]).to(rbm.weight.dtype) for name in data}


@torch.no_grad()
def sample(rbm: RBM, n: int, generator: torch.Generator | None = None) -> Tensor:
    """n independent draws of v from p(v), (n, n_visible): no Markov chain, no burn-in.

    >>> import torch, gibbsite as gb
    >>> rbm = gb.RBM(gb.Gaussian(3), gb.Bernoulli(2))
    >>> gb.exact.sample(rbm, 5, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([5, 3])
    """
    check_counts(n=n)
    check_memory(f"{n} samples of {rbm.visible.n} units", n, rbm.visible.width)
    check_generator(generator)
    check_usable(rbm)
    side = _enumerated_side(in_double(rbm))
    blocks = list(_blocks(_enumerated_side(rbm)))
    odds = torch.softmax(_block_log_sums(side, blocks), 0)
    chosen = torch.multinomial(odds, n, replacement=True, generator=generator)
    states = side.weight.new_empty(n, side.visible.width)
    for index in set(chosen.tolist()):
        start, stop = blocks[index]
        rows = (chosen == index).nonzero()[:, 0]
        block = side.visible.states(start, stop)
        odds = torch.softmax(-side.free_energy(block), 0)
        states[rows] = block[
            torch.multinomial(odds, len(rows), replacement=True, generator=generator)
        ]
    if rbm.visible.n_states <= rbm.hidden.n_states:
        return states.to(rbm.weight.dtype)
    return rbm.mirror().sample_hidden(states, generator)


def _enumerated_side(rbm: RBM) -> RBM:
    """The model, or its mirror, whose *visible* layer is to be enumerated."""
    check_enumerable(rbm)
    return rbm if rbm.visible.n_states <= rbm.hidden.n_states else rbm.mirror()


def _blocks(side: RBM) -> Iterator[tuple[int, int]]:
    """Half-open ranges of state indices that cover every state of the visible layer."""
    total = int(side.visible.n_states)
    row_bytes = (side.visible.width + side.hidden.width) * side.weight.element_size()
    rows = max(1, min(total, BLOCK_BYTES // row_bytes))
    for start in range(0, total, rows):
        yield start, min(start + rows, total)


def _block_log_sums(side: RBM, blocks: list[tuple[int, int]]) -> Tensor:
    """`_block_log_sum` of every block, in a tensor allocated beforehand.

    A list of small results would lie between the large temporaries on the heap and stop their
    space from being used again: gigabytes, with a thousand blocks.
    """
    sums = side.weight.new_empty(len(blocks))
    for index, block in enumerate(blocks):
        sums[index] = _block_log_sum(side, *block)
    return sums


def _block_log_sum(side: RBM, start: int, stop: int) -> Tensor:
    """log sum of exp(-F) over one block of a model in float64."""

    def log_sum() -> Tensor:
        return torch.logsumexp(-side.free_energy(side.visible.states(start, stop)), 0)

    if torch.is_grad_enabled() and side.weight.requires_grad:
        # the backward pass recomputes the block: nothing of it is kept
        total: Tensor = checkpoint(log_sum, use_reentrant=False, preserve_rng_state=False)
        return total
    return log_sum()


def _expectation(
    side: RBM, block_sum: Callable[[Tensor, Tensor], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Expectation under the model, in one pass; `block_sum` is linear in its weights."""
    wide = in_double(side)
    log_z = wide.weight.new_full((), -torch.inf)
    mean: dict[str, Tensor] = {}
    for start, stop in _blocks(side):
        states = side.visible.states(start, stop)
        log_weights = -wide.free_energy(states)
        log_block = torch.logsumexp(log_weights, 0)
        weights = torch.exp(log_weights - log_block).to(states.dtype)
        new_log_z = torch.logaddexp(log_z, log_block)
        old, new = torch.exp(log_z - new_log_z), torch.exp(log_block - new_log_z)
        block = block_sum(states, weights)
        if mean:
            block = {
                name: mean[name] * old.to(block[name]) + block[name] * new.to(block[name])
                for name in block
            }
        mean = block
        log_z = new_log_z
    return mean
