"""Data frames and arrays as columns of cells, and back: pandas, polars and NumPy.

Neither pandas nor polars is imported unless a frame is theirs.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gibbsite.checks import check_unmasked
from gibbsite.errors import DataError

Array = NDArray[Any]
Name = str | int
Value = str | int | float | bool
"""A category, as JSON can hold it."""

MOST_CATEGORIES = 1000

LIBRARIES = ("numpy", "pandas", "polars")

POLARS_INTEGERS = {f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
POLARS_DTYPES = {"Boolean", "Float32", "Float64", "String", "Categorical", "Enum", "Null"}
POLARS_DTYPES |= POLARS_INTEGERS


class Dtype(NamedTuple):
    """Dtype of a column, by its library's own name.

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


class Frame(NamedTuple):
    """Columns of a frame.

    Attributes:
        library: ``pandas``, ``polars`` or ``numpy``.
        names: of the columns; None for an array.
        cells: of the columns, in order.
        source: the frame itself.
    """

    library: str
    names: tuple[Name, ...] | None
    cells: tuple[Cells, ...]
    source: Any

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.source)


def read_frame(frame: Any) -> Frame:
    """The columns of a pandas or polars frame, or of anything that NumPy makes an array of.

    Raises `DataError`, which names the column and the remedy, for names that occur twice, dates,
    lists and other cells that are neither numbers nor words, infinity, and what is no table.
    """
    library = type(frame).__module__.partition(".")[0]
    if library not in ("pandas", "polars"):
        return _read_array(frame)
    if getattr(frame, "ndim", 2) != 2 or not hasattr(frame, "columns"):
        raise DataError(
            f"a {library} {type(frame).__name__}: expected a 2D table. Reshape your data: "
            "pass a frame, such as frame[['a', 'b']]"
        )
    names = _names(list(frame.columns))
    _check_size(len(frame), len(names))
    read = _read_pandas if library == "pandas" else _read_polars
    columns = (frame.iloc[:, i] if library == "pandas" else frame[:, i] for i in range(len(names)))
    cells = tuple(
        _checked(read(f"column {name!r}", x)) for name, x in zip(names, columns, strict=True)
    )
    return Frame(library, names, cells, frame)


def write_frame(
    library: str, names: Sequence[Name] | None, columns: Sequence[Cells], index: Any = None
) -> Any:
    """A frame of a library with these columns; missing cells as the dtype has them.

    A dtype that has no missing cells, as ``int64``, gives way to one that does where there are any.
    """
    if library == "numpy" or names is None:
        return _write_array(columns)
    module = _module(library)
    if library == "polars":
        series = (_polars_series(module, str(n), x) for n, x in zip(names, columns, strict=True))
        return module.DataFrame(list(series))
    data = {n: _pandas_series(module, x, index) for n, x in zip(names, columns, strict=True)}
    return module.DataFrame(data, columns=list(names), index=index, copy=False)


def fill_frame(frame: Frame, values: Mapping[int, Array]) -> Any:
    """A copy of the frame with missing cells replaced by those of full columns, by position."""
    if frame.library == "numpy":
        return _fill_array(frame, values)
    if frame.library == "polars":
        return _fill_polars(frame, values)
    columns = [frame.source.iloc[:, i] for i in range(len(frame.cells))]
    for i, new in values.items():
        missing, column = frame.cells[i].missing, columns[i]
        if frame.cells[i].dtype.name == "category":
            unknown = [x for x in dict.fromkeys(new[missing]) if x not in column.cat.categories]
            column = column.cat.add_categories(unknown)
        columns[i] = column.copy()
        columns[i].iloc[np.flatnonzero(missing)] = list(new[missing])
    filled = _module("pandas").concat(columns, axis=1) if columns else frame.source.copy()
    filled.columns = frame.source.columns
    return filled


def append_columns(library: str, frame: Any, names: Sequence[str], columns: Sequence[Array]) -> Any:
    """The frame with further columns behind its own; in an array they are numbers."""
    if library == "pandas":
        return frame.assign(**dict(zip(names, columns, strict=True)))
    if library == "polars":
        series = (_module(library).Series(n, x) for n, x in zip(names, columns, strict=True))
        return frame.with_columns(*series)
    return np.hstack([frame, np.stack(columns, 1).astype(frame.dtype)])


# arrays


