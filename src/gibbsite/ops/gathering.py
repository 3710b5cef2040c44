"""Rows of an array, gathered in any order as floats."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gibbsite.errors import DataError
from gibbsite.ops.dispatch import SINGLE, compiled, fit, key, run


def gather_and_draw(
    table: np.ndarray,
    rows: np.ndarray,
    out: Tensor | None,
    scale: float,
    shift: float,
    generator: torch.Generator | None = None,
) -> Tensor | None:
    """`draw_probabilities_` of what `gather` gives, in one pass."""
    out = _gathered(table, rows, out)
    if not compiled(out):
        return None
    scalars = np.float32(scale), np.float32(shift)
    done = run("gather_and_draw", out, table, rows, *scalars, key(generator))
    return out if done else None


def gather(
    table: np.ndarray, rows: np.ndarray, out: Tensor | None, scale: float, shift: float
) -> Tensor | None:
    """shift + scale * table[rows] in float32, (len(rows), n); table is rounded to that first.

    rows are indices from 0. None if one is out of range, or if nothing is compiled here.
    """
    out = _gathered(table, rows, out)
    if not compiled(out):
        return None
    there = run("gather", out, table, rows, np.float32(scale), np.float32(shift))
    return out if there else None


def gather_in_units(
    table: np.ndarray, rows: np.ndarray, out: Tensor, shift: Any, scale: Any
) -> Tensor | None:
    """(table[rows] - shift) / scale, computed in float64; shift, scale are scalars or (n,).

    None as for `gather`.
    """
    out, n = _gathered(table, rows, out), table.shape[1:]
    if any(np.shape(x) not in ((), n) for x in (shift, scale)):
        raise DataError(f"units of shape {np.shape(shift)}, {np.shape(scale)}: expected {n}")
    if not compiled(out):
        return None
    shift, scale = (np.broadcast_to(x, n).astype(np.float64) for x in (shift, scale))
    return out if run("gather_in_units", out, table, rows, shift, scale) else None


def _gathered(table: np.ndarray, rows: np.ndarray, out: Tensor | None) -> Tensor:
    """Tensor for the rows gathered, once all shapes and dtypes are such as the kernels take."""
    if table.ndim != 2 or table.dtype.char not in "Bfd" or not table.dtype.isnative:
        raise DataError(f"a table of {table.dtype}, {table.shape}: expected uint8 or floats, 2-d")
    if rows.ndim != 1 or rows.dtype != np.int64:
        raise DataError(f"row numbers of {rows.dtype}, {rows.shape}: expected int64, 1-d")
    shape = len(rows), table.shape[1]
    if out is None:
        return torch.empty(shape)
    fit(out, shape, SINGLE)
    return out
