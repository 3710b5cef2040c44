"""The run.json of a run's folder: how its model was made, for all who go on from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from gibbsite.checks import check_file
from gibbsite.errors import DataError
from gibbsite.training.standardize import Scaling

FORMAT_VERSION = 1


def read_record(path: Path) -> dict[str, Any]:
    """The record in a run.json; `DataError` unless it is of the format that is written now."""
    try:
        check_file(path)
        record = dict(json.loads(path.read_text(encoding="utf-8")))
        if record["format"] != FORMAT_VERSION:
            raise ValueError(f"format {record['format']!r}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        if isinstance(error, OSError):
            reason = error.strerror or reason
        raise DataError(f"{path} is no run.json that can be used: {reason}") from error
    return record


def scaling_record(scaling: Scaling | None) -> dict[str, list[Any]] | None:
    """A scaling as plain lists by name; None for none."""
    if scaling is None:
        return None
    return {name: values.tolist() for name, values in scaling._asdict().items()}


def scaling_of(record: dict[str, Any], columns: int) -> Scaling | None:
    """The scaling in a record, None without one; `DataError` unless it is one of the columns."""
    found = record["data"].get("scaling")
    if found is None:
        return None
    try:
        shift, scale = (torch.tensor(found[name]).double() for name in ("shift", "scale"))
        constant = torch.tensor(found["constant"]).bool()
        shapes = {tuple(values.shape) for values in (shift, scale, constant)}
        finite = bool((torch.isfinite(shift) & torch.isfinite(scale) & (scale > 0)).all())
        if shapes != {(columns,)} or not finite:
            raise ValueError(f"expected finite numbers for {columns} columns, scales above 0")
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DataError(f"the scaling of the columns in a run.json is damaged: {error}") from error
    return Scaling(shift, scale, constant)