def _read_array(frame: Any) -> Frame:
    if hasattr(frame, "tocsr"):
        raise DataError("a sparse matrix: expected a dense table; convert it, by X.toarray()")
    check_unmasked(frame)
    given = frame.detach().cpu().numpy() if isinstance(frame, Tensor) else frame
    try:
        array = np.asarray(given)
        if array.dtype.kind in "US" and not isinstance(given, np.ndarray):
            array = np.array(given, dtype=object)  # of a list with numbers in it, too
    except (ValueError, TypeError) as error:
        raise DataError(f"a {type(frame).__name__} that is no table: {error}") from error
    if array.ndim != 2:
        raise DataError(
            f"an array of shape {array.shape}: expected a 2D array, (rows, columns). Reshape your "
            "data: array.reshape(-1, 1) is one column, array.reshape(1, -1) is one row"
        )
    _check_size(*array.shape)
    dtype = Dtype(str(array.dtype) if array.dtype.kind in "biuf" else "object")
    cells = (_array_cells(i, dtype, array[:, i]) for i in range(array.shape[1]))
    return Frame("numpy", None, tuple(_checked(x) for x in cells), array)


def _array_cells(index: int, dtype: Dtype, column: Array) -> Cells:
    label = f"column {index + 1}"
    if column.dtype.kind in "biuf":
        values = column.astype(np.float64)
        return Cells(label, _declared(dtype, column.dtype.kind == "b"), values, np.isnan(values))
    if column.dtype.kind not in "OUS":
        raise _refused(label, str(column.dtype))
    return _object_cells(label, dtype, column.astype(object))


def _write_array(columns: Sequence[Cells]) -> Array:
    names = {cells.dtype.name for cells in columns}
    array = np.empty((len(columns[0].values), len(columns)), dtype=object)
    for i, cells in enumerate(columns):
        array[:, i] = cells.values
        array[cells.missing, i] = np.nan if cells.is_numeric else None
    name = names.pop() if len(names) == 1 else "object"
    missing = any(cells.missing.any() for cells in columns)
    if missing and np.dtype(name).kind in "biu":
        name = "float64"
    return array.astype(name)


def _fill_array(frame: Frame, values: Mapping[int, Array]) -> Array:
    filled: Array = np.array(frame.source)
    for i, new in values.items():
        missing = frame.cells[i].missing
        filled[missing, i] = new[missing]
    return filled


# pandas


def _read_pandas(label: str, column: Any) -> Cells:
    types = _module("pandas").api.types
    dtype, missing = column.dtype, column.isna().to_numpy(bool)
    if hasattr(dtype, "categories"):
        declared = _as_values(label, dtype.categories)
        kind = Dtype("category", declared, bool(dtype.ordered))
        return Cells(label, kind, _as_objects(column), missing)
    if types.is_bool_dtype(dtype) or (
        types.is_numeric_dtype(dtype) and not types.is_complex_dtype(dtype)
    ):
        values = column.to_numpy(np.float64, na_value=np.nan)
        return Cells(
            label, _declared(Dtype(str(dtype)), types.is_bool_dtype(dtype)), values, missing
        )
    if not (types.is_object_dtype(dtype) or types.is_string_dtype(dtype)):
        raise _refused(label, str(dtype))
    return _object_cells(label, Dtype(str(dtype)), _as_objects(column), missing)


def _pandas_series(pandas: Any, cells: Cells, index: Any) -> Any:
    values, name = cells.values, cells.dtype.name  # type: Array, Any
    if name == "category":
        name = pandas.CategoricalDtype(list(cells.dtype.categories or ()), cells.dtype.ordered)
    if cells.missing.any():
        values = values.astype(object)  # a copy
        values[cells.missing] = None
    series = pandas.Series(values, index=index, dtype=values.dtype)
    try:
        return series.astype(name)
    except (TypeError, ValueError):  # the dtype has no missing cells
        return series.astype(float) if cells.is_numeric else series


def _as_objects(column: Any) -> Array:
    objects: Array = column.astype(object).to_numpy(object)
    return objects


# polars


def _read_polars(label: str, column: Any) -> Cells:
    name = type(column.dtype).__name__
    name = name if name != "DataTypeClass" else str(column.dtype)
    missing = column.is_null().to_numpy()
    if column.dtype.is_numeric() or name == "Boolean":
        floats = column.cast(_module("polars").Float64)
        values = floats.to_numpy().astype(np.float64)
        return Cells(
            label, _declared(Dtype(name), name == "Boolean"), values, missing | np.isnan(values)
        )
    if name not in POLARS_DTYPES:
        raise _refused(label, name)
    values = np.array([*column.to_list(), None], dtype=object)[:-1]
    declared = _as_values(label, column.dtype.categories) if name == "Enum" else None
    return _object_cells(label, Dtype(name, declared), values, missing)


