"""Consoles: results on standard output, all else on standard error."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

import rich.markup
from rich.console import Console

out = Console(emoji=False)
err = Console(stderr=True, emoji=False)


def set_verbosity(quiet: bool = False, as_json: bool = False) -> None:
    """Print everything, or nothing but errors, or nothing on standard output but JSON."""
    out.quiet = quiet or as_json
    err.quiet = quiet
    log = logging.getLogger("gibbsite")
    log.setLevel(logging.ERROR if quiet else logging.NOTSET)
    if not any(isinstance(handler, ConsoleHandler) for handler in log.handlers):
        log.addHandler(ConsoleHandler())


class ConsoleHandler(logging.Handler):
    """Handler that prints log records of the library above live bars, with names escaped."""

    def emit(self, record: logging.LogRecord) -> None:
        err.print(escape(record.getMessage()), soft_wrap=True, highlight=False)


def escape(text: str) -> str:
    r"""Text that Rich prints as it is, with control characters as \x1b and the like.

    A file's name may hold what would clear the screen, or worse.
    """
    safe = (char if char.isprintable() else repr(char)[1:-1] for char in text)
    return rich.markup.escape("".join(safe))


def print_error(markup: str) -> None:
    """Print on standard error, even with --quiet."""
    err.quiet = False
    err.print(markup, soft_wrap=True)


def print_note(text: str) -> None:
    """Print a note on standard error, unless --quiet is given."""
    err.print(f"note: {escape(text)}", soft_wrap=True, highlight=False)


def print_verdict(text: str, warnings: Iterable[str]) -> None:
    """Print a verdict on the figures, and warnings."""
    out.print(escape(text), soft_wrap=True, highlight=False)
    for warning in warnings:
        out.print(f"[bold yellow]warning:[/] {escape(warning)}", soft_wrap=True, highlight=False)


def print_json(record: Mapping[str, Any]) -> None:
    """One JSON object on a line; NaN and infinity, which JSON lacks, become null."""
    print(json.dumps(finite(record)))


def finite(value: Any) -> Any:
    """A value with None in the place of NaN and infinity."""
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
