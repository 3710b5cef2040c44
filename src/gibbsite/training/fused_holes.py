"""Fused updates by rows with missing entries."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gibbsite.gradients import PCD, Marginalised
from gibbsite.ops.dispatch import kernel
from gibbsite.rows import Rows
from gibbsite.training import fused
from gibbsite.training.fused import FusedUpdates


def fused_updates(run: Any) -> FusedUpdates | None:
    """Fused updates for a training run, with missing entries or without; None if there are none.

    With missing entries they are for PCD alone.
    """
    if type(run.gradient) is not Marginalised:
        return fused.fused_updates(run)
    inner = copy.copy(run)
    inner.gradient = run.gradient.gradient
    updates = fused.fused_updates(inner)
    if updates is None or type(updates.contrast) is not PCD:
        return None
    return FusedHoles(**vars(updates), marginalised=run.gradient)


@dataclass(frozen=True)
class FusedHoles(FusedUpdates):
    """`FusedUpdates` with clamped chains on the missing entries, as `Marginalised` runs them.

    The random numbers are those of separate updates where every row of a minibatch has missing
    entries.
    """

    marginalised: Marginalised = field(kw_only=True)

    def can_run(self, state: Any) -> bool:
        """`FusedUpdates.can_run`, where the chains of missing entries persist."""
        return state.entries is not None and super().can_run(state.inner)

    @torch.no_grad()
    def visit(
        self, rows: Rows, index: Tensor, batch_size: int, state: Any, generator: Any = None
    ) -> tuple[list[float], Any]:
        data = self.rbm.visible.coerce(rows.at(index, self.rbm.weight.dtype))
        starts = self.marginalised.row_starts(index)
        visit = _Visit(**vars(self), starts=starts, entries=state.entries)
        norms, inner = visit(data, batch_size, state.inner, generator)
        return norms, state._replace(inner=inner)


@dataclass(frozen=True)
class _Visit(FusedHoles):
    """One call, for rows of which the missing entries begin at `starts`."""

    starts: Tensor = field(kw_only=True)
    entries: Tensor = field(kw_only=True)

    def _draws(self) -> list[int]:
        data, chains = super()._draws()
        return [data, 2 * self.marginalised.steps, chains]

    def _table(self, data: Tensor) -> Any:
        return data.contiguous().numpy(), self.starts.numpy(), self.entries.numpy()

    def _kernel(self, name: str) -> Callable[..., int]:
        from gibbsite.training import fused_holes_kernels  # late, as Numba is slow to import

        return kernel(f"{name}_with_holes", self.rbm.weight.detach().numpy(), fused_holes_kernels)
