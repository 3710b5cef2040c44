"""Typed columns of a table, and the way between its rows and the states of a model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gibbsite.checks import check_memory
from gibbsite.datasets.cells import Cells, Dtype, Name
from gibbsite.datasets.column import CONSTANT, KINDS, Column, column_for
from gibbsite.datasets.frames import PACKAGES, Frame, fill_frame, read_frame, write_frame
from gibbsite.errors import ArgumentError, DataError, ModelFileError
from gibbsite.layers import Layer, layer_for

Array = NDArray[Any]

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Columns:
    """The columns of a table: names, dtypes, kinds, categories, scaling.

    A model of the table has a visible unit for each column that varies, of the type that its kind
    asks for, in the order of `units`: those of one type stand side by side. `encode` makes its
    states of rows of a frame, and `decode` a frame of states, with the dtypes, categories and names
    of the one that the columns were made from. All of it is plain data, which a model file keeps.

    Attributes:
        package: of the frame, ``pandas``, ``polars`` or ``numpy``.
        columns: in the order of the frame.
        units: the index of the column of each visible unit, in order.

    >>> import pandas as pd
    >>> from gibbsite.datasets import Columns
    >>> frame = pd.DataFrame({"sex": ["f", "m", None], "age": [31.5, 47.0, 64.25]})
    >>> columns = Columns.of(frame)
    >>> columns.layer().describe()
    'Mixed(Bernoulli(1), Gaussian(1))'
    >>> columns.encode(frame)[:, 0].tolist()
    [0.0, 1.0, nan]
    >>> columns.decode(columns.encode(frame)).equals(frame)
    True
    """

    package: str
    columns: tuple[Column, ...]
    units: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        def place(index: int) -> int:
            return KINDS.index(self.columns[index].unit)

        varying = [i for i, column in enumerate(self.columns) if column.unit]
        object.__setattr__(self, "units", tuple(sorted(varying, key=place)))

    @classmethod
    def of(
        cls, frame: Any, kinds: Mapping[Any, str] | None = None, numbers: str = "gaussian"
    ) -> Columns:
        """The columns of a pandas or polars frame, or an array, typed by their dtypes and values.

        Args:
            frame: rows to train on; NaN, None and null are missing.
            kinds: by name, or by position in an array, the kind of some columns: ``bernoulli``,
                ``categorical``, ``binomial``, ``poisson``, ``gaussian`` or ``quantile``. The others
                have that of `gibbsite.datasets.column.kind_for`.
            numbers: kind of columns of numbers, ``gaussian`` or ``quantile``.

        Raises `DataError`, naming the column and the remedy, for what cannot be modelled, and
        `ArgumentError` for kinds or columns that there are not.
        """
        if numbers not in ("gaussian", "quantile"):
            raise ArgumentError(f"numbers={numbers!r}: expected gaussian or quantile")
        table, kinds = read_frame(frame), dict(kinds or {})
        names: Sequence[Name] = table.names or range(len(table.cells))
        for name in kinds:
            if name not in names:
                raise ArgumentError(f"columns has {name!r}, which is no column of the table")
        return cls(
            table.package,
            tuple(
                column_for(name if table.names else None, cells, kinds.get(name), numbers)
                for name, cells in zip(names, table.cells, strict=True)
            ),
        )

    @property
    def names(self) -> tuple[Name, ...] | None:
        """Names of the columns; None of an array."""
        names = tuple(column.name for column in self.columns if column.name is not None)
        return names or None

    def index(self, name: Name) -> int:
        """Position of a column by its name, in an array by its number; `ArgumentError` if none."""
        names = range(len(self.columns)) if self.names is None else self.names
        if name not in names:
            raise ArgumentError(f"{name!r} is no column of the table; it has {_listed(names)}")
        return list(names).index(name)

    def layer(self, sigma: float = 1.0, learn_sigma: bool = False) -> Layer:
        """An untrained visible layer for the columns; sigma is that of numbers.

        Raises `DataError` if no column varies.
        """
        if not self.units:
            raise DataError(
                "no column varies (n_samples = 1, or each has one value only): a model needs at "
                "least one that does; give more rows"
            )
        chosen = [self.columns[index] for index in self.units]
        greatest = torch.tensor(
            [float(column.most or max(1, len(column.values) - 1)) for column in chosen]
        )
        kinds = [column.unit for column in chosen]
        text = ",".join(f"{kind}:{kinds.count(kind)}" for kind in dict.fromkeys(kinds))
        return layer_for(text, greatest, {"sigma": sigma, "learn_sigma": learn_sigma})

    @property
    def log_volumes(self) -> Array:
        """`Column.log_volume` of each unit, (units,): log-densities of states are higher by it."""
        return np.array([self.columns[index].log_volume for index in self.units])

    def encode(self, frame: Any, random: np.random.Generator | None = None) -> Tensor:
        """States of rows of a frame, float64 (rows, width), NaN where missing.

        Columns are matched by name. For training give `random`: numbers of ``quantile`` columns
        that many rows share are then spread over the scores that they take up. Raises `DataError`
        for a column that is missing, or too many, or that holds what it did not in training, as an
        unseen category, naming it.
        """
        return self.encode_cells(self.read(frame), random)

    def encode_cells(self, table: Frame, random: np.random.Generator | None = None) -> Tensor:
        """`encode` of a frame that `read` gave."""
        layer = self.layer().double()
        pairs = zip(self.columns, table.cells, strict=True)
        states = [column.encode(cells, random) for column, cells in pairs]
        codes = np.stack([states[index] for index in self.units], 1)
        check_memory(f"{len(codes):,} rows in {layer.width:,} columns", len(codes), layer.width)
        return layer.coerce(torch.from_numpy(codes))

    def decode(self, states: Tensor, index: Any = None) -> Any:
        """A frame of states, (rows, width), or by unit: inverse of `encode`.

        A constant column, of which states say nothing, has its value everywhere.

        Args:
            states: NaN where a cell is to be missing.
            index: of a pandas frame.
        """
        return write_frame(self.package, self.names, self.cells(states), index)

    def cells(self, states: Tensor) -> list[Cells]:
        """Cells of every column, in order, of states."""
        codes = self._by_unit(states)
        by_column = dict(zip(self.units, codes.T, strict=True))
        constant = np.zeros(len(codes))
        return [column.decode(by_column.get(i, constant)) for i, column in enumerate(self.columns)]

    def fill(self, frame: Any, states: Tensor) -> Any:
        """A copy of a frame whose missing cells are those of states, with its dtypes and index.

        A column that was all missing in training stays as it is.
        """
        table = self._matched(read_frame(frame))
        order = self._order(table)
        new = {
            order[i]: cells.values
            for i, cells in enumerate(self.cells(states))
            if table.cells[order[i]].missing.any() and not cells.missing.any()
        }
        return fill_frame(table, new)

    def read(self, frame: Any, absent: Sequence[Name] = ()) -> Frame:
        """The frame with its columns in the order of these.

        Those that may be absent are all missing where they are.
        """
        table = read_frame(frame)
        for name in absent:
            if table.names is not None and name not in table.names:
                cells = (*table.cells, _all_missing(str(name), table.rows))
                table = table._replace(names=(*table.names, name), cells=cells)
        table = self._matched(table)
        cells = tuple(table.cells[index] for index in self._order(table))
        return table._replace(names=table.names and self.names, cells=cells)

    def missing(self, table: Frame) -> Tensor:
        """True where a cell of a unit is missing, (rows, units)."""
        return torch.from_numpy(np.stack([table.cells[index].missing for index in self.units], 1))

    def describe(self) -> str:
        """A line for each column: its name and how it is modelled."""
        labels = [str(i if x.name is None else x.name) for i, x in enumerate(self.columns)]
        width = max(map(len, labels), default=0)
        pairs = zip(labels, self.columns, strict=True)
        return "\n".join(f"{label:{width}}  {column.describe()}" for label, column in pairs)

    # files

    def as_record(self) -> dict[str, Any]:
        """All of it as plain values, for JSON; `from_record` makes the columns anew."""
        records = [_record_of(column) for column in self.columns]
        return {"version": FORMAT_VERSION, "package": self.package, "columns": records}

    @classmethod
    def from_record(cls, record: object) -> Columns:
        """The columns of `as_record`; `ModelFileError` if it is damaged or of another version."""
        try:
            return cls._of_record(record)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelFileError(
                f"the columns of the table in a model file are damaged ({error}); restore it from "
                "a copy"
            ) from error

    @classmethod
    def _of_record(cls, record: Any) -> Columns:
        if record["version"] != FORMAT_VERSION:
            raise ValueError(f"version {record['version']!r:.20}")
        if record["package"] not in PACKAGES:
            raise ValueError(f"a frame of {record['package']!r:.60}")
        columns = tuple(_column_of(x) for x in record["columns"])
        names = [x.name for x in columns]
        if len({*names} - {None}) != sum(x is not None for x in names):
            raise ValueError("a name twice")
        if None in names and names != [None] * len(names):
            raise ValueError("a column without a name")
        return cls(record["package"], columns)

    # parts

    def _by_unit(self, states: Tensor) -> Array:
        """States by unit, (rows, units), NaN where missing."""
        layer = self.layer().double()
        states = states.detach().cpu().double()
        if states.ndim != 2 or states.shape[1] not in (layer.width, layer.n):
            raise DataError(
                f"states of shape {tuple(states.shape)}: expected (rows, {layer.width})"
            )
        if states.shape[1] == layer.n:
            return states.numpy()
        first = [layer.unit_columns(unit).start for unit in range(layer.n)]
        codes = layer.by_unit(states.nan_to_num(nan=0.0))
        return codes.masked_fill(torch.isnan(states[:, first]), math.nan).numpy()

    def _matched(self, table: Frame) -> Frame:
        """The table; `DataError` unless it has these columns, in any order."""
        if table.names is None or self.names is None:
            if len(table.cells) != len(self.columns):
                raise DataError(
                    f"X has {len(table.cells)} features, but the model is expecting "
                    f"{len(self.columns)} features as input; give those, in that order"
                )
            return table
        lacking = [name for name in self.names if name not in table.names]
        further = [name for name in table.names if name not in self.names]
        if lacking:
            raise DataError(
                f"the table lacks column {_listed(lacking)}; add it, with all cells missing if "
                "its values are not known"
            )
        if further:
            raise DataError(
                f"the table has column {_listed(further)}, unknown in training; drop it"
            )
        return table

    def _order(self, table: Frame) -> list[int]:
        """Position in the table of each of these columns."""
        if table.names is None or self.names is None:
            return list(range(len(self.columns)))
        place = {name: index for index, name in enumerate(table.names)}
        return [place[name] for name in self.names]


def _all_missing(label: str, rows: int) -> Cells:
    return Cells(label, Dtype("object"), np.full(rows, None), np.full(rows, True))


def _record_of(column: Column) -> dict[str, Any]:
    """A column as plain values, with lists as JSON has them."""
    record = {**vars(column), "dtype": column.dtype._asdict()}
    listed: dict[str, Any] = json.loads(json.dumps(record))
    return listed


def _column_of(record: Any) -> Column:
    """A column of its record; an error of any kind if it is damaged."""
    declared = record["dtype"]["categories"]
    dtype = Dtype(
        _text(record["dtype"]["name"]),
        None if declared is None else tuple(_value(x) for x in declared),
        bool(record["dtype"]["ordered"]),
    )
    name, values = record["name"], tuple(_value(x) for x in record["values"])
    if not (name is None or isinstance(name, (str, int))) or isinstance(name, bool):
        raise ValueError(f"the name {name!r:.60}")
    if record["kind"] not in (CONSTANT, *KINDS):
        raise ValueError(f"the kind {record['kind']!r:.60}")
    nominal = record["kind"] in ("bernoulli", "categorical")
    if nominal != (len(values) > 1) or len(set(values)) != len(values):
        raise ValueError(f"{len(values)} values of {record['kind']}")
    shift, scale = (_number(record[x]) for x in ("shift", "scale"))
    quantiles = tuple(_number(x) for x in record["quantiles"])
    if not scale > 0 or list(quantiles) != sorted(quantiles):
        raise ValueError("a scale or quantiles that cannot be")
    if (record["kind"] == "quantile") != (len(quantiles) > 1):
        raise ValueError(f"{len(quantiles)} quantiles of {record['kind']}")
    rows, most = (_count(record[x]) for x in ("rows", "most"))
    return Column(name, dtype, record["kind"], values, bool(record["whole"]), shift, scale,
                  quantiles, rows, most)  # fmt: skip


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.60} where text belongs")
    return value


def _value(value: Any) -> Any:
    if not isinstance(value, (str, int, float)) or value != value:
        raise ValueError(f"the category {value!r:.60}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r:.60} where a number belongs")
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**62:
        raise ValueError(f"{value!r:.60} where a count belongs")
    return value


def _listed(names: Sequence[Any]) -> str:
    """Up to eight names, for a message."""
    shown = ", ".join(repr(name) for name in list(names)[:8])
    return shown + (", ..." if len(names) > 8 else "")
