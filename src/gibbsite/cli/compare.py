"""The command `compare`: runs side by side, and the table that sweeps end with."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from gibbsite.cli import arguments as arg
from gibbsite.cli.console import escape, out, print_json, print_note, set_verbosity
from gibbsite.cli.folder import FIGURES, read_json
from gibbsite.cli.settings import Settings
from gibbsite.errors import DataError

TRUSTED = "log-likelihood: trustworthy"
UNFINISHED = "it has not come to its end: `gibbsite resume` goes on"

MANY = 3
"""Settings that fit beside one another."""

_FIGURE_HEADS = ("held out, nats a row", "log-likelihood", "95% interval", "verdict", "seconds")

MADE = ("device", "checkpoint_every", "budget")
"""Settings that say nothing about the model."""


class Result(NamedTuple):
    """A run, as a row of a table.

    Attributes:
        name: folder of the run.
        settings: its settings by name.
        figures: what it ended with; empty without an end.
        error: why it has no figures.
    """

    name: str
    settings: Mapping[str, Any]
    figures: Mapping[str, Any]
    error: str = ""

    @classmethod
    def read(cls, folder: Path) -> Result:
        """The result in the folder of a run; `DataError` if it is none."""
        Settings.read(folder / "run.json")
        settings = read_json(folder / "run.json")["settings"]
        if not (folder / FIGURES).is_file():
            return cls(str(folder), settings, {}, UNFINISHED)
        figures = read_json(folder / FIGURES)
        _check_figures(folder, figures)
        return cls(str(folder), settings, figures)

    def log_likelihood(self, by: str) -> float:
        """The figure by that name, validation, test or train; nan without one."""
        if by == "validation":
            value = self.figures.get("validation_log_likelihood")
        else:
            value = self.figures.get("sets", {}).get(by, {}).get("log_likelihood")
        return math.nan if value is None else float(value)

    @property
    def trusted(self) -> bool:
        """True if the log-likelihood is exact or an estimate that passed its checks."""
        return bool(self.figures.get("verdict") == TRUSTED)


class Choice(NamedTuple):
    """The best of some runs.

    Attributes:
        best: its place among them; None where they cannot be compared.
        by: the rows whose log-likelihood decided.
        notes: sentences on what to mind.
    """

    best: int | None
    by: str
    notes: tuple[str, ...]


def compare(runs: arg.Runs, as_json: arg.AsJson = False) -> None:
    """Put runs side by side: the settings that differ, figures, and the best marked."""
    set_verbosity(as_json=as_json)
    show(results_in(runs), as_json)


def results_in(folders: Sequence[Path]) -> list[Result]:
    """The results of runs, and of those in the folder of a sweep."""
    found = [run for folder in folders for run in _runs_in(folder)]
    return [Result.read(run) for run in dict.fromkeys(found)]


def show(results: Sequence[Result], as_json: bool, varied: Sequence[str] | None = None) -> None:
    """Print runs side by side, with these settings of theirs, or those in which they differ."""
    choice = chosen(results)
    varied = varied_settings(results) if varied is None else varied
    if as_json:
        print_json(_as_record(results, choice, varied))
    out.print(_table(results, choice, varied))
    for result in results:
        if result.error:
            message = f"{result.name}: {result.error}"
            out.print(escape(message), soft_wrap=True, highlight=False)
    if choice.best is not None:
        best = f"best by {choice.by} log-likelihood: {results[choice.best].name}"
        out.print(escape(best), soft_wrap=True, highlight=False)
    for note in choice.notes:
        print_note(note)


def varied_settings(results: Sequence[Result]) -> list[str]:
    """Names of the settings in which runs differ."""
    names = dict.fromkeys(name for result in results for name in result.settings)
    told = [name for name in names if name not in MADE]
    return [name for name in told if len({json.dumps(r.settings.get(name)) for r in results}) > 1]


def chosen(results: Sequence[Result]) -> Choice:
    """The best run: by rows that steered training if all have some, else by test, else by train.

    Estimates that failed their checks count only where there are no others.
    """
    ended = [i for i, result in enumerate(results) if result.figures]
    kinds = "validation", "test", "train"
    known = {k: [i for i in ended if math.isfinite(results[i].log_likelihood(k))] for k in kinds}
    by = next((kind for kind in kinds if known[kind] and known[kind] == ended), "")
    by = by or ("test" if known["test"] else "train")
    trusted = [i for i in known[by] if results[i].trusted]
    candidates = trusted or known[by]
    notes = _notes([results[i] for i in ended], by, bool(trusted))
    if not candidates or len({results[i].settings["data"] for i in ended}) > 1:
        return Choice(None, by, notes)
    best = max(candidates, key=lambda i: results[i].log_likelihood(by))
    return Choice(best, by, notes)


def _notes(results: Sequence[Result], by: str, trusted: bool) -> tuple[str, ...]:
    """Sentences on what to mind in a comparison by some rows."""
    data = {result.settings["data"] for result in results}
    splits = {(r.settings["seed"], r.settings["test_fraction"]) for r in results}
    rules = [
        (len(data) > 1, f"no best run, as they are of {len(data)} data sets"),
        (
            by == "test" and len(results) > 1,
            "chosen by test rows, so its test figure flatters it; --validation 0.1 holds out "
            "others to choose by",
        ),
        (
            by == "train" and bool(results),
            "chosen by the rows trained on, as there is no figure of others for all runs",
        ),
        (
            len(splits) > 1 and not _own_test_set(results),
            "the seed draws the rows held out: runs of several seeds differ by these too",
        ),
        (bool(results) and not trusted, "no log-likelihood passed its checks; see the verdicts"),
    ]
    return tuple(text for holds, text in rules if holds)


def _own_test_set(results: Sequence[Result]) -> bool:
    """True if the data say which rows are held out, as far as the runs tell."""
    return all(not Path(result.settings["data"]).is_absolute() for result in results)


def _table(results: Sequence[Result], choice: Choice, varied: Sequence[str]) -> Table:
    """A row for each run; a column, for few runs that differ in much."""
    heads = ["run", *(name.replace("_", " ") for name in varied), *_FIGURE_HEADS]
    kind = "test" if choice.by != "train" else "train"
    heads[heads.index("log-likelihood")] = f"{kind}, nats a row"
    rows = [_cells(results[i], kind, varied, i == choice.best) for i in range(len(results))]
    filled = [any(row[i] for row in rows) for i in range(len(heads))]
    heads, *rows = ([x for x, kept in zip(r, filled, strict=True) if kept] for r in [heads, *rows])
    upright = len(varied) <= MANY or len(rows) >= len(heads)
    table = Table()
    for place, head in enumerate(heads if upright else [heads[0], *(row[0] for row in rows)]):
        best = not upright and choice.best is not None and place == choice.best + 1
        table.add_column(head, overflow="fold", style="bold green" if best else None)
    for place, row in enumerate(rows if upright else list(zip(heads, *rows, strict=True))[1:]):
        best = upright and place == choice.best
        table.add_row(*row, style="bold green" if best else None)
    return table


def _cells(result: Result, kind: str, varied: Sequence[str], best: bool) -> list[str]:
    """The cells of a run, as of `_FIGURE_HEADS` behind name and settings."""
    seconds = result.figures.get("seconds")
    marks = [" (stopped)"] if result.figures.get("interrupted") else []
    return [
        escape(Path(result.name).name) + "".join([*marks, *([" (best)"] if best else [])]),
        *(_short(result.settings.get(setting)) for setting in varied),
        _number(result.log_likelihood("validation")),
        _number(result.log_likelihood(kind)),
        _interval(result, kind),
        escape(_verdict(result)),
        "" if seconds is None else f"{seconds:.1f}",
    ]


def _interval(result: Result, kind: str) -> str:
    """The interval of a log-likelihood; '' if it is exact, or not known."""
    interval = result.figures.get("sets", {}).get(kind, {}).get("interval")
    return f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else ""


def _verdict(result: Result) -> str:
    """On the log-likelihood, for a cell."""
    return str(result.figures.get("verdict", "no figures")).removeprefix("log-likelihood: ")


def _number(value: float) -> str:
    """A log-likelihood for a cell."""
    return f"{value:.3f}" if math.isfinite(value) else ""


def _short(value: Any) -> str:
    """A setting for a cell."""
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else escape(str(value))


def _as_record(results: Sequence[Result], choice: Choice, varied: Sequence[str]) -> dict[str, Any]:
    """The comparison as a JSON object."""
    rows = [
        {
            "run": result.name,
            "settings": {name: result.settings.get(name) for name in varied},
            "figures": result.figures,
            "error": result.error or None,
        }
        for result in results
    ]
    best = None if choice.best is None else results[choice.best].name
    return {"runs": rows, "best": best, "by": choice.by, "notes": list(choice.notes)}


def _runs_in(folder: Path) -> list[Path]:
    """The folder of a run, or those in the folder of a sweep."""
    if (folder / "run.json").is_file() or not folder.is_dir():
        return [folder]
    inside = sorted(path.parent for path in folder.glob("*/run.json"))
    if not inside:
        raise DataError(f"{folder} holds no run; name folders that `gibbsite fit` made")
    return inside


def _check_figures(folder: Path, figures: Mapping[str, Any]) -> None:
    """Raise `DataError` unless the figures are those of a run."""
    try:
        values = [figures.get("validation_log_likelihood"), figures.get("seconds")]
        for entry in figures["sets"].values():
            values.append(entry.get("log_likelihood"))
            low, high = entry.get("interval", (0, 0))
            values += [low, high]
        if not all(value is None or isinstance(value, int | float) for value in values):
            raise ValueError("a figure is no number")
        if not isinstance(figures["verdict"], str):
            raise ValueError("its verdict is no text")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        path = folder / FIGURES
        raise DataError(
            f"{path} cannot be used ({error}); `gibbsite resume {folder}` makes it anew"
        ) from error
