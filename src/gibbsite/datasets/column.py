"""One column of a table: the type of unit for its cells, and the way from cells to states."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gibbsite.datasets.categories import first_words
from gibbsite.datasets.cells import Cells, Dtype, Name, Value, check_categories
from gibbsite.errors import ArgumentError, DataError

Array = NDArray[Any]

CONSTANT, QUANTILE = "constant", "quantile"

KINDS = ("bernoulli", "categorical", "binomial", "poisson", "gaussian", QUANTILE)
"""Kinds of columns that may be asked for, in the order in which their units stand in a model."""

FEW_NUMBERS, ROWS_A_NUMBER = 10, 5
"""Different whole numbers that are taken for categories, at most, and rows for each, at least."""

MOST_COUNT, LEAST_DISPERSION = 30, 0.8
"""Largest count for Poisson units, and least variance over mean: hidden units can but add to it."""

QUANTILES = 200
SMALLEST_SCALE = 1e-150


@dataclass(frozen=True)
class Column:
    """A column of a table, with the units that model it.

    Attributes:
        name: of the column; None for one of an array.
        dtype: of its cells.
        kind: one of `KINDS`, or ``constant`` for a column of one value, or none, which has no unit.
        values: that its states stand for, in order; none for numbers and counts.
        whole: True if its numbers are whole, and come back so.
        shift, scale: of numbers x, whose states are (x - shift) / scale; those of ``quantile``
            columns are normal scores.
        quantiles: of the numbers of a ``quantile`` column, at `scores`.
        rows: number of cells in training that were not missing.
        most: largest count of a ``binomial`` column.
    """

    name: Name | None
    dtype: Dtype
    kind: str
    values: tuple[Value, ...] = ()
    whole: bool = False
    shift: float = 0.0
    scale: float = 1.0
    quantiles: tuple[float, ...] = ()
    rows: int = 0
    most: int = 0

    @property
    def unit(self) -> str:
        """Name of the type of its unit; "" if it has none."""
        return {CONSTANT: "", QUANTILE: "gaussian"}.get(self.kind, self.kind)

    @property
    def log_volume(self) -> float:
        """Log of the volume that a unit of the state is in the data: by how much densities differ.

        A density of ``quantile`` columns is that of their normal scores.
        """
        return math.log(self.scale)

    @property
    def scores(self) -> Array:
        """Normal scores of the quantiles, evenly spaced, to where half a row lies beyond."""
        end = float(torch.special.ndtri(torch.tensor(1 - 0.5 / (1 + self.rows)).double()))
        return np.linspace(-end, end, len(self.quantiles))

    def encode(self, cells: Cells, random: np.random.Generator | None = None) -> Array:
        """States of the cells, float64 (rows,), NaN where missing.

        Of categories their codes. With `random` equal numbers of a ``quantile`` column are spread
        over the scores that they take up. Raises `DataError` for a cell that no state stands for.
        """
        states = np.full(len(cells.values), np.nan)
        if self.kind == CONSTANT or self.values:
            codes = {value: code for code, value in enumerate(self.values)}
            found = [codes.get(x, -1) for x in cells.known.tolist()]
            states[~cells.missing] = found
            self._refuse(cells, states < 0, self._unknown)
            return states
        numbers = as_numbers(cells)
        if self.kind in ("poisson", "binomial"):
            most = self.most if self.kind == "binomial" else math.inf
            fits = (numbers >= 0) & (numbers <= most) & (numbers == np.floor(numbers))
            self._refuse(cells, ~fits & ~cells.missing, self._no_count)
            return numbers
        if self.kind == QUANTILE:
            return self._normal_scores(numbers, random)
        return (numbers - self.shift) / self.scale

    def decode(self, states: Array, dtype: Dtype | None = None) -> Cells:
        """Cells of states, (rows,), NaN where missing: inverse of `encode`.

        Counts and whole numbers are rounded, and no number exceeds what the dtype holds.
        """
        dtype = self.dtype if dtype is None else dtype
        missing = np.isnan(states)
        if self.kind == CONSTANT or self.values:
            chosen = np.array([*self.values, None], dtype=object)
            codes = np.where(missing, -1, states).astype(int)
            values = chosen[codes] if self.values else np.full(len(states), None)
            numeric = self.values and all(type(x) in (int, float) for x in self.values)
            if numeric and dtype.name != "object":
                values = np.where(missing, np.nan, values).astype(np.float64)
            return Cells(self.label, dtype, values, missing | np.array(not self.values))
        numbers = states * self.scale + self.shift
        if self.kind == QUANTILE:
            numbers = np.interp(states, self.scores, self.quantiles)
        if self.whole or self.kind in ("poisson", "binomial"):
            numbers = np.rint(numbers)
        if self.whole and dtype.name == "object":
            objects = np.array([None if math.isnan(x) else int(x) for x in numbers], dtype=object)
            return Cells(self.label, dtype, objects, missing)
        return Cells(self.label, dtype, _within(numbers, dtype.name), missing)

    @property
    def label(self) -> str:
        """The column, for messages."""
        return "a column" if self.name is None else f"column {self.name!r}"

    def describe(self) -> str:
        """The kind and what states stand for, in a few words."""
        if self.kind == CONSTANT:
            return f"constant ({self.values[0]!r})" if self.values else "constant (all missing)"
        if self.values:
            return f"{self.kind} ({first_words([str(x) for x in self.values])})"
        if self.kind == "binomial":
            return f"binomial (0 to {self.most})"
        if self.kind == "poisson":
            return "poisson"
        return f"{self.kind}{' (whole numbers)' if self.whole else ''}"

    def _normal_scores(self, numbers: Array, random: np.random.Generator | None) -> Array:
        """Quantiles of the normal distribution at the shares of training rows below each number.

        A number that takes up a range of shares has its middle or, with `random`, any of it, so
        that scores are normal (the distributional transform of Rüschendorf 2009). Between
        quantiles they are linear, and beyond the last ones constant.
        """
        scores, quantiles = self.scores, np.array(self.quantiles)
        highest = torch.as_tensor(np.interp(numbers, quantiles, scores))
        lowest = torch.as_tensor(-np.interp(-numbers, -quantiles[::-1], scores))
        place = 0.5 if random is None else torch.as_tensor(random.random(len(numbers)))
        share = torch.lerp(torch.special.ndtr(lowest), torch.special.ndtr(highest), place)
        chosen: Array = torch.special.ndtri(share).numpy()
        return chosen

    def _refuse(self, cells: Cells, bad: Array, message: Any) -> None:
        """Raise `DataError` by the first cell that is bad."""
        if bool(bad.any()):
            row = int(np.flatnonzero(bad)[0])
            value = cells.values[row : row + 1].tolist()[0]
            raise DataError(f"{cells.label}, row {row + 1}: {message(value)}")

    def _unknown(self, value: Any) -> str:
        known = first_words([str(x) for x in self.values])
        if self.kind == CONSTANT and not self.values:
            return f"{value!r:.60}, but all cells were missing in training; leave the column out"
        if self.kind == CONSTANT:
            return (
                f"{value!r:.60}, but all cells were {known} in training; leave the column out, or "
                "train on data that have it"
            )
        number = not isinstance(value, str) and not isinstance(self.values[0], str)
        other = ", or train it as 'gaussian' or 'poisson'" if number else ""
        return (
            f"{value!r:.60}, a category that is not known ({known}); make the cell missing, or "
            f"train on data that have it{other}"
        )

    def _no_count(self, value: Any) -> str:
        most = f" up to {self.most}" if self.kind == "binomial" else ""
        return f"{value:g}: expected a count, 0, 1, 2, ...{most}; or train it as 'gaussian'"


def column_for(
    name: Name | None, cells: Cells, kind: str | None = None, numbers: str = "gaussian"
) -> Column:
    """The column for such cells, by the rules of `kind_for` unless its kind is given."""
    if kind is not None and kind not in KINDS:
        raise ArgumentError(f"{cells.label}: {kind!r}: expected one of {', '.join(KINDS)}")
    declared = cells.dtype.categories
    if declared is None or len(declared) < 2:
        distinct = list(dict.fromkeys(cells.known.tolist()))
        if len(distinct) < 2:
            values = tuple(_plain(x) for x in distinct)
            return Column(name, cells.dtype, CONSTANT, values, rows=len(cells.known))
    kind = kind or kind_for(cells, numbers)
    if kind in ("bernoulli", "categorical"):
        return _of_categories(name, cells, kind)
    return _of_numbers(name, cells, kind)


def kind_for(cells: Cells, numbers: str = "gaussian") -> str:
    """The kind of a column that varies.

    - bool, and at most two values: ``bernoulli``
    - other categories and words: ``categorical``
    - whole numbers of at most 10 values, five rows for each on average: ``categorical``
    - other whole numbers from 0 to 30, with a variance of at least 0.8 of their mean: ``poisson``
    - other numbers: that of `numbers`, ``gaussian`` or ``quantile``
    """
    if cells.dtype.categories is not None or not cells.is_numeric:
        _check_words(cells)
        values = cells.dtype.categories or set(cells.known.tolist())
        return "bernoulli" if len(values) == 2 else "categorical"
    known = cells.known
    distinct, whole = len(np.unique(known)), _is_whole(known)
    many = len(known) >= ROWS_A_NUMBER * distinct
    if many and distinct == 2:
        return "bernoulli"
    if many and whole and distinct <= FEW_NUMBERS:
        return "categorical"
    counts = whole and known.min() >= 0 and known.max() <= MOST_COUNT
    if counts and known.var() >= LEAST_DISPERSION * known.mean():
        return "poisson"
    return numbers


def as_numbers(cells: Cells) -> Array:
    """Cells as float64, NaN where missing; `DataError` for a word that is no number."""
    if cells.is_numeric:
        return cells.values
    numbers = np.full(len(cells.values), np.nan)
    for row in np.flatnonzero(~cells.missing):
        try:
            numbers[row] = float(cells.values[row])
        except ValueError:
            raise DataError(
                f"{cells.label}, row {row + 1}: {cells.values[row]!r:.60}, which is not a number; "
                "make the cell missing, or give the column the kind 'categorical'"
            ) from None
    return numbers


def _of_categories(name: Name | None, cells: Cells, kind: str) -> Column:
    """A column whose states stand for the categories declared, else for the values there are."""
    values = cells.dtype.categories
    if values is None:
        distinct = set(cells.known.tolist())
        check_categories(cells.label, len(distinct))
        by_type = sorted(distinct, key=lambda x: (isinstance(x, str), x))
        values = tuple(_plain(x) for x in by_type)
    if kind == "bernoulli" and len(values) > 2:
        raise DataError(
            f"{cells.label} has {len(values)} values ({first_words([str(x) for x in values])}): "
            "expected two for 'bernoulli'; give it the kind 'categorical'"
        )
    return Column(name, cells.dtype, kind, tuple(values), rows=len(cells.known))


def _of_numbers(name: Name | None, cells: Cells, kind: str) -> Column:
    """A column of numbers or counts."""
    numbers = as_numbers(cells)
    known = numbers[~cells.missing]
    column = Column(name, cells.dtype, kind, whole=_is_whole(known), rows=len(known))
    if kind in ("poisson", "binomial"):
        column = _with(column, most=int(known.max()) if known.max() < 2**24 else 2**24)
        column.encode(cells)  # refuses what is no count
        return _with(column, most=max(1, column.most))
    if kind == QUANTILE:
        column = _with(column, quantiles=(0.0,) * min(QUANTILES, len(known)))
        shares = torch.special.ndtr(torch.as_tensor(column.scores)).numpy()
        shares[[0, -1]] = 0, 1
        return _with(column, quantiles=tuple(np.quantile(known, shares).tolist()))
    with np.errstate(over="ignore", invalid="ignore"):
        shift, scale = float(known.mean()), float(known.std())
    if not math.isfinite(shift) or not math.isfinite(scale):
        raise DataError(
            f"{cells.label} has numbers so large that their squares overflow; rescale it"
        )
    return _with(column, shift=shift, scale=scale if scale > SMALLEST_SCALE else 1.0)


def _with(column: Column, **changes: Any) -> Column:
    return Column(**{**vars(column), **changes})


def _check_words(cells: Cells) -> None:
    """Raise `DataError` for words and numbers in one column, which may be a slip."""
    kinds = {isinstance(x, str) for x in cells.known}
    if cells.dtype.categories is None and len(kinds) > 1:
        number = next(x for x in cells.known if not isinstance(x, str))
        raise DataError(
            f"{cells.label} holds {number!r}, a number in a column of words; correct it, or give "
            "the column the kind 'categorical'"
        )


def _plain(value: Any) -> Value:
    """A number that is whole as int; other values as they are."""
    return int(value) if isinstance(value, float) and value == int(value) else value


def _is_whole(numbers: Array) -> bool:
    return bool((numbers == np.floor(numbers)).all())


def _within(numbers: Array, dtype: str) -> Array:
    """Numbers, no less and no more than a dtype of integers holds."""
    try:
        limits = np.iinfo(dtype.lower())
    except (TypeError, ValueError):
        return numbers
    most = limits.max if limits.max < 2**53 else np.nextafter(float(limits.max), 0)
    return np.clip(numbers, limits.min, most)
