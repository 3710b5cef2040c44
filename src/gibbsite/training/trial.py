"""A training run on a part of the rows, to choose settings by the rest."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gibbsite.model import RBM
from gibbsite.rows import Rows
from gibbsite.training.average import Averaged
from gibbsite.training.fit import fit
from gibbsite.training.held_out import HeldOut
from gibbsite.training.named import POWERS, make_optimizer, make_schedule
from gibbsite.training.penalties import L2
from gibbsite.training.recipe import Recipe
from gibbsite.training.run import Callback, Penalty

MEASUREMENTS = 5
"""Measurements of held-out rows in a run."""


class HasAverage(Protocol):
    """Settings of an average: its horizon in epochs, and the rows of an update."""

    @property
    def average(self) -> float: ...

    @property
    def batch_size(self) -> int: ...


class Trial(NamedTuple):
    """The outcome of a recipe.

    Attributes:
        recipe: the one that was tried.
        score: mean log-likelihood of the held-out rows at the best epoch, in nats; minus infinity
            if it could not be measured.
        epoch: the best one.
        verdict: the course of the score, in words.
        pseudo: mean pseudo-log-likelihood of the held-out rows at that epoch, in nats, where the
            score could not be measured.
    """

    recipe: Recipe
    score: float
    epoch: int
    verdict: str
    pseudo: float = -math.inf

    @property
    def best_known(self) -> float:
        """The score; the pseudo-log-likelihood, which is mostly higher, where there is none."""
        return max(self.score, self.pseudo)

    def settings(self) -> dict[str, Any]:
        """Settings of the recipe, for a run whose rates sum to what they did up to the best epoch.

        So it ends at small steps where the trial was stopped at larger ones.
        """
        chosen = {name: getattr(self.recipe, name) for name in self.recipe.reasons}
        power, epochs = POWERS[self.recipe.schedule], self.recipe.epochs
        share = 1 - (1 - self.epoch / epochs) ** (power + 1)
        if "average" in chosen:
            chosen["average"] = round(share * chosen["average"], 2)
        return chosen | {"epochs": max(1, round(share * epochs))}


def measured_epochs(epochs: int, schedule: str) -> list[int]:
    """Epochs between which the rates of a schedule sum to the same, the last one included."""
    shares = [i / MEASUREMENTS for i in range(1, MEASUREMENTS + 1)]
    power = 1 / (POWERS[schedule] + 1)
    return sorted({max(1, round(epochs * (1 - (1 - share) ** power))) for share in shares})


def run_trial(
    rbm: RBM,
    rows: Rows,
    held_out: Tensor,
    recipe: Recipe,
    *,
    penalties: Sequence[Penalty] = (),
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
) -> Trial:
    """Train a copy of a model by a recipe and measure it on held-out rows, in the same units.

    Raises `DivergenceError` if the rate is too high.
    """
    model, generator = copy.deepcopy(rbm), torch.Generator(rbm.weight.device).manual_seed(seed)
    average = averaged(model, recipe, len(rows))
    gradient, sampler = recipe.gradient(model, rows)
    laddered = hasattr(sampler, "ladder") and not rbm.visible.has_units
    ladder: Any = sampler if laddered else None
    watch = HeldOut(
        model,
        held_out,
        at=measured_epochs(recipe.epochs, recipe.schedule),
        model=lambda: average.model,
        sampler=ladder,
        generator=torch.Generator(rbm.weight.device).manual_seed(seed),
    )
    optimizer = make_optimizer("sgd", model.parameters(), recipe.learning_rate, recipe.momentum)
    fit(
        model,
        rows,
        gradient=gradient,
        optimizer=optimizer,
        scheduler=make_schedule(recipe.schedule, optimizer, recipe.epochs),
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        penalties=[L2(recipe.l2), *penalties],
        callbacks=[average, watch, *callbacks],
        generator=generator,
    )
    score = watch.scores[watch.best_index] if watch.is_measured else -math.inf
    pseudo = -math.inf if watch.is_measured else watch.without.best_score
    return Trial(recipe, score, watch.best_epoch or recipe.epochs, watch.verdict(), pseudo)


def averaged(rbm: RBM, settings: HasAverage, rows: int) -> Averaged:
    """The average of the parameters that the settings ask for, over rows in minibatches."""
    horizon = settings.average * math.ceil(rows / settings.batch_size)
    return Averaged(rbm, horizon=max(1.0, horizon))
