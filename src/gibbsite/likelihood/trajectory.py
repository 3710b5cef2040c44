"""Log-likelihood during training, every few epochs, where it can be trusted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gibbsite.checks import check_counts, check_memory
from gibbsite.likelihood.annealing import anneal, overlap_schedule
from gibbsite.likelihood.exchange import ExchangeEstimate, exchange_estimate, record_exchanges
from gibbsite.likelihood.monitors import negative_free_energies
from gibbsite.likelihood.weights import Estimate, importance_estimate
from gibbsite.model import RBM
from gibbsite.sampling import Gibbs, Path, Tempering, TemperingState, overdispersed_start
from gibbsite.sampling.diagnostics import r_hat

RUNGS = 16
SWEEPS = 8
"""Sweeps of the ladders for each substep."""

PILOT_CHAINS, PILOT_STEPS = 20, 100
BURN_IN = 1 / 3
"""Share of the sweeps that is left out of the estimate."""

PLAIN_CHAINS, PLAIN_STEPS = 100, 100
MAX_OUTSIDE = 5
"""Plain chains, of 100, that may not end near the ladders' rows; one is expected."""

MAX_LADDER_R_HAT = 1.5
MIN_RECORDED = 4
"""Rows of each ladder needed to judge its mixing."""

MIN_TRIPS = 1.0
MAX_STDERR = 1.0
STDERRS = 3.0
"""Standard errors beyond which two estimates disagree."""


@dataclass
class TrajectoryAIS:
    r"""Callback for `fit`: log-likelihood of data during training, left out where it is in doubt.

    Every `every` epochs log Z is estimated anew, by replica exchange between 16 rungs of an
    annealing path from independent units to the model, in `chains` / 10 independent ladders. Half
    of these start from chains annealed upwards from the independent units and resampled by their
    weights, half from chains that come down from data and from scattered v. After 8 `substeps`
    sweeps Bennett's acceptance ratio between neighbouring rungs gives log Z. With the defaults that
    costs about as much as an epoch of 60,000 rows.

    The figure is left out, with the reasons in `problems`, unless

    - rows moved from the independent units to the model, once a ladder on average;
    - the ladders agree with one another in the mean of every hidden unit (R-hat at most 1.5);
    - 100 plain Gibbs chains, from data and from scattered starts, end near rows of the ladders;
    - the ladders of the two starts agree within three standard errors;
    - the annealed estimate, which is seldom too high, is not as much higher; and
    - the standard error is at most 1 nat.

    A mode that no start and no exchange reaches is missed; the figure is then too high.
    Grey data are drawn once. Sources: Desjardins, Courville, Bengio (2011), On tracking
    the partition function; Bennett (1976); Burda, Grosse, Salakhutdinov (2015) on starts from
    either end.

    Adds to the record in such epochs: ``ais_trusted``, 1 or 0, and if 1 ``ais_log_likelihood``,
    ``ais_stderr`` (of log Z: from the spread between ladders, the drift between halves of the
    sweeps and the difference between the starts) and ``ais_ess`` (number of rows that moved from
    the first rung to the last). `state_dict` is for checkpoints.

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
        """Draw grey data, once; after a resume as before it, and leave the generator as it is."""
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
        """States of the generator before the first draw and now; empty if nothing was drawn."""
        if self._start is None:
            return {}
        return {"start": self._start, "now": self._source().get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, in a new object; an error of any kind if it is no such state."""
        if not state:
            return
        if set(state) != {"start", "now"}:
            raise ValueError(f"TrajectoryAIS has no state of {sorted(map(str, state))}")
        for name in ("start", "now"):
            self._source().set_state(state[name])
        self._start = state["start"]

    def _source(self) -> torch.Generator:
        """The generator to draw from."""
        return torch.default_generator if self.generator is None else self.generator


class Measured(NamedTuple):
    """log Z, its standard error, rows that moved through a whole ladder, checks that failed."""

    value: float
    stderr: float
    trips: float
    problems: tuple[str, ...]


