"""Chains from several starts, and the record of what they do."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gibbsite import ops
from gibbsite.model import RBM
from gibbsite.sampling.diagnostics import (
    RunningMoments,
    autocorrelation_times,
    nested_r_hat,
    split_r_hat,
)
from gibbsite.sampling.occupancy import k_means
from gibbsite.sampling.run import Sampler, advance, random_start

MOST_RECORDS = 1000
"""Records of the second half of the steps."""

SLOW_UNITS = 10
"""Hidden units whose series are kept: those that were slowest before."""

LATE = 20
"""Times in the second half at which states are kept."""

CLUSTERS = 10

Starts = dict[str, Tensor]
"""Visible states of each group of chains, (chains, visible.width), by the name of the start."""


@torch.no_grad()
def make_starts(
    rbm: RBM, each: int, data: Tensor | None, generator: torch.Generator | None = None
) -> Starts:
    """So many states from each start: rows of data (if any), noise, coins and the other corner.

    Noise is the visible layer alone, as if weights were 0; coins are `Layer.overdispersed`; the
    corner is drawn given such an h.
    """
    starts = {}
    if data is not None:
        device = rbm.weight.device if generator is None else generator.device
        rows = torch.randint(len(data), (each,), generator=generator, device=device)
        starts["data"] = data[rows.to(data.device)]
    starts["noise"] = random_start(rbm, each, generator)
    starts["coins"] = rbm.visible.overdispersed(each, generator)
    h = rbm.hidden.overdispersed(each, generator)
    starts["corner"] = rbm.visible.sample(rbm.visible_inputs(h), generator)
    return starts


class Recording(NamedTuple):
    """Record of chains.

    Attributes:
        steps: 1, 2, 4 and so on, at which the course was recorded.
        energies: mean free energies then, (steps, starts).
        fresh: states of the chains from noise then, (1, chains, visible.width) each; the last
            are those of about 20 times in the second half.
        last: states of all chains at the end.
        late: states of all chains at about 20 times in the second half, (times, chains,
            visible.width).
        energy_series: (records, chains), of the second half of the steps.
        unit_series: means of the slowest hidden units, (records, chains, units).
        stride: steps between records.
        units: numbers of those hidden units.
        halves: moments of all hidden units' means, in each half of the records.
        shares: of the records that each chain spent in each cluster, (chains, clusters).
        state: of the sampler at the end.
        starts: their names, in the order of the chains.
    """

    steps: list[int]
    energies: Tensor
    fresh: list[Tensor]
    last: Tensor
    late: Tensor
    energy_series: Tensor
    unit_series: Tensor
    stride: int
    units: Tensor
    halves: tuple[RunningMoments, RunningMoments]
    shares: Tensor
    state: Any
    starts: tuple[str, ...]


@torch.no_grad()
def record_chains(
    sampler: Sampler,
    rbm: RBM,
    starts: Starts,
    budget: int,
    reference: Tensor | None,
    generator: torch.Generator | None = None,
) -> Recording:
    """Run chains from the starts for `budget` steps, 16 or more.

    Args:
        reference: rows whose E[h | v] are clustered, beside those of the chains after half.
    """
    chains = _Chains(sampler, rbm, starts, generator)
    with ops.fitting_threads(rbm.weight.numel() * chains.v.shape[0]):
        warm = RunningMoments()
        first, half = budget // 4, budget // 2
        stride = max(1, (half - first) // 100)
        chains.to(first)
        while chains.done + stride <= half:
            chains.to(chains.done + stride)
            warm.add(rbm.hidden_mean(chains.v))
        chains.to(half)
        rows = chains.v if reference is None else torch.cat([chains.v, reference])
        centres = k_means(rbm.hidden_mean(rows), CLUSTERS, generator)
        return _second_half(chains, budget, slowest_units(warm), centres)


def fresh_course(
    sampler: Sampler, rbm: RBM, chains: int, steps: int, generator: torch.Generator | None = None
) -> list[Tensor]:
    """States of chains from noise after 1, 2, 4 and so on up to `steps` steps.

    (1, chains, visible.width) each, as `Recording.fresh`; short chains, so there can be many.
    """
    run = _Chains(sampler, rbm, {"noise": random_start(rbm, chains, generator)}, generator)
    with ops.fitting_threads(rbm.weight.numel() * chains):
        run.to(steps)
    return run.fresh


def slowest_units(moments: RunningMoments) -> Tensor:
    """Numbers of the units with the longest autocorrelation times, by the spread of chains' means.

    The variance of a mean over T steps is tau/T times that of the unit: a crude tau, but one for
    each unit, in the memory of two numbers.
    """
    between, within = moments.mean.var(0), moments.variance.mean(0)
    ratio = torch.where(between + within > 0, between / (between + within), 0.0)
    return ratio.topk(min(SLOW_UNITS, len(ratio))).indices


def _second_half(chains: _Chains, budget: int, units: Tensor, centres: Tensor) -> Recording:
    rbm = chains.rbm
    stride = max(1, (budget - chains.done) // MOST_RECORDS)
    records = (budget - chains.done) // stride
    energies, slow, halves = [], [], (RunningMoments(), RunningMoments())
    shares = rbm.weight.new_zeros(len(chains.v), len(centres))
    ones, late = rbm.weight.new_ones(len(chains.v), 1), []
    for record in range(records):
        chains.to(chains.done + stride if record < records - 1 else budget)
        inputs = rbm.hidden_inputs(chains.v)
        if record % max(1, records // LATE) == 0:
            late.append(chains.v)
        energies.append(rbm.visible.energy(chains.v) - rbm.hidden.log_partition(inputs))
        means = rbm.hidden.mean(inputs)
        slow.append(means[:, units])
        halves[2 * record >= records].add(means)
        nearest = torch.cdist(means, centres).argmin(1, keepdim=True)
        shares.scatter_add_(1, nearest, ones / records)
    if chains.steps[-1] < budget:
        chains.note()
    return Recording(
        chains.steps,
        torch.stack(chains.energies),
        [*chains.fresh[:-1], chains.from_noise(torch.stack(late))],
        chains.v,
        torch.stack(late),
        torch.stack(energies),
        torch.stack(slow),
        stride,
        units,
        halves,
        shares,
        chains.state,
        chains.starts,
    )


class _Chains:
    """Chains that note their course at steps 1, 2, 4 and so on, and the budget, as they move."""

    def __init__(
        self, sampler: Sampler, rbm: RBM, starts: Starts, generator: torch.Generator | None
    ) -> None:
        self.sampler, self.rbm, self.generator = sampler, rbm, generator
        self.state: Any = sampler.init(rbm, torch.cat(list(starts.values())), generator)
        self.each = len(starts["noise"])
        self._noise = self.each * list(starts).index("noise")
        self.starts = tuple(starts)
        self.done = 0
        self.steps: list[int] = []
        self.energies: list[Tensor] = []
        self.fresh: list[Tensor] = []

    @property
    def v(self) -> Tensor:
        """Visible states of all chains."""
        v: Tensor = self.state.v
        return v

    def from_noise(self, states: Tensor) -> Tensor:
        """Of states of all chains, (times, chains, visible.width), those of chains from noise."""
        return states.narrow(1, self._noise, self.each)

    def to(self, step: int) -> None:
        """Move on to that step."""
        while self.done < step:
            due = 1 << self.done.bit_length()  # the next power of two
            target = min(step, due)
            self.state = advance(
                self.sampler, self.rbm, self.state, target - self.done, self.generator
            )
            self.done = target
            if target == due or target == 1:
                self.note()

    def note(self) -> None:
        """Note the free energies of all chains and the states of those from noise."""
        self.steps.append(self.done)
        self.energies.append(self.rbm.free_energy(self.v).reshape(-1, self.each).mean(1))
        self.fresh.append(self.from_noise(self.v[None]))


class Times(NamedTuple):
    """Autocorrelation times in steps: of the free energy, of the slowest unit, and its number."""

    energy: float
    unit: float
    slowest: int


def measured_times(recording: Recording) -> Times:
    """Autocorrelation times of a recording's series.

    Between records, the autocorrelation is taken to fall like one exponential.
    """
    series = torch.cat([recording.energy_series[..., None], recording.unit_series], -1)
    taus = autocorrelation_times(series)
    decay = ((taus - 1) / (taus + 1)) ** (1 / recording.stride)  # tau = (1 + rho)/(1 - rho)
    energy, *units = ((1 + decay) / (1 - decay)).tolist()
    slowest = max(range(len(units)), key=lambda i: units[i])
    return Times(energy, units[slowest], int(recording.units[slowest]))


class Agreement(NamedTuple):
    """R-hats: split and nested of the free energy, the largest nested one of a hidden unit."""

    split: float
    nested: float
    unit: float


def measured_agreement(recording: Recording, each: int) -> Agreement:
    """Agreement of chains and of their starts, `each` chains of every start."""
    energies = recording.energy_series.double()
    energies = energies - energies[0, 0]
    chains = energies.shape[1]
    starts = torch.arange(chains, device=energies.device) // each
    nested = nested_r_hat(energies.mean(0), energies.var(0), starts)
    first, second = recording.halves
    means = (first.mean + second.mean) / 2
    variances = (first.variance + second.variance) / 2
    least = 1e-8 * (means**2).amax(0)  # rounding of a unit that does not move
    unit = nested_r_hat(means, variances.clamp(min=least), starts).max()
    return Agreement(split_r_hat(energies), nested.item(), unit.item())
