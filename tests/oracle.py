"""Brute force, written apart from the library: NumPy loops over the definitions, in float64.

Nothing here imports gibbsite's formulas; a model comes in as its plain arrays.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike

import gibbsite as gb


def bits(n: int) -> np.ndarray:
    """All 2^n binary vectors, (2^n, n)."""
    return np.array(list(itertools.product([0.0, 1.0], repeat=n)))


def random_rbm(visible: gb.layers.Layer, n_hidden: int, seed: int, scale: float = 1.0) -> gb.RBM:
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


def bernoulli_energy(
    w: np.ndarray, b: np.ndarray, c: np.ndarray, v: np.ndarray, h: np.ndarray
) -> float:
    """E(v, h) = -v.W.h - b.v - c.h for one v and one h, by loops."""
    coupling = sum(v[i] * w[i, j] * h[j] for i in range(len(v)) for j in range(len(h)))
    return (
        -coupling
        - sum(b[i] * v[i] for i in range(len(v)))
        - sum(c[j] * h[j] for j in range(len(h)))
    )


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


def derivative(f: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """df/dx of an array function, shape x.shape + f(x).shape: central differences of order 8.

    With this step the truncation error, about step^8, and the rounding error, about 1e-16/step,
    are both near 1e-14 for functions of ordinary size.
    """
    step, stencil = 0.02, ((1, 4 / 5), (2, -1 / 5), (3, 4 / 105), (4, -1 / 280))
    rows = []
    for unit in np.eye(x.size):
        shift = step * unit.reshape(x.shape)
        rows.append(sum(a * (f(x + m * shift) - f(x - m * shift)) for m, a in stencil) / step)
    return np.array(rows).reshape(x.shape + np.shape(rows[0]))


def agree(actual: ArrayLike, expected: ArrayLike, tolerance: float = 1e-9) -> None:
    """Fail unless both have the same shape and agree, absolutely or relatively."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def differ(printed: ArrayLike, truth: ArrayLike) -> None:
    """Fail unless some entry is off by more than 1e-3."""
    assert np.max(np.abs(np.asarray(printed) - np.asarray(truth))) > 1e-3


@dataclass(frozen=True)
class Case:
    """A model small enough to write out: every v (or a grid of them) with every h.

    `theta` holds its arrays by the names of ``rbm.named_parameters()``, and ``visible.log_sigma``
    for Gaussian units, learned or not. `v` and `h` are the states, one row each; sums over v count
    `cell` each: 1, or the volume of a grid cell. `data` are rows of v to learn from.
    """

    rbm: gb.RBM
    theta: dict[str, np.ndarray]
    v: np.ndarray
    h: np.ndarray
    cell: float
    data: np.ndarray

    @property
    def w(self) -> np.ndarray:
        return self.theta["weight"]

    @property
    def b(self) -> np.ndarray:
        return self.theta["visible.bias"]

    @property
    def c(self) -> np.ndarray:
        return self.theta["hidden.bias"]

    @property
    def sigma(self) -> np.ndarray:
        """(n_visible,)"""
        return np.exp(self.theta["visible.log_sigma"]) * np.ones(len(self.b))

    def energy(self, v: np.ndarray, theta: dict[str, np.ndarray] | None = None) -> np.ndarray:
        """E of rows of v with every h, (rows, len(h))."""
        t = theta or self.theta
        w, b, c = t["weight"], t["visible.bias"], t["hidden.bias"]
        if "visible.log_sigma" in t:
            scale = np.exp(t["visible.log_sigma"])
            own = 0.5 * (((v - b) / scale) ** 2).sum(1)
            v = v / scale
        else:
            own = -(v @ b)
        return own[:, None] - v @ w @ self.h.T - self.h @ c

    def z(self, theta: dict[str, np.ndarray] | None = None) -> float:
        return float(self.cell * np.exp(-self.energy(self.v, theta)).sum())

    def log_p(self, v: np.ndarray, theta: dict[str, np.ndarray] | None = None) -> np.ndarray:
        return np.log(np.exp(-self.energy(v, theta)).sum(1)) - np.log(self.z(theta))

    def h_given(self, v: np.ndarray) -> np.ndarray:
        """p(h | v), (rows, len(h))."""
        weights = np.exp(-self.energy(v))
        return weights / weights.sum(1, keepdims=True)

    @cached_property
    def joint(self) -> np.ndarray:
        """p(v, h), (len(v), len(h)); a density in v where v is a grid."""
        return np.exp(-self.energy(self.v)) / self.z()

    @cached_property
    def p_v(self) -> np.ndarray:
        return self.joint.sum(1)

    @cached_property
    def p_h(self) -> np.ndarray:
        return self.cell * self.joint.sum(0)

    def varied(self, name: str, f: Callable[[dict[str, np.ndarray]], ArrayLike]) -> np.ndarray:
        """Derivative of f(theta) in one parameter, shape parameter.shape + f(theta).shape."""
        return derivative(lambda x: np.asarray(f(self.theta | {name: x})), self.theta[name])

    def d_energy(self, name: str, v: np.ndarray) -> np.ndarray:
        """dE/dtheta at rows of v, (*parameter, rows, len(h))."""
        return self.varied(name, lambda theta: self.energy(v, theta))

    def d_log_p(self, name: str, v: np.ndarray) -> np.ndarray:
        """dlog p/dtheta at rows of v, (*parameter, rows)."""
        return self.varied(name, lambda theta: self.log_p(v, theta))

    def model_mean(self, f: np.ndarray) -> np.ndarray:
        """Mean under p(v, h) of f, (..., len(v), len(h))."""
        return self.cell * (self.joint * f).sum((-2, -1))

    def data_mean(self, f: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Mean under p(h | v) of f, (..., rows, len(h)), row by row: (..., rows)."""
        return (self.h_given(v) * f).sum(-1)


def bernoulli_case(seed: int) -> Case:
    """4 visible and 3 hidden binary units; 5 rows of data, one of them twice."""
    rbm = random_rbm(gb.Bernoulli(4), 3, seed).requires_grad_(False)
    w, b, c = arrays(rbm)
    theta = {"weight": w, "visible.bias": b, "hidden.bias": c}
    return Case(rbm, theta, bits(4), bits(3), 1.0, bits(4)[[1, 6, 6, 11, 12]])


def gaussian_case(sigma: float | list[float], learn_sigma: bool, seed: int = 3) -> Case:
    """2 Gaussian and 3 binary units, with v on a quadrature grid; 4 rows of data off the grid."""
    visible = gb.Gaussian(2, sigma=torch.as_tensor(sigma).double(), learn_sigma=learn_sigma)
    rbm = random_rbm(visible, 3, seed).requires_grad_(False)
    w, b, c = arrays(rbm)
    scale = np.atleast_1d(np.asarray(rbm.visible.sigma))
    log_sigma = np.log(scale[:1] if np.ndim(sigma) == 0 else scale)
    theta = {"weight": w, "visible.bias": b, "hidden.bias": c, "visible.log_sigma": log_sigma}
    grid, cell = quadrature_grid(w, b, scale)
    data = np.array([[0.3, -1.2], [1.7, 0.4], [-0.8, 2.1], [0.0, 0.6]])
    return Case(rbm, theta, grid, bits(3), cell, data)
