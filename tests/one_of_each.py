"""One layer of every unit type, with enough units for any mask and few enough to sum over."""

import math

import torch

import gibbsite as gb
from gibbsite.layers import LAYERS, name_of
from gibbsite.testing.models import randomize

FACTOR = [[1.0, -0.2, 0.1], [0.5, 0.8, -0.3], [0.4, 0.6, 1.2]]


def correlated(n: int) -> gb.layers.Layer:
    return gb.MultivariateGaussian(torch.tensor(FACTOR)[:n, :n], torch.linspace(0.6, 1.3, n))


MAKE = {
    "bernoulli": gb.Bernoulli,
    "binomial": lambda n: gb.Binomial(n, list(range(1, n + 1))),
    "categorical": lambda n: gb.Categorical(list(range(2, n + 2))),
    "drelu": gb.DReLU,
    "gaussian": lambda n: gb.Gaussian(n, torch.linspace(0.5, 1.7, n), learn_sigma=True),
    "gaussian shared": lambda n: gb.Gaussian(n, 0.6),
    "mixed": lambda n: gb.Mixed(gb.Categorical(n, 3), gb.Gaussian(1, 0.8)),
    "mixed finite": lambda n: gb.Mixed(gb.Spin(n), gb.Binomial(1, 3)),
    "mixed multivariate": lambda n: gb.Mixed(gb.Bernoulli(1), correlated(n)),
    "multivariate": correlated,
    "poisson": gb.Poisson,
    "relu": lambda n: gb.ReLU(n, torch.linspace(0.5, 1.7, n)),
    "spin": gb.Spin,
    "truncated exponential": gb.TruncatedExponential,
}

FEW_UNITS = dict.fromkeys(MAKE, 3) | dict.fromkeys(
    ("drelu", "mixed", "mixed multivariate", "poisson", "relu", "truncated exponential"), 2
)
assert {name_of(make(2)) for make in MAKE.values()} == set(LAYERS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(visible: gb.layers.Layer, hidden: gb.layers.Layer, seed: int = 0) -> gb.RBM:
    """In float64, its parameters at random, and log Z finite for any two layers."""
    rbm = randomize(gb.RBM(visible, hidden).double(), seed)
    with torch.no_grad():
        rbm.weight.mul_(0.3 if math.isinf(visible.n_states) else 0.6)
    return rbm


def states(layer: gb.layers.Layer, n: int, seed: int = 0) -> torch.Tensor:
    return layer.sample(layer.zero_inputs(n), generator(seed))
