"""The shrunk correlation matrix against the definition of held-out likelihood."""

import numpy as np
import pytest
import torch
from oracle import agree
from scipy.stats import multivariate_normal

from gibbsite import covariance
from gibbsite.covariance import FOLDS, SHRINKAGES, ShrunkCorrelation


def standardised(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns)) @ rng.normal(size=(columns, columns))
    return (x - x.mean(0)) / x.std(0)


def held_out_score(x: np.ndarray, a: float) -> float:
    total = 0.0
    for fold in range(FOLDS):
        held, kept = x[fold::FOLDS], np.delete(x, np.s_[fold::FOLDS], axis=0)
        shrunk = (1 - a) * np.cov(kept.T, bias=True) + a * np.eye(x.shape[1])
        total += multivariate_normal.logpdf(held, kept.mean(0), shrunk).sum()
    return total


@pytest.mark.parametrize("rows", [15, 60, 600])
def test_it_is_the_one_by_which_held_out_rows_are_likeliest(rows):
    x = standardised(rows, 6)
    found = ShrunkCorrelation.of([torch.from_numpy(x)])
    scores = [held_out_score(x, a) for a in SHRINKAGES.tolist()]
    assert found.shrinkage == SHRINKAGES[int(np.argmax(scores))]
    expected = (1 - found.shrinkage) * np.cov(x.T, bias=True) + found.shrinkage * np.eye(6)
    agree(found.root(1.0), torch.from_numpy(expected), 1e-9)
    agree(found.root() @ found.root(), found.root(1.0), 1e-9)
    agree(found.root() @ found.root(-0.5), torch.eye(6), 1e-9)


def test_fewer_rows_are_shrunk_more():
    few, many = (ShrunkCorrelation.of([torch.from_numpy(standardised(n, 8))]) for n in (20, 2000))
    assert few.shrinkage > 10 * many.shrinkage


def test_blocks_and_few_rows_and_constant_columns(monkeypatch):
    x = torch.from_numpy(standardised(100, 4))
    whole, parts = ShrunkCorrelation.of([x]), ShrunkCorrelation.of([x[:50], x[50:]])
    agree(parts.root(), whole.root(), 1e-9)
    assert ShrunkCorrelation.of([x[:4]]).shrinkage == 1
    x[:, 2] = 0
    root = ShrunkCorrelation.of([x]).root()
    agree(root[2], torch.tensor([0.0, 0, 1, 0]), 1e-12)
    monkeypatch.setattr(covariance, "FEW_COLUMNS", 2)
    assert 0 < ShrunkCorrelation.of([x]).shrinkage < 1
