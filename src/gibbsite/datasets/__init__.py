"""Data sets: real ones by name, your own by path.

>>> import gibbsite as gb
>>> digits = gb.datasets.load("digits")
>>> digits.train.shape, digits.test.shape
(torch.Size([1437, 64]), torch.Size([360, 64]))
"""

from __future__ import annotations

import difflib
import itertools
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from gibbsite.datasets.base import Dataset
from gibbsite.datasets.builtin import bars_and_stripes, digits, patches
from gibbsite.datasets.categories import Categories
from gibbsite.datasets.columns import Columns
from gibbsite.datasets.files import KEYED, read, write_csv, write_npy
from gibbsite.datasets.mnist import mnist
from gibbsite.errors import DataError

NAMES: dict[str, Callable[[], Dataset]] = {
    "digits": digits,
    "bars-and-stripes": bars_and_stripes,
    "patches": patches,
    "mnist": mnist,
}
"""The data sets that have a name."""

DESCRIPTIONS = {
    "digits": "1,797 handwritten digits of 8x8 pixels (scikit-learn, from UCI), thresholded at "
    "half.",
    "bars-and-stripes": "All images of full rows or full columns, 2 x 2^side of them; a test of "
    "exact training.",
    "patches": "8x8 patches of two photographs (scikit-learn's sample images), for Gaussian units.",
    "mnist": "MNIST: 60,000 + 10,000 handwritten digits of 28x28 grey levels, divided by 255.",
}
"""A sentence on each of `NAMES`; not from docstrings, which ``python -OO`` leaves out."""


def load(
    name_or_path: str | Path,
    *,
    key: str | None = None,
    resize: tuple[int, int] | None = None,
    visible: str | None = None,
    categories: Categories | None = None,
) -> Dataset:
    """A data set by name (see `NAMES`), or from a file or folder (see `read`).

    A name wins over a file of that name; write ``./digits`` for the file. Raises `DataError`.

    Args:
        key: name of the array in an .npz or .h5 file.
        resize: (height, width) in pixels that the images of a folder are brought to.
        visible: type of the units that the rows are for (see `read`); None: as the data say.
        categories: words that columns of a text file may hold, as ``Dataset.categories`` of other
            data; None: those that they hold.

    A column of words becomes codes:

    >>> import gibbsite as gb, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "fruit.csv"
    >>> path.write_text("colour,weight\\nred,150\\nblue,2\\nred,110\\n") and None
    >>> fruit = gb.datasets.load(path)
    >>> fruit.train.tolist(), fruit.categories, fruit.visible
    ([[1.0, 150.0], [0.0, 2.0], [1.0, 110.0]], (('blue', 'red'), None), 'categorical:1,gaussian:1')
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise DataError(f"{name_or_path!r:.80}: expected the name of a data set, or a path")
    if str(name_or_path) in NAMES:
        if key is not None or resize is not None:
            raise DataError(f"{name_or_path} is no file; key and resize are for files")
        named = NAMES[str(name_or_path)]()
        return named if visible is None else replace(named, visible=visible)
    path = Path(name_or_path)
    try:
        there = path.exists()
    except OSError as error:  # a name too long, a folder that may not be looked into
        raise DataError(f"{name_or_path}: {error.strerror}") from error
    if not there:
        raise DataError(
            f"{name_or_path}: neither a file nor a data set; the names are {', '.join(NAMES)}"
            f"{_meant(path)}"
        )
    return read(path, key, resize, visible, categories)


def _meant(path: Path) -> str:
    """A "did you mean", for a message, if a name or file is spelt nearly so; else ""."""
    beside: list[str] = []
    with suppress(OSError):
        beside = [entry.name for entry in itertools.islice(path.parent.iterdir(), 1000)]
    names = [*NAMES, *beside] if path.parent == Path() else beside
    near = difflib.get_close_matches(path.name, names, 1)
    return f". Did you mean {path.parent / near[0]}?" if near else ""


__all__ = [
    "DESCRIPTIONS",
    "KEYED",
    "NAMES",
    "Columns",
    "Dataset",
    "bars_and_stripes",
    "digits",
    "load",
    "mnist",
    "patches",
    "read",
    "write_csv",
    "write_npy",
]
