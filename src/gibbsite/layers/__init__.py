"""Unit types: one file each. `LAYERS` is the only list of them."""

from gibbsite.layers.base import Layer, Marginals, Phases, check_layer, first_fault
from gibbsite.layers.bernoulli import Bernoulli
from gibbsite.layers.gaussian import Gaussian

LAYERS: dict[str, type[Layer]] = {"bernoulli": Bernoulli, "gaussian": Gaussian}

__all__ = [
    "LAYERS",
    "Bernoulli",
    "Gaussian",
    "Layer",
    "Marginals",
    "Phases",
    "check_layer",
    "first_fault",
]
