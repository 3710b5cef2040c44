"""Markov chains whose stationary distribution is the model."""

from gibbsite.sampling.gibbs import Gibbs, GibbsInfo, GibbsState
from gibbsite.sampling.run import Sampler, random_start, reconstruct, sample

__all__ = ["Gibbs", "GibbsInfo", "GibbsState", "Sampler", "random_start", "reconstruct", "sample"]
