"""Data files: arrays, tables, IDX, and folders of images."""

from __future__ import annotations

import csv
import importlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from gibbsite.checks import check_file, not_finite
from gibbsite.datasets.archives import read_hdf5, read_npz
from gibbsite.datasets.base import Dataset
from gibbsite.datasets.categories import Categories, decode
from gibbsite.datasets.idx import read_gzip_idx, read_idx
from gibbsite.datasets.images import ImageSize, read_folder
from gibbsite.datasets.limits import check_table
from gibbsite.datasets.parquet import read_parquet
from gibbsite.datasets.tables import Words, read_table
from gibbsite.errors import ArgumentError, DataError, EntryError, GibbsiteError, location
from gibbsite.io import write_atomically
from gibbsite.layers import column_types
from gibbsite.rows import Rows

Shaped = tuple[Tensor | Rows, ImageSize | None]

LARGE_BYTES = 2**28
"""Size in float32 beyond which data stay on disk."""

ROUNDED = 1e-5
"""Share of a column's standard deviation by which float32 may move its entries."""

LARGEST = float(torch.finfo(torch.float32).max)
KEYED = (".npz", ".h5", ".hdf5")
"""Endings of files that hold arrays by name."""

TEXTS = (".csv", ".tsv", ".txt")


@dataclass(frozen=True)
class Source:
    """Arrays as they are in a file, with names and lines for messages.

    Attributes:
        train, test, valid: to train on, and to test on and to steer by or None.
        names: of the columns. lines: of a text file, one for each row.
        categories: the words of columns of words, which are codes here.
    """

    train: np.ndarray
    test: np.ndarray | None = None
    valid: np.ndarray | None = None
    names: tuple[str, ...] | None = None
    lines: Sequence[int] | None = None
    categories: Categories | None = None


def read(
    path: Path,
    key: str | None = None,
    resize: ImageSize | None = None,
    visible: str | None = None,
    categories: Categories | None = None,
) -> Dataset:
    """Read a data file or folder; the kind follows from its name.

    - .npy: an array of (rows, columns), or (rows, height, width) for images; a large one stays on
      disk and is read row by row;
    - .npz, .h5, .hdf5: the array named `key`; without it arrays ``train`` and, if
      there, ``test`` and ``valid`` (rows to steer training by), or the only array;
    - .csv, .tsv, .txt, and these with .gz behind: numbers, with a first line of names or without;
      separator ``,`` ``;`` tab or spaces; a column of words becomes codes, the index of each word
      in the sorted words of the column, which are ``Dataset.categories``. Where `visible` says
      categorical one word is enough, else a column of words and numbers is refused;
    - .parquet: columns of numbers;
    - a folder: its images in the order of their names, grey, all of one size or made so by
      `resize` (height, width); images of over 8 bits keep their precision, transparency is white;
    - anything with "idx" in its name, or .gz: IDX as MNIST has it.

    8-bit unsigned integers above 1 are taken for grey levels and divided by 255, unless `visible`
    names units of codes or counts. Without `visible`, values all within [0, 1] are meant for
    Bernoulli units, all -1 or 1 for Spin ones, others for Gaussian ones; if there are columns of
    words, each column for itself. The size that a file declares is compared with the memory before
    any of it is unpacked. Nothing outside the file is read: no links, no external storage, no FIFO,
    no device.

    Args:
        visible: type of the units that the rows are for: a name of `gibbsite.layers.LAYERS`, or
            several by column (`gibbsite.layers.column_types`); None: as the values say.
        categories: words of each column in the order of their codes, None for one of numbers, as
            ``Dataset.categories`` of other data; any other word is then refused.

    Raises `DataError`, with the file, the line or row and the column counted from 1 where one entry
    is at fault, and `TooLargeError`.
    """
    source = _read_source(path, key, resize, Words(visible, categories))
    width = int(np.prod(source.train.shape[1:]))
    kinds = [] if visible is None else column_types(visible, width)
    whole = source.categories is not None or any(kind.whole for kind, _ in kinds)
    rows, shape = to_rows(source.train, str(path), source, whole)
    held_out: dict[str, Tensor] = {}
    for name, array in (("test", source.test), ("valid", source.valid)):
        if array is None:
            continue
        part = Rows.of(to_rows(array, f"{path}, {name}", source, whole)[0]).dense()
        if part.shape[1] != rows.shape[1]:
            raise DataError(f"{path}: train has {rows.shape[1]} columns, {name} {part.shape[1]}")
        held_out[name] = part
    return Dataset(
        name=path.resolve().name.split(".")[0],
        rows=rows,
        test=held_out.get("test"),
        visible=visible or suggest(rows, source.categories),
        image_shape=shape,
        description=f"{path.name}, {len(rows):,} x {rows.shape[1]}",
        columns=source.names,
        categories=source.categories,
        valid=held_out.get("valid"),
    )


