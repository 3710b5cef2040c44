"""Parquet files of numbers, checked by schema and page before their columns are unpacked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from gibbsite.datasets.limits import LARGE_BYTES, LARGE_RATIO, check_bytes
from gibbsite.errors import DataError, location

LARGEST_PAGE = 2**26
"""Most bytes of a page of a column; a page is unpacked whole."""

_BATCH_ROWS = 2**14
_PAGES, _BYTES_PER_PAGE = 10_000, 200
_HEADER_BYTES = 2**16
_LIMITS = {"thrift_string_size_limit": 2**24, "thrift_container_size_limit": 10**5}


def read_parquet(path: Path, arrow: Any, parquet: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Array of all columns, (rows, columns), and the names of the columns."""
    with parquet.ParquetFile(path, **_LIMITS) as file:
        names = tuple(file.schema_arrow.names)
        dtype = _common_type(path, file.schema_arrow, arrow)
        rows = file.metadata.num_rows
        size = rows * len(names) * dtype.itemsize
        check_bytes(str(path), size)
        _check_chunks(path, file.metadata)
        if size > LARGE_BYTES and size > LARGE_RATIO * path.stat().st_size:
            for _ in _batches(path, file, rows):  # raises before memory is allocated
                pass
        table = np.empty((rows, len(names)), dtype)
        for start, columns in _batches(path, file, rows):
            for index, values in enumerate(columns):
                table[start : start + len(values), index] = values
    return table, names


def _common_type(path: Path, schema: Any, arrow: Any) -> np.dtype:
    """The numpy type that holds every column, all of which must be numbers."""
    if not schema.names:
        raise DataError(f"{path} has no columns")
    kinds = (arrow.types.is_integer, arrow.types.is_floating, arrow.types.is_boolean)
    for index, field in enumerate(schema):
        if not any(is_kind(field.type) for is_kind in kinds):
            kind = str(field.type)
            where = location(None, index, field.name)
            raise DataError(
                f"{path}, {where} holds {kind[:60]}, expected numbers; leave it out or write it "
                "as numbers"
            )
    return np.result_type(*(field.type.to_pandas_dtype() for field in schema))


def _batches(path: Path, file: Any, rows: int) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Batches of rows, each with the index of its first row; raises for missing values."""
    start = 0
    per_batch = max(1, min(_BATCH_ROWS, 2**22 // len(file.schema_arrow)))
    for batch in file.iter_batches(per_batch):
        for index, column in enumerate(batch.columns):
            if column.null_count:
                row = start + column.is_null().to_pylist().index(True)
                where = location(row, index, batch.schema.names[index])
                raise DataError(f"{path}, {where}: a missing value; fill it or leave the row out")
        if start + batch.num_rows > rows:
            break
        yield start, [column.to_numpy(zero_copy_only=False) for column in batch.columns]
        start += batch.num_rows
    if start != rows:
        raise DataError(f"{path} promises {rows:,} rows and holds another number; damaged")


def _check_chunks(path: Path, metadata: Any) -> None:
    """Refuse columns kept in other files, and pages that unpack to more than a page may."""
    size = path.stat().st_size
    pages_left = _PAGES + size // _BYTES_PER_PAGE
    groups, columns = range(metadata.num_row_groups), range(metadata.num_columns)
    with path.open("rb") as file:
        for group, column in itertools.product(groups, columns):
            chunk = metadata.row_group(group).column(column)
            if chunk.file_path:
                raise DataError(f"{path}: its columns are in other files, which are not read")
            starts = (chunk.data_page_offset, chunk.dictionary_page_offset)
            start = min(offset for offset in starts if offset)
            for unpacked in _page_sizes(file, start, chunk.total_compressed_size):
                pages_left -= 1
                if not 0 <= unpacked <= LARGEST_PAGE or pages_left < 0:
                    fault = "many" if pages_left < 0 else "large"
                    raise DataError(
                        f"{path}, {location(None, column)} has pages that are too {fault}; write "
                        "it again with common settings"
                    )


def _page_sizes(file: IO[bytes], start: int, size: int) -> Iterator[int]:
    """Unpacked sizes of the consecutive pages in `size` bytes of the file from `start` on."""
    end = start + size
    while start < end:
        file.seek(start)
        reader = _Compact(file.read(min(_HEADER_BYTES, end - start)))
        fields = reader.struct()
        if not {2, 3} <= fields.keys() or fields[3] < 0:
            raise DataError("a page has no header that can be read")
        yield fields[2]
        start += reader.position + fields[3]


class _Compact:
    """Reader of the part of Thrift's compact protocol that page headers use.

    Source: Apache Thrift, Thrift Compact protocol; Apache Parquet, parquet.thrift, PageHeader.
    """

    def __init__(self, content: bytes) -> None:
        self.content, self.position = content, 0

    def struct(self, depth: int = 0) -> dict[int, int]:
        """Integers of a struct by field; other fields are skipped."""
        if depth > 8:
            raise DataError("a page header is nested too deep")
        fields: dict[int, int] = {}
        field = 0
        while byte := self._byte():
            step, kind = byte >> 4, byte & 15
            field = field + step if step else self._integer()
            if kind in (3, 4, 5, 6):
                fields[field] = self._integer() if kind > 3 else self._byte()
            else:
                self._skip(kind, depth)
        return fields

    def _skip(self, kind: int, depth: int) -> None:
        if kind == 7:
            self.position += 8
        elif kind == 8:
            length = self._varint()
            self.position += length
        elif kind in (9, 10):
            head = self._byte()
            for _ in range(self._varint() if head >> 4 == 15 else head >> 4):
                self._skip_element(head & 15, depth)
        elif kind == 12:
            self.struct(depth + 1)
        elif kind not in (1, 2):  # true and false have no content
            raise DataError(f"a page header has a field of unknown kind {kind}")

    def _skip_element(self, kind: int, depth: int) -> None:
        if kind in (1, 2, 3):
            self.position += 1
        elif kind in (4, 5, 6):
            self._varint()
        else:
            self._skip(kind, depth)

    def _byte(self) -> int:
        self.position += 1
        return self.content[self.position - 1]

    def _varint(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise DataError("a page header holds a number of too many bytes")

    def _integer(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
