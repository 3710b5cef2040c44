"""Runs that go on beyond the end that they were given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gibbsite as gb
from gibbsite.cli.settings import Settings, check_budget, training_seconds
from gibbsite.errors import ArgumentError, DataError
from gibbsite.training.history import Record
from gibbsite.training.run import history_of

MOST_EPOCHS = 10**9


def later_end(folder: Path, epochs: str | None, seconds: float | None) -> dict[str, Any]:
    """Settings of a run that change if it goes on for so many epochs or seconds.

    Epochs are more than the run was to have (``+50``), or all of them (``200``). Raises `DataError`
    for a run without a checkpoint, `ArgumentError` for an end that is already behind.
    """
    settings, _ = Settings.read(folder / "run.json")
    state = gb.Checkpoints(folder / "checkpoints").read()
    if state is None or settings.epochs is None:
        raise DataError(
            f"{folder} has no checkpoint to go on from; `gibbsite fit --config "
            f"{folder / 'run.json'} --epochs N` trains such a run anew"
        )
    records = history_of(state)
    if seconds is None:
        return {"epochs": _total(epochs or "+0", settings.epochs, len(records))}
    check_budget(seconds, 0)
    more = max(1, round(training_seconds(seconds) / _seconds_an_epoch(records)))
    return {"epochs": min(len(records) + more, MOST_EPOCHS), "budget": seconds}


def _total(text: str, had: int, done: int) -> int:
    """Epochs in all, of a text such as +50 or 200."""
    match = re.fullmatch(r"(\+?)([0-9]{1,9})", text.strip())
    if match is None:
        expected = "+50 for 50 more, or 200 for so many in all, up to 10^9"
        raise ArgumentError(f"--epochs {text:.40}: expected {expected}")
    total = int(match[2]) + (had if match[1] else 0)
    if not done < total <= MOST_EPOCHS:
        raise ArgumentError(
            f"--epochs {text}: the run has made {done} epochs already; give +{max(done, 1)}, or "
            f"more than {done} in all"
        )
    return total


def _seconds_an_epoch(records: Sequence[Record]) -> float:
    """Time of an epoch, measured; without the first one, which may have compiled."""
    first, last = records[0], records[-1]
    if len(records) == 1:
        return max(last["seconds"], 1e-6)
    return max((last["seconds"] - first["seconds"]) / (len(records) - 1), 1e-6)
