"""Block Gibbs sampling: all of h given v, then all of v given h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gibbsite.errors import DataError
from gibbsite.model import RBM
from gibbsite.sampling.conditionals import Conditionals, clamped_start
from gibbsite.sampling.run import ByFields


class GibbsState(NamedTuple):
    """State of the chains.

    Attributes:
        v: (chains, visible.width).
        h: drawn given v, (chains, hidden.width); None to have it drawn by the next step.
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
    """Report of a step: the h drawn between the old v and the new, (chains, hidden.width)."""

    h: Tensor


@dataclass(frozen=True, eq=False)
class Gibbs(ByFields):
    """Block Gibbs sampler; one step draws h ~ p(h | v), then v ~ p(v | h).

    Leaves p(v) invariant. Source: Cheng's tutorial sections 2.6 and 3.6.

    Args:
        clamp: (chains, visible.width), NaN where a unit is free, values that are held elsewhere;
            one row is for all chains. Then p(v) given these is left invariant.

    >>> import torch, gibbsite as gb
    >>> rbm, g = gb.RBM(gb.Bernoulli(4), gb.Bernoulli(2)), torch.Generator().manual_seed(0)
    >>> state = gb.Gibbs().init(rbm, torch.zeros(10, 4), g)
    >>> state, info = gb.Gibbs().step(rbm, state, g)
    >>> state.v.shape, info.h.shape
    (torch.Size([10, 4]), torch.Size([10, 2]))
    """

    clamp: Tensor | None = None

    def init(self, rbm: RBM, v: Tensor, generator: torch.Generator | None = None) -> GibbsState:
        """Chains that start at the rows of v."""
        return GibbsState(clamped_start(rbm, v, self.clamp)[0])

    @torch.no_grad()
    def step(
        self, rbm: RBM, state: GibbsState, generator: torch.Generator | None = None
    ) -> tuple[GibbsState, GibbsInfo]:
        """One sweep over both layers."""
        v, h = self._sweeps(rbm, state, 1, generator)
        return GibbsState(v), GibbsInfo(h)

    @torch.no_grad()
    def advance(
        self, rbm: RBM, state: GibbsState, steps: int, generator: torch.Generator | None = None
    ) -> GibbsState:
        """The state after `steps` steps, one or more; faster than one by one."""
        return GibbsState(self._sweeps(rbm, state, steps, generator)[0])

    def _sweeps(
        self, rbm: RBM, state: GibbsState, steps: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """v and h after so many sweeps, one or more, in two buffers."""
        clamp = None if self.clamp is None else rbm.visible.coerce(self.clamp)
        model, (v, h) = Conditionals(rbm, clamp=clamp), state
        new_v, new_h = torch.empty_like(v), v.new_empty(len(v), rbm.hidden.width)
        for step in range(steps):
            if h is None or step > 0:
                h = model.draw_hidden(model.hidden_inputs(v, new_h), generator)
            v = model.draw_visible(model.visible_inputs(h, new_v), generator)
        assert h is not None
        return v, h
