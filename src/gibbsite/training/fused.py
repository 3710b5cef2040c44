"""Fused updates: many updates of a small binary model in one compiled call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gibbsite.errors import ArgumentError, DataError
from gibbsite.gradients import CD, PCD, Centered
from gibbsite.gradients.centered import RATE, CenteredState
from gibbsite.layers.fast import is_bernoulli
from gibbsite.model import RBM
from gibbsite.ops import compiles, kernels_for
from gibbsite.ops.dispatch import kernel
from gibbsite.ops.kernels import SINGLE, fit, misfit
from gibbsite.sampling import Gibbs, GibbsState
from gibbsite.training.sgd import SGD

SMALL = 2**23
"""Multiply-adds of a product from which separate updates, on all threads, are as quick.

Measured: ``speed.py together``.
"""

ENTRIES = 2**20
"""Entries of data that are handed to one call."""


def fused(run: Any) -> Fused | None:
    """Fused updates for what a training run carries, or None.

    There is a kernel for Bernoulli layers in float32 on the CPU, CD or PCD with Gibbs sampling,
    perhaps centred, and our SGD; none where anything else looks at each update or changes it.
    """
    changed = run.penalties or run.projections or run.weights is not None
    watched = any(getattr(callback, "every_update", False) for callback in run.callbacks)
    if changed or watched or not compiles():
        return None
    centered = type(run.gradient) is Centered
    contrast = run.gradient.gradient if centered else run.gradient
    if type(contrast) not in (CD, PCD) or contrast.sampler != Gibbs():
        return None
    if not (is_bernoulli(run.rbm.visible) and is_bernoulli(run.rbm.hidden)):
        return None
    parameters = _parameters(run.rbm)
    plain = all(x.is_cpu and x.dtype == torch.float32 and x.is_contiguous() for x in parameters)
    if not (plain and type(run.optimizer) is SGD and run.optimizer.moves_just(parameters)):
        return None
    return Fused(run.rbm, contrast, centered, run.optimizer)


@dataclass(frozen=True)
class Fused:
    """Updates of Bernoulli layers by CD or PCD, centred or not, and SGD, many in one call.

    Most of the time of a separate update of 64 x 128 units goes to calls from Python. The random
    numbers are those of separate updates, the results too, up to rounding.
    """

    rbm: RBM
    contrast: CD | PCD
    centered: bool
    optimizer: SGD

    def rows(self, batch_size: int) -> int:
        """Number of rows to hand to one call: whole minibatches."""
        return max(1, ENTRIES // self.rbm.visible.n // batch_size) * batch_size

    def takes(self, state: Any) -> bool:
        """True if the state has its chains and means, as it has after one separate update."""
        if self.centered and state.visible is None:
            return False
        chains = self._chains(state)
        with torch.no_grad():
            return all(x is not None and kernels_for(x).is_binary(x) for x in chains)

    def __call__(
        self, data: Tensor, batch_size: int, state: Any, generator: torch.Generator | None = None
    ) -> tuple[list[float], Any]:
        """Run the updates: norms of the gradients and the new state; the given one is unchanged."""
        parameters, group = _parameters(self.rbm), self.optimizer.param_groups[0]
        chains = [part.clone() for part in self._chains(state)]
        means = (state.visible, state.hidden) if self.centered else parameters[1:]
        offsets = means[0].detach().clone(), means[1].detach().clone()
        moving = Moving(parameters, self.optimizer.velocities(parameters), chains, offsets)
        rates = (RATE if self.centered else 0.0), group["lr"], group["momentum"]
        self.optimizer.zero_grad()
        self.optimizer.step()  # moves nothing; schedules take note
        norms = updates_(moving, data, batch_size, self.contrast.steps, rates, generator)
        moved = GibbsState(*chains) if chains else None
        return norms, CenteredState(moved, *offsets) if self.centered else moved

    def _chains(self, state: Any) -> tuple[Any, ...]:
        """v and h of the persistent chains, if there are any."""
        chains: tuple[Any, ...] | None = state.inner if self.centered else state
        return chains or ()


def _parameters(rbm: RBM) -> tuple[Tensor, Tensor, Tensor]:
    return rbm.weight, rbm.visible.bias, rbm.hidden.bias


class Moving(NamedTuple):
    """Tensors that updates of a binary model change in place; float32, contiguous.

    Attributes:
        parameters: weight, b and c.
        velocities: of the three.
        chains: v and h of persistent chains, zeros and ones; none if they start at the data.
        offsets: means of v and h, for centring.
    """

    parameters: Sequence[Tensor]
    velocities: Sequence[Tensor]
    chains: Sequence[Tensor]
    offsets: Sequence[Tensor]


def updates_(
    moving: Moving,
    data: Tensor,
    batch_size: int,
    steps: int,
    rates: tuple[float, float, float],
    generator: torch.Generator | None = None,
) -> list[float]:
    """Update the model by the minibatches of data in turn, in one call.

    By persistent contrastive divergence if there are chains, else by contrastive divergence. rates
    are the share of a minibatch in the offsets, 0 for a gradient that is not centred, the learning
    rate and the momentum. The random numbers are those that single calls would draw. Returns the
    norms of the gradients; at the first that is not finite it ends, without a step.
    """
    from gibbsite.training import fused_kernels  # late, as Numba takes its time

    if type(batch_size) is not int or type(steps) is not int or min(batch_size, steps) < 1:
        raise ArgumentError(f"{batch_size=}, {steps=}: expected whole numbers of at least 1")
    arrays, chains = _arrays(moving, data), bool(moving.chains)
    updates = -(-len(data) // batch_size)
    keys = torch.empty(updates, 1 + 2 * steps, dtype=torch.int64).random_(generator=generator)
    scalars, norms = tuple(map(np.float32, rates)), np.empty(updates)
    name = "persistent_updates" if chains else "contrastive_updates"
    update = kernel(name, arrays[0][0], fused_kernels)
    done = update(*arrays, data.contiguous().numpy(), batch_size, keys.numpy(), scalars, norms)
    return [float(norm) for norm in norms[:done]]


def _arrays(moving: Moving, data: Tensor) -> tuple[tuple[Any, ...], ...]:
    """The tensors as arrays, each checked to have the shape that the weight's implies."""
    weight = moving.parameters[0]
    if weight.ndim != 2 or 0 in weight.shape:
        raise misfit(weight, ("n", "m"), SINGLE)
    n, m = weight.shape
    fit(data, (len(data) if data.ndim else 0, n), SINGLE)
    rows = len(moving.chains[0]) if moving.chains and moving.chains[0].ndim else 1
    each, states = ((n, m), (n,), (m,)), ((rows, n), (rows, m)) if moving.chains else ()
    for tensors, shapes in zip(moving, (each, each, states, each[1:]), strict=True):
        if len(tensors) != len(shapes):
            raise DataError(f"{len(tensors)} tensors: expected {len(shapes)}, {shapes}")
        for tensor, shape in zip(tensors, shapes, strict=True):
            fit(tensor, shape, SINGLE)
            if not tensor.is_contiguous():
                raise DataError(f"a tensor of shape {shape} is not contiguous")
    with torch.no_grad():
        if rows < 1 or not all(kernels_for(x).is_binary(x) for x in moving.chains):
            raise DataError("chains: expected zeros and ones, at least one row")
    parameters, velocities, chains, offsets = (
        tuple(x.detach().numpy() for x in tensors) for tensors in moving
    )
    return parameters, tuple(x.reshape(-1) for x in velocities), chains, offsets
