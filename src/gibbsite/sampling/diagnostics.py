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
    series = _check(series)
    steps = len(series)
    centred = series - series.mean()
    padded = torch.fft.rfft(centred, n=2 * steps, dim=0)
    covariance = torch.fft.irfft(padded.abs() ** 2, n=2 * steps, dim=0)[:steps].mean(1)
    if covariance[0] <= 0:
        return 1.0
    tau = 2 * torch.cumsum(covariance / covariance[0], 0) - 1
    within = torch.arange(steps) < _WINDOW * tau
    last = int(within.long().argmin()) if not bool(within.all()) else steps - 1
    return max(1.0, float(tau[last]))


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


def _check(series: Tensor) -> Tensor:
    long_enough = series.ndim == 2 and len(series) >= 4 and series.shape[1] >= 1
    if not long_enough or not bool(torch.isfinite(series).all()):
        raise DataError(
            f"series of shape {tuple(series.shape)}: expected (steps, chains), finite, at least "
            "4 steps of 1 chain"
        )
    series = series.detach().double().cpu()
    return series - series[0, 0]  # constant series become exactly 0
