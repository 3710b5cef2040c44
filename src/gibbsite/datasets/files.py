"""Data files: arrays, tables, IDX, and folders of images."""

from __future__ import annotations

import gzip
import importlib
import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gibbsite.checks import check_memory
from gibbsite.datasets.base import Dataset
from gibbsite.datasets.images import ImageSize, read_folder
from gibbsite.datasets.tables import parse_table
from gibbsite.errors import DataError, GibbsiteError
from gibbsite.io import write_atomically
from gibbsite.rows import Rows

Arrays = tuple[Any, Any]  # to train on, and to test on or None
Shaped = tuple[Tensor | Rows, ImageSize | None]

LARGE_BYTES = 2**28
"""Tables that as float32 were larger stay on disk."""

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_IDX_LONGEST_HEADER = 4 + 4 * 255


def read(path: Path, key: str | None = None, resize: ImageSize | None = None) -> Dataset:
    """Read a data file or folder; the kind follows from its name.

    - .npy: an array of (rows, columns), or (rows, height, width) for images; a large one stays on
      disk and is read row by row;
    - .npz, .h5, .hdf5: the array named `key`; without it arrays ``train`` and, if there, ``test``,
      or the only array;
    - .csv, .tsv: numbers, with a first line of names or without; separator ``,`` ``;`` or tab;
    - .parquet: columns of numbers;
    - a folder: its images in the order of their names, grey, all of one size or made so by
      `resize` (height, width);
    - anything with "idx" in its name, or .gz: IDX as MNIST has it.

    8-bit unsigned integers above 1 are taken for grey levels and divided by 255. Values all within
    [0, 1] are meant for Bernoulli units, others for Gaussian ones. What a file promises is compared
    with the memory before any of it is unpacked.
    """
    train, test = _read_arrays(path, key, resize)
    rows, shape = to_rows(train, str(path))
    held_out = None if test is None else _dense(to_rows(test, f"{path}, test")[0])
    if held_out is not None and held_out.shape[1] != rows.shape[1]:
        raise DataError(f"{path}: train has {rows.shape[1]} columns, test {held_out.shape[1]}")
    return Dataset(
        name=path.resolve().name.split(".")[0],
        rows=rows,
        test=held_out,
        visible="bernoulli" if _in_unit_interval(rows) else "gaussian",
        image_shape=shape,
        description=f"{path.name}, {len(rows):,} x {rows.shape[1]}",
    )


def to_rows(array: np.ndarray, source: str) -> Shaped:
    """(rows, columns) in float32, and the image shape if the array was (rows, height, width).

    Grey levels stay bytes and large arrays where they are, as `Rows`.
    """
    if array.dtype.kind not in "biuf":
        raise DataError(f"{source} holds {array.dtype}, expected numbers")
    if array.ndim not in (2, 3) or array.size == 0:
        raise DataError(
            f"{source} has shape {array.shape}, expected (rows, columns) or (rows, height, width), "
            "with at least one row and column"
        )
    shape = (array.shape[1], array.shape[2]) if array.ndim == 3 else None
    table = array.reshape(len(array), -1)
    if array.dtype == np.uint8 and _above_one(table):
        return Rows(table, scale=1 / 255), shape
    if 4 * table.size > LARGE_BYTES:
        return Rows(table), shape
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        return torch.from_numpy(table.astype(np.float32)), shape


def parse_idx(content: bytes, source: str) -> np.ndarray:
    """The array in IDX bytes: two zero bytes, a type, a number of axes, their sizes, the data."""
    dtype, shape, start = _idx_header(content, source)
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise DataError(
            f"{source}: its IDX header promises {expected:,} bytes for shape {shape}, "
            f"the file has {len(content):,}"
        )
    return (
        np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
    )


