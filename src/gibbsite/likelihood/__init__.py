"""How good a model is."""

from gibbsite.likelihood.monitors import (
    free_energy_gap,
    pseudo_likelihood,
    reconstruction_error,
)

__all__ = ["free_energy_gap", "pseudo_likelihood", "reconstruction_error"]
