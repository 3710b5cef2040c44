"""Sweeps: a run for each combination of settings, as many at a time as there are cores."""

from __future__ import annotations

import itertools
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import typer

from gibbsite.cli.compare import Result, show
from gibbsite.cli.console import err, escape, out, print_error
from gibbsite.cli.data import absolute, load_data
from gibbsite.cli.folder import FIGURES, make_folder, read_json, write_json
from gibbsite.cli.numbers import MOST, Several
from gibbsite.cli.options import as_arguments
from gibbsite.cli.process import TERMINATION, Deferred
from gibbsite.cli.settings import Settings
from gibbsite.errors import ArgumentError, OutputError
from gibbsite.startup import INTERRUPTED
from gibbsite.training.lock import locked

RECORD = "sweep.json"
"""File in the folder of a sweep, with its options."""

NOT_PASSED_ON = ("output", "quiet", "as_json")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Variables that say how many threads a process may use."""

POLL = 0.05
"""Seconds between looks at the runs."""


class Sweep(NamedTuple):
    """The runs of a sweep.

    Attributes:
        fixed: options that all runs are given, by name.
        varied: the values of the others.
    """

    fixed: dict[str, Any]
    varied: dict[str, Several]

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Sweep:
        """The sweep that options given on the command line ask for."""
        several = {name: value for name, value in given.items() if isinstance(value, Several)}
        if math.prod(map(len, several.values())) > MOST:
            raise ArgumentError(f"more than {MOST:,} combinations; name fewer values")
        kept = {n: x for n, x in given.items() if n not in several and n not in NOT_PASSED_ON}
        return cls(kept, several)

    def combinations(self) -> dict[str, dict[str, Any]]:
        """The options of each run by the name of its folder, such as hidden-16_seed-0."""
        rows = itertools.product(*self.varied.values())
        runs = (dict(zip(self.varied, row, strict=True)) for row in rows)
        return {_name(values): values for values in runs}

    def as_record(self) -> dict[str, Any]:
        """The sweep as a JSON object."""
        fixed = {name: str(value) for name, value in self.fixed.items()}
        if "data" in fixed:
            fixed["data"] = absolute(fixed["data"])
        return {"fixed": fixed, "varied": {name: list(x) for name, x in self.varied.items()}}


def run_sweep(context: typer.Context, given: Mapping[str, Any], first: Settings) -> None:
    """Run all combinations, print their table, and end with exit code 1 if one failed.

    `first` are the settings of one of them, by which the data are read.
    """
    sweep = Sweep.of(given)
    folder = _folder(sweep, given.get("output"), first)
    with locked(folder):
        write_json(folder / RECORD, sweep.as_record())
        runs = sweep.combinations()
        missing = [name for name in runs if not _has_ended(folder / name)]
        out.print(f"{len(runs)} runs, {len(runs) - len(missing)} done already", highlight=False)

        def command(name: str) -> list[str]:
            run = folder / name
            if (run / "run.json").is_file():
                return ["resume", "--quiet", str(run)]
            words = as_arguments(context.command, {**sweep.fixed, **runs[name]})
            return ["fit", "--quiet", "-o", str(run), *words]

        errors, stopped = _run_all(missing, command)
    results = [_result(folder / name, runs[name], errors.get(name, "")) for name in runs]
    show(results, bool(given.get("as_json")), list(sweep.varied))
    if errors:
        print_error(f"[bold red]error:[/] {len(errors)} of {len(runs)} runs failed")
    _close(folder, stopped, failed=bool(errors))


def _close(folder: Path, stopped: int, failed: bool) -> None:
    """Say what to do next, and end with the exit code that fits; stopped is a signal, or 0."""
    shown = escape(str(folder))
    out.print(f"folder of the runs: {shown}", soft_wrap=True)
    if stopped:
        print_error(f"interrupted; the same command with -o {shown} goes on with what is missing")
        signal.raise_signal(stopped)
        raise typer.Exit(INTERRUPTED)
    if failed:
        raise typer.Exit(1)


def _name(values: Mapping[str, Any]) -> str:
    """Name of the folder of a run with these settings."""
    return "_".join(f"{name.replace('_', '-')}-{value}" for name, value in values.items())


def _folder(sweep: Sweep, output: Path | None, first: Settings) -> Path:
    """A new folder for the sweep, or that of the same one, of other values perhaps."""
    if output is None or not (output / RECORD).is_file():
        kind = None if first.visible == "auto" else first.visible
        data = load_data(first.data, first.key, first.resize, kind)
        return make_folder(output, data.name)
    there, here = read_json(output / RECORD), sweep.as_record()
    if there.get("fixed") != here["fixed"] or set(there.get("varied", {})) != set(here["varied"]):
        raise OutputError(
            f"{output} holds a sweep with other options; name another folder, or give those of "
            f"{output / RECORD}"
        )
    return output


def _has_ended(run: Path) -> bool:
    """True for a run that has come to its end."""
    path = run / FIGURES
    return path.is_file() and read_json(path).get("interrupted") is False


def _result(run: Path, values: Mapping[str, Any], error: str) -> Result:
    """The result of a run, which may have failed before it had a folder."""
    if not (run / "run.json").is_file():
        return Result(str(run), values, {}, error or "not begun")
    result = Result.read(run)
    return result._replace(figures={}, error=error) if error else result


class Running(NamedTuple):
    """A run in a process of its own, and what it writes on standard error."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]

    @classmethod
    def start(cls, words: Sequence[str], threads: int) -> Running:
        """Start a command, on so many threads and out of reach of the terminal's signals."""
        errors = tempfile.TemporaryFile()  # noqa: SIM115  # it lasts as long as the process
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gibbsite", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, **dict.fromkeys(THREADS, str(threads))},
            start_new_session=True,
        )
        return cls(process, errors)

    def error(self) -> str:
        """Why the process failed; '' if it did not, or was told to stop."""
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines() or [""]
        self.errors.close()
        code = self.process.returncode
        if code == 0 or code > 128 or -code in (signal.SIGINT, *TERMINATION):
            return ""
        told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        ended = f"exit code {code}" if code > 0 else signal.Signals(-code).name
        return (told or [lines[-1] or f"ended with {ended}"])[-1]


def _run_all(
    names: Sequence[str], command: Callable[[str], list[str]]
) -> tuple[dict[str, str], int]:
    """Run the commands; errors by name, and the signal that stopped them, or 0.

    Those that run at the same time share the cores. A signal is passed on to the runs, which then
    save what they have.
    """
    waiting, errors = deque(names), dict[str, str]()
    running: dict[str, Running] = {}
    done, cores = 0, os.cpu_count() or 1
    threads = max(1, cores // max(1, len(names)))
    with Deferred() as signals:
        while waiting or running:
            while waiting and len(running) < cores:
                name = waiting.popleft()
                running[name] = Running.start(command(name), threads)
            time.sleep(POLL)
            for number in signals.take():
                waiting.clear()
                err.print(f"stopping {len(running)} runs, which save what they have")
                for run in running.values():
                    run.process.send_signal(number)
            for name in [name for name, run in running.items() if run.process.poll() is not None]:
                done += 1
                if error := running.pop(name).error():
                    errors[name] = error
                err.print(f"{done} of {len(names)}: {name} {'failed' if error else 'has ended'}")
    return errors, signals.first
