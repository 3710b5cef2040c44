"""Output that never fails, and termination signals treated as Ctrl-C."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO

import typer

from gibbsite.cli.console import print_error
from gibbsite.startup import INTERRUPTED

TERMINATION = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that are treated as Ctrl-C; not every system has both."""


@contextmanager
def interruptible(advice: str) -> Iterator[None]:
    """Context in which Ctrl-C ends the command with its exit code and a sentence, as markup."""
    try:
        yield
    except KeyboardInterrupt:
        print_error(f"interrupted; {advice}")
        raise typer.Exit(INTERRUPTED) from None


class SafeStream:
    """A text stream whose writes never fail: after an error the rest is discarded."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return len(text) if self.error else self._stream.write(text)
        except OSError as error:
            self._detach(error)
        return len(text)

    def flush(self) -> None:
        try:
            if not self.error:
                self._stream.flush()
        except OSError as error:
            self._detach(error)

    def _detach(self, error: OSError) -> None:
        """Redirect the stream to the null device, so that flushing its buffer at exit succeeds."""
        self.error = error
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def safe_output() -> Iterator[None]:
    """Context in which standard output and error never fail, on undecodable names neither."""
    before = sys.stdout, sys.stderr
    for name, stream in zip(("stdout", "stderr"), before, strict=True):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        if stream is not None:  # it is closed
            setattr(sys, name, SafeStream(stream))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def output_error() -> OSError | None:
    """The error of writing to standard output, such as a full disk; None for a reader that left."""
    sys.stdout.flush()
    error: OSError | None = getattr(sys.stdout, "error", None)
    return None if error is None or error.errno in (errno.EPIPE, errno.EIO) else error


class Handling:
    """Base class: a context in which signals have another handler, where they are not ignored."""

    def _handle(
        self, numbers: Iterable[int], handler: Callable[..., Any], replaced: Iterable[Any]
    ) -> None:
        """Give signals the handler where they have one of those replaced, or any if none is."""
        self._before: dict[int, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        for number in numbers:
            now = signal.getsignal(number)
            if now != signal.SIG_IGN and (not replaced or now in replaced):
                self._before[number] = signal.signal(number, handler)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class Termination(Handling):
    """Context in which SIGTERM and SIGHUP act as Ctrl-C; `number` is the signal that came.

    Without one it is SIGINT. A signal that is ignored, as under `nohup`, stays so.
    """

    def __init__(self) -> None:
        self.number: int = signal.SIGINT

    def __enter__(self) -> Termination:
        self._handle(TERMINATION, self._interrupt, replaced=(signal.SIG_DFL,))
        return self

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        raise KeyboardInterrupt

    @property
    def code(self) -> int:
        """Exit code, 128 + the signal: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.number


class Deferred(Handling):
    """Context in which signals that interrupt are kept, for `take`, instead of raised.

    Attributes:
        first: the first that came, or 0. Signals that are ignored stay so.
    """

    def __enter__(self) -> Deferred:
        self.first, self._kept = 0, list[int]()
        self._handle((signal.SIGINT, *TERMINATION), self._keep, replaced=())
        return self

    def _keep(self, number: int, frame: FrameType | None) -> None:
        self.first = self.first or number
        self._kept.append(number)

    def take(self) -> list[int]:
        """The signals since the last call."""
        kept, self._kept = self._kept, []
        return kept
