"""Data files: .npy, .npz, .csv, .tsv and IDX, compressed or not."""

from __future__ import annotations

import csv
import gzip
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gibbsite.datasets.base import Dataset
from gibbsite.errors import DataError
from gibbsite.io import write_atomically

Rows = tuple[Tensor, tuple[int, int] | None]

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read(path: Path) -> Dataset:
    """Read a data file; the kind follows from its name.

    - .npy: an array of (rows, columns), or (rows, height, width) for images;
    - .npz: arrays ``train`` and, if there, ``test``; or its only array;
    - .csv, .tsv: numbers, with a first line of names or without; separator ``,`` ``;`` or tab;
    - anything with "idx" in its name, or .gz: IDX as MNIST has it.

    8-bit unsigned integers above 1 are taken for grey levels and divided by 255. Values all within
    [0, 1] are meant for Bernoulli units, others for Gaussian ones.
    """
    train, test = _read_arrays(path)
    rows, shape = to_rows(train, str(path))
    held_out = None if test is None else to_rows(test, f"{path}, test")[0]
    if held_out is not None and held_out.shape[1] != rows.shape[1]:
        raise DataError(f"{path}: train has {rows.shape[1]} columns, test {held_out.shape[1]}")
    unit = bool(((rows >= 0) & (rows <= 1)).all())
    return Dataset(
        name=path.name.split(".")[0],
        train=rows,
        test=held_out,
        visible="bernoulli" if unit else "gaussian",
        image_shape=shape,
        description=f"{path.name}, {len(rows):,} x {rows.shape[1]}",
    )


def to_rows(array: np.ndarray, source: str) -> Rows:
    """(rows, columns) in float32, and the image shape if the array was (rows, height, width)."""
    if array.dtype.kind not in "biuf":
        raise DataError(f"{source} holds {array.dtype}, expected numbers")
    if array.ndim not in (2, 3) or array.size == 0:
        raise DataError(
            f"{source} has shape {array.shape}, expected (rows, columns) or (rows, height, width), "
            "with at least one row and column"
        )
    grey = array.dtype == np.uint8 and array.max() > 1
    rows = torch.from_numpy(array.reshape(len(array), -1).astype(np.float32))
    shape = (array.shape[1], array.shape[2]) if array.ndim == 3 else None
    return (rows / 255 if grey else rows), shape


def parse_idx(content: bytes, source: str) -> np.ndarray:
    """The array in IDX bytes: two zero bytes, a type, a number of axes, their sizes, the data."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_TYPES:
        raise DataError(f"{source} is not an IDX file: it starts with {content[:4]!r}")
    dtype, axes = np.dtype(_IDX_TYPES[content[2]]), content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise DataError(f"{source} ends within its IDX header")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", axes, 4))
    expected = start + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(content) != expected:
        raise DataError(
            f"{source}: its IDX header promises {expected:,} bytes for shape {shape}, "
            f"the file has {len(content):,}"
        )
    return (
        np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
    )


def write_npy(rows: Tensor, path: Path) -> None:
    """Write rows as a .npy array, atomically."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, rows.cpu().numpy(), allow_pickle=False)

    write_atomically(path, write)


def write_csv(rows: Tensor, path: Path) -> None:
    """Write rows as comma-separated numbers without a header, atomically."""
    text = "\n".join(",".join(f"{value:.9g}" for value in row) for row in rows.tolist())
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n"))


def _read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The arrays to train on and, where the file says so, to test on."""
    if path.is_dir():
        raise DataError(f"{path} is a folder, expected a file")
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty")
        suffix = path.suffix.lower()
        if suffix == ".npy":
            return np.load(path, allow_pickle=False), None
        if suffix == ".npz":
            return _pick(path)
        if suffix in (".csv", ".tsv"):
            with path.open(newline="", encoding="utf-8-sig") as file:
                return _parse_table(file, str(path)), None
        if suffix == ".gz":
            return parse_idx(gzip.decompress(path.read_bytes()), str(path)), None
        if "idx" in path.name:
            return parse_idx(path.read_bytes(), str(path)), None
    except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile, csv.Error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read: {error}") from error
    raise DataError(f"{path}: unknown kind of file; use .npy, .npz, .csv, .tsv or IDX (.gz)")


def _pick(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """`train` and `test` of an .npz file, or its only array."""
    with np.load(path, allow_pickle=False) as arrays:
        names = list(arrays)
        if "train" in names:
            return arrays["train"], arrays["test"] if "test" in names else None
        if len(names) == 1:
            return arrays[names[0]], None
    raise DataError(
        f"{path} holds the arrays {', '.join(names) or '(none)'}; expected one array, or arrays "
        "named train and test"
    )


def _parse_table(lines: Iterable[str], source: str) -> np.ndarray:
    """Numbers from delimited text; the first line may hold names."""
    text = iter(lines)
    first = next(text, "")
    delimiter = max(",;\t", key=first.count)
    header = next(csv.reader([first], delimiter=delimiter), [])
    table = []
    if any(_number(cell) is not None for cell in header):
        table.append(_parse_line(header, None, 1, source))
        names = None
    else:
        names = header
    for number, cells in enumerate(csv.reader(text, delimiter=delimiter), start=2):
        if cells:
            if len(cells) != len(header):
                raise DataError(
                    f"{source}, line {number}: {len(cells)} cells, the first line has {len(header)}"
                )
            table.append(_parse_line(cells, names, number, source))
    if not table:
        raise DataError(f"{source} has no rows of numbers")
    return np.array(table)


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
