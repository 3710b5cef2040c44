"""Sums that integrate over a unit."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

GAUSS_POINTS = 16

TAIL = 9.0
"""Standard deviations beyond the mode of which the mass can be neglected."""

PANEL_EXPONENT = 12.0
"""Largest change of a logarithm over a panel: `GAUSS_POINTS` integrate exp to 1e-15 across it."""


def gauss_legendre(edges: Tensor) -> tuple[Tensor, Tensor]:
    """Points and log-weights, (panels * 16,), of the composite rule between edges, ascending."""
    nodes, weights = (edges.new_tensor(x) for x in np.polynomial.legendre.leggauss(GAUSS_POINTS))
    half = edges.diff()[:, None] / 2
    points = edges[:-1, None] + half * (1 + nodes)
    return points.flatten(), torch.log(half * weights).flatten()


def half_line_states(lowest: float, highest: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """Points t and log-weights that integrate exp(-t^2/2 + z t) for lowest <= z <= highest.

    Panels are of width 1 at most, and start so narrow, and widen so slowly, that no exponential
    is steep within one that matters.
    """
    end = max(highest, 0.0) + TAIL
    first = min(1.0, PANEL_EXPONENT / max(end, -lowest))
    edges = [0.0]
    while edges[-1] < end:
        edges.append(edges[-1] + min(1.0, max(first, edges[-1] / 4)))
    return gauss_legendre(like.new_tensor(edges))
