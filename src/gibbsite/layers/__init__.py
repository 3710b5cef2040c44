"""Unit types: one file each. `LAYERS` is the only list of them."""

from gibbsite.layers.base import Finite, Layer, Moments, check_layer, first_fault
from gibbsite.layers.bernoulli import Bernoulli
from gibbsite.layers.drelu import DReLU
from gibbsite.layers.fast import Form, fast, tempered
from gibbsite.layers.gaussian import Gaussian
from gibbsite.layers.register import LAYERS, layer_type, name_of, register_layer
from gibbsite.layers.relu import ReLU
from gibbsite.layers.truncated_exponential import TruncatedExponential

__all__ = [
    "LAYERS",
    "Bernoulli",
    "DReLU",
    "Finite",
    "Form",
    "Gaussian",
    "Layer",
    "Moments",
    "ReLU",
    "TruncatedExponential",
    "check_layer",
    "fast",
    "first_fault",
    "layer_type",
    "name_of",
    "register_layer",
    "tempered",
]
