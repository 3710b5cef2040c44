"""Diagnostics of the mixing of chains, on a series of values (steps, chains)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gibbsite.errors import DataError

_WINDOW = 5.0
"""Lags summed, in units of tau."""


def autocorrelation_time(series: Tensor) -> float:
    r"""Integrated autocorrelation time $\tau = 1 + 2\sum_{t\ge1}\rho_t$, in steps; at least 1.

    The mean over chains of the autocovariance, summed up to the first lag beyond 5 tau (Sokal
    1997). Underestimates tau when the series is shorter than some 50 tau.

    >>> import torch, gibbsite as gb
    >>> noise = torch.randn(1000, 10, generator=torch.Generator().manual_seed(0))
    >>> round(gb.autocorrelation_time(noise))
    1
    """
    return float(autocorrelation_times(_check(series)[..., None]))


def autocorrelation_times(series: Tensor) -> Tensor:
    """`autocorrelation_time` of each of several quantities, (steps, chains, n), at once: (n,).

    >>> import torch
    >>> noise = torch.randn(1000, 10, 2, generator=torch.Generator().manual_seed(0))
    >>> autocorrelation_times(noise).round()
    tensor([1., 1.], dtype=torch.float64)
    """
    steps = len(series)
    series = series.detach().double().cpu()
    series = series - series[0, 0]  # constant series become exactly 0
    centred = series - series.mean((0, 1))
    padded = torch.fft.rfft(centred, n=2 * steps, dim=0)
    covariance = torch.fft.irfft(padded.abs() ** 2, n=2 * steps, dim=0)[:steps].mean(1)
    moves = covariance[0] > 0
    tau = 2 * torch.cumsum(covariance / covariance[0].where(moves, torch.ones(())), 0) - 1
    beyond = torch.arange(steps)[:, None] >= _WINDOW * tau
    beyond[-1] = True
    last = beyond.long().argmax(0)  # the first lag beyond the window
    return tau.gather(0, last[None])[0].clamp(min=1.0).where(moves, torch.ones(()))


def split_r_hat(series: Tensor) -> float:
    r"""Potential scale reduction of chains each split in halves: $\hat R$, 1 at equilibrium.

    sqrt of the pooled variance estimate over the mean variance within half-chains; above 1.01 to
    1.05 the halves or the chains disagree. Source: Gelman et al. (2013), Bayesian Data Analysis,
    section 11.4.

    >>> import torch, gibbsite as gb
    >>> apart = torch.tensor([[0.0, 5.0], [0.1, 5.1], [0.0, 5.0], [0.1, 5.1]])
    >>> gb.split_r_hat(apart) > 10
    True
    """
    series = _check(series)
    half = len(series) // 2
    halves = torch.cat([series[:half], series[-half:]], 1)
    return float(r_hat(halves.mean(0), halves.var(0), half))


def r_hat(means: Tensor, variances: Tensor, steps: int) -> Tensor:
    """R-hat, (...), from the means and variances, (chains, ...), of chains of so many steps."""
    within, between = variances.mean(0), means.var(0)
    ratio = ((steps - 1) / steps + between / within).sqrt()
    constant = torch.where(between > 0, math.inf, 1.0)
    return torch.where(within > 0, ratio, constant)


def nested_r_hat(means: Tensor, variances: Tensor, starts: Tensor) -> Tensor:
    r"""Agreement of groups of chains, each with a start of its own: nested $\hat R$, (...).

    $$\mathfrak n\hat R = \sqrt{1 + B/W}$$

    B is the variance of the groups' means; W the mean over groups of the variance between their
    chains plus that within chains. 1 if the start is forgotten, even where the chains are too short
    for `split_r_hat`, which asks for more than that. Source: Margossian et al. (2024), "Nested
    R-hat", Bayesian Analysis, section 3.

    Args:
        means, variances: of each chain over its steps, (chains, ...).
        starts: number of the group of each chain, (chains,): 0, 1, 2 and so on, at least two
            groups of at least two chains.

    >>> import torch
    >>> starts, variances = torch.tensor([0, 0, 1, 1]), torch.ones(4)
    >>> round(nested_r_hat(torch.tensor([0.0, 2.0, 0.0, 2.0]), variances, starts).item(), 2)
    1.0
    >>> round(nested_r_hat(torch.tensor([0.0, 0.0, 9.0, 9.0]), variances, starts).item(), 2)
    6.44
    """
    groups = [starts == k for k in range(int(starts.max()) + 1)]
    between = torch.stack([means[group].mean(0) for group in groups]).var(0)
    inner = [means[group].var(0) + variances[group].mean(0) for group in groups]
    within = torch.stack(inner).mean(0)
    constant = torch.where(between > 0, math.inf, 1.0)
    return torch.where(within > 0, (1 + between / within).sqrt(), constant)


class RunningMoments:
    """Running mean and variance over time of values, in float64 (Welford)."""

    def __init__(self) -> None:
        self.count, self.mean, self._squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, x: Tensor) -> None:
        """Take in the values of another time, of the same shape."""
        x = x.double()
        self.count += 1
        change = x - self.mean
        self.mean = self.mean + change / self.count
        self._squares = self._squares + change * (x - self.mean)

    @property
    def variance(self) -> Tensor:
        """Variance, of two values or more."""
        return self._squares / (self.count - 1)


def _check(series: Tensor) -> Tensor:
    long_enough = series.ndim == 2 and len(series) >= 4 and series.shape[1] >= 1
    if not long_enough or not bool(torch.isfinite(series).all()):
        raise DataError(
            f"series of shape {tuple(series.shape)}: expected (steps, chains), finite, at least "
            "4 steps of 1 chain"
        )
    series = series.detach().double().cpu()
    return series - series[0, 0]  # constant series become exactly 0
