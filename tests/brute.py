"""Brute force for models whose layers have units of several types, and counts and real numbers.

NumPy over all states of both layers: counts as far as matters, real numbers by the trapezoid rule.
A model comes in as its plain arrays, by name, and a list of its units.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import gammaln, logsumexp

import gibbsite as gb

Parameters = dict[str, np.ndarray]
COUNTS = np.arange(50.0)
NODES = np.arange(-16, 16, 0.4)


@dataclass(frozen=True)
class Unit:
    """One unit: its kind, the name of its layer in the model, and its columns there."""

    kind: str
    layer: str
    columns: slice
    trials: int = 0

    def sigma(self, parameters: Parameters) -> float:
        if self.kind != "gaussian":
            return 1.0
        return float(np.exp(parameters[f"{self.layer}.log_sigma"][self.columns][0]))

    def energy(self, parameters: Parameters, x: np.ndarray) -> np.ndarray:
        """Of states (k, columns): (k,)."""
        bias = parameters[f"{self.layer}.bias"][self.columns]
        if self.kind == "gaussian":
            return (((x - bias) / self.sigma(parameters)) ** 2 / 2).sum(1)
        own = np.zeros(len(x))
        if self.kind == "poisson":
            own = gammaln(x[:, 0] + 1)
        if self.kind == "binomial":
            own = (
                gammaln(x[:, 0] + 1) + gammaln(self.trials - x[:, 0] + 1) - gammaln(self.trials + 1)
            )
        return own - x @ bias

    def points(self, parameters: Parameters) -> tuple[np.ndarray, float]:
        """All states (k, columns), and the log of the volume of each."""
        if self.kind == "gaussian":
            center = parameters[f"{self.layer}.bias"][self.columns].round(1)  # apart from b itself
            return center + NODES[:, None], float(np.log(NODES[1] - NODES[0]))
        if self.kind == "categorical":
            return np.eye(self.columns.stop - self.columns.start), 0.0
        most = {"bernoulli": 1, "binomial": self.trials, "poisson": len(COUNTS) - 1}[self.kind]
        return COUNTS[: most + 1, None], 0.0


class Side:
    """The states of a layer, each with its energy and volume in one number."""

    def __init__(self, units: list[Unit], parameters: Parameters) -> None:
        self.units, self.parameters = units, parameters
        grids = [unit.points(parameters) for unit in units]
        picks = itertools.product(*(range(len(points)) for points, _ in grids))
        index = np.array(list(picks))
        self.x = np.hstack([points[index[:, i]] for i, (points, _) in enumerate(grids)])
        self.log_weights = sum(volume for _, volume in grids) - self.energy(self.x)

    def columns(self) -> list[slice]:
        """Columns of each unit in the layer's rows."""
        ends = np.cumsum([0] + [u.columns.stop - u.columns.start for u in self.units])
        return [slice(a, b) for a, b in itertools.pairwise(ends.tolist())]

    def energy(self, x: np.ndarray) -> np.ndarray:
        pairs = zip(self.units, self.columns(), strict=True)
        return sum(unit.energy(self.parameters, x[:, own]) for unit, own in pairs)

    def statistic(self, x: np.ndarray) -> np.ndarray:
        pairs = zip(self.units, self.columns(), strict=True)
        return np.hstack([x[:, own] / unit.sigma(self.parameters) for unit, own in pairs])


class Brute:
    """Every probability of a model."""

    def __init__(self, parameters: Parameters, visible: list[Unit], hidden: list[Unit]) -> None:
        self.weight = parameters["weight"]
        self.visible, self.hidden = Side(visible, parameters), Side(hidden, parameters)
        self.log_joint = self.visible.log_weights[:, None] + self._given(self.visible.x)
        self.log_z = float(logsumexp(self.log_joint))

    def _given(self, v: np.ndarray) -> np.ndarray:
        """log of the factors of each h given rows of v, without the visible energy."""
        fields = self.visible.statistic(v) @ self.weight
        return self.hidden.log_weights + fields @ self.hidden.statistic(self.hidden.x).T

    def log_p(self, v: np.ndarray) -> np.ndarray:
        return logsumexp(self._given(v), axis=1) - self.visible.energy(v) - self.log_z

    def mean(self, f) -> np.ndarray:
        """E[f(v, h)] for f of rows v (k, 1, ...) and h (1, m, ...), which gives (k, m, columns)."""
        p = np.exp(self.log_joint - self.log_z)
        return np.einsum("kmc,km->c", f(self.visible.x[:, None], self.hidden.x[None]), p)

    def pseudo_log_likelihood(self, row: np.ndarray) -> float:
        """Sum over units of log p(unit | the others)."""
        total = 0.0
        for unit, own in zip(self.visible.units, self.visible.columns(), strict=True):
            points, volume = unit.points(self.visible.parameters)
            moved = np.tile(row, (len(points), 1))
            moved[:, own] = points
            total += self.log_p(row[None])[0] - logsumexp(self.log_p(moved) + volume)
        return float(total)


def arrays_by_name(rbm: gb.RBM) -> Parameters:
    """The parameters of a model as float64 arrays."""
    return {name: p.detach().double().numpy() for name, p in rbm.named_parameters()}


def random_rbm(visible: gb.layers.Layer, hidden: gb.layers.Layer, seed: int) -> gb.RBM:
    """A float64 model with parameters drawn from N(0, 1/4)."""
    rbm, g = gb.RBM(visible, hidden).double(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in rbm.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=g, dtype=torch.float64))
    return rbm
