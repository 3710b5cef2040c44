"""Fast persistent contrastive divergence: fast weights drive the chains on."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from gibbsite.checks import check_counts
from gibbsite.errors import ArgumentError, DataError
from gibbsite.gradients.base import Batch, Info, layer_gradients
from gibbsite.gradients.contrastive import equal_shares, with_hidden
from gibbsite.layers import fast
from gibbsite.model import RBM, fault
from gibbsite.sampling import Conditionals, Gibbs, Sampler, advance, random_start

M = TypeVar("M", bound=nn.Module)


class FPCDState(NamedTuple):
    """State of the chains, and the fast parameters, keyed by ``named_parameters()``."""

    chains: Any
    fast: dict[str, Tensor]

    def check(self, rbm: RBM) -> None:
        """Raise `DataError` unless there is a fast parameter of each, and their sum is usable."""
        expected = {name: (x.shape, x.dtype) for name, x in rbm.named_parameters()}
        found = {name: (x.shape, x.dtype) for name, x in self.fast.items()}
        if found != expected:
            raise DataError(f"fast parameters {sorted(found)} that are not those of the model")
        if problem := fault(shifted(rbm, self.fast)):
            raise DataError(f"fast parameters with which {problem}")


@dataclass(frozen=True)
class FPCD:
    r"""Fast persistent contrastive divergence: PCD whose chains move under a model of their own.

    Its parameters are $\theta+\varphi$; the fast ones $\varphi$ start at 0, follow the gradient and
    decay:

    $$g = -\langle\partial_\theta E\rangle_{\text{data},\,\theta}
          + \langle\partial_\theta E\rangle_{\text{chains},\,\theta+\varphi},\qquad
      \varphi \leftarrow \gamma\varphi + \epsilon g$$

    They raise the energy of wherever the chains are, and so drive them on to other modes while the
    learning rate of $\theta$ may be small. h is averaged exactly given v, under $\theta$ for the
    data and $\theta+\varphi$ for the chains. Where PCD is unbiased, this is biased to second order
    in $\varphi$, which fluctuates with the gradient; with $\epsilon=0$ it is PCD.
    Source: Tieleman, Hinton (2009), Using fast weights to improve persistent contrastive
    divergence, section 3.

    Args:
        chains: their number.
        steps: of the sampler, an update.
        fast_rate: $\epsilon$, in parameter units per nat.
        decay: $\gamma$, from 0 up to less than 1.
        sampler: default `Gibbs()`.

    Raises `ArgumentError` for counts below 1, a negative rate, or a decay out of its range.

    >>> import torch, gibbsite as gb
    >>> data = gb.datasets.load("bars-and-stripes").train
    >>> rbm = gb.RBM(gb.Bernoulli(9), gb.Bernoulli(4))
    >>> g = torch.Generator().manual_seed(0)
    >>> history = gb.fit(rbm, data, gradient=gb.FPCD(chains=20), epochs=5, generator=g)
    >>> sorted(history.state.fast)
    ['hidden.bias', 'visible.bias', 'weight']
    """

    chains: int = 100
    steps: int = 1
    fast_rate: float = 0.05
    decay: float = 19 / 20
    sampler: Sampler = field(default_factory=Gibbs)

    def __post_init__(self) -> None:
        check_counts(chains=self.chains, steps=self.steps)
        if not 0 <= self.fast_rate < math.inf:
            raise ArgumentError(f"fast_rate={self.fast_rate}: expected a number of at least 0")
        if not 0 <= self.decay < 1:
            raise ArgumentError(f"decay={self.decay}: expected 0 up to less than 1")

    def init(self, rbm: RBM, generator: torch.Generator | None = None) -> FPCDState:
        start = random_start(rbm, self.chains, generator)
        zeros = {name: torch.zeros_like(x.detach()) for name, x in rbm.named_parameters()}
        return FPCDState(self.sampler.init(rbm, start, generator), zeros)

    @torch.no_grad()
    def step(
        self, rbm: RBM, batch: Batch, state: FPCDState, generator: torch.Generator | None = None
    ) -> tuple[dict[str, Tensor], FPCDState, Info]:
        moved = shifted(rbm, state.fast)
        chains = advance(self.sampler, moved, state.chains, self.steps, generator)
        inputs = Conditionals(moved).hidden_inputs(chains.v)
        chains = with_hidden(moved, chains, inputs, generator)
        data, hidden = _phase(rbm, batch.v, Conditionals(rbm).hidden_inputs(batch.v), batch.shares)
        model, _ = _phase(moved, chains.v, inputs, equal_shares(batch, chains.v))
        gradient = {name: value.sub_(model[name]) for name, value in data.items()}
        fast_parameters = self._follow(rbm, state.fast, gradient)
        return gradient, FPCDState(chains, fast_parameters), batch.means(hidden)

    def _follow(
        self, rbm: RBM, old: dict[str, Tensor], gradient: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """The fast parameters after a step along the gradient, preconditioned as `fit` does."""
        change = {name: self.fast_rate * value for name, value in gradient.items()}
        for layer, own in layer_gradients(rbm, change):
            layer.precondition_(own)
        return {name: value.add_(old[name], alpha=self.decay) for name, value in change.items()}


def _phase(rbm: RBM, v: Tensor, inputs: Tensor, shares: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Phase at given v, and E[h | v]; `inputs`, of the hidden layer given v, may be overwritten."""
    hidden = fast(rbm.hidden).moments(inputs)
    return rbm.phase(rbm.visible.moments_at(v), hidden, shares), hidden.mean


def shifted(module: M, offsets: Mapping[str, Tensor], prefix: str = "") -> M:
    """A view of a model with offsets, by ``named_parameters()``, added to its parameters.

    Everything else is shared. The view has the present values, and is not for training.
    """
    view = copy.copy(module)
    own, children = module.named_parameters(recurse=False), module.named_children()
    vars(view).update(
        _parameters={name: x.detach() + offsets[prefix + name] for name, x in own},
        _modules={name: shifted(child, offsets, f"{prefix}{name}.") for name, child in children},
    )
    return view
