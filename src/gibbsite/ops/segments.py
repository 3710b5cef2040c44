"""Columns in consecutive groups, one a unit of several states, padded to the largest group."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad


def layout(sizes: Sequence[int]) -> Tensor:
    """Columns of each unit, int64 (n, most), for units of so many states; -1 where it has fewer.

    >>> layout([3, 2]).tolist()
    [[0, 1, 2], [3, 4, -1]]
    """
    count, place = torch.tensor(sizes), torch.arange(max(sizes))
    columns = (count.cumsum(0) - count)[:, None] + place
    return torch.where(place < count[:, None], columns, -1)


def alike(sizes: Sequence[int]) -> bool:
    """True if all units have as many states."""
    return len(set(sizes)) == 1


def split(x: Tensor, sizes: Sequence[int], fill: float) -> Tensor:
    """x, (..., width), by unit: (..., n, most), with `fill` where a unit has fewer states."""
    if alike(sizes):
        return x.reshape(*x.shape[:-1], len(sizes), sizes[0])
    return pad(x, (0, 1), value=fill)[..., layout(sizes).to(x.device)]


def join(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """The inverse of `split`: (..., n, most) -> (..., width)."""
    flat = x.flatten(-2)
    if alike(sizes):
        return flat
    return flat[..., (layout(sizes).flatten() >= 0).nonzero()[:, 0].to(x.device)]
