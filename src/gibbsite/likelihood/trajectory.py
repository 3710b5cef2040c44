"""The likelihood during training, every few epochs, where it can be believed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gibbsite.checks import check_counts, check_memory
from gibbsite.likelihood.annealing import Path, anneal, respaced, uniform_schedule
from gibbsite.likelihood.ladder import Ladder, LadderEstimate, ladder_estimate
from gibbsite.likelihood.monitors import negative_free_energies
from gibbsite.likelihood.weights import Estimate, importance_estimate
from gibbsite.model import RBM
from gibbsite.sampling import Gibbs, overdispersed_start
from gibbsite.sampling.diagnostics import r_hat

RUNGS = 16
SWEEPS = 8
"""Sweeps of the ladders for each substep."""

PILOT_CHAINS, PILOT_STEPS = 20, 100
SETTLING = 1 / 3
"""Share of the sweeps that is left out of the estimate."""

PLAIN_CHAINS, PLAIN_STEPS = 100, 100
MOST_APART = 5
"""Plain chains, of 100, that may end where no ladder comes; one is expected."""

MAX_LADDER_R_HAT = 1.5
MIN_KEPT = 4
"""Rows of each ladder to judge its mixing by."""

MIN_TRIPS = 1.0
MAX_STDERR = 1.0
BARS = 3.0


@dataclass
class TrajectoryAIS:
    r"""Callback for `fit`: log-likelihood of data along training, left out where it is in doubt.

    Every `every` epochs log Z is estimated anew. Chains are annealed from independent units to the
    model, resampled by their weights on the way, and settle on the 16 rungs of `chains` / 10
    ladders, one half from that way up, the other from a way down that starts at data and at v given
    random h. Then the rungs exchange rows (replica exchange) for 8 `substeps` sweeps, and Bennett's
    acceptance ratio between neighbours gives log Z. With the defaults that costs about as much
    as an epoch of 60,000 rows.

    The figure is left out, with the reasons in `problems`, unless

    - the ladders carried rows from the independent units to the model, once each on average;
    - the ladders agree with one another in the mean of every hidden unit (R-hat at most 1.5),
    - they come near the places where 100 plain chains from data and from spread starts end up,
    - the two halves, of different starts, agree within three standard errors, and
    - no annealed estimate, of which the mean is never above Z, lies as far above it;
    - the standard error is at most 1 nat.

    A mode that no start and no exchange has found is not seen; it would make the figure too high.
    Grey data are drawn once. Sources: Desjardins, Courville, Bengio (2011), On tracking
    the partition function; Bennett (1976); Burda, Grosse, Salakhutdinov (2015) on starts from
    either end.

    Adds to the record in such epochs: ``ais_trusted``, 1 or 0, and if 1 ``ais_log_likelihood``,
    ``ais_stderr`` (of log Z: the spread between independent ladders, with the drift between the
    halves of the sweeps and the difference of the starts) and ``ais_ess`` (rows that came all
    the way). `state_dict` is what a checkpoint keeps.

    >>> import torch, gibbsite as gb
    >>> digits, g = gb.datasets.load("digits"), torch.Generator().manual_seed(0)
    >>> tracker = gb.TrajectoryAIS(digits.test, generator=torch.Generator().manual_seed(1))
    >>> history = gb.fit(gb.RBM(gb.Bernoulli(64), gb.Bernoulli(8)), digits.train, epochs=2,
    ...                  generator=g, callbacks=[tracker])
    >>> history.column("ais_trusted")
    [1.0, 1.0]
    """

    data: Tensor
    chains: int = 100
    substeps: int = 50
    generator: torch.Generator | None = None
    every: int = 1
    problems: tuple[str, ...] = field(default=(), init=False)
    _begun: bool = field(default=False, init=False, repr=False)
    _start: Tensor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_counts(chains=self.chains, substeps=self.substeps, every=self.every)

    @torch.no_grad()
    def __call__(self, rbm: RBM, record: dict[str, float]) -> dict[str, float]:
        if not self._begun:
            self._begin(rbm)
        if int(record.get("epoch", 0)) % self.every:
            return {}
        measured = measure(rbm, self.data, self.chains, self.substeps, self.generator)
        self.problems = measured.problems
        if self.problems:
            return {"ais_trusted": 0.0}
        score = negative_free_energies(rbm, self.data).mean().item()
        return {
            "ais_trusted": 1.0,
            "ais_log_likelihood": score - measured.value,
            "ais_stderr": measured.stderr,
            "ais_ess": measured.trips,
        }

    def _begin(self, rbm: RBM) -> None:
        """Draw grey data, once; after a resume as the run before did, which leaves no trace."""
        check_memory(f"{self.chains} chains", self.chains, sum(rbm.weight.shape))
        source, resumed = self._source(), self._start
        now = source.get_state()
        self._start = now if resumed is None else resumed
        source.set_state(self._start)
        data = rbm.visible.check_data(self.data).to(rbm.weight.device)
        self.data = rbm.visible.observe(data, self.generator)
        if resumed is not None:
            source.set_state(now)
        self._begun = True

    def state_dict(self) -> dict[str, Tensor]:
        """The states of its generator before the first draw and now; empty before that."""
        return (
            {} if self._start is None else {"start": self._start, "now": self._source().get_state()}
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there, in a new object; an error of any kind if it is no such state."""
        if not state:
            return
        if set(state) != {"start", "now"}:
            raise ValueError(f"TrajectoryAIS has no state of {sorted(map(str, state))}")
        for name in ("start", "now"):
            self._source().set_state(state[name])
        self._start = state["start"]

    def _source(self) -> torch.Generator:
        """Generator of its random numbers."""
        return torch.default_generator if self.generator is None else self.generator


