"""Units with finitely many states each."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from gibbsite.layers.base import Layer


class Finite(Layer):
    """A layer whose units have finitely many states each, numbered from 0 (`encode`).

    Args:
        n: number of units.
        states: number of states of each unit: one for all, or n of them.
        width: number of columns; n for units of one column each.
    """

    def __init__(self, n: int, states: int | Sequence[int], width: int | None = None) -> None:
        super().__init__(n, width)
        self.sizes: list[int] = [states] * self.n if isinstance(states, int) else list(states)

    @abstractmethod
    def encode(self, codes: Tensor) -> Tensor:
        """States, (..., width), of units whose states have the numbers given, int64 (..., n)."""

    def unit_states(self, unit: int, reach: float = 0.0) -> tuple[Tensor, Tensor]:
        k = self.sizes[unit]
        codes = torch.zeros(k, self.n, dtype=torch.int64, device=self.like.device)
        codes[:, unit] = torch.arange(k, device=codes.device)
        points = self.encode(codes)[:, self.unit_columns(unit)]
        return points, points.new_zeros(k)

    def guess(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        """`Layer.guess`; of units with two states in one column the more probable one."""
        if self.width != self.n:
            return super().guess(mean)
        codes = torch.zeros(2, self.n, dtype=torch.int64, device=mean.device)
        codes[1] = 1
        low, high = self.encode(codes).to(mean)
        share = (mean - low) / (high - low)
        two = torch.tensor(self.sizes, device=mean.device) == 2
        state = torch.where(two, torch.where(share > 0.5, high, low), mean)
        return state, torch.where(two, torch.maximum(share, 1 - share), math.nan)

    def curvature(self) -> Tensor:
        return self.like.new_full((self.width,), math.inf)

    @torch.no_grad()
    def overdispersed(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Independent units, the shares of whose states are drawn anew, uniformly, for each row."""
        most, device = max(self.sizes), self.like.device
        parts = torch.rand(n, most, generator=generator, dtype=torch.float64, device=device)
        ends = parts.log().neg().cumsum(1)
        draws = torch.rand(n, self.n, generator=generator, dtype=torch.float64, device=device)
        last = torch.tensor(self.sizes, device=device) - 1
        codes = torch.searchsorted(ends, draws * ends[:, last], right=True)
        return self.encode(torch.minimum(codes, last))
