"""Training of a model of a table by the recipe, on states with missing entries."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gibbsite.errors import DivergenceError
from gibbsite.layers import Bernoulli, Layer
from gibbsite.layers.missing import hot_deck
from gibbsite.model import RBM
from gibbsite.rows import Rows
from gibbsite.training import L2, History, SigmaFloor, Traits, fit, recipe_for
from gibbsite.training.fit import RESTARTS
from gibbsite.training.named import make_optimizer, make_schedule
from gibbsite.training.recipe import Recipe
from gibbsite.training.trial import averaged
from gibbsite.training.units import mute_units_warning

LEAST_SIGMA = 0.1
"""Least sigma of standardised numbers: those that repeat would take it to 0."""

log = logging.getLogger("gibbsite")


def train(
    visible: Layer,
    states: Tensor,
    weights: Any,
    given: Mapping[str, Any],
    generator: torch.Generator,
) -> tuple[RBM, History]:
    """A model of the states, (rows, width), NaN where missing, by `recipe_for` but what is given.

    Binary hidden units, and the average of the parameters over the last of the training. A run
    that diverges at a rate of the recipe starts again at a quarter of it.
    """
    states = states.to(visible.like)
    complete = Rows(hot_deck(visible, states))
    traits = Traits.of(visible, complete)._replace(whitened=False)
    recipe = recipe_for(traits, {**given, "sampled": True})
    restarts = RESTARTS if "learning_rate" in recipe.reasons else 0
    while True:
        rbm = RBM(copy.deepcopy(visible), Bernoulli(recipe.hidden))
        try:
            return _trained(rbm, states, complete, weights, recipe, generator)
        except DivergenceError as error:
            if restarts == 0:
                raise
            restarts -= 1
            rate = recipe.learning_rate / 4
            log.warning("training diverged at update %d; it starts again at a learning rate of %g",
                        error.step, rate)  # fmt: skip
            recipe = recipe_for(traits, {**vars(recipe), "learning_rate": rate})


def _trained(
    rbm: RBM,
    states: Tensor,
    complete: Rows,
    weights: Any,
    recipe: Recipe,
    generator: torch.Generator,
) -> tuple[RBM, History]:
    mute_units_warning(rbm)  # they are standardised
    gradient, _ = recipe.gradient(rbm, complete)
    optimizer = make_optimizer("sgd", rbm.parameters(), recipe.learning_rate, recipe.momentum)
    average = averaged(rbm, recipe, len(states))
    history = fit(
        rbm,
        states,
        weights=weights,
        gradient=gradient,
        optimizer=optimizer,
        scheduler=make_schedule(recipe.schedule, optimizer, recipe.epochs),
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        penalties=[L2(recipe.l2)],
        projections=[SigmaFloor(LEAST_SIGMA)] if rbm.visible.learned_scales() else [],
        callbacks=[average],
        generator=generator,
    )
    return average.model, history
