"""Markov chains whose stationary distribution is the model."""

from gibbsite.sampling.conditionals import Conditionals, check_clamp
from gibbsite.sampling.diagnostics import autocorrelation_time, split_r_hat
from gibbsite.sampling.gibbs import Gibbs, GibbsInfo, GibbsState
from gibbsite.sampling.ladder import ExchangeInfo, LadderSampler
from gibbsite.sampling.path import PILOT_CHAINS, PILOT_STEPS, Path
from gibbsite.sampling.run import (
    Sampler,
    advance,
    overdispersed_start,
    random_start,
    reconstruct,
    sample,
)
from gibbsite.sampling.tempering import Tempering, TemperingState
from gibbsite.sampling.trajectory import Trajectory, TrajectoryState

__all__ = [
    "PILOT_CHAINS",
    "PILOT_STEPS",
    "Conditionals",
    "ExchangeInfo",
    "Gibbs",
    "GibbsInfo",
    "GibbsState",
    "LadderSampler",
    "Path",
    "Sampler",
    "Tempering",
    "TemperingState",
    "Trajectory",
    "TrajectoryState",
    "advance",
    "autocorrelation_time",
    "check_clamp",
    "overdispersed_start",
    "random_start",
    "reconstruct",
    "sample",
    "split_r_hat",
]
