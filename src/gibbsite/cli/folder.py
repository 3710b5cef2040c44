"""The folder of a run: made for a new run, or put back to its last checkpoint."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gibbsite as gb
from gibbsite.checks import check_file
from gibbsite.cli.console import finite
from gibbsite.cli.job import Job
from gibbsite.cli.options import generator_of
from gibbsite.cli.settings import Settings
from gibbsite.cli.start import START
from gibbsite.errors import ArgumentError, DataError, OutputError
from gibbsite.io import write_atomically
from gibbsite.training.history import append
from gibbsite.training.record import FORMAT_VERSION, scaling_record
from gibbsite.training.run import history_of

FIGURES = "figures.json"
"""File of a run folder with the closing figures."""

TEMPORARY = (".*.json.*", ".history.jsonl.*", ".model.safetensors.*", ".*.png.*")
"""Patterns of files that a killed run leaves half written."""


def start_job(settings: Settings, output: Path | None) -> tuple[Job, Path]:
    """A job and its new folder."""
    job = Job(settings)
    folder = make_folder(output, job.source.name)
    try:
        _keep_start(job, folder)
        _write_record(job, folder)
        job.gradient.init(job.rbm, generator_of(0))  # what does not fit in memory fails here
    except BaseException:  # Ctrl-C too
        with suppress(OSError):
            for name in ("run.json", START):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()
        raise
    return job, folder


def restart_job(job: Job, folder: Path) -> Job:
    """The job in its folder, from which what an earlier one left of its course is removed."""
    _write_record(job, folder)
    (folder / "history.jsonl").unlink(missing_ok=True)
    for path in [folder / FIGURES, *(folder / "checkpoints").glob("*")]:
        path.unlink(missing_ok=True)
    return job


def resume_job(folder: Path, changes: Mapping[str, Any] | None = None) -> tuple[Job, int]:
    """The job of a folder, its history cut back to the last checkpoint, and that one's epoch.

    Changes are settings that `later_end` found; run.json is given them.
    """
    settings, expected = Settings.read(folder / "run.json")
    if (folder / START).is_file():
        settings = replace(settings, start=str(folder / START))
    job = Job(replace(settings, **(changes or {})))
    if job.data.fingerprint != expected:
        raise DataError(f"{settings.data} is not what it was when {folder} was begun; restore it")
    checkpoints = job.checkpoints(folder)
    state = None if checkpoints is None else checkpoints.read()
    records = [] if state is None else history_of(state)
    job.tried = read_json(folder / "run.json").get("trial", {})
    if changes:
        _check_improving(job, folder, state or {})
        _change_record(folder, changes)
        job.tried = {}

    def rewrite(path: Path) -> None:
        for record in records:
            append(path, record)

    write_atomically(folder / "history.jsonl", rewrite)
    for path in (path for pattern in TEMPORARY for path in folder.glob(pattern)):
        path.unlink(missing_ok=True)
    return job, len(records)


def _keep_start(job: Job, folder: Path) -> None:
    """Keep the model that the run starts from, which may have changed when it is resumed."""
    if job.data.start is not None:
        gb.save(job.data.start, folder / START)


def write_figures(folder: Path, figures: Mapping[str, Any]) -> None:
    """Write figures.json, what the command says at the end of a run."""
    write_json(folder / FIGURES, figures)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file of JSON; `DataError` if it is none."""
    try:
        check_file(path)
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(record, dict):
        raise DataError(f"{path} cannot be read: it holds no JSON object")
    return record


def _check_improving(job: Job, folder: Path, state: Mapping[str, Any]) -> None:
    """Raise `ArgumentError` if rows held out have ended the run for good."""
    if job.held_out is None:
        return
    for kind, kept in state.get("callbacks", []):
        if kind == type(job.held_out).__name__:
            job.held_out.load_state_dict(kept)
    if job.held_out.finished:
        raise ArgumentError(
            f"{folder} has ended by itself, {job.held_out.verdict()}: more epochs make it worse; "
            "fit anew with fewer --hidden units or a larger --l2"
        )


def _change_record(folder: Path, changes: Mapping[str, Any]) -> None:
    """Give run.json other settings, and the command that changed them."""
    record = read_json(folder / "run.json")
    record["settings"] |= changes
    record["resumed"] = [*record.get("resumed", []), ["gibbsite", *sys.argv[1:]]]
    record.pop("trial", None)
    for name in changes:
        record.get("reasons", {}).pop(name, None)
    write_json(folder / "run.json", record)


def make_folder(output: Path | None, name: str) -> Path:
    """A new, empty run folder; an existing one is never written to."""
    numbered = (Path("runs") / f"{name}-{number}" for number in range(1, sys.maxsize))
    folder = output or next(path for path in numbered if not path.exists())
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise OutputError(f"{folder} exists already; name another folder or remove it") from error
    except OSError as error:
        raise OutputError(
            f"cannot make the run folder {folder}: {error.strerror}; choose another place"
        ) from error
    return folder


def _write_record(job: Job, folder: Path) -> None:
    """run.json: every setting, and enough to say whether a repetition is one."""
    record = {
        "format": FORMAT_VERSION,
        "command": ["gibbsite", *sys.argv[1:]],
        "settings": asdict(job.given) if job.settings.searches else job.settings.as_settings(),
        "reasons": dict(job.settings.reasons),
        "trial": dict(job.tried),
        "data": {
            "description": job.source.description,
            "rows": len(job.source.rows),
            "columns": job.source.rows.shape[1],
            "sha256": job.data.fingerprint,
            "names": job.source.columns,
            "categories": job.source.categories,
            "scaling": scaling_record(job.units.scaling),
        },
        "versions": {
            "gibbsite": gb.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    write_json(folder / "run.json", record)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write an object whole or not at all; NaN and infinity, which JSON lacks, become null."""
    text = json.dumps(finite(record), indent=2) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
