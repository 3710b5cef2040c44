"""The data of a run: loaded by its settings, and their fingerprint."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np

from gibbsite import datasets
from gibbsite.cli.options import parse_size
from gibbsite.cli.settings import Columns, Settings
from gibbsite.datasets.categories import Categories
from gibbsite.errors import ArgumentError
from gibbsite.layers import Layer, kind_of
from gibbsite.rows import Rows

TRAJECTORY = "trajectory.safetensors"
"""File of a run folder with the models of a `Trajectory`."""

MONITOR_ROWS = 10_000
"""Most rows of a set to measure a model on."""


def load_data(
    data: str,
    key: str | None,
    resize: str | None,
    visible: str | None = None,
    categories: Categories | None = None,
) -> datasets.Dataset:
    """The data set of that name, file or folder."""
    pixels = parse_size("--resize", resize)
    return datasets.load(data, key=key, resize=pixels, visible=visible, categories=categories)


def load_as_trained(
    model: Path, visible: Layer, data: str, key: str | None, resize: str | None
) -> datasets.Dataset:
    """Data for the visible layer of a model, read as those of its run were.

    Options may say otherwise. Columns hold the words that they held there, or numbers.
    """
    named = data in datasets.NAMES
    keyed = not named and Path(data).suffix.lower() in datasets.KEYED
    folder = not named and Path(data).is_dir()
    record = run_record(model)
    if ((keyed and key is None) or folder) and record.is_file():
        settings = Settings.read(record)[0]
        key = settings.key if keyed and key is None else key
        if folder:
            _check_resize(resize, settings.resize)
            resize = settings.resize if resize is None else resize
    source = load_data(data, key, resize, kind_of(visible), known_categories(model, visible.n))
    source.check(visible, data)
    return source


def run_record(model: Path) -> Path:
    """Path of the run.json beside a model, or in its folder."""
    return (model if model.is_dir() else model.parent) / "run.json"


def known_categories(model: Path, n: int) -> Categories:
    """The words of the n columns that a model was trained on; None each where it knows none."""
    record = run_record(model)
    categories = Columns.read(record).categories if record.is_file() else None
    return categories or (None,) * n


def _check_resize(given: str | None, trained: str | None) -> None:
    """Raise `ArgumentError` for another number of pixels than the model was trained on."""
    here, there = parse_size("--resize", given), parse_size("--resize", trained)
    if here is not None and there is not None and math.prod(here) != math.prod(there):
        raise ArgumentError(
            f"--resize {given}: the run used {trained}, which its model has the units for; leave "
            "the option out"
        )


def absolute(data: str) -> str:
    """A path that means the same file from every folder; a name as it is."""
    return data if data in datasets.NAMES else str(Path(data).absolute())


def fingerprint(source: datasets.Dataset) -> str:
    """sha256 of all the data, on disk or not."""
    digest = hashlib.sha256(f"{tuple(source.rows.shape)}".encode())
    for part in (source.rows, source.test, source.valid):
        for block in () if part is None else Rows.of(part).source_blocks():
            digest.update(np.ascontiguousarray(block).data)
    if source.categories is not None:
        digest.update(json.dumps(source.categories).encode())
    return digest.hexdigest()
