"""The contract of samplers, starts of chains, and reconstructions."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Protocol

import torch
from torch import Tensor

from gibbsite.checks import check_counts, check_generator, check_memory
from gibbsite.model import RBM, check_usable


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


class ByFields:
    """A dataclass equal to one of its type with equal fields; tensors must be the same object."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(map(_same, _values(self), _values(other)))

    def __hash__(self) -> int:
        return hash(type(self))


def _values(x: Any) -> list[Any]:
    return [getattr(x, field.name) for field in fields(x)]


def _same(x: object, y: object) -> bool:
    if isinstance(x, tuple) and isinstance(y, tuple):
        return len(x) == len(y) and all(map(_same, x, y))
    return x is y or (not (isinstance(x, Tensor) or isinstance(y, Tensor)) and x == y)


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
def reconstruct(rbm: RBM, v: Tensor) -> Tensor:
    """E[v | E[h | v]], the one-step mean-field reconstruction, (rows, n_visible); deterministic."""
    check_usable(rbm)
    return rbm.visible_mean(rbm.hidden_mean(v))