def _idx_header(content: bytes, source: str) -> tuple[np.dtype, tuple[int, ...], int]:
    """Type and shape of the array, and where its data start."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_TYPES:
        raise DataError(f"{source} is not an IDX file: it starts with {content[:4]!r}")
    axes = content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise DataError(f"{source} ends within its IDX header")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", axes, 4))
    return np.dtype(_IDX_TYPES[content[2]]), shape, start


def _read_gzip_idx(path: Path) -> np.ndarray:
    """The array in a compressed IDX file; no more is unpacked than its header promises."""
    with gzip.open(path) as file:
        head = file.read(_IDX_LONGEST_HEADER)
        dtype, shape, start = _idx_header(head, str(path))
        size = start + math.prod(shape) * dtype.itemsize
        _check_bytes(path, size)
        return parse_idx(head + file.read(max(0, size + 1 - len(head))), str(path))


def _check_bytes(path: Path, size: int) -> None:
    """Raise `TooLargeError` if what a file unpacks to is too much for the memory."""
    check_memory(f"{path}, unpacked,", -(-size // 4))


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


def _dense(rows: Tensor | Rows) -> Tensor:
    return rows.dense() if isinstance(rows, Rows) else rows


def _in_unit_interval(rows: Tensor | Rows) -> bool:
    if not isinstance(rows, Rows):
        return bool(rows.min() >= 0) and bool(rows.max() <= 1)
    if rows.source.dtype == np.uint8:  # divided by 255, or none above 1
        return True
    return all(part.min() >= 0 and part.max() <= 1 for part in _parts(rows.source))


def _above_one(table: np.ndarray) -> bool:
    """Whether bytes are grey levels."""
    return any(part.max() > 1 for part in _parts(table))


def _parts(table: np.ndarray) -> Iterator[np.ndarray]:
    """The table as it is kept, a part at a time, for what is on disk."""
    step = max(1, LARGE_BYTES // (table.shape[1] * table.itemsize))
    return (table[start : start + step] for start in range(0, len(table), step))


def _read_arrays(path: Path, key: str | None, resize: ImageSize | None) -> Arrays:
    """The arrays to train on and, where the file says so, to test on."""
    suffix = path.suffix.lower()
    if key is not None and suffix not in (".npz", ".h5", ".hdf5"):
        raise DataError(f"{path} has no named arrays; key={key!r} is for .npz and .h5")
    if path.is_dir():
        return read_folder(path, resize), None
    if resize is not None:
        raise DataError(f"{path} is no folder of images; resize is for those")
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty")
        return _read_kind(path, suffix, key)
    except GibbsiteError:
        raise
    except Exception as error:  # a damaged file makes the readers of its format raise anything
        reason = str(error) or type(error).__name__
        raise DataError(f"{path} cannot be read: {reason}") from error


def _read_kind(path: Path, suffix: str, key: str | None) -> Arrays:
    if suffix == ".npy":
        return np.load(path, mmap_mode="r", allow_pickle=False), None
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            members = arrays.zip.infolist()
            sizes = {info.filename.removesuffix(".npy"): info.file_size for info in members}
            return _pick(path, arrays, sizes, key)
    if suffix in (".h5", ".hdf5"):
        h5py = _extra("h5py", path)
        with h5py.File(path) as file:
            sets = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
            return _pick(path, sets, {name: int(item.nbytes) for name, item in sets.items()}, key)
    if suffix == ".parquet":
        return _read_parquet(path), None
    if suffix in (".csv", ".tsv"):
        with path.open(newline="", encoding="utf-8-sig") as text:
            return parse_table(text, str(path)), None
    if suffix == ".gz":
        return _read_gzip_idx(path), None
    if "idx" in path.name:
        return parse_idx(path.read_bytes(), str(path)), None
    raise DataError(
        f"{path}: unknown kind of file; use .npy, .npz, .csv, .tsv, .parquet, .h5, IDX (.gz) or a "
        "folder of images"
    )


def _pick(path: Path, arrays: Any, sizes: dict[str, int], key: str | None) -> Arrays:
    """The array named; or `train` and `test`; or the only one. Sizes are in bytes."""
    if key is not None:
        names = [key] if key in sizes else []
    elif "train" in sizes:
        names = [name for name in ("train", "test") if name in sizes]
    else:
        names = list(sizes) if len(sizes) == 1 else []
    if not names:
        raise DataError(
            f"{path} holds the arrays {', '.join(sizes) or '(none)'}; name one of them by key, or "
            "call them train and test"
        )
    _check_bytes(path, sum(sizes[name] for name in names))
    train, *test = (np.asarray(arrays[name][:]) for name in names)
    return train, test[0] if test else None


def _read_parquet(path: Path) -> np.ndarray:
    parquet = _extra("pyarrow", path, "pyarrow.parquet")
    with parquet.ParquetFile(path) as file:
        check_memory(str(path), file.metadata.num_rows, file.metadata.num_columns)
        table = file.read()
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count:
            row = column.is_null().to_pylist().index(True)
            raise DataError(f"{path}, row {row}, column {name}: a missing value")
        values = column.to_numpy()
        if values.dtype.kind not in "biuf":
            raise DataError(f"{path}, column {name} holds {column.type}, expected numbers")
        columns.append(values)
    if not columns:
        raise DataError(f"{path} has no columns")
    return np.stack(columns, 1)


def _extra(package: str, path: Path, module: str | None = None) -> ModuleType:
    """A package that only some kinds of file need."""
    try:
        return importlib.import_module(module or package)
    except ImportError as error:
        raise DataError(
            f"{path} needs the package {package}: pip install 'gibbsite[files]'"
        ) from error
