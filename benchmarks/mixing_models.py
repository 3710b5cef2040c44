"""Models whose chains are timed by mixing.py, and the copies kept along their training."""

from __future__ import annotations

import copy
import gzip
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import gibbsite as gb
from gibbsite.sampling import advance
from gibbsite.training import SGD, polynomial_decay
from gibbsite.training.fit import Update

BATCH = 100

GROWTH = 1.02
"""Ratio of the numbers of updates at which one copy and the next are taken."""

REJECTED = 0.7
"""Share of exchanges rejected above which another copy comes between two rungs."""

MOST = 64
"""Rungs beyond which none is added."""

HORIZON = 0.05
"""Horizon of the average of the parameters, as a share of the run.

Copies of the last parameters are too far apart for exchanges, by the noise of the steps between.
"""

LADDERS, SWEEPS = 10, 150
"""Ladders and sweeps by which that share is measured, after as many sweeps of burn-in."""

LETTERS = "-ACGU"


class Data(NamedTuple):
    """Rows to train on (grey levels as probabilities), rows held out, and the layer for them."""

    train: Tensor
    test: Tensor
    visible: gb.layers.Layer


@dataclass(frozen=True)
class Task:
    """A data set and how its model is trained; the learning rate falls as the square of the rest.

    Attributes:
        load: the data.
        hidden: number of binary hidden units.
        modes: number of k-means centres by which modes are told apart.
        sampler: of the chains of PCD.
        chains: their number.
    """

    load: Callable[[], Data]
    hidden: int
    epochs: int
    rate: float = 0.1
    l2: float = 0.0
    modes: int = 10
    sampler: Any = None
    chains: int = 100


class Trained(NamedTuple):
    """A model, the models that lead to it from one without weights, and its test rows."""

    rbm: gb.RBM
    before: list[gb.RBM]
    train: Tensor
    test: Tensor
    seconds: float


def archive(name: str) -> Data:
    with np.load(Path(os.environ["GIBBSITE_DATA"]) / f"{name}.npz") as arrays:
        train, test = (torch.from_numpy(arrays[part]).float() for part in ("train", "test"))
    return Data(train, test, gb.Bernoulli(train.shape[1]))


def mnist(digits: tuple[int, ...] = ()) -> Data:
    """MNIST, or some digits of it alone; the test rows are drawn once from grey levels, seed 1."""
    data = gb.datasets.load("mnist")
    train, test = data.train, data.test
    if digits:
        train, test = (
            rows[torch.isin(_labels(part), torch.tensor(digits))]
            for rows, part in ((train, "train"), (test, "t10k"))
        )
    drawn = torch.bernoulli(test, generator=torch.Generator().manual_seed(1))
    return Data(train, drawn, gb.Bernoulli(784))


def _labels(part: str) -> Tensor:
    path = Path(os.environ["GIBBSITE_DATA"]) / "mnist" / f"{part}-labels-idx1-ubyte.gz"
    with gzip.open(path) as file:
        return torch.frombuffer(bytearray(file.read()[8:]), dtype=torch.uint8)


def rna() -> Data:
    """Aligned sequences of RF00379, one letter of -ACGU a site; every fifth is held out."""
    text = (Path(os.environ["GIBBSITE_DATA"]) / "RF00379.fasta").read_text()
    sequences = ["".join(part.split("\n")[1:]) for part in text.split(">")[1:]]
    codes = torch.tensor([[LETTERS.index(letter) for letter in row] for row in sequences])
    visible = gb.Categorical(codes.shape[1], len(LETTERS))
    rows, held_out = visible.coerce(codes), torch.arange(len(codes)) % 5 == 4
    return Data(rows[~held_out], rows[held_out], visible)


TEMPERING = gb.Tempering()

TASKS = {
    "MNIST 0/1": Task(partial(mnist, (0, 1)), 200, epochs=100, modes=2),
    "MNIST 0/1, by tempering": Task(
        partial(mnist, (0, 1)), 200, epochs=60, modes=2, sampler=TEMPERING, chains=20
    ),
    "MNIST": Task(mnist, 500, epochs=25),
    "DNA": Task(partial(archive, "dna"), 100, epochs=600, l2=5e-3, chains=500),
    "RF00379": Task(rna, 100, epochs=200, l2=1e-3),
    "mushrooms": Task(partial(archive, "mushrooms"), 100, epochs=200, l2=1e-4),
    "mushrooms, by tempering": Task(
        partial(archive, "mushrooms"), 100, epochs=200, l2=1e-4, sampler=TEMPERING, chains=20
    ),
}


class Copies:
    """Callback that keeps the average model after updates 1, 2, 3 and so on, ever further apart."""

    every_update = True

    def __init__(self, first: gb.RBM, average: gb.Averaged) -> None:
        self.models, self.average, self.next = [first], average, 1

    def after_update(self, rbm: gb.RBM, update: Update) -> None:
        if update.number >= self.next:
            self.models.append(self.average.model)
            self.next = math.ceil(GROWTH * update.number + 0.5)

    def __call__(self, rbm: gb.RBM, record: Any) -> None:
        pass


def trained(task: Task, seed: int = 0) -> Trained:
    """The model of a task, and thinned copies along its training."""
    data, generator = task.load(), torch.Generator().manual_seed(seed)
    rbm = gb.RBM(data.visible, gb.Bernoulli(task.hidden))
    gb.initialize(rbm, data.train[:20_000], generator)
    first = copy.deepcopy(rbm)
    with torch.no_grad():
        first.weight.zero_()
    updates = task.epochs * -(-len(data.train) // BATCH)
    average = gb.Averaged(rbm, horizon=HORIZON * updates, every=1)
    copies, optimizer = Copies(first, average), SGD(rbm.parameters(), task.rate)
    started = time.process_time()
    gb.fit(
        rbm,
        data.train,
        gradient=gb.Centered(gb.PCD(task.chains, sampler=task.sampler or gb.Gibbs())),
        optimizer=optimizer,
        scheduler=polynomial_decay(optimizer, task.epochs, 2),
        epochs=task.epochs,
        penalties=[gb.L2(task.l2)] if task.l2 else [],
        batch_size=BATCH,
        callbacks=[average, copies],
        generator=generator,
    )
    seconds = time.process_time() - started
    *before, rbm = thinned([*copies.models, average.model], generator)
    observed = rbm.visible.observe(data.train, generator)
    return Trained(rbm, before, observed, data.test, seconds)


def thinned(models: list[gb.RBM], generator: torch.Generator) -> list[gb.RBM]:
    """First and last of the models, and as many between that neighbours exchange often enough."""
    kept, v = [0, len(models) - 1], gb.random_start(models[0], LADDERS, generator)
    while True:
        rbm, ladder = models[-1], gb.Trajectory([models[k] for k in kept[:-1]])
        state = advance(ladder, rbm, ladder.init(rbm, v, generator), SWEEPS, generator)
        before = state.passages.rejected
        state = advance(ladder, rbm, state, SWEEPS, generator)
        tests = SWEEPS / min(2, len(kept) - 1)
        rates = [(x - y) / tests for x, y in zip(state.passages.rejected, before, strict=True)]
        between = [
            (low + high) // 2
            for (low, high), rate in zip(pairwise(kept), rates, strict=True)
            if rate > REJECTED and high - low > 1
        ]
        if not between or len(kept) + len(between) > MOST:
            return [models[k] for k in kept]
        kept, v = sorted([*kept, *between]), state.v
