"""Tables in text: .csv, .tsv and .txt, compressed or not."""

from __future__ import annotations

import csv
import gzip
import itertools
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from gibbsite.checks import check_memory
from gibbsite.datasets.categories import REMEDY, Categories, Coding, as_number, check_categories
from gibbsite.datasets.limits import unpacked_bytes
from gibbsite.errors import DataError, location
from gibbsite.layers import column_types

ENCODING = "utf-8-sig"
LONGEST_LINE = 2**22
"""Most characters of a line."""

TEXT_BYTES, TEXT_RATIO = 2**26, 100
"""Most bytes that compressed text unpacks to, unless it is large: then most times its size."""


class Table(NamedTuple):
    """Values, (rows, columns), names of the columns if any, the line of each row, categories."""

    values: np.ndarray
    names: tuple[str, ...] | None
    lines: Sequence[int]
    categories: Categories | None = None


class Words(NamedTuple):
    """Columns that may hold words, and the words that they may hold.

    Attributes:
        visible: type of the units, by column or for all (`column_types`), of which some have
            categories; None where columns that hold nothing but words are categories.
        known: the words of each column, where they are known, in the order of their codes.
    """

    visible: str | None = None
    known: Categories | None = None

    def codings(self, first: list[str], source: str) -> dict[int, Coding]:
        """Codings of the columns of words, by column index, given the cells of the first row."""
        check_categories(self.known, len(first), source)
        if self.known is not None:
            return {i: Coding(words) for i, words in enumerate(self.known) if words is not None}
        if self.visible is not None:
            kinds = column_types(self.visible, len(first))
            nominal = [kind.nominal for kind, count in kinds for _ in range(count)]
            return {column: Coding() for column, holds in enumerate(nominal) if holds}
        words = (i for i, cell in enumerate(first) if cell.strip() and as_number(cell) is None)
        return {column: Coding(numbers=False) for column in words}


BY_CONTENT = Words()
NO_WORDS = "no words are known of this column, those of a model's data are in the folder of its run"


