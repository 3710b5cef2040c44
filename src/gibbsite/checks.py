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
"""Whole numbers beyond this fit into no size or loop of torch."""

SMALL_BYTES = 2**24
"""Size up to which a request fits wherever the program itself fits."""

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

    Whatever is that large is copied a few times at least before anything comes of it. Memory is
    what the machine has or what the control groups of the process allow; where other programs use
    most of it, half of what is left is the limit.
    """
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not every system says
        return
    needed = 4 * math.prod(int(size) for size in sizes)
    _refuse_over(what, needed, memory / 4, f"a quarter of this machine's {memory / 2**30:.1f} GiB")
    if needed <= SMALL_BYTES:
        return
    for limit, used in cgroup_memory():
        _refuse_over(
            what,
            needed,
            limit / 4,
            f"a quarter of the {limit / 2**30:.1f} GiB this process may use",
        )
        left = limit - used
        _refuse_over(what, needed, left / 2, f"half of the {left / 2**30:.1f} GiB it has left")
    free = _available_bytes()
    if free is not None:
        _refuse_over(what, needed, free / 2, f"half of the {free / 2**30:.1f} GiB that are free")


def cgroup_memory(
    root: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")
) -> Iterator[tuple[int, int]]:
    """Limit and use in bytes of each control group around this process, of version 1 or 2.

    Use is without the files that the system would drop from memory first.
    """
    for line in _read_text(own).splitlines():
        _, controllers, place = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            base, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = root / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = base / place.strip("/")
        # in a container the path is often that of the host, of which only the root is visible
        for folder in {group, *group.parents, base} - set(base.parents):
            limit, used = (_read_text(folder / name).strip() for name in names[:2])
            if limit.isdecimal() and used.isdecimal():  # "max" is none
                cache = _field(_read_text(folder / "memory.stat"), names[2])
                yield int(limit), max(0, int(used) - cache)


def _available_bytes() -> int | None:
    """Bytes that the system could hand out without swapping, if it says."""
    kilobytes = _field(_read_text(Path("/proc/meminfo")), "MemAvailable:")
    return 1024 * kilobytes or None


def _field(text: str, name: str) -> int:
    """Value of a name in lines of "name value", else 0."""
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name and words[1].isdecimal():
            return int(words[1])
    return 0


def _read_text(path: Path) -> str:
    with suppress(OSError, ValueError):
        return path.read_text(encoding="ascii", errors="replace")
    return ""


def _refuse_over(what: str, needed: int, limit: float, of: str) -> None:
    if needed > limit:
        raise TooLargeError(f"{what} would need {needed / 2**30:,.1f} GiB, over {of}; use fewer")


# arrays


def as_tensor(x: object, like: Tensor) -> Tensor:
    """Real numbers in any array or nested list, as a tensor of the dtype and device of `like`."""
    if isinstance(x, Tensor):
        check_tensor(x)
        return x.to(like)
    array = as_array(x)
    known = f"{array.dtype.kind}{min(array.dtype.itemsize, 8)}"  # torch has no long double
    with np.errstate(over="ignore"):
        # a copy: torch takes neither negative strides nor foreign byte order nor read-only memory
        native = array.astype(known, order="C", copy=True)
    return torch.from_numpy(native).to(like)


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
