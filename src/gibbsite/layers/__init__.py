"""Unit types: one file each. `LAYERS` is the only list of them."""

from gibbsite.layers.base import Finite, Layer, Means, Moments, check_layer, first_fault
from gibbsite.layers.bernoulli import Bernoulli
from gibbsite.layers.categorical import Categorical
from gibbsite.layers.drelu import DReLU
from gibbsite.layers.fast import Form, fast, tempered
from gibbsite.layers.gaussian import Gaussian
from gibbsite.layers.register import LAYERS, layer_type, name_of, register_layer
from gibbsite.layers.relu import ReLU
from gibbsite.layers.spin import Spin
from gibbsite.layers.truncated_exponential import TruncatedExponential

__all__ = [
    "LAYERS",
    "Bernoulli",
    "Categorical",
    "DReLU",
    "Finite",
    "Form",
    "Gaussian",
    "Layer",
    "Means",
    "Moments",
    "ReLU",
    "Spin",
    "TruncatedExponential",
    "check_layer",
    "fast",
    "first_fault",
    "layer_type",
    "name_of",
    "register_layer",
    "tempered",
]
