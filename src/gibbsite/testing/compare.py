"""Comparisons that say what is wrong, and tolerances computed from the number of draws."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from gibbsite.errors import GibbsiteError

FAILURE = 1e-6
"""Probability that a correct sampler fails one comparison of all its means."""


MUST_BE_FINITE = "log_partition and moments must be finite for all real inputs"


def require(good: bool | Tensor, message: str) -> None:
    """Raise AssertionError with the message unless good; unlike `assert`, under -O too."""
    if not bool(good):
        raise AssertionError(message)


def require_close(
    what: str, found: Tensor, expected: Tensor, tolerance: float | Tensor = 1e-9
) -> None:
    """Fail unless found has expected's shape and is near: within tolerance * (1 + max |expected|).

    The message names the worst entry, the value expected there and the one found.
    """
    require(
        found.shape == expected.shape,
        f"{what} has shape {tuple(found.shape)}: expected {tuple(expected.shape)}",
    )
    if found.numel() == 0:
        return
    found, expected = found.detach().double(), expected.detach().double()
    finite = expected.abs()[torch.isfinite(expected)]
    size = 1 + (float(finite.max()) if finite.numel() else 0.0)
    limit = torch.as_tensor(tolerance, dtype=torch.float64, device=found.device).expand_as(found)
    excess = torch.where(found == expected, 0.0, (found - expected).abs() / (limit * size))
    excess = torch.where(torch.isnan(excess), math.inf, excess)
    place = int(excess.argmax())
    if float(excess.flatten()[place]) > 1:
        index = tuple(int(i) for i in torch.unravel_index(torch.tensor(place), found.shape))
        where = f" at {list(index)}" if index else ""
        raise AssertionError(
            f"{what}{where}: expected {float(expected.flatten()[place]):.8g}, "
            f"found {float(found.flatten()[place]):.8g} "
            f"(tolerance {float((limit * size).flatten()[place]):.2g})"
        )


def bernstein(variance: Tensor, draws: int, comparisons: int, largest: float = 10.0) -> Tensor:
    r"""Deviation that means of independent draws exceed with probability below `FAILURE`.

    $\sqrt{2vL/n} + 2bL/3n$ with $L=\log(2\,\text{comparisons}/\text{FAILURE})$: Bernstein's
    inequality for values within b of their mean; b is `largest` standard deviations.
    """
    log = math.log(2 * comparisons / FAILURE)
    return (2 * variance * log / draws).sqrt() + 2 * largest * variance.sqrt() * log / (3 * draws)


def require_mean(what: str, draws: Tensor, expected: Tensor, variance: Tensor) -> None:
    """Fail unless the means over the first axis of independent draws are the ones expected.

    `variance` is that of a single draw, exact or estimated. The slack of 1e-6 is for rounding and
    for columns that vary too little for one draw to differ.
    """
    mean = draws.double().mean(0)
    limit = bernstein(variance.double().clamp(min=0), len(draws), max(1, mean.numel()))
    size = 1 + float(expected.abs().max()) if expected.numel() else 1.0
    require_close(what, mean, expected, limit / size + 1e-6)


def total_variation_limit(p: Tensor, draws: int) -> float:
    r"""Total variation from p that independent draws exceed with probability below `FAILURE`.

    The expectation is at most $\frac12\sum_k\sqrt{p_k(1-p_k)/n}$ (Jensen); one draw moves it by at
    most 1/n, so it exceeds its expectation by t with probability at most $e^{-2nt^2}$ (McDiarmid).
    """
    expected = 0.5 * (p * (1 - p) / draws).clamp(min=0).sqrt().sum()
    return float(expected) + math.sqrt(math.log(1 / FAILURE) / (2 * draws))


@contextmanager
def naming(subject: str) -> Iterator[None]:
    """Put the subject before the message of a failure, and beside that of any other error.

    A typed error of the object's own, as of a layer that refuses what it drew, is a failure too.
    """
    try:
        yield
    except (AssertionError, GibbsiteError) as error:
        raise AssertionError(f"{subject}: {error}") from None
    except Exception as error:
        error.add_note(f"raised while checking {subject}")
        raise


@contextmanager
def unchanged(what: str, *tensors: Tensor) -> Iterator[None]:
    """Fail if the block changes one of the tensors or draws from the global generator."""
    before, random = [x.detach().clone() for x in tensors], torch.get_rng_state()
    yield
    same = all(torch.equal(x, y) for x, y in zip(tensors, before, strict=True))
    require(same, f"{what} changes what it is given; it must work on a copy")
    require(
        torch.equal(torch.get_rng_state(), random),
        f"{what} draws from the global generator; draw from the one that is given",
    )
