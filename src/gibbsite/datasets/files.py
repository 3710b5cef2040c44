"""Data files: arrays, tables, IDX, and folders of images."""

from __future__ import annotations

import csv
import gzip
import importlib
import zipfile
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gibbsite.datasets.base import Dataset
from gibbsite.datasets.images import ImageSize, read_folder
from gibbsite.datasets.tables import parse_table
from gibbsite.errors import DataError
from gibbsite.io import write_atomically
from gibbsite.rows import Rows

Arrays = tuple[Any, Any]  # to train on, and to test on or None
Shaped = tuple[Tensor | Rows, ImageSize | None]

LARGE_BYTES = 2**28
"""Tables that as float32 were larger stay on disk."""

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


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
    [0, 1] are meant for Bernoulli units, others for Gaussian ones.
    """
    train, test = _read_arrays(path, key, resize)
    rows, shape = to_rows(train, str(path))
    held_out = None if test is None else _dense(to_rows(test, f"{path}, test")[0])
    if held_out is not None and held_out.shape[1] != rows.shape[1]:
        raise DataError(f"{path}: train has {rows.shape[1]} columns, test {held_out.shape[1]}")
    blocks = rows.blocks() if isinstance(rows, Rows) else [rows]
    unit = all(bool(((block >= 0) & (block <= 1)).all()) for block in blocks)
    return Dataset(
        name=path.resolve().name.split(".")[0],
        rows=rows,
        test=held_out,
        visible="bernoulli" if unit else "gaussian",
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
    return torch.from_numpy(table.astype(np.float32)), shape


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


def _dense(rows: Tensor | Rows) -> Tensor:
    return rows.dense() if isinstance(rows, Rows) else rows


def _above_one(table: np.ndarray) -> bool:
    """Whether bytes are grey levels; looks at a part at a time, for what is on disk."""
    step = max(1, LARGE_BYTES // table.shape[1])
    return any(table[i : i + step].max() > 1 for i in range(0, len(table), step))


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
    except (
        OSError,
        EOFError,
        ValueError,
        MemoryError,
        KeyError,
        RuntimeError,
        NotImplementedError,
        zlib.error,
        zipfile.BadZipFile,
        csv.Error,
    ) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read: {str(error) or type(error).__name__}") from error


def _read_kind(path: Path, suffix: str, key: str | None) -> Arrays:
    if suffix == ".npy":
        return np.load(path, mmap_mode="r", allow_pickle=False), None
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return _pick(path, arrays, key)
    if suffix in (".h5", ".hdf5"):
        with _extra("h5py", path).File(path) as file:
            names = [name for name, item in file.items() if hasattr(item, "dtype")]
            return _pick(path, {name: file[name] for name in names}, key)
    if suffix == ".parquet":
        return _read_parquet(path), None
    if suffix in (".csv", ".tsv"):
        with path.open(newline="", encoding="utf-8-sig") as text:
            return parse_table(text, str(path)), None
    if suffix == ".gz":
        return parse_idx(gzip.decompress(path.read_bytes()), str(path)), None
    if "idx" in path.name:
        return parse_idx(path.read_bytes(), str(path)), None
    raise DataError(
        f"{path}: unknown kind of file; use .npy, .npz, .csv, .tsv, .parquet, .h5, IDX (.gz) or a "
        "folder of images"
    )


def _pick(path: Path, arrays: Any, key: str | None) -> Arrays:
    """The array named; or `train` and `test`; or the only one."""
    names = list(arrays)
    if key is not None and key in names:
        return arrays[key][:], None
    if key is None and "train" in names:
        return arrays["train"][:], arrays["test"][:] if "test" in names else None
    if key is None and len(names) == 1:
        return arrays[names[0]][:], None
    raise DataError(
        f"{path} holds the arrays {', '.join(names) or '(none)'}; name one of them by key, or call "
        "them train and test"
    )


def _read_parquet(path: Path) -> np.ndarray:
    parquet = _extra("pyarrow", path, "pyarrow.parquet")
    table = parquet.read_table(path)
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
