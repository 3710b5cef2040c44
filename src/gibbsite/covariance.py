"""The covariance of columns of data, shrunk as far as held-out rows ask for."""

from __future__ import annotations

from collections.abc import Iterable
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
    Towards I, as in Ledoit and Wolf (2004), but they minimise the squared error of the matrix, which
    shrinks the small eigenvalues of nearly collinear columns by far too much.

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


class _Sums(NamedTuple):
    """Count, sum and sum of outer products of rows."""

    count: int
    first: Tensor
    second: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> _Sums:
        return cls(len(rows), rows.sum(0), rows.T @ rows)

    def __add__(self, other: object) -> _Sums:
        assert isinstance(other, _Sums)
        return _Sums(*(a + b for a, b in zip(self, other, strict=True)))

    def less(self, other: _Sums) -> _Sums:
        return _Sums(*(a - b for a, b in zip(self, other, strict=True)))

    def mean(self) -> Tensor:
        return self.first / self.count

    def covariance(self, around: Tensor | None = None) -> Tensor:
        """Mean of (x - around)(x - around)^T; around the mean if nothing is given."""
        mean = self.mean()
        gap = torch.zeros_like(mean) if around is None else mean - around
        return self.second / self.count - torch.outer(mean, mean) + torch.outer(gap, gap)


class _Folds(NamedTuple):
    """Sums of the rows of each fold, which take every `FOLDS`-th row each."""

    parts: list[_Sums]

    @classmethod
    def of(cls, blocks: Iterable[Tensor]) -> _Folds:
        parts: list[_Sums] = []
        for block in blocks:
            own = [_Sums.of(block[fold::FOLDS].double()) for fold in range(FOLDS)]
            parts = [a + b for a, b in zip(parts, own, strict=True)] if parts else own
        return cls(parts)

    def total(self) -> _Sums:
        total = self.parts[0]
        for part in self.parts[1:]:
            total = total + part
        return total

    def best_shrinkage(self) -> float:
        """That of the highest log-likelihood of rows held out; 1 if rows are too few to hold out."""
        total, n = self.total(), len(self.parts[0].first)
        if total.count < 2 * FOLDS:
            return 1.0
        score = torch.zeros_like(SHRINKAGES)
        for held in self.parts if n <= FEW_COLUMNS else self.parts[:1]:
            score += _scores(total.less(held), held)
        return float(SHRINKAGES[score.argmax()])


def _scores(kept: _Sums, held: _Sums) -> Tensor:
    """Log-likelihood of the rows held by each shrinkage of the rest's, up to a constant."""
    values, vectors = torch.linalg.eigh(_unit_diagonal(kept.covariance()))
    squares = ((held.covariance(kept.mean()) @ vectors) * vectors).sum(0)
    a = SHRINKAGES[:, None]
    shrunk = (1 - a) * values.clamp(min=0) + a
    return -0.5 * held.count * (shrunk.log() + squares / shrunk).sum(1)


def _unit_diagonal(covariance: Tensor) -> Tensor:
    """The covariance with variances of 0, of constant columns, set to 1."""
    variances = covariance.diagonal()
    constant = variances <= 1e-12
    return covariance + torch.diag(torch.where(constant, 1.0 - variances, 0.0))
