"""Tables in text: .csv, .tsv and .txt, compressed or not."""

from __future__ import annotations

import csv
import gzip
import itertools
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from gibbsite.checks import check_memory
from gibbsite.errors import DataError, place

ENCODING = "utf-8-sig"
LONGEST_LINE = 2**22
"""Characters of a line; a longer one is no row of a table."""

TEXT_BYTES, TEXT_RATIO = 2**26, 100
"""Compressed text may unpack to so many bytes, or to so many times its size."""


class Table(NamedTuple):
    """Numbers, (rows, columns), the names of the columns if any, and the line of each row."""

    values: np.ndarray
    names: tuple[str, ...] | None
    lines: array[int]


def read_table(path: Path) -> Table:
    """The table in a text file; its size is bounded before any of it is parsed."""
    if path.suffix.lower() != ".gz":
        with path.open(encoding=ENCODING, newline="") as text:
            return parse_table(_lines(text), str(path))
    allowed = max(TEXT_BYTES, TEXT_RATIO * path.stat().st_size)
    with gzip.open(path) as packed:
        found = 0
        while found <= allowed and (block := packed.read(2**20)):
            found += len(block)
    if found > allowed:
        raise DataError(
            f"{path} unpacks to over {allowed:,} bytes, {TEXT_RATIO} times its size; unpack it "
            "yourself if that is right"
        )
    check_memory(f"{path}, unpacked,", found // 2)  # a number has two characters or more
    with gzip.open(path, "rt", encoding=ENCODING, newline="") as text:
        return parse_table(_lines(text), str(path))


def _lines(text: IO[str]) -> Iterator[str]:
    while line := text.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise DataError(f"a line has over {LONGEST_LINE:,} characters; one row a line, please")
        yield line


def parse_table(lines: Iterable[str], source: str) -> Table:
    """Numbers from delimited text; the first line may hold names.

    The delimiter is comma, semicolon or tab, whichever the first line has most of, else spaces.
    """
    text = iter(lines)
    first = next(text, "").lstrip("#")  # numpy.savetxt marks names so
    delimiter = max(",;\t", key=first.count)
    if delimiter not in first and " " in first.strip():
        delimiter = " "
    header = next(_cells([first], delimiter), [])
    width, names = len(header), None
    rows: Iterable[list[str]] = _cells(text, delimiter)
    if any(_number(cell) is not None for cell in header):
        rows = itertools.chain([header], rows)
    else:
        names = tuple(header)
    table, line_of = array("d"), array("q")  # eight bytes a number, a fifth of what lists take
    cells: list[str] = []
    number = 0
    try:
        for number, cells in enumerate(rows, start=1 if names is None else 2):
            if len(cells) == width:
                table.extend(map(float, cells))
                line_of.append(number)
            elif cells:
                raise DataError(
                    f"{source}, line {number}: {len(cells)} cells, the first line has {width}"
                )
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise _fault(cells, names, f"{source}, line {number}") from error
    if not table:
        raise DataError(f"{source} has no rows of numbers")
    return Table(np.array(table).reshape(-1, len(header)), names, line_of)


def _cells(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    """The cells of each line; those between spaces may be any number of spaces apart."""
    if delimiter == " ":
        return (line.split() for line in lines)
    return csv.reader(lines, delimiter=delimiter)


def _fault(cells: list[str], names: tuple[str, ...] | None, line: str) -> DataError:
    """The error for the first cell of a line that is no number."""
    found = (i for i, cell in enumerate(cells) if _number(cell) is None)
    column = next(found, None)
    if column is None:
        return DataError(f"{line} or the next cannot be read as text in UTF-8")
    cell = cells[column]
    what = "an empty cell" if not cell.strip() else f"{cell[:60]!r}, which is not a number"
    return DataError(f"{line}, {place(None, column, names[column] if names else None)}: {what}")


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
