"""Tables that scikit-learn has checked, in the units that a model is trained in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gibbsite import ops
from gibbsite.rows import Rows
from gibbsite.training import Whitening

Array = NDArray[Any]

ROUNDING = 1e-6
"""Share of a range by which values may lie outside it by rounding alone."""


class Units(NamedTuple):
    """Units of a model, where a value x of the data is (x - shift) / scale.

    Shift and scale are scalars or arrays, (columns,). With `whitening` rows are whitened by it.

    Subtracting first keeps the digits of a column whose mean is large, and takes the ends of a
    range to 0 and 1 without rounding beyond them.
    """

    shift: Any = 0.0
    scale: Any = 1.0
    whitening: Whitening | None = None

    def of_data(self, states: NDArray[Any]) -> NDArray[Any]:
        """States of the model in the units of the data, in the dtype of the states."""
        values: NDArray[Any] = states * self.scale + self.shift
        return values.astype(states.dtype, copy=False)


@dataclass(frozen=True, eq=False)
class Scaled(Rows):
    """Rows of a dense or sparse table in a model's units, (rows, columns), computed in float64."""

    units: Units = field(default_factory=Units)

    def _gather(self, source: NDArray[Any], index: NDArray[Any], single: bool) -> Tensor | None:
        return ops.kernels_for().gather_in_units(source, index, *self.units[:2]) if single else None

    def binarised_at(self, *_: Any) -> None:
        """None: no kernel scales and draws."""

    def _values(self, index: slice | Tensor) -> Tensor:
        shift, scale = (torch.as_tensor(part, dtype=torch.float64) for part in self.units[:2])
        return (super()._values(index).double() - shift) / scale


def as_rows(table: Any, units: Units) -> Rows:
    """Rows of the table in those units; a sparse table is densified a few rows at a time."""
    if units.whitening is not None:
        return units.whitening.rows(Rows(table))
    unscaled = np.all(units.shift == 0) and np.all(units.scale == 1)
    return Rows(table) if unscaled else Scaled(table, units=units)


def extremes(table: Any) -> tuple[float, float]:
    """The least and the greatest value, with the zeros that a sparse table leaves out."""
    return float(table.min()), float(table.max())


def locate(table: Any, value: float) -> tuple[int, int]:
    """Row and column of the first entry of that value."""
    start = 0
    for block in as_rows(table, Units()).blocks():
        found = (block == value).nonzero()
        if len(found):
            return start + int(found[0, 0]), int(found[0, 1])
        start += len(block)
    raise AssertionError("the value is not in the table")  # pragma: no cover


def precision_of(X: Any) -> torch.dtype:
    """The torch dtype of a table of `FLOATS`."""
    return torch.float32 if X.dtype == np.float32 else torch.float64


def as_numpy(x: Tensor) -> Array:
    """An array that shares the memory of a tensor on the CPU, else a copy."""
    array: Array = x.detach().cpu().numpy()
    return array
