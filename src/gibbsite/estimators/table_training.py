"""Training of a model of a table by the recipe, on states with missing entries."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gibbsite.estimators.scores import SAMPLE_ROWS
from gibbsite.layers import Bernoulli, Layer
from gibbsite.layers.missing import hot_deck
from gibbsite.model import RBM
from gibbsite.rows import Rows
from gibbsite.training import L2, History, SigmaFloor, Traits, fit, recipe_for
from gibbsite.training.initialize import row_weights
from gibbsite.training.named import make_optimizer, make_schedule
from gibbsite.training.recipe import Recipe
from gibbsite.training.restarts import with_restarts
from gibbsite.training.trial import averaged
from gibbsite.training.units import mute_units_warning

START_SIGMA, LEAST_SIGMA = 0.7, 0.2
"""Sigma of standardised numbers at the start, and least one: numbers that repeat take it to 0."""

LEAST_RATE = 0.08
"""Least learning rate at the start for tables with numbers; heavy tails diverge at thrice this."""


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

    def attempt(rate: float) -> tuple[RBM, History]:
        rbm = RBM(copy.deepcopy(visible), Bernoulli(recipe.hidden))
        own = replace(recipe, learning_rate=rate)
        return _trained(rbm, states, complete, weights, own, generator)

    return with_restarts(attempt, max(LEAST_RATE if traits.measured else 0, recipe.learning_rate))


def _trained(
    rbm: RBM,
    states: Tensor,
    complete: Rows,
    weights: Any,
    recipe: Recipe,
    generator: torch.Generator,
) -> tuple[RBM, History]:
    mute_units_warning(rbm)  # they are standardised
    rows = complete.dense()
    if weights is not None:  # the start depends on the rows by their mean
        rows = rows * row_weights(weights, len(rows), rows)[:, None]
    start_apart(rbm, rows, generator)
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


@torch.no_grad()
def start_apart(rbm: RBM, rows: Tensor, generator: torch.Generator) -> None:
    r"""Start from weights that point anywhere at random, each hidden unit on for half of the rows.

    Each hidden unit has a weight vector $w_j$ of length 1. Its bias $-w_j\cdot s(\bar v)$ gives it
    no input at the mean row, and visible biases take off what half of the hidden units send. From
    weights near 0 training of few updates would hardly move: where columns are standardised, no
    single one has much to say about a hidden unit.
    """
    rbm.visible.initialize(rows)
    noise = torch.randn(rbm.weight.shape, generator=generator, dtype=rbm.weight.dtype)
    weight = noise / torch.linalg.vector_norm(noise, dim=0)
    rbm.weight.copy_(weight)
    rbm.hidden.zero_biases()
    rbm.hidden.shift_(-(rbm.visible.statistic(rows.mean(0)) @ weight))
    rbm.visible.shift_(-0.5 * weight.sum(1))


def some_rows(visible: Layer, states: Tensor) -> Tensor:
    """Some rows, full, to start estimates of log Z from."""
    chosen = torch.randperm(len(states), generator=torch.Generator().manual_seed(0))[:SAMPLE_ROWS]
    return hot_deck(visible, states[chosen.sort().values])
