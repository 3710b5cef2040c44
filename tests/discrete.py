"""Brute force for models whose layers have finitely many states and the energy -b.x.

NumPy over all pairs of states, in float64; a model comes in as its plain arrays.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy.special import logsumexp
from scipy.stats import chisquare

import gibbsite as gb


def spins(n: int) -> np.ndarray:
    """All vectors of -1 and +1, (2^n, n)."""
    return np.array(list(itertools.product([-1.0, 1.0], repeat=n)))


def one_hot(sizes: list[int]) -> np.ndarray:
    """All states of units of so many states each, one column a state."""
    choices = itertools.product(*(np.eye(q) for q in sizes))
    return np.array([np.concatenate(choice) for choice in choices])


class Enumerated:
    """Every probability of a model, given all states of either layer."""

    def __init__(self, rbm: gb.RBM, v: np.ndarray, h: np.ndarray) -> None:
        parts = rbm.weight, rbm.visible.bias, rbm.hidden.bias
        w, b, c = (part.detach().double().numpy() for part in parts)
        self.v, self.h = v, h
        exponents = (v @ b)[:, None] + h @ c + v @ w @ h.T
        self.log_z = float(logsumexp(exponents))
        self.joint = np.exp(exponents - self.log_z)
        self.p_v = self.joint.sum(1)

    def index(self, rows: np.ndarray | torch.Tensor) -> np.ndarray:
        """The index of each row among the states of v."""
        distances = np.abs(np.asarray(rows, float)[:, None] - self.v).sum(2)
        assert (distances.min(1) == 0).all(), "no state"
        return distances.argmin(1)

    def gradient(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Of the mean log-likelihood of rows: expectations given the data less the model's."""
        given = self.joint[self.index(rows)]
        data = np.zeros_like(self.joint)
        np.add.at(data, self.index(rows), given / given.sum(1, keepdims=True) / len(rows))
        p = data - self.joint
        return {
            "weight": self.v.T @ p @ self.h,
            "visible.bias": p.sum(1) @ self.v,
            "hidden.bias": p.sum(0) @ self.h,
        }

    def pseudo_log_likelihood(self, row: np.ndarray, units: list[slice]) -> float:
        """Sum over units of log p(unit | the others), by comparing states that differ there."""
        total = 0.0
        for columns in units:
            others = np.ones(len(row), bool)
            others[columns] = False
            alike = (self.v[:, others] == row[others]).all(1)
            total += np.log(self.p_v[self.index(row[None])[0]] / self.p_v[alike].sum())
        return float(total)


def random_model(visible: gb.layers.Layer, hidden: gb.layers.Layer, seed: int) -> gb.RBM:
    """A float64 model with every parameter drawn from N(0, 1)."""
    rbm, g = gb.RBM(visible, hidden).double(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in rbm.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g, dtype=torch.float64))
    return rbm


def assert_frequencies(index: np.ndarray, p: np.ndarray, failure: float = 1e-6) -> None:
    """Pearson's test of draws, by index, from p; the rarest, too few for it, count as one."""
    order = np.argsort(p)
    rarest = int(np.searchsorted(np.cumsum(p[order]) * len(index), 20.0))
    group = np.empty(len(p), int)
    group[order] = np.maximum(np.arange(len(p)) - rarest, 0)
    counts, expected = np.bincount(group[index]), np.bincount(group, p) * len(index)
    assert chisquare(counts, expected / expected.sum() * counts.sum()).pvalue > failure
