"""`Dataset`, the result of every data source."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gibbsite.checks import check_memory
from gibbsite.datasets.categories import Categories
from gibbsite.errors import ArgumentError, DataError, EntryError
from gibbsite.layers import Layer
from gibbsite.rows import Rows

MOST_VALID = 2_000
"""Rows held out to steer training by, at most."""


@dataclass(frozen=True)
class Dataset:
    """Rows to train on and rows held out, one configuration a row.

    Attributes:
        name: for titles and folders.
        rows: rows to train on, (rows, n_visible); `Rows` where that saves memory.
        test: rows never trained on, or None where there are none.
        visible: the type of unit the values are meant for, a key of `gibbsite.layers.LAYERS`, or
            several by column (`gibbsite.layers.column_types`).
        image_shape: (height, width) if a row is an image.
        description: source and preprocessing, in one sentence.
        columns: their names, where the source has them.
        categories: for each column its words, in the order of the codes that stand for them in
            rows and test, or None for one of numbers; None where there are no words.
        valid: rows that the source sets apart to steer training by, or None.
    """

    name: str
    rows: Tensor | Rows
    test: Tensor | None
    visible: str
    image_shape: tuple[int, int] | None
    description: str
    columns: tuple[str, ...] | None = None
    categories: Categories | None = None
    valid: Tensor | None = None

    @property
    def train(self) -> Tensor:
        """`rows` as one tensor."""
        return Rows.of(self.rows).dense()

    def greatest(self) -> Tensor:
        """The greatest value of each column of all rows, (columns,), in float64."""
        parts = [Rows.of(x) for x in (self.rows, self.test, self.valid) if x is not None]
        ends = [ends.amax(0) for part in parts for ends in part.column_extremes()]
        return torch.stack(ends).amax(0).double()

    def check(self, visible: Layer, source: str) -> None:
        """Raise a `DataError` that names source, row and column unless all rows suit the units.

        Of data not yet split the row is that of the file.
        """
        for rows, part in ((self.rows, ""), (self.test, ", test"), (self.valid, ", valid")):
            start = 0
            for block in () if rows is None else Rows.of(rows).blocks(visible.width):
                try:
                    visible.check_data(block)
                except EntryError as error:
                    entry = error.shifted(start)
                    raise entry.within(f"{source}{part}", self.columns) from error
                start += len(block)

    def split(self, test_fraction: float, generator: torch.Generator | None = None) -> Dataset:
        """Move a random `test_fraction` of train to test, unless there is a test set already.

        The test set is held in memory: `TooLargeError` if that is too small for it.
        """
        if self.test is not None:
            return self
        if not 0 <= test_fraction < 1:
            raise ArgumentError(f"test_fraction={test_fraction!r}: expected 0 up to less than 1")
        n_test = round(test_fraction * len(self.rows))
        if n_test == len(self.rows):
            raise DataError(f"{self.name}: {n_test} rows are too few to split; use test fraction 0")
        if n_test == 0:
            return self
        check_memory(f"a test set of {n_test} rows", n_test, self.rows.shape[1])
        rest, test = _parted(self.rows, n_test, generator)
        return replace(self, rows=rest, test=test)

    def hold_out(self, fraction: float, generator: torch.Generator | None = None) -> Dataset:
        """Move a random fraction of train to valid, unless the source set such rows apart.

        At most 2,000 rows, and none for a fraction of 0.
        """
        if self.valid is not None or fraction == 0:
            return self
        n = max(1, round(min(MOST_VALID, fraction * len(self.rows))))
        rest, valid = _parted(self.rows, n, generator)
        return replace(self, rows=rest, valid=valid)


def _parted(
    rows: Tensor | Rows, n: int, generator: torch.Generator | None
) -> tuple[Tensor | Rows, Tensor]:
    """All but n of the rows, and these, drawn at random."""
    order = torch.randperm(len(rows), generator=generator)
    rest = rows.take(order[n:]) if isinstance(rows, Rows) else rows[order[n:]]
    return rest, rows[order[:n]]
