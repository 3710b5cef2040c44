"""The commands `fit` and `resume`: train a model into a run folder."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from gibbsite import exact
from gibbsite.cli import arguments as arg
from gibbsite.cli.console import escape, out, print_error, print_json, print_note, set_verbosity
from gibbsite.cli.extend import later_end
from gibbsite.cli.figures import course_in_words, print_figures
from gibbsite.cli.folder import restart_job, resume_job, start_job, write_figures
from gibbsite.cli.job import Job
from gibbsite.cli.numbers import Several
from gibbsite.cli.options import Rule, given_options, note_unused, parse_seconds, refuse_both
from gibbsite.cli.process import interruptible
from gibbsite.cli.settings import Settings
from gibbsite.cli.sweep import run_sweep
from gibbsite.cli.trials import paced, searched
from gibbsite.datasets import Dataset
from gibbsite.errors import DivergenceError
from gibbsite.startup import INTERRUPTED
from gibbsite.training import History
from gibbsite.training.lock import locked
from gibbsite.training.named import (
    CHAINED,
    DeviceName,
    GradientName,
    OptimizerName,
)
from gibbsite.training.restarts import RESTARTS


def fit(
    context: typer.Context,
    data: arg.TrainingData = None,
    output: arg.Folder = None,
    config: arg.Config = None,
    start: arg.Start = None,
    key: arg.Key = None,
    resize: arg.Resize = None,
    hidden: arg.Hidden = None,
    hidden_type: arg.HiddenType = "bernoulli",
    hidden_states: arg.HiddenStates = 3,
    visible: arg.Visible = "auto",
    trials: arg.Trials = None,
    sigma: arg.Sigma = 1.0,
    learn_sigma: arg.LearnSigma = True,
    gradient: arg.Gradient = GradientName.pcd,
    exact_gradient: arg.ExactGradient = False,
    centered: arg.Centered = True,
    sampler: arg.Sampler = None,
    steps: arg.Steps = None,
    chains: arg.Chains = None,
    epochs: arg.Epochs = None,
    batch_size: arg.BatchSize = None,
    learning_rate: arg.LearningRate = None,
    momentum: arg.Momentum = None,
    schedule: arg.Schedule = None,
    average: arg.Average = None,
    optimizer: arg.Optimizer = OptimizerName.sgd,
    l2: arg.L2 = None,
    l1: arg.L1 = 0.0,
    budget: arg.Budget = None,
    test_fraction: arg.TestFraction = 0.2,
    validation: arg.Validation = None,
    image: arg.Image = None,
    seed: arg.Seed = 0,
    device: arg.Device = DeviceName.auto,
    checkpoint_every: arg.CheckpointEvery = None,
    quiet: arg.Quiet = False,
    as_json: arg.AsJson = False,
) -> None:
    """Train a model; write it, its history and pictures into one run folder.

    Several values of an option, as in `--hidden 16,64 --seed 0-4`, make a sweep: a run for each
    combination, as many at a time as there are cores, and a table of all with the best marked.
    """
    set_verbosity(quiet, as_json)
    given = given_options(context)
    if any(isinstance(value, Several) for value in given.values()):
        run_sweep(context, given, _settings(config, _first_of(given)))
        return
    with interruptible("nothing was begun yet; the same command starts anew"):
        job, folder = start_job(_settings(config, given), output)
    _print_plan(job)
    note_unused(context, _unused(job))
    if config is not None and job.data.fingerprint != Settings.read(config)[1]:
        print_note(f"the data are not those of {config}")
    with locked(folder):
        _finish(job, folder, as_json)


def resume(
    context: typer.Context,
    run: arg.Run,
    epochs: arg.MoreEpochs = None,
    budget: arg.MoreTime = None,
    quiet: arg.Quiet = False,
    as_json: arg.AsJson = False,
) -> None:
    """Go on with a run from its last checkpoint, to its end or beyond.

    A run that was stopped or killed becomes what it would have been without the stop, bit for bit.
    """
    refuse_both(context, "epochs", "budget", "--budget sets --epochs; give only one")
    set_verbosity(quiet, as_json)
    seconds = None if budget is None else parse_seconds(budget)
    Settings.read(run / "run.json")  # raises for a folder without a run before it is locked
    with locked(run):
        further = epochs is not None or seconds is not None
        with interruptible("nothing is lost; the same command goes on"):
            changes = later_end(run, epochs, seconds) if further else {}
            job, epoch = resume_job(run, changes)
        _print_plan(job)
        out.print(f"going on after epoch {epoch}" if epoch else "no checkpoint yet: from the start")
        _finish(job, run, as_json)


def _first_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the first of several values."""
    return {n: x[0] if isinstance(x, Several) else x for n, x in given.items()}


def _settings(config: Path | None, given: dict[str, Any]) -> Settings:
    """Settings from a run.json, if any, and the options given."""
    if given.pop("exact_gradient", False) and given.setdefault("gradient", "exact") != "exact":
        raise typer.BadParameter(f"--exact and --gradient {given['gradient']} exclude each other")
    given = {name: given[name] for name in given if name in Settings.__dataclass_fields__}
    if "start" in given:
        given["start"] = str(given["start"].absolute())
    if "budget" in given:
        given["budget"] = parse_seconds(given["budget"])
    if config is not None:
        return replace(Settings.read(config)[0], **given)
    if given.get("data") is None:
        raise typer.BadParameter("name a data set or file, or give --config run.json")
    return Settings(**given)


