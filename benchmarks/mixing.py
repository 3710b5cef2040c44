"""How chains mix: Gibbs, replica exchange over temperatures, and over the models of training.

All three sample one and the same model, with about as many rows in flight, on one thread. Run:

    GIBBSITE_DATA=... OMP_NUM_THREADS=1 python benchmarks/mixing.py [SECONDS [NAME ...]]

for the tables, of all models or those named (keys of `mixing_models.TASKS`); with SECONDS of
processor time for each record.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from mixing_models import TASKS, Task, Trained, trained
from torch import Tensor

import gibbsite as gb
from gibbsite.sampling import advance
from gibbsite.sampling.diagnostics import RunningMoments, autocorrelation_times
from gibbsite.sampling.occupancy import k_means
from gibbsite.sampling.recording import slowest_units

ROWS = 200
"""Rows in flight: Gibbs chains, or rungs of all ladders together."""

PILOT_LADDERS, PILOT_SWEEPS = 5, 500
"""Ladders, and their sweeps, in which inverse temperatures adapt."""

BURN_IN, TIMED = 300, 100
"""Sweeps before a record begins, and sweeps whose time is taken, without a record."""

SURE = 50
"""Least length of a record, in autocorrelation times, to be sure of these."""

RUNG_STUDY = ("mushrooms", "RF00379")
"""Models on which ladders of several lengths are compared."""

MANY_STUDY = ("mushrooms", "RF00379")
"""Models on which as many ladders as Gibbs chains are run, too."""

TEMPERATURES = 3000
"""Of the likelihoods; those of small models start from tempered chains, others from plain ones."""

SMALL = 100_000
"""Weights of a small model."""


class Modes:
    """Regions of E[h | v] around k-means centres of the training rows'.

    The core of a mode is as wide as the median distance of its rows. A chain is in the mode whose
    core it entered last, so that wavering on a boundary is no jump.
    """

    def __init__(self, rbm: gb.RBM, train: Tensor, modes: int, generator: torch.Generator) -> None:
        means = rbm.hidden_mean(train[torch.randperm(len(train), generator=generator)[:2000]])
        self.centres = k_means(means, modes, generator)
        distance, nearest = torch.cdist(means, self.centres).min(1)
        self.radius = torch.stack(
            [distance[nearest == k].median() for k in range(len(self.centres))]
        )

    def entered(self, means: Tensor) -> Tensor:
        """Number of the mode in whose core each row is, or -1, (rows,)."""
        distance, nearest = torch.cdist(means, self.centres).min(1)
        return torch.where(distance <= self.radius[nearest], nearest, -1)

    @staticmethod
    def jumps(entered: Tensor) -> float:
        """Changes of the mode, a sweep and chain, of a record of `entered`, (sweeps, chains)."""
        inside = torch.arange(len(entered))[:, None].where(entered >= 0, torch.tensor(-1))
        latest = inside.cummax(0).values
        mode = entered.gather(0, latest.clamp(min=0)).where(latest >= 0, torch.tensor(-1))
        changed = (mode[1:] != mode[:-1]) & (mode[:-1] >= 0)
        return changed.double().mean().item()


class Record(NamedTuple):
    """Free energies, (sweeps, chains), means of the slowest units, and the modes entered."""

    energy: Tensor
    units: Tensor
    entered: Tensor
    state: Any

    @property
    def times(self) -> tuple[float, float]:
        """Autocorrelation times, in sweeps, of F and of the slowest of the units."""
        return gb.autocorrelation_time(self.energy), autocorrelation_times(self.units).max().item()


class Bench(NamedTuple):
    """A trained model, what is recorded of its chains, and for how long."""

    model: Trained
    modes: Modes
    units: Tensor
    seconds: float
    generator: torch.Generator

    def start(self, n: int) -> Tensor:
        """n rows of the training set."""
        rows = self.model.train
        return rows[torch.randint(len(rows), (n,), generator=self.generator)]

    def record(self, sampler: Any, state: Any) -> Record:
        """The chains of a state, sweep by sweep."""
        rbm, series = self.model.rbm, []
        end = time.process_time() + self.seconds
        while time.process_time() < end:
            state = advance(sampler, rbm, state, 1, self.generator)
            means = rbm.hidden_mean(state.v)
            series.append((rbm.free_energy(state.v), means[:, self.units], self.entered(means)))
        return Record(*(torch.stack(x) for x in zip(*series, strict=True)), state)

    def entered(self, means: Tensor) -> Tensor:
        return self.modes.entered(means)

    def adapted(self, sampler: Any) -> Any:
        """The sampler with the ladder that it finds in a pilot run."""
        if not isinstance(sampler, gb.Tempering):
            return sampler
        state = sampler.init(self.model.rbm, self.start(PILOT_LADDERS), self.generator)
        state = advance(sampler, self.model.rbm, state, PILOT_SWEEPS, self.generator)
        return sampler.fixed(self.model.rbm, state)

    def row(self, name: str, sampler: Any, chains: int = 0) -> tuple[str, float]:
        """A row of the table, and the barrier of the ladder; by default `ROWS` in all rungs."""
        rbm = self.model.rbm
        sampler = self.adapted(sampler)
        rungs = rungs_of(sampler)
        chains = chains or max(2, round(ROWS / rungs))
        state = sampler.init(rbm, self.start(chains), self.generator)
        state = advance(sampler, rbm, state, BURN_IN, self.generator)
        started = time.process_time()
        state = advance(sampler, rbm, state, TIMED, self.generator)
        each = (time.process_time() - started) / TIMED
        trips = getattr(state, "passages", None) and state.passages.trips
        found = self.record(sampler, state)
        sweeps = len(found.energy)
        cells = [name, str(rungs), f"{chains} x {sweeps:,}", *_times(found, sweeps)]
        cells += [f"{self.modes.jumps(found.entered):.2g}", *_rate(found, chains, each)]
        barrier = math.nan
        if trips is not None:
            barrier = found.state.barrier()
            rate = (found.state.passages.trips - trips).double().mean().item() / sweeps
            cells += [f"{barrier:.1f}", f"{rate:.4f}, {1 / (2 + 2 * barrier):.4f}"]
        else:
            cells += ["", ""]
        return f"| {' | '.join(cells)} |", barrier


def rungs_of(sampler: Any) -> int:
    """Number of rungs of a sampler, 1 without a ladder."""
    if isinstance(sampler, gb.Trajectory):
        return len(sampler.models) + 1
    return len(sampler.betas) if isinstance(sampler, gb.Tempering) else 1


def _times(found: Record, sweeps: int) -> list[str]:
    """Both autocorrelation times, and the length of the record in the longer of them."""
    told = [f"{'≥ ' if sweeps < SURE * tau else ''}{tau:.3g}" for tau in found.times]
    return [*told, f"{sweeps / max(found.times):.3g}"]


def _rate(found: Record, chains: int, each: float) -> list[str]:
    """Milliseconds a sweep, and effective draws a second."""
    tau = max(found.times)
    bound = "≤ " if len(found.energy) < SURE * tau else ""
    return [f"{1000 * each:.2f}", f"{bound}{chains / tau / each:.3g}"]


def prepared(task: Task, seconds: float) -> Bench:
    """A trained model, with its modes and the hidden units that are slowest by Gibbs sampling."""
    model, generator = trained(task), torch.Generator().manual_seed(1)
    modes = Modes(model.rbm, model.train, task.modes, generator)
    bench = Bench(model, modes, torch.empty(0), seconds, generator)
    moments, state = RunningMoments(), gb.Gibbs().init(model.rbm, bench.start(ROWS))
    for _ in range(BURN_IN):
        state = advance(gb.Gibbs(), model.rbm, state, 1, generator)
        moments.add(model.rbm.hidden_mean(state.v))
    return bench._replace(units=slowest_units(moments))


def likelihood(model: Trained) -> str:
    """Log-likelihood of the test rows, its error and the verdict."""
    small = model.rbm.weight.numel() < SMALL
    found = gb.evaluate(
        model.rbm,
        model.test,
        "bridge",
        temperatures=TEMPERATURES,
        sampler=gb.Tempering(data=model.train) if small else gb.Gibbs(),
        generator=torch.Generator().manual_seed(2),
    )
    return f"{found.log_likelihood:.2f} ± {2 * found.stderr:.2f} nats: {found.verdict}"


def rows(name: str, bench: Bench) -> Iterator[str]:
    """The rows of a model's table."""
    data = bench.model.train
    tempering, trajectory = gb.Tempering(data=data), gb.Trajectory(bench.model.before)
    yield bench.row("Gibbs", gb.Gibbs())[0]
    row, barrier = bench.row("Tempering", tempering)
    yield row
    yield bench.row("Trajectory", trajectory)[0]
    for share in (2, 3, 4) if name in RUNG_STUDY else ():
        longer = gb.Tempering(math.ceil(share * barrier) + 1, data=data)
        yield bench.row(f"Tempering, {share} Λ", longer)[0]
    if name in MANY_STUDY:
        yield bench.row("Tempering", tempering, ROWS)[0]
        yield bench.row("Trajectory", trajectory, ROWS)[0]


@torch.no_grad()
def main(seconds: float = 15.0, names: Iterable[str] = ()) -> None:
    torch.set_num_threads(1)
    for name in names or TASKS:
        bench = prepared(TASKS[name], seconds)
        rungs = len(bench.model.before) + 1
        print(f"{name}: trained in {bench.model.seconds:.0f} s, {rungs} models", flush=True)
        for row in rows(name, bench):
            print(row, flush=True)
        print(likelihood(bench.model), flush=True)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]), sys.argv[2:])
