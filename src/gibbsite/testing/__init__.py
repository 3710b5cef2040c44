"""Checks for unit types, samplers and gradient estimators of your own; no test framework needed."""

from gibbsite.testing.gradients import check_gradient
from gibbsite.testing.layers import check_layer
from gibbsite.testing.samplers import check_sampler

__all__ = ["check_gradient", "check_layer", "check_sampler"]
