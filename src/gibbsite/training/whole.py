"""Many updates of a small binary model in one compiled call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gibbsite import ops
from gibbsite.gradients import CD, PCD, Centered, Gradient
from gibbsite.gradients.centered import RATE, CenteredState
from gibbsite.model import RBM
from gibbsite.sampling import Gibbs, GibbsState
from gibbsite.training.sgd import SGD

SMALL = 2**23
"""Multiply-adds of a product from which separate updates, on all threads, are as quick.

Measured: ``speed.py together``.
"""

NUMBERS = 2**20
"""Entries of data that are handed to one call."""


@dataclass(frozen=True)
class Whole:
    """Fused updates of binary layers by CD or PCD, centred or not, and SGD.

    Most of the time of a separate update of 64 x 128 units goes to calls from Python. The random
    numbers are those of separate updates, the results too, up to rounding.
    """

    rbm: RBM
    contrast: CD | PCD
    centered: bool
    optimizer: SGD
    follow: Callable[[Any, int], object] | None
    """Called with the new state and the number of updates that led to it."""

    def rows(self, batch_size: int) -> int:
        """Number of rows to hand to one call: whole minibatches."""
        return max(1, NUMBERS // self.rbm.visible.n // batch_size) * batch_size

    def takes(self, state: Any) -> bool:
        """True if the state has its chains and means, as it has after one separate update."""
        if self.centered and state.visible is None:
            return False
        chains = self._chains(state)
        return all(part is not None and ops.is_binary(part) for part in chains)

    def __call__(
        self, data: Tensor, batch_size: int, state: Any, generator: torch.Generator | None = None
    ) -> tuple[list[float], Any]:
        """Run the updates: norms of the gradients and the new state; the given one is unchanged."""
        parameters, group = _parameters(self.rbm), self.optimizer.param_groups[0]
        chains = [part.clone() for part in self._chains(state)]
        means = (state.visible, state.hidden) if self.centered else parameters[1:]
        offsets = means[0].detach().clone(), means[1].detach().clone()
        velocities = self.optimizer.velocities(parameters)
        rates = (RATE if self.centered else 0.0), group["lr"], group["momentum"]
        ascent = ops.Ascent(parameters, velocities, chains, offsets)
        self.optimizer.zero_grad()
        self.optimizer.step()  # moves nothing; schedules take note
        norms = ops.updates_(ascent, data, batch_size, self.contrast.steps, rates, generator)
        moved = GibbsState(*chains) if chains else None
        state = CenteredState(moved, *offsets) if self.centered else moved
        if self.follow is not None:
            self.follow(state, len(norms))
        return norms, state

    def _chains(self, state: Any) -> tuple[Any, ...]:
        """v and h of the persistent chains, if there are any."""
        chains: tuple[Any, ...] | None = state.inner if self.centered else state
        return chains or ()


def whole(
    rbm: RBM, gradient: Gradient, optimizer: Optimizer, penalties: Sequence[Any]
) -> Whole | None:
    """Fused updates for these parts, if there is a kernel for them; else None.

    A gradient with a method `follow` is one that watches another, its `gradient`.
    """
    follow = getattr(gradient, "follow", None)
    gradient = gradient if follow is None else getattr(gradient, "gradient")  # noqa: B009
    centered = isinstance(gradient, Centered)
    contrast = gradient.gradient if isinstance(gradient, Centered) else gradient
    if not (isinstance(contrast, CD | PCD) and type(contrast) in (CD, PCD)):
        return None
    if not (contrast.sampler == Gibbs() and type(optimizer) is SGD and ops.compiles()):
        return None
    binary = rbm.visible.is_binary and rbm.hidden.is_binary
    parameters = _parameters(rbm)
    plain = all(x.is_cpu and x.dtype == torch.float32 and x.is_contiguous() for x in parameters)
    if penalties or not (binary and plain and optimizer.moves_just(parameters)):
        return None
    return Whole(rbm, contrast, centered, optimizer, follow)


def _parameters(rbm: RBM) -> tuple[Tensor, Tensor, Tensor]:
    return rbm.weight, rbm.visible.bias, rbm.hidden.bias
