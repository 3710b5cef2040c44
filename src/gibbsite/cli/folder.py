"""The folder of a run: made for a new run, or put back to its last checkpoint."""

from __future__ import annotations

import json
import platform
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

import gibbsite as gb
from gibbsite.cli.job import Job
from gibbsite.cli.options import generator_of
from gibbsite.cli.settings import Settings
from gibbsite.errors import DataError, OutputError
from gibbsite.io import write_atomically
from gibbsite.training.history import append
from gibbsite.training.record import FORMAT_VERSION, scaling_record
from gibbsite.training.run import history_of

TEMPORARY = (".run.json.*", ".history.jsonl.*", ".model.safetensors.*", ".*.png.*")
"""Patterns of files that a killed run leaves half written."""


def start_job(settings: Settings, output: Path | None) -> tuple[Job, Path]:
    """A job and its new folder."""
    job = Job(settings)
    folder = _make_folder(output, job.source.name)
    try:
        _write_record(job, folder)
        job.gradient.init(job.rbm, generator_of(0))  # what does not fit in memory fails here
    except Exception:
        with suppress(OSError):
            (folder / "run.json").unlink(missing_ok=True)
            folder.rmdir()
        raise
    return job, folder


def restart_job(job: Job, folder: Path) -> Job:
    """The job in its folder, from which what an earlier one left of its course is removed."""
    _write_record(job, folder)
    (folder / "history.jsonl").unlink(missing_ok=True)
    for path in (folder / "checkpoints").glob("*"):
        path.unlink(missing_ok=True)
    return job


def resume_job(folder: Path) -> tuple[Job, int]:
    """The job of a folder, its history cut back to the last checkpoint, and that one's epoch."""
    settings, expected = Settings.read(folder / "run.json")
    job = Job(settings)
    if job.fingerprint != expected:
        raise DataError(f"{settings.data} is not what it was when {folder} was begun; restore it")
    checkpoints = job.checkpoints(folder)
    state = None if checkpoints is None else checkpoints.read()
    records = [] if state is None else history_of(state)

    def rewrite(path: Path) -> None:
        for record in records:
            append(path, record)

    write_atomically(folder / "history.jsonl", rewrite)
    for path in (path for pattern in TEMPORARY for path in folder.glob(pattern)):
        path.unlink(missing_ok=True)
    return job, len(records)


def _make_folder(output: Path | None, name: str) -> Path:
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
        "data": {
            "description": job.source.description,
            "rows": len(job.source.rows),
            "columns": job.source.rows.shape[1],
            "sha256": job.fingerprint,
            "names": job.source.columns,
            "categories": job.source.categories,
            "scaling": scaling_record(job.scaling),
        },
        "versions": {
            "gibbsite": gb.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    text = json.dumps(record, indent=2) + "\n"
    write_atomically(folder / "run.json", lambda path: path.write_text(text, encoding="utf-8"))
