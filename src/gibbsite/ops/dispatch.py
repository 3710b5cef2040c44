"""Choice of the compiled kernel and its number of threads; keys for its random draws."""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch

from gibbsite.errors import ArgumentError

PARALLEL_SIZE = 2**15
"""Entries of an array from which a kernel runs on several threads."""

PARALLEL_WORK = 2**20
"""Multiply-adds from which torch runs on several threads; see `fitting_threads`."""

SLOW = 1.0
"""Seconds of compilation after which it is logged."""

log = logging.getLogger("gibbsite")


@functools.cache
def compiles() -> bool:
    """True if Numba compiles; else everything runs in plain torch."""
    try:
        import numba  # slow to import
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
    """Use one thread, in torch and the kernels, if a product has fewer than 2^20 multiply-adds.

    Several threads gain little there, and lose tenfold where another process has the cores.
    """
    threads = torch.get_num_threads()
    if threads == 1 or work >= PARALLEL_WORK:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


_LOCAL = threading.local()


def key(generator: torch.Generator | None) -> Any:
    """64 bits drawn from the generator, (1,) int64: the key of the random draws of one call."""
    if not hasattr(_LOCAL, "key"):
        with torch.inference_mode(False):  # else it could not be written outside of that mode
            _LOCAL.key = torch.zeros(1, dtype=torch.int64)
        _LOCAL.key_array = _LOCAL.key.numpy()
    if generator is not None and generator.device.type != "cpu":
        _LOCAL.key.copy_(torch.randint(2**63 - 1, (1,), generator=generator, device="cuda"))
    else:
        _LOCAL.key.random_(generator=generator)
    return _LOCAL.key_array


def run(name: str, x: np.ndarray, *arguments: Any) -> Any:
    """Call the kernel for x with x and the arguments."""
    return kernel(name, x)(x, *arguments)


def kernel(name: str, x: np.ndarray, source: ModuleType | None = None) -> Callable[..., Any]:
    """The kernel for x: parallel if x is large; from `compiling.SOURCES` or another module."""
    threads = torch.get_num_threads() if x.size >= PARALLEL_SIZE else 1
    if threads > 1 and not compiler().is_thread_safe(os.getpid()):
        threads = 1
    if threads > 1 and getattr(_LOCAL, "threads", 0) != threads:
        compiler().set_threads(threads)
        _LOCAL.threads = threads
    kind = name, threads > 1, source, x.dtype.char
    return KERNELS.get(kind) or _new_kernel(kind)


Kind = tuple[str, bool, ModuleType | None, str]

KERNELS: dict[Kind, Callable[..., Any]] = {}


def _new_kernel(kind: Kind) -> Callable[..., Any]:
    """A kernel of which the first call, which compiles, is logged if it is slow."""
    new: Callable[..., Any] = compiler().kernel(*kind[:3])

    def first_call(*arguments: Any) -> Any:
        with notice_if_slow():
            result = new(*arguments)
        KERNELS[kind] = new
        return result

    return first_call


@functools.cache
def compiler() -> ModuleType:
    """The module `compiling`, imported when first needed, as Numba is slow to import."""
    from gibbsite.ops import compiling

    return compiling


@contextmanager
def notice_if_slow() -> Iterator[None]:
    """Log that kernels are being compiled, once a process, if the block takes over a second."""
    timer = threading.Timer(SLOW, _log_notice)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


_LOGGED = threading.Lock()


def _log_notice() -> None:
    if _LOGGED.acquire(blocking=False):
        kept = compiler().cache.folder() is not None
        when = "kept for your later starts, so each kind waits once" if kept else "at each start"
        log.warning("compiling kernels, %s", when)
