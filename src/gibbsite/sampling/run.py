"""Samples of a model, starts of chains, and reconstructions."""

from __future__ import annotations

from dataclasses import is_dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from gibbsite import ops
from gibbsite.checks import check_counts, check_generator, check_memory
from gibbsite.errors import ArgumentError
from gibbsite.model import RBM, check_usable
from gibbsite.sampling.gibbs import Gibbs


class Sampler(Protocol):
    """Markov chains: `init` makes a state from v, `step` moves it and reports on the step.

    A state has a field ``v``. It may have a field ``h``, drawn given v or None, which gradients
    set where they have its inputs, to save a matrix product. A sampler that is faster at many
    steps may have ``advance(rbm, state, steps, generator) -> state``.
    """

    def init(self, rbm: RBM, v: Tensor, generator: torch.Generator | None = None) -> Any: ...

    def step(
        self, rbm: RBM, state: Any, generator: torch.Generator | None = None
    ) -> tuple[Any, Any]: ...


@torch.no_grad()
def random_start(rbm: RBM, n: int, generator: torch.Generator | None = None) -> Tensor:
    """n visible states drawn from the visible layer alone, as if the weights were 0."""
    check_counts(n=n)
    check_generator(generator)
    check_memory(f"{n} chains of {rbm.visible.n} + {rbm.hidden.n} units", n, sum(rbm.weight.shape))
    return rbm.visible.sample(rbm.visible.zero_inputs(n), generator)


@torch.no_grad()
def overdispersed_start(rbm: RBM, n: int, generator: torch.Generator | None = None) -> Tensor:
    """n visible states spread wider than the model, (n, visible.width).

    A third each from `random_start`, from `Layer.overdispersed` of the visible layer, and drawn
    given `Layer.overdispersed` of the hidden layer.
    """
    v = random_start(rbm, n, generator)
    first, second = n // 3, 2 * n // 3
    v[first:second] = rbm.visible.overdispersed(second - first, generator)
    h = rbm.hidden.overdispersed(n - second, generator)
    v[second:] = rbm.visible.sample(rbm.visible_inputs(h), generator)
    return v


def advance(
    sampler: Sampler, rbm: RBM, state: Any, steps: int, generator: torch.Generator | None = None
) -> Any:
    """The state after so many steps."""
    if hasattr(sampler, "advance") and steps > 0:
        return sampler.advance(rbm, state, steps, generator)
    for _ in range(steps):
        state, _ = sampler.step(rbm, state, generator)
    return state


@torch.no_grad()
def sample(
    rbm: RBM,
    n: int,
    *,
    sampler: Sampler | None = None,
    steps: int = 1000,
    thin: int = 1,
    start: Tensor | None = None,
    clamp: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """n visible states from Markov chains, (n, visible.width).

    Without `start`, n chains start at `overdispersed_start`, run `steps` steps and give one state
    each: independent draws, as close to p(v) as `steps` allows. With `start`,
    (chains, visible.width), that many chains burn in for `steps` steps and then give their states
    every `thin` steps until there are n; these are correlated within a chain, and row r comes from
    chain r mod chains.
    Biased towards the start as long as `steps` is short of the mixing time.

    Args:
        sampler: default `Gibbs()`.
        steps: burn-in, in sampler steps; 0 returns the start.
        thin: sampler steps between states kept of one chain.
        clamp: (chains, visible.width), NaN where a unit is free, values that are held elsewhere:
            the draws are of p(v) given these. One row is for all chains. For samplers that have a
            field ``clamp``, as all of Gibbsite's do.

    >>> import torch, gibbsite as gb
    >>> rbm, g = gb.RBM(gb.Bernoulli(4), gb.Bernoulli(2)), torch.Generator().manual_seed(0)
    >>> gb.sample(rbm, 20, steps=10, generator=g).shape
    torch.Size([20, 4])
    """
    check_counts(n=n, thin=thin)
    check_generator(generator)
    check_usable(rbm)
    check_memory(f"{n} samples of {rbm.visible.n} units", n, rbm.visible.width)
    check_counts(minimum=0, steps=steps)
    sampler = _clamped(sampler or Gibbs(), clamp)
    v = overdispersed_start(rbm, n, generator) if start is None else rbm.visible.check_data(start)
    kept = v.new_empty(n, rbm.visible.width)
    with ops.fitting_threads(rbm.weight.numel() * len(v)):
        state = sampler.init(rbm, v, generator)
        done = 0
        while done < n:
            state = advance(sampler, rbm, state, thin if done else steps, generator)
            part = state.v[: n - done]
            kept[done : done + len(part)] = part
            done += len(part)
    return kept


def _clamped(sampler: Sampler, clamp: Tensor | None) -> Sampler:
    """The sampler with units clamped, if any; `ArgumentError` if it has no field for them."""
    if clamp is None:
        return sampler
    if not (is_dataclass(sampler) and hasattr(sampler, "clamp")):
        raise ArgumentError(f"{sampler!r} has no field clamp; use gb.Gibbs() or gb.Tempering()")
    clamped: Sampler = replace(sampler, clamp=clamp)
    return clamped


@torch.no_grad()
def reconstruct(rbm: RBM, v: Tensor) -> Tensor:
    """E[v | E[h | v]], the one-step mean-field reconstruction, (rows, n_visible); deterministic."""
    check_usable(rbm)
    return rbm.visible_mean(rbm.hidden_mean(v))
