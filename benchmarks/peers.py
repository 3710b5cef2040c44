"""Other packages at their defaults: trained against the clock, their models as a gb.RBM.

Each package's own loop runs, and a `Watch` inside it copies the parameters at given seconds, off
the clock, and ends it. `rbms` (0.5.0) and `learnergy` (2.0.2) are imported where they are used.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.neural_network import BernoulliRBM
from torch import Tensor

import gibbsite as gb
from gibbsite.training import to_data_units

FOREVER = 10**9
"""Epochs; the clock ends them."""


class Task(NamedTuple):
    """Arguments of a trainer.

    Attributes:
        rows: to train on, (rows, columns); between 0 and 1 for the probability of a one.
        hidden: number of hidden units; None for the package's default.
        seed: of the package's random numbers.
        marks: seconds, rising, at which to copy the model; training ends at the last.
        clock: tells the seconds, from any start.
    """

    rows: Tensor
    hidden: int | None
    seed: int
    marks: Sequence[float]
    clock: Callable[[], float] = time.perf_counter

    def named(self, name: str) -> dict[str, int]:
        """The number of hidden units as an option of that name; none for the default."""
        return {} if self.hidden is None else {name: self.hidden}


class Snapshot(NamedTuple):
    """A copy of the model in training.

    Attributes:
        rbm: the model.
        seconds, updates: of training before it.
        own: True where the package would have stopped by itself.
    """

    rbm: gb.RBM
    seconds: float
    updates: int
    own: bool


class TimeUp(Exception):
    """Raised in the loop of a package when the last mark is passed."""


@dataclass
class Watch:
    """Copies of a model at marks of time, taken by calls after each update.

    Attributes:
        read: gives a copy of the model.
        marks: seconds, rising.
        own_updates: updates after which the package would have stopped by itself.
        clock: tells the seconds, from any start.
    """

    read: Callable[[], gb.RBM]
    marks: list[float]
    own_updates: int = FOREVER
    clock: Callable[[], float] = time.perf_counter
    snapshots: list[Snapshot] = field(default_factory=list)
    updates: int = 0

    def __post_init__(self) -> None:
        self.started = self.clock()

    def __call__(self, *_: object) -> None:
        """Note an update; raise `TimeUp` after the last mark."""
        self.updates += 1
        seconds = self.clock() - self.started
        due = [mark for mark in self.marks if mark <= seconds]
        if due or self.updates == self.own_updates:
            self.keep(seconds, self.updates == self.own_updates)
        self.marks = self.marks[len(due) :]
        if not self.marks:
            raise TimeUp

    def keep(self, seconds: float, own: bool) -> None:
        """Copy the model; what that takes does not count."""
        self.snapshots.append(Snapshot(self.read(), seconds, self.updates, own))
        self.started = self.clock() - seconds

    def run(self, loop: Callable[[], object]) -> list[Snapshot]:
        """Snapshots of a loop, to its end or until the time is up.

        A loop that fails, as after parameters that are no numbers, ends there; `RuntimeError` where
        there is no snapshot yet.
        """
        try:
            loop()
        except TimeUp:
            return self.snapshots
        except RuntimeError:
            if self.snapshots:
                return self.snapshots
            raise
        self.keep(self.clock() - self.started, True)
        return self.snapshots


@torch.no_grad()
def copied(visible: gb.layers.Layer, weight: Any, visible_bias: Any, hidden_bias: Any) -> gb.RBM:
    """A gb.RBM with binary hidden units and copies of the parameters; weight as in `gb.RBM`."""
    weight = torch.as_tensor(weight).detach()
    rbm = gb.RBM(visible, gb.Bernoulli(weight.shape[1])).to(weight.dtype)
    rbm.weight.copy_(weight)
    rbm.visible.bias.copy_(torch.as_tensor(visible_bias))
    rbm.hidden.bias.copy_(torch.as_tensor(hidden_bias))
    return rbm


# scikit-learn


class _WatchedRBM(BernoulliRBM):
    """scikit-learn's estimator, which draws grey levels anew and tells a watch of its updates."""

    def _fit(self, v_pos: np.ndarray, rng: np.random.RandomState) -> None:
        drawn = self.draws.random_sample(v_pos.shape) < v_pos  # zeros and ones stay as they are
        super()._fit(drawn.astype(v_pos.dtype), rng)
        self.watch()


def from_scikit_learn(model: BernoulliRBM) -> gb.RBM:
    weight = torch.from_numpy(model.components_.T.copy())
    visible = gb.Bernoulli(len(weight))
    return copied(visible, weight, model.intercept_visible_, model.intercept_hidden_)


