"""Data kept in their own format (bytes, sparse, on disk), converted a few rows at a time."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gibbsite import ops
from gibbsite.checks import (
    as_array,
    check_memory,
    check_tensor,
    check_unmasked,
    from_numpy,
)
from gibbsite.errors import DataError, RowError

BLOCK_BYTES = 2**25

KERNEL_DTYPES = np.uint8, np.float32, np.float64
"""Dtypes of sources that the kernels gather rows of."""

WIDE_INTEGERS = {torch.int32, torch.int64, torch.uint32, torch.uint64}
"""Integers that float32 does not hold exactly."""


@dataclass(frozen=True)
class MappedFile:
    """Identity and size of a file when it was mapped; reading beyond its end kills the process.

    Attributes:
        path: of the file.
        stamp: device, inode and time of change.
        end: offset in the file of the end of the mapped memory, in bytes.
    """

    path: Path
    stamp: tuple[int, int, int]
    end: int

    @classmethod
    def of(cls, source: Any) -> MappedFile | None:
        """The file that an array is mapped from; None if there is none."""
        memory, array = _mapping(source)
        if memory is None or array is None or array.filename is None:
            return None
        path = Path(array.filename)
        start = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
        try:
            return cls(path, _stamp(path), start + len(memory))
        except OSError:  # removed, which leaves the mapping as it is
            return cls(path, (0, 0, 0), start + len(memory))

    def check(self, source: Any) -> None:
        """Raise `DataError` if the file is shorter than it was, or was written to."""
        memory, _ = _mapping(source)
        size = self.end if memory is None else memory.size()
        try:
            now = _stamp(self.path)
        except OSError:
            now = self.stamp
        replaced = now[:2] != self.stamp[:2]  # by another file: ours is still mapped
        if size < self.end or (now != self.stamp and not replaced):
            raise DataError(
                f"{self.path} was changed while it was read ({size:,} bytes, {self.end:,} needed); "
                "restore it, and start again or go on from the last checkpoint"
            )


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _mapping(source: Any) -> tuple[mmap.mmap | None, np.memmap | None]:
    """The mapped memory behind an array, and the `np.memmap` that was made of it."""
    array = None
    while source is not None and not isinstance(source, mmap.mmap):
        array = source if isinstance(source, np.memmap) else array
        source = getattr(source, "base", None)
    return source, array


@dataclass(frozen=True, eq=False)
class Rows:
    """A 2-d array of which only the rows asked for become a float tensor.

    ``rows[index]``, with a slice, a list or a tensor of row indices, is shift + scale * those rows,
    float32 (float64 if the source is, or holds integers of over 16 bits); with one index it is that
    row. Negative indices count from the end; those out of range raise `RowError`. A 20 GB file or
    a sparse matrix is thus trained on in the memory of a minibatch.

    A file that is mapped into memory must not change: it is checked before each access, and
    `DataError` raised if it has. In the microseconds between check and access a file that is cut
    short still ends the process (SIGBUS).

    Attributes:
        source: (rows, columns): tensor, numpy array (memory-mapped or not) or scipy sparse matrix.
        scale, shift: scalars, or tensors of shape (columns,); 1/255 makes grey levels of bytes.
        chosen: indices of the source's rows to keep, in order; None for all.
        drawn: whether `fit` draws a state from values between states, as a 0 or 1 with such a
            probability, anew at each visit. Without, it takes them as they are, which maximises
            -F(v) - log Z of the rows as given: for binary units a lower bound of the mean
            log-likelihood of draws, since -F is convex.

    >>> import numpy as np, gibbsite as gb
    >>> images = gb.Rows(np.array([[0, 255], [51, 0]], dtype=np.uint8), scale=1 / 255)
    >>> images.shape, images[1:]
    ((2, 2), tensor([[0.2000, 0.0000]]))
    """

    source: Any
    scale: float | Tensor = 1.0
    shift: float | Tensor = 0.0
    chosen: Tensor | None = None
    drawn: bool = True
    _file: MappedFile | None = field(default=None, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        sparse = hasattr(self.source, "tocsr")
        if not (sparse or isinstance(self.source, Tensor | np.ndarray)):
            raise DataError(
                f"a source of type {type(self.source).__name__}: expected a tensor, a numpy array "
                "or a scipy sparse matrix"
            )
        shape = tuple(self.source.shape)
        if len(shape) != 2 or 0 in shape:
            raise DataError(f"a source of shape {shape}: expected (rows, columns), not empty")
        if not _is_real(self.source.dtype):
            raise DataError(f"a source of {self.source.dtype}: expected real numbers")
        if isinstance(self.source, Tensor):
            check_tensor(self.source)
        check_unmasked(self.source)
        for name in ("scale", "shift"):
            value = getattr(self, name)
            if isinstance(value, Tensor) and tuple(value.shape) not in ((), shape[1:]):
                raise DataError(
                    f"{name} of shape {tuple(value.shape)}: expected a number or {shape[1:]}"
                )
            if not bool(torch.as_tensor(value).isfinite().all()):
                raise DataError(f"{name}={value}: expected finite numbers")
        if self.chosen is not None:
            object.__setattr__(self, "chosen", _check_chosen(self.chosen, shape[0]))
        if sparse:  # other sparse formats cannot give single rows
            object.__setattr__(self, "source", _checked_csr(self.source))
        if self._file is None:
            object.__setattr__(self, "_file", MappedFile.of(self.source))

    @classmethod
    def of(cls, data: Any) -> Rows:
        """`Rows` of an array, tensor, sparse matrix or nested list; `Rows` are returned as is."""
        if isinstance(data, Rows):
            return data
        return cls(data if isinstance(data, Tensor) or hasattr(data, "tocsr") else as_array(data))

    def __len__(self) -> int:
        return int(self.source.shape[0]) if self.chosen is None else len(self.chosen)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return len(self), int(self.source.shape[1])

    @property
    def device(self) -> torch.device:
        """Device of the rows."""
        return self.source.device if isinstance(self.source, Tensor) else torch.device("cpu")

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray | Tensor) -> Tensor:
        if isinstance(index, slice) and (index.step is None or index.step > 0):
            return self.at(index)
        if isinstance(index, slice):
            index = torch.arange(*index.indices(len(self)))
        one = np.ndim(index) == 0
        n = len(self)
        index = _row_indices("index", [index] if one else index, n, least=-n)
        rows = self.at(torch.where(index < 0, index + n, index))
        return rows[0] if one else rows

    def __iter__(self) -> Iterator[Tensor]:
        for block in self.blocks():
            yield from block

    def at(self, index: slice | Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """A new tensor of the rows at indices, int64 from 0, which are not checked.

        With dtype float32 a source of float64 may be rounded to it at once, which is faster.
        """
        index = self._source_index(index)
        arrays = self._kernel_arrays(index)
        gathered = None if arrays is None else self._gather(*arrays, dtype == torch.float32)
        if gathered is not None:
            return gathered
        values = self._values(index)
        return values if self._scalars() == (1.0, 0.0) else values * self.scale + self.shift

    def binarised_at(
        self, index: Tensor, generator: torch.Generator | None = None
    ) -> Tensor | None:
        """Zeros and ones, float32, drawn with `at(index)` as probabilities; None without kernel."""
        arrays, scalars = self._kernel_arrays(self._source_index(index)), self._scalars()
        if arrays is None or scalars is None:
            return None
        if arrays[0].dtype == np.float64 and scalars != (1.0, 0.0):
            return None
        return ops.kernels_for().gather_and_draw(*arrays, *scalars, generator)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.dense(), dtype)

    def dense(self) -> Tensor:
        """All rows as one tensor."""
        check_memory(f"a table of {self.shape[0]} x {self.shape[1]}", *self.shape)
        return self[:]

    def blocks(self, width: int = 0) -> Iterator[Tensor]:
        """All rows in order, about 32 MiB at a time, or fewer if they become wider later."""
        rows = max(1, BLOCK_BYTES // (4 * max(width, self.shape[1])))
        for start in range(0, len(self), rows):
            yield self[start : start + rows]

    def column_extremes(self) -> Iterator[Tensor]:
        """Rows that span the range of every column: of bytes the extremes of blocks, else all."""
        if not (isinstance(self.source, np.ndarray) and self.source.dtype == np.uint8):
            yield from self.blocks()
            return
        _advise(self.source, scattered=False)
        step = max(1, BLOCK_BYTES // self.shape[1])
        for start in range(0, len(self), step):
            part = self.source[_for_numpy(self._source_index(slice(start, start + step)))]
            yield replace(self, source=np.stack([part.min(0), part.max(0)]), chosen=None)[:]

    def source_blocks(self, size: int = BLOCK_BYTES) -> Iterator[Any]:
        """All of the source in its own format, about `size` bytes at a time."""
        step = max(1, size // (self.source.shape[1] * self.source.dtype.itemsize))
        for start in range(0, self.source.shape[0], step):
            self.check_unchanged()
            yield self.source[start : start + step]

    def check_unchanged(self) -> None:
        """Raise `DataError` if the file that the source is mapped from has changed."""
        if self._file is not None:
            self._file.check(self.source)

    def take(self, index: Tensor) -> Rows:
        """The rows at indices, or of a mask, as `Rows`."""
        index = _row_indices("index", index, len(self))
        return replace(self, chosen=self._source_index(index))

    def affine(self, scale: Tensor, shift: Tensor) -> Rows:
        """shift + scale * rows, as `Rows`; scale and shift are (columns,)."""
        return replace(self, scale=scale * self.scale, shift=shift + scale * self.shift)

    def spaced_index(self, limit: int = 2**22) -> Tensor:
        """Indices of evenly spaced rows, which together have about `limit` entries."""
        rows, columns = self.shape
        stride = -(-rows * columns // limit)
        return torch.arange(0, rows, max(1, stride))

    def _source_index(self, index: Any) -> Any:
        """An index into the source for one into the rows; raises if its file has changed."""
        self.check_unchanged()
        return index if self.chosen is None else self.chosen[index]

    def _scalars(self) -> tuple[float, float] | None:
        """Scale and shift as scalars, unless they differ from column to column."""
        scale, shift = self.scale, self.shift
        both = isinstance(scale, float) and isinstance(shift, float)
        return (float(scale), float(shift)) if both else None

    def _kernel_arrays(self, index: slice | Tensor) -> tuple[np.ndarray, np.ndarray] | None:
        """Source and index as arrays that a kernel can gather rows of, or None."""
        source = self.source
        if not (isinstance(index, Tensor) and index.dtype == torch.int64 and index.ndim == 1):
            return None
        if isinstance(source, Tensor) and source.is_cpu:
            source = source.detach().numpy()
        if not (isinstance(source, np.ndarray) and source.dtype in KERNEL_DTYPES):
            return None
        if not (source.flags.c_contiguous and source.flags.aligned and source.dtype.isnative):
            return None
        _advise(source, scattered=True)
        return np.asarray(source), index.cpu().numpy()

    def _gather(self, source: np.ndarray, index: np.ndarray, single: bool) -> Tensor | None:
        """Rows in float32 by a kernel; those of a float64 source only if `single` and unscaled."""
        scalars = self._scalars()
        double = source.dtype == np.float64
        if scalars is None or (double and not (single and scalars == (1.0, 0.0))):
            return None
        return ops.kernels_for().gather(source, index, *scalars)

    def _values(self, index: slice | Tensor) -> Tensor:
        """Rows of the source before scale and shift, in float32 or float64."""
        if isinstance(self.source, Tensor):
            values = self.source[index]
        else:
            _advise(self.source, scattered=not isinstance(index, slice))
            part = self.source[_for_numpy(index)]
            values = from_numpy(part.toarray() if hasattr(part, "toarray") else part)
        wide = values.dtype == torch.float64 or values.dtype in WIDE_INTEGERS
        return values.double() if wide else values.float()


def _for_numpy(index: slice | Tensor) -> slice | np.ndarray:
    return index if isinstance(index, slice) else index.numpy()


def _check_chosen(chosen: object, n: int) -> Tensor:
    """Indices of chosen rows, of which there are n, else `DataError`."""
    if not isinstance(chosen, Tensor):
        kind = type(chosen).__name__
        raise DataError(f"chosen is a {kind}: expected a tensor of row numbers")
    index = _row_indices("chosen", chosen, n)
    if len(index) == 0:
        raise DataError("no rows chosen: a table has at least one")
    return index


def _row_indices(name: str, index: Any, n: int, least: int = 0) -> Tensor:
    """Indices of n rows, each at least `least`, or a mask of them, as int64; else `DataError`."""
    if isinstance(index, tuple):
        raise DataError(f"{name} {index}: expected one row number, or a list or tensor of them")
    if not isinstance(index, Tensor):
        array = as_array(index)
        index = from_numpy(np.zeros(0, np.int64) if array.size == 0 else array, copy=True)
    check_tensor(index)
    if index.ndim != 1 or index.is_floating_point():
        raise DataError(
            f"{name} of shape {tuple(index.shape)}, {index.dtype}: expected a vector of row "
            "numbers, or of a yes or no for every row"
        )
    if index.dtype == torch.bool:
        if len(index) != n:
            raise DataError(f"{name} says yes or no to {len(index)} rows of {n}; give one each")
        index = index.nonzero()[:, 0]
    checked: Tensor = index.to("cpu", torch.int64)
    wrong = checked[(checked < least) | (checked >= n)]
    if len(wrong):
        raise RowError(
            f"{name} holds row {int(wrong[0])} of a table of {n} rows; expected {least} to {n - 1}"
        )
    return checked


def _checked_csr(source: Any) -> Any:
    """A sparse matrix in CSR form with every index checked, as scipy's own code trusts them."""
    try:
        if source.format == "coo":
            source = type(source)((source.data, source.coords), source.shape)
        elif source.format in ("csr", "csc", "bsr"):
            parts = source.data, source.indices, source.indptr
            source = type(source)(parts, source.shape)
            source.check_format(full_check=True)
        csr = source.tocsr()
        csr.check_format(full_check=True)
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise DataError(f"a sparse matrix with a damaged structure: {error}") from error
    return csr


def _is_real(dtype: Any) -> bool:
    """True if a torch or numpy dtype is one of real numbers."""
    if isinstance(dtype, torch.dtype):
        return not dtype.is_complex
    return np.dtype(dtype).kind in "biuf"


def _advise(source: Any, scattered: bool) -> None:
    """Advise the system that a mapped file will be read in scattered rows, or in order.

    By default it may read megabytes around each row, so that an epoch in random order takes
    hundreds of times as long.
    """
    memory, _ = _mapping(source)
    if memory is not None and hasattr(memory, "madvise"):  # not every system takes advice
        memory.madvise(mmap.MADV_RANDOM if scattered else mmap.MADV_NORMAL)
