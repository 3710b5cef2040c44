"""Arguments and arrays as users hand them over: made usable, or refused by name."""

from __future__ import annotations

import math
from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor

from gibbsite.errors import ArgumentError, DataError


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
