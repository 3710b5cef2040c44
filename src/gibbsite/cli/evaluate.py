"""The command `evaluate`: how likely data are under a model."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import typer
from rich.table import Table
from torch import Tensor

import gibbsite as gb
from gibbsite import exact, plots
from gibbsite.cli import arguments as arg
from gibbsite.cli.console import out, print_error, print_json, print_verdict, set_verbosity
from gibbsite.cli.data import MONITOR_ROWS, load_as_trained
from gibbsite.cli.options import check_free, generator_of, note_unused, refuse_both
from gibbsite.cli.progress import EstimateBar
from gibbsite.cli.samplers import sampler_of
from gibbsite.cli.settings import check_budget, temperatures_for
from gibbsite.datasets import Dataset
from gibbsite.likelihood.baselines import WORDS, baselines, shortfalls
from gibbsite.likelihood.monitors import as_states
from gibbsite.likelihood.weights import Z_95
from gibbsite.startup import INTERRUPTED
from gibbsite.training.named import DeviceName, make_device

FIGURES = [
    "log_likelihood",
    "stderr",
    "lower",
    "upper",
    "conservative",
    "optimistic",
    "rows_stderr",
]


def evaluate(
    context: typer.Context,
    model: arg.Model,
    data: arg.EvaluatedData,
    method: arg.Method = arg.MethodName.auto,
    sampler: arg.ModelSampler = arg.ModelSamplerName.auto,
    chains: arg.Paths = 100,
    temperatures: arg.Temperatures = 3000,
    budget: arg.EvaluateBudget = None,
    picture: arg.Picture = None,
    key: arg.KeyAsTrained = None,
    resize: arg.ResizeAsTrained = None,
    seed: arg.EvaluateSeed = 0,
    device: arg.Device = DeviceName.auto,
    quiet: arg.Quiet = False,
    as_json: arg.AsJson = False,
) -> None:
    """Say how likely data are under a model, with error bars and whether to believe them."""
    refuse_both(context, "budget", "temperatures", "--budget sets --temperatures; give only one")
    if budget is not None:
        check_budget(budget, 0)
    set_verbosity(quiet, as_json)
    rbm = gb.load(model).to(make_device(device))
    source = load_as_trained(model, rbm.visible, data, key, resize)
    if picture is not None:
        check_free(picture)
    summed = method == "exact" or (method == "auto" and exact.is_small(rbm))
    unused = "chains temperatures budget picture sampler"
    note_unused(context, [(summed, unused, "log Z is exact here; --method bridge estimates it")])
    if budget is not None:
        temperatures = temperatures if summed else temperatures_for(rbm, budget, chains)
    generator = generator_of(seed, rbm.weight.device)
    rows = as_states(rbm, source.train if source.test is None else source.test)
    v = rbm.visible.observe(rows, generator)
    try:
        with EstimateBar(temperatures) as bar:
            result = gb.evaluate(
                rbm,
                v,
                method.value,
                chains=chains,
                temperatures=temperatures,
                sampler=sampler_of(model, rbm, sampler),
                generator=generator,
                progress=bar.show,
            )
    except KeyboardInterrupt:
        print_error("interrupted before there was any estimate")
        raise typer.Exit(INTERRUPTED) from None
    comparison = _compare(result, rbm, v, source, generator)
    if picture is not None and not summed:
        plots.save(plots.annealing(result.log_partition), picture)
    if as_json:
        print_json(comparison.as_record())
    comparison.print()


class Comparison(NamedTuple):
    """An evaluation beside baselines.

    Attributes:
        result: the evaluation.
        kind: train or test, the rows evaluated.
        baselines: log-likelihoods of them under simple models fitted to the training rows.
        gap: train - test log-likelihood; None without test rows.
    """

    result: gb.Evaluation
    kind: str
    baselines: dict[str, float]
    gap: float | None

    @property
    def shortfalls(self) -> list[str]:
        """A sentence for each baseline that the model is worse than."""
        return shortfalls(self.result.log_likelihood, self.baselines, self.kind)

    def as_record(self) -> dict[str, Any]:
        """The comparison as a JSON object."""
        result, log_z = self.result, self.result.log_partition
        return {
            "rows": len(result.rows),
            **{name: getattr(result, name) for name in FIGURES},
            "train_test_gap": self.gap,
            "baselines": self.baselines,
            "baselines_fitted_to": "train" if self.kind == "test" else "these rows",
            "method": result.method,
            "log_partition": log_z.value,
            "ess": log_z.ess,
            "verdict": result.verdict,
            "warnings": [*result.warnings, *self.shortfalls],
        }

    def print(self) -> None:
        """Print the table, the verdict and the shortfalls."""
        result = self.result
        rows = f"{len(result.rows):,} {self.kind} rows"
        table = Table(title=f"log-likelihood of {rows}, nats a row", show_header=False)
        table.add_row("mean", f"{result.log_likelihood:.4f}")
        table.add_row("method", result.method)
        if result.method != "exact":
            table.add_row("95% interval, from log Z", f"{result.lower:.4f} to {result.upper:.4f}")
            table.add_row("standard error, from log Z", f"{result.stderr:.4f}")
            table.add_row("temperatures, paths each way", _size(result.log_partition))
            table.add_row("effective sample size", f"{result.log_partition.ess:.1f}")
        if result.conservative is not None:
            table.add_row("conservative (reverse AIS)", f"{result.conservative:.4f}")
        if result.optimistic is not None:
            table.add_row("optimistic (forward AIS)", f"{result.optimistic:.4f}")
        reach = Z_95 * result.rows_stderr
        ends = result.log_likelihood - reach, result.log_likelihood + reach
        table.add_row("95% interval, over rows", f"{ends[0]:.4f} to {ends[1]:.4f}")
        for name, value in self.baselines.items():
            fitted = "" if self.kind == "test" else ", fitted to these rows"
            table.add_row(WORDS[name] + fitted, f"{value:.4f}")
        if self.gap is not None:
            table.add_row("train - test gap (exact)", f"{self.gap:.4f}")
        table.add_row("log Z", f"{result.log_partition.value:.4f}")
        out.print(table)
        print_verdict(f"verdict: {result.verdict}", self.shortfalls)


def _compare(
    result: gb.Evaluation, rbm: gb.RBM, v: Tensor, source: Dataset, generator: torch.Generator
) -> Comparison:
    """The evaluation of v beside baselines and, if v are test rows, the training rows."""
    if source.test is None:
        return Comparison(result, "train", baselines(rbm, v, v[:MONITOR_ROWS]), None)
    train = rbm.visible.observe(as_states(rbm, source.rows[:MONITOR_ROWS]), generator)
    return Comparison(result, "test", baselines(rbm, v, train), gb.free_energy_gap(rbm, train, v))


def _size(result: gb.LogPartition) -> str:
    direction = result.forward or result.reverse
    assert direction is not None
    return f"{len(direction.run.betas):,}, {len(direction.run.log_weights):,}"
