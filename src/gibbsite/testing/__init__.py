"""Checks for unit types, samplers and gradient estimators of your own; no test framework needed."""

from gibbsite.testing.layers import check_layer

__all__ = ["check_layer"]
