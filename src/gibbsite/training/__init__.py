"""Training by stochastic gradient ascent of the log-likelihood."""

from gibbsite.training.average import Averaged
from gibbsite.training.checkpoint import Checkpoints
from gibbsite.training.fit import fit
from gibbsite.training.held_out import HeldOut
from gibbsite.training.history import History
from gibbsite.training.initialize import initialize
from gibbsite.training.monitor import Monitor
from gibbsite.training.penalties import L1, L2
from gibbsite.training.recipe import recipe_for
from gibbsite.training.schedules import polynomial_decay
from gibbsite.training.sgd import SGD
from gibbsite.training.standardize import (
    Held,
    Scaling,
    Whitening,
    by_layer_column,
    column_scales,
    scaling,
    scaling_for,
    to_data_units,
    to_standard_units,
    whitening,
    whitens,
)
from gibbsite.training.traits import Traits
from gibbsite.training.whitened import SigmaFloor, sigma_floor, sigma_groups, start_whitened

__all__ = [
    "L1",
    "L2",
    "SGD",
    "Averaged",
    "Checkpoints",
    "Held",
    "HeldOut",
    "History",
    "Monitor",
    "Scaling",
    "SigmaFloor",
    "Traits",
    "Whitening",
    "by_layer_column",
    "column_scales",
    "fit",
    "initialize",
    "polynomial_decay",
    "recipe_for",
    "scaling",
    "scaling_for",
    "sigma_floor",
    "sigma_groups",
    "start_whitened",
    "to_data_units",
    "to_standard_units",
    "whitening",
    "whitens",
]
