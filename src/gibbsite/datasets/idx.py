"""IDX files, the format of MNIST, compressed or not."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np

from gibbsite.datasets.limits import check_packed, check_table
from gibbsite.errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_LONGEST_HEADER = 4 + 4 * 255


def parse_idx(content: bytes, source: str) -> np.ndarray:
    """The array in IDX bytes: two zero bytes, a type, a number of axes, their sizes, the data."""
    dtype, shape, start = _header(content, source)
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise DataError(
            f"{source}: its IDX header promises {expected:,} bytes for shape {shape}, "
            f"the file has {len(content):,}"
        )
    flat = np.frombuffer(content, dtype, offset=start)
    return flat.reshape(shape).astype(dtype.newbyteorder("="))


def read_idx(path: Path) -> np.ndarray:
    """The array of an IDX file."""
    with path.open("rb") as file:
        _checked_header(file, path)
    return parse_idx(path.read_bytes(), str(path))


def read_gzip_idx(path: Path) -> np.ndarray:
    """The array in a gzip IDX file, unpacked to the size in its header at most."""
    with gzip.open(path) as file:
        dtype, shape, start = _checked_header(file, path)
    size = start + math.prod(shape) * dtype.itemsize
    check_packed(str(path), size, path.stat().st_size, lambda: gzip.GzipFile(path))
    with gzip.open(path) as file:
        return parse_idx(file.read(size + 1), str(path))


def _checked_header(file: Any, path: Path) -> tuple[np.dtype, tuple[int, ...], int]:
    """The header of an array of rows or images, else `DataError`."""
    dtype, shape, start = _header(file.read(_LONGEST_HEADER), str(path))
    check_table(dtype, shape, str(path))
    return dtype, shape, start


def _header(content: bytes, source: str) -> tuple[np.dtype, tuple[int, ...], int]:
    """Dtype and shape of the array, and the offset of its data."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES:
        raise DataError(f"{source} is not an IDX file: it starts with {content[:4]!r}")
    axes = content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise DataError(f"{source} ends within its IDX header")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", axes, 4))
    return np.dtype(_TYPES[content[2]]), shape, start
