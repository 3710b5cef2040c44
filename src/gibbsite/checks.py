"""Arguments and arrays as users hand them over: made usable, or refused by name."""

from __future__ import annotations

import math
import os
from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor

from gibbsite.errors import ArgumentError, DataError, TooLargeError


def check_counts(minimum: int = 1, **values: object) -> None:
    """Raise `ArgumentError` unless every named value is a whole number of at least `minimum`."""
    for name, value in values.items():
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not whole or int(value) < minimum:  # type: ignore[call-overload]
            raise ArgumentError(f"{name}={value!r}: expected a whole number of at least {minimum}")


def check_strength(**values: object) -> None:
    """Raise `ArgumentError` unless every named value is a finite number of at least 0."""
    for name, value in values.items():
        if not isinstance(value, Real) or not 0 <= float(value) < math.inf:
            raise ArgumentError(f"{name}={value!r}: expected a finite number of at least 0")


def check_generator(generator: object) -> None:
    """Raise `ArgumentError` unless it is a torch generator or None, for the global one."""
    if not (generator is None or isinstance(generator, torch.Generator)):
        raise ArgumentError(
            f"generator={generator!r}: expected a torch.Generator, such as "
            "torch.Generator().manual_seed(0), or None"
        )


def check_memory(what: str, *sizes: int) -> None:
    """Raise `TooLargeError` if prod(sizes) float32 numbers need over a quarter of the memory.

    Whatever is that large is copied a few times at least before anything comes of it.
    """
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not every system says
        return
    needed = 4 * math.prod(int(size) for size in sizes)
    if needed > memory / 4:
        raise TooLargeError(
            f"{what} would need {needed / 2**30:,.1f} GiB, over a quarter of this machine's "
            f"{memory / 2**30:.1f} GiB; use fewer"
        )


def as_tensor(x: object, like: Tensor) -> Tensor:
    """Real numbers in any array or nested list, as a tensor of the dtype and device of `like`."""
    if isinstance(x, Tensor):
        if x.is_complex():
            raise DataError(f"{x.dtype} values: expected real numbers")
        return x.to(like)
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise DataError(f"rows of different lengths are no array: {error}") from error
    if array.dtype.kind not in "biuf":
        raise DataError(f"values of type {array.dtype}: expected an array of real numbers")
    # a copy: torch takes neither negative strides nor foreign byte order nor read-only memory
    native = array.astype(array.dtype.newbyteorder("="), order="C", copy=True)
    return torch.from_numpy(native).to(like)
