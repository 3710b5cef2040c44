"""Columns of words as codes: the number of each word among the column's words, in order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gibbsite.errors import DataError

Labels = tuple[str, ...]
Categories = tuple[Labels | None, ...]
"""The words of each column, in the order of their codes; None for a column of numbers."""


class Coding:
    """The words of one column, numbered as they come; those already known have their numbers.

    Args:
        known: all words that there may be, in the order of their codes; None to learn them.
        numbers: whether a word may be a number.
    """

    def __init__(self, known: Labels | None = None, numbers: bool = True) -> None:
        self.codes = {word: code for code, word in enumerate(known or ())}
        self.learns, self.numbers = known is None, numbers

    def __contains__(self, cell: str) -> bool:
        return cell.strip() in self.codes

    def code(self, cell: str) -> int:
        """The number of a word; `ValueError`, with the reason, for a cell that is none."""
        word = cell.strip()
        code = self.codes.get(word)
        if code is not None:
            return code
        if not word:
            raise ValueError("an empty cell")
        if not self.learns:
            raise ValueError(
                f"{word[:60]!r}, a category that is not known ({listed(self.codes)}); leave the "
                "row out, or train on data that have it"
            )
        if not self.numbers and as_number(word) is not None:
            raise ValueError(f"{word[:60]!r}, a number in a column of words; {REMEDY}")
        self.codes[word] = len(self.codes)
        return len(self.codes) - 1

    def final(self) -> tuple[Labels | None, np.ndarray]:
        """The words in order, None if all are numbers; and what each code so far becomes.

        That is the place of the word in that order, or the number.
        """
        words = list(self.codes)
        if not self.learns:
            return tuple(words), np.arange(len(words), dtype=float)
        numbers = [as_number(word) for word in words]
        if None not in numbers:
            return None, np.array(numbers, float)
        order = sorted(range(len(words)), key=words.__getitem__)
        places = np.empty(len(words))
        places[order] = np.arange(len(words))
        return tuple(words[index] for index in order), places


REMEDY = (
    "correct it, or take the words of the column for categories, with --visible categorical "
    '(in Python visible="categorical")'
)


def decode(values: Sequence[Sequence[float]], categories: Categories) -> list[list[str]]:
    """The cells of a table: words for codes, and numbers where a column has no words.

    >>> decode([[1.0, 0.5], [0.0, 2.0]], (("blue", "red"), None))
    [['red', '0.5'], ['blue', '2']]
    """
    return [
        [
            number_text(value) if words is None else words[int(value)]
            for value, words in zip(row, categories, strict=True)
        ]
        for row in values
    ]


def check_categories(categories: Categories | None, n: int, source: str) -> None:
    """Raise `DataError` for categories known of another number of columns."""
    if categories is not None and len(categories) != n:
        raise DataError(f"{source} has {n} columns, expected {len(categories)}")


def number_text(value: float) -> str:
    """A number, with digits enough for float32."""
    return f"{value:.9g}"


def as_number(cell: str) -> float | None:
    """The number that a cell holds, if it is one."""
    try:
        return float(cell)
    except ValueError:
        return None


def listed(words: Sequence[str] | dict[str, int]) -> str:
    """Words for a message, the first of them."""
    shown = ", ".join(word[:20] for word in list(words)[:8])
    return shown + (", ..." if len(words) > 8 else "")
