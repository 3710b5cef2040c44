"""Gradients whose negative phase comes from short Markov chains."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gibbsite.checks import check_counts
from gibbsite.gradients.base import Stateless, contrast
from gibbsite.model import RBM
from gibbsite.sampling import Gibbs, Sampler, advance, random_start


@dataclass(frozen=True)
class CD(Stateless):
    """Contrastive divergence, CD-k: chains start at the minibatch and run `steps` steps.

    Biased towards the data for any finite `steps`; the bias vanishes as they grow. h is averaged
    exactly given v in both phases, which lowers the variance and leaves the expectation.
    Source: Hinton (2002), Training products of experts by minimizing contrastive divergence.

    >>> import gibbsite as gb
    >>> gb.CD(steps=10).steps
    10
    """

    steps: int = 1
    sampler: Sampler = field(default_factory=Gibbs)

    def __post_init__(self) -> None:
        check_counts(steps=self.steps)

    @torch.no_grad()
    def step(
        self, rbm: RBM, v: Tensor, state: None, generator: torch.Generator | None = None
    ) -> tuple[dict[str, Tensor], None]:
        start = self.sampler.init(rbm, v, generator)
        end = advance(self.sampler, rbm, start, self.steps, generator)
        return contrast(rbm, (v, hidden_mean(rbm, start)), (end.v, hidden_mean(rbm, end))), None


@dataclass(frozen=True)
class PCD:
    """Persistent contrastive divergence: `chains` chains go on from update to update.

    They start at `random_start`. Unbiased when the chains are at equilibrium; biased as far as the
    model moves faster than they mix, so let the learning rate fall. h is averaged exactly given v.
    Source: Tieleman (2008), Training RBMs using approximations to the likelihood gradient.

    >>> import gibbsite as gb
    >>> gb.PCD(chains=50).steps
    1
    """

    chains: int = 100
    steps: int = 1
    sampler: Sampler = field(default_factory=Gibbs)

    def __post_init__(self) -> None:
        check_counts(chains=self.chains, steps=self.steps)

    def init(self, rbm: RBM, generator: torch.Generator | None = None) -> Any:
        return self.sampler.init(rbm, random_start(rbm, self.chains, generator), generator)

    @torch.no_grad()
    def step(
        self, rbm: RBM, v: Tensor, state: Any, generator: torch.Generator | None = None
    ) -> tuple[dict[str, Tensor], Any]:
        state = advance(self.sampler, rbm, state, self.steps, generator)
        data = v, rbm.hidden.mean_(torch.mm(v, rbm.visible.coupled(rbm.weight)))
        return contrast(rbm, data, (state.v, hidden_mean(rbm, state))), state


def hidden_mean(rbm: RBM, state: Any) -> Tensor:
    """E[h | v] of the chains, as the state has it or computed."""
    kept: Tensor | None = getattr(state, "hidden_mean", None)
    return rbm.hidden.mean_(rbm.hidden_inputs(state.v)) if kept is None else kept
