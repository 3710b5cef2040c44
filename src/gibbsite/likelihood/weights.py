"""Estimates of log Z from log weights, with their errors. All in float64, in nats."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


class Estimate(NamedTuple):
    """A log ratio of partition functions, its standard error and effective sample size."""

    value: float
    stderr: float
    ess: float


Z_95 = 1.959964
"""97.5% quantile of the normal distribution."""

BISECTIONS = 50


def student_95(freedom: float) -> float:
    """97.5% quantile of Student's t, to 0.001 from 9 degrees of freedom on (Cornish and Fisher)."""
    z, inverse = Z_95, 1 / max(freedom, 1.0)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first * inverse + second * inverse**2 + third * inverse**3


def unseen_95(draws: float) -> float:
    r"""Nats of log Z that independent draws may have missed: $-\log(0.025)/\text{draws}$.

    Draws miss a part with a share q of the mass with probability $(1-q)^n$. Where that is 2.5%, for
    the upper end of a 95% interval, log Z without the part is too low by $-\log(1-q)$, as above.
    """
    return -math.log(0.025) / draws


def log_mean_exp(log_weights: Tensor) -> float:
    """log of the mean weight."""
    return float(torch.logsumexp(log_weights, 0)) - math.log(len(log_weights))


def importance_estimate(log_weights: Tensor) -> Estimate:
    r"""log mean weight, its delta-method error, and $(\sum w)^2/\sum w^2$.

    Biased downwards by about stderr^2 / 2 (Jensen). With one chain the error is unknown: infinite.
    """
    n = len(log_weights)
    weights = torch.exp(log_weights - log_weights.max())
    ess = float(weights.sum() ** 2 / (weights**2).sum())
    if n == 1:
        return Estimate(log_mean_exp(log_weights), math.inf, ess)
    stderr = float(weights.std() / weights.mean()) / math.sqrt(n)
    return Estimate(log_mean_exp(log_weights), stderr, ess)


def bootstrap_stderr(
    log_weights: Tensor, draws: int = 500, generator: torch.Generator | None = None
) -> float:
    """Standard deviation of `log_mean_exp` over resamplings of the chains."""
    n = len(log_weights)
    picks = torch.randint(n, (draws, n), generator=generator)
    return float((torch.logsumexp(log_weights[picks], 1) - math.log(n)).std())


def bennett_estimate(forward: Tensor, reverse: Tensor) -> Estimate:
    r"""Bennett's acceptance ratio: log(Z_1/Z_0) from both directions at once.

    forward are log weights from 0 to 1, reverse from 1 to 0. By Crooks' relation a path with
    log weight l, seen forwards, is $e^{l-d}$ times as likely in reverse, so d is the maximum
    likelihood intercept of a logistic regression; the error is its Fisher information's.
    Source: Bennett (1976); Shirts, Bair, Hooker, Pande (2003).
    """
    odds = math.log(len(reverse) / len(forward))
    ends = forward + odds, odds - reverse
    value = float(balance_point(*ends))
    x = torch.cat(ends) - value
    information = float((torch.sigmoid(x) * torch.sigmoid(-x)).sum())
    least_variance = 1 / len(forward) + 1 / len(reverse)  # 1 / information of perfect overlap
    variance = 1 / information - least_variance if information > 0 else math.inf
    # the share of the paths that count is the information over that of perfect overlap
    return Estimate(value, math.sqrt(max(variance, 0.0)), information * least_variance * len(x))


def balance_point(upper: Tensor, lower: Tensor) -> Tensor:
    """x for which sum sigmoid(upper - x) = sum sigmoid(x - lower), over the last axis: (...)."""
    low = torch.minimum(upper.amin(-1), lower.amin(-1)) - 50
    high = torch.maximum(upper.amax(-1), lower.amax(-1)) + 50
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        # in logs, as without overlap both sums are 0
        left = torch.logsumexp(logsigmoid(upper - middle[..., None]), -1)
        right = torch.logsumexp(logsigmoid(middle[..., None] - lower), -1)
        low, high = torch.where(left > right, middle, low), torch.where(left > right, high, middle)
    return (low + high) / 2
