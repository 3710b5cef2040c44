"""A lock on a folder that ends with its process, however that ends."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gibbsite.errors import OutputError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

log = logging.getLogger("gibbsite")

LOCK_FILE = ".lock"
"""File to lock where a folder cannot be: on Windows and some network file systems."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; `OutputError` at once if another process or thread holds it.

    The system releases the lock when the process ends, even if it is killed.
    """
    try:
        handle = _take(folder)
    except BlockingIOError as error:
        raise OutputError(
            f"{folder} is in use: another run writes into it; let that end, or name another folder"
        ) from error
    except OSError as error:
        raise OutputError(f"cannot lock {folder}: {error.strerror}") from error
    try:
        yield
    finally:
        os.close(handle)


def _take(folder: Path) -> int:
    """An open handle that holds the lock; `BlockingIOError` if another does."""
    if sys.platform != "win32":
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except OSError as error:
            os.close(handle)
            if isinstance(error, BlockingIOError):
                raise
    handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if sys.platform == "win32":
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            os.close(handle)
            raise BlockingIOError from error
        log.warning("%s: no locks here; take care that only one run writes into it", folder)
    return handle
