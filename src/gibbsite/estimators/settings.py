"""Hyperparameters of the estimators, where "auto" stands for the recipe's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gibbsite.checks import check_counts, check_strength
from gibbsite.errors import ArgumentError
from gibbsite.training.named import (
    CHAINED,
    GradientName,
    SamplerName,
    ScheduleName,
    check_choice,
)
from gibbsite.training.recipe import recipe_for
from gibbsite.training.traits import Traits

AUTO = "auto"

RECIPE = {
    "n_components": "hidden",
    "n_iter": "epochs",
    **{
        name: name
        for name in (
            "batch_size",
            "learning_rate",
            "chains",
            "schedule",
            "momentum",
            "l2",
            "average",
        )
    },
}
"""Hyperparameters that a recipe has, and their names there."""

NAMES = (*RECIPE, "gradient", "centered")
"""Hyperparameters that may be "auto"."""

STREAM: Mapping[str, Any] = {"n_iter": 1, "schedule": "constant", "average": 0.0}
"""Those of `partial_fit`, whatever `fit` is told."""

Settings = Mapping[str, Any]
"""Values of `NAMES`, and "sampler": that of the chains."""


def is_auto(value: object) -> bool:
    """True for "auto"."""
    return isinstance(value, str) and value == AUTO


def completed(given: Settings, traits: Callable[[], Traits]) -> Settings:
    """The settings with the recipe's for "auto", which looks at the data only if it has to."""
    settings = {"centered": True, "gradient": GradientName.pcd.value} | {
        name: value for name, value in given.items() if not is_auto(value)
    }
    if not is_auto(given["gradient"]):
        settings.setdefault("sampler", SamplerName.gibbs.value)
    open_ones = RECIPE.keys() - settings.keys()
    if not open_ones and "sampler" in settings:
        return settings
    known = {RECIPE.get(name, name): value for name, value in settings.items()}
    recipe = recipe_for(traits(), known)
    chosen = {name: getattr(recipe, RECIPE[name]) for name in open_ones}
    return {"sampler": recipe.sampler, **chosen, **settings}


def check_given(given: Settings) -> None:
    """Raise `ArgumentError` for a value that is neither "auto" nor one that can be used."""
    values = {name: value for name, value in given.items() if not is_auto(value)}

    def of(*names: str) -> dict[str, Any]:
        return {name: values[name] for name in names if name in values}

    check_counts(minimum=0, **of("n_iter"))
    check_counts(**of("n_components", "batch_size"))
    if values.get("gradient", GradientName.pcd) in CHAINED:
        check_counts(**of("chains"))
    check_strength(**of("learning_rate", "l2"))
    check_strength(**of("momentum", "average"))
    rate, momentum = values.get("learning_rate", 1.0), values.get("momentum", 0.0)
    if rate == 0 or momentum >= 1:
        raise ArgumentError(
            f"learning_rate={rate!r}, momentum={momentum!r}: expected a rate above 0 and a "
            "momentum below 1"
        )
    for name, choices in (("schedule", ScheduleName), ("gradient", GradientName)):
        if name in values:
            check_choice(name, values[name], *choices)
