"""Centring: the gradient of a model whose statistics have means near zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gibbsite import ops
from gibbsite.errors import DataError
from gibbsite.gradients.base import Contrast, Gradient, contrast
from gibbsite.model import RBM, imprecision

RATE = 0.01
"""Share of the newest minibatch in the running means."""


class CenteredState(NamedTuple):
    """The wrapped estimator's state and the running mean v and E[h | v] of the data."""

    inner: Any
    visible: Tensor | None
    hidden: Tensor | None

    def check(self, rbm: RBM) -> None:
        """Raise `DataError` unless the means are finite, one for each unit, or both None."""
        pairs = (self.visible, rbm.visible), (self.hidden, rbm.hidden)
        for mean, layer in pairs:
            if mean is None:
                continue
            if mean.ndim != 1:
                raise DataError(f"a running mean of shape {tuple(mean.shape)}")
            layer.check_means(mean[None])
        if (self.visible is None) != (self.hidden is None):
            raise DataError("a running mean of one layer alone")
        if self.visible is not None and (found := imprecision(rbm, self.visible[None])):
            raise DataError(f"a running mean with {found}")


@dataclass(frozen=True)
class Centered(ops.Reusing, twins=True):
    r"""The centred version of another gradient estimator: better conditioned, same fixed points.

    With statistics $s$ and offsets $\mu\approx\langle s(v)\rangle$, $\lambda\approx\langle
    s(h)\rangle$ of the data, the model is that of $(s(v)-\mu)^T W (s(h)-\lambda)$ with other
    biases. A gradient step there is, in our parameters,

    $$\Delta W = \nabla W - (\sigma\nabla b)\,\lambda^T - \mu\,(\tau\nabla c)^T,\quad
      \Delta b = \nabla b - \sigma\,\Delta W\lambda,\quad
      \Delta c = \nabla c - \tau\,\Delta W^T\mu$$

    unit by unit, where $\sigma$ and $\tau$ tell how far a bias must move to do what an input of 1
    does: the standard deviation of a Gaussian unit, 1 for a binary one. It is the gradient times a
    positive definite matrix: it vanishes where the gradient does and always points uphill, whatever
    the offsets.
    Source: Melchior, Fischer, Wiskott (2016), How to center deep Boltzmann machines, section 3.

    >>> import gibbsite as gb
    >>> gb.Centered(gb.CD(steps=1)).gradient.steps
    1
    """

    gradient: Gradient

    def init(self, rbm: RBM, generator: torch.Generator | None = None) -> CenteredState:
        return CenteredState(self.gradient.init(rbm, generator), None, None)

    @torch.no_grad()
    def step(
        self,
        rbm: RBM,
        v: Tensor,
        state: CenteredState,
        generator: torch.Generator | None = None,
    ) -> tuple[dict[str, Tensor], CenteredState]:
        plain, v_mean, h_mean, inner = self._plain(rbm, v, state.inner, generator)
        v_mean = self._running("running mean of v", state.visible, v_mean)
        h_mean = self._running("running mean of h", state.hidden, h_mean)
        moved = center(rbm, plain, v_mean, h_mean, self.workspace)
        return moved, CenteredState(inner, v_mean, h_mean)

    def _running(self, name: str, old: Tensor | None, new: Tensor) -> Tensor:
        """The running mean moved by `RATE` towards the new one."""
        out = self.workspace.other(name, old, new, len(new))
        return out.copy_(new) if old is None else torch.lerp(old, new, RATE, out=out)

    def _plain(
        self, rbm: RBM, v: Tensor, state: Any, generator: torch.Generator | None
    ) -> tuple[dict[str, Tensor], Tensor, Tensor, Any]:
        """The gradient that is not centred, mean v and E[h | v] of the data, the inner state."""
        ours = type(self.gradient).step is Contrast.step  # not a subclass's own
        if isinstance(self.gradient, Contrast) and ours:
            both, state = self.gradient.phases(rbm, v, state, generator)
            plain = contrast(rbm, both, self.gradient.workspace)
            return plain, both.visible.means[0], both.hidden.means[0], state
        plain, state = self.gradient.step(rbm, v, state, generator)
        return plain, v.mean(0), rbm.hidden_mean(v).mean(0), state


def center(
    rbm: RBM,
    gradient: dict[str, Tensor],
    v_mean: Tensor,
    h_mean: Tensor,
    workspace: ops.Workspace = ops.FRESH,
) -> dict[str, Tensor]:
    """Overwrite a gradient with its centred direction for these offsets, and return it."""
    mu = rbm.visible.coupled(v_mean[:, None], workspace.like("offset of v"))[:, 0]
    lam = rbm.hidden.coupled(h_mean[:, None], workspace.like("offset of h"))[:, 0]
    b_scale = rbm.visible.bias_per_input(workspace.like("scale of b")(v_mean))
    c_scale = rbm.hidden.bias_per_input(workspace.like("scale of c")(h_mean))
    biases = gradient["visible.bias"], gradient["hidden.bias"]
    ops.center_(gradient["weight"], biases, (mu, lam), (b_scale, c_scale))
    return gradient
