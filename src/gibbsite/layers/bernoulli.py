"""Binary units, x in {0, 1}."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gibbsite import ops
from gibbsite.errors import DataError
from gibbsite.layers.finite import Finite
from gibbsite.layers.moments import Means


class Bernoulli(Finite):
    r"""n binary units with energy $-\sum_i b_i x_i$ and statistic $x$.

    $p(x_i = 1 \mid \text{inputs}) = \sigma(b_i + \text{inputs}_i)$:
    Cheng's tutorial (2.10), (2.19).

    >>> import torch, gibbsite as gb
    >>> gb.Bernoulli(3).mean(torch.zeros(3)).tolist()
    [0.5, 0.5, 0.5]
    """

    interval = 0.0, 1.0

    def __init__(self, n: int) -> None:
        super().__init__(n, 2)
        self.bias = nn.Parameter(torch.zeros(self.n))

    def energy(self, x: Tensor) -> Tensor:
        return -(x @ self.bias)

    def log_partition(self, inputs: Tensor) -> Tensor:
        return ops.kernels_for(inputs).softplus_sum(inputs, self.bias)

    def moments(self, inputs: Tensor) -> Means:
        return Means(torch.sigmoid(self.bias + inputs))

    @torch.no_grad()
    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        rows = inputs.detach().clone(memory_format=torch.contiguous_format).reshape(-1, self.n)
        draws = ops.kernels_for(rows).draw_bernoulli_(rows, self.bias.detach(), generator)
        return draws.reshape(inputs.shape)

    @torch.no_grad()
    def inputs_for(self, rows: Tensor) -> Tensor:
        """Log-odds of each column, half a count added to either side, less the bias."""
        ones = rows.sum(0)
        return torch.log((ones + 0.5) / (len(rows) - ones + 0.5)) - self.bias

    def encode(self, codes: Tensor) -> Tensor:
        return codes.to(self.bias.dtype)

    def check_states(self, x: Tensor) -> None:
        super().check_states(x)
        if not ops.kernels_for(x).is_binary(x):
            raise DataError("states of binary units other than 0 and 1")

    @torch.no_grad()
    def observe(self, data: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Dynamic stochastic binarisation: a value in (0, 1) is the probability of a one.

        It is drawn anew at every call; zeros and ones pass unchanged.
        """
        kernels = ops.kernels_for(data)
        if kernels.is_binary(data):
            return data
        rows = data.detach().clone(memory_format=torch.contiguous_format).reshape(-1, self.n)
        return kernels.draw_probabilities_(rows, generator).reshape(data.shape)
