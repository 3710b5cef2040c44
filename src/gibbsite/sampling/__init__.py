"""Markov chains whose stationary distribution is the model."""

from gibbsite.sampling.conditionals import Conditionals
from gibbsite.sampling.diagnostics import autocorrelation_time, split_r_hat
from gibbsite.sampling.gibbs import Gibbs, GibbsInfo, GibbsState
from gibbsite.sampling.run import (
    Sampler,
    advance,
    overdispersed_start,
    random_start,
    reconstruct,
    sample,
)

__all__ = [
    "Conditionals",
    "Gibbs",
    "GibbsInfo",
    "GibbsState",
    "Sampler",
    "advance",
    "autocorrelation_time",
    "overdispersed_start",
    "random_start",
    "reconstruct",
    "sample",
    "split_r_hat",
]
