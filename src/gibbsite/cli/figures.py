"""The closing figures of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from torch import Generator, Tensor

import gibbsite as gb
from gibbsite import exact
from gibbsite.cli.console import err, out, print_verdict
from gibbsite.cli.progress import EstimateBar
from gibbsite.cli.settings import temperatures_for
from gibbsite.likelihood.baselines import WORDS, baselines, shortfalls
from gibbsite.likelihood.monitors import has_pseudo_likelihood, negative_free_energies
from gibbsite.sampling import Sampler

CHEAP_ROWS = 200
CHEAP = {
    "pseudo_likelihood": "pseudo-likelihood, nats",
    "reconstruction_error": "reconstruction error",
}


def closing_figures(
    rbm: gb.RBM,
    history: gb.History,
    sets: dict[str, Tensor],
    budget: float,
    generator: Generator,
    sampler: Sampler | None = None,
) -> dict[str, Any]:
    """Figures of the trained model as a JSON object; budget is in seconds.

    The sampler is that of the chains which reverse annealing starts from.
    """
    scores = {name: negative_free_energies(rbm, v).mean().item() for name, v in sets.items()}
    figures: dict[str, Any] = {
        "sets": {
            name: {"rows": len(v), **_cheap_figures(rbm, v[:CHEAP_ROWS])}
            for name, v in sets.items()
        },
        "method": {},
        "verdict": "no log-likelihood: too many states to enumerate, and no budget to estimate it",
    }
    log_z = _log_partition(rbm, next(iter(sets.values())), budget, generator, sampler)
    if log_z is not None:
        size = "" if log_z.forward is None else f", {len(log_z.forward.run.betas):,} temperatures"
        figures["method"]["log_likelihood"] = log_z.method + size
        figures["verdict"] = f"log-likelihood: {log_z.verdict}"
        figures["log_partition"] = log_z.value
        if any(problem.startswith("interrupted") for problem in log_z.problems):
            figures["interrupted"] = True
        for name, score in scores.items():
            entry, value = figures["sets"][name], score - log_z.value
            entry["log_likelihood"] = value
            entry["baselines"] = baselines(rbm, sets[name], sets["train"])
            figures["warnings"] = shortfalls(value, entry["baselines"], name)  # of the last set
            if log_z.stderr > 0:
                entry["interval"] = [score - log_z.upper, score - log_z.lower]
    if "test" in scores:
        figures["free_energy_gap"] = scores["train"] - scores["test"]
    if len(history):
        figures |= {"epochs": len(history), "seconds": history.records[-1]["seconds"]}
    return figures


def _cheap_figures(rbm: gb.RBM, v: Tensor) -> dict[str, float]:
    """The figures of `CHEAP` that the model has."""
    error = {"reconstruction_error": gb.reconstruction_error(rbm, v)}
    if not has_pseudo_likelihood(rbm):
        return error
    return {"pseudo_likelihood": gb.pseudo_likelihood(rbm, v), **error}


def _log_partition(
    rbm: gb.RBM, data: Tensor, budget: float, generator: Generator, sampler: Sampler | None
) -> gb.LogPartition | None:
    """log Z exactly, or within a budget of seconds, or not at all."""
    if exact.is_small(rbm):
        return gb.log_partition(rbm, "exact")
    if budget <= 0:
        return None
    if not err.is_terminal:
        err.print(f"estimating log Z, for about {budget:g} s", highlight=False)
    temperatures = temperatures_for(rbm, budget)
    with EstimateBar(temperatures) as bar:
        return gb.log_partition(
            rbm,
            "bridge",
            data=data,
            temperatures=temperatures,
            sampler=sampler,
            generator=generator,
            progress=bar.show,
        )


def print_figures(figures: Mapping[str, Any]) -> None:
    """The table at the end of a run."""
    sets = figures["sets"]
    table = Table("", *(f"{name} ({entry['rows']:,} rows)" for name, entry in sets.items()))
    if "log_likelihood" in figures["method"]:
        method = figures["method"]["log_likelihood"]
        values = (f"{entry['log_likelihood']:.4f}" for entry in sets.values())
        table.add_row(f"mean log-likelihood, nats ({method})", *values)
    if "interval" in sets["train"]:
        values = (f"{e['interval'][0]:.2f} to {e['interval'][1]:.2f}" for e in sets.values())
        table.add_row("    95% interval, from log Z", *values)
    for name in sets["train"].get("baselines", {}):
        values = (f"{entry['baselines'][name]:.4f}" for entry in sets.values())
        table.add_row(f"    {WORDS[name]}", *values)
    for name, words in CHEAP.items():
        if name not in sets["train"]:
            continue
        values = (f"{entry[name]:.5f}" for entry in sets.values())
        table.add_row(f"{words} (first {CHEAP_ROWS} rows)", *values)
    out.print(table)
    print_verdict(figures["verdict"], figures.get("warnings", []))
    if "free_energy_gap" in figures:
        gap = figures["free_energy_gap"]
        out.print(f"train - test log-likelihood (free-energy gap, exact): {gap:.4f} nats")
    if "seconds" in figures:
        out.print(f"{figures['seconds']:.1f} s of training and monitoring")


def course_in_words(figures: Mapping[str, Any], folder: str) -> str:
    """The course of training by rows held out, and what to do about it; '' if it is not known."""
    course: str = figures.get("training", "")
    if not course or figures.get("interrupted"):  # which `resume` goes on with anyway
        return ""
    trial = figures.get("trial_epochs")
    text = f"rows held out{f' in a trial of {trial} epochs' if trial else ''}: {course}"
    if not course.startswith("still improving"):
        return text
    return f"{text}: go on with `gibbsite resume {folder} --epochs +{figures['epochs']}`"
