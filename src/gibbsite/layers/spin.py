"""Units of two states, x in {-1, +1}."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gibbsite import ops
from gibbsite.layers.faults import require
from gibbsite.layers.finite import Finite
from gibbsite.layers.moments import Means


class Spin(Finite):
    r"""n units of the states -1 and +1 with energy $-\sum_i b_i x_i$ and statistic $x$.

    $p(x_i = 1 \mid \text{inputs}) = \sigma(2 b_i + 2\,\text{inputs}_i)$, with mean
    $\tanh(b_i + \text{inputs}_i)$ and log-partition $\sum_i \log 2\cosh(b_i + \text{inputs}_i)$:
    the Ising spins of statistical physics, in units where the temperature is 1.
    With $x = 2c - 1$ it is the same family as `Bernoulli` units c, with other parameters.
    ``bias`` is (n,). Data other than exactly -1 and +1 raise `EntryError`.

    >>> import torch, gibbsite as gb
    >>> gb.Spin(2).sample(torch.tensor([-50.0, 50.0])).tolist()
    [-1.0, 1.0]
    >>> gb.Spin(3).mean(torch.zeros(3)).tolist()
    [0.0, 0.0, 0.0]
    """

    interval = -1.0, 1.0

    def __init__(self, n: int) -> None:
        super().__init__(n, 2)
        self.bias = nn.Parameter(torch.zeros(self.n))

    def energy(self, x: Tensor) -> Tensor:
        return -(x @ self.bias)

    def log_partition(self, inputs: Tensor) -> Tensor:
        # log 2cosh(a) = log(1 + e^2a) - a, which neither overflows nor loses digits
        upper = ops.kernels_for(inputs).softplus_sum(2 * inputs, 2 * self.bias)
        return upper - (self.bias + inputs).sum(-1)

    def moments(self, inputs: Tensor) -> Means:
        return Means(torch.tanh(self.bias + inputs))

    @torch.no_grad()
    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        rows = inputs.detach().clone(memory_format=torch.contiguous_format).reshape(-1, self.n)
        draws = ops.kernels_for(rows).draw_spin_(rows, self.bias.detach(), generator)
        return draws.reshape(inputs.shape)

    @torch.no_grad()
    def inputs_for(self, rows: Tensor) -> Tensor:
        """Half the log-odds of +1 in each column, half a count added to either, less the bias."""
        up = (rows + 1).sum(0) / 2
        return torch.log((up + 0.5) / (len(rows) - up + 0.5)) / 2 - self.bias

    def encode(self, codes: Tensor) -> Tensor:
        return 2 * codes.to(self.bias.dtype) - 1

    def check(self, rows: Tensor) -> None:
        """Raise `EntryError` unless every entry is exactly -1 or +1."""
        remedy = "Spin units take -1 and +1 alone; for 0 and 1 use gb.Bernoulli, or 2 x - 1"
        require(rows, rows.abs() == 1, remedy)
