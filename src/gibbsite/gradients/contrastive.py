"""Contrastive divergence: gradients whose negative phase comes from short Markov chains."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gibbsite.checks import check_counts
from gibbsite.gradients.base import Batch, Info, Stateless, both_phases
from gibbsite.layers import fast
from gibbsite.model import RBM
from gibbsite.sampling import Conditionals, Gibbs, Sampler, advance, random_start


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
        self, rbm: RBM, batch: Batch, state: None, generator: torch.Generator | None = None
    ) -> tuple[dict[str, Tensor], None, Info]:
        v, model = batch.v, Conditionals(rbm)
        inputs = v.new_empty(2 * len(v), rbm.hidden.width)
        model.hidden_inputs(v, inputs[: len(v)])
        start = self.sampler.init(rbm, v, generator)
        start = with_hidden(rbm, start, inputs[: len(v)], generator)
        end = advance(self.sampler, rbm, start, self.steps, generator).v
        model.hidden_inputs(end, inputs[len(v) :])
        chains = batch.shares  # a chain counts as much as the row that it starts at
        gradient, info = both_phases(rbm, batch, chains, torch.cat([v, end]), inputs)
        return gradient, None, info


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
        self, rbm: RBM, batch: Batch, state: Any, generator: torch.Generator | None = None
    ) -> tuple[dict[str, Tensor], Any, Info]:
        state = advance(self.sampler, rbm, state, self.steps, generator)
        v = torch.cat([batch.v, state.v])
        inputs = Conditionals(rbm).hidden_inputs(v)
        state = with_hidden(rbm, state, inputs[len(batch.v) :], generator)
        gradient, info = both_phases(rbm, batch, equal_shares(batch, state.v), v, inputs)
        return gradient, state, info


@dataclass(frozen=True)
class NoiseCD(Stateless):
    """Contrastive divergence from noise: every update starts new chains, at `random_start`.

    Training with it is out of equilibrium: the model learns to make the data in `steps` steps from
    noise, and its samples look right near that age alone. Older chains drift away to the model's
    own distribution, which need not be like the data, and the likelihood may be poor: draw samples
    as in the example. Biased for any finite `steps`; the bias vanishes as they grow beyond the
    mixing time.
    Source: Decelle, Furtlehner, Seoane (2021), Equilibrium and non-equilibrium regimes in the
    learning of restricted Boltzmann machines, where it is called Rdm-k.

    >>> import torch, gibbsite as gb
    >>> data, g = gb.datasets.load("bars-and-stripes").train, torch.Generator().manual_seed(0)
    >>> rbm = gb.RBM(gb.Bernoulli(9), gb.Bernoulli(4))
    >>> history = gb.fit(rbm, data, gradient=gb.NoiseCD(steps=20), epochs=5, generator=g)
    >>> noise = gb.random_start(rbm, 50, g)
    >>> gb.sample(rbm, 50, start=noise, steps=20, generator=g).shape
    torch.Size([50, 9])
    """

    chains: int = 100
    steps: int = 10
    sampler: Sampler = field(default_factory=Gibbs)

    def __post_init__(self) -> None:
        check_counts(chains=self.chains, steps=self.steps)

    @torch.no_grad()
    def step(
        self, rbm: RBM, batch: Batch, state: None, generator: torch.Generator | None = None
    ) -> tuple[dict[str, Tensor], None, Info]:
        pcd = PCD(self.chains, self.steps, self.sampler)  # whose chains do not persist
        gradient, _, info = pcd.step(rbm, batch, pcd.init(rbm, generator), generator)
        return gradient, None, info


def equal_shares(batch: Batch, v: Tensor) -> Tensor:
    """Weights of chains at v, (chains,): equal, with the sum of the batch's."""
    return v.new_empty(len(v)).fill_(batch.total() / len(v))


def with_hidden(rbm: RBM, state: Any, inputs: Tensor, generator: torch.Generator | None) -> Any:
    """The state, with an h drawn from its inputs if it has the field: saves a sampler a product."""
    if not hasattr(state, "h"):
        return state
    return state._replace(h=fast(rbm.hidden).sample(inputs.clone(), generator))
