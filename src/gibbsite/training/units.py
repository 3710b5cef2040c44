"""Units of measurement: data on which one learning rate cannot suit every parameter."""

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
"""Columns of standard deviations and means (in those) beyond which training was seen to suffer."""

FEWEST_ROWS = 50
"""Number of rows below which standard deviations say too little."""

_settled: WeakSet[RBM] = WeakSet()


def settle(rbm: RBM) -> None:
    """Let `tell_of_units` be silent on this model: its units were chosen, or told already."""
    _settled.add(rbm)


def tell_of_units(rbm: RBM, data: Any) -> None:
    """Warn in the log, once a model, if its data are far from standardised.

    Data are as they were given, with digits that the dtype of the model may lack.
    """
    if rbm in _settled or len(data) < FEWEST_ROWS or not rbm.visible.has_units:
        return
    found = units_far_from_standard(rbm, Rows.of(data))
    if found:
        settle(rbm)
        log.warning(
            "%s: one learning rate suits some of the parameters and harms others; train in "
            "standard units, see gibbsite.training.to_standard_units",
            found,
        )


def units_far_from_standard(rbm: RBM, data: Rows) -> str:
    """Description of columns far from standardised, where units have a scale; else ''."""
    if not rbm.visible.has_units:
        return ""
    rows = data[data.spread()][:, measured_columns(rbm.visible, data.shape[1]).cpu()]
    mean, scale = column_moments(rows)
    varies = scale > 10 * torch.finfo(rows.dtype).eps * mean.abs()
    away, scale = mean[varies].abs(), scale[varies]
    if not bool(((scale < NARROW) | (scale > WIDE) | (away > AWAY * scale)).any()):
        return ""
    ends = f"{float(scale.min()):.3g} to {float(scale.max()):.3g}"
    return (
        f"the columns have standard deviations from {ends}, and means up to "
        f"{float((away / scale).max()):.3g} of those from 0"
    )
