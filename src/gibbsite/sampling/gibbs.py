"""Block Gibbs sampling: all of h given v, then all of v given h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gibbsite import ops
from gibbsite.errors import DataError
from gibbsite.model import RBM


class GibbsState(NamedTuple):
    """State of the chains.

    Attributes:
        v: (chains, n_visible).
        h: drawn given v, (chains, n_hidden); None to have it drawn by the next step.
    """

    v: Tensor
    h: Tensor | None = None

    def check(self, rbm: RBM) -> None:
        """Raise `DataError` unless v and h hold states of the layers, row for row."""
        rbm.visible.check_states(self.v)
        if self.h is not None:
            rbm.hidden.check_states(self.h)
            if len(self.h) != len(self.v):
                raise DataError(f"{len(self.v)} chains with {len(self.h)} states of h")


class GibbsInfo(NamedTuple):
    """Report of a step: the h between the old v and the new, (chains, n_hidden)."""

    h: Tensor


@dataclass(frozen=True)
class Gibbs(ops.Reusing, twins=True):
    """Block Gibbs sampler; one step draws h ~ p(h | v), then v ~ p(v | h).

    Leaves p(v) invariant. Source: Cheng's tutorial sections 2.6 and 3.6.

    >>> import torch, gibbsite as gb
    >>> rbm, g = gb.RBM(gb.Bernoulli(4), gb.Bernoulli(2)), torch.Generator().manual_seed(0)
    >>> state = gb.Gibbs().init(rbm, torch.zeros(10, 4), g)
    >>> state, info = gb.Gibbs().step(rbm, state, g)
    >>> state.v.shape, info.h.shape
    (torch.Size([10, 4]), torch.Size([10, 2]))
    """

    def init(self, rbm: RBM, v: Tensor, generator: torch.Generator | None = None) -> GibbsState:
        """Chains that start at the rows of v."""
        return GibbsState(rbm.visible.coerce(v))

    def step(
        self, rbm: RBM, state: GibbsState, generator: torch.Generator | None = None
    ) -> tuple[GibbsState, GibbsInfo]:
        """One sweep over both layers."""
        v, h = self._sweeps(rbm, state, 1, generator)
        return GibbsState(v), GibbsInfo(h)

    def advance(
        self, rbm: RBM, state: GibbsState, steps: int, generator: torch.Generator | None = None
    ) -> GibbsState:
        """`steps` steps, one or more, in workspaces made once; the state given stays as it was."""
        return GibbsState(self._sweeps(rbm, state, steps, generator)[0])

    def _sweeps(
        self, rbm: RBM, state: GibbsState, steps: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        space, start = self.workspace, state.v
        to_hidden = rbm.visible.coupled(rbm.weight, space.like("to hidden"))
        to_visible = rbm.hidden.coupled(rbm.weight.T, space.like("to visible"))
        v = space.other("v", start, start, *start.shape)
        drawn = space.table("h", start, len(start), rbm.hidden.n)
        h = drawn if state.h is None else state.h
        for step in range(steps):
            if step > 0 or state.h is None:
                sent = ops.product(v if step > 0 else start, to_hidden, drawn)
                h = rbm.hidden.sample_(sent, generator)
            rbm.visible.sample_(ops.product(h, to_visible, v), generator)
        return v, h
