"""Block Gibbs sampling: all of h given v, then all of v given h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gibbsite.model import RBM


class GibbsState(NamedTuple):
    """What a chain carries.

    Attributes:
        v: (chains, n_visible).
        h: drawn given v, (chains, n_hidden); None to have it drawn by the next step.
        hidden_mean: E[h | v], (chains, n_hidden), which the draw of h needs anyway.
    """

    v: Tensor
    h: Tensor | None = None
    hidden_mean: Tensor | None = None


class GibbsInfo(NamedTuple):
    """What a step reports: the new h, (chains, n_hidden)."""

    h: Tensor


@dataclass(frozen=True)
class Gibbs:
    """Block Gibbs sampler; one step draws v ~ p(v | h), then h ~ p(h | v).

    Leaves p(v, h) invariant, and so p(v). Source: Cheng's tutorial sections 2.6 and 3.6.

    >>> import torch, gibbsite as gb
    >>> rbm, g = gb.RBM(gb.Bernoulli(4), gb.Bernoulli(2)), torch.Generator().manual_seed(0)
    >>> state = gb.Gibbs().init(rbm, torch.zeros(10, 4), g)
    >>> state, info = gb.Gibbs().step(rbm, state, g)
    >>> state.v.shape, info.h.shape
    (torch.Size([10, 4]), torch.Size([10, 2]))
    """

    @torch.no_grad()
    def init(self, rbm: RBM, v: Tensor, generator: torch.Generator | None = None) -> GibbsState:
        """Chains that start at the rows of v."""
        v = rbm.visible.coerce(v)
        h = torch.mm(v, rbm.visible.coupled(rbm.weight))
        mean = torch.empty_like(h)
        return GibbsState(v, rbm.hidden.sample_(h, generator, mean=mean), mean)

    def step(
        self, rbm: RBM, state: GibbsState, generator: torch.Generator | None = None
    ) -> tuple[GibbsState, GibbsInfo]:
        """One sweep over both layers."""
        state = self.advance(rbm, state, 1, generator)
        assert state.h is not None
        return state, GibbsInfo(state.h)

    def advance(
        self, rbm: RBM, state: GibbsState, steps: int, generator: torch.Generator | None = None
    ) -> GibbsState:
        """`steps` steps in workspaces made once; the state given stays as it was."""
        to_hidden = rbm.visible.coupled(rbm.weight)
        to_visible = rbm.hidden.coupled(rbm.weight.T)
        h = rbm.sample_hidden(state.v, generator) if state.h is None else state.h
        v, new, mean = torch.empty_like(state.v), torch.empty_like(h), torch.empty_like(h)
        for step in range(steps):
            rbm.visible.sample_(torch.mm(h, to_visible, out=v), generator)
            h = torch.mm(v, to_hidden, out=new)
            rbm.hidden.sample_(h, generator, mean=mean if step == steps - 1 else None)
        return GibbsState(v, h, mean) if steps else state
