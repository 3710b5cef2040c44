"""Counts without a limit, x = 0, 1, 2, ..."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gibbsite.errors import RateError, TooLargeError
from gibbsite.layers.base import Layer
from gibbsite.layers.faults import first_fault, require
from gibbsite.layers.moments import Means

MAX_RATE = 2.0**40
"""The largest rate of a draw; beyond it rounding in the acceptance step of the draw shows."""

MAX_POINTS = 2**20
"""The most counts of one unit to sum over."""


class Poisson(Layer):
    r"""n counts with energy $\sum_i (\log x_i! - b_i x_i)$ and statistic $x$.

    $x_i \mid \text{inputs} \sim \mathrm{Poisson}(e^{b_i + \text{inputs}_i})$: mean and variance
    are the rate $e^{b_i + \text{inputs}_i}$. Parameter: ``bias`` (n,), the log of the rate alone.
    Source: Gehler, Holub, Welling (2006), The rate adapting Poisson model.

    A rate grows exponentially with the inputs. Where it exceeds the dtype (bias + inputs above 88
    in float32, 709 in float64) the mean and the log-partition are infinite, as no number is right;
    `sample` raises `RateError` for rates above 2^40. With Gaussian, rectified or Poisson units
    on the other side any positive weight would make Z infinite, and `RBM` refuses them.

    >>> import torch, gibbsite as gb
    >>> gb.Poisson(2).mean(torch.tensor([0.0, 4.0]).log1p()).tolist()
    [1.0, 5.0]
    """

    interval = 0.0, math.inf
    whole = True

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.bias = nn.Parameter(torch.zeros(self.n))

    def fault(self) -> str:
        """`Layer.fault`, which also looks at the rates without inputs: exp(bias) may overflow."""
        return super().fault() or first_fault("exp(bias)", self.bias.exp(), torch.isfinite)

    def energy(self, x: Tensor) -> Tensor:
        counts = x.double()  # both parts are many times the difference
        each = torch.lgamma(counts + 1) - counts * self.bias.double()
        return each.sum(-1).to(x.dtype)

    def log_partition(self, inputs: Tensor) -> Tensor:
        return torch.exp(self.bias + inputs).sum(-1)

    def moments(self, inputs: Tensor) -> Means:
        return Means(torch.exp(self.bias + inputs))

    @torch.no_grad()
    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        rates = torch.exp((self.bias + inputs).double())
        if rates.numel() > 0 and not float(rates.max()) <= MAX_RATE:
            raise RateError(
                f"a Poisson unit has the rate {float(rates.max()):.3g}, beyond 2^40, as weights or "
                "biases are too large; train with a smaller learning rate, or use gb.Binomial "
                "units, whose counts have a limit"
            )
        return torch.poisson(rates, generator=generator).to(inputs.dtype)

    @torch.no_grad()
    def inputs_for(self, rows: Tensor) -> Tensor:
        """Log of the mean of each column, with half a count added to its sum, less the bias."""
        return torch.log((rows.sum(0) + 0.5) / len(rows)) - self.bias

    def unit_states(self, unit: int, reach: float = 0.0) -> tuple[Tensor, Tensor]:
        """Counts up to where less than 1e-14 of any distribution within reach is left.

        A rate r exceeds r + t with a probability below exp(-t^2 / (2 r + t)) (Chernoff's bound,
        by log(1 + u) >= 2 u / (2 + u)), and smaller rates exceed that less often.
        """
        log_rate = self.bias[unit].item() + reach
        rate = math.exp(log_rate) if log_rate < 30 else math.inf
        most = rate + 9 * math.sqrt(rate) + 40
        if most > MAX_POINTS:
            raise TooLargeError(
                f"unit {unit} of {self.describe()} may have a rate of {rate:.3g}, too many counts "
                "to sum over; use fewer or smaller weights"
            )
        points = torch.arange(math.ceil(most) + 1, dtype=self.bias.dtype, device=self.bias.device)
        return points[:, None], torch.zeros_like(points)

    def check(self, rows: Tensor) -> None:
        """Raise `EntryError` unless every entry is a whole number of at least 0."""
        remedy = "Poisson units count: 0, 1, 2, ...; round the data or use Gaussian units"
        require(rows, (rows >= 0) & (rows == rows.floor()), remedy)
