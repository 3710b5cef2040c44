"""One unit of each type from its energy alone, by sums and adaptive quadrature."""

import itertools
import math

import numpy as np
import torch
from scipy.integrate import quad
from scipy.special import gammaln

import gibbsite as gb

INPUTS = (-2.3, -0.4, 0.0, 0.7, 1.9)
INFINITY = math.inf


def relu_energy(x, bias, log_gamma):
    return math.exp(log_gamma) * x**2 / 2 - bias * x


def drelu_energy(x, bias_plus, bias_minus, log_gamma_plus, log_gamma_minus):
    side = (bias_plus, log_gamma_plus) if x > 0 else (bias_minus, log_gamma_minus)
    return math.exp(side[1]) * x**2 / 2 - side[0] * x


UNITS = {
    "spin": (gb.Spin, lambda x, bias: -bias * x, [-1.0, 1.0]),
    "binary": (gb.Bernoulli, lambda x, bias: -bias * x, [0.0, 1.0]),
    "poisson": (gb.Poisson, lambda x, bias: gammaln(x + 1) - bias * x, np.arange(200.0)),
    "binomial": (
        lambda n: gb.Binomial(n, 5),
        lambda x, bias: gammaln(x + 1) + gammaln(6 - x) - gammaln(6) - bias * x,
        np.arange(6.0),
    ),
    "relu": (gb.ReLU, relu_energy, (0, INFINITY)),
    "drelu": (gb.DReLU, drelu_energy, (-INFINITY, INFINITY)),
    "truncated exponential": (gb.TruncatedExponential, lambda x, bias: -bias * x, (0, 1)),
    "gaussian": (gb.Gaussian, lambda x, bias: (x - bias) ** 2 / 2, (-INFINITY, INFINITY)),
}  # fmt: skip
"""Class, energy of one unit, and its states: a list, or the ends of an interval."""


class Unit:
    """One unit of a layer with random parameters, and integrals over it from its energy alone."""

    def __init__(self, name: str, seed: int = 0) -> None:
        make, self.function, self.states = UNITS[name]
        self.layer = make(1).double()
        g = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.layer.parameters():
                parameter.copy_(0.6 * torch.randn(1, generator=g, dtype=torch.float64))
        self.theta = {name: p.item() for name, p in self.layer.named_parameters()}

    def energy(self, x, **other: float):
        return self.function(x, **{**self.theta, **other})

    def total(self, inputs: float, f=lambda x: 1.0, **other: float) -> float:
        """The sum or integral of f(x) exp(-energy(x) + inputs x)."""

        def term(x):
            return f(x) * math.exp(-self.energy(x, **other) + inputs * x)

        if not isinstance(self.states, tuple):
            return math.fsum(term(x) for x in self.states)
        low, high = self.states
        points = [max(low, -40.0), 0.0, min(high, 40.0)]
        parts = itertools.pairwise(sorted(set(points) | {p for p in (-5, 5) if low < p < high}))
        return math.fsum(quad(term, *ends, epsabs=0, epsrel=1e-13)[0] for ends in parts)

    def log_total(self, inputs: float, **other: float) -> float:
        return math.log(self.total(inputs, **other))

    def mean(self, inputs: float, f=lambda x: x) -> float:
        return self.total(inputs, f) / self.total(inputs)

    def ask(self, method: str, inputs: float):
        """The layer's own answer."""
        with torch.no_grad():
            return getattr(self.layer, method)(torch.tensor([inputs], dtype=torch.float64))


def log_partitions(unit: Unit) -> np.ndarray:
    return np.array([unit.ask("log_partition", z).item() for z in INPUTS])


def means(unit: Unit) -> np.ndarray:
    return np.array([unit.ask("mean", z).item() for z in INPUTS])


def brute_log_totals(unit: Unit) -> np.ndarray:
    return np.array([unit.log_total(z) for z in INPUTS])


def fields(unit: Unit) -> np.ndarray:
    """a = b + I."""
    return unit.theta["bias"] + np.array(INPUTS)
