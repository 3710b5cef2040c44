"""Continuous units, x in R."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from gibbsite import ops
from gibbsite.checks import as_tensor
from gibbsite.errors import ArgumentError, DataError
from gibbsite.layers.base import Layer, Marginals, Phases, first_fault

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


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

    def __init__(
        self, n: int, sigma: float | Sequence[float] | Tensor = 1.0, learn_sigma: bool = False
    ) -> None:
        super().__init__(n)
        try:
            scale = as_tensor(sigma, self.bias).detach().clone().reshape(-1)
        except DataError as error:
            raise ArgumentError(f"sigma={sigma!r}: {error}") from error
        if scale.numel() not in (1, n):
            raise ArgumentError(
                f"sigma has {scale.numel()} entries for {n} units; pass one number or {n}"
            )
        if not bool((torch.isfinite(scale) & (scale > 0)).all()):
            raise ArgumentError(f"sigma={sigma!r}: expected positive finite numbers")
        self.learn_sigma, self._space = learn_sigma, ops.Workspace()
        if learn_sigma:
            self.log_sigma = nn.Parameter(scale.log())
        else:
            self.register_buffer("fixed_sigma", scale)

    @property
    def sigma(self) -> Tensor:
        """Standard deviation of each unit given its inputs, (n,)."""
        scale = self.log_sigma.exp() if self.learn_sigma else self.get_buffer("fixed_sigma")
        return scale.expand(self.n)

    def _scale(self) -> Tensor:
        """`sigma` as it is now, without a gradient, in a buffer kept for it."""
        if not self.learn_sigma or type(self).sigma is not Gaussian.sigma:
            return self.sigma.detach()
        log_sigma = self.log_sigma.detach()
        return torch.exp(log_sigma, out=self._space.like("sigma")(log_sigma)).expand(self.n)

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

    def mean(self, inputs: Tensor) -> Tensor:
        return self.bias + self.sigma * inputs

    def variance(self, inputs: Tensor) -> Tensor:
        return (self.sigma**2).expand_as(inputs)

    def marginals_with_mean(self, mean: Tensor) -> Marginals:
        return Marginals(mean, (self.sigma**2).expand_as(mean))

    @torch.no_grad()
    def sample_(
        self,
        inputs: Tensor,
        generator: torch.Generator | None = None,
        *,
        scale: float = 1.0,
        base: Tensor | None = None,
    ) -> Tensor:
        bias, sigma = self.bias.detach(), self._scale()
        return ops.draw_gaussian_(inputs, bias, sigma, generator, scale, base)

    @torch.no_grad()
    def mean_(self, inputs: Tensor) -> Tensor:
        return inputs.mul_(self._scale()).add_(self.bias)

    def coupled(
        self, weight: Tensor, table: Callable[[Tensor], Tensor] = torch.empty_like
    ) -> Tensor:
        weight = weight.detach()
        return torch.div(weight, self._scale()[:, None], out=table(weight))

    def contrast(self, phases: Phases, interaction: Callable[[], Tensor]) -> dict[str, Tensor]:
        """`Layer.contrast` from means and squares of both phases; variances given inputs cancel."""
        sigma, (_, spread, bias) = self._scale(), phases.means
        gradient = {"bias": bias.div_(sigma).div_(sigma)}
        if self.learn_sigma:
            ops.phase_spread_(phases.table, phases.rows, self.bias.detach(), spread)
            by_unit = spread.div_(sigma).div_(sigma).sub_(interaction())
            shared = self.log_sigma.numel() == 1
            gradient["log_sigma"] = by_unit.cumsum_(0)[-1:] if shared else by_unit
        return gradient

    def parameter_gradient(
        self, units: Marginals, weights: Tensor, interaction: Callable[[], Tensor]
    ) -> dict[str, Tensor]:
        """Gradients of bias, Cheng's (3.12), and log_sigma, E[(x - b)^2]/sigma^2 - s(x) inputs."""
        deviation = units.mean - self.bias
        gradient = {"bias": (weights @ deviation) / self.sigma**2}
        if self.learn_sigma:
            squares = weights @ (deviation**2 + units.variance)
            by_unit = squares / self.sigma**2 - interaction()
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

    def bias_per_input(self, out: Tensor | None = None) -> Tensor:
        return self.sigma if out is None else out.copy_(self._scale())

    def unit_grid(self, spread: Tensor) -> tuple[Tensor, Tensor]:
        """Trapezoid rule, step 0.5 sigma, 9 sigma beyond the most extreme conditional mean.

        The density of one unit given the others is a mixture of Gaussians of width sigma, for
        which this rule errs by less than 1e-15.
        """
        reach = float(spread.max()) + 9.0
        nodes = torch.linspace(
            -reach,
            reach,
            2 * math.ceil(2 * reach) + 1,
            dtype=self.bias.dtype,
            device=self.bias.device,
        )
        step = nodes[1] - nodes[0]
        points = self.bias + self.sigma * nodes[:, None]
        return points, (self.sigma.log() + step.log()).expand_as(points)

    def initialize(self, data: Tensor) -> None:
        with torch.no_grad():
            self.bias.copy_(data.mean(0))

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

    def options(self) -> dict[str, bool]:
        return {"learn_sigma": self.learn_sigma}

    @classmethod
    def skeleton(cls, n: int, shapes: dict[str, list[int]], options: dict[str, bool]) -> Layer:
        name = "log_sigma" if options.get("learn_sigma") else "fixed_sigma"
        return cls(n, sigma=torch.ones(shapes[name]), **options)
