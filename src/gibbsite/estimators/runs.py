"""Fitted estimators from the folders of runs of the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from gibbsite.errors import ArgumentError, DataError, ModelFileError
from gibbsite.estimators.settings import completed
from gibbsite.estimators.tables import Units
from gibbsite.estimators.training import Training
from gibbsite.gradients import Gradient
from gibbsite.io import load
from gibbsite.layers import name_of
from gibbsite.model import RBM
from gibbsite.training import Checkpoints, Scaling, Traits
from gibbsite.training.record import read_record, scaling_of
from gibbsite.training.restore import check_state, gradient_state

SHARED = (
    "gradient",
    "steps",
    "chains",
    "centered",
    "batch_size",
    "learning_rate",
    "momentum",
    "schedule",
    "average",
    "l1",
    "l2",
)
"""Settings of a run that are hyperparameters of the same name."""


class StoredRun(NamedTuple):
    """A finished run of the command.

    Attributes:
        folder: of the run.
        record: its run.json.
        rbm: its model, in units of the data.
        scaling: of the columns it was trained on; None where it needed none, or kept none.
    """

    folder: Path
    record: dict[str, Any]
    rbm: RBM
    scaling: Scaling | None

    def hyperparameters(self, *names: str) -> dict[str, Any]:
        """Its settings as those of an estimator, with further ones of the same name."""
        settings = self.record["settings"]
        try:
            return {
                "n_components": self.rbm.hidden.n,
                "n_iter": settings["epochs"],
                "random_state": settings["seed"] % 2**32,
                **{name: settings[name] for name in (*SHARED, *names)},
            }
        except (KeyError, TypeError) as error:
            raise DataError(f"{self.folder}: its run.json has no usable {error}") from error

    def gradient_state(self, rbm: RBM, gradient: Gradient) -> Any:
        """Chains and running means of its last checkpoint; None if it kept none, or of others."""
        stored = Checkpoints(self.folder / "checkpoints").read()
        if stored is None:
            return None
        template = gradient.init(rbm, torch.Generator().manual_seed(0))
        try:
            state = gradient_state(template, stored["gradient"], rbm.weight.device)
            check_state(state, rbm)
        except (DataError, ModelFileError, ValueError, KeyError, TypeError):
            return None  # of another sampler
        return state


def read_run(folder: str | Path, *visible: str) -> StoredRun:
    """The run in a folder; `ArgumentError` unless it is of such units, and binary hidden ones."""
    folder = Path(folder)
    record, rbm = read_record(folder / "run.json"), load(folder)
    kinds = name_of(rbm.visible), name_of(rbm.hidden)
    if kinds[0] not in visible or kinds[1] != "bernoulli":
        raise ArgumentError(
            f"{folder} holds a model of {kinds[0]} visible and {kinds[1]} hidden units; expected "
            f"{' or '.join(visible)} and bernoulli ones. gb.load gives any model"
        )
    return StoredRun(folder, record, rbm, scaling_of(record, rbm.visible.n))


def _unknown() -> Traits:
    raise AssertionError("a run leaves nothing to choose")  # pragma: no cover


def import_run(estimator: Any, run: StoredRun, rbm: RBM, units: Units) -> Any:
    """The estimator, fitted: rbm is the model of the run in its units of training."""
    random = np.random.RandomState(estimator.random_state)
    training = Training(rbm, units, random)
    training.settings = completed(estimator._given(), _unknown)
    training.gradient = estimator._plan(training.settings, None).gradient
    training.state = run.gradient_state(rbm, training.gradient)
    estimator._keep(training)
    estimator.n_features_in_ = rbm.visible.n
    if run.record["data"].get("names") is not None:
        estimator.feature_names_in_ = np.array(run.record["data"]["names"], dtype=object)
    return estimator
