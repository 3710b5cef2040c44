"""Block Gibbs sampling: all of h given v, then all of v given h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gibbsite.model import RBM


class GibbsState(NamedTuple):
    """What a chain carries: v, (chains, n_visible)."""

    v: Tensor


class GibbsInfo(NamedTuple):
    """What a step reports: the h that the new v was drawn from, (chains, n_hidden)."""

    h: Tensor


@dataclass(frozen=True)
class Gibbs:
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
        h = rbm.sample_hidden(state.v, generator)
        return GibbsState(rbm.sample_visible(h, generator)), GibbsInfo(h)
