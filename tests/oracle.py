"""Brute force, written apart from the library: NumPy loops over the definitions, in float64.

Nothing here imports gibbsite's formulas; a model comes in as its plain arrays.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch

import gibbsite as gb


def bits(n: int) -> np.ndarray:
    """All 2^n binary vectors, (2^n, n)."""
    return np.array(list(itertools.product([0.0, 1.0], repeat=n)))


def random_rbm(
    visible: gb.layers.Layer, n_hidden: int, seed: int, scale: float = 1.0
) -> gb.RBM:
    """A float64 model with every parameter drawn from N(0, scale^2); log_sigma left as it is."""
    g = torch.Generator().manual_seed(seed)
    rbm = gb.RBM(visible, gb.Bernoulli(n_hidden)).double()
    with torch.no_grad():
        for parameter in (rbm.weight, rbm.visible.bias, rbm.hidden.bias):
            parameter.copy_(scale * torch.randn(parameter.shape, generator=g, dtype=torch.float64))
    return rbm


def arrays(rbm: gb.RBM) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """weight, visible bias, hidden bias."""
    return tuple(
        p.detach().numpy().astype(float) for p in (rbm.weight, rbm.visible.bias, rbm.hidden.bias)
    )


def bernoulli_energy(w: np.ndarray, b: np.ndarray, c: np.ndarray, v: np.ndarray, h: np.ndarray) -> float:
    """E(v, h) = -v.W.h - b.v - c.h for one v and one h, by loops."""
    coupling = sum(v[i] * w[i, j] * h[j] for i in range(len(v)) for j in range(len(h)))
    return -coupling - sum(b[i] * v[i] for i in range(len(v))) - sum(c[j] * h[j] for j in range(len(h)))


def gaussian_energy(
    w: np.ndarray, b: np.ndarray, c: np.ndarray, sigma: np.ndarray, v: np.ndarray, h: np.ndarray
) -> float:
    """Cheng's (3.3), negated, with a_i = 1/sigma_i, for one v and one h, by loops."""
    coupling = sum(v[i] / sigma[i] * w[i, j] * h[j] for i in range(len(v)) for j in range(len(h)))
    own = sum((v[i] - b[i]) ** 2 / (2 * sigma[i] ** 2) for i in range(len(v)))
    return -coupling + own - sum(c[j] * h[j] for j in range(len(h)))


def bernoulli_table(w: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """p(v, h) of every pair, (2^n_visible, 2^n_hidden), rows and columns in `bits` order."""
    table = np.array(
        [[-bernoulli_energy(w, b, c, v, h) for h in bits(len(c))] for v in bits(len(b))]
    )
    weights = np.exp(table - table.max())
    return weights / weights.sum()


def bernoulli_log_z(w: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    """log of the sum of exp(-E) over all pairs."""
    table = [-bernoulli_energy(w, b, c, v, h) for v in bits(len(b)) for h in bits(len(c))]
    top = max(table)
    return float(top + np.log(np.sum(np.exp(np.array(table) - top))))


def quadrature_grid(
    w: np.ndarray, b: np.ndarray, sigma: np.ndarray, step: float = 0.4, margin: float = 9.0
) -> tuple[np.ndarray, float]:
    """Points (k, n_visible) and the volume of one cell, covering all the mass of a Gaussian RBM.

    The trapezoid rule on it is exact to rounding for mixtures of Gaussians of widths sigma.
    """
    axes = []
    for i in range(len(b)):
        low = sigma[i] * (np.minimum(w[i], 0).sum() - margin)
        high = sigma[i] * (np.maximum(w[i], 0).sum() + margin)
        axes.append(b[i] + np.arange(low, high, step * sigma[i]))
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(b))
    return points, float(np.prod(step * sigma))
