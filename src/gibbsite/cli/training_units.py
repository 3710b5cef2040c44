"""Units that a model of a run is trained in, and the way back to those of the data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from gibbsite.layers import Layer
from gibbsite.model import RBM
from gibbsite.rows import Rows
from gibbsite.training import (
    Scaling,
    Whitening,
    by_layer_column,
    scaling,
    scaling_for,
    to_data_units,
    to_standard_units,
    whitening,
)

Convert = Callable[[RBM], RBM]


class TrainingUnits(NamedTuple):
    """Units of training.

    Attributes:
        rows: gives rows of the data in them.
        restore: gives the model of the data from one in them.
        convert: the inverse of restore.
        scaling: of the columns; None where there is none.
        log_volume: log of the volume of the data that a unit volume in them is, by which
            log-densities are higher in them.
    """

    rows: Callable[[Tensor | Rows], Tensor | Rows]
    restore: Convert
    convert: Convert
    scaling: Scaling | None
    log_volume: float

    @classmethod
    def of(cls, visible: Layer, data: Tensor | Rows, whiten: bool) -> TrainingUnits:
        """Those for visible units: whitened, standardised by column, or as the data are.

        Units that are correlated already are whitened by their own covariance.
        """
        if not visible.has_units:
            return cls(lambda rows: rows, lambda rbm: rbm, lambda rbm: rbm, None, 0.0)
        device = visible.like.device
        if whiten:
            factor = dict(visible.named_buffers()).get("factor")
            own = None if factor is None else Whitening.of_factor(scaling(data), factor.cpu())
            white = own or whitening(data)
            shift, scale = (x.to(device) for x in (white.scaling.shift, white.factor))
            rows, found, volume = white.rows, white.scaling, torch.linalg.slogdet(scale)[1]
        else:
            found, kind = scaling_for(visible, data), data[:1].dtype  # in which digits matter
            shift = by_layer_column(visible, found.shift, 0.0).to(device, kind)
            scale = by_layer_column(visible, found.scale, 1.0).to(device, kind)
            rows = partial(_standardised, found, kind, visible.like.dtype)
            volume = found.scale.log().sum()
        restore = partial(to_data_units, shift=shift, scale=scale)
        convert = partial(to_standard_units, shift=shift, scale=scale)
        return cls(rows, restore, convert, found, float(volume))


def _standardised(
    found: Scaling, kind: torch.dtype, dtype: torch.dtype, rows: Tensor | Rows
) -> Rows:
    """Rows in standard units."""
    shift, scale = found.shift.to(kind), found.scale.to(kind)
    if isinstance(rows, Rows):
        inverse = 1 / scale
        return rows.affine(inverse, -shift * inverse)
    return Rows(((rows - shift) / scale).to(dtype))
