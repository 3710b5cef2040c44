"""The command `diagnose`: how a model mixes, and what to sample it with."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

import gibbsite as gb
from gibbsite import plots
from gibbsite.cli import arguments as arg
from gibbsite.cli.console import escape, out, print_json, print_note, print_verdict, set_verbosity
from gibbsite.cli.data import MONITOR_ROWS, load_as_trained, run_record
from gibbsite.cli.options import check_free, generator_of
from gibbsite.cli.progress import busy
from gibbsite.cli.settings import Settings, check_budget
from gibbsite.errors import GibbsiteError
from gibbsite.io import model_file
from gibbsite.likelihood.monitors import as_states
from gibbsite.training.lock import locked
from gibbsite.training.named import DeviceName, make_device


def diagnose(
    model: arg.Model,
    data: arg.ComparedData = None,
    budget: arg.DiagnoseBudget = 30.0,
    chains: arg.DiagnosedChains = 100,
    picture: arg.DiagnosisPicture = None,
    key: arg.KeyAsTrained = None,
    resize: arg.ResizeAsTrained = None,
    seed: arg.SampleSeed = 0,
    device: arg.Device = DeviceName.auto,
    quiet: arg.Quiet = False,
    as_json: arg.AsJson = False,
) -> None:
    """Say how a model mixes and what to sample it with; keep it in the model's file.

    Chains from several starts must agree within the budget: `gibbsite sample` and `evaluate` then
    follow this certificate.
    """
    check_budget(budget, 0)
    set_verbosity(quiet, as_json)
    if picture is not None:
        check_free(picture)
    record = run_record(model)
    with locked(record.parent) if record.is_file() else nullcontext():
        rbm = gb.load(model).to(make_device(device))
        generator = generator_of(seed, rbm.weight.device)
        rows = _rows(model, rbm, data, key, resize, generator)
        steps = gb.sampling.steps_within(rbm, budget, chains)
        with busy(f"running {chains} chains for {steps:,} steps"):
            found = gb.diagnose(rbm, rows, chains=chains, budget=steps, generator=generator)
        rbm.certificate = found
        gb.save(rbm, model_file(model))
    if picture is not None:
        plots.save(plots.mixing(found), picture)
    if as_json:
        print_json(found.as_record())
    _print(found, model)


def _rows(
    model: Path,
    rbm: gb.RBM,
    data: str | None,
    key: str | None,
    resize: str | None,
    generator: torch.Generator,
) -> Tensor | None:
    """Rows of the data, drawn at random; by default of the run, None if these are gone."""
    record = run_record(model)
    if data is None and not record.is_file():
        print_note("no data to compare chains with; name some to tell whether the model fits them")
        return None
    try:
        named = Settings.read(record)[0].data if data is None else data
        source = load_as_trained(model, rbm.visible, named, key, resize)
    except GibbsiteError as error:
        if data is not None:
            raise
        print_note(f"no data to compare chains with: {error}")
        return None
    order = torch.randperm(len(source.rows), generator=torch.Generator().manual_seed(0))
    return as_states(rbm, source.rows[order[:MONITOR_ROWS]])


def _print(found: gb.Diagnosis, model: Path) -> None:
    """Print a table of what was measured, and the verdict."""
    first = found.mixing[0]
    table = Table("", *(mixing.sampler for mixing in found.mixing))
    table.title = f"{escape(str(model))}: {first.steps:,} steps of each chain"
    for label, show in FIGURES.items():
        values = [show(mixing) for mixing in found.mixing]
        if any(values):
            table.add_row(label, *values)
    out.print(table)
    course = found.course
    ends = f"{min(course.discrepancy):.3f} at best, {course.discrepancy[-1]:.3f} in the end"
    out.print(
        f"discrepancy of chains from noise to the {course.reference}: {ends} "
        f"(error {course.stderr[-1]:.3f})",
        soft_wrap=True,
        highlight=False,
    )
    print_verdict(f"verdict: {found.verdict}", ())


FIGURES: dict[str, Any] = {
    "chains": lambda m: f"{m.chains}",
    "autocorrelation time of the free energy, steps": lambda m: f"{m.energy_time:.1f}",
    "of the slowest hidden unit": lambda m: f"{m.unit_time:.1f} (unit {m.slowest_unit + 1})",
    "split R-hat of the free energy": lambda m: f"{m.split_r_hat:.3f}",
    "nested R-hat over the starts": lambda m: f"{m.nested_r_hat:.3f}",
    "of the worst hidden unit": lambda m: f"{m.unit_r_hat:.3f}",
    "shares of clusters apart by (by chance up to)": lambda m: (
        f"{m.occupancy:.3f} ({m.occupancy_limit:.3f})"
    ),
    "passages from independent units": lambda m: "" if m.trips is None else f"{m.trips:.0f}",
    "barrier of the ladder": lambda m: "" if m.barrier is None else f"{m.barrier:.2f}",
}