def to_rows(
    array: np.ndarray, source: str, known: Source | None = None, whole: bool = False
) -> Shaped:
    """(rows, columns), and the image shape if the array was (rows, height, width).

    In float32, or in float64 where that would cost digits that matter. Grey levels stay bytes and
    large arrays where they are, as `Rows`; so do `whole` numbers, as integers of few bytes. Raises
    `EntryError`, with what is `known` of its location, for a value that is not finite in float32.
    """
    check_table(array.dtype, array.shape, source)
    shape = (array.shape[1], array.shape[2]) if array.ndim == 3 else None
    table = Rows(array.reshape(len(array), -1))
    _check_finite(table, source, known or Source(array))
    if whole and (integers := _integers(table)) is not None:
        return Rows(integers), shape
    if array.dtype == np.uint8 and _extremes(table)[1] > 1:
        return Rows(table.source, scale=1 / 255), shape
    if 4 * table.source.size > LARGE_BYTES:
        return table, shape
    kind = np.float64 if _needs_double(table.source) else np.float32
    return torch.from_numpy(table.source.astype(kind)), shape


def _integers(table: Rows) -> np.ndarray | None:
    """Whole numbers in the smallest type that holds them; None for others, and large arrays."""
    values = table.source
    if values.dtype.kind == "b" or values.dtype == np.uint8:
        return values  # type: ignore[no-any-return]
    least, most = _extremes(table)
    if 4 * values.size > LARGE_BYTES or not -(2**31) <= least <= most < 2**31:
        return None
    if values.dtype.kind == "f" and not bool((values == np.floor(values)).all()):
        return None
    kinds = (np.uint8, np.int16, np.int32)
    fitting = (k for k in kinds if np.iinfo(k).min <= least and most <= np.iinfo(k).max)
    return values.astype(next(fitting))  # type: ignore[no-any-return]


def _needs_double(table: np.ndarray) -> bool:
    """True if float32 moves an entry by over 1e-5 of its column's standard deviation.

    So it does with times in seconds, ids, or anything else far from 0 for its deviation.
    """
    if table.dtype.itemsize < 4 or table.dtype == np.float32:
        return False
    exact = table.astype(np.float64)
    rounding, deviation = abs(exact - table.astype(np.float32)).max(0), exact.std(0)
    varies = deviation > 1e-12 * abs(exact).max(0)
    return bool((rounding[varies] > ROUNDED * deviation[varies]).any())


def _check_finite(table: Rows, source: str, known: Source) -> None:
    """Raise a `DataError` that names the first value that is not finite in float32."""
    if table.source.dtype.kind != "f":
        return
    least, most = _extremes(table)
    if least >= -LARGEST and most <= LARGEST:
        return
    start = 0
    for part in table.source_blocks(LARGE_BYTES):
        bad = np.argwhere(~(abs(part) <= LARGEST))
        if len(bad):
            row, column = start + int(bad[0, 0]), int(bad[0, 1])
            fault, remedy = not_finite(float(part[bad[0, 0], column]))
            name = known.names[column] if known.names else None
            if known.lines is None:
                raise EntryError(fault, row, column, remedy, source=source, name=name)
            where = f"line {known.lines[row]}, {location(None, column, name)}"
            raise DataError(f"{source}, {where}: {fault}; {remedy}")
        start += len(part)


