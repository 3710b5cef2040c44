"""Data frames and arrays as columns of cells, and back: pandas, polars and NumPy.

Neither pandas nor polars is imported unless a frame is theirs.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from gibbsite.checks import check_unmasked
from gibbsite.datasets.cells import (
    Array,
    Cells,
    Dtype,
    Name,
    as_values,
    checked,
    declared,
    object_cells,
    refused,
)
from gibbsite.errors import DataError

PACKAGES = ("numpy", "pandas", "polars")

POLARS_INTEGERS = {f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
POLARS_DTYPES = {"Boolean", "Float32", "Float64", "String", "Categorical", "Enum", "Null"}
POLARS_DTYPES |= POLARS_INTEGERS


class Frame(NamedTuple):
    """Columns of a frame.

    Attributes:
        package: ``pandas``, ``polars`` or ``numpy``.
        names: of the columns; None for an array.
        cells: of the columns, in order.
        source: the frame itself.
    """

    package: str
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
    package = type(frame).__module__.partition(".")[0]
    if package not in ("pandas", "polars"):
        return _read_array(frame)
    if getattr(frame, "ndim", 2) != 2 or not hasattr(frame, "columns"):
        raise DataError(
            f"a {package} {type(frame).__name__}: expected a 2D table. Reshape your data: "
            "pass a frame, such as frame[['a', 'b']]"
        )
    names = _names(list(frame.columns))
    _check_size(len(frame), len(names))
    read = _read_pandas if package == "pandas" else _read_polars
    columns = (frame.iloc[:, i] if package == "pandas" else frame[:, i] for i in range(len(names)))
    cells = tuple(
        checked(read(f"column {name!r}", x)) for name, x in zip(names, columns, strict=True)
    )
    return Frame(package, names, cells, frame)


def write_frame(
    package: str, names: Sequence[Name] | None, columns: Sequence[Cells], index: Any = None
) -> Any:
    """A frame of a package with these columns; missing cells as the dtype has them.

    A dtype that has no missing cells, as ``int64``, gives way to one that does where there are any.
    """
    if package == "numpy" or names is None:
        return _write_array(columns)
    module = _module(package)
    if package == "polars":
        series = (_polars_series(module, str(n), x) for n, x in zip(names, columns, strict=True))
        return module.DataFrame(list(series))
    data = {n: _pandas_series(module, x, index) for n, x in zip(names, columns, strict=True)}
    return module.DataFrame(data, columns=list(names), index=index, copy=False)


def fill_frame(frame: Frame, values: Mapping[int, Array]) -> Any:
    """A copy of the frame with missing cells replaced by those of full columns, by position."""
    if frame.package == "numpy":
        return _fill_array(frame, values)
    if frame.package == "polars":
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


def append_columns(package: str, frame: Any, names: Sequence[str], columns: Sequence[Array]) -> Any:
    """The frame with further columns behind its own; in an array they are numbers."""
    if package == "pandas":
        return frame.assign(**dict(zip(names, columns, strict=True)))
    if package == "polars":
        series = (_module(package).Series(n, x) for n, x in zip(names, columns, strict=True))
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
    return Frame("numpy", None, tuple(checked(x) for x in cells), array)


def _array_cells(index: int, dtype: Dtype, column: Array) -> Cells:
    label = f"column {index + 1}"
    if column.dtype.kind in "biuf":
        values = column.astype(np.float64)
        return Cells(label, declared(dtype, column.dtype.kind == "b"), values, np.isnan(values))
    if column.dtype.kind not in "OUS":
        raise refused(label, str(column.dtype))
    return object_cells(label, dtype, column.astype(object))


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
        categories = as_values(label, dtype.categories)
        kind = Dtype("category", categories, bool(dtype.ordered))
        return Cells(label, kind, _as_objects(column), missing)
    if types.is_bool_dtype(dtype) or (
        types.is_numeric_dtype(dtype) and not types.is_complex_dtype(dtype)
    ):
        values = column.to_numpy(np.float64, na_value=np.nan)
        return Cells(
            label, declared(Dtype(str(dtype)), types.is_bool_dtype(dtype)), values, missing
        )
    if not (types.is_object_dtype(dtype) or types.is_string_dtype(dtype)):
        raise refused(label, str(dtype))
    return object_cells(label, Dtype(str(dtype)), _as_objects(column), missing)


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
            label, declared(Dtype(name), name == "Boolean"), values, missing | np.isnan(values)
        )
    if name not in POLARS_DTYPES:
        raise refused(label, name)
    values = np.array([*column.to_list(), None], dtype=object)[:-1]
    categories = as_values(label, column.dtype.categories) if name == "Enum" else None
    return object_cells(label, Dtype(name, categories), values, missing)


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


def _module(package: str) -> Any:
    """pandas or polars; `DataError` if it is not installed."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise DataError(
            f"the table was a {package} frame, and {package} is not installed; install it"
        ) from error
