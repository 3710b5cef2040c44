"""Diagnosis of a model: does it mix, from where, within how many steps, and what to believe."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gibbsite.checks import check_counts, check_generator, check_memory
from gibbsite.diagnosis import (
    EQUILIBRIUM,
    OUT_OF_EQUILIBRIUM,
    SLOW,
    UNKNOWN,
    Course,
    Diagnosis,
    Mixing,
    fingerprint,
)
from gibbsite.errors import ArgumentError
from gibbsite.model import RBM, check_usable
from gibbsite.sampling.discrepancy import Discrepancy, Features, best_step, moment_discrepancy
from gibbsite.sampling.gibbs import Gibbs
from gibbsite.sampling.occupancy import compare_occupancy
from gibbsite.sampling.recording import (
    Recording,
    fresh_course,
    make_starts,
    measured_agreement,
    measured_times,
    record_chains,
)
from gibbsite.sampling.run import Sampler, advance, random_start
from gibbsite.sampling.tempering import Tempering, TemperingState

LEAST_BUDGET = 16
LEAST_CHAINS = 16

MAX_R_HAT = 1.05
SLOW_R_HAT = 1.1
LENGTH = 20.0
"""Least length of the record, in autocorrelation times, to be sure of them."""

SLOW_LENGTH = 5.0
"""Least length with which they can be told at all."""

FORGOTTEN = 10.0
"""Autocorrelation times to sample for: what is left of a start falls as exp(-2 t/tau)."""

LEAST_STEPS = 10

LADDERS = 5
"""Gibbs chains for each chain of Tempering, which has many rungs."""

SHORT = 2
"""Short chains from noise, which last an eighth of the budget, for each of the others."""

REFERENCE_ROWS = 1000
"""Rows of data that chains are compared with."""


@torch.no_grad()
def diagnose(
    rbm: RBM,
    data: Tensor | None = None,
    *,
    sampler: Sampler | None = None,
    chains: int = 100,
    budget: int = 2000,
    generator: torch.Generator | None = None,
) -> Diagnosis:
    r"""How the model mixes, from where, and what it has to be sampled with.

    Equal groups of chains start at rows of data (if given), at noise (`random_start`), at coins
    (`Layer.overdispersed` of the visible layer) and at the other corner (v given an overdispersed
    h), and run for `budget` steps. Measured over the second half:

    - integrated autocorrelation times of the free energy and of the slowest hidden unit's mean
      (`autocorrelation_time`);
    - split R-hat of the free energy, nested R-hat over the starts (`nested_r_hat`) of the free
      energy and of every hidden unit's mean;
    - the shares of up to ten clusters (k-means of E[h|v]) that chains from data and all others
      visit: their total variation, beside that of chains permuted between the groups.

    and over the whole run, from noise: the discrepancy between moments of the chains and of the
    data as a function of steps. If it falls and then rises again, the model was trained out of
    equilibrium, by chains too short for it (`gibbsite.sampling.discrepancy.best_step`). Without
    data, chains are compared with the others' ends, and such a model is recognised only if these
    differ.

    Verdict, by ``Diagnosis.kind``:

    - "equilibrium": starts and chains agree (R-hats at most 1.05), clusters too, and the record is
      20 autocorrelation times long. Steps to use: ten autocorrelation times, which leave
      exp(-20) of a start's influence along one exponential.
    - "slow": the same, but only 5 times long, or R-hats at most 1.1; same steps.
    - "out of equilibrium": the discrepancy rose, and that of replica exchange is no lower if Gibbs
      chains do not mix but that does; steps are those of its minimum.
    - "unknown": none of these within the budget.

    Nothing can notice a mode that no start leads to.

    Args:
        data: (rows, visible.width), or states of persistent chains.
        sampler: the one to judge; by default `Gibbs`.
        chains: in all starts, at least 16.
        budget: steps of each chain, at least 16.

    Raises `ArgumentError` and, for data that do not fit, `DataError`.

    Sources: Sokal (1997); Gelman et al. (2013), section 11.4; Margossian et al. (2024), "Nested
    R-hat", section 3; Decelle, Furtlehner, Seoane (2021) and Agoritsas et al. (2023) for the rise
    and fall.

    >>> import torch, gibbsite as gb
    >>> rbm, g = gb.RBM(gb.Bernoulli(6), gb.Bernoulli(3)), torch.Generator().manual_seed(0)
    >>> gb.diagnose(rbm, budget=400, generator=g).verdict
    'at equilibrium: sample with Gibbs, 10 steps'
    """
    check_counts(LEAST_CHAINS, chains=chains)
    check_counts(LEAST_BUDGET, budget=budget)
    check_generator(generator)
    check_usable(rbm)
    check_memory(f"{chains} chains", chains, sum(rbm.weight.shape) + budget)
    _check_sampler(sampler)
    reference = None if data is None else _reference(rbm, data, generator)
    task = _Task(rbm, reference, budget, generator)
    judged = sampler or Gibbs()
    mixing, recording = task.judge(judged, chains)
    short = fresh_course(judged, rbm, SHORT * chains, max(1, budget // 8), generator)
    course, nearest = task.course(recording, short)
    first, kind, steps = mixing, *_recommended(mixing)
    tried: tuple[Mixing, ...] = (first,)
    if kind == UNKNOWN and sampler is None:
        mixing, recording = task.judge(Tempering(data=reference), chains // LADDERS)
        kind, steps = _recommended(mixing)
        tried = first, mixing
        if nearest is not None and kind != UNKNOWN:  # Gibbs may only not have got there yet
            nearest = task.nearer_than_equilibrium(course, recording)
    ladder = _ladder(recording.state)
    if nearest is not None:
        kind, steps, mixing, ladder = OUT_OF_EQUILIBRIUM, nearest, first, ((), ())
    return Diagnosis(kind, mixing.sampler, steps, fingerprint(rbm), tried, course, *ladder)


def steps_within(rbm: RBM, seconds: float, chains: int = 100) -> int:
    """A budget of steps with which `diagnose` takes at most about so many seconds; at least 16.

    By the time of a few steps of both samplers. Not reproducible: keep the result if that matters.
    """
    check_counts(LEAST_CHAINS, chains=chains)
    if not 0 < seconds < math.inf:
        raise ArgumentError(f"seconds={seconds!r}: expected a number above 0")
    generator = torch.Generator(rbm.weight.device).manual_seed(0)  # leave the global one alone
    gibbs = _seconds_a_step(Gibbs(), rbm, chains, generator)
    ladder = _seconds_a_step(Tempering(), rbm, chains // LADDERS, generator)
    return max(LEAST_BUDGET, int(seconds / ((1 + SHORT / 8) * gibbs + ladder)))


@torch.no_grad()
def _seconds_a_step(
    sampler: Sampler, rbm: RBM, chains: int, generator: torch.Generator, few: int = 10
) -> float:
    """Seconds of a step and its record."""
    state = sampler.init(rbm, random_start(rbm, chains, generator), generator)
    state = advance(sampler, rbm, state, few, generator)  # the first of a process are slower
    started = time.perf_counter()
    for _ in range(few):
        state = advance(sampler, rbm, state, 1, generator)
        rbm.free_energy(state.v)
    return (time.perf_counter() - started) / few


def _check_sampler(sampler: Any) -> None:
    """Raise `ArgumentError` unless it is a sampler, or None."""
    if sampler is not None and not (hasattr(sampler, "init") and hasattr(sampler, "step")):
        raise ArgumentError(f"sampler={sampler!r}: expected a sampler such as gb.Gibbs()")
    if getattr(sampler, "clamp", None) is not None:
        raise ArgumentError("sampler has units clamped, which says nothing of the model; free them")


def _reference(rbm: RBM, data: Tensor, generator: torch.Generator | None) -> Tensor:
    """Rows of data as states: all of them, or a thousand drawn at random."""
    rows = rbm.visible.check_data(data)
    device = rows.device if generator is None else generator.device
    if len(rows) > REFERENCE_ROWS:
        order = torch.randperm(len(rows), generator=generator, device=device)
        rows = rows[order[:REFERENCE_ROWS].to(rows.device)]
    return rbm.visible.observe(rows, generator)


class _Task(NamedTuple):
    """The model, the rows it is compared with, the steps of each chain."""

    rbm: RBM
    reference: Tensor | None
    budget: int
    generator: torch.Generator | None

    def judge(self, sampler: Sampler, chains: int) -> tuple[Mixing, Recording]:
        """The mixing of a sampler's chains, and their record."""
        each = max(3, chains // (3 if self.reference is None else 4))
        starts = make_starts(self.rbm, each, self.reference, self.generator)
        recording = record_chains(
            sampler, self.rbm, starts, self.budget, self.reference, self.generator
        )
        first = torch.arange(len(recording.last), device=recording.last.device) < each
        mixing = Mixing(
            type(sampler).__name__,
            self.budget,
            len(recording.last),
            *measured_times(recording),
            *measured_agreement(recording, each),
            *compare_occupancy(recording.shares, first, self.generator),
            *_trips_and_barrier(recording.state),
        )
        return replace(mixing, problems=tuple(_problems(mixing))), recording

    def course(self, recording: Recording, short: list[Tensor]) -> tuple[Course, int | None]:
        """The course of fresh chains, and the step of their best if they fall and rise."""
        names, each = recording.starts, recording.fresh[0].shape[1]
        others = recording.last[each:] if self.reference is None else self.reference
        features = Features(self.rbm, others)
        fresh = [*short, *recording.fresh[len(short) :]]
        found = [moment_discrepancy(features, v) for v in fresh]
        course = Course(
            tuple(recording.steps),
            names,
            tuple(map(tuple, recording.energies.T.tolist())),
            tuple(entry.value for entry in found),
            tuple(entry.stderr for entry in found),
            "chains" if self.reference is None else "data",
        )
        return course, best_step(recording.steps, found)

    def nearer_than_equilibrium(self, course: Course, recording: Recording) -> int | None:
        """The step at which fresh chains are nearer to the reference than chains that mix, if any.

        The course ended too early to tell: its end is put to that of the chains recorded.
        """
        others = recording.last if self.reference is None else self.reference
        end = moment_discrepancy(Features(self.rbm, others), recording.late)
        pairs = zip(course.discrepancy[:-1], course.stderr[:-1], strict=True)
        return best_step(course.steps, [*(Discrepancy(*pair) for pair in pairs), end])


def _problems(mixing: Mixing) -> Iterator[str]:
    """The tests of equilibrium that a sampler fails, each in words."""
    for value, what in (
        (mixing.split_r_hat, "split R-hat of the free energy"),
        (mixing.nested_r_hat, "nested R-hat of the free energy over the starts"),
        (mixing.unit_r_hat, "nested R-hat of a hidden unit over the starts"),
    ):
        if not value <= MAX_R_HAT:
            yield f"{mixing.sampler}: {what} is {value:.3f} > {MAX_R_HAT}"
    record = mixing.steps - mixing.steps // 2
    for tau, what in (
        (mixing.energy_time, "the free energy"),
        (mixing.unit_time, f"hidden unit {mixing.slowest_unit + 1}"),
    ):
        if not record >= LENGTH * tau:
            yield (
                f"{mixing.sampler}: {record} steps are {record / tau:.1f} autocorrelation times of "
                f"{what}, fewer than {LENGTH:.0f}"
            )
    if mixing.occupancy > mixing.occupancy_limit:
        yield (
            f"{mixing.sampler}: shares of clusters differ by {mixing.occupancy:.2f} between the "
            f"starts, more than chance explains ({mixing.occupancy_limit:.2f})"
        )


def _recommended(mixing: Mixing) -> tuple[str, int | None]:
    """The kind of verdict on a sampler, and the steps to use."""
    steps = max(LEAST_STEPS, math.ceil(FORGOTTEN * mixing.time))
    if not mixing.problems:
        return EQUILIBRIUM, steps
    agree = max(mixing.split_r_hat, mixing.nested_r_hat, mixing.unit_r_hat) <= SLOW_R_HAT
    long_enough = mixing.steps - mixing.steps // 2 >= SLOW_LENGTH * mixing.time
    if agree and long_enough and mixing.occupancy <= mixing.occupancy_limit:
        return SLOW, steps
    return UNKNOWN, None


def _trips_and_barrier(state: Any) -> tuple[float | None, float | None]:
    """Trips of all chains, and the barrier, of a sampler with a ladder; None each without."""
    if not hasattr(state, "passages"):
        return None, None
    return float(state.passages.trips.sum()), state.barrier()


def _ladder(state: Any) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
    """Betas and base means of a sampler that has them, to be used again."""
    if not isinstance(state, TemperingState):
        return (), ()
    return tuple(map(float, state.betas)), tuple(tuple(x.tolist()) for x in state.base[:2])
