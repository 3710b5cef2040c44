"""Numbers of the states of units."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def state_codes(sizes: Sequence[float], start: int, stop: int) -> Tensor:
    """Numbers of the units' states in the layer's states start to stop - 1, int64 (rows, units)."""
    places = [1]
    for size in sizes[:-1]:
        if places[-1] * size >= stop:  # later units are in their first state
            break
        places.append(places[-1] * int(size))
    few, index = len(places), torch.arange(start, stop)[:, None]
    codes = index.new_zeros(len(index), len(sizes))
    if set(sizes) == {2}:  # the quickest by far
        codes[:, :few] = (index >> torch.arange(few)) & 1
    else:
        codes[:, :few] = index // torch.tensor(places) % torch.tensor(sizes[:few])
    return codes
