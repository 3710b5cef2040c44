"""Gradients whose negative phase comes from short Markov chains."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gibbsite import ops
from gibbsite.checks import check_counts
from gibbsite.gradients.base import Contrast, Statistics
from gibbsite.model import RBM
from gibbsite.sampling import Gibbs, Sampler, advance, random_start


@dataclass(frozen=True)
class CD(Contrast):
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

    def phases(
        self, rbm: RBM, v: Tensor, state: None, generator: torch.Generator | None = None
    ) -> tuple[Statistics, None]:
        rows, to_hidden = len(v), rbm.visible.coupled(rbm.weight)
        hidden = v.new_empty(2 * rows, rbm.hidden.n)
        ours, theirs = hidden[:rows], hidden[rows:]
        start = self.sampler.init(rbm, v, generator)
        start = draw_hidden_(rbm, start, ops.product(v, to_hidden, ours), generator)
        end = advance(self.sampler, rbm, start, self.steps, generator).v
        rbm.hidden.mean_(ops.product(end, to_hidden, theirs))
        return Statistics.of(torch.cat([v, end]), hidden, rows), None


@dataclass(frozen=True)
class PCD(Contrast):
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

    def phases(
        self, rbm: RBM, v: Tensor, state: Any, generator: torch.Generator | None = None
    ) -> tuple[Statistics, Any]:
        state = advance(self.sampler, rbm, state, self.steps, generator)
        both, rows = torch.cat([v, state.v]), len(v)
        hidden = ops.product(both, rbm.visible.coupled(rbm.weight))
        state = draw_hidden_(rbm, state, hidden, generator, rows)
        return Statistics.of(both, hidden, rows), state


def draw_hidden_(
    rbm: RBM, state: Any, inputs: Tensor, generator: torch.Generator | None, start: int = 0
) -> Any:
    """Overwrite what v sends to the hidden layer with E[h | v]; the state, with h if it has one.

    The rows of the chains are those from `start` on.
    """
    if not hasattr(state, "h"):
        rbm.hidden.mean_(inputs)
        return state
    return state._replace(h=rbm.hidden.mean_and_sample_(inputs, generator, start))
