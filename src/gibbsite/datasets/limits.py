"""Checks of the sizes and types that a file declares, made before any of it is unpacked."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gibbsite.checks import check_memory
from gibbsite.errors import DataError

DEFLATE_RATIO = 1032
"""Greatest ratio of unpacked to packed bytes that deflate can reach."""

LARGE_BYTES, LARGE_RATIO = 2**27, 20
"""Unpacked size, and ratio to the packed one, beyond which a file is unpacked once to check it."""

TRIED_BYTES, TRIED_RATIO = 2**31, 200
"""Unpacked size, and ratio to the packed one, beyond which a file is refused: checks are slow."""

_BLOCK_BYTES = 2**20


def check_table(dtype: Any, shape: tuple[int, ...], source: str) -> None:
    """Raise `DataError` unless dtype and shape are those of real numbers, 2-d, or of images."""
    if np.dtype(dtype).kind not in "biuf":
        raise DataError(f"{source} holds {dtype}, expected numbers")
    if len(shape) not in (2, 3) or 0 in shape:
        raise DataError(
            f"{source} has shape {shape}, expected (rows, columns) or (rows, height, width), "
            "with at least one row and column"
        )


def check_bytes(source: str, size: int) -> None:
    """Raise `TooLargeError` if a file unpacks to more bytes than the memory should hold."""
    check_memory(f"{source}, unpacked,", -(-size // 4))


def array_bytes(dtype: Any, shape: tuple[int, ...]) -> int:
    """Bytes of an array of that dtype and shape."""
    return math.prod(shape) * int(np.dtype(dtype).itemsize)


def check_packed(source: str, size: int, packed: int, start: Callable[[], Any]) -> None:
    """Raise unless `packed` deflated bytes unpack to the `size` bytes that a header declares.

    A size that could fill much memory is checked by unpacking the file once, keeping nothing.
    """
    check_bytes(source, size)
    if size > DEFLATE_RATIO * packed + _BLOCK_BYTES:
        raise DataError(f"{source} promises {size:,} bytes, which {packed:,} packed cannot hold")
    if size > TRIED_BYTES and size > TRIED_RATIO * packed:
        raise DataError(
            f"{source} promises {size:,} bytes, over {TRIED_RATIO} times the {packed:,} packed; if "
            "that is right, unpack it to .npy"
        )
    if size > LARGE_BYTES and size > LARGE_RATIO * packed:
        with start() as file:
            length = unpacked_bytes(file, size)
        if length != size:
            raise DataError(f"{source} promises {size:,} bytes, and holds {length:,} or more")


def unpacked_bytes(file: Any, limit: int) -> int:
    """Number of bytes to be read from a file, counted to just beyond the limit; none are kept."""
    length = 0
    while length <= limit and (block := file.read(_BLOCK_BYTES)):
        length += len(block)
    return length


def join_names(names: list[str]) -> str:
    """The first ten names, for a message."""
    more = f", ... ({len(names):,} in all)" if len(names) > 10 else ""
    return (", ".join(names[:10]) or "(none)") + more


PARTS = ("train", "test", "valid")
"""Names of arrays to train on, to test on, and to steer training by."""


def choose_arrays(path: Path, names: list[str], key: str | None) -> list[str]:
    """Names of the arrays to read: `key`; or `PARTS`, as far as they are there; or the only one."""
    if key is not None:
        chosen = [key] if key in names else []
    elif "train" in names:
        chosen = [name for name in PARTS if name in names]
    else:
        chosen = names if len(names) == 1 else []
    if not chosen:
        raise DataError(
            f"{path} holds the arrays {join_names(names)}; name one of them by key, or call them "
            "train and test"
        )
    return chosen
