"""Fused updates: many updates of a small Bernoulli model in one compiled call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gibbsite.gradients import CD, PCD, Centered
from gibbsite.gradients.centered import RATE, CenteredState
from gibbsite.layers.fast import is_bernoulli
from gibbsite.model import RBM
from gibbsite.ops import compiles, kernels_for
from gibbsite.ops.dispatch import kernel
from gibbsite.rows import Rows
from gibbsite.sampling import Gibbs, GibbsState
from gibbsite.training.sgd import SGD

SMALL = 2**23
"""Multiply-adds of a product from which separate updates, on all threads, are as quick.

Measured: ``speed.py fused``.
"""

ENTRIES = 2**20
"""Entries of data that are handed to one call."""


def fused_updates(run: Any) -> FusedUpdates | None:
    """Fused updates for a training run; None if there is no kernel for it.

    There is one for Bernoulli layers in float32 on the CPU, CD or PCD by Gibbs sampling, centred or
    not, and `SGD`, without penalties, projections, weights of rows, or callbacks on every update.
    """
    changed = run.penalties or run.projections or run.weights is not None
    watched = any(getattr(callback, "every_update", False) for callback in run.callbacks)
    if changed or watched or not compiles():
        return None
    centered = type(run.gradient) is Centered
    contrast = run.gradient.gradient if centered else run.gradient
    sampler = getattr(contrast, "sampler", None)
    if type(contrast) not in (CD, PCD) or sampler != Gibbs():
        return None
    if not (is_bernoulli(run.rbm.visible) and is_bernoulli(run.rbm.hidden)):
        return None
    parameters = _parameters(run.rbm)
    suitable = all(_is_suitable(x, *x.shape) for x in parameters)
    if not (suitable and type(run.optimizer) is SGD and run.optimizer.moves_just(parameters)):
        return None
    return FusedUpdates(run.rbm, contrast, centered, run.optimizer, run.rows.drawn)


@dataclass(frozen=True)
class FusedUpdates:
    """Updates by SGD along CD or PCD gradients, centred or not, many in one call.

    A separate update of 64 x 128 units spends most of its time in calls from Python. The random
    numbers are those of separate updates; the results too, up to rounding.
    """

    rbm: RBM
    contrast: CD | PCD
    centered: bool
    optimizer: SGD
    drawn: bool = True

    def rows_per_call(self, batch_size: int) -> int:
        """Number of rows of data for one call: whole minibatches."""
        return max(1, ENTRIES // self.rbm.visible.n // batch_size) * batch_size

    def can_run(self, state: Any) -> bool:
        """True if the kernel can go on from a state of the gradient estimator.

        It has running means and chains with h, as after one separate update, and every tensor has
        the shape that the kernel, which checks nothing, reads.
        """
        (n, m), parameters = self.rbm.weight.shape, _parameters(self.rbm)
        if self.centered:
            if not (_is_suitable(state.visible, n) and _is_suitable(state.hidden, m)):
                return False
            state = state.inner
        pairs = zip(self.optimizer.velocities(parameters), parameters, strict=True)
        if not all(_is_suitable(velocity, *x.shape) for velocity, x in pairs):
            return False
        if type(self.contrast) is CD:
            return True
        (v, h), rows = state, state.v.shape[:1]
        if not (_is_suitable(v, *rows, n) and _is_suitable(h, *rows, m) and len(v) > 0):
            return False
        with torch.no_grad():
            return all(kernels_for(x).is_binary(x) for x in (v, h))

    @torch.no_grad()
    def visit(
        self, rows: Rows, index: Tensor, batch_size: int, state: Any, generator: Any = None
    ) -> tuple[list[float], Any]:
        """Update by the rows of an index."""
        data = self.rbm.visible.coerce(rows.at(index, self.rbm.weight.dtype))
        return self(data, batch_size, state, generator)

    @torch.no_grad()
    def __call__(
        self, data: Tensor, batch_size: int, state: Any, generator: torch.Generator | None = None
    ) -> tuple[list[float], Any]:
        """Update by the minibatches of data, (rows, n_visible), in turn.

        Returns the norms of the gradients, up to one that is not finite, for which there is no
        step, and the new state; the old one is left as it was.
        """
        persistent, group = type(self.contrast) is PCD, self.optimizer.param_groups[0]
        parameters = _parameters(self.rbm)
        inner, *means = state if self.centered else (state, *parameters[1:])  # which stay unused
        chains = [x.clone() for x in inner] if persistent else []
        offsets = [x.clone() for x in means]
        velocities = self.optimizer.velocities(parameters)
        self.optimizer.zero_grad()
        self.optimizer.step()  # moves nothing, but schedules want to see a step

        updates, draws = -(-len(data) // batch_size), self._draws()
        keys = torch.empty(updates, sum(draws), dtype=torch.int64).random_(generator=generator)
        rates = (RATE if self.centered else 0.0), group["lr"], group["momentum"]
        norms = np.empty(updates)
        name = "persistent_updates" if persistent else "contrastive_updates"
        done = self._kernel(name)(
            _arrays(parameters),
            tuple(x.reshape(-1) for x in _arrays(velocities)),
            _arrays(chains),
            _arrays(offsets),
            self._table(data),
            int(batch_size),
            _arrays(part.contiguous() for part in torch.split(keys, draws, 1)),
            tuple(map(np.float32, rates)),
            norms,
        )
        inner = GibbsState(*chains) if persistent else inner
        return norms[:done].tolist(), CenteredState(inner, *offsets) if self.centered else inner

    def _draws(self) -> list[int]:
        """Numbers of keys of an update: for the data, if drawn, and for the chains."""
        return [int(self.drawn), 2 * self.contrast.steps]

    def _table(self, data: Tensor) -> Any:
        """Data as the kernel takes them."""
        return data.contiguous().numpy()

    def _kernel(self, name: str) -> Callable[..., int]:
        """The kernel of that name."""
        from gibbsite.training import fused_kernels  # late, as Numba is slow to import

        return kernel(name, self.rbm.weight.detach().numpy(), fused_kernels)


def _parameters(rbm: RBM) -> tuple[Tensor, Tensor, Tensor]:
    return rbm.weight, rbm.visible.bias, rbm.hidden.bias


def _is_suitable(x: Tensor | None, *shape: int) -> bool:
    """True for a contiguous float32 tensor of that shape on the CPU."""
    fits = x is not None and x.is_cpu and x.dtype == torch.float32 and x.shape == shape
    return fits and x.is_contiguous()  # type: ignore[union-attr]


def _arrays(tensors: Any) -> tuple[np.ndarray, ...]:
    return tuple(x.detach().numpy() for x in tensors)
