"""Columns of words as codes: the index of each word among the sorted words of its column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gibbsite.errors import DataError

Labels = tuple[str, ...]
Categories = tuple[Labels | None, ...]
"""The words of each column, in the order of their codes; None for a column of numbers."""


class Coding:
    """The words of one column, coded 0, 1, ... in the order in which they come.

    Args:
        known: all words that there may be, in the order of their codes; None to learn them.
        numbers: True if a word may be a number.
    """

    def __init__(self, known: Labels | None = None, numbers: bool = True) -> None:
        self.codes = {word: code for code, word in enumerate(known or ())}
        self.learns, self.numbers = known is None, numbers

    def __contains__(self, cell: str) -> bool:
        return cell.strip() in self.codes

    def code(self, cell: str) -> int:
        """The code of a word; `ValueError`, with the reason, for a cell that is none."""
        word = cell.strip()
        code = self.codes.get(word)
        if code is not None:
            return code
        if not word:
            raise ValueError("an empty cell")
        if not self.learns:
            raise ValueError(
                f"{word[:60]!r}, a category that is not known ({first_words(self.codes)}); leave "
                "the row out, or train on data that have it"
            )
        if not self.numbers and as_number(word) is not None:
            raise ValueError(f"{word[:60]!r}, a number in a column of words; {REMEDY}")
        self.codes[word] = len(self.codes)
        return len(self.codes) - 1

    def final(self) -> tuple[Labels | None, np.ndarray]:
        """The words, sorted, and for each code so far the index of its word among them.

        If all words are numbers, None and for each code its number.
        """
        words = list(self.codes)
        if not self.learns:
            return tuple(words), np.arange(len(words), dtype=float)
        numbers = [as_number(word) for word in words]
        if None not in numbers:
            return None, np.array(numbers, float)
        order = sorted(range(len(words)), key=words.__getitem__)
        ranks = np.empty(len(words))
        ranks[order] = np.arange(len(words))
        return tuple(words[index] for index in order), ranks


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
    """Raise `DataError` unless categories, if given, are those of n columns."""
    if categories is not None and len(categories) != n:
        raise DataError(f"{source} has {n} columns, expected {len(categories)}")


def number_text(value: float) -> str:
    """Text of a number, with enough digits for float32."""
    return f"{value:.9g}"


def as_number(cell: str) -> float | None:
    """The number that a cell holds, if it is one."""
    try:
        return float(cell)
    except ValueError:
        return None


def first_words(words: Sequence[str] | dict[str, int]) -> str:
    """The first eight words, for a message."""
    shown = ", ".join(word[:20] for word in list(words)[:8])
    return shown + (", ..." if len(words) > 8 else "")
