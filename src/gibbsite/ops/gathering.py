"""Rows of an array, gathered in any order as floats."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gibbsite.errors import DataError
from gibbsite.ops.dispatch import SINGLE, compiled, fit, key, run


def gather_and_draw(
    source: np.ndarray,
    index: np.ndarray,
    out: Tensor | None,
    scale: float,
    shift: float,
    generator: torch.Generator | None = None,
) -> Tensor | None:
    """`gather`, then `draw_probabilities_`, in one pass."""
    out = _gathered(source, index, out)
    if not compiled(out):
        return None
    scalars = np.float32(scale), np.float32(shift)
    done = run("gather_and_draw", out, source, index, *scalars, key(generator))
    return out if done else None


def gather(
    source: np.ndarray, index: np.ndarray, out: Tensor | None, scale: float, shift: float
) -> Tensor | None:
    """shift + scale * source[index] in float32, (len(index), n); source is rounded to that first.

    index is int64, from 0. None if an entry is out of range, or if nothing is compiled here.
    """
    out = _gathered(source, index, out)
    if not compiled(out):
        return None
    there = run("gather", out, source, index, np.float32(scale), np.float32(shift))
    return out if there else None


def gather_in_units(
    source: np.ndarray, index: np.ndarray, out: Tensor, shift: Any, scale: Any
) -> Tensor | None:
    """(source[index] - shift) / scale, computed in float64; shift, scale are scalars or (n,).

    None as for `gather`.
    """
    out, n = _gathered(source, index, out), source.shape[1:]
    if any(np.shape(x) not in ((), n) for x in (shift, scale)):
        raise DataError(f"units of shape {np.shape(shift)}, {np.shape(scale)}: expected {n}")
    if not compiled(out):
        return None
    shift, scale = (np.broadcast_to(x, n).astype(np.float64) for x in (shift, scale))
    return out if run("gather_in_units", out, source, index, shift, scale) else None


def _gathered(source: np.ndarray, index: np.ndarray, out: Tensor | None) -> Tensor:
    """Tensor for the rows gathered, once shapes and dtypes are such as the kernels take."""
    if source.ndim != 2 or source.dtype.char not in "Bfd" or not source.dtype.isnative:
        raise DataError(f"a table of {source.dtype}, {source.shape}: expected uint8 or floats, 2-d")
    if index.ndim != 1 or index.dtype != np.int64:
        raise DataError(f"row numbers of {index.dtype}, {index.shape}: expected int64, 1-d")
    shape = len(index), source.shape[1]
    if out is None:
        return torch.empty(shape)
    fit(out, shape, SINGLE)
    return out
