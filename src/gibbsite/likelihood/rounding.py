"""Cost of rounding in a model's dtype, and the model in float64 where that is too much."""

from __future__ import annotations

import torch

from gibbsite.model import RBM
from gibbsite.precision import in_double

MAX_ROUNDING = 1e-4
"""Nats that rounding may cost before chains go on in float64, or a verdict speaks of it."""


@torch.no_grad()
def rounding(rbm: RBM) -> float:
    r"""Estimate of the error of F(v), in nats, by rounding in the model's dtype.

    $\epsilon\,\lVert |s_v|\,W\,|s_h| \rVert$, with statistics of the size that the units have
    alone: b/sigma, above all, which is in the thousands for columns far from 0.
    """
    ends = []
    for layer in (rbm.visible, rbm.hidden):
        centre = layer.statistic(layer.mean(layer.zero_inputs(1)[0]))
        ends.append(1 + centre.abs().double())
    size = torch.linalg.vector_norm(ends[0][:, None] * rbm.weight.double() * ends[1])
    return torch.finfo(rbm.weight.dtype).eps * float(size)


def precise_enough(rbm: RBM) -> RBM:
    """The model, or the same in float64 if rounding may cost more than `MAX_ROUNDING`."""
    return in_double(rbm) if rounding(rbm) > MAX_ROUNDING else rbm


def rounding_problems(rbm: RBM) -> list[str]:
    """Problems for a verdict: one if even in float64 rounding may cost over `MAX_ROUNDING`."""
    cost = rounding(in_double(rbm))
    if cost <= MAX_ROUNDING:
        return []
    return [
        f"rounding in float64 may cost {cost:.1g} nats, so large are the weights, or the columns' "
        "distance from 0 in sigmas; standardise the columns"
    ]