def train_scikit_learn(task: Task, rate: float) -> list[Snapshot]:
    """`BernoulliRBM.fit` at a learning rate, all else at its default, in float32."""
    model = _WatchedRBM(learning_rate=rate, random_state=task.seed, **task.named("n_components"))
    own = model.n_iter * -(-len(task.rows) // model.batch_size)
    model.n_iter, model.draws = FOREVER, np.random.RandomState(task.seed)
    model.watch = Watch(partial(from_scikit_learn, model), list(task.marks), own, clock=task.clock)
    return model.watch.run(lambda: model.fit(task.rows.numpy()))


# rbms


def from_rbms(weight: Tensor, visible_bias: Tensor, hidden_bias: Tensor) -> gb.RBM:
    """The model of ``BBRBM.parameters()``."""
    return copied(gb.Bernoulli(len(weight)), weight, visible_bias, hidden_bias)


def train_rbms(task: Task) -> list[Snapshot]:
    """`rbms train` with its defaults, on all rows rather than 0.6 of them; grey levels drawn once.

    It leaves out rows that occur again, as it always does.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")
    import h5py
    import rbms.training.pcd
    from rbms.dataset import load_dataset
    from rbms.parser import default_args, match_args_dtype
    from rbms.scripts.train_rbm import create_parser
    from rbms.training.utils import get_checkpoints

    torch.manual_seed(task.seed)  # it takes no generator
    parameters: list[Tensor] = []

    def watched_sgd(values: list[Tensor], **options: Any) -> torch.optim.SGD:
        parameters.extend(values)
        optimizer = torch.optim.SGD(values, **options)
        optimizer.register_step_post_hook(watch)
        return optimizer

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        data = Path(folder) / "train.h5"
        with h5py.File(data, "w") as file:
            file["samples"] = torch.bernoulli(task.rows).numpy()
        words = ["-d", data, "-o", f"{folder}/model.h5", "--device", "cpu", "--train_size", 1]
        args = match_args_dtype(vars(create_parser().parse_args(list(map(str, words)))))
        args |= {"seed": task.seed, "num_updates": default_args["num_updates"]}
        args |= task.named("num_hiddens")
        rows, _ = load_dataset(args["dataset"], device="cpu", dtype=args["dtype"])
        ages = get_checkpoints(args["num_updates"], args["n_save"], args["spacing"])
        watch = Watch(lambda: from_rbms(*parameters), list(task.marks), clock=task.clock)
        return watch.run(
            lambda: rbms.training.pcd.train(
                rows, None, "BBRBM", args, args["dtype"], ages, optim=watched_sgd
            )
        )


# learnergy


def from_learnergy(model: Any) -> gb.RBM:
    """The model of an ``RBM``."""
    return copied(gb.Bernoulli(model.n_visible), model.W, model.a, model.b)


def from_learnergy_gaussian(model: Any, shift: Tensor, scale: Tensor) -> gb.RBM:
    """The model of a ``GaussianRBM``, which is one of (v - shift) / scale, for v."""
    standard = copied(gb.Gaussian(model.n_visible), model.W, model.a, model.b)
    return to_data_units(standard, shift, scale)


@torch.no_grad()
def from_learnergy_variance(model: Any, shift: Tensor, scale: Tensor) -> gb.RBM:
    """The model of a ``VarianceGaussianRBM`` trained on (v - shift) / scale, for v."""
    sigma = (model.sigma.square() + torch.finfo(torch.float32).eps).sqrt()
    weight = model.W / sigma[:, None]  # its hidden units see v / sigma^2
    standard = copied(gb.Gaussian(len(sigma), sigma), weight, model.a, model.b)
    return to_data_units(standard, shift, scale)


def spread(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Means and standard deviations of the columns, as learnergy takes them of each batch."""
    return rows.mean(0), rows.std(0) + torch.finfo(rows.dtype).eps


def train_learnergy(task: Task) -> list[Snapshot]:
    """`RBM.fit` of binary rows; grey levels are drawn anew at each visit."""
    from learnergy.models.bernoulli import RBM

    return _learnergy(task, RBM, from_learnergy, task.rows, torch.bernoulli)


def train_learnergy_gaussian(task: Task) -> list[Snapshot]:
    """`GaussianRBM.fit`, which standardises each batch; its model is scaled by all rows."""
    from learnergy.models.gaussian import GaussianRBM

    shift, scale = spread(task.rows)
    read = partial(from_learnergy_gaussian, shift=shift, scale=scale)
    return _learnergy(task, GaussianRBM, read, task.rows)


def train_learnergy_variance(task: Task) -> list[Snapshot]:
    """`VarianceGaussianRBM.fit` of rows that are standardised for it, since it does not."""
    from learnergy.models.gaussian import VarianceGaussianRBM

    shift, scale = spread(task.rows)
    read = partial(from_learnergy_variance, shift=shift, scale=scale)
    return _learnergy(task, VarianceGaussianRBM, read, (task.rows - shift) / scale)


def _learnergy(
    task: Task,
    kind: Any,
    read: Callable[[Any], gb.RBM],
    rows: Tensor,
    transform: Callable[[Tensor], Tensor] | None = None,
) -> list[Snapshot]:
    """`fit` of a model of the kind, 10 epochs of batches of 128 by default, then further."""
    from learnergy.core import Dataset

    torch.manual_seed(task.seed)  # it takes no generator
    data = Dataset(rows, torch.zeros(len(rows)), transform, show_log=False)
    model = kind(rows.shape[1], **task.named("n_hidden"))
    own = 10 * -(-len(rows) // 128)
    watch = Watch(partial(read, model), list(task.marks), own, clock=task.clock)
    model.optimizer.register_step_post_hook(watch)
    return watch.run(lambda: model.fit(data, epochs=FOREVER))
