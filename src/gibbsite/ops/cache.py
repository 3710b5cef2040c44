# mypy: disable-error-code="no-untyped-call"
"""Cache of machine code on disk for the next process, in a folder that nobody else can write.

Numba caches it as pickles, which may run any code when loaded, in any folder that it can write,
even one named ``~`` where there is no home folder. Here the folder must belong to the user and
every file ends with the digest of the rest. A file that cannot be read or written costs a
compilation, no more.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile

log = logging.getLogger("gibbsite")

DIGEST = hashlib.sha256().digest_size


def candidates() -> Iterator[Path]:
    """Folders to try: in NUMBA_CACHE_DIR, beside the source, in the user's cache."""
    if numba.config.CACHE_DIR:  # type: ignore[attr-defined]
        yield Path(numba.config.CACHE_DIR) / "gibbsite"  # type: ignore[attr-defined]
    yield Path(__file__).parent / "__pycache__"
    home = os.path.expanduser("~")  # noqa: PTH111, as Path.home() fails where there is none
    yield Path(os.environ.get("XDG_CACHE_HOME") or f"{home}/.cache") / "gibbsite/kernels"


@functools.cache
def folder() -> Path | None:
    """The first of the `candidates` that can be used; None, with a warning, if there is none."""
    for path in candidates():
        with contextlib.suppress(OSError):  # no permission, or no space
            if path.is_absolute() and _is_usable(path):
                return path
    _warn("no folder of yours can be written")
    return None


@functools.cache
def _warn(why: str) -> None:
    log.warning(
        "%s, so compiled kernels are not kept: every start compiles them anew; to keep them, set "
        "NUMBA_CACHE_DIR to a folder with room that you alone can write",
        why,
    )


def _is_usable(path: Path) -> bool:
    """True if the folder, made if need be, is private and can be written."""
    private = path.name != "__pycache__"  # which Python itself makes readable for all users
    path.mkdir(mode=0o700 if private else 0o777, parents=private, exist_ok=True)
    if not is_private(path):
        return False
    tempfile.TemporaryFile(dir=path).close()
    return True


def is_private(path: Path) -> bool:
    """True if only the user and root can add files to a folder or replace it by another.

    A group counts as the user's own if it is that of the process.
    """
    if not hasattr(os, "geteuid"):  # other systems keep a user's folders apart
        return True
    path = path.resolve()
    state = path.stat()
    owned = state.st_uid == os.geteuid() and not _writable_by_others(state)
    return owned and all(_protects_names(parent.stat()) for parent in path.parents)


def _writable_by_others(state: os.stat_result) -> bool:
    """True if other users can write into a folder."""
    by_group = bool(state.st_mode & stat.S_IWGRP) and state.st_gid not in (os.getegid(), 0)
    return by_group or bool(state.st_mode & stat.S_IWOTH)


def _protects_names(state: os.stat_result) -> bool:
    """True if other users cannot rename the entries of a folder."""
    sticky = bool(state.st_mode & stat.S_ISVTX)
    return state.st_uid in (os.geteuid(), 0) and (sticky or not _writable_by_others(state))


class _Files(IndexDataCacheFile):
    """Cache files that end with the digest of the rest, which is checked before they are read."""

    @contextlib.contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[io.BytesIO]:
        content = io.BytesIO()
        with super()._open_for_write(filepath) as file:
            yield content
            file.write(content.getvalue() + hashlib.sha256(content.getvalue()).digest())

    def _load_index(self) -> Any:
        _check(Path(self._index_path))
        return super()._load_index()

    def _load_data(self, name: str) -> Any:
        _check(Path(self._data_path(name)))
        return super()._load_data(name)


def _check(path: Path) -> None:
    """Raise ValueError if a file exists and its digest does not fit."""
    content = path.read_bytes() if path.exists() else None
    if content is not None and hashlib.sha256(content[:-DIGEST]).digest() != content[-DIGEST:]:
        raise ValueError(f"{path} is damaged")


class _FileNames(CompileResultCacheImpl):
    """Names of the cache files of a function, and Numba's locator of their folder."""

    def __init__(self, function: Any, path: Path) -> None:
        self._lineno, self._locator = function.__code__.co_firstlineno, self
        self._py_file, self._path = function.__code__.co_filename, path
        self._filename_base = self.get_filename_base(function.__qualname__, "")

    def get_disambiguator(self) -> str:
        return str(self._lineno)

    def ensure_cache_path(self) -> None:
        self._path.mkdir(exist_ok=True)


class KernelCache(FunctionCache):
    """Cache of the machine code of a function, whose name includes its version."""

    def __init__(self, function: Any, path: Path) -> None:
        self._name, self._py_func = repr(function), function
        self._impl, self._cache_path = _FileNames(function, path), str(path)
        self._cache_file = _Files(str(path), self._impl.filename_base, function.__qualname__)
        self.enable()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The code for these types; None if there is none, or if it is damaged."""
        try:
            result = super().load_overload(sig, target_context)
            if result is not None and tuple(result.signature.args) != tuple(sig):
                raise ValueError("code for other types")
        except Exception as error:  # a damaged file may raise anything
            log.info("machine code that cannot be used is compiled anew: %s", error)
            with contextlib.suppress(OSError):
                self.flush()
            return None
        return result

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception as error:  # the compiled code works without the cache
            _warn(f"{self._cache_path} cannot be written ({error})")
            self.disable()


def keep(dispatcher: Any) -> bool:
    """Cache the machine code of a function, not compiled yet, on disk; False without a folder."""
    path = folder()
    if path is None:
        return False
    dispatcher._cache = KernelCache(dispatcher.py_func, path)
    return True
