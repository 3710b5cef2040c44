"""The unit types of the library, by name."""

from __future__ import annotations

from gibbsite.layers.base import Layer
from gibbsite.layers.bernoulli import Bernoulli
from gibbsite.layers.binomial import Binomial
from gibbsite.layers.gaussian import Gaussian
from gibbsite.layers.mixed import Mixed
from gibbsite.layers.names import register_layer
from gibbsite.layers.poisson import Poisson

LAYERS: dict[str, type[Layer]] = {
    "bernoulli": Bernoulli,
    "binomial": Binomial,
    "gaussian": Gaussian,
    "mixed": Mixed,
    "poisson": Poisson,
}

for _name, _layer in LAYERS.items():
    register_layer(_name, _layer)
