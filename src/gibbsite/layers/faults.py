"""Refusals of data, parameters and layers, with the first entry at fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gibbsite.checks import as_array, not_finite
from gibbsite.errors import ArgumentError, DataError, EntryError

MEAN_ROUNDING = 1e-3
"""Distance beyond the range of states that the rounding of a running mean may account for."""


def require(data: Tensor, good: Tensor, remedy: str) -> None:
    """Raise an `EntryError` that names the first value that is not good, its row and its column."""
    if not bool(good.all()):
        row, column = (int(i) for i in (~good).nonzero()[0])
        raise EntryError(f"{data[row, column].item():g}", row, column, remedy)


def require_within(data: Tensor, low: float, high: float, units: str, remedy: str) -> None:
    """`require` entries in [low, high]; one pass over good data."""
    least, greatest = torch.aminmax(data.detach())
    if float(least) < low or float(greatest) > high:
        told = f"{units} take values in [{low:g}, {high:g}]; {remedy}"
        require(data, (data >= low) & (data <= high), told)


def require_finite(data: Tensor, given: object) -> None:
    """Raise an `EntryError` that names the first entry of data, made from `given`, not finite."""
    if bool(torch.isfinite(torch.stack(torch.aminmax(data))).all()):
        return
    row, column = (int(i) for i in (~torch.isfinite(data)).nonzero()[0])
    entries = given if isinstance(given, Tensor) else as_array(given)
    fault, remedy = not_finite(float(entries[row, column]), data.dtype)
    raise EntryError(fault, row, column, remedy)


def require_columns(layer: Any, x: Tensor) -> None:
    """Raise `DataError` unless the last axis of x is the columns of a layer."""
    if x.ndim == 0 or x.shape[-1] != layer.width:
        found = "no" if x.ndim == 0 else x.shape[-1]
        columns = "" if layer.width == layer.n else f" in {layer.width} columns"
        raise DataError(
            f"states have {found} columns but {layer.describe()} has {layer.n} units{columns}; "
            "pass arrays whose last axis is the units"
        )


def require_means(x: Tensor, like: Tensor, low: float, high: float) -> None:
    """Raise `DataError` unless x holds rows as wide as `like`, of its dtype, that may be means."""
    if x.ndim != 2 or x.shape[1] != like.shape[1] or x.dtype != like.dtype:
        raise DataError(
            f"states of shape {tuple(x.shape)}, {x.dtype}: expected (rows, {like.shape[1]}), "
            f"{like.dtype}"
        )
    if not bool(torch.isfinite(x).all()):
        raise DataError("states that are not finite")
    if bool(((x < low - MEAN_ROUNDING) | (x > high + MEAN_ROUNDING)).any()):
        raise DataError(f"means outside of [{low:g}, {high:g}]")


def require_one_column(layer: Any, method: str) -> None:
    """Raise `ArgumentError` if a layer of several columns a unit lacks a method of its own."""
    if layer.width != layer.n:
        raise ArgumentError(
            f"{layer.describe()} has {layer.width} columns for {layer.n} units, and no {method} "
            f"of its own; define {method}"
        )


def first_fault(name: str, value: Tensor, good: Callable[[Tensor], Tensor]) -> str:
    """The name and the first entry that is not good, such as ``bias holds nan``; "" if all are."""
    bad = ~good(value.detach())
    return f"{name} holds {value.detach()[bad][0].item():g}" if bool(bad.any()) else ""
