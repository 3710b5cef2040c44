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


class Chains(Contrast):
    """Base of the estimators that run chains; they differ in where these start."""

    sampler: Sampler

    def to_hidden(self, rbm: RBM) -> Tensor:
        """Matrix that maps v to the inputs of the hidden layer."""
        return rbm.visible.coupled(rbm.weight, self.workspace.like("to hidden"))

    def joined(self, v: Tensor, end: Tensor) -> Tensor:
        """The rows of v, then those of `end`, in one tensor."""
        out = self.workspace.table("both v", v, len(v) + len(end), v.shape[1])
        return torch.cat([v, end], out=out)

    def draw_hidden(
        self,
        rbm: RBM,
        state: Any,
        inputs: Tensor,
        generator: torch.Generator | None,
        start: int = 0,
        taken: Tensor | None = None,
    ) -> Any:
        """The state with h, if it has one, drawn given the inputs of the hidden layer.

        These inputs are overwritten with E[h | v]; the chains' are the rows from `start` on. The
        new h does not go where `taken`, the old one, lies.
        """
        if not hasattr(state, "h"):
            rbm.hidden.mean_(inputs)
            return state
        shape = len(inputs) - start, rbm.hidden.n
        space = ops.workspace_of(self.sampler)  # whose state it is
        out = space.other("h drawn along", taken, inputs, *shape)
        return state._replace(h=rbm.hidden.mean_and_sample_(inputs, generator, start, out))


@dataclass(frozen=True)
class CD(Chains, twins=True):
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
        rows, to_hidden = len(v), self.to_hidden(rbm)
        hidden = self.workspace.table("means of h given v", v, 2 * rows, rbm.hidden.n)
        ours, theirs = hidden[:rows], hidden[rows:]
        start = self.sampler.init(rbm, v, generator)
        start = self.draw_hidden(rbm, start, ops.product(v, to_hidden, ours), generator)
        end = advance(self.sampler, rbm, start, self.steps, generator).v
        rbm.hidden.mean_(ops.product(end, to_hidden, theirs))
        return Statistics.of(self.joined(v, end), hidden, rows, self.workspace), None


@dataclass(frozen=True)
class PCD(Chains, twins=True):
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
        before = getattr(state, "h", None)
        state = advance(self.sampler, rbm, state, self.steps, generator)
        both, rows = self.joined(v, state.v), len(v)
        hidden = self.workspace.table("means of h given v", v, len(both), rbm.hidden.n)
        ops.product(both, self.to_hidden(rbm), hidden)
        state = self.draw_hidden(rbm, state, hidden, generator, rows, before)
        return Statistics.of(both, hidden, rows, self.workspace), state
