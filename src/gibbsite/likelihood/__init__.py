"""Likelihood: log Z and the log-likelihood with their errors, and cheap monitors."""

from gibbsite.likelihood.annealing import (
    adapted_schedule,
    anneal,
    overlap_schedule,
    salakhutdinov_murray_schedule,
    uniform_schedule,
)
from gibbsite.likelihood.baselines import baselines
from gibbsite.likelihood.condition import condition
from gibbsite.likelihood.conditional import conditional_log_likelihood
from gibbsite.likelihood.equilibrium import Equilibrium, equilibrium_draws
from gibbsite.likelihood.evaluate import Evaluation, evaluate
from gibbsite.likelihood.exchange import ExchangeLikelihood, exchange_log_partition
from gibbsite.likelihood.monitors import (
    free_energy_gap,
    pseudo_likelihood,
    reconstruction_error,
)
from gibbsite.likelihood.partition import (
    Direction,
    LogPartition,
    log_partition,
    temperatures_within,
)
from gibbsite.likelihood.trajectory import TrajectoryAIS
from gibbsite.sampling import Path

__all__ = [
    "Direction",
    "Equilibrium",
    "Evaluation",
    "ExchangeLikelihood",
    "LogPartition",
    "Path",
    "TrajectoryAIS",
    "adapted_schedule",
    "anneal",
    "baselines",
    "condition",
    "conditional_log_likelihood",
    "equilibrium_draws",
    "evaluate",
    "exchange_log_partition",
    "free_energy_gap",
    "log_partition",
    "overlap_schedule",
    "pseudo_likelihood",
    "reconstruction_error",
    "salakhutdinov_murray_schedule",
    "temperatures_within",
    "uniform_schedule",
]
