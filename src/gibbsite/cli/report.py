"""What the command says: tables for people, JSON for scripts."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import rich.markup
from rich.console import Console
from rich.table import Table

import gibbsite as gb
from gibbsite.likelihood.baselines import WORDS, shortfalls
from gibbsite.likelihood.weights import Z_95

if TYPE_CHECKING:
    from gibbsite.cli.job import Job

out = Console(emoji=False)
err = Console(stderr=True, emoji=False)


def speak(quiet: bool = False, as_json: bool = False) -> None:
    """Say everything, or nothing but errors, or nothing but one JSON object."""
    out.quiet = quiet or as_json
    err.quiet = quiet
    log = logging.getLogger("gibbsite")
    log.setLevel(logging.ERROR if quiet else logging.NOTSET)
    if not any(isinstance(handler, Notes) for handler in log.handlers):
        log.addHandler(Notes())


def print_json(record: Mapping[str, Any]) -> None:
    """One JSON object on a line; NaN and infinity, which JSON lacks, become null."""
    print(json.dumps(_finite(record)))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def escape(text: str) -> str:
    r"""Text that Rich prints as it is, with control characters as \x1b and the like.

    A file's name may hold what would clear the screen, or worse.
    """
    safe = (char if char.isprintable() else repr(char)[1:-1] for char in text)
    return rich.markup.escape("".join(safe))


def complain(message: str) -> None:
    """Tell what went wrong, whatever else is to be kept quiet."""
    err.quiet = False
    err.print(message, soft_wrap=True)


class Notes(logging.Handler):
    """Prints what the library logs, so that it goes well with bars, and names are escaped."""

    def emit(self, record: logging.LogRecord) -> None:
        err.print(escape(record.getMessage()), soft_wrap=True, highlight=False)


def print_plan(job: Job) -> None:
    """What is about to be trained on what."""
    source, rbm, settings = job.source, job.rbm, job.settings
    held_out = 0 if source.test is None else len(source.test)
    out.print(
        f"{escape(source.description)}: "
        f"{len(source.rows):,} rows to train on, {held_out:,} held out\n"
        f"{rbm.visible.describe()} visible, {rbm.hidden.describe()} hidden; {settings.gradient} "
        f"gradient, {settings.epochs} epochs",
        soft_wrap=True,
        highlight=False,
    )
    if job.note:
        err.print(f"note: {escape(job.note)}", soft_wrap=True, highlight=False)


def print_figures(figures: Mapping[str, Any]) -> None:
    """The table at the end of a run."""
    sets = figures["sets"]
    table = Table("", *(f"{name} ({entry['rows']:,} rows)" for name, entry in sets.items()))
    if "log_likelihood" in figures["method"]:
        method = figures["method"]["log_likelihood"]
        values = (f"{entry['log_likelihood']:.4f}" for entry in sets.values())
        table.add_row(f"mean log-likelihood, nats ({method})", *values)
    if "interval" in next(iter(sets.values())):
        values = (f"{e['interval'][0]:.2f} to {e['interval'][1]:.2f}" for e in sets.values())
        table.add_row("    95% interval, from log Z", *values)
    for name in next(iter(sets.values())).get("baselines", {}):
        values = (f"{entry['baselines'][name]:.4f}" for entry in sets.values())
        table.add_row(f"    {WORDS[name]}", *values)
    cheap = {
        "pseudo_likelihood": "pseudo-likelihood, nats",
        "reconstruction_error": "reconstruction error",
    }
    for name, words in cheap.items():
        values = (f"{entry[name]:.5f}" for entry in sets.values())
        table.add_row(f"{words} (first 200 rows)", *values)
    out.print(table)
    out.print(escape(figures["verdict"]), soft_wrap=True, highlight=False)
    print_warnings(figures.get("warnings", []))
    if "free_energy_gap" in figures:
        gap = figures["free_energy_gap"]
        out.print(f"train - test log-likelihood (free-energy gap, exact): {gap:.4f} nats")
    if "seconds" in figures:
        out.print(f"{figures['seconds']:.1f} s of training and monitoring")


def print_warnings(warnings: Iterable[str]) -> None:
    for told in warnings:
        out.print(f"[bold yellow]warning:[/] {escape(told)}", soft_wrap=True, highlight=False)


class Compared(NamedTuple):
    """An evaluation and what it is to be seen beside.

    Attributes:
        result: the evaluation.
        kind: train or test, the rows evaluated.
        baselines: what simple models, fitted to the training rows, reach on them.
        gap: train - test log-likelihood; None without test rows.
    """

    result: gb.Evaluation
    kind: str
    baselines: dict[str, float]
    gap: float | None

    @property
    def shortfalls(self) -> list[str]:
        """What to say of a model that is worse than a baseline."""
        return shortfalls(self.result.log_likelihood, self.baselines, self.kind)


def as_record(compared: Compared) -> dict[str, Any]:
    """An evaluation and what goes with it as a JSON object."""
    result, log_z = compared.result, compared.result.log_partition
    return {
        "rows": len(result.rows),
        "log_likelihood": result.log_likelihood,
        "stderr": result.stderr,
        "lower": result.lower,
        "upper": result.upper,
        "conservative": result.conservative,
        "optimistic": result.optimistic,
        "rows_stderr": result.rows_stderr,
        "train_test_gap": compared.gap,
        "baselines": compared.baselines,
        "baselines_fitted_to": "train" if compared.kind == "test" else "these rows",
        "method": result.method,
        "log_partition": log_z.value,
        "ess": log_z.ess,
        "verdict": result.verdict,
        "warnings": [*result.warnings, *compared.shortfalls],
    }


def print_evaluation(compared: Compared) -> None:
    result = compared.result
    rows = f"{len(result.rows):,} {compared.kind} rows"
    table = Table(title=f"log-likelihood of {rows}, nats a row", show_header=False)
    table.add_row("mean", f"{result.log_likelihood:.4f}")
    table.add_row("method", result.method)
    if result.method != "exact":
        table.add_row("95% interval, from log Z", f"{result.lower:.4f} to {result.upper:.4f}")
        table.add_row("standard error, from log Z", f"{result.stderr:.4f}")
        table.add_row("temperatures, paths each way", size(result.log_partition))
        table.add_row("effective sample size", f"{result.log_partition.ess:.1f}")
    if result.conservative is not None:
        table.add_row("conservative (reverse AIS)", f"{result.conservative:.4f}")
    if result.optimistic is not None:
        table.add_row("optimistic (forward AIS)", f"{result.optimistic:.4f}")
    reach = Z_95 * result.rows_stderr
    ends = result.log_likelihood - reach, result.log_likelihood + reach
    table.add_row("95% interval, over rows", f"{ends[0]:.4f} to {ends[1]:.4f}")
    for name, value in compared.baselines.items():
        fitted = "" if compared.kind == "test" else ", fitted to these rows"
        table.add_row(WORDS[name] + fitted, f"{value:.4f}")
    if compared.gap is not None:
        table.add_row("train - test gap (exact)", f"{compared.gap:.4f}")
    table.add_row("log Z", f"{result.log_partition.value:.4f}")
    out.print(table)
    out.print(f"verdict: {escape(result.verdict)}", soft_wrap=True, highlight=False)
    print_warnings(compared.shortfalls)


def size(result: gb.LogPartition) -> str:
    direction = result.forward or result.reverse
    assert direction is not None
    return f"{len(direction.run.betas):,}, {len(direction.run.log_weights):,}"