def _polars_series(polars: Any, name: str, cells: Cells) -> Any:
    values = [
        None if gone else x for x, gone in zip(cells.values.tolist(), cells.missing, strict=True)
    ]
    return polars.Series(name, values, dtype=_polars_dtype(polars, cells.dtype), strict=False)


def _polars_dtype(polars: Any, dtype: Dtype) -> Any:
    if dtype.name == "Enum":
        return polars.Enum(list(dtype.categories or ()))
    return getattr(polars, dtype.name) if dtype.name in POLARS_DTYPES else None


def _fill_polars(frame: Frame, values: Mapping[int, Array]) -> Any:
    polars, columns = _module("polars"), frame.source.get_columns()
    for i, new in values.items():
        old, missing = columns[i], frame.cells[i].missing
        made = polars.Series(old.name, new.tolist(), dtype=old.dtype, strict=False)
        columns[i] = made.zip_with(polars.Series(missing), old)
    return polars.DataFrame(columns)


# what all have in common


def _object_cells(label: str, dtype: Dtype, values: Array, missing: Array | None = None) -> Cells:
    """Cells of objects: numbers if all of them are, else words."""
    if missing is None:
        missing = np.array([x is None or bool(x != x) for x in values], bool)
    known = values[~missing]
    kinds = {type(x) for x in known}
    for kind in kinds:
        if not issubclass(kind, (str, bool, int, float, np.generic)) or issubclass(
            kind, (np.datetime64, np.timedelta64, np.complexfloating, bytes)
        ):
            raise _refused(label, kind.__name__)
    if dtype.categories is None and kinds and not any(issubclass(x, str) for x in kinds):
        numbers = np.full(len(values), np.nan)
        numbers[~missing] = known.astype(np.float64)
        return Cells(label, _declared(dtype, kinds <= {bool, np.bool_}), numbers, missing)
    plain = values.copy()
    plain[~missing] = [x.item() if isinstance(x, np.generic) else x for x in known]
    return Cells(label, dtype, plain, missing)


def _declared(dtype: Dtype, is_bool: bool) -> Dtype:
    """The dtype with the two values of bool, if it is that."""
    return dtype._replace(categories=(False, True)) if is_bool else dtype


def _as_values(label: str, categories: Any) -> tuple[Value, ...]:
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


def _names(names: list[Any]) -> tuple[Name, ...]:
    """Names of columns as plain values, each once."""
    plain = [x.item() if isinstance(x, np.generic) else x for x in names]
    for name in plain:
        if isinstance(name, bool) or not isinstance(name, (str, int)):
            raise DataError(
                f"the column name {name!r:.60} is a {type(name).__name__}: expected text; rename "
                "the columns, as by frame.columns = [str(name) for name in frame.columns]"
            )
    twice = [name for name, count in Counter(plain).items() if count > 1]
    if twice:
        raise DataError(f"two columns are named {twice[0]!r}; rename one of them")
    return tuple(plain)


def _check_size(rows: int, columns: int) -> None:
    """Raise `DataError` for a table without rows or columns, in scikit-learn's words."""
    for n, what in ((rows, "sample"), (columns, "feature")):
        if n == 0:
            raise DataError(
                f"Found array with 0 {what}(s) (shape=({rows}, {columns})) while a minimum of 1 is "
                "required; pass a table that is not empty"
            )


def _checked(cells: Cells) -> Cells:
    """The cells; `DataError` if a number is infinite."""
    if cells.is_numeric and bool((infinite := np.isinf(cells.values)).any()):
        row = int(np.flatnonzero(infinite)[0])
        raise DataError(
            f"{cells.label}, row {row + 1}: {cells.values[row]}, infinity; leave the row out, or "
            "make it NaN, which is a missing cell"
        )
    return cells


def _refused(label: str, kind: str) -> DataError:
    if "complex" in kind:
        return DataError(f"Complex data not supported: {label} holds {kind}; take its real part")
    return DataError(
        f"{label} holds {kind}, which is neither numbers nor words; leave it out, or make numbers "
        "of it (of a date the days since the first one) or words, as by .astype(str)"
    )


def _module(library: str) -> Any:
    """pandas or polars; `DataError` if it is not installed."""
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        raise DataError(
            f"the table was a {library} frame, and {library} is not installed; install it"
        ) from error
