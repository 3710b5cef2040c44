"""Tolerances of Monte-Carlo checks, computed from the number of draws, never tuned.

Every bound holds for a correct sampler with probability at least 1 - FAILURE.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

FAILURE = 1e-6


def state_numbers(states: np.ndarray) -> np.ndarray:
    """The row of `oracle.bits(n)` that each binary row is: first column most significant."""
    states = np.asarray(states)
    assert set(np.unique(states)) <= {0.0, 1.0}
    return (states @ (2 ** np.arange(states.shape[1])[::-1])).astype(int)


def total_variation(numbers: np.ndarray, p: np.ndarray) -> float:
    """Half the summed |frequency - p| of draws given by state number."""
    frequency = np.bincount(numbers, minlength=len(p)) / len(numbers)
    return float(0.5 * np.abs(frequency - p).sum())


def tv_floor(p: np.ndarray, n: int, failure: float = FAILURE) -> float:
    """What the total variation of n independent draws from p exceeds with probability <= failure.

    Its expectation is at most 1/2 sum_k sqrt(p_k (1 - p_k) / n) (Jensen). One draw moves it by at
    most 1/n, so it exceeds its expectation by t with probability <= exp(-2 n t^2) (McDiarmid).
    """
    expected = 0.5 * np.sqrt(p * (1 - p) / n).sum()
    return float(expected + np.sqrt(np.log(1 / failure) / (2 * n)))


def hoeffding(n: int, comparisons: int = 1, width: float = 1.0, failure: float = FAILURE) -> float:
    """Deviation of means of n independent draws from an interval of this width, all `comparisons`.

    P(|mean - expectation| >= t) <= 2 exp(-2 n t^2 / width^2), times the number of comparisons.
    """
    return float(width * np.sqrt(np.log(2 * comparisons / failure) / (2 * n)))


def quantile(comparisons: int = 1, failure: float = FAILURE) -> float:
    """Standard errors that `comparisons` normal estimates all stay within."""
    return float(norm.isf(failure / (2 * comparisons)))


def assert_mean(draws: np.ndarray, expected: np.ndarray) -> None:
    """Fail unless the column means of independent rows agree, by the central limit theorem.

    The slack of 1e-6 is for columns that vary too little for one draw to differ.
    """
    draws, expected = np.asarray(draws, float), np.asarray(expected, float)
    error = draws.std(0, ddof=1) / np.sqrt(len(draws))
    deviation = np.abs(draws.mean(0) - expected)
    limit = quantile(expected.size) * error + 1e-6 * (1 + np.abs(expected))
    assert (deviation <= limit).all(), f"off by {(deviation / limit).max():.2f} times the limit"
