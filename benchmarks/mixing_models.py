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
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import gibbsite as gb
from gibbsite.sampling import advance
from gibbsite.training import SGD, polynomial_decay
from gibbsite.training.fit import Update

GROWTH = 1.05
"""Ratio of the numbers of updates at which one copy and the next are taken."""

ACCEPTED = 0.3
"""Share of the exchanges that neighbouring copies accept, about, after thinning."""

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
    """Callback that copies the model after updates 1, 2, 3 and so on, ever further apart."""

    every_update = True

    def __init__(self, first: gb.RBM) -> None:
        self.models, self.next = [first], 1

    def after_update(self, rbm: gb.RBM, update: Update) -> None:
        if update.number >= self.next:
            self.models.append(copy.deepcopy(rbm))
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
    copies, optimizer = Copies(first), SGD(rbm.parameters(), task.rate)
    started = time.process_time()
    gb.fit(
        rbm,
        data.train,
        gradient=gb.Centered(gb.PCD(task.chains, sampler=task.sampler or gb.Gibbs())),
        optimizer=optimizer,
        scheduler=polynomial_decay(optimizer, task.epochs, 2),
        epochs=task.epochs,
        penalties=[gb.L2(task.l2)] if task.l2 else [],
        callbacks=[copies],
        generator=generator,
    )
    seconds = time.process_time() - started
    *before, _ = thinned([*copies.models, rbm], generator)
    observed = rbm.visible.observe(data.train, generator)
    return Trained(rbm, before, observed, data.test, seconds)


@torch.no_grad()
def thinned(models: list[gb.RBM], generator: torch.Generator) -> list[gb.RBM]:
    """First and last of the models, and as many between that neighbours accept `ACCEPTED`."""
    rows, v = [], gb.random_start(models[0], 100, generator)
    for model in models:
        v = advance(gb.Gibbs(), model, gb.Gibbs().init(model, v), 10, generator).v
        rows.append(v)
    kept, last = [0], len(models) - 1
    while kept[-1] < last:
        low, high = kept[-1], kept[-1] + 1
        while high < last and acceptance(models, rows, low, high + 1) >= ACCEPTED:
            high += 1
        kept.append(high)
    return [models[k] for k in kept]


def acceptance(models: list[gb.RBM], rows: list[Tensor], low: int, high: int) -> float:
    """Mean chance that two models, by number, exchange their rows."""
    one, other = models[low], models[high]
    gain = sum(a.free_energy(rows[i]) - a.free_energy(rows[j]) for a, i, j in (
        (one, low, high), (other, high, low)
    ))  # fmt: skip
    return float(gain.double().clamp(max=0).exp().mean())
