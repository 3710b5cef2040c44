"""Tables as scikit-learn has checked them, in the units a model is trained in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gibbsite import ops
from gibbsite.rows import Rows

ROUNDING = 1e-6
"""Share of a range by which values may lie outside it by rounding alone."""


class Units(NamedTuple):
    """A value x of the data is (x - shift) / scale in the model; numbers, or arrays of (columns,).

    Subtracting first keeps the digits of a column whose mean is large, and takes the ends of a
    range to 0 and 1 without rounding beyond them.
    """

    shift: Any = 0.0
    scale: Any = 1.0

    def of_data(self, states: NDArray[Any]) -> NDArray[Any]:
        """States of the model in the units of the data, in their own dtype."""
        values: NDArray[Any] = states * self.scale + self.shift
        return values.astype(states.dtype, copy=False)


PLAIN = Units()


@dataclass(frozen=True, eq=False)
class Scaled(Rows):
    """Rows of a dense or sparse table in a model's units, (rows, columns), computed in float64."""

    units: Units = PLAIN

    def _gather(self, source: NDArray[Any], index: NDArray[Any], single: bool) -> Tensor | None:
        return ops.kernels_for().gather_in_units(source, index, *self.units) if single else None

    def drawn_at(self, *_: Any) -> None:
        """There is no kernel for it."""

    def _values(self, index: slice | Tensor) -> Tensor:
        shift, scale = (torch.as_tensor(part, dtype=torch.float64) for part in self.units)
        return (super()._values(index).double() - shift) / scale


def as_rows(table: Any, units: Units) -> Rows:
    """The table as minibatches see it; a sparse one is densified a few rows at a time."""
    plain = np.all(units.shift == 0) and np.all(units.scale == 1)
    return Rows(table) if plain else Scaled(table, units=units)


def extremes(table: Any) -> tuple[float, float]:
    """The least and the greatest value, the zeros that a sparse table leaves out included."""
    return float(table.min()), float(table.max())


def locate(table: Any, value: float) -> tuple[int, int]:
    """Row and column where a value of the table stands first."""
    start = 0
    for block in as_rows(table, Units()).blocks():
        found = (block == value).nonzero()
        if len(found):
            return start + int(found[0, 0]), int(found[0, 1])
        start += len(block)
    raise AssertionError("the value is not in the table")  # pragma: no cover
