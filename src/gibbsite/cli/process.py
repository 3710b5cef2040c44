"""A process that outlives its reader and ends in order when it is told to."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO

ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that are treated as Ctrl-C; not every system has both."""


class Steady:
    """A text stream whose writes never fail: what nobody reads any more is thrown away."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return len(text) if self.lost else self._stream.write(text)
        except OSError as error:
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        try:
            if not self.lost:
                self._stream.flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        """Point the stream at nothing, lest what it still holds fail once more at the end."""
        self.lost = error
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def steady_output() -> Iterator[None]:
    """Within it standard output and error are `Steady`, and write names that are no text."""
    before = sys.stdout, sys.stderr
    for name, stream in zip(("stdout", "stderr"), before, strict=True):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        if stream is not None:  # it is closed
            setattr(sys, name, Steady(stream))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def lost_output() -> OSError | None:
    """The error that standard output met, such as a full disk; none for a reader that left."""
    sys.stdout.flush()
    lost: OSError | None = getattr(sys.stdout, "lost", None)
    return None if lost is None or lost.errno in (errno.EPIPE, errno.EIO) else lost


class Ending:
    """Within it SIGTERM and SIGHUP are Ctrl-C; `number` is the signal that came, SIGINT if none.

    A signal that is ignored, as `nohup` asks for, stays so.
    """

    def __init__(self) -> None:
        self.number: int = signal.SIGINT

    def __enter__(self) -> Ending:
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                if signal.getsignal(number) == signal.SIG_DFL:
                    self._before[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        raise KeyboardInterrupt

    @property
    def code(self) -> int:
        """Exit code, 128 + the signal: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.number
