"""A training run that is killed again and again, and what is left of it each time.

Shared by the tests and by `benchmarks/robustness.py`. The command runs in processes forked from
this one, which has imported everything, so that kills fall into the run rather than into imports.

Run: python tests/kills.py KILLS SEED EPOCHS, for a run without pictures
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

import gibbsite as gb
from gibbsite.cli import main
from gibbsite.cli.job import Job
from gibbsite.cli.settings import Settings

FIT = [
    *("fit", "digits", "--hidden", "8", "--checkpoint-every", "1", "--device", "cpu"),
    *("--optimizer", "adam", "--learning-rate", "0.01"),
]
NOBODY = 65534


def start(arguments: list[str], output: int, prepare: Callable[[], None] = lambda: None) -> int:
    """The process, forked from this one, of the command that writes all it says to a handle."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(output)
            # streams that know what they write to: a file can seek, a pipe cannot
            sys.stdout, sys.stderr = (os.fdopen(fd, "w", closefd=False) for fd in (1, 2))
            prepare()
            sys.argv = ["gibbsite", *arguments]
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException as error:
            print(f"Traceback: {error!r}", file=sys.stderr)
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)
    os.close(output)
    return child


def run(
    arguments: list[str],
    log: Path,
    kill_after: float | None = None,
    prepare: Callable[[], None] = lambda: None,
) -> int:
    """Exit code of the command in a process of its own; -9 if it was killed before its end."""
    child = start(arguments, os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), prepare)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def check_whole(folder: Path) -> int:
    """Nothing that has its final name is half-written; the number of checkpoints."""
    if (folder / "model.safetensors").exists():
        gb.load(folder / "model.safetensors")
    if (folder / "run.json").exists():
        Settings.read(folder / "run.json")
    files = gb.Checkpoints(folder / "checkpoints").files()
    for path in files:
        single = Path(tempfile.mkdtemp())
        shutil.copy(path, single)
        kept = gb.Checkpoints(single).read()
        assert kept is not None
        assert f"checkpoint-{len(kept['history']):06}.safetensors" == path.name
        shutil.rmtree(single)
    return len(files)


def full_disk(size: int) -> Callable[[], None]:
    """No file may grow beyond so many bytes: a write fails half-way, as on a full disk."""

    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return prepare


def read_only() -> None:
    """Become a user who may not write to the run's folder."""
    if os.geteuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def refused(folder: Path, log: Path, rng: random.Random, told: Counter[str]) -> None:
    """Try to go on where nothing can be written; it must say so and change nothing that counts."""
    if rng.random() < 0.5:
        what, code = (
            "full disk",
            run(["resume", str(folder)], log, prepare=full_disk(rng.randint(1, 40_000))),
        )
    else:
        modes = {path: path.stat().st_mode for path in [folder, *folder.rglob("*")]}
        for path in modes:
            path.chmod(stat.S_IMODE(modes[path]) & ~0o222)
        what, code = "read-only folder", run(["resume", str(folder)], log, prepare=read_only)
        for path, mode in modes.items():
            path.chmod(stat.S_IMODE(mode))
    text = log.read_text()
    assert code == 1, (what, code, text)
    assert "error: cannot " in text, (what, text)
    assert "Traceback" not in text, (what, text)
    told[what] += 1


def kill_until_done(
    place: Path, fit: list[str], rng: random.Random, length: float, most: int, told: Counter[str]
) -> bytes | None:
    """One run, killed at random moments until it ends; its model, None if `most` kills come first.

    `told` counts the kills and what was there after each.
    """
    folder, log = place / "run", place / "log"
    shutil.rmtree(folder, ignore_errors=True)
    while True:
        begun = (folder / "run.json").exists()
        arguments = ["resume", str(folder)] if begun else [*fit, str(folder)]
        if folder.exists() and not begun:  # killed between making the folder and run.json
            assert run(["resume", str(folder)], log) == 1
            assert "is no run.json that can be used: No such file" in log.read_text()
            told["resume said: no run.json"] += 1
            shutil.rmtree(folder)
        before = set(folder.rglob(".*"))
        code = run(arguments, log, kill_after=rng.uniform(0, length))
        if code == 0:
            return (folder / "model.safetensors").read_bytes()
        assert code == -signal.SIGKILL, (code, log.read_text())
        checkpoints = check_whole(folder)
        told["kills"] += 1
        told[moment(folder, checkpoints, before)] += 1
        if told["kills"] >= most:
            return None
        if checkpoints and rng.random() < 0.1:
            refused(folder, log, rng, told)
            check_whole(folder)


def moment(folder: Path, checkpoints: int, before: set[Path]) -> str:
    """When the kill came, by what is there; hidden files are half-written ones."""
    if set(folder.rglob(".*")) - before:
        return "killed while a file was being written"
    if not (folder / "run.json").exists():
        return "killed before run.json"
    if not checkpoints:
        return "killed before the first checkpoint"
    if (folder / "model.safetensors").exists():
        return "killed after the model was written"
    return "killed in training"


def warm_up() -> None:
    """Import and compile here, once, what every forked process would."""
    digits = gb.datasets.load("digits").train[:50]
    gb.fit(gb.RBM(gb.Bernoulli(64), gb.Bernoulli(8)), digits, epochs=1)


def campaign(kills: int, seed: int, epochs: int) -> Counter[str]:
    """Kill runs until there were so many kills; every run that ended must have made one model."""
    rng, told = random.Random(seed), Counter[str]()
    fit = [*FIT, "--epochs", str(epochs), "-o"]
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    try:
        warm_up()
        started = time.perf_counter()
        assert run([*fit, str(place / "whole")], place / "log") == 0, (place / "log").read_text()
        length = time.perf_counter() - started
        expected = (place / "whole" / "model.safetensors").read_bytes()
        while told["kills"] < kills:
            model = kill_until_done(place, fit, rng, length, kills, told)
            if model is None:  # enough kills: let the last run end in peace
                begun = (place / "run" / "run.json").exists()
                if not begun:
                    continue
                code = run(["resume", str(place / "run")], place / "log")
                assert code == 0, (place / "log").read_text()
                model = (place / "run" / "model.safetensors").read_bytes()
            assert model == expected, "another model than that of the run never stopped"
            history = gb.training.History.read(place / "run" / "history.jsonl")
            assert history.column("epoch") == list(range(1, epochs + 1))
            assert check_whole(place / "run") == 2
            told["runs that ended, with the bytes of the run never stopped"] += 1
    finally:
        shutil.rmtree(place)
    return told


if __name__ == "__main__":
    torch.set_num_threads(1)
    Job._write_pictures = lambda *_: None  # half of the time of a short run
    print(json.dumps(campaign(*map(int, sys.argv[1:]))))
