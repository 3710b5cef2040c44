"""Settings of a training run, chosen from the data and the time there is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gibbsite.gradients import Gradient
from gibbsite.model import RBM
from gibbsite.rows import Rows
from gibbsite.sampling import Sampler
from gibbsite.sampling.tempering import BASE_ROWS
from gibbsite.training.named import (
    GradientName,
    OptimizerName,
    SamplerName,
    ScheduleName,
    make_gradient,
    make_sampler,
)
from gibbsite.training.traits import Traits

SECONDS = 36.0
"""Time to train for, about, on two cores, unless told otherwise."""

FEWEST_HIDDEN, MOST_HIDDEN = 16, 500
BATCH_SIZE, MANY_ROWS = 100, 20_000
"""Rows an update, and of the data from which on it is twice as many."""

SMALL_MODEL = 50_000
"""Weights up to which chains are cheap."""

MOST_UPDATES = 20_000
"""Updates of `SECONDS`, at most; more time has more of them."""

MOST_EPOCHS = 2_000

RATE, MEASURED_RATE = 0.1, 0.02
"""Learning rates for columns of variance 1: of states, and of units with a scale; for batches of
`BATCH_SIZE`; of larger ones they go by the square root of their size, up to twofold."""

DECAY, LADDER_DECAY, MOST_DECAY = 2.0, 0.7, 0.003
"""Weight decay times the number of rows; where modes are far apart, less. At most, unless rows are
said to be a sample: few rows may be all there are."""

WIDE = 10
"""Columns a row from which on weight decay grows with them."""

TRIALS = ((1, 1.0), (1, 4.0), (2, 2.0), (2, 8.0))
"""Settings to choose from: hidden units, in those of the recipe, and weight decay times rows."""

SCARCE, STRONG = 1_000, (1, 30.0)
"""Rows below which a stronger weight decay is tried too, and it."""

OVERHEAD = 2.0
"""Time of trials with their measurements, over that of their updates."""

AVERAGED = 0.04
"""Horizon of the average of the parameters, as a share of the epochs."""

COUPLED_SHARE = 0.05
"""Share of coupled units above which modes are far apart."""

RUNGS = 16
"""Temperatures of a ladder, about, for what it costs."""

SECONDS_AN_ENTRY, SECONDS_A_PRODUCT, SPEEDUP = 3e-9, 3e-12, 1.4
"""Cost of a state that is drawn and of a multiply-add on one core; gain of the second one."""


@dataclass(frozen=True)
class Recipe:
    """Settings of a training run by persistent chains, and the reason for each that was chosen.

    Attributes:
        hidden: number of hidden units.
        batch_size: rows an update.
        sampler: of the chains, a `SamplerName`.
        chains: number of persistent chains.
        learning_rate: at the start.
        schedule: course of the learning rate, a `ScheduleName`.
        momentum: of the optimiser.
        l2: strength of the weight decay, in nats.
        epochs: passes over the rows.
        average: horizon of the average of the parameters, in epochs.
        reasons: in words, by setting; none for those that were given.
    """

    hidden: int
    batch_size: int
    sampler: str
    chains: int
    learning_rate: float
    schedule: str
    momentum: float
    l2: float
    epochs: int
    average: float
    reasons: Mapping[str, str]

    def gradient(self, rbm: RBM, rows: Rows) -> tuple[Gradient, Sampler]:
        """Centred PCD by these chains, and their sampler; a ladder's base is that of some rows."""
        tempered = self.sampler == SamplerName.tempering
        sampler = make_sampler(self.sampler, base_rows(rbm, rows) if tempered else None)
        return make_gradient(GradientName.pcd, self.chains, 1, True, sampler), sampler


def base_rows(rbm: RBM, rows: Rows) -> Tensor:
    """Some rows for the base of a ladder, drawn at random, always the same ones, as states."""
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(rows), generator=generator)[:BASE_ROWS]
    return rbm.visible.observe(rbm.visible.check_data(rows.at(chosen)).cpu(), generator)


