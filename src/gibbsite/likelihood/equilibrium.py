"""Draws from the model to start reverse annealing at, and tests of their equilibrium."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gibbsite import exact, ops
from gibbsite.model import RBM
from gibbsite.precision import in_double
from gibbsite.sampling import (
    Gibbs,
    Sampler,
    advance,
    autocorrelation_time,
    overdispersed_start,
    split_r_hat,
)
from gibbsite.sampling.diagnostics import r_hat

RECORDS = 250
"""About how many times the chains are recorded."""

MAX_R_HAT = 1.05
MAX_UNIT_R_HAT = 1.4
MIN_TIMES = 20.0
"""Least length of a run, in autocorrelation times of the free energy."""

LEAST_LADDERS, ROWS_A_LADDER = 8, 8
MIN_TRIPS = 2.0


class Equilibrium(NamedTuple):
    """Draws of v from the model, and tests of their equilibrium.

    Attributes:
        v: the draws, (n, n_visible).
        independent: number of independent draws that the whole run of the chains amounts to.
        floor: lower bound of log Z, in nats: log of the sum of p* over the states visited.
        problems: the checks that failed, each with its remedy; empty if none did.
    """

    v: Tensor
    independent: float
    floor: float = -math.inf
    problems: tuple[str, ...] = ()


@torch.no_grad()
def equilibrium_draws(
    rbm: RBM,
    n: int,
    steps: int,
    data: Tensor | None = None,
    generator: torch.Generator | None = None,
    sampler: Sampler | None = None,
) -> Equilibrium:
    r"""n draws of v from the model, with the tests of equilibrium that they fail.

    Exact draws if the model has at most 2^20 states; else the ends of n chains of `steps` steps,
    half of them started at rows of data (if there are any), the others at `overdispersed_start`.
    Of a ladder sampler, each of whose chains has a row on every rung, there are n / 8 chains, at
    least 8, and the draws are from the second half of the run, evenly spaced in time.

    The chains are recorded about 250 times over the second half. Both halves of the record and all
    chains, and so all starts, must agree in the free energy (split R-hat at most 1.05) and in the
    mean of every hidden unit (at most 1.4, where chains have run for over ten relaxation times).
    The record must be 20 autocorrelation times of the free energy long. Rows of a ladder sampler
    must have come from its first rung to the last twice a chain, on average.

    The states visited bound log Z from below, however badly the chains mix:
    $\log Z \ge \log\sum_x e^{-F(x)}$ over the distinct x seen, on the side with fewer states.

    Args:
        sampler: default `Gibbs()`.
    """
    if exact.is_small(rbm):
        return Equilibrium(exact.sample(rbm, n, generator), n)
    sampler = sampler or Gibbs()
    chains = max(LEAST_LADDERS, n // ROWS_A_LADDER) if hasattr(sampler, "ladder") else n
    v = _starts(rbm, chains, data, generator)
    stride = max(1, steps // (2 * RECORDS))
    records = (steps - steps // 2) // stride
    record, kept = _Record(rbm, records), deque[Tensor](maxlen=1 if chains == n else None)
    with ops.fitting_threads(rbm.weight.numel() * n):
        state: Any = advance(sampler, rbm, sampler.init(rbm, v, generator), steps // 2, generator)
        for _ in range(records):
            state = advance(sampler, rbm, state, stride, generator)
            record.add(state.v, generator)
            kept.append(state.v)
    tau = autocorrelation_time(torch.stack(record.energies)) if records >= 4 else math.inf
    independent = chains * max(1.0, records / tau)
    problems = *record.problems(stride, tau), *_too_few_trips(state)
    return Equilibrium(
        _spread(kept or [state.v], n), independent, record.visited.log_mass, problems
    )


def _starts(
    rbm: RBM, chains: int, data: Tensor | None, generator: torch.Generator | None
) -> Tensor:
    """Starts of chains: half rows of data, if there are any, the others overdispersed."""
    v = overdispersed_start(rbm, chains, generator)
    if data is not None:
        data = rbm.visible.check_data(data)
        rows = torch.randint(len(data), (chains // 2,), generator=generator)
        v[: chains // 2] = rbm.visible.observe(data[rows], generator)
    return v


def _spread(kept: Sequence[Tensor], n: int) -> Tensor:
    """n rows of those kept, (chains, width) each time, from times that are evenly spaced."""
    times = min(len(kept), -(-n // len(kept[0])))
    chosen = torch.linspace(0, len(kept) - 1, times).round().long() if times > 1 else [-1]
    rows = torch.cat([kept[int(time)] for time in chosen])
    return rows.repeat(-(-n // len(rows)), 1)[-n:]


def _too_few_trips(state: Any) -> Iterator[str]:
    """A problem if rows of a ladder sampler seldom came from its first rung to the last."""
    if not hasattr(state, "passages"):
        return
    trips = state.passages.trips.double().mean().item()
    if trips < MIN_TRIPS:
        yield (
            f"{trips:.1f} rows a ladder came from its first rung to the model, fewer than "
            f"{MIN_TRIPS:g}; use more temperatures (longer chains)"
        )


class _Record:
    """Record of chains: free energies, moments of hidden units in each half, states visited."""

    def __init__(self, rbm: RBM, records: int) -> None:
        self.rbm, self.records = rbm, records
        self.energies: list[Tensor] = []
        self.units = [_Moments(), _Moments()]
        self.visited = _Visited(rbm)

    def add(self, v: Tensor, generator: torch.Generator | None) -> None:
        """Record the states of the chains."""
        rbm, half = self.rbm, self.records // 2
        inputs = rbm.hidden_inputs(v)
        self.energies.append(rbm.visible.energy(v) - rbm.hidden.log_partition(inputs))
        time = len(self.energies)
        if time <= half or time > self.records - half:
            self.units[time > half].add(rbm.hidden.mean(inputs))
        self.visited.add(v, inputs, generator)

    def problems(self, stride: int, tau: float) -> tuple[str, ...]:
        """The tests that failed, each with its remedy."""
        if self.records < 4:
            return ("the chains ran for too few steps to test; use more temperatures",)
        problems = []
        energy = split_r_hat(torch.stack(self.energies))
        if energy > MAX_R_HAT:
            problems.append(_disagreement(f"the free energy is {energy:.3f} > {MAX_R_HAT}"))
        units = self._unit_r_hats()
        worst = int(units.argmax())
        if units[worst] > MAX_UNIT_R_HAT:
            value = f"{units[worst]:.3f} > {MAX_UNIT_R_HAT}"
            problems.append(_disagreement(f"the mean of hidden unit {worst + 1} is {value}"))
        if self.records < MIN_TIMES * tau:
            problems.append(
                f"the chains ran for only {self.records / tau:.1f} autocorrelation times of the "
                f"free energy ({stride * tau:.0f} steps), fewer than {MIN_TIMES:.0f}; use more "
                "temperatures"
            )
        return tuple(problems)

    def _unit_r_hats(self) -> Tensor:
        means = torch.cat([half.mean for half in self.units])
        variances = torch.cat([half.variance for half in self.units])
        # variances below this are rounding of a unit that does not move
        least = 1e-8 * (means**2).amax(0)
        return r_hat(means, variances.clamp(min=least), self.records // 2)


def _disagreement(what: str) -> str:
    return (
        "reverse AIS did not start at equilibrium, so it is no bound: chains or halves of their "
        f"run disagree, as split R-hat of {what}; use more temperatures (longer chains)"
    )


class _Moments:
    """Running mean and variance over time of (chains, units) values, in float64."""

    def __init__(self) -> None:
        self.count, self.mean, self._squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, x: Tensor) -> None:
        x = x.double()
        self.count += 1
        change = x - self.mean  # Welford
        self.mean = self.mean + change / self.count
        self._squares = self._squares + change * (x - self.mean)

    @property
    def variance(self) -> Tensor:
        return self._squares / (self.count - 1)


class _Visited:
    """log sum p* of the distinct states visited, of the layer with fewer states, if finite."""

    def __init__(self, rbm: RBM) -> None:
        self.rbm, self.log_mass = rbm, -math.inf
        fewer = rbm.visible.n_states < rbm.hidden.n_states
        self.of_visible, self.side = fewer, in_double(rbm if fewer else rbm.mirror())
        self._hashes: set[int] = set()

    def add(self, v: Tensor, inputs: Tensor, generator: torch.Generator | None) -> None:
        """Add v, or an h drawn given v; inputs are those of the hidden layer."""
        if math.isinf(self.side.visible.n_states):
            return
        states = v if self.of_visible else self.rbm.hidden.sample(inputs, generator)
        rows = {hash(row.tobytes()): i for i, row in enumerate(states.cpu().numpy())}
        new = [i for key, i in rows.items() if key not in self._hashes]
        self._hashes |= rows.keys()
        if new:
            masses = -self.side.free_energy(states[new])
            masses = torch.cat([masses, masses.new_tensor([self.log_mass])])
            self.log_mass = float(torch.logsumexp(masses, 0))
