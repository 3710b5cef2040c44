"""The data of defaults.py: the same rows to train on and to measure for every competitor."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from reference_rows import archive, mnist
from torch import Tensor

import gibbsite as gb

SEEN_ROWS = 10_000
"""Training rows, at most, that annealing starts from and that are measured too."""

VALID_SHARE, VALID_ROWS = 0.2, 2000
"""Share of the training rows, and rows at most, that a learning rate is chosen by."""


@dataclass(frozen=True)
class Table:
    """Rows of one data set.

    Attributes:
        train: rows to train on, (rows, columns); between 0 and 1 for the probability of a one.
        test: rows to measure, never trained on; zeros and ones where they are not real.
        real: True for real columns, else binary ones.
        hidden: hidden units that every competitor gets; None leaves them to its default.
        source: data as a stranger to Gibbsite would give them to the command, where that is not a
            file of `train`: parts by name that the command knows of.
    """

    train: Tensor
    test: Tensor
    real: bool = False
    hidden: int | None = None
    source: str | None = None

    @property
    def visible(self) -> gb.layers.Layer:
        width = self.train.shape[1]
        return gb.Gaussian(width) if self.real else gb.Bernoulli(width)

    def seen(self) -> Tensor:
        """Some of the rows to train on, evenly spaced, as states drawn once."""
        rows = gb.Rows.of(self.train)
        index = rows.spaced_index(SEEN_ROWS * rows.shape[1])
        return self.visible.observe(rows.at(index), torch.Generator().manual_seed(1))

    def split(self) -> Table:
        """Rows to train on and to choose by, both from `train`, at random with seed 7."""
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(7))
        n = min(VALID_ROWS, round(VALID_SHARE * len(order)))
        valid = self.visible.observe(self.train[order[:n]], torch.Generator().manual_seed(1))
        return Table(self.train[order[n:]], valid, self.real, self.hidden)

    def write(self, folder: Path) -> Path | str:
        """`source`, or a file: real rows in two parts (.npz), else those to train on (.csv)."""
        if self.source is not None:
            return self.source
        path = folder / ("rows.npz" if self.real else "train.csv")
        if self.real:
            np.savez(path, train=self.train.numpy(), test=self.test.numpy())
        else:
            np.savetxt(path, self.train.numpy(), fmt="%.9g", delimiter=",")
        return path


def digits(seed: int) -> Table:
    data = gb.datasets.load("digits")
    assert data.test is not None
    return Table(data.train, data.test)


def nade(name: str, seed: int) -> Table:
    """A data set in three parts, of which the first two are to train on."""
    train, valid, _, _ = archive(name, "valid")
    source = str(Path(os.environ["GIBBSITE_DATA"]) / f"{name}.npz")
    return Table(torch.cat([train, valid]), archive(name, "test").held_out, source=source)


def grey_mnist(seed: int) -> Table:
    data = mnist("test")
    return Table(gb.Rows.of(data.train).dense(), data.held_out, hidden=500, source="mnist")


def patches(columns: int, seed: int) -> Table:
    """So many of the 64 pixels; the last follows from the others, as a patch is less its mean."""
    data = gb.datasets.load("patches")
    assert data.test is not None
    return Table(data.train[:, :columns], data.test[:, :columns], real=True)


def sklearn_table(name: str, seed: int) -> Table:
    """A table of scikit-learn's; a fifth of its rows, at random, are for the test."""
    import sklearn.datasets

    rows = torch.from_numpy(getattr(sklearn.datasets, f"load_{name}")().data).float()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    n = len(rows) // 5
    return Table(rows[order[n:]], rows[order[:n]], real=True)


TABLES: dict[str, Callable[[int], Table]] = {
    "digits": digits,
    "mushrooms": partial(nade, "mushrooms"),
    "dna": partial(nade, "dna"),
    "wine": partial(sklearn_table, "wine"),
    "breast_cancer": partial(sklearn_table, "breast_cancer"),
    "diabetes": partial(sklearn_table, "diabetes"),
    "patches": partial(patches, 64),
    "patches-63": partial(patches, 63),
    "mnist": grey_mnist,
}
"""Data sets by name; the seed matters where the split is at random."""
