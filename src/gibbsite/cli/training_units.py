"""Units that a model of a run is trained in, and the way back to those of the data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

import gibbsite as gb
from gibbsite.rows import Rows
from gibbsite.training import (
    Scaling,
    by_layer_column,
    scaling_for,
    to_data_units,
    whitening,
    whitens,
)


class TrainingUnits(NamedTuple):
    """Units of training.

    Attributes:
        rows: gives rows of the data in them.
        restore: gives the model of the data from one in them.
        scaling: of the columns; None where there is none.
        log_volume: log of the volume of the data that a unit volume in them is, by which
            log-densities are higher in them.
    """

    rows: Callable[[Tensor | Rows], Tensor | Rows]
    restore: Callable[[gb.RBM], gb.RBM]
    scaling: Scaling | None
    log_volume: float

    @classmethod
    def of(cls, rbm: gb.RBM, data: Tensor | Rows) -> TrainingUnits:
        """Those for the visible units: whitened, standardised by column, or as the data are."""
        visible = rbm.visible
        if not visible.has_units:
            return cls(lambda rows: rows, lambda rbm: rbm, None, 0.0)
        if whitens(visible, data.shape[1]):
            return cls._whitened(rbm, data)
        return cls._standard(rbm, data)

    @classmethod
    def _whitened(cls, rbm: gb.RBM, data: Tensor | Rows) -> TrainingUnits:
        white = whitening(data)
        shift, factor = (x.to(rbm.weight.device) for x in (white.scaling.shift, white.factor))
        restore = partial(to_data_units, shift=shift, scale=factor)
        return cls(white.rows, restore, white.scaling, float(torch.linalg.slogdet(factor)[1]))

    @classmethod
    def _standard(cls, rbm: gb.RBM, data: Tensor | Rows) -> TrainingUnits:
        visible = rbm.visible
        found, kind = scaling_for(visible, data), data[:1].dtype  # float64 where its digits matter
        wide = (
            by_layer_column(visible, found.shift, 0.0),
            by_layer_column(visible, found.scale, 1.0),
        )
        shift, scale = (values.to(rbm.weight.device, kind) for values in wide)
        restore = partial(to_data_units, shift=shift, scale=scale)
        convert = partial(_standardised, found, kind, rbm.weight.dtype)
        return cls(convert, restore, found, float(found.scale.log().sum()))


def _standardised(
    found: Scaling, kind: torch.dtype, dtype: torch.dtype, rows: Tensor | Rows
) -> Rows:
    """Rows in standard units."""
    shift, scale = found.shift.to(kind), found.scale.to(kind)
    if isinstance(rows, Rows):
        inverse = 1 / scale
        return rows.affine(inverse, -shift * inverse)
    return Rows(((rows - shift) / scale).to(dtype))
