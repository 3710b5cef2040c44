"""Choice of the compiled kernel and of its number of threads; the keys of random numbers."""

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
"""Arrays with fewer entries are faster done by one thread than shared out."""

SHARED_WORK = 2**20

LONG = 1.0
"""Seconds of compilation after which a word about it is due."""

log = logging.getLogger("gibbsite")


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


def run(name: str, x: np.ndarray, *arguments: Any) -> Any:
    """Call a kernel on x, in parallel where that pays."""
    return kernel(name, x)(x, *arguments)


def kernel(name: str, x: np.ndarray, source: ModuleType | None = None) -> Callable[..., Any]:
    """The kernel for arrays of the size and dtype of x, from a module of its own or from `ops`."""
    threads = torch.get_num_threads() if x.size >= PARALLEL_SIZE else 1
    if threads > 1 and not compiler().shares(os.getpid()):
        threads = 1
    if threads > 1 and getattr(_LOCAL, "threads", 0) != threads:
        compiler().set_threads(threads)
        _LOCAL.threads = threads
    kind = name, threads > 1, source, x.dtype.char
    return KERNELS.get(kind) or _new_kernel(kind)


Kind = tuple[str, bool, ModuleType | None, str]

KERNELS: dict[Kind, Callable[..., Any]] = {}


def _new_kernel(kind: Kind) -> Callable[..., Any]:
    """A kernel of which the first call, which may compile for long, says so."""
    new: Callable[..., Any] = compiler().kernel(*kind[:3])

    def patient(*arguments: Any) -> Any:
        with patience():
            result = new(*arguments)
        KERNELS[kind] = new
        return result

    return patient


@functools.cache
def compiler() -> ModuleType:
    """The module `compiling`; imported late, as Numba takes its time."""
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
    kept = compiler().cache.folder() is not None
    when = "kept for your later starts, so each kind waits once" if kept else "at each start"
    log.warning("compiling kernels, %s", when)
