"""Truncated exponential units, x in [0, 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gibbsite.layers.base import Layer
from gibbsite.layers.moments import Means
from gibbsite.layers.quadrature import PANEL_EXPONENT, gauss_legendre
from gibbsite.ops.kernels import uniform

BERNOULLI_NUMBERS = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
"""B_2, B_4, ...: enough for the series in |a| < 1 to be good to rounding."""


class TruncatedExponential(Layer):
    r"""n units x in [0, 1] with energy $-\sum_i b_i x_i$ and statistic $x$.

    $p(x_i \mid \text{inputs}) = a_i e^{a_i x_i} / (e^{a_i} - 1)$ with $a = b + \text{inputs}$:
    uniform at a = 0, exponential from 0 or from 1 for large |a|. Units for grey levels and shares
    as they are, of which `Bernoulli` units make draws of 0 and 1. Parameter: ``bias`` (n,). Data
    outside of [0, 1] raise `EntryError`. Source: Bengio, Lamblin, Popovici & Larochelle
    (2007), Greedy layer-wise training of deep networks, on inputs in an interval.

    >>> import torch, gibbsite as gb
    >>> gb.TruncatedExponential(3).mean(torch.tensor([-100.0, 0.0, 100.0])).tolist()
    [0.009999999776482582, 0.5, 0.9900000095367432]
    """

    interval = 0.0, 1.0

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.bias = nn.Parameter(torch.zeros(self.n))

    def energy(self, x: Tensor) -> Tensor:
        return -(x @ self.bias)

    def log_partition(self, inputs: Tensor) -> Tensor:
        a = self.bias + inputs
        small, large, is_small = _regimes(a)
        powers = (small ** (2 * k) for k in range(1, len(BERNOULLI_NUMBERS) + 1))
        series = small / 2 + sum(
            b / (2 * k * math.factorial(2 * k)) * power
            for k, (b, power) in enumerate(zip(BERNOULLI_NUMBERS, powers, strict=True), 1)
        )
        closed = a.clamp(min=0) + torch.log(-torch.expm1(-large) / large)
        return torch.where(is_small, series, closed).sum(-1)

    def moments(self, inputs: Tensor) -> Means:
        a = self.bias + inputs
        small, large, is_small = _regimes(a)
        series = 0.5 + sum(
            b / math.factorial(2 * k) * small ** (2 * k - 1)
            for k, b in enumerate(BERNOULLI_NUMBERS, 1)
        )
        nearer = 1 / large + torch.exp(-large) / torch.expm1(-large)  # distance from 0, if a < 0
        return Means(torch.where(is_small, series, torch.where(a < 0, nearer, 1 - nearer)))

    @torch.no_grad()
    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw x by inversion, from the end where the density is larger."""
        a = (self.bias + inputs).double()
        rate = a.abs().clamp(min=1e-100)  # the formula's limit is uniform
        distance = torch.log1p(uniform(a, generator) * torch.expm1(-rate)) / -rate
        return torch.where(a < 0, distance, 1 - distance).clamp_(0, 1).to(inputs.dtype)

    def unit_states(self, unit: int, reach: float = 0.0) -> tuple[Tensor, Tensor]:
        """Gauss-Legendre points on equal panels, over none of which the exponential is steep."""
        steepest = abs(self.bias[unit].item()) + reach
        panels = 1 + math.ceil(steepest / PANEL_EXPONENT)
        like = self.bias.detach()
        edges = torch.linspace(0, 1, panels + 1, dtype=like.dtype, device=like.device)
        points, log_weights = gauss_legendre(edges)
        return points[:, None], log_weights

    @torch.no_grad()
    def inputs_for(self, rows: Tensor) -> Tensor:
        """`Layer.inputs_for`; a constant column counts as if one more row held 1/2."""
        least = 0.5 / (len(rows) + 1)
        return super().inputs_for(rows.mean(0).clamp(least, 1 - least)[None])


def _regimes(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """a for the series, |a| for the closed form, each 1 where the other is used, and where |a| < 1.

    The closed forms are differences that cancel as a goes to 0.
    """
    is_small = a.abs() < 1
    return torch.where(is_small, a, 1.0), torch.where(is_small, 1.0, a.abs()), is_small
