"""Traits of data, by which the settings of a training run are chosen."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gibbsite.layers import Layer
from gibbsite.rows import Rows
from gibbsite.training.standardize import whitens

ROWS, COLUMNS = 5_000, 1_000
"""Rows that are looked at, at most; and columns, for how they are coupled."""

ENTRIES = 2**25
"""Entries that are looked at, about at most, of rows that are wider than that."""

ROWS_A_COLUMN = 3
"""Rows a column, at least, for a regression on the other columns to say anything."""

COUPLED = 0.9
"""R^2 given the others from which a unit is coupled."""

RIDGE = 1e-3


class Traits(NamedTuple):
    """Traits of data, by which settings are chosen.

    Attributes:
        rows, columns: of the data, columns as the visible layer has them.
        spread: mean variance of the columns as they are trained on, measured ones standardised.
        measured: True if some columns are measured in units of the data, as real ones.
        whitened: True if all of them are, and rows are whitened for training.
        coupled: share of units that the others nearly determine; 0 unless states are finite.
        bounded: True if the states of hidden units lie in an interval.
    """

    rows: int
    columns: int
    spread: float
    measured: bool = False
    whitened: bool = False
    coupled: float = 0.0
    bounded: bool = True

    @classmethod
    @torch.no_grad()
    def of(cls, visible: Layer, rows: Rows, hidden: Layer | None = None) -> Traits:
        """The traits of the rows, from at most 5,000 of them or 2^25 entries, always the same."""
        generator = torch.Generator().manual_seed(0)
        chosen = torch.randperm(len(rows), generator=generator)
        chosen = chosen[: max(1, min(ROWS, ENTRIES // visible.width))]
        states = visible.observe(visible.coerce(rows.at(chosen)), generator).cpu().double()
        wide = visible.width > min(COLUMNS, len(chosen) / ROWS_A_COLUMN)
        finite = not wide and not math.isinf(max(visible.sizes))
        interval = (0.0, 1.0) if hidden is None else hidden.interval
        measured = visible.measured.cpu()
        spread = torch.where(measured, 1.0, states.var(0, correction=0)).mean()
        return cls(
            len(rows),
            visible.width,
            float(spread),
            bool(measured.any()),
            whitens(visible, rows.shape[1]),
            coupled_share(states, visible) if finite else 0.0,
            all(map(math.isfinite, interval)),
        )


def coupled_share(states: Tensor, visible: Layer) -> float:
    r"""Share of the units whose R^2 by linear regression on the others is above 0.9.

    By $R_u^2 = 1 - \operatorname{tr} S_u / \operatorname{tr}\Sigma_{uu}$ over the columns of unit
    u, where $S_u = ((\Sigma^{-1})_{uu})^{-1}$ is the covariance of what the others leave
    unexplained and a ridge keeps the inverse finite. Units that do not vary are left out.
    """
    covariance = states.T.cov(correction=0).reshape(visible.width, visible.width)
    ridge = RIDGE * float(covariance.diagonal().mean().clamp(min=1e-12))
    identity = torch.eye(visible.width, dtype=covariance.dtype)
    precision = torch.linalg.inv(covariance + ridge * identity)
    coupled, varying = 0, 0
    for unit in range(visible.n):
        own = visible.unit_columns(unit)
        variance = float(covariance[own, own].trace())
        if variance > ridge:
            left = torch.linalg.inv(precision[own, own]).trace() - ridge * (own.stop - own.start)
            varying += 1
            coupled += bool(left < (1 - COUPLED) * variance)
    return coupled / max(1, varying)