def recipe_for(traits: Traits, given: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe for such data; settings that are given, and not None, stay as they are.

    Beyond the attributes of `Recipe`, `given` may hold "seconds" to train for, "centered",
    "optimizer", and "sampled": True if the rows are a sample, so that few of them want a strong
    weight decay; otherwise they may be all there are.

    >>> from gibbsite.training import Traits, recipe_for
    >>> recipe = recipe_for(Traits(rows=60_000, columns=784, spread=0.1))
    >>> recipe.hidden, recipe.batch_size, recipe.learning_rate
    (500, 200, 0.57)
    """
    settings = {name: value for name, value in (given or {}).items() if value is not None}
    reasons = {}
    for name, rule in (WHITENED if traits.whitened else RULES).items():
        if name not in settings:
            settings[name], reasons[name] = rule(traits, settings)
    return Recipe(**{name: settings[name] for name in RULES}, reasons=reasons)


def candidates(traits: Traits, given: Mapping[str, Any]) -> list[Recipe]:
    """Recipes to choose from by held-out rows, which differ in hidden units and weight decay.

    Those that are given stay as they are. The time that is given is for the trials, two at a
    time, and for one run more.
    """
    own = recipe_for(traits, given)
    trials = (*TRIALS, STRONG) if traits.rows < SCARCE else TRIALS
    seconds = given.get("seconds", SECONDS) / (OVERHEAD * (1 + len(trials) / 2))
    found: dict[tuple[int, float], Recipe] = {}
    for times, decay in trials:
        hidden = round(times * own.hidden) if "hidden" in own.reasons else own.hidden
        l2 = float(f"{decay / traits.rows:.2g}") if "l2" in own.reasons else own.l2
        recipe = recipe_for(traits, {**given, "hidden": hidden, "l2": l2, "seconds": seconds})
        reasons = {name: "by held-out rows" for name in ("hidden", "l2") if name in own.reasons}
        found.setdefault((hidden, l2), replace(recipe, reasons={**recipe.reasons, **reasons}))
    return list(found.values())


Chosen = Mapping[str, Any]
"""Settings so far: those given, and those chosen by earlier rules."""


def _hidden(traits: Traits, chosen: Chosen) -> tuple[int, str]:
    share = 4.0 if chosen["sampler"] == SamplerName.gibbs else 2.6  # ladders take longer
    by_columns, by_rows = 1.6 * traits.columns, share * math.sqrt(traits.rows)
    n = round(min(max(min(by_columns, by_rows), FEWEST_HIDDEN), MOST_HIDDEN))
    if by_columns < by_rows:
        return n, f"for {traits.columns:,} columns"
    return n, f"for {traits.rows:,} rows"


def _batch_size(traits: Traits, chosen: Chosen) -> tuple[int, str]:
    n = 2 * BATCH_SIZE if traits.rows >= MANY_ROWS else BATCH_SIZE
    return min(n, traits.rows), f"for {traits.rows:,} rows"


def _sampler(traits: Traits, chosen: Chosen) -> tuple[str, str]:
    if traits.coupled > COUPLED_SHARE:
        share = f"{traits.coupled:.0%} of the units are nearly determined by the others"
        return SamplerName.tempering.value, f"{share}: the modes of such data are far apart"
    return SamplerName.gibbs.value, "modes that plain chains can move between"


def _chains(traits: Traits, chosen: Chosen) -> tuple[int, str]:
    if chosen["sampler"] != SamplerName.gibbs:
        return 100, "each a ladder of replicas"
    if traits.columns * chosen["hidden"] <= SMALL_MODEL:
        return 500, "many, as the model is small"
    return max(200, chosen["batch_size"]), "as many as rows an update"


def _learning_rate(traits: Traits, chosen: Chosen) -> tuple[float, str]:
    if chosen.get("optimizer") == OptimizerName.adam:
        return 0.001, "that of adam"
    rate = (MEASURED_RATE if traits.measured else RATE) / max(0.25, traits.spread)
    rate *= min(2.0, max(1.0, math.sqrt(chosen["batch_size"] / BATCH_SIZE)))  # less noise
    rate *= 1.0 if traits.bounded else 0.1
    rate *= 1.0 if chosen.get("centered", True) else 0.25
    return float(f"{rate:.2g}"), f"for columns of variance {traits.spread:.2g}"


def _schedule(traits: Traits, chosen: Chosen) -> tuple[str, str]:
    return ScheduleName.quadratic.value, "small steps for most of the run"


def _momentum(traits: Traits, chosen: Chosen) -> tuple[float, str]:
    return 0.0, "none, as chains have to keep up"


def _l2(traits: Traits, chosen: Chosen) -> tuple[float, str]:
    decay = DECAY if chosen["sampler"] == SamplerName.gibbs else LADDER_DECAY
    decay = float(f"{decay * max(1.0, traits.columns / (WIDE * traits.rows)):.2g}")
    if decay / traits.rows > MOST_DECAY and not chosen.get("sampled"):
        return MOST_DECAY, f"for {traits.rows:,} rows"
    return float(f"{decay / traits.rows:.2g}"), f"{decay:g} over {traits.rows:,} rows"


def _epochs(traits: Traits, chosen: Chosen) -> tuple[int, str]:
    return _epochs_of(math.inf, traits, chosen)


def _epochs_of(most: float, traits: Traits, chosen: Chosen) -> tuple[int, str]:
    """Passes over the rows, of so many updates at most, in the time there is."""
    seconds = chosen.get("seconds", SECONDS)
    most = min(most, MOST_UPDATES * max(1.0, seconds / SECONDS))
    updates = min(seconds / seconds_an_update(traits, chosen), most)
    epochs = min(MOST_EPOCHS, max(1, round(updates * chosen["batch_size"] / traits.rows)))
    return epochs, f"about {seconds:.0f} s at most"


def _average(traits: Traits, chosen: Chosen) -> tuple[float, str]:
    return round(AVERAGED * chosen["epochs"], 2), "of the last steps, which scatter"


def _whitened_hidden(traits: Traits, chosen: Chosen) -> tuple[int, str]:
    n = max(8, min(4 * traits.columns, traits.rows // 8, 512))
    return n, f"for {traits.rows:,} rows of {traits.columns:,} whitened columns"


def _whitened_batch_size(traits: Traits, chosen: Chosen) -> tuple[int, str]:
    return min(100, traits.rows), f"for {traits.rows:,} rows"


def _whitened_chains(traits: Traits, chosen: Chosen) -> tuple[int, str]:
    return 100, "chains of whitened columns mix fast"


def _whitened_rate(traits: Traits, chosen: Chosen) -> tuple[float, str]:
    if not traits.bounded or chosen.get("optimizer") == OptimizerName.adam:
        return _learning_rate(traits, chosen)
    return 0.1, "for whitened columns; of log sigma a tenth of it"


def _whitened_schedule(traits: Traits, chosen: Chosen) -> tuple[str, str]:
    return ScheduleName.linear.value, "with momentum"


def _whitened_momentum(traits: Traits, chosen: Chosen) -> tuple[float, str]:
    return 0.5, "for whitened columns"


def _whitened_l2(traits: Traits, chosen: Chosen) -> tuple[float, str]:
    return float(f"{3 / traits.rows:.2g}"), f"3 over {traits.rows:,} rows"


def _whitened_epochs(traits: Traits, chosen: Chosen) -> tuple[int, str]:
    return _epochs_of(1000 + traits.rows / 4, traits, chosen)  # few rows are overfitted by more


def _whitened_average(traits: Traits, chosen: Chosen) -> tuple[float, str]:
    return round(0.1 * chosen["epochs"], 2), "of the last steps, which scatter"


def seconds_an_update(traits: Traits, chosen: Chosen) -> float:
    """Time of an update on two cores, about: states drawn, and multiply-adds."""
    rungs = 1 if chosen["sampler"] == SamplerName.gibbs else RUNGS
    moved, weights = chosen["chains"] * rungs, traits.columns * chosen["hidden"]
    entries = (chosen["batch_size"] + moved) * (traits.columns + chosen["hidden"])
    products = weights * (2 * chosen["batch_size"] + 3 * moved)
    one_core = 5e-4 + SECONDS_AN_ENTRY * entries + SECONDS_A_PRODUCT * products
    return float(one_core if weights <= SMALL_MODEL else one_core / SPEEDUP)


Rule = Callable[[Traits, Chosen], tuple[Any, str]]

RULES: dict[str, Rule] = {
    "sampler": _sampler,
    "hidden": _hidden,
    "batch_size": _batch_size,
    "chains": _chains,
    "learning_rate": _learning_rate,
    "schedule": _schedule,
    "momentum": _momentum,
    "l2": _l2,
    "epochs": _epochs,
    "average": _average,
}
"""The rule of each setting, in the order in which they depend on one another."""

WHITENED: dict[str, Rule] = {
    "sampler": _sampler,
    "hidden": _whitened_hidden,
    "batch_size": _whitened_batch_size,
    "chains": _whitened_chains,
    "learning_rate": _whitened_rate,
    "schedule": _whitened_schedule,
    "momentum": _whitened_momentum,
    "l2": _whitened_l2,
    "epochs": _whitened_epochs,
    "average": _whitened_average,
}
"""The same for whitened columns."""
