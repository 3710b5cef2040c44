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


def split(x: Tensor, columns: Tensor, fill: float) -> Tensor:
    """x, (..., width), by unit: (..., n, most), with `fill` where a unit has fewer states."""
    if columns.numel() == x.shape[-1]:
        return x.reshape(*x.shape[:-1], *columns.shape)
    return pad(x, (0, 1), value=fill)[..., columns]


def join(x: Tensor, columns: Tensor) -> Tensor:
    """The inverse of `split`: (..., n, most) -> (..., width)."""
    there = columns.flatten() >= 0
    flat = x.flatten(-2)
    return flat if bool(there.all()) else flat[..., there]
