"""Models that a run starts from, in place of a new one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gibbsite as gb
from gibbsite.cli.data import known_categories, load_data
from gibbsite.cli.settings import Settings
from gibbsite.datasets import Dataset
from gibbsite.errors import ArgumentError, DataError
from gibbsite.layers import kind_of
from gibbsite.model import RBM

START = "start.safetensors"
"""File of a run folder with the model that the run started from."""


def starting_model(settings: Settings) -> RBM | None:
    """The model to start from, if the settings name one."""
    return None if settings.start is None else gb.load(Path(settings.start))


def source_for(settings: Settings, start: RBM | None) -> Dataset:
    """The data of a run; those for a model to start from are read as its own were.

    Raises `DataError` for data of another width than that model has.
    """
    if start is None or settings.start is None:
        kind = None if settings.visible == "auto" else settings.visible
        return load_data(settings.data, settings.key, settings.resize, kind)
    visible = start.visible
    words = known_categories(Path(settings.start), visible.n)
    kind = kind_of(visible.uncorrelated())
    source = load_data(settings.data, settings.key, settings.resize, kind, words)
    columns = source.rows.shape[1]
    if columns not in (visible.n, visible.width):
        raise DataError(
            f"{settings.data} has {columns} columns, and the model to start from, "
            f"{settings.start}, is of {visible.n}; give data of as many, or leave --from out"
        )
    source.check(visible, settings.data)
    return source


def sized_as(start: RBM | None, settings: Settings) -> Settings:
    """Settings with the units of the model to start from; `ArgumentError` if they ask for others.

    Its weights are there already, so that no trials of other sizes are made.
    """
    if start is None:
        return settings
    if settings.hidden not in (None, start.hidden.n):
        _refuse("hidden", settings.hidden, f"{start.hidden.n} hidden units")
    visible, hidden = kind_of(start.visible.uncorrelated()), kind_of(start.hidden)
    if settings.visible not in ("auto", visible):
        _refuse("visible", settings.visible, f"{visible} visible units")
    if settings.hidden_type not in ("bernoulli", hidden):
        _refuse("hidden-type", settings.hidden_type, f"{hidden} hidden units")
    return replace(settings, hidden=start.hidden.n, hidden_type=hidden)


def _refuse(option: str, value: object, has: str) -> None:
    raise ArgumentError(
        f"--{option} {value}: the model to start from has {has}; leave the option out, or --from"
    )
