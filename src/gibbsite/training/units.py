"""Units of measurement: a warning of columns so scaled that no learning rate suits them all."""

from __future__ import annotations

import logging
from typing import Any
from weakref import WeakSet

import torch

from gibbsite.model import RBM
from gibbsite.rows import Rows
from gibbsite.training.standardize import column_moments, measured_columns

log = logging.getLogger("gibbsite")

NARROW, WIDE, AWAY = 0.5, 5.0, 1.5
"""Least and greatest standard deviation, and greatest |mean| / deviation, that train well."""

FEWEST_ROWS = 50
"""Number of rows below which standard deviations say too little."""

_muted: WeakSet[RBM] = WeakSet()


def mute_units_warning(rbm: RBM) -> None:
    """Let `warn_of_units` be silent on this model, whose units were chosen or warned of."""
    _muted.add(rbm)


def warn_of_units(rbm: RBM, data: Any) -> None:
    """Warn in the log, once a model, if its data are far from standardised.

    Give the data as they came, with digits that the dtype of the model may lack.
    """
    if rbm in _muted or len(data) < FEWEST_ROWS:
        return
    if description := units_far_from_standard(rbm, Rows.of(data)):
        mute_units_warning(rbm)
        log.warning(
            "%s: one learning rate suits some of the parameters and harms others; train in "
            "standard units, see gibbsite.training.to_standard_units",
            description,
        )


def units_far_from_standard(rbm: RBM, data: Rows) -> str:
    """Description of columns far from standardised, where units have a scale; else ''."""
    if not rbm.visible.has_units:
        return ""
    rows = data[data.spaced_index()][:, measured_columns(rbm.visible, data.shape[1]).cpu()]
    mean, scale = column_moments(rows)
    varies = scale > 10 * torch.finfo(rows.dtype).eps * mean.abs()
    scale = scale[varies]
    distance = mean[varies].abs() / scale
    if not bool(((scale < NARROW) | (scale > WIDE) | (distance > AWAY)).any()):
        return ""
    return (
        f"the columns have standard deviations from {float(scale.min()):.3g} to "
        f"{float(scale.max()):.3g}, and means up to {float(distance.max()):.3g} of those from 0"
    )