@torch.no_grad()
def measure(
    rbm: RBM, data: Tensor, chains: int, substeps: int, generator: torch.Generator | None
) -> Measured:
    """log Z by replica exchange, from starts at both ends of the annealing path."""
    scattered = overdispersed_start(rbm, len(data), generator)
    path = Path.of_means(rbm, Path.fit(rbm, torch.cat([data, scattered]), generator).means)
    betas = overlap_schedule(path, RUNGS - 1, generator, chains=PILOT_CHAINS, steps=PILOT_STEPS)
    gaps, half = _subdivided(betas, max(1, substeps * 2 // 5)), max(2, chains // 20)
    upwards, annealed = _anneal_upwards(path, gaps, chains, half, generator)
    few, rest = _pick(data, half // 2, generator), _pick(scattered, half - half // 2, generator)
    downwards = _sweep_downwards(path, gaps, torch.cat([few, rest]), generator)
    rungs, sampler = torch.cat([upwards, downwards], 1), Tempering(betas=betas.tolist())
    state = TemperingState.at(list(rungs), betas.tolist(), path.means)
    early = int(BURN_IN * SWEEPS * substeps)
    state, burn_in = record_exchanges(sampler, rbm, state, early, generator)
    _, record = record_exchanges(sampler, rbm, state, SWEEPS * substeps - early, generator)
    estimate = exchange_estimate(record)
    trips = burn_in.trips + record.trips
    value = path.log_partition_at_zero() + estimate.value
    stderr = math.hypot(estimate.stderr, estimate.drift, estimate.by_start / 2)
    excess = annealed.value - estimate.value, math.hypot(annealed.stderr, stderr)
    problems = _problems(estimate, stderr, trips, excess)
    mixing = _mixing_problems(rbm, record.last, _plain_chains(rbm, data, generator))
    return Measured(value, stderr, float(trips.sum()), (*problems, *mixing))


def _problems(
    estimate: ExchangeEstimate, stderr: float, trips: Tensor, excess: tuple[float, float]
) -> Iterator[str]:
    """The checks of the estimate that failed; excess is that of annealing, with its error."""
    mean = float(trips.double().mean())
    if mean < MIN_TRIPS:
        yield (
            f"{mean:.1f} rows a ladder came from independent units to the model, fewer than "
            f"{MIN_TRIPS:g}: it mixes slowly; use more substeps"
        )
    if abs(estimate.by_start) > STDERRS * 2 * estimate.stderr:
        yield f"starts at either end differ by {estimate.by_start:.2f} nats; use more substeps"
    gap, error = excess
    if gap > STDERRS * error:
        yield (
            f"annealing gave a log Z that is {gap:.2f} nats higher, beyond {STDERRS:g} standard "
            f"errors ({STDERRS * error:.2f}): the ladders miss part of the distribution; use more "
            "substeps"
        )
    if not stderr <= MAX_STDERR:
        yield (
            f"a standard error of {stderr:.2f} nats, above {MAX_STDERR:g}; use more chains or "
            "substeps"
        )


def _plain_chains(rbm: RBM, data: Tensor, generator: torch.Generator | None) -> Tensor:
    """v of Gibbs chains after a short run, half from data, half from scattered starts."""
    n = PLAIN_CHAINS // 2
    v = overdispersed_start(rbm, 2 * n, generator)
    v[:n] = _pick(data, n, generator)
    sampler = Gibbs()
    return sampler.advance(rbm, sampler.init(rbm, v, generator), PLAIN_STEPS, generator).v


def _pick(rows: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    """n of the rows, with replacement."""
    return rows[torch.randint(len(rows), (n,), generator=generator, device=rows.device)]


def _mixing_problems(rbm: RBM, last: Tensor, plain: Tensor) -> Iterator[str]:
    """Signs in E[h | v] that ladders differ from each other, or plain chains from all ladders.

    A plain chain is outside if its distance from the ladders' nearest row is larger than that of
    99% of the ladders' rows from the nearest of another ladder.
    """
    if len(last) < MIN_RECORDED:
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
    distances = torch.cdist(rows, rows).masked_fill_(ladder[:, None] == ladder, math.inf)
    usual = distances.amin(1).quantile(0.99) + 1e-6
    outside = int((torch.cdist(rbm.hidden_mean(plain).double(), rows).amin(1) > usual).sum())
    if outside >= MAX_OUTSIDE:
        yield (
            f"{outside} of {len(plain)} plain chains end where no ladder comes: a part of the "
            "distribution may be missed; use more substeps"
        )


def _subdivided(betas: Tensor, parts: int) -> Tensor:
    """betas of each gap between rungs, cut into equal parts: (rungs - 1, parts + 1)."""
    share = torch.linspace(0, 1, parts + 1, dtype=betas.dtype)
    return torch.lerp(betas[:-1, None], betas[1:, None], share)


def _anneal_upwards(
    path: Path, gaps: Tensor, chains: int, n: int, generator: torch.Generator | None
) -> tuple[Tensor, Estimate]:
    """n rows at each rung, of chains annealed to it and resampled; and log Z of the last rung.

    Z itself is estimated without bias, so its log is seldom too high: by b nats or more with a
    probability of at most e^-b (Markov).
    """
    v = path.start(chains, generator)
    kept, value, variance = [v[:n]], 0.0, 0.0
    for gap in gaps:
        run = anneal(path, gap, v, generator)
        gained = importance_estimate(run.log_weights)
        value, variance = value + gained.value, variance + gained.stderr**2
        share = torch.softmax(run.log_weights, 0)
        chosen = run.v[systematic(share, generator)]
        v, _ = path.conditionals.sweep(chosen, generator, float(gap[-1]))
        kept.append(v[torch.randperm(chains, generator=generator, device=v.device)[:n]])
    return torch.stack(kept), Estimate(value, math.sqrt(variance), 0.0)


def _sweep_downwards(
    path: Path, gaps: Tensor, v: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Rows at each rung, of chains that start at v on the last and sweep down to the first."""
    kept = [v]
    for gap in reversed(gaps.unbind()):
        for beta in gap.flip(0)[1:].tolist():
            v, _ = path.conditionals.sweep(v, generator, beta)
        kept.append(v)
    return torch.stack(kept[::-1])


def systematic(share: Tensor, generator: torch.Generator | None) -> Tensor:
    """Indices by systematic resampling: index i comes n share_i times, rounded up or down."""
    rows = torch.arange(len(share), dtype=torch.float64, device=share.device)
    offset = torch.rand(1, generator=generator, dtype=torch.float64, device=share.device)
    marks = (rows + offset) / len(share)
    return torch.searchsorted(share.cumsum(0), marks).clamp(max=len(share) - 1)
