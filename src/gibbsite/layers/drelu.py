"""Double rectified linear units, x in R."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from gibbsite import ops
from gibbsite.checks import as_scales
from gibbsite.layers.base import Layer
from gibbsite.layers.faults import first_fault
from gibbsite.layers.quadrature import half_line_states
from gibbsite.layers.relu import usable_scale
from gibbsite.ops.half_line import HalfLine, half_line


class DReLUMoments(NamedTuple):
    """E[x], and for x_+ = max(x, 0) and x_- = min(x, 0) their means and mean squares."""

    mean: Tensor
    plus: Tensor
    minus: Tensor
    plus_square: Tensor
    minus_square: Tensor


class DReLU(Layer):
    r"""n real units with a quadratic energy on either side of 0, and statistic $x$:

    $$E(x) = \sum_i \tfrac{\gamma_i^+}{2} (x_i^+)^2 - b_i^+ x_i^+
      + \tfrac{\gamma_i^-}{2} (x_i^-)^2 - b_i^- x_i^-,
      \qquad x^+ = \max(x, 0),\ x^- = \min(x, 0) \le 0.$$

    $x_i \mid \text{inputs}$ is normal on either side of 0, with means $(b^\pm+\text{inputs})/
    \gamma^\pm$ and variances $1/\gamma^\pm$, cut off at 0. Equal parameters on both sides make
    a Gaussian unit; $b^+ > b^-$ makes two modes, $b^+ < b^-$ a peak at 0.
    Parameters, (n,) each: ``bias_plus``, ``bias_minus``, ``log_gamma_plus``, ``log_gamma_minus``.
    A gamma that is no positive number raises `ArgumentError`. Source: Tubiana, Cocco & Monasson
    (2019), Learning protein constitutive motifs from sequence data, Methods, with
    $b^+ = -\theta_+$ and $b^- = -\theta_-$ (in their program the energy is $+\theta_+ x^+$).

    Args:
        n: number of units.
        gamma_plus, gamma_minus: curvatures of the energy above and below 0 at the start of
            training: one number, or n.

    >>> import torch, gibbsite as gb
    >>> gb.DReLU(2, gamma_plus=4.0).mean(torch.tensor([-40.0, 40.0])).tolist()
    [-40.0, 10.0]
    """

    def __init__(
        self,
        n: int,
        gamma_plus: float | Sequence[float] | Tensor = 1.0,
        gamma_minus: float | Sequence[float] | Tensor = 1.0,
    ) -> None:
        super().__init__(n)
        self.bias_plus = nn.Parameter(torch.zeros(self.n))
        self.bias_minus = nn.Parameter(torch.zeros(self.n))
        plus = as_scales("gamma_plus", gamma_plus, self.n, self.bias_plus)
        minus = as_scales("gamma_minus", gamma_minus, self.n, self.bias_minus)
        self.log_gamma_plus = nn.Parameter(plus.log().expand(self.n).clone())
        self.log_gamma_minus = nn.Parameter(minus.log().expand(self.n).clone())

    @property
    def gamma_plus(self) -> Tensor:
        """Curvature of the energy above 0, (n,)."""
        return self.log_gamma_plus.exp()

    @property
    def gamma_minus(self) -> Tensor:
        """Curvature of the energy below 0, (n,)."""
        return self.log_gamma_minus.exp()

    def fault(self) -> str:
        """`Layer.fault`, which also looks at both gammas, as `ReLU.fault` does."""
        return (
            super().fault()
            or first_fault("gamma_plus", self.gamma_plus, usable_scale)
            or first_fault("gamma_minus", self.gamma_minus, usable_scale)
        )

    def energy(self, x: Tensor) -> Tensor:
        plus, minus = x.clamp(min=0), x.clamp(max=0)
        above = plus * (self.gamma_plus * plus / 2 - self.bias_plus)
        below = minus * (self.gamma_minus * minus / 2 - self.bias_minus)
        return (above + below).sum(-1)

    def log_partition(self, inputs: Tensor) -> Tensor:
        above, below = (half_line(z) for z in self._standard(inputs))
        log_odds = self._log_odds(inputs, above, below)
        upper = above.log_integral - self.log_gamma_plus / 2 + softplus(-log_odds)
        lower = below.log_integral - self.log_gamma_minus / 2 + softplus(log_odds)
        return torch.where(log_odds > 0, upper, lower).sum(-1)

    def moments(self, inputs: Tensor) -> DReLUMoments:
        above, below = (half_line(z) for z in self._standard(inputs))
        log_odds = self._log_odds(inputs, above, below)
        p, q = torch.sigmoid(log_odds), torch.sigmoid(-log_odds)
        plus = p * above.mean / self.gamma_plus.sqrt()
        minus = -q * below.mean / self.gamma_minus.sqrt()
        squares = p * above.square / self.gamma_plus, q * below.square / self.gamma_minus
        return DReLUMoments(plus + minus, plus, minus, *squares)

    def moments_at(self, x: Tensor) -> DReLUMoments:
        plus, minus = x.clamp(min=0), x.clamp(max=0)
        return DReLUMoments(x, plus, minus, plus.square(), minus.square())

    def gradient(
        self, moments: Any, weights: Tensor, coupling: Callable[[], Tensor]
    ) -> dict[str, Tensor]:
        """Gradients of the biases, E[x_+] and E[x_-], and log_gammas, -gamma E[x_+^2] / 2 etc."""
        _, plus, minus, plus_square, minus_square = moments
        return {
            "bias_plus": weights @ plus,
            "bias_minus": weights @ minus,
            "log_gamma_plus": -(self.gamma_plus / 2) * (weights @ plus_square),
            "log_gamma_minus": -(self.gamma_minus / 2) * (weights @ minus_square),
        }

    @torch.no_grad()
    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        rows = inputs.detach().clone(memory_format=torch.contiguous_format).reshape(-1, self.n)
        biases, gammas = self.sides()
        draws = ops.kernels_for(rows).draw_double_rectified_(rows, biases, gammas, generator)
        return draws.reshape(inputs.shape)

    def bias_shift(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"bias_plus": inputs, "bias_minus": inputs}

    def unit_states(self, unit: int, reach: float = 0.0) -> tuple[Tensor, Tensor]:
        """Gauss-Legendre points on panels fit for every conditional, on either side of 0."""
        points, log_weights = [], []
        for sign, bias, gamma in (
            (1.0, self.bias_plus, self.gamma_plus),
            (-1.0, -self.bias_minus, self.gamma_minus),
        ):
            scale, center = gamma[unit].sqrt().item(), bias[unit].item()
            lowest, highest = (center - reach) / scale, (center + reach) / scale
            t, log_weight = half_line_states(lowest, highest, self.bias_plus.detach())
            points.append(sign * t / scale)
            log_weights.append(log_weight - math.log(scale))
        return torch.cat(points)[:, None], torch.cat(log_weights)

    def sides(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Biases above and below 0, and gammas, without autograd."""
        biases = self.bias_plus.detach(), self.bias_minus.detach()
        return biases, (self.gamma_plus.detach(), self.gamma_minus.detach())

    def curvature(self) -> Tensor:
        return torch.minimum(self.gamma_plus, self.gamma_minus).detach()

    def _standard(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Arguments of `half_line` for |x| above and below 0."""
        above = (self.bias_plus + inputs) / self.gamma_plus.sqrt()
        below = (self.bias_minus + inputs) / self.gamma_minus.sqrt()
        return above, -below

    def _log_odds(self, inputs: Tensor, above: HalfLine, below: HalfLine) -> Tensor:
        """log P(x > 0) / P(x < 0)."""
        log_scale = (self.log_gamma_plus - self.log_gamma_minus) / 2
        return above.log_integral - below.log_integral - log_scale
