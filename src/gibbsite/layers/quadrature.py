"""Sums that integrate over a unit."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

GAUSS_POINTS = 16

PANEL_EXPONENT = 12.0
"""Largest change of a logarithm over a panel: `GAUSS_POINTS` integrate exp to 1e-15 across it."""


def gauss_legendre(edges: Tensor) -> tuple[Tensor, Tensor]:
    """Points and log-weights, (panels * 16,), of the composite rule between edges, ascending."""
    nodes, weights = (edges.new_tensor(x) for x in np.polynomial.legendre.leggauss(GAUSS_POINTS))
    half = edges.diff()[:, None] / 2
    points = edges[:-1, None] + half * (1 + nodes)
    return points.flatten(), torch.log(half * weights).flatten()
