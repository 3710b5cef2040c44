"""Counts of successes, x = 0, ..., trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gibbsite.checks import check_counts
from gibbsite.errors import ArgumentError
from gibbsite.layers.base import Layer
from gibbsite.layers.faults import require
from gibbsite.layers.finite import Finite
from gibbsite.layers.moments import Means

MAX_TRIALS = 2**24
"""Counts beyond this are no longer exact in float32."""


class Binomial(Finite):
    r"""n counts of up to t_i with energy $-\sum_i [b_i x_i + \log\binom{t_i}{x_i}]$, statistic $x$.

    $x_i \mid \text{inputs} \sim \mathrm{Binomial}(t_i, \sigma(b_i + \text{inputs}_i))$: a unit is
    the sum of t_i `Bernoulli` units that share weights and bias (Teh and Hinton 2001, Rate-coded
    restricted Boltzmann machines for face recognition). Parameter: ``bias`` (n,).

    Args:
        n: number of units.
        trials: the largest count t of all units, or n of them; 2^24 at most.

    >>> import torch, gibbsite as gb
    >>> gb.Binomial(2, trials=[10, 4]).mean(torch.zeros(2)).tolist()
    [5.0, 2.0]
    """

    whole = True
    trials: Tensor

    def __init__(self, n: int, trials: int | Sequence[int] | Tensor) -> None:
        check_counts(n=n)
        given = trials.tolist() if isinstance(trials, Tensor | np.ndarray) else trials
        counts = list(given) if isinstance(given, Sequence) else [given]
        if len(counts) not in (1, n):
            raise ArgumentError(
                f"trials has {len(counts)} entries for {n} units; pass one number or {n}"
            )
        for count in counts:
            check_counts(trials=count)
            if count > MAX_TRIALS:
                raise ArgumentError(
                    f"trials={count!r}: expected at most 2^24; use gb.Poisson units"
                )
        limits = [int(count) for count in counts] * (n // len(counts))
        super().__init__(n, [limit + 1 for limit in limits])
        self.bias = nn.Parameter(torch.zeros(self.n))
        self.register_buffer("trials", torch.tensor(limits).to(self.bias), persistent=False)
        self.interval = 0.0, float(max(limits))

    def energy(self, x: Tensor) -> Tensor:
        trials, ones = self.trials.double(), x.double()  # all parts are many times the sum
        whole, one, zero = (torch.lgamma(1 + k) for k in (trials, ones, trials - ones))
        return (one + zero - whole - ones * self.bias.double()).sum(-1).to(x.dtype)

    def log_partition(self, inputs: Tensor) -> Tensor:
        odds = self.bias + inputs
        return torch.logaddexp(odds, torch.zeros_like(odds)) @ self.trials

    def moments(self, inputs: Tensor) -> Means:
        return Means(self.trials * torch.sigmoid(self.bias + inputs))

    @torch.no_grad()
    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        odds = (self.bias + inputs).double()
        trials = self.trials.double().expand_as(odds)
        # the rarer outcome is counted, as 1 - p would lose the digits of a small p
        rarer = torch.binomial(trials, torch.sigmoid(-odds.abs()), generator=generator)
        return torch.where(odds > 0, trials - rarer, rarer).to(inputs.dtype)

    @torch.no_grad()
    def inputs_for(self, rows: Tensor) -> Tensor:
        """Log-odds of each column's share, half a count added to either side, less the bias."""
        ones, total = rows.sum(0), len(rows) * self.trials
        return torch.log((ones + 0.5) / (total - ones + 0.5)) - self.bias

    def encode(self, codes: Tensor) -> Tensor:
        return codes.to(self.bias.dtype)

    @torch.no_grad()
    def overdispersed(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Independent units, with a share of ones drawn for each row from 0 to 1."""
        share = torch.rand(n, 1, generator=generator, dtype=torch.float64, device=self.like.device)
        odds = torch.logit(share, eps=1e-12).to(self.bias.dtype)
        return self.sample(odds.expand(n, self.width) - self.bias, generator)

    def check(self, rows: Tensor) -> None:
        """Raise `EntryError` unless every entry is a whole number from 0 to its unit's trials."""
        most = f"{self.sizes[0] - 1}" if len(set(self.sizes)) == 1 else "the unit's trials"
        remedy = f"Binomial units count from 0 to {most} in whole numbers; change trials or round"
        require(rows, (rows >= 0) & (rows <= self.trials) & (rows == rows.floor()), remedy)

    @classmethod
    def for_columns(cls, greatest: Tensor, trials: int | None = None, **options: Any) -> Layer:
        """A layer with trials as given, or the greatest count of each column, 1 at least."""
        return cls(len(greatest), trials or [max(1, int(count)) for count in greatest.tolist()])

    def unit_options(self, units: Sequence[int]) -> dict[str, Any]:
        return {"trials": [self.sizes[unit] - 1 for unit in units]}

    def options(self) -> dict[str, Any]:
        counts = [size - 1 for size in self.sizes]
        return {"trials": counts[0] if len(set(counts)) == 1 else counts}
