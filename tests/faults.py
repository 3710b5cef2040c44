"""Runs of the command that lose their reader, are told to end, or meet another in their folder.

The command runs in processes forked from this one, as in `kills`.

Run: python tests/faults.py, which prints what came of each
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import kills
import torch

import gibbsite as gb
from gibbsite.cli.job import Job
from gibbsite.training.lock import locked

FIT = ["fit", "digits", "--hidden", "4", "--device", "cpu", "--budget", "0"]
LONG = [*FIT, "--epochs", "1000000", "-o"]
PATIENCE = 120


def begin(folder: Path, log: Path) -> int:
    """The process of a long run, once it has done an epoch."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    child = kills.start([*LONG, str(folder)], output)
    history, deadline = folder / "history.jsonl", time.monotonic() + PATIENCE
    while not (history.exists() and history.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    return child


def end(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def told_to_end(place: Path, number: int) -> dict[str, Any]:
    """A run that gets a signal after an epoch."""
    folder, log = place / f"told-{number}", place / "log"
    child = begin(folder, log)
    os.kill(child, number)
    code = end(child)
    gb.load(folder)
    records = len(gb.training.History.read(folder / "history.jsonl"))
    return {"code": code, "text": log.read_text(), "records": records}


def lost_reader(place: Path) -> dict[str, Any]:
    """A run whose output nobody reads from the start."""
    folder = place / "lost"
    reader, writer = os.pipe()
    os.close(reader)
    code = end(kills.start([*FIT, "--epochs", "20", "-o", str(folder)], writer))
    gb.load(folder)
    records = len(gb.training.History.read(folder / "history.jsonl"))
    return {"code": code, "records": records}


def another_run(place: Path) -> dict[str, Any]:
    """Commands on the folder of a run that is under way, and after it was killed."""
    folder, log = place / "shared", place / "other log"
    child = begin(folder, place / "log")
    code = kills.run(["resume", str(folder)], log)
    busy = {"code": code, "text": log.read_text()}
    os.kill(child, signal.SIGKILL)
    end(child)
    with locked(folder):  # no error: the lock died with its process
        return busy


def full_output() -> dict[str, Any]:
    """A command whose standard output is on a full disk."""
    code = end(kills.start(["datasets"], os.open("/dev/full", os.O_WRONLY)))
    return {"code": code}


def all_of_them() -> dict[str, dict[str, Any]]:
    kills.warm_up()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        return {
            "SIGTERM": told_to_end(place, signal.SIGTERM),
            "SIGHUP": told_to_end(place, signal.SIGHUP),
            "SIGINT": told_to_end(place, signal.SIGINT),
            "lost reader": lost_reader(place),
            "another run": another_run(place),
            "full output": full_output(),
        }


if __name__ == "__main__":
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    Job._write_pictures = lambda *_: None
    print(json.dumps(all_of_them()))
