"""The path of distributions from independent units to a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from gibbsite import ops
from gibbsite.layers import Beta, fast
from gibbsite.model import RBM
from gibbsite.sampling.conditionals import Conditionals
from gibbsite.sampling.gibbs import Gibbs
from gibbsite.sampling.run import advance, overdispersed_start

PILOT_CHAINS = 100
PILOT_STEPS = 100

COUNTED_AS = 1000
"""Rows that means stand for where a layer, from few rows, would move them inwards."""


@dataclass(frozen=True)
class Path:
    """Path to a model from independent units with inputs f, (n_visible,), and g, (n_hidden,)."""

    rbm: RBM
    visible_inputs: Tensor
    hidden_inputs: Tensor
    clamp: Tensor | None = None
    """Values of visible units that are held, as in `Conditionals`."""

    @classmethod
    @torch.no_grad()
    def fit(
        cls, rbm: RBM, data: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Path:
        """A path from units with the means of data and of h given data, or of a short Gibbs run.

        Both layers thus start with the model's own means, as far as the data have them, so that
        none of several modes is preferred on the way beyond its share.
        """
        data = pilot_rows(rbm, generator) if data is None else rbm.visible.check_data(data)
        means = rbm.hidden_mean(data).double().mean(0)  # whatever the order of the rows
        hidden = rbm.hidden.inputs_for(means.to(data.dtype).expand(len(data), -1))
        return cls(rbm, rbm.visible.inputs_for(data), hidden)

    @classmethod
    @torch.no_grad()
    def of_means(cls, rbm: RBM, means: Tensor, hidden_means: Tensor) -> Path:
        """A path from units with these means, (visible.width,) and (hidden.width,)."""
        sides = (rbm.visible, means), (rbm.hidden, hidden_means)
        return cls(rbm, *(layer.inputs_for(x.expand(COUNTED_AS, -1)) for layer, x in sides))

    @classmethod
    def unweighted(cls, rbm: RBM) -> Path:
        """A path from units with the layers' own biases and no weights."""
        return cls(rbm, rbm.visible.zero_inputs(1)[0], rbm.hidden.zero_inputs(1)[0])

    @property
    @torch.no_grad()
    def means(self) -> tuple[Tensor, Tensor]:
        """Means of the independent units, (visible.width,) and (hidden.width,)."""
        hidden = self.rbm.hidden.mean(self.hidden_inputs)
        return self.rbm.visible.mean(self.visible_inputs), hidden

    def clamped(self, clamp: Tensor | None) -> Path:
        """The path of the free units given those of a clamp."""
        return replace(self, clamp=clamp)

    @torch.no_grad()
    def log_partition_at_zero(self) -> float:
        """log Z of the independent units at beta 0, in nats."""
        visible = self.rbm.visible.log_partition(self.visible_inputs)
        return (visible + self.rbm.hidden.log_partition(self.hidden_inputs)).item()

    @torch.no_grad()
    def start(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n independent v at beta 0."""
        return self.rbm.visible.sample(self.visible_inputs.expand(n, -1), generator)

    @cached_property
    def conditionals(self) -> Conditionals:
        """The conditionals along the path; the model must not change meanwhile."""
        return Conditionals(self.rbm, (self.visible_inputs, self.hidden_inputs), self.clamp)

    @cached_property
    def slope(self) -> Tensor:
        """(visible.width,): v @ slope is what f adds to log p*(v) at beta 0."""
        return self.rbm.visible.scaled_weight(self.visible_inputs[:, None])[:, 0].detach()

    def log_ratio(
        self, v: Tensor, inputs: Tensor, old: Beta, new: Beta, out: Tensor | None = None
    ) -> Tensor:
        """log p*(v) at beta `new` minus at `old`, unnormalised; inputs = rbm.hidden_inputs(v).

        Both betas are numbers, or both (rows, 1).
        """
        hidden = fast(self.rbm.hidden)
        change = hidden.log_partition_change(inputs, self.hidden_inputs, old, new, out)
        if isinstance(old, Tensor) and isinstance(new, Tensor):
            return change.addcmul_((old - new)[:, 0].double(), (v @ self.slope).double())
        ops.kernels_for(v).add_row_dot_(change, v, self.slope, float(old - new))
        return change


def pilot_rows(rbm: RBM, generator: torch.Generator | None = None) -> Tensor:
    """v of short Gibbs chains from `overdispersed_start`, which stand for data of the model."""
    gibbs = Gibbs()
    state = gibbs.init(rbm, overdispersed_start(rbm, PILOT_CHAINS, generator))
    v: Tensor = advance(gibbs, rbm, state, PILOT_STEPS, generator).v
    return v