def _read_source(path: Path, key: str | None, resize: ImageSize | None, words: Words) -> Source:
    """The arrays to train on and, where the file says so, to test on."""
    suffix = path.suffix.lower()
    if key is not None and suffix not in KEYED:
        raise DataError(f"{path} has no named arrays; key={key!r} is for .npz and .h5")
    if path.is_dir():
        return Source(read_folder(path, resize))
    if resize is not None:
        raise DataError(f"{path} is no folder of images; resize is for those")
    check_file(path)
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty")
        return _read_kind(path, suffix, key, words)
    except ArgumentError:
        raise
    except GibbsiteError as error:
        raise error if str(path) in str(error) else DataError(f"{path}: {error}") from error
    except Exception as error:  # a damaged file makes the readers of its format raise anything
        reason = str(error) or type(error).__name__
        raise DataError(f"{path} cannot be read: {reason}") from error


def _read_kind(path: Path, suffix: str, key: str | None, words: Words) -> Source:
    if suffix == ".npy":
        return Source(_map_npy(path))
    if suffix == ".npz":
        return Source(*read_npz(path, key))
    if suffix in (".h5", ".hdf5"):
        return Source(*read_hdf5(path, key, _extra("h5py", path)))
    if suffix == ".parquet":
        parquet = _extra("pyarrow", path, "pyarrow.parquet")
        table, names = read_parquet(path, _extra("pyarrow", path), parquet)
        return Source(table, names=names)
    if suffix in TEXTS or (suffix == ".gz" and Path(path.stem).suffix.lower() in TEXTS):
        text = read_table(path, words)
        return Source(text.values, names=text.names, lines=text.lines, categories=text.categories)
    if suffix == ".gz":
        return Source(read_gzip_idx(path))
    if "idx" in path.name:
        return Source(read_idx(path))
    raise DataError(
        f"{path}: unknown kind of file; use .npy, .npz, .csv, .tsv, .txt, .parquet, .h5, IDX (.gz) "
        "or a folder of images"
    )


def _map_npy(path: Path) -> np.ndarray:
    """The array of an .npy file, left on disk; not numpy.load, which also opens what is no .npy."""
    return np.lib.format.open_memmap(path, mode="r")


def write_npy(rows: Tensor, path: Path) -> None:
    """Write rows as a .npy array, atomically."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, rows.cpu().numpy(), allow_pickle=False)

    write_atomically(path, write)


def write_csv(
    rows: Tensor,
    path: Path,
    categories: Categories | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """Write rows as comma-separated values, atomically.

    Without a header, unless there are names; words for codes in columns that have `categories`.
    """
    cells = decode(rows.tolist(), categories or (None,) * rows.shape[1])

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([names, *cells] if names else cells)

    write_atomically(path, write)


def suggest(rows: Tensor | Rows, categories: Categories | None = None) -> str:
    """Type of the units that values are meant for; by column where some have categories."""
    if categories is None:
        return _suggest(rows)
    by_column = [
        _suggest(column[:, None]) if words is None else "categorical"
        for column, words in zip(Rows.of(rows).dense().T, categories, strict=True)
    ]
    runs = [(name, len(list(run))) for name, run in itertools.groupby(by_column)]
    return runs[0][0] if len(runs) == 1 else ",".join(f"{name}:{n}" for name, n in runs)


def _suggest(rows: Tensor | Rows) -> str:
    table = Rows.of(rows)
    if table.source.dtype == np.uint8:  # grey levels, divided by 255, or none above 1
        return "bernoulli"
    least, most = _extremes(table)
    if least >= 0 and most <= 1:
        return "bernoulli"
    if (least, most) != (-1, 1):
        return "gaussian"
    return "spin" if all((abs(x) == 1).all() for x in table.source_blocks()) else "gaussian"


def _extremes(rows: Rows) -> tuple[float, float]:
    """The least and the greatest value of the source; NaN if there is one."""
    ends = np.array([(part.min(), part.max()) for part in rows.source_blocks(LARGE_BYTES)], float)
    return float(ends[:, 0].min()), float(ends[:, 1].max())


def _extra(package: str, path: Path, module: str | None = None) -> ModuleType:
    """A package that only some kinds of file need."""
    try:
        return importlib.import_module(module or package)
    except ImportError as error:
        raise DataError(
            f"{path} needs the package {package}: pip install 'gibbsite[files]'"
        ) from error
