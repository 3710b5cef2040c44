"""What every data source gives."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gibbsite.errors import ArgumentError, DataError


@dataclass(frozen=True)
class Dataset:
    """Rows to train on and rows held out, float32, one configuration a row.

    Attributes:
        name: for titles and folders.
        train: (rows, n_visible).
        test: rows never trained on, or None where there are none.
        visible: the type of unit the values are meant for, a key of `gibbsite.layers.LAYERS`.
        image_shape: (height, width) if a row is an image.
        description: source and preprocessing, in one sentence.
    """

    name: str
    train: Tensor
    test: Tensor | None
    visible: str
    image_shape: tuple[int, int] | None
    description: str

    def split(self, test_fraction: float, generator: torch.Generator | None = None) -> Dataset:
        """Move a random `test_fraction` of train to test, unless there is a test set already."""
        if self.test is not None:
            return self
        if not 0 <= test_fraction < 1:
            raise ArgumentError(f"test_fraction={test_fraction!r}: expected 0 up to less than 1")
        n_test = round(test_fraction * len(self.train))
        if n_test == len(self.train):
            raise DataError(f"{self.name}: {n_test} rows are too few to split; use test fraction 0")
        if n_test == 0:
            return self
        order = torch.randperm(len(self.train), generator=generator)
        return replace(self, train=self.train[order[n_test:]], test=self.train[order[:n_test]])
