"""Rectified linear units, x >= 0."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gibbsite import ops
from gibbsite.checks import as_scales
from gibbsite.layers.base import Layer
from gibbsite.layers.faults import first_fault
from gibbsite.layers.quadrature import half_line_states
from gibbsite.ops.half_line import half_line


class ReLUMoments(NamedTuple):
    """E[x] and E[x^2] of the units."""

    mean: Tensor
    square: Tensor


class ReLU(Layer):
    r"""n units x >= 0 with energy $\sum_i \gamma_i x_i^2/2 - b_i x_i$ and statistic $x$.

    $x_i \mid \text{inputs} \sim \mathcal N\bigl((b_i+\text{inputs}_i)/\gamma_i,\ 1/\gamma_i\bigr)$
    cut off below 0, whose mean is a smooth rectifier of the input. Parameters: ``bias`` (n,) and
    ``log_gamma`` (n,), so that gamma stays positive. Data below 0 raise `EntryError`, a gamma that
    is no positive number `ArgumentError`. Source: Tubiana, Cocco & Monasson (2019), Learning
    compositional representations of interacting systems with restricted Boltzmann machines.

    Args:
        n: number of units.
        gamma: curvature of the energy at the start of training: one number, or n.

    >>> import torch, gibbsite as gb
    >>> gb.ReLU(3).mean(torch.tensor([-100.0, 0.0, 100.0])).tolist()  # 1/100, sqrt(2/pi), 100
    [0.009998001158237457, 0.7978845834732056, 100.0]
    """

    interval = 0.0, math.inf

    def __init__(self, n: int, gamma: float | Sequence[float] | Tensor = 1.0) -> None:
        super().__init__(n)
        self.bias = nn.Parameter(torch.zeros(self.n))
        scales = as_scales("gamma", gamma, self.n, self.bias)
        self.log_gamma = nn.Parameter(scales.log().expand(self.n).clone())

    @property
    def gamma(self) -> Tensor:
        """Curvature of the energy, (n,)."""
        return self.log_gamma.exp()

    def fault(self) -> str:
        """`Layer.fault`, which also looks at gamma: exp(log_gamma) may be 0 or infinite."""
        return super().fault() or first_fault("gamma", self.gamma, usable_scale)

    def energy(self, x: Tensor) -> Tensor:
        return (x * (self.gamma * x / 2 - self.bias)).sum(-1)

    def log_partition(self, inputs: Tensor) -> Tensor:
        log_integral = half_line(self._standard(inputs)).log_integral
        return (log_integral - self.log_gamma / 2).sum(-1)

    def moments(self, inputs: Tensor) -> ReLUMoments:
        _, mean, square = half_line(self._standard(inputs))
        return ReLUMoments(mean / self.gamma.sqrt(), square / self.gamma)

    def moments_at(self, x: Tensor) -> ReLUMoments:
        return ReLUMoments(x, x.square())

    def gradient(
        self, moments: Any, weights: Tensor, coupling: Callable[[], Tensor]
    ) -> dict[str, Tensor]:
        """Gradients of bias, E[x], and log_gamma, -gamma E[x^2] / 2."""
        mean, square = moments
        return {"bias": weights @ mean, "log_gamma": -(self.gamma / 2) * (weights @ square)}

    @torch.no_grad()
    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        rows = inputs.detach().clone(memory_format=torch.contiguous_format).reshape(-1, self.n)
        kernels, bias = ops.kernels_for(rows), self.bias.detach()
        return kernels.draw_rectified_(rows, bias, self.gamma, generator).reshape(inputs.shape)

    def unit_states(self, unit: int, reach: float = 0.0) -> tuple[Tensor, Tensor]:
        """Gauss-Legendre points on panels fit for every conditional."""
        scale, bias = self.gamma[unit].sqrt().item(), self.bias[unit].item()
        lowest, highest = (bias - reach) / scale, (bias + reach) / scale
        points, log_weights = half_line_states(lowest, highest, self.bias.detach())
        return points[:, None] / scale, log_weights - math.log(scale)

    @torch.no_grad()
    def inputs_for(self, rows: Tensor) -> Tensor:
        """`Layer.inputs_for`; a column of zeros counts as if one more row held a small number."""
        least = 1 / (self.gamma.sqrt() * (len(rows) + 1))
        return super().inputs_for(torch.maximum(rows.mean(0), least)[None])

    def curvature(self) -> Tensor:
        return self.gamma.detach()

    def _standard(self, inputs: Tensor) -> Tensor:
        """Inputs with the bias, in units of the conditional standard deviation."""
        return (self.bias + inputs) / self.gamma.sqrt()


def usable_scale(gamma: Tensor) -> Tensor:
    """True where gamma and 1/gamma are positive finite numbers."""
    return torch.isfinite(gamma) & torch.isfinite(1 / gamma) & (gamma > 0)
