"""The settings of a training run, from the command line, a recipe or a run.json."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from gibbsite.checks import check_counts, check_file, check_strength
from gibbsite.datasets.categories import Categories
from gibbsite.errors import ArgumentError, DataError
from gibbsite.likelihood import temperatures_within
from gibbsite.model import RBM
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
    sampler: str = "gibbs"
    steps: int | None = None
    chains: int = 100
    hidden: int | None = None
    hidden_type: str = "bernoulli"
    hidden_states: int = 3
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    momentum: float | None = None
    schedule: str = "linear"
    average: float = 0.0
    optimizer: str = "sgd"
    l2: float = 0.0
    l1: float = 0.0
    test_fraction: float = 0.2
    image: str | None = None
    budget: float = 20.0
    seed: int = 0
    device: str = "auto"
    checkpoint_every: int | None = None

    @classmethod
    def read(cls, path: Path) -> tuple[Settings, str]:
        """The settings in a run.json, and the fingerprint of the data they were used on."""
        record = read_record(path)
        try:
            known = {field.name: str(field.type) for field in fields(cls)}
            for name, value in record["settings"].items():
                if name not in known:
                    raise ValueError(f"{name} is no setting")
                _check_kind(name, value, known[name])
            return cls(**record["settings"]), str(record["data"]["sha256"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(f"{path} is no run.json that can be used: {reason}") from error

    def completed(self, rows: int) -> Complete:
        """Settings with gaps filled by the recipe of the data, else `ArgumentError`."""
        exact = self.gradient == "exact"
        recipe = EXACT_RECIPE | {"batch_size": rows} if exact else RECIPES.get(self.data, {})
        noise = {"steps": NOISE_STEPS} if self.gradient == "noise-cd" else {}
        defaults = DEFAULTS | recipe | noise
        missing = {name: x for name, x in defaults.items() if getattr(self, name) is None}
        complete = Complete(**(asdict(self) | missing))
        check_counts(hidden=complete.hidden, epochs=complete.epochs, batch_size=complete.batch_size)
        for name, value in asdict(complete).items():
            if isinstance(value, int) and abs(value) >= LIMIT:
                raise ArgumentError(f"--{name.replace('_', '-')}: expected a number below 2^63")
        if not 0 < complete.learning_rate < math.inf:
            raise ArgumentError(
                f"--learning-rate {complete.learning_rate}: expected a number above 0"
            )
        if not 0 <= complete.momentum < 1:
            raise ArgumentError(f"--momentum {complete.momentum}: expected 0 up to less than 1")
        check_budget(complete.budget)
        check_strength(l2=complete.l2, l1=complete.l1, average=complete.average)
        if self.checkpoint_every is None:
            complete = replace(
                complete, checkpoint_every=max(1, complete.epochs // AUTOMATIC_CHECKPOINTS)
            )
        check_counts(minimum=0, checkpoint_every=complete.checkpoint_every)
        return complete


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
    """Settings with nothing left open."""

    steps: int = 0
    hidden: int = 0
    epochs: int = 0
    batch_size: int = 0
    learning_rate: float = 0.0
    momentum: float = 0.0
    checkpoint_every: int = 0


DEFAULTS: dict[str, Any] = {
    "steps": 1,
    "hidden": 64,
    "epochs": 30,
    "batch_size": 100,
    "learning_rate": 0.05,
    "momentum": 0.5,
}
RECIPES: dict[str, dict[str, Any]] = {
    "digits": {"hidden": 16, "epochs": 150, "batch_size": 50, "learning_rate": 0.2},
    "bars-and-stripes": {"hidden": 16, "epochs": 2000, "learning_rate": 0.1},
    "patches": {"hidden": 16, "epochs": 20, "learning_rate": 0.02},
    "mnist": {"hidden": 500, "epochs": 10},
}
# without sampling noise, a full-batch step can be ten times as long
EXACT_RECIPE: dict[str, Any] = {
    "hidden": 16,
    "epochs": 3000,
    "learning_rate": 1.0,
    "momentum": 0.9,
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
