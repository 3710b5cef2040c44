"""Centring of gradients: statistics less their means over the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gibbsite import ops
from gibbsite.errors import DataError
from gibbsite.gradients.base import Batch, Gradient, Info, layer_gradients
from gibbsite.model import RBM, imprecision

RATE = 0.01
"""Share of the latest minibatch in the running means."""


class CenteredState(NamedTuple):
    """The wrapped estimator's state and the running mean v and E[h | v] of the data."""

    inner: Any
    visible: Tensor | None
    hidden: Tensor | None

    def check(self, rbm: RBM) -> None:
        """Raise `DataError` unless the means are finite, one for each unit, or both None."""
        if (self.visible is None) != (self.hidden is None):
            raise DataError("a running mean of one layer alone")
        for mean, layer in ((self.visible, rbm.visible), (self.hidden, rbm.hidden)):
            if mean is not None and mean.ndim != 1:
                raise DataError(f"a running mean of shape {tuple(mean.shape)}")
            if mean is not None:
                layer.check_means(mean[None])
        if self.visible is not None and (problem := imprecision(rbm, self.visible[None])):
            raise DataError(f"a running mean with {problem}")


@dataclass(frozen=True)
class Centered:
    r"""The centred version of another gradient estimator: better conditioned, same fixed points.

    With statistics $s$ and offsets $\mu\approx\langle s(v)\rangle$, $\lambda\approx\langle
    s(h)\rangle$ of the data, the model is that of $(s(v)-\mu)^T W (s(h)-\lambda)$ with other
    biases. A gradient step there is, in our parameters,

    $$\Delta W = \nabla W - (\sigma\nabla b)\,\lambda^T - \mu\,(\tau\nabla c)^T,\quad
      \Delta b = \nabla b - \sigma\,\Delta W\lambda,\quad
      \Delta c = \nabla c - \tau\,\Delta W^T\mu$$

    unit by unit, where $\sigma$ and $\tau$ are the changes of a bias that do what an input of 1
    does (`Layer.bias_shift`): the standard deviation of a Gaussian unit, 1 for most. So
    $\sigma\nabla b$ is the gradient by a constant input. The direction is the gradient times a
    positive definite matrix: it vanishes where the gradient does and always points uphill, whatever
    the offsets.
    Source: Melchior, Fischer, Wiskott (2016), How to center deep Boltzmann machines, section 3.

    >>> import gibbsite as gb
    >>> gb.Centered(gb.CD(steps=1)).gradient.steps
    1
    """

    gradient: Gradient

    @property
    def marginalises(self) -> bool:
        """True if the wrapped estimator takes rows with missing entries."""
        return getattr(self.gradient, "marginalises", False)

    def init(self, rbm: RBM, generator: torch.Generator | None = None) -> CenteredState:
        return CenteredState(self.gradient.init(rbm, generator), None, None)

    @torch.no_grad()
    def step(
        self,
        rbm: RBM,
        batch: Batch,
        state: CenteredState,
        generator: torch.Generator | None = None,
    ) -> tuple[dict[str, Tensor], CenteredState, Info]:
        gradient, inner, info = self.gradient.step(rbm, batch, state.inner, generator)
        if batch.weights is not None and not bool(batch.weights.any()):
            return gradient, state._replace(inner=inner), info  # a gradient of 0, and no means
        visible = _running(state.visible, info.visible)
        hidden = _running(state.hidden, info.hidden)
        center(rbm, gradient, visible, hidden)
        return gradient, CenteredState(inner, visible, hidden), info


def _running(old: Tensor | None, new: Tensor) -> Tensor:
    """The running mean, moved by `RATE` towards the new one."""
    return new if old is None else torch.lerp(old, new, RATE)


def center(rbm: RBM, gradient: dict[str, Tensor], v_mean: Tensor, h_mean: Tensor) -> None:
    """Overwrite a gradient with its centred direction for these offsets."""
    sides = (visible, own_v), (hidden, own_h) = tuple(layer_gradients(rbm, gradient))
    slopes = visible.input_gradient(own_v), hidden.input_gradient(own_h)
    offsets = rbm.visible.statistic(v_mean), rbm.hidden.statistic(h_mean)
    products = ops.kernels_for(v_mean).center_(gradient["weight"], slopes, offsets)
    for (layer, own), inputs in zip(sides, products, strict=True):
        for name, change in layer.bias_shift(inputs).items():
            own[name].sub_(change)
