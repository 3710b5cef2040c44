"""Choice of the kernel and of its number of threads; tensors as kernels take them."""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gibbsite.errors import ArgumentError, DataError
from gibbsite.ops import reference

FLOATS = (torch.float32, torch.float64)

PARALLEL_SIZE = 2**15
"""Tensors with fewer entries are faster done by one thread than shared out."""

SHARED_WORK = 2**20

DOUBLE, SINGLE = torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.float32)

LONG = 1.0
"""Seconds of compilation after which a word about it is due."""

log = logging.getLogger("gibbsite")


def compiled(x: Tensor) -> bool:
    """True if the compiled kernels take it: a contiguous float matrix in this machine's memory."""
    return x.ndim == 2 and compiled_flat(x)


def compiled_flat(x: Tensor) -> bool:
    """True if kernels that take any shape as one long vector take it."""
    return x.is_cpu and x.dtype in FLOATS and x.is_contiguous() and x.numel() > 0 and compiles()


@functools.cache
def compiles() -> bool:
    """True if Numba compiles; else plain torch does all the work."""
    try:
        import numba  # late, as it takes its time
    except ValueError as error:  # of its settings, which it reads from the environment
        raise ArgumentError(
            f"Numba does not start: {error} Correct or unset its variables in the environment: "
            f"{', '.join(name for name in os.environ if name.startswith('NUMBA_'))}"
        ) from error
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        log.warning("NUMBA_DISABLE_JIT is set: plain torch does the work of the compiled kernels")
        return False
    return True


@contextmanager
def fitting_threads(work: int) -> Iterator[None]:
    """Make torch and the kernels use one thread if `work`, multiply-adds a product, is small.

    Sharing out small work gains little, and costs tenfold where another process has the cores.
    """
    threads = torch.get_num_threads()
    if threads == 1 or work >= SHARED_WORK:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def array(x: Tensor, like: Tensor, *shape: int) -> Any:
    """x as an array, checked to have that shape, which kernels rely on, and the dtype of `like`."""
    if x.dtype != like.dtype or not x.is_cpu:
        raise misfit(x, shape, like)
    entries = x.detach().numpy() if x.requires_grad else x.numpy()
    if entries.shape != shape:
        raise misfit(x, shape, like)
    return entries


def vector(x: Tensor, like: Tensor, n: int) -> Any:
    """x, a vector, as a contiguous array, checked as by `array`."""
    entries = array(x, like, n)
    return entries if x.is_contiguous() else np.ascontiguousarray(entries)


def fit(x: Tensor, shape: Sequence[int], like: Tensor) -> None:
    """Raise `DataError` unless x has that shape, and the dtype and device of `like`."""
    if x.shape != shape or x.dtype != like.dtype or x.device != like.device:
        raise misfit(x, shape, like)


def fit_columns(x: Tensor, *vectors: Tensor | None) -> None:
    """Raise `DataError` unless x is floating-point and each vector has one entry a column."""
    if x.ndim == 0 or not x.dtype.is_floating_point:
        raise misfit(x, ("rows", "columns"), torch.empty(0))
    for other in vectors:
        if other is not None:
            fit(other, x.shape[-1:], x)


def misfit(x: Tensor, shape: Sequence[int | str], like: Tensor) -> DataError:
    expected = ", ".join(map(str, shape))
    return DataError(
        f"a tensor of shape {tuple(x.shape)} and {x.dtype} on {x.device}: "
        f"expected ({expected}) and {like.dtype} on {like.device}"
    )


def flat(tensors: Sequence[Tensor]) -> tuple[Any, ...]:
    """Contiguous tensors as 1-d arrays."""
    return tuple(x.detach().numpy().reshape(-1) for x in tensors)


def scalar(value: float, x: Tensor) -> Any:
    """A scalar of x's precision, lest the kernel compute in a higher one."""
    return np.float32(value) if x.dtype == torch.float32 else np.float64(value)


_LOCAL = threading.local()


def key(generator: torch.Generator | None) -> Any:
    """64 fresh bits of the generator: the key of a counter-based stream, for one call."""
    if not hasattr(_LOCAL, "key"):
        with torch.inference_mode(False):  # else it could not be filled outside of that mode
            _LOCAL.key = torch.zeros(1, dtype=torch.int64)
        _LOCAL.key_array = _LOCAL.key.numpy()
    if generator is not None and generator.device.type != "cpu":
        _LOCAL.key.copy_(torch.randint(2**63 - 1, (1,), generator=generator, device="cuda"))
    else:
        _LOCAL.key.random_(generator=generator)
    return _LOCAL.key_array


def run(name: str, x: Tensor, *arguments: Any) -> Any:
    """Call a kernel on x, in parallel where that pays."""
    return kernel(name, x)(x.detach().numpy() if x.requires_grad else x.numpy(), *arguments)


def kernel(name: str, x: Tensor) -> Callable[..., Any]:
    """The kernel for tensors of the size and dtype of x."""
    threads = torch.get_num_threads() if x.numel() >= PARALLEL_SIZE else 1
    if threads > 1 and not kernels().shares(os.getpid()):
        threads = 1
    if threads > 1 and getattr(_LOCAL, "threads", 0) != threads:
        kernels().set_threads(threads)
        _LOCAL.threads = threads
    kind = name, threads > 1, x.dtype
    return KERNELS.get(kind) or _new_kernel(kind)


KERNELS: dict[tuple[str, bool, torch.dtype], Callable[..., Any]] = {}


def _new_kernel(kind: tuple[str, bool, torch.dtype]) -> Callable[..., Any]:
    """A kernel of which the first call, which may compile for long, says so."""
    new: Callable[..., Any] = kernels().kernel(*kind[:2])

    def patient(*arguments: Any) -> Any:
        with patience():
            result = new(*arguments)
        KERNELS[kind] = new
        return result

    return patient


@functools.cache
def kernels() -> ModuleType:
    """The compiled kernels; imported late, as numba takes its time."""
    from gibbsite.ops import compiling

    return compiling


@contextmanager
def patience() -> Iterator[None]:
    """Log that kernels are being compiled, if the block takes long."""
    timer = threading.Timer(LONG, _say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


_SAID = threading.Lock()


def _say() -> None:
    """Log the notice, once a process."""
    if not _SAID.acquire(blocking=False):
        return
    kept = kernels().cache.folder() is not None
    when = "kept for your later starts, so each kind waits once" if kept else "at each start"
    log.warning("compiling kernels, %s", when)


def is_binary(x: Tensor) -> bool:
    """True if all of x, (rows, n), is 0 or 1."""
    return bool(run("is_binary", x)) if compiled(x) else reference.is_binary(x)
