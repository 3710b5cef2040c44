"""Expectations of the units of a layer, and the inputs that give their means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

BISECTIONS = 60
FARTHEST_INPUT = 2.0**20


class Moments(Protocol):
    """Expectations of independent units, (rows, width) each, in a named tuple.

    A layer whose gradient needs more than the mean has a named tuple of its own, which both
    `Layer.moments` and `Layer.moments_at` give.
    """

    @property
    def mean(self) -> Tensor: ...

    def _asdict(self) -> dict[str, Any]: ...


class Means(NamedTuple):
    """Expectations of units of which no more than the mean is needed."""

    mean: Tensor


def inputs_with_means(mean: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
    """Inputs, (n,), at which the mean of each unit is the target, by bisection.

    The mean of a unit must rise with its own input, and depend on no other.
    """
    reach = torch.ones_like(target)
    while float(reach.max()) < FARTHEST_INPUT:
        within = (mean(reach) >= target) & (mean(-reach) <= target)
        if bool(within.all()):
            break
        reach = torch.where(within, reach, 2 * reach)
    low, high = -reach, reach
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        above = mean(middle) >= target
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2
