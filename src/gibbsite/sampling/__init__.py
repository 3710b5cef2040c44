"""Markov chains whose stationary distribution is the model."""

from gibbsite.sampling.conditionals import Conditionals, check_clamp
from gibbsite.sampling.diagnose import diagnose, steps_within
from gibbsite.sampling.diagnostics import autocorrelation_time, split_r_hat
from gibbsite.sampling.gibbs import Gibbs, GibbsInfo, GibbsState
from gibbsite.sampling.imputation import Imputation, impute
from gibbsite.sampling.ladder import ExchangeInfo, LadderSampler, replicas_in
from gibbsite.sampling.path import PILOT_CHAINS, PILOT_STEPS, Path
from gibbsite.sampling.run import (
    Sampler,
    advance,
    overdispersed_start,
    random_start,
    reconstruct,
)
from gibbsite.sampling.samples import certificate_of, certified_sampler, sample
from gibbsite.sampling.tempering import Tempering, TemperingState
from gibbsite.sampling.trajectory import Trajectory, TrajectoryState, trajectory_models

__all__ = [
    "PILOT_CHAINS",
    "PILOT_STEPS",
    "Conditionals",
    "ExchangeInfo",
    "Gibbs",
    "GibbsInfo",
    "GibbsState",
    "Imputation",
    "LadderSampler",
    "Path",
    "Sampler",
    "Tempering",
    "TemperingState",
    "Trajectory",
    "TrajectoryState",
    "advance",
    "autocorrelation_time",
    "certificate_of",
    "certified_sampler",
    "check_clamp",
    "diagnose",
    "impute",
    "overdispersed_start",
    "random_start",
    "reconstruct",
    "replicas_in",
    "sample",
    "split_r_hat",
    "steps_within",
    "trajectory_models",
]
