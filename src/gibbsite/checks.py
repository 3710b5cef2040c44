"""Checks and conversions of the arguments and arrays that users pass."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gibbsite.errors import ArgumentError, DataError, TooLargeError

LARGEST_COUNT = 2**62
"""Limit of sizes and loops of torch."""

SMALL_BYTES = 2**24
"""Size that fits wherever the program itself does."""

_CGROUPS = Path("/sys/fs/cgroup")


def check_counts(minimum: int = 1, **values: object) -> None:
    """Raise `ArgumentError` unless every named value is a whole number of at least `minimum`."""
    for name, value in values.items():
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not whole or int(value) < minimum:  # type: ignore[call-overload]
            raise ArgumentError(f"{name}={value!r}: expected a whole number of at least {minimum}")
        if int(value) > LARGEST_COUNT:  # type: ignore[call-overload]
            raise ArgumentError(f"{name}: expected a whole number of at most 2^62; use fewer")


def check_strength(**values: object) -> None:
    """Raise `ArgumentError` unless every named value is a finite number of at least 0."""
    for name, value in values.items():
        if not isinstance(value, Real) or not 0 <= float(value) < math.inf:
            raise ArgumentError(f"{name}={value!r}: expected a finite number of at least 0")


def check_generator(generator: object) -> None:
    """Raise `ArgumentError` unless it is a torch generator or None, for the global one."""
    if not (generator is None or isinstance(generator, torch.Generator)):
        raise ArgumentError(
            f"generator={generator!r}: expected a torch.Generator, such as "
            "torch.Generator().manual_seed(0), or None"
        )


def check_file(path: Path) -> None:
    """Raise `DataError` unless path is a file that ends: no FIFO, device, socket or folder."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise DataError(f"{path} is no regular file, so it may never end; copy it into one")


# memory


def check_memory(what: str, *sizes: int) -> None:
    """Raise `TooLargeError` if prod(sizes) float32 entries need over a quarter of the memory.

    Data that large are copied a few times at least. Memory is that of the machine or of the control
    groups of the process; where other programs use most of it, half of the rest is the limit.
    """
    needed = 4 * math.prod(int(size) for size in sizes)
    for limit, description in _memory_limits():
        if needed > limit:
            raise TooLargeError(
                f"{what} would need {needed / 2**30:,.1f} GiB, over {description}; use fewer"
            )
        if needed <= SMALL_BYTES:
            return


def _memory_limits() -> Iterator[tuple[float, str]]:
    """Bytes that one array may take, and the share of the memory that they are."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not every system says
        return
    yield memory / 4, f"a quarter of this machine's {memory / 2**30:.1f} GiB"
    for limit, used in cgroup_memory():
        yield limit / 4, f"a quarter of the {limit / 2**30:.1f} GiB this process may use"
        yield (limit - used) / 2, f"half of the {(limit - used) / 2**30:.1f} GiB it has left"
    if free := 1024 * _field(_read_text(Path("/proc/meminfo")), "MemAvailable:"):
        yield free / 2, f"half of the {free / 2**30:.1f} GiB that are free"


def cgroup_memory(
    root: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")
) -> Iterator[tuple[int, int]]:
    """Limit and use in bytes of each control group around this process, of version 1 or 2.

    Use is without the files that the system would drop from memory first.
    """
    for line in _read_text(own).splitlines():
        _, controllers, group = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            base, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = root / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        own_folder = base / group.strip("/")
        # in a container the path is often that of the host, of which only the root is visible
        for folder in {own_folder, *own_folder.parents, base} - set(base.parents):
            limit, used = (_read_text(folder / name).strip() for name in names[:2])
            if limit.isdecimal() and used.isdecimal():  # "max" is none
                cache = _field(_read_text(folder / "memory.stat"), names[2])
                yield int(limit), max(0, int(used) - cache)


def _field(text: str, name: str) -> int:
    """Value of a name in lines of "name value"; 0 if it is not there."""
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name and words[1].isdecimal():
            return int(words[1])
    return 0


def _read_text(path: Path) -> str:
    with suppress(OSError, ValueError):
        return path.read_text(encoding="ascii", errors="replace")
    return ""


# arrays


def as_tensor(x: object, like: Tensor) -> Tensor:
    """Real numbers in any array or nested list, as a tensor of the dtype and device of `like`."""
    if isinstance(x, Tensor):
        check_tensor(x)
        return x.to(like)
    return from_numpy(as_array(x), copy=True).to(like)


def from_numpy(array: np.ndarray, copy: bool = False) -> Tensor:
    """The array as a tensor; a copy if asked for, or where torch cannot share its memory.

    Torch has no long double, foreign byte order, negative strides or read-only memory.
    """
    dtype = f"{array.dtype.kind}{min(array.dtype.itemsize, 8)}"
    copy = copy or not array.flags.writeable or min(array.strides, default=1) < 0
    with np.errstate(over="ignore"):
        return torch.from_numpy(array.astype(dtype, order="C", copy=copy).view(dtype))


def as_scales(name: str, value: object, n: int, like: Tensor) -> Tensor:
    """A copy of one positive number or n of them, (1,) or (n,), else `ArgumentError`."""
    try:
        scales = as_tensor(value, like).detach().clone().reshape(-1)
    except DataError as error:
        raise ArgumentError(f"{name}={value!r}: {error}") from error
    if scales.numel() not in (1, n):
        raise ArgumentError(
            f"{name} has {scales.numel()} entries for {n} units; pass one number or {n}"
        )
    if not bool((torch.isfinite(scales) & (scales > 0)).all()):
        raise ArgumentError(f"{name}={value!r}: expected positive finite numbers")
    return scales


def as_array(x: object) -> np.ndarray:
    """Real numbers in any array or nested list, else `DataError`."""
    check_unmasked(x)
    if hasattr(x, "tocsr"):  # NumPy would take scipy's for one object
        raise DataError("a sparse matrix: wrap it in gb.Rows(x), or pass x.toarray()")
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise DataError(f"rows of different lengths are no array: {error}") from error
    if array.dtype.kind not in "biuf":
        raise DataError(f"values of type {array.dtype}: expected an array of real numbers")
    return array


def check_tensor(x: Tensor) -> None:
    """Raise `DataError` unless x is a dense tensor of real numbers."""
    if x.is_complex():
        raise DataError(f"{x.dtype} values: expected real numbers")
    if x.layout != torch.strided or x.is_quantized or x.is_nested:
        kind = "quantized" if x.is_quantized else str(x.layout).removeprefix("torch.")
        raise DataError(f"a tensor of layout {kind}: expected a dense one; call to_dense() first")
    if x.is_meta:
        raise DataError("a tensor on the device meta has no values; give one that has")


def check_unmasked(x: object) -> None:
    """Raise `DataError` for a masked array, the hidden entries of which would be taken for data."""
    if np.ma.isMaskedArray(x) and np.ma.is_masked(x):
        raise DataError(
            "a masked array with hidden entries: they would be taken for data; fill them or leave "
            "their rows out, and pass the plain array"
        )


def not_finite(value: float, dtype: torch.dtype = torch.float32) -> tuple[str, str]:
    """Fault and remedy, for a message, of a value that is not finite in dtype."""
    if not math.isfinite(value):
        return f"{value:g}", "NaN and infinity are not data; remove or impute them"
    kind, largest = str(dtype).removeprefix("torch."), torch.finfo(dtype).max
    return f"{value:g}", f"that is beyond {kind}, which ends at {largest:.2g}; rescale the column"
