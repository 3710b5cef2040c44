"""Unit types: one file each. `LAYERS` is the only list of them."""

from gibbsite.layers.base import Layer
from gibbsite.layers.bernoulli import Bernoulli
from gibbsite.layers.binomial import Binomial
from gibbsite.layers.by_column import column_types, kind_of, layer_for
from gibbsite.layers.categorical import Categorical
from gibbsite.layers.drelu import DReLU
from gibbsite.layers.fast import Beta, Form, fast, tempered
from gibbsite.layers.faults import first_fault, require
from gibbsite.layers.finite import Finite
from gibbsite.layers.gaussian import Gaussian
from gibbsite.layers.mixed import Mixed
from gibbsite.layers.moments import Means, Moments
from gibbsite.layers.multivariate_gaussian import MultivariateGaussian, transformed
from gibbsite.layers.names import as_layer, layer_type, name_of, register_layer
from gibbsite.layers.poisson import Poisson
from gibbsite.layers.quadrature import gauss_legendre
from gibbsite.layers.relu import ReLU
from gibbsite.layers.spin import Spin
from gibbsite.layers.truncated_exponential import TruncatedExponential

LAYERS: dict[str, type[Layer]] = {
    "bernoulli": Bernoulli,
    "binomial": Binomial,
    "categorical": Categorical,
    "drelu": DReLU,
    "gaussian": Gaussian,
    "mixed": Mixed,
    "multivariate-gaussian": MultivariateGaussian,
    "poisson": Poisson,
    "relu": ReLU,
    "spin": Spin,
    "truncated-exponential": TruncatedExponential,
}

for _name, _layer in LAYERS.items():
    register_layer(_name, _layer)

__all__ = [
    "LAYERS",
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "DReLU",
    "Finite",
    "Form",
    "Gaussian",
    "Layer",
    "Means",
    "Mixed",
    "Moments",
    "MultivariateGaussian",
    "Poisson",
    "ReLU",
    "Spin",
    "TruncatedExponential",
    "as_layer",
    "column_types",
    "fast",
    "first_fault",
    "gauss_legendre",
    "kind_of",
    "layer_for",
    "layer_type",
    "name_of",
    "register_layer",
    "require",
    "tempered",
    "transformed",
]
