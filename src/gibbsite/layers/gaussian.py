"""Continuous units, x in R."""

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

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class GaussianMoments(NamedTuple):
    """Means and variances of the units."""

    mean: Tensor
    variance: Tensor


class Gaussian(Layer):
    r"""n real units with energy $\sum_i (x_i-b_i)^2 / 2\sigma_i^2$ and statistic $x/\sigma$.

    $x_i \mid \text{inputs} \sim \mathcal N(b_i + \sigma_i\,\text{inputs}_i, \sigma_i^2)$:
    Cheng's tutorial (3.3), (3.19) with $a = 1/\sigma$.

    Args:
        n: number of units.
        sigma: standard deviation given the other layer, in the units of the data: a scalar
            shared by all units, or n values.
        learn_sigma: train sigma too, as ``log_sigma`` (so that it stays positive).

    >>> import torch, gibbsite as gb
    >>> gb.Gaussian(2, sigma=0.5).mean(torch.tensor([0.0, 4.0])).tolist()
    [0.0, 2.0]
    """

    has_units = True
    linear = True

    def __init__(
        self, n: int, sigma: float | Sequence[float] | Tensor = 1.0, learn_sigma: bool = False
    ) -> None:
        super().__init__(n)
        self.bias = nn.Parameter(torch.zeros(self.n))
        scale = as_scales("sigma", sigma, self.n, self.bias)
        self.learn_sigma = learn_sigma
        if learn_sigma:
            self.log_sigma = nn.Parameter(scale.log())
        else:
            self.register_buffer("fixed_sigma", scale)

    @property
    def sigma(self) -> Tensor:
        """Standard deviation of each unit given its inputs, (n,)."""
        scale = self.log_sigma.exp() if self.learn_sigma else self.get_buffer("fixed_sigma")
        return scale.expand(self.n)

    def fault(self) -> str:
        """`Layer.fault`, which also looks at sigma itself: exp(log_sigma) may be 0 or infinite."""

        def usable(sigma: Tensor) -> Tensor:
            return torch.isfinite(sigma) & torch.isfinite(1 / sigma) & (sigma > 0)

        return super().fault() or first_fault("sigma", self.sigma, usable)

    def energy(self, x: Tensor) -> Tensor:
        return 0.5 * (((x - self.bias) / self.sigma) ** 2).sum(-1)

    def statistic(self, x: Tensor) -> Tensor:
        return x / self.sigma

    def log_partition(self, inputs: Tensor) -> Tensor:
        # the integral over x in Cheng's (3.18), without the factor of the hidden biases
        exponent: Tensor = torch.linalg.vecdot(self.bias / self.sigma + 0.5 * inputs, inputs)
        return exponent + (self.sigma.log() + _HALF_LOG_2PI).sum()

    def moments(self, inputs: Tensor) -> GaussianMoments:
        mean = self.bias + self.sigma * inputs
        return GaussianMoments(mean, (self.sigma**2).expand_as(mean))

    def moments_at(self, x: Tensor) -> GaussianMoments:
        return GaussianMoments(x, x.new_zeros(()).expand_as(x))

    @torch.no_grad()
    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        rows = inputs.detach().clone(memory_format=torch.contiguous_format).reshape(-1, self.n)
        kernels, bias = ops.kernels_for(rows), self.bias.detach()
        return kernels.draw_gaussian_(rows, bias, self.sigma, generator).reshape(inputs.shape)

    def gradient(
        self, moments: Any, weights: Tensor, coupling: Callable[[], Tensor]
    ) -> dict[str, Tensor]:
        """Gradients of bias, Cheng's (3.12), and log_sigma, E[(x - b)^2]/sigma^2 - s(x) inputs."""
        mean, variance = moments
        deviation = mean - self.bias  # before the sum, as the columns may be far from 0
        gradient = {"bias": (weights @ deviation) / self.sigma**2}
        if self.learn_sigma:
            squares = weights @ (deviation**2 + variance)
            by_unit = squares / self.sigma**2 - coupling()
            shared = self.log_sigma.numel() == 1
            gradient["log_sigma"] = by_unit.sum(0, keepdim=True) if shared else by_unit
        return gradient

    def precondition_(self, gradient: dict[str, Tensor]) -> None:
        """Turn the gradient of a shared log_sigma, a sum over units, into their mean.

        Its Fisher information is such a sum, too, of 2 for each unit without weights: along the
        mean it steps as far as one unit's own would, and a rate that suits the other parameters
        suits it too.
        """
        if "log_sigma" in gradient:
            gradient["log_sigma"].div_(self.n // self.log_sigma.numel())

    def bias_shift(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"bias": self.sigma * inputs}

    def unit_states(self, unit: int, reach: float = 0.0) -> tuple[Tensor, Tensor]:
        """Trapezoid rule, step 0.5 sigma, 9 sigma beyond the most extreme conditional mean.

        The density of one unit given the others is a mixture of Gaussians of width sigma, for
        which this rule errs by less than 1e-15.
        """
        end = reach + 9.0
        count = 2 * math.ceil(2 * end) + 1
        nodes = torch.linspace(-end, end, count, dtype=self.bias.dtype, device=self.bias.device)
        bias, sigma = self.bias[unit], self.sigma[unit]
        points = bias + sigma * nodes
        return points[:, None], (sigma * (nodes[1] - nodes[0])).log().expand_as(points)

    def curvature(self) -> Tensor:
        return torch.ones_like(self.bias.detach())

    @torch.no_grad()
    def inputs_for(self, rows: Tensor) -> Tensor:
        """Distance of the mean of each column from the bias, in sigmas."""
        return (rows.mean(0) - self.bias) / self.sigma

    @torch.no_grad()
    def initialize(self, rows: Tensor) -> None:
        self.bias.copy_(rows.mean(0))

    def fitted(self, data: Tensor) -> Gaussian:
        """`Layer.fitted`; the sigma of a constant column is a millionth of its size."""
        data = data.double()
        size, spread = data.abs().amax(0).clamp(min=1e-6), data.std(0, correction=0)
        layer = Gaussian(self.n).double()
        layer.initialize(data)
        constant = spread <= 10 * torch.finfo(data.dtype).eps * size
        layer.fixed_sigma = torch.where(constant, 1e-6 * size, spread)
        return layer

    def rescaled(self, shift: Tensor, scale: Tensor) -> Gaussian:
        layer = Gaussian(self.n, torch.ones(self.n), self.learn_sigma).to(self.bias)
        sigma = scale * self.sigma
        with torch.no_grad():
            layer.bias.copy_(shift + scale * self.bias)
            if self.learn_sigma:
                layer.log_sigma.copy_(sigma.log())
            else:
                layer.get_buffer("fixed_sigma").copy_(sigma)
        return layer

    @classmethod
    def for_columns(cls, greatest: Tensor, **options: Any) -> Layer:
        """`Layer.for_columns`, with a sigma for each unit even where one number is given."""
        sigma = as_scales("sigma", options.pop("sigma", 1.0), len(greatest), torch.zeros(()))
        sigma = sigma.expand(len(greatest))
        return super().for_columns(greatest, sigma=sigma, **options)

    def learned_scales(self) -> dict[str, slice]:
        by_unit = self.learn_sigma and self.log_sigma.numel() == self.n
        return {"log_sigma": slice(0, self.n)} if by_unit else {}

    def options(self) -> dict[str, Any]:
        return {"learn_sigma": self.learn_sigma}

    @classmethod
    def skeleton(cls, n: int, shapes: dict[str, list[int]], options: dict[str, Any]) -> Layer:
        name = "log_sigma" if options.get("learn_sigma") else "fixed_sigma"
        return cls(n, sigma=torch.ones(shapes[name]), **options)
