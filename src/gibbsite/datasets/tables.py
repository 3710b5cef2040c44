"""Tables in text: .csv and .tsv."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterable

import numpy as np

from gibbsite.errors import DataError


def parse_table(lines: Iterable[str], source: str) -> np.ndarray:
    """Numbers from delimited text; the first line may hold names."""
    text = iter(lines)
    first = next(text, "")
    delimiter = max(",;\t", key=first.count)
    header = next(csv.reader([first], delimiter=delimiter), [])
    table = array("d")  # eight bytes a number, a fifth of what lists take
    if any(_number(cell) is not None for cell in header):
        table.extend(_parse_line(header, None, 1, source))
        names = None
    else:
        names = header
    for number, cells in enumerate(csv.reader(text, delimiter=delimiter), start=2):
        if cells:
            if len(cells) != len(header):
                raise DataError(
                    f"{source}, line {number}: {len(cells)} cells, the first line has {len(header)}"
                )
            table.extend(_parse_line(cells, names, number, source))
    if not table:
        raise DataError(f"{source} has no rows of numbers")
    return np.array(table).reshape(-1, len(header))


def _parse_line(cells: list[str], names: list[str] | None, number: int, source: str) -> list[float]:
    values = []
    for column, cell in enumerate(cells, start=1):
        value = _number(cell)
        if value is None:
            what = "an empty cell" if not cell.strip() else f"{cell!r}, which is not a number"
            name = f" ({names[column - 1]})" if names else ""
            raise DataError(f"{source}, line {number}, column {column}{name}: {what}")
        values.append(value)
    return values


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
