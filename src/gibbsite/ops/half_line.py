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

FAR, LEVELS = 4.0, 24
"""-z from which the continued fraction takes over, and the levels of it that float64 needs."""

FAR_SINGLE, LEVELS_SINGLE = 2.5, 14
"""The same for float32: sooner, as differences lose a larger part of it."""

NEWTON_STEPS = 4


class HalfLine(NamedTuple):
    """log R, the mean and the mean square of t, each of the shape of z."""

    log_integral: Tensor
    mean: Tensor
    square: Tensor


def half_line(z: Tensor) -> HalfLine:
    """Integral and moments of t >= 0, to rounding for any z; differentiable."""
    single = z.dtype == torch.float32
    start, levels = (FAR_SINGLE, LEVELS_SINGLE) if single else (FAR, LEVELS)
    far = z < -start
    near_z, far_z = torch.where(far, -start, z), torch.where(far, z, -start)
    return HalfLine(*map(torch.where, (far,) * 3, _far(-far_z, levels), _near(near_z)))


def _near(z: Tensor) -> HalfLine:
    """By R = sqrt(pi/2) e^(z^2/2) erfc(-z/sqrt 2), of which no factor is too small."""
    half_square = z.square() / 2
    share = math.sqrt(math.pi / 2) * torch.special.erfc(z / -math.sqrt(2))
    mean = z + torch.exp(-half_square) / share
    return HalfLine(half_square + share.log(), mean, 1 + z * mean)


def _far(y: Tensor, levels: int) -> HalfLine:
    rest = (y + torch.sqrt(y * y + 4 * levels)) / 2  # solves rest = y + levels / rest
    for level in range(levels, 2, -1):
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
