"""Cells of one column of a table, and what no cell may hold."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gibbsite.errors import DataError

Array = NDArray[Any]
Name = str | int
Value = str | int | float | bool
"""A category, as JSON can hold it."""

MOST_CATEGORIES = 1000


class Dtype(NamedTuple):
    """Dtype of a column, by its package's own name.

    Attributes:
        name: such as ``int64``, ``category``, ``Float32``.
        categories: those that the dtype declares, in order; None where it declares none.
        ordered: of a categorical dtype of pandas.
    """

    name: str
    categories: tuple[Value, ...] | None = None
    ordered: bool = False


class Cells(NamedTuple):
    """Cells of one column.

    Attributes:
        label: the column, for messages.
        dtype: of the column.
        values: (rows,), float64 for numbers, else objects; anything where missing.
        missing: (rows,), True for NaN, None and the like.
    """

    label: str
    dtype: Dtype
    values: Array
    missing: Array

    @property
    def known(self) -> Array:
        """Values of the cells that are not missing."""
        known: Array = self.values[~self.missing]
        return known

    @property
    def is_numeric(self) -> bool:
        """True if values are numbers."""
        return self.values.dtype != object


def object_cells(label: str, dtype: Dtype, values: Array, missing: Array | None = None) -> Cells:
    """Cells of objects: numbers if all of them are, else words."""
    if missing is None:
        missing = np.array([x is None or bool(x != x) for x in values], bool)
    known = values[~missing]
    kinds = {type(x) for x in known}
    for kind in kinds:
        if not issubclass(kind, (str, bool, int, float, np.generic)) or issubclass(
            kind, (np.datetime64, np.timedelta64, np.complexfloating, bytes)
        ):
            raise refused(label, kind.__name__)
    if dtype.categories is None and kinds and not any(issubclass(x, str) for x in kinds):
        numbers = np.full(len(values), np.nan)
        numbers[~missing] = known.astype(np.float64)
        return Cells(label, declared(dtype, kinds <= {bool, np.bool_}), numbers, missing)
    plain = values.copy()
    plain[~missing] = [x.item() if isinstance(x, np.generic) else x for x in known]
    return Cells(label, dtype, plain, missing)


def declared(dtype: Dtype, is_bool: bool) -> Dtype:
    """The dtype with the two values of bool, if it is that."""
    return dtype._replace(categories=(False, True)) if is_bool else dtype


def as_values(label: str, categories: Any) -> tuple[Value, ...]:
    """Categories as plain values; `DataError` for other than words and numbers, or too many."""
    check_categories(label, len(categories))
    values = [x.item() if isinstance(x, np.generic) else x for x in categories]
    for value in values:
        if not isinstance(value, (str, bool, int, float)):
            raise DataError(
                f"{label} has the category {value!r:.60}, a {type(value).__name__}: expected words "
                "or numbers; rename the categories, as by .astype(str)"
            )
    return tuple(values)


def check_categories(label: str, n: int) -> None:
    """Raise `DataError` for more categories than a column may have."""
    if n > MOST_CATEGORIES:
        raise DataError(
            f"{label} has {n:,} categories: expected at most {MOST_CATEGORIES:,}; leave it out if "
            "it is a name or number of each row, or join rare ones to one"
        )


def checked(cells: Cells) -> Cells:
    """The cells; `DataError` if a number is infinite."""
    if cells.is_numeric and bool((infinite := np.isinf(cells.values)).any()):
        row = int(np.flatnonzero(infinite)[0])
        raise DataError(
            f"{cells.label}, row {row + 1}: {cells.values[row]}, infinity; leave the row out, or "
            "make it NaN, which is a missing cell"
        )
    return cells


def refused(label: str, kind: str) -> DataError:
    """The error for cells that are neither numbers nor words."""
    if "complex" in kind:
        return DataError(f"Complex data not supported: {label} holds {kind}; take its real part")
    return DataError(
        f"{label} holds {kind}, which is neither numbers nor words; leave it out, or make numbers "
        "of it (of a date the days since the first one) or words, as by .astype(str)"
    )
