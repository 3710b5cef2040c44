"""Numbers on the command line: one, or a list or range of them for a sweep."""

from __future__ import annotations

import math
import re

import typer

Number = int | float

MOST = 1000
"""Most numbers of a list or range, and most runs of a sweep."""


class Several(tuple[Number, ...]):
    """Values of an option, a run each.

    >>> str(Several((16, 64)))
    '16,64'
    """

    __slots__ = ()

    def __str__(self) -> str:
        return ",".join(map(str, self))


def integers(text: str | int) -> int | Several:
    """A whole number, or `Several` of a list or range; wrong usage if it is neither.

    >>> integers("16"), integers("0-2,8")
    (16, (0, 1, 2, 8))
    """
    try:
        return int(text)
    except ValueError:
        parts = str(text).split(",")
    try:
        return _several([number for part in parts for number in _range(part)])
    except ValueError as error:
        expected = "a valid integer, nor several such as 16,64 or 0-4"
        raise typer.BadParameter(f"{text!r} is not {expected} ({error})") from error


def floats(text: str | float) -> float | Several:
    """A number, or `Several` of a list; wrong usage if it is neither.

    >>> floats("0.1"), floats("0.05,0.1")
    (0.1, (0.05, 0.1))
    """
    try:
        return float(text)
    except ValueError:
        parts = str(text).split(",")
    try:
        return _several([_finite(part) for part in parts])
    except ValueError as error:
        expected = "a valid float, nor several such as 0.05,0.1"
        raise typer.BadParameter(f"{text!r} is not {expected} ({error})") from error


def _several(numbers: list[Number]) -> Several:
    """The numbers, each of which is there once, else `ValueError`."""
    if len(set(numbers)) < len(numbers):
        raise ValueError("one of them is there twice")
    if len(numbers) > MOST:
        raise ValueError(f"more than {MOST:,}")
    return Several(numbers)


def _range(text: str) -> list[Number]:
    """The whole numbers of a text such as 3 or 0-4, else `ValueError`."""
    ends = re.fullmatch(r"\s*([0-9]{1,18})-([0-9]{1,18})\s*", text)
    if ends is None:
        return [int(text)]
    first, last = int(ends[1]), int(ends[2])
    if not 0 < last - first < MOST:
        raise ValueError(f"{text} is no range, upwards, of {MOST:,} at most")
    return list(range(first, last + 1))


def _finite(text: str) -> float:
    """A finite number, else `ValueError`."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not finite")
    return number
