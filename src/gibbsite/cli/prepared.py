"""The data of a run, read once for every job on them, and the layers that they are for."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gibbsite import datasets
from gibbsite.checks import check_counts
from gibbsite.cli.data import fingerprint
from gibbsite.cli.options import generator_of
from gibbsite.cli.settings import Settings
from gibbsite.cli.start import source_for, starting_model
from gibbsite.errors import ArgumentError
from gibbsite.layers import Layer, layer_for
from gibbsite.model import RBM
from gibbsite.rows import Rows
from gibbsite.training import Traits


class Prepared(NamedTuple):
    """The data of a run.

    Attributes:
        source: rows to train on and to test on.
        fingerprint: checksum of all of them.
        visible: layer for the data.
        traits: by which settings are chosen.
        start: model to start from, or None.
        splits: True if the test rows were drawn, not set apart by the data.
        population: True if the rows are all there are.
        generator: state of the run's generator after the draws so far.
    """

    source: datasets.Dataset
    fingerprint: str
    visible: Layer
    traits: Traits
    start: RBM | None
    splits: bool
    population: bool
    generator: Tensor

    @classmethod
    def of(cls, settings: Settings) -> Prepared:
        """The data that the settings name, read, checked and split."""
        generator, start = generator_of(settings.seed), starting_model(settings)
        source, named = source_for(settings, start), settings.data in datasets.NAMES
        splits = not named and source.test is None
        visible = _make_visible(source, settings) if start is None else start.visible
        if settings.visible != "auto":  # before the split, so that errors name the row of the file
            source.check(visible, settings.data)
        source = source.split(0.0 if named else settings.test_fraction, generator)
        population = named and source.test is None
        traits = Traits.of(visible, Rows.of(source.rows), make_hidden(settings, 1))
        if start is not None and visible.independent:  # it was not trained on whitened rows
            traits = traits._replace(whitened=False)
        checksum, state = fingerprint(source), generator.get_state()
        return cls(source, checksum, visible, traits, start, splits, population, state)


def _make_visible(source: datasets.Dataset, settings: Settings) -> Layer:
    """A visible layer for the data; of the options it gets those that its kinds of unit have."""
    if not 0 < settings.sigma < math.inf:  # the layer's own error would not name the option
        raise ArgumentError(f"--sigma {settings.sigma}: expected a number above 0")
    options = {name: getattr(settings, name) for name in ("sigma", "learn_sigma", "trials")}
    return layer_for(source.visible, source.greatest(), options)


def make_hidden(settings: Settings, n: int) -> Layer:
    """A hidden layer of n units; `hidden_states` is for those whose number of states may differ."""
    check_counts(2, hidden_states=settings.hidden_states)
    greatest = torch.full((n,), settings.hidden_states - 1.0)
    try:
        return layer_for(settings.hidden_type, greatest)
    except ArgumentError as error:
        message = str(error).replace("visible=", "hidden_type=", 1).replace(" auto,", "", 1)
        raise ArgumentError(message) from error
