"""Speed of training on this machine, beside what the recipe counts on."""

from __future__ import annotations

import copy
import time

import torch

from gibbsite.errors import DivergenceError
from gibbsite.model import RBM
from gibbsite.rows import Rows
from gibbsite.training.fit import fit
from gibbsite.training.recipe import Recipe, Traits, seconds_an_update

UPDATES = 30
"""Updates that are timed."""


def measured_pace(rbm: RBM, rows: Rows, recipe: Recipe, traits: Traits) -> float:
    """Time of an update over `seconds_an_update`: above 1 on a machine that is slower.

    Some updates of a copy of the model are timed, after as many that compile what is needed.
    """
    chosen = {name: getattr(recipe, name) for name in ("batch_size", "chains", "hidden", "sampler")}
    n = min(len(rows), UPDATES * recipe.batch_size)
    epochs = max(1, UPDATES * recipe.batch_size // n)
    gradient, _ = recipe.gradient(rbm, rows)
    best = float("inf")
    for _ in range(2):
        model, generator = copy.deepcopy(rbm), torch.Generator(rbm.weight.device).manual_seed(0)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
        started = time.perf_counter()
        try:
            history = fit(
                model,
                rows.take(torch.arange(n)),
                gradient=gradient,
                optimizer=optimizer,
                epochs=epochs,
                batch_size=recipe.batch_size,
                generator=generator,
            )
        except DivergenceError:
            return 1.0
        updates = history.records[-1]["updates"]
        best = min(best, (time.perf_counter() - started) / updates)
    return best / seconds_an_update(traits, chosen)