def read_table(path: Path, words: Words = BY_CONTENT) -> Table:
    """The table in a text file; its size is bounded before any of it is parsed."""
    if path.suffix.lower() != ".gz":
        with path.open(encoding=ENCODING, newline="") as text:
            return parse_table(_lines(text), str(path), words)
    allowed = max(TEXT_BYTES, TEXT_RATIO * path.stat().st_size)
    with gzip.open(path) as packed:
        length = unpacked_bytes(packed, allowed)
    if length > allowed:
        raise DataError(
            f"{path} unpacks to over {allowed:,} bytes, {TEXT_RATIO} times its size; unpack it "
            "yourself if that is right"
        )
    check_memory(f"{path}, unpacked,", length // 2)  # a cell has two characters or more
    with gzip.open(path, "rt", encoding=ENCODING, newline="") as text:
        return parse_table(_lines(text), str(path), words)


def _lines(text: IO[str]) -> Iterator[str]:
    while line := text.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise DataError(f"a line has over {LONGEST_LINE:,} characters; one row a line, please")
        yield line


def parse_table(lines: Iterable[str], source: str, words: Words = BY_CONTENT) -> Table:
    """Values from delimited text; the first line may hold names.

    The delimiter is comma, semicolon or tab, whichever the first line has most of, else spaces.
    Words become codes where `words` says so. The first line holds names if none of its cells is a
    number and, in a table of nothing but words, none occurs again as a word of its column.
    """
    text = iter(lines)
    first = next(text, "").lstrip("#")  # numpy.savetxt marks names so
    delimiter = max(",;\t", key=first.count)
    if delimiter not in first and " " in first.strip():
        delimiter = " "
    header = next(_cells([first], delimiter), [])
    names = None if any(as_number(cell) is not None for cell in header) else tuple(header)
    rows: Iterable[list[str]] = _cells(text, delimiter)
    if names is None:
        rows = itertools.chain([header], rows)
    start = 1 if names is None else 2
    reader = _Reader(source, len(header), names, words)
    try:
        for number, cells in enumerate(rows, start):
            if cells:
                reader.add(cells, number)
    except UnicodeDecodeError as error:
        where = f"{source}, line {reader.line} or the next"
        raise DataError(f"{where} cannot be read as text in UTF-8") from error
    return reader.table(header)


class _Reader:
    """Reader of rows: their values and codes so far, and the line of each."""

    def __init__(
        self, source: str, width: int, names: tuple[str, ...] | None, words: Words
    ) -> None:
        self.source, self.width, self.names, self.words = source, width, names, words
        self.values, self.lines = array("d"), array("q")  # a fifth of what lists take
        self.codings: dict[int, Coding] = {}
        self.line = 0 if names is None else 1

    def add(self, cells: list[str], line: int) -> None:
        """Add the row of a line, else raise a `DataError` that names the line and the column."""
        self.line = line
        where = f"{self.source}, line {line}"
        if len(cells) != self.width:
            raise DataError(f"{where}: {len(cells)} cells, the first line has {self.width}")
        if not self.lines:
            self.codings = self.words.codings(cells, self.source)
        try:
            if self.codings:
                self.values.extend([self._value(i, cell) for i, cell in enumerate(cells)])
            else:
                self.values.extend(map(float, cells))
        except ValueError as error:
            raise self._fault(cells, where) from error
        self.lines.append(line)

    def table(self, header: list[str]) -> Table:
        """The table; the first line is a row of it if its cells are words of their columns."""
        if self.names is not None and self._has_words(header):
            self._prepend(header)
        if not self.lines:
            raise DataError(f"{self.source} has no rows of numbers")
        table = np.array(self.values).reshape(-1, self.width)
        categories: list[tuple[str, ...] | None] = [None] * self.width
        for column, coding in self.codings.items():
            categories[column], values = coding.final()
            table[:, column] = values[table[:, column].astype(np.int64)]
        return Table(table, self.names, self.lines, tuple(categories) if any(categories) else None)

    def _has_words(self, header: list[str]) -> bool:
        """True if all columns hold words, and one of the header's is among those of its column."""
        if not self.lines and self.words.known is not None and len(header) == self.width:
            self.codings = self.words.codings(header, self.source)
        pairs = [(cell, self.codings.get(column)) for column, cell in enumerate(header)]
        if any(coding is None or coding.final()[0] is None for _, coding in pairs):
            return False
        return any(coding is not None and cell in coding for cell, coding in pairs)

    def _prepend(self, header: list[str]) -> None:
        """Put the first line before the rows that were read already."""
        self.names = None
        try:
            first = array("d", [self._value(i, cell) for i, cell in enumerate(header)])
        except ValueError as error:
            raise self._fault(header, f"{self.source}, line 1") from error
        self.values, self.lines = first + self.values, array("q", [1]) + self.lines

    def _value(self, column: int, cell: str) -> float:
        coding = self.codings.get(column)
        return float(cell) if coding is None else coding.code(cell)

    def _fault(self, cells: list[str], where: str) -> DataError:
        """The error for the first cell of a line that cannot be used."""
        for column, cell in enumerate(cells):
            name = self.names[column] if self.names else None
            cell_name = f"{where}, {location(None, column, name)}"
            if column not in self.codings and as_number(cell) is None:
                remedy = REMEDY if self.words.known is None else NO_WORDS
                reason = f"{cell[:60]!r}, which is not a number; {remedy}"
                return DataError(f"{cell_name}: {reason if cell.strip() else 'an empty cell'}")
            try:
                self._value(column, cell)
            except ValueError as error:
                return DataError(f"{cell_name}: {error}")
        return DataError(f"{where} cannot be read")  # pragma: no cover


def _cells(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    """The cells of each line; those between spaces may be any number of spaces apart."""
    if delimiter == " ":
        return (line.split() for line in lines)
    return csv.reader(lines, delimiter=delimiter)
