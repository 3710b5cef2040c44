"""Error of rounding in a model's dtype, and the model in float64 where that is too large."""

from __future__ import annotations

import torch
from torch import Tensor

from gibbsite.layers import Layer
from gibbsite.model import RBM
from gibbsite.precision import in_double

MAX_ROUNDING = 1e-4
"""Error in nats above which chains run in float64, or a verdict reports it."""


@torch.no_grad()
def rounding(rbm: RBM) -> float:
    r"""Estimate of the error of F(v), in nats, by rounding in the model's dtype.

    $\epsilon\,\lVert |s_v|\,W\,|s_h| \rVert$, with the statistics of units without inputs; b/sigma
    of a Gaussian unit is in the thousands for columns far from 0.
    """
    v, h = (_sizes(layer).double() for layer in (rbm.visible, rbm.hidden))
    size = torch.linalg.vector_norm(v[:, None] * rbm.weight.double() * h)
    return torch.finfo(rbm.weight.dtype).eps * float(size)


def _sizes(layer: Layer) -> Tensor:
    """Sizes of the terms whose sum is a statistic, (width,); of a unit alone there is one."""
    mean = layer.mean(layer.zero_inputs(1)[0])
    if layer.independent:
        return 1 + layer.statistic(mean).abs()
    identity = torch.diag(torch.ones_like(mean))
    spread = (layer.mean(identity) - mean).abs().sum(0)
    return (mean.abs() + spread) @ layer.scaled_weight(identity).abs()


def precise_enough(rbm: RBM) -> RBM:
    """The model, in float64 if `rounding` exceeds `MAX_ROUNDING`."""
    return in_double(rbm) if rounding(rbm) > MAX_ROUNDING else rbm


def rounding_problems(rbm: RBM) -> list[str]:
    """Problems for a verdict: one if `rounding` exceeds `MAX_ROUNDING` even in float64."""
    error = rounding(in_double(rbm))
    if error <= MAX_ROUNDING:
        return []
    return [
        f"rounding in float64 may cost {error:.1g} nats, so large are the weights, or the columns' "
        "distance from 0 in sigmas; standardise the columns"
    ]
