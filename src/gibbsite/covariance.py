"""The covariance of columns of data, shrunk as far as held-out rows ask for."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

FOLDS = 5
"""Parts of the rows, each held out once."""

FEW_COLUMNS = 512
"""Number of columns up to which every fold is held out; beyond, one is, as others cost minutes."""

SHRINKAGES = torch.logspace(-6, 0, 49, dtype=torch.float64)
"""Candidates, of which the least keeps collinear columns apart."""


class ShrunkCorrelation(NamedTuple):
    r"""Correlation matrix $(1-a)\,C + a\,I$ of standardised columns, by its eigenvectors.

    Of all a tried it has the one by which a Gaussian gives held-out rows the highest likelihood.
    Ledoit and Wolf (2004) shrink towards I, too, but by the squared error of the matrix, which is
    far too much for the small eigenvalues of nearly collinear columns.

    Attributes:
        values, vectors: eigenvalues after shrinkage, (n,), and eigenvectors, (n, n), float64.
        shrinkage: a.
    """

    values: Tensor
    vectors: Tensor
    shrinkage: float

    @classmethod
    def of(cls, blocks: Iterable[Tensor]) -> ShrunkCorrelation:
        """That of standardised rows, in blocks; a constant column counts as one of variance 1."""
        folds = _Folds.of(blocks)
        a = folds.best_shrinkage()
        values, vectors = torch.linalg.eigh(_unit_diagonal(folds.total().covariance()))
        return cls((1 - a) * values.clamp(min=0) + a, vectors, a)

    def root(self, power: float = 0.5) -> Tensor:
        """The symmetric matrix to that power: 1/2 for the square root, -1/2 for its inverse."""
        return (self.vectors * self.values**power) @ self.vectors.T


@dataclass(frozen=True)
class _Sums:
    """Number of rows, their sum and the sum of their outer products."""

    rows: int
    first: Tensor
    second: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> _Sums:
        return cls(len(rows), rows.sum(0), rows.T @ rows)

    def plus(self, other: _Sums, sign: int = 1) -> _Sums:
        """The sums of these rows and others, or, with sign -1, of these without others."""
        return _Sums(
            self.rows + sign * other.rows,
            self.first + sign * other.first,
            self.second + sign * other.second,
        )

    def mean(self) -> Tensor:
        return self.first / self.rows

    def covariance(self, around: Tensor | None = None) -> Tensor:
        """Mean of (x - around)(x - around)^T; around the mean if nothing is given."""
        mean = self.mean()
        gap = torch.zeros_like(mean) if around is None else mean - around
        return self.second / self.rows - torch.outer(mean, mean) + torch.outer(gap, gap)


class _Folds(NamedTuple):
    """Sums of the rows of each fold, which take every `FOLDS`-th row each."""

    parts: list[_Sums]

    @classmethod
    def of(cls, blocks: Iterable[Tensor]) -> _Folds:
        parts: list[_Sums] = []
        for block in blocks:
            own = [_Sums.of(block[fold::FOLDS].double()) for fold in range(FOLDS)]
            parts = [a.plus(b) for a, b in zip(parts, own, strict=True)] if parts else own
        return cls(parts)

    def total(self) -> _Sums:
        return functools.reduce(_Sums.plus, self.parts)

    def best_shrinkage(self) -> float:
        """That of the highest log-likelihood of rows held out; 1 if there are too few."""
        total, n = self.total(), len(self.parts[0].first)
        if total.rows < 2 * FOLDS:
            return 1.0
        score = torch.zeros_like(SHRINKAGES)
        for held in self.parts if n <= FEW_COLUMNS else self.parts[:1]:
            score += _scores(total.plus(held, -1), held)
        return float(SHRINKAGES[score.argmax()])


def _scores(kept: _Sums, held: _Sums) -> Tensor:
    """Log-likelihood of the rows held by each shrinkage of the rest's, up to a constant."""
    values, vectors = torch.linalg.eigh(_unit_diagonal(kept.covariance()))
    squares = ((held.covariance(kept.mean()) @ vectors) * vectors).sum(0)
    a = SHRINKAGES[:, None]
    shrunk = (1 - a) * values.clamp(min=0) + a
    scores: Tensor = -0.5 * held.rows * (shrunk.log() + squares / shrunk).sum(1)
    return scores


def _unit_diagonal(covariance: Tensor) -> Tensor:
    """The covariance with variances of 0, of constant columns, set to 1."""
    variances = covariance.diagonal()
    constant = variances <= 1e-12
    return covariance + torch.diag(torch.where(constant, 1.0 - variances, 0.0))
