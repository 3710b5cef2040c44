"""Binary units, x in {0, 1}."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gibbsite import ops
from gibbsite.errors import DataError
from gibbsite.layers.base import Layer, Marginals, Phases, require
from gibbsite.rows import Rows, picked

MEAN_ROUNDING = 1e-3
"""Distance beyond 0 and 1 that the rounding of a running mean may account for."""


class Bernoulli(Layer):
    r"""n binary units with energy $-\sum_i b_i x_i$ and statistic $x$.

    $p(x_i = 1 \mid \text{inputs}) = \sigma(b_i + \text{inputs}_i)$:
    Cheng's tutorial (2.10), (2.19).

    >>> import torch, gibbsite as gb
    >>> gb.Bernoulli(3).mean(torch.zeros(3)).tolist()
    [0.5, 0.5, 0.5]
    """

    is_binary = True

    def energy(self, x: Tensor) -> Tensor:
        return -(x @ self.bias)

    def statistic(self, x: Tensor) -> Tensor:
        return x

    def log_partition(self, inputs: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return ops.reference.softplus_sum(inputs, self.bias)
        return ops.softplus_sum(inputs, self.bias)

    def mean(self, inputs: Tensor) -> Tensor:
        return torch.sigmoid(self.bias + inputs)

    def variance(self, inputs: Tensor) -> Tensor:
        mean = self.mean(inputs)
        return mean * (1 - mean)

    def sample_(
        self,
        inputs: Tensor,
        generator: torch.Generator | None = None,
        *,
        scale: float = 1.0,
        base: Tensor | None = None,
    ) -> Tensor:
        return ops.draw_bernoulli_(inputs, self.bias.detach(), generator, scale, base)

    def mean_(self, inputs: Tensor) -> Tensor:
        return ops.mean_bernoulli_(inputs, self.bias.detach())

    def mean_and_sample_(
        self,
        inputs: Tensor,
        generator: torch.Generator | None = None,
        start: int = 0,
        out: Tensor | None = None,
    ) -> Tensor:
        return ops.mean_and_draw_(inputs, self.bias.detach(), generator, start, out)

    @torch.no_grad()
    def log_partition_change(
        self, inputs: Tensor, base: Tensor, old: float, new: float, out: Tensor | None = None
    ) -> Tensor:
        return ops.softplus_change(inputs, self.bias, base, old, new, out)

    def marginals_with_mean(self, mean: Tensor) -> Marginals:
        return Marginals(mean, mean * (1 - mean))

    def parameter_gradient(
        self, units: Marginals, weights: Tensor, interaction: Callable[[], Tensor]
    ) -> dict[str, Tensor]:
        return {"bias": weights @ units.mean}

    def contrast(self, phases: Phases, interaction: Callable[[], Tensor]) -> dict[str, Tensor]:
        return {"bias": phases.means[2]}

    @property
    def n_states(self) -> float:
        return math.ldexp(1.0, self.n) if self.n < 1024 else math.inf

    def states(self, start: int, stop: int) -> Tensor:
        """The binary digits of start, ..., stop - 1, lowest digit in column 0."""
        indices = torch.arange(start, stop, device=self.bias.device)
        digits = indices[:, None] >> torch.arange(self.n, device=self.bias.device)
        return (digits & 1).to(self.bias.dtype)

    @torch.no_grad()
    def overdispersed(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Independent coins, with a rate of ones drawn for each row from 0 to 1."""
        rates = torch.rand(n, 1, generator=generator, device=self.bias.device)
        rows = rates.to(self.bias.dtype).expand(n, self.n).contiguous()
        return ops.draw_probabilities_(rows, generator)

    def unit_grid(self, spread: Tensor) -> tuple[Tensor, Tensor]:
        points = torch.stack([torch.zeros_like(self.bias), torch.ones_like(self.bias)])
        return points, torch.zeros_like(points)

    def check_data(self, data: Tensor) -> Tensor:
        data = super().check_data(data)
        remedy = "Bernoulli units take values in [0, 1]; rescale the data or use Gaussian units"
        require(data, lambda x: (x >= 0) & (x <= 1), remedy)
        return data

    def check_means(self, x: Tensor) -> None:
        super().check_means(x)
        if bool(((x < -MEAN_ROUNDING) | (x > 1 + MEAN_ROUNDING)).any()):
            raise DataError("means of binary units outside of [0, 1]")

    def observe(self, data: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Dynamic stochastic binarisation: a value in (0, 1) is the probability of a one.

        It is drawn anew at every call; zeros and ones pass unchanged.
        """
        if ops.is_binary(data):
            return data
        rows = data.detach().clone(memory_format=torch.contiguous_format).reshape(-1, self.n)
        return ops.draw_probabilities_(rows, generator).reshape(data.shape)

    def take(
        self,
        data: Tensor | Rows,
        index: Tensor,
        generator: torch.Generator | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        drawn = data.drawn(index, generator, out) if isinstance(data, Rows) else None
        if drawn is not None:
            return self.coerce(drawn)
        return ops.draw_probabilities_(self.coerce(picked(data, index, out)), generator)

    def initialize(self, data: Tensor) -> None:
        """Set the bias to the log-odds of each column, half a count added to either side."""
        ones = data.sum(0)
        with torch.no_grad():
            self.bias.copy_(torch.log((ones + 0.5) / (len(data) - ones + 0.5)))