class Measured(NamedTuple):
    """log Z with its standard error, the trips that support it and the checks that failed."""

    value: float
    stderr: float
    trips: float
    problems: tuple[str, ...]


@torch.no_grad()
def measure(
    rbm: RBM, data: Tensor, chains: int, substeps: int, generator: torch.Generator | None
) -> Measured:
    """log Z from replica exchange that starts at either end of the annealing path."""
    scattered = overdispersed_start(rbm, len(data), generator)
    path = Path.fit(rbm, torch.cat([data, scattered]), generator)
    betas = _spaced_rungs(path, generator)
    fine, half = _refined(betas, max(1, substeps * 2 // 5)), max(2, chains // 20)
    rising, annealed = _rise(path, fine, chains, half, generator)
    falling = _fall(path, fine, _ends(data, scattered, half, generator), generator)
    ladder = Ladder(path, betas, torch.cat([rising, falling], 1))
    sweeps = SWEEPS * substeps
    settling = int(SETTLING * sweeps)
    settled = ladder.run(settling, generator)
    record = ladder.run(sweeps - settling, generator)
    estimate = ladder_estimate(record)
    trips = settled.trips + record.trips
    base = path.log_partition_at_zero()
    stderr = math.hypot(estimate.stderr, estimate.drift, estimate.by_start / 2)
    excess = annealed.value - estimate.value, math.hypot(annealed.stderr, stderr)
    problems = _problems(estimate, stderr, trips, excess)
    unmixed = _unmixed(rbm, record.last, _plain_chains(rbm, data, generator))
    failed = (*problems, *unmixed)
    return Measured(base + estimate.value, stderr, float(trips.sum()), failed)


def _problems(
    estimate: LadderEstimate, stderr: float, trips: Tensor, excess: tuple[float, float]
) -> Iterator[str]:
    """The checks that failed, each with its remedy."""
    mean = float(trips.double().mean())
    if mean < MIN_TRIPS:
        yield (
            f"{mean:.1f} rows a ladder came from independent units to the model, fewer than "
            f"{MIN_TRIPS:g}: it mixes slowly; use more substeps"
        )
    if abs(estimate.by_start) > BARS * 2 * estimate.stderr:
        yield f"starts at either end differ by {estimate.by_start:.2f} nats; use more substeps"
    gap, bar = excess
    if gap > BARS * bar:
        yield (
            f"annealing gave a log Z that is {gap:.2f} nats higher, beyond {BARS:g} standard "
            f"errors ({BARS * bar:.2f}): the ladders miss part of the distribution; use more "
            "substeps"
        )
    if not stderr <= MAX_STDERR:
        yield (
            f"a standard error of {stderr:.2f} nats, above {MAX_STDERR:g}; use more chains or "
            "substeps"
        )


def _plain_chains(rbm: RBM, data: Tensor, generator: torch.Generator | None) -> Tensor:
    """v of Gibbs chains after a short run, half from data, half from spread starts."""
    n = PLAIN_CHAINS // 2
    v = overdispersed_start(rbm, 2 * n, generator)
    v[:n] = data[torch.randint(len(data), (n,), generator=generator, device=data.device)]
    sampler = Gibbs()
    return sampler.advance(rbm, sampler.init(rbm, v, generator), PLAIN_STEPS, generator).v


def _unmixed(rbm: RBM, last: Tensor, plain: Tensor) -> Iterator[str]:
    """Signs in the means of hidden units that ladders, or where plain chains end, lie apart.

    A plain chain is apart if its nearest row of a ladder is farther than all but 1% of the ladders'
    rows have one in another ladder.
    """
    if len(last) < MIN_KEPT:
        yield "too few sweeps to compare ladders; use more substeps"
        return
    means = rbm.hidden_mean(last).double()
    least = 1e-8 * (means**2).amax((0, 1))
    worst = float(r_hat(means.mean(0), means.var(0).clamp(min=least), len(means)).max())
    if worst > MAX_LADDER_R_HAT:
        yield (
            f"ladders disagree, R-hat of a hidden unit {worst:.2f} > {MAX_LADDER_R_HAT}: they do "
            "not mix; use more substeps"
        )
    rows = means.flatten(0, 1)
    ladder = torch.arange(means.shape[1], device=rows.device).repeat(means.shape[0])
    between = torch.cdist(rows, rows).masked_fill_(ladder[:, None] == ladder, math.inf)
    usual = between.amin(1).quantile(0.99) + 1e-6
    apart = int((torch.cdist(rbm.hidden_mean(plain).double(), rows).amin(1) > usual).sum())
    if apart >= MOST_APART:
        yield (
            f"{apart} of {len(plain)} plain chains end where no ladder comes: a part of the "
            "distribution may be missed; use more substeps"
        )


def _spaced_rungs(path: Path, generator: torch.Generator | None) -> Tensor:
    """Rungs between which log weights spread alike, as a short pilot run has them."""
    pilot = uniform_schedule(PILOT_STEPS)
    run = anneal(path, pilot, path.start(PILOT_CHAINS, generator), generator)
    return respaced(pilot, run.increments.sqrt(), RUNGS - 1)


def _refined(betas: Tensor, parts: int) -> Tensor:
    """betas with each gap cut into equal parts: (rungs - 1, parts + 1), the ends in both."""
    share = torch.linspace(0, 1, parts + 1, dtype=betas.dtype)
    return torch.lerp(betas[:-1, None], betas[1:, None], share)


def _rise(
    path: Path, betas: Tensor, chains: int, n: int, generator: torch.Generator | None
) -> tuple[Tensor, Estimate]:
    """n rows at each rung, from chains annealed upwards and resampled there; the gain of log Z.

    Its mean is that of Z itself, so it is seldom far too high: by b nats with a probability of
    e^-b at most (Markov).
    """
    v = path.start(chains, generator)
    kept, value, variance = [v[:n]], 0.0, 0.0
    for gap in betas:
        run = anneal(path, gap, v, generator)
        gained = importance_estimate(run.log_weights)
        value, variance = value + gained.value, variance + gained.stderr**2
        share = torch.softmax(run.log_weights, 0)
        chosen = run.v[systematic(share, generator)]
        v, _ = path.conditionals.sweep(chosen, generator, float(gap[-1]))
        kept.append(v[torch.randperm(chains, generator=generator, device=v.device)[:n]])
    return torch.stack(kept), Estimate(value, math.sqrt(variance), 0.0)


def _ends(data: Tensor, scattered: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    """n rows, one half of the data and one scattered."""
    few, rest = (
        rows[torch.randint(len(rows), (m,), generator=generator, device=rows.device)]
        for rows, m in ((data, n // 2), (scattered, n - n // 2))
    )
    return torch.cat([few, rest])


def _fall(path: Path, betas: Tensor, v: Tensor, generator: torch.Generator | None) -> Tensor:
    """Rows at each rung, from v on the last that go down to the first."""
    kept = [v]
    for gap in reversed(betas.unbind()):
        for beta in gap.flip(0)[1:].tolist():
            v, _ = path.conditionals.sweep(v, generator, beta)
        kept.append(v)
    return torch.stack(kept[::-1])


def systematic(share: Tensor, generator: torch.Generator | None) -> Tensor:
    """Row numbers, each about as often as its share of the sum says; never off by one or more."""
    rows = torch.arange(len(share), dtype=torch.float64, device=share.device)
    offset = torch.rand(1, generator=generator, dtype=torch.float64, device=share.device)
    marks = (rows + offset) / len(share)
    return torch.searchsorted(share.cumsum(0), marks).clamp(max=len(share) - 1)