def _print_plan(job: Job) -> None:
    """Print the data and the model to be trained."""
    source, settings = job.source, job.settings
    out.print(
        f"{escape(source.description)}: "
        f"{len(source.rows):,} rows to train on, {_held_out_in_words(source)}\n"
        + _model_in_words(job),
        soft_wrap=True,
        highlight=False,
    )
    if job.note:
        print_note(job.note)
    if not settings.searches:
        _print_choice(job)


def _held_out_in_words(source: Dataset) -> str:
    """Numbers of the rows that are not trained on."""
    test = 0 if source.test is None else len(source.test)
    steering = "" if source.valid is None else f", {len(source.valid):,} to steer training by"
    return f"{test:,} held out{steering}"


def _model_in_words(job: Job) -> str:
    """The model and the length of its training, or that trials come first."""
    rbm, settings = job.rbm, job.settings
    if settings.searches:
        return f"{rbm.visible.describe()} visible; trials choose the other settings"
    return (
        f"{rbm.visible.describe()} visible, {rbm.hidden.describe()} hidden; {settings.gradient} "
        f"gradient, {settings.epochs} epochs"
    )


def _print_choice(job: Job) -> None:
    """Print the settings that were chosen, each with its reason."""
    for name, reason in job.settings.reasons.items():
        value = getattr(job.settings, name)
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        out.print(f"  --{name.replace('_', '-')} {shown}: {reason}", highlight=False)


def _unused(job: Job) -> Iterable[Rule]:
    """Rules for options that change nothing in this run."""
    settings, visible, hidden = job.settings, job.rbm.visible, job.rbm.hidden
    known = {name for kind, _ in visible.kinds() for name in inspect.signature(kind).parameters}
    yield from (
        (name not in known, name, f"{visible.describe()} units have none")
        for name in ("sigma", "learn_sigma", "trials")
    )
    started, theirs = settings.start is not None, "units are those of the model to start from"
    yield started, "sigma learn_sigma trials hidden_states", theirs
    sized = {"q", "trials"} & inspect.signature(type(hidden)).parameters.keys()
    yield not sized, "hidden_states", f"{hidden.describe()} units have states of their own"
    gradient = f"the gradient is {settings.gradient}"
    chained = settings.gradient in CHAINED
    yield not chained, "chains", f"they are those of {', '.join(CHAINED)}, and {gradient}"
    moved = settings.gradient in ("pcd", "fpcd")
    yield not moved, "sampler", f"it is of pcd and fpcd, and {gradient}"
    yield settings.gradient == "exact", "steps", f"{gradient}, which takes none"
    yield settings.optimizer != "sgd", "momentum", f"the optimiser is {settings.optimizer}"
    yield not job.data.splits, "test_fraction", "the data say what is held out"
    idle = exact.is_small(job.rbm) and "epochs" not in settings.reasons
    yield idle, "budget", "the log-likelihood of this model is exact, and its epochs are given"


def _run(job: Job, folder: Path) -> tuple[History, dict[str, Any]]:
    """Choose what is left open, then train; at a lower rate where one that was chosen diverges."""
    if "epochs" in job.settings.reasons and job.settings.budget:
        job = restart_job(paced(job), folder)
        _print_choice(job)
    restarts = RESTARTS if "learning_rate" in job.settings.reasons else 0
    while True:
        try:
            if job.settings.searches:
                job = restart_job(searched(job), folder)
                _print_choice(job)
            return job.run(folder)
        except DivergenceError as error:
            if restarts == 0:
                raise
            restarts -= 1
            job = restart_job(job.again(learning_rate=job.settings.learning_rate / 4), folder)
            print_note(
                f"training diverged at update {error.step}; starting again at a learning rate of "
                f"{job.settings.learning_rate:g}"
            )


def _resuming(folder: Path) -> str:
    """The command that goes on with a run, for print."""
    return f"`gibbsite resume {escape(shlex.quote(str(folder)))}`"


def _finish(job: Job, folder: Path, as_json: bool) -> None:
    """Run the job to its end and print its figures."""
    with interruptible(f"what is done is saved; {_resuming(folder)} goes on"):
        history, figures = _run(job, folder)
    figures = {"interrupted": history.interrupted, **figures}
    write_figures(folder, figures)
    if as_json:
        print_json({"folder": str(folder), **figures})
    print_figures(figures)
    if advice := course_in_words(figures, shlex.quote(str(folder))):
        out.print(escape(advice), soft_wrap=True, highlight=False)
    out.print(f"run folder: {escape(str(folder))}", soft_wrap=True)
    command = f"gibbsite diagnose {escape(shlex.quote(str(folder)))}"
    out.print(f"{command} says how it mixes and what to sample it with", soft_wrap=True)
    if figures["interrupted"]:
        if not history.interrupted:
            print_error(f"interrupted; {_resuming(folder)} estimates the log-likelihood anew")
        raise typer.Exit(INTERRUPTED)
