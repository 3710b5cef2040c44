r"""The normal distribution cut at zero: $p(t) \propto e^{-t^2/2 + zt}$ for t >= 0.

What rectified units are made of. Let $R(z) = \int_0^\infty e^{-t^2/2+zt}\,dt$. By parts,
$E[t] = z + 1/R$ and $E[t^2] = 1 + z\,E[t]$. For z far below 0 both are differences of numbers
nearly equal; there $1/R$ is Laplace's continued fraction (NIST Handbook, 7.9.1),
$$1/R = y + \cfrac{1}{y + \cfrac{2}{y + \cfrac{3}{y + \dots}}},\qquad y = -z,$$
whose first term cancels, and what remains has no difference in it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

FAR = 4.0
"""-z from which the continued fraction takes over: `LEVELS` of it are then good to 1e-14."""

LEVELS = 24
NEWTON_STEPS = 4


class HalfLine(NamedTuple):
    """log R, the mean and the mean square of t, each of the shape of z."""

    log_integral: Tensor
    mean: Tensor
    square: Tensor


def half_line(z: Tensor) -> HalfLine:
    """Integral and moments of t >= 0, to rounding for any z; differentiable."""
    far = z < -FAR
    near_z, far_z = torch.where(far, -FAR, z), torch.where(far, z, -FAR)
    return HalfLine(*map(torch.where, (far,) * 3, _far(-far_z), _near(near_z)))


def _near(z: Tensor) -> HalfLine:
    below, above = z.clamp(max=0), z.clamp(min=0)
    scaled = math.sqrt(math.pi / 2) * torch.special.erfcx(-below / math.sqrt(2))
    rising = above.square() / 2 + torch.special.log_ndtr(above) + math.log(2 * math.pi) / 2
    log_integral = torch.where(z < 0, scaled.log(), rising)
    mean = z + torch.exp(-log_integral)
    return HalfLine(log_integral, mean, 1 + z * mean)


def _far(y: Tensor) -> HalfLine:
    rest = (y + torch.sqrt(y * y + 4 * LEVELS)) / 2  # solves rest = y + LEVELS / rest
    for level in range(LEVELS, 2, -1):
        rest = y + level / rest
    rest = 2 / rest
    mean = 1 / (y + rest)
    return HalfLine(-torch.log(y + mean), mean, mean * rest)


def inverse_survival(z: Tensor, u: Tensor) -> Tensor:
    r"""t with P(T > t) = u, in float64: to rounding, however far z is below 0.

    There it is the root of $yt + t^2/2 + \log\{r(y)/r(y+t)\} = -\log u$ with r = R(-y), convex in
    t and nearly a parabola, so Newton's steps from the parabola's root converge.
    """
    far = z < -FAR
    near_z = torch.where(far, -FAR, z)
    near = near_z - torch.special.ndtri(u * torch.special.ndtr(near_z))
    y, target = torch.where(far, -z, FAR), -u.log()
    t = 2 * target / (y + torch.sqrt(y * y + 2 * target))
    at_zero = torch.special.erfcx(y / math.sqrt(2))
    for _ in range(NEWTON_STEPS):
        scaled = torch.special.erfcx((y + t) / math.sqrt(2))
        excess = t * (y + t / 2) + torch.log(at_zero / scaled) - target
        t = t - excess * math.sqrt(math.pi / 2) * scaled
    return torch.where(far, t, near).clamp_(min=0)
