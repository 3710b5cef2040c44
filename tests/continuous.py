"""Units with continuous states, written apart from the library: energies of one unit in NumPy.

Everything else about a unit follows from its energy by quadrature.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

import gibbsite as gb

NODES, WEIGHTS = np.polynomial.legendre.leggauss(40)


@dataclass
class Case:
    """A layer type: `energy` of x given the parameters of one unit, by name, and its interval."""

    make: Callable[[int], gb.layers.Layer]
    energy: Callable[..., np.ndarray]
    low: float
    high: float

    def layer(self, n: int, seed: int = 0) -> gb.layers.Layer:
        """A float64 layer with random parameters."""
        g = torch.Generator().manual_seed(seed)
        layer = self.make(n).double()
        with torch.no_grad():
            for name, parameter in layer.named_parameters():
                size = 0.4 if name.startswith("log") else 1.0
                noise = torch.randn(n, generator=g, dtype=torch.float64)
                parameter.copy_(size * noise)
        return layer

    def parameters(self, layer: gb.layers.Layer, unit: int) -> dict[str, float]:
        return {name: p[unit].item() for name, p in layer.named_parameters()}

    def density(self, layer: gb.layers.Layer, unit: int, inputs: float):
        """Points, and weights times exp(-energy + inputs x) scaled to a total of 1; log total."""
        edges = np.concatenate(
            [-np.geomspace(1e-6, 60, 200)[::-1], [0], np.geomspace(1e-6, 60, 200)]
        )
        edges = np.unique(np.clip(edges, self.low, self.high))
        half = np.diff(edges)[:, None] / 2
        x, weight = (edges[:-1, None] + half * (1 + NODES)).ravel(), (half * WEIGHTS).ravel()
        exponent = inputs * x - self.energy(x, **self.parameters(layer, unit)) + np.log(weight)
        top = exponent.max()
        p = np.exp(exponent - top)
        return x, p / p.sum(), top + math.log(p.sum())


def relu_energy(x, bias, log_gamma):
    return 0.5 * math.exp(log_gamma) * x**2 - bias * x


def drelu_energy(x, bias_plus, bias_minus, log_gamma_plus, log_gamma_minus):
    plus, minus = np.maximum(x, 0), np.minimum(x, 0)
    return (
        0.5 * math.exp(log_gamma_plus) * plus**2
        - bias_plus * plus
        + 0.5 * math.exp(log_gamma_minus) * minus**2
        - bias_minus * minus
    )


CASES = {
    "relu": Case(gb.ReLU, relu_energy, 0.0, math.inf),
    "drelu": Case(gb.DReLU, drelu_energy, -math.inf, math.inf),
    "truncated-exponential": Case(gb.TruncatedExponential, lambda x, bias: -bias * x, 0.0, 1.0),
}


def log_sum(values: list[float]) -> float:
    return float(np.logaddexp.reduce(values))


def model(case: Case, side: str, units: int, binary: int, seed: int) -> gb.RBM:
    """A float64 model with the case as `side` and Bernoulli units opposite, all random."""
    layer, other = case.layer(units, seed), gb.Bernoulli(binary).double()
    pair = (layer, other) if side == "visible" else (other, layer)
    rbm, g = gb.RBM(*pair), torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for x in (rbm.weight, other.bias):
            x.copy_(torch.randn(x.shape, generator=g, dtype=torch.float64))
    return rbm


def brute_log_partition(case: Case, side: str, rbm: gb.RBM) -> float:
    """log Z: a sum over the states of the binary side of products of one-unit integrals."""
    weight = rbm.weight.detach().numpy()
    weight = weight if side == "visible" else weight.T  # (units, binary)
    layer, other = (rbm.visible, rbm.hidden) if side == "visible" else (rbm.hidden, rbm.visible)
    bias = other.bias.detach().numpy()
    terms = []
    for state in itertools.product([0.0, 1.0], repeat=other.n):
        inputs = weight @ np.array(state)
        units = [case.density(layer, i, inputs[i])[2] for i in range(layer.n)]
        terms.append(float(bias @ np.array(state)) + sum(units))
    return log_sum(terms)


def brute_free_energy(case: Case, side: str, rbm: gb.RBM, v: np.ndarray) -> float:
    """F of one row: the energy of v, less the log of the hidden units' sum or integral."""
    weight = rbm.weight.detach().numpy()
    if side == "visible":
        own = sum(
            float(case.energy(v[i], **case.parameters(rbm.visible, i))) for i in range(len(v))
        )
        return own - float(np.logaddexp(0, rbm.hidden.bias.detach().numpy() + v @ weight).sum())
    inputs = v @ weight
    units = [case.density(rbm.hidden, j, inputs[j])[2] for j in range(len(inputs))]
    return -float(rbm.visible.bias.detach().numpy() @ v) - sum(units)


def brute_pseudo_likelihood(case: Case, side: str, rbm: gb.RBM, v: np.ndarray) -> float:
    """Sum over units of log p(v_i | all others) of one row."""
    total = 0.0
    for i in range(len(v)):
        if side == "visible":
            nodes = np.linspace(*((0, 1) if case.high == 1 else (max(case.low, -15), 15)), 401)
            half = np.diff(nodes)[:, None] / 2
            x, weights = (nodes[:-1, None] + half * (1 + NODES)).ravel(), (half * WEIGHTS).ravel()
            inputs = v @ rbm.weight.detach().numpy() + rbm.hidden.bias.detach().numpy()
            moved = inputs + (x - v[i])[:, None] * rbm.weight.detach().numpy()[i]
            energy = case.energy(x, **case.parameters(rbm.visible, i))
            own = float(case.energy(v[i], **case.parameters(rbm.visible, i)))
            here = float(np.logaddexp(0, inputs).sum()) - own
            there = np.logaddexp(0, moved).sum(1) - energy + np.log(weights)
            total += here - float(np.logaddexp.reduce(there))
        else:
            flipped = v.copy()
            flipped[i] = 1 - v[i]
            here = -brute_free_energy(case, side, rbm, v)
            total += here - np.logaddexp(here, -brute_free_energy(case, side, rbm, flipped))
    return total
