"""Compilation of the kernels, for one thread or several, with the machine code kept on disk."""

from __future__ import annotations

import functools
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numba
import torch
from numba import njit

from gibbsite.ops import bits, cache, categories, cpu, draws, random, rectified

SOURCES = bits, categories, cpu, draws, random, rectified


def kernel(name: str, parallel: bool, module: ModuleType | None = None) -> Callable[..., Any]:
    """A compiled kernel of one of `SOURCES`, or of another module that imports these alone.

    Its machine code is kept on disk for the next process.
    """
    modules = SOURCES if module is None else (module,)
    source = next(vars(place)[name] for place in modules if name in vars(place))
    parallel = parallel and "prange" in source.__code__.co_names
    # the cache identifies code by its name
    source = FunctionType(source.__code__, source.__globals__)
    source.__qualname__ = f"{name}_{'parallel' if parallel else 'serial'}_{_version(module):x}"
    compiled: Any = njit(
        nogil=True, fastmath=random.FAST_MATH, error_model="numpy", parallel=parallel
    )(source)
    cache.keep(compiled)
    return compiled  # type: ignore[no-any-return]


def set_threads(threads: int) -> None:
    """Let the parallel kernels called next use so many threads, at most one a core."""
    cores: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    of_torch = torch.get_num_threads()
    numba.set_num_threads(min(threads, cores))
    torch.set_num_threads(of_torch)  # changed by the start of Numba's pool if both share OpenMP


@functools.cache
def is_thread_safe(process: int) -> bool:
    """True if Numba has a thread pool here that several threads may use; cached by process id."""
    if process != _PID:  # GNU OpenMP does not survive a fork
        return False
    threads = torch.get_num_threads()
    try:
        numba.get_num_threads()  # starts the pool
        return numba.threading_layer() in ("omp", "tbb")  # type: ignore[attr-defined]
    except ValueError:  # no such threading layer
        return False
    finally:
        torch.set_num_threads(threads)


@functools.cache
def _version(module: ModuleType | None) -> int:
    """Checksum of the source of all kernels, as they call each other across files."""
    modules = SOURCES if module is None else (*SOURCES, module)
    return zlib.crc32(b"".join(Path(str(part.__file__)).read_bytes() for part in modules))


_PID = os.getpid()
