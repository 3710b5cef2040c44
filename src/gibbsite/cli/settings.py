"""The settings of a training run, from the command line, a recipe or a run.json."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from gibbsite.checks import check_counts, check_file, check_strength
from gibbsite.datasets.categories import Categories
from gibbsite.errors import ArgumentError, DataError
from gibbsite.likelihood import temperatures_within
from gibbsite.model import RBM
from gibbsite.training import Traits, recipe_for
from gibbsite.training.recipe import WIDE
from gibbsite.training.record import read_record

LIMIT = 2**63
"""Integers from here on do not fit into int64."""

MOST_TEMPERATURES = 10**7

LONGEST = 1_000_000
"""Most seconds of a budget, 11 days."""

NOISE_STEPS = 10
"""Steps of noise-cd by default; chains from noise are far from the data after one."""

AUTOMATIC_CHECKPOINTS = 20
"""Checkpoints that a run makes by default."""

BUDGET = 60.0
"""Seconds that a run may take unless told otherwise."""

TRAINING, ESTIMATE = 0.8, 0.15
"""Shares of the budget to train for, and to estimate log Z at the end."""

AROUND = 12.0
"""Seconds of a budget for the rest: to start, read the data and draw the pictures."""

VALIDATION, WIDE_VALIDATION = 0.1, 0.2
"""Share of the rows that steer training, and that of rows with ten times as many columns."""

FEWEST_VALID = 5
"""Rows that steer training, at least."""

FEW_ROWS = 5_000
"""Rows below which settings are tried on a part of them, and all are trained on in the end."""


@dataclass(frozen=True)
class Settings:
    """All that decides a run; None where the data decide. The names are those of the options."""

    data: str
    key: str | None = None
    resize: str | None = None
    visible: str = "auto"
    trials: int | None = None
    sigma: float = 1.0
    learn_sigma: bool = True
    gradient: str = "pcd"
    centered: bool = True
    sampler: str | None = None
    steps: int | None = None
    chains: int | None = None
    hidden: int | None = None
    hidden_type: str = "bernoulli"
    hidden_states: int = 3
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    momentum: float | None = None
    schedule: str | None = None
    average: float | None = None
    optimizer: str = "sgd"
    l2: float | None = None
    l1: float = 0.0
    test_fraction: float = 0.2
    validation: float | None = None
    image: str | None = None
    budget: float | None = None
    seed: int = 0
    device: str = "auto"
    checkpoint_every: int | None = None
    start: str | None = None

    @classmethod
    def read(cls, path: Path) -> tuple[Settings, str]:
        """The settings in a run.json, and the fingerprint of the data they were used on."""
        record = read_record(path)
        try:
            known = {part.name: str(part.type) for part in fields(cls)}
            for name, value in record["settings"].items():
                if name not in known:
                    raise ValueError(f"{name} is no setting")
                _check_kind(name, value, known[name])
            return cls(**record["settings"]), str(record["data"]["sha256"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(f"{path} is no run.json that can be used: {reason}") from error

    def completed(self, traits: Traits, *, population: bool = False) -> Complete:
        """Settings with gaps filled by the recipe for such data, else `ArgumentError`.

        Of a population, which is all the rows there are, nothing is held out or decays.
        """
        given = {name: value for name, value in asdict(self).items() if value is not None}
        exact = self.gradient == "exact"
        if exact:
            given = EXACT_RECIPE | {"batch_size": traits.rows} | given
        if population:
            given = {"l2": 0.0} | given
        if self.budget is not None:
            check_budget(self.budget)
        counts = "hidden", "epochs", "batch_size", "chains"
        check_counts(**{name: given[name] for name in counts if name in given})
        steered = self.epochs is None and not exact and not population and self.start is None
        wide = traits.columns > WIDE * traits.rows and not traits.whitened
        share = WIDE_VALIDATION if wide else VALIDATION
        fewest = FEW_ROWS if traits.whitened else FEWEST_VALID / share
        steered &= self.validation != 0 and traits.rows >= fewest
        known = {"seconds": self.training_seconds(), "sampled": not population}
        recipe = recipe_for(traits, given | known)
        defaults = {
            "steps": NOISE_STEPS if self.gradient == "noise-cd" else 1,
            "validation": share if steered else 0.0,
            "checkpoint_every": max(1, recipe.epochs // AUTOMATIC_CHECKPOINTS),
        }
        chosen = {name: getattr(recipe, name) for name in recipe.reasons}
        settings = asdict(self) | defaults | chosen | given
        few = traits.rows < FEW_ROWS and not traits.whitened and recipe.sampler == "gibbs"
        complete = Complete(**settings, reasons=recipe.reasons, searches=steered and few)
        complete.check()
        return complete

    def estimate(self) -> float:
        """Seconds for log Z at the end; 0 for none."""
        return ESTIMATE * (BUDGET if self.budget is None else self.budget)

    def training_seconds(self) -> float:
        """Time to train for."""
        return training_seconds(self.budget or BUDGET)


class Columns(NamedTuple):
    """Columns of the data of a run.json.

    Attributes:
        names: of the columns. categories: the words of each, or None (`Dataset.categories`).
    """

    names: tuple[str, ...] | None
    categories: Categories | None

    @classmethod
    def read(cls, path: Path) -> Columns:
        """Names and categories in a run.json, None each where it has none."""
        check_file(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))["data"]
            names, words = data.get("names"), data.get("categories")
            return cls(
                None if names is None else _texts(names),
                None if words is None else tuple(None if w is None else _texts(w) for w in words),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"{path} holds no columns that can be used: {error}") from error


def _texts(values: Any) -> tuple[str, ...]:
    """A list of texts as a tuple, else `ValueError`."""
    if not (isinstance(values, list) and all(isinstance(text, str) for text in values)):
        raise ValueError("expected lists of words")
    return tuple(values)


def training_seconds(budget: float) -> float:
    """Time to train for within a budget."""
    return max(TRAINING * budget - AROUND, TRAINING / 2 * budget)


def check_budget(seconds: float, least: float = -1) -> None:
    """Raise `ArgumentError` for a budget that no run can keep to."""
    if not max(least, 0) <= seconds <= LONGEST or seconds == least:
        expected = f"seconds, {'more than 0' if least == 0 else '0 (none)'} up to {LONGEST:,}"
        raise ArgumentError(f"--budget {seconds:g}: expected {expected}")


def temperatures_for(rbm: RBM, budget: float, chains: int = 100) -> int:
    """`temperatures_within` a budget, as many as fit in memory too."""
    return min(MOST_TEMPERATURES, temperatures_within(rbm, budget, chains))


@dataclass(frozen=True)
class Complete(Settings):
    """Settings with nothing left open.

    Attributes:
        reasons: for the settings that were chosen, by name.
        searches: True if some are still to be chosen by trials on a part of the rows.
    """

    sampler: str = ""
    steps: int = 0
    chains: int = 0
    hidden: int = 0
    epochs: int = 0
    batch_size: int = 0
    learning_rate: float = 0.0
    momentum: float = 0.0
    schedule: str = ""
    average: float = 0.0
    l2: float = 0.0
    validation: float = 0.0
    checkpoint_every: int = 0
    reasons: Mapping[str, str] = field(default_factory=dict, compare=False)
    searches: bool = False

    def as_settings(self) -> dict[str, Any]:
        """The settings alone, by name."""
        return {part.name: getattr(self, part.name) for part in fields(Settings)}

    def check(self) -> None:
        """Raise `ArgumentError` for a setting that cannot be used."""
        check_counts(hidden=self.hidden, epochs=self.epochs, batch_size=self.batch_size)
        check_counts(minimum=0, checkpoint_every=self.checkpoint_every)
        for name, value in self.as_settings().items():
            if isinstance(value, int) and abs(value) >= LIMIT:
                raise ArgumentError(f"--{name.replace('_', '-')}: expected a number below 2^63")
        if not 0 < self.learning_rate < math.inf:
            raise ArgumentError(f"--learning-rate {self.learning_rate}: expected a number above 0")
        for name, value in (("momentum", self.momentum), ("validation", self.validation)):
            if not 0 <= value < 1:
                raise ArgumentError(f"--{name} {value}: expected 0 up to less than 1")
        check_strength(l2=self.l2, l1=self.l1, average=self.average)


# without sampling noise, a full-batch step can be ten times as long
EXACT_RECIPE: dict[str, Any] = {
    "hidden": 16,
    "epochs": 3000,
    "learning_rate": 1.0,
    "momentum": 0.9,
    "schedule": "linear",
    "sampler": "gibbs",
    "chains": 100,
    "average": 0.0,
    "l2": 0.0,
}

_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
}


def _check_kind(name: str, value: Any, annotation: str) -> None:
    kind, _, optional = annotation.partition(" | ")
    if value is None and optional:
        return
    if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise ValueError(f"{name} is {value!r}, expected {kind}")
