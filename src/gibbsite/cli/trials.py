"""Trials: short runs on a part of the rows, by which settings that are left open are chosen."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace

import torch

import gibbsite as gb
from gibbsite import ops
from gibbsite.cli.console import err
from gibbsite.cli.job import Job
from gibbsite.errors import DivergenceError
from gibbsite.likelihood.baselines import INDEPENDENT, baselines
from gibbsite.rows import Rows
from gibbsite.training.history import Record
from gibbsite.training.pace import timed_update
from gibbsite.training.recipe import Recipe, candidates, seconds_an_update
from gibbsite.training.trial import Trial, run_trial

STANDSTILL = 1e-6
"""A learning rate that leaves a model as it starts: independent columns, nearly."""


@dataclass
class Stop:
    """Callback that ends every trial once it is told to."""

    event: threading.Event = field(default_factory=threading.Event)

    @property
    def finished(self) -> bool:
        """True once the trials are to end."""
        return self.event.is_set()

    def __call__(self, rbm: gb.RBM, record: Record) -> Mapping[str, float] | None:
        return None


def searched(job: Job) -> Job:
    """A job on all the rows, by those of the settings tried that do best on the rows held out."""
    given = {name: x for name, x in vars(job.given).items() if x is not None}
    given["seconds"] = job.settings.training_seconds() / job.pace
    recipes = candidates(job.data.traits, given)
    trials = []
    for done, trial in enumerate(_trials(job, recipes), start=1):
        trials.append(trial)
        err.print(f"trial {done} of {len(recipes)}: {_summary(trial)}", highlight=False)
    trials.sort(key=lambda trial: recipes.index(trial.recipe))  # they ended in any order
    best = max(trials, key=lambda trial: (trial.score, trial.pseudo))
    alone = baselines(job.rbm, job.valid_states(), Rows.of(job.rows).dense())[INDEPENDENT]
    if best.best_known <= alone and {"learning_rate", "epochs"} <= best.recipe.reasons.keys():
        return _independent(job, best, alone)
    epochs = f"steps that sum to those of {best.epoch} of {best.recipe.epochs} epochs of its trial"
    chosen = job.again(**best.settings(), validation=0.0)
    chosen.settings = replace(chosen.settings, reasons={**best.recipe.reasons, "epochs": epochs})
    measured = {} if best.score == -math.inf else {"validation_log_likelihood": best.score}
    chosen.tried = measured | {"training": best.verdict, "trial_epochs": best.recipe.epochs}
    return chosen


def _independent(job: Job, best: Trial, score: float) -> Job:
    """A job that leaves the columns independent, as no trial is better on the rows held out.

    Few rows of very many columns say little of how the columns hang together.
    """
    found = f"no trial was better than independent columns, {score:.3f} nats on rows held out"
    err.print(f"{found}: they are kept", highlight=False)
    fixed = {**best.settings(), "learning_rate": STANDSTILL, "epochs": 1, "average": 0.0}
    chosen = job.again(**fixed, validation=0.0)
    reasons = {**best.recipe.reasons, "learning_rate": found, "epochs": found, "average": found}
    chosen.settings = replace(chosen.settings, reasons=reasons)
    chosen.tried = {"validation_log_likelihood": score, "training": found}
    return chosen


def paced(job: Job) -> Job:
    """The job with as many epochs as this machine has time for, by a measurement of its speed."""
    settings = job.settings
    seconds = timed_update(job.rbm, Rows.of(job.rows), job.gradient, settings.batch_size)
    job.pace = seconds / seconds_an_update(job.data.traits, settings.as_settings())
    if settings.searches:
        return job
    found = job.again(
        epochs=max(1, round(settings.epochs / job.pace)), validation=settings.validation
    )
    reason = f"for {settings.budget:g} s at the speed of this machine now"
    found.settings = replace(found.settings, reasons={**settings.reasons, "epochs": reason})
    return found


def _summary(trial: Trial) -> str:
    """A trial in a line."""
    recipe = trial.recipe
    if trial.score == -math.inf:
        result = f"no likelihood, pseudo-likelihood {trial.pseudo:.3f} nats on rows held out"
    else:
        result = f"{trial.score:.3f} nats on rows held out, {trial.verdict}"
    return f"{recipe.hidden} hidden units, L2 {recipe.l2:g}: {result}"


def _trials(job: Job, recipes: list[Recipe]) -> Iterator[Trial]:
    """The trials as they end, as many at a time as there are threads: cores, but in a sweep.

    Raises `DivergenceError` if all of them diverge.
    """
    stop, failures, threads = Stop(), [], torch.get_num_threads()
    with ops.fitting_threads(0), ThreadPoolExecutor(threads) as pool:  # a thread each
        futures: list[Future[Trial]] = [pool.submit(_trial, job, r, stop) for r in recipes]
        try:
            for future in as_completed(futures):
                try:
                    yield future.result()
                except DivergenceError as error:
                    failures.append(error)
        finally:  # also of Ctrl-C
            stop.event.set()
            for future in futures:
                future.cancel()
    if len(failures) == len(recipes):
        raise failures[0]


def _trial(job: Job, recipe: Recipe, stop: Stop) -> Trial:
    """The trial of a recipe on the job's data."""
    rbm = gb.RBM(job.rbm.visible, job.make_hidden(recipe.hidden)).to(job.rbm.weight.device)
    return run_trial(
        rbm,
        Rows.of(job.rows),
        job.valid_states(),
        recipe,
        penalties=job.data_penalties,
        seed=job.settings.seed,
        callbacks=[stop],
    )
