"""Unit types: one file each. `LAYERS` is the only list of them."""

from gibbsite.layers.base import Finite, Layer, Moments, check_layer, first_fault
from gibbsite.layers.bernoulli import Bernoulli
from gibbsite.layers.binomial import Binomial
from gibbsite.layers.fast import Form, fast, tempered
from gibbsite.layers.gaussian import Gaussian
from gibbsite.layers.mixed import Mixed
from gibbsite.layers.names import layer_type, name_of, register_layer
from gibbsite.layers.poisson import Poisson
from gibbsite.layers.register import LAYERS

__all__ = [
    "LAYERS",
    "Bernoulli",
    "Binomial",
    "Finite",
    "Form",
    "Gaussian",
    "Layer",
    "Mixed",
    "Moments",
    "Poisson",
    "check_layer",
    "fast",
    "first_fault",
    "layer_type",
    "name_of",
    "register_layer",
    "tempered",
]
