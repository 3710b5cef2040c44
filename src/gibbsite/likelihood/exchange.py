"""log Z by replica exchange: Bennett's acceptance ratio between neighbouring rungs of a ladder."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gibbsite import ops
from gibbsite.checks import check_counts
from gibbsite.errors import ArgumentError
from gibbsite.likelihood.monitors import negative_free_energies
from gibbsite.likelihood.weights import balance_point
from gibbsite.model import RBM
from gibbsite.sampling import LadderSampler

KEPT_EVERY = 10
"""Sweeps between the rows of the last rung that are recorded."""


class Exchanges(NamedTuple):
    """Record of the exchanges of a set of ladders.

    Attributes:
        up: log p*(v), unnormalised, at the rung above less that at its own, of rows on each rung
            but the last, (times, rungs - 1, ladders), float64.
        down: log p*(v) at its own rung less that at the rung below, of rows on each rung but the
            first, of the same shape.
        trips: passages from the first rung to the last, (ladders,).
        last: rows on the last rung at every tenth sweep, (sweeps / 10, ladders, visible.width).
    """

    up: Tensor
    down: Tensor
    trips: Tensor
    last: Tensor


@torch.no_grad()
def record_exchanges(
    sampler: LadderSampler,
    rbm: RBM,
    state: Any,
    sweeps: int,
    generator: torch.Generator | None = None,
) -> tuple[Any, Exchanges]:
    """The state after so many sweeps, two or more, and the record of their exchanges.

    The ladder must not change meanwhile: give a sampler with fixed rungs.
    """
    rungs, ladders = len(state.below) + 1, len(state.v)
    times = sweeps if rungs == 2 else sweeps // 2  # a rung is in one pair at a time
    ups, downs = state.v.new_empty(2, times, rungs - 1, ladders, dtype=torch.float64)
    before, last = state.passages.trips, []
    with ops.fitting_threads(rbm.weight.numel() * rungs * ladders):
        for sweep in range(sweeps):
            state, info = sampler.step(rbm, state, generator)
            time = sweep if rungs == 2 else sweep // 2
            if time < times:
                ups[time, info.first :: 2], downs[time, info.first :: 2] = info.up, info.down
            if sweep % KEPT_EVERY == 0:
                last.append(state.v)
    trips = state.passages.trips - before
    return state, Exchanges(ups, downs, trips, torch.stack(last))


class ExchangeEstimate(NamedTuple):
    """log Z at the last rung less log Z at the first, in nats, with differences between parts."""

    value: float
    stderr: float
    """From the spread between ladders, which are independent."""
    drift: float
    """Second half of the sweeps less the first."""
    by_start: float
    """First half of the ladders less the second."""


def exchange_estimate(record: Exchanges) -> ExchangeEstimate:
    """Bennett's acceptance ratio between neighbouring rungs, summed over the rungs.

    With one ladder the error is unknown: infinite.
    """
    times, _, ladders = record.up.shape

    def total(rows: slice, which: slice) -> float:
        return float(_bennett(record.up[rows, :, which], record.down[rows, :, which]).sum())

    every, half, middle = slice(None), times // 2, ladders // 2
    steps = _bennett(record.up, record.down)
    if ladders == 1:
        return ExchangeEstimate(float(steps.sum()), math.inf, 0.0, 0.0)
    # the influence of each ladder on the value, by the derivative of Bennett's equation
    above = torch.sigmoid(steps[:, None] - record.up)
    below = torch.sigmoid(record.down - steps[:, None])
    information = (above * (1 - above)).sum((0, 2)) + (below * (1 - below)).sum((0, 2))
    influence = ((below - above).sum(0) / information.clamp(min=1e-300)[:, None]).sum(0)
    return ExchangeEstimate(
        float(steps.sum()),
        math.sqrt(float((influence**2).sum()) * ladders / (ladders - 1)),
        total(slice(half, None), every) - total(slice(half), every),
        total(every, slice(middle)) - total(every, slice(middle, None)),
    )


def exchange_log_partition(
    sampler: LadderSampler,
    rbm: RBM,
    state: Any,
    sweeps: int,
    generator: torch.Generator | None = None,
) -> ExchangeEstimate:
    r"""log Z of the model, in nats, from so many sweeps, two or more, that go on from a state.

    log Z of the first rung, which is known, and the log ratios between neighbours: each of them
    two-sided, from rows of both rungs, and unbiased but for the logarithm if the replicas are at
    equilibrium. Errors are those between ladders and between parts; a mode in which no row has
    been is missed by all. Source: Bennett (1976).

    >>> import torch, gibbsite as gb
    >>> rbm, g = gb.RBM(gb.Bernoulli(4), gb.Bernoulli(2)), torch.Generator().manual_seed(0)
    >>> sampler = gb.Tempering()
    >>> state = sampler.init(rbm, gb.random_start(rbm, 10, g), g)
    >>> round(exchange_log_partition(sampler, rbm, state, 20, g).value, 3)  # 6 log 2
    4.159
    """
    fixed = sampler.fixed(rbm, state)
    _, record = record_exchanges(fixed, rbm, state, sweeps, generator)
    estimate = exchange_estimate(record)
    return estimate._replace(value=fixed.ladder(rbm, state).log_partition() + estimate.value)


@dataclass
class ExchangeLikelihood:
    """Callback for `fit` with a ladder sampler: log-likelihood of data from the ladders themselves.

    After each `every`-th epoch a copy of the replicas of training makes `sweeps` sweeps, from whose
    exchanges log Z follows (`exchange_log_partition`): a two-sided estimate at the cost of some
    sweeps, where annealing afresh would cost thousands. Training is left as it is. Adds to the
    record ``exchange_log_likelihood``, ``exchange_stderr`` (of log Z: from the spread between
    ladders and the drift between halves) and ``exchange_trips`` (rows a ladder that came from the
    first rung to the last, since training began). Grey data are drawn anew each time.

    The replicas follow a model that moves, so the figure lags behind it while the rate is high.

    Args:
        data: (rows, visible.width).
        sampler: that of the gradient estimator.
        sweeps: 2 or more.

    >>> import torch, gibbsite as gb
    >>> digits, g = gb.datasets.load("digits"), torch.Generator().manual_seed(0)
    >>> rbm, sampler = gb.RBM(gb.Bernoulli(64), gb.Bernoulli(8)), gb.Tempering()
    >>> shown = gb.ExchangeLikelihood(digits.test, sampler, generator=g)
    >>> history = gb.fit(rbm, digits.train, epochs=2, gradient=gb.PCD(20, sampler=sampler),
    ...                  generator=torch.Generator().manual_seed(1), callbacks=[shown])
    >>> len(history.column("exchange_log_likelihood"))
    2
    """

    data: Tensor
    sampler: LadderSampler
    sweeps: int = 100
    generator: torch.Generator | None = None
    every: int = 1
    _state: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_counts(2, sweeps=self.sweeps)
        check_counts(every=self.every)

    def after_update(self, rbm: RBM, update: Any) -> None:
        """Remember the replicas."""
        self._state = update.state

    @torch.no_grad()
    def __call__(self, rbm: RBM, record: dict[str, float]) -> dict[str, float]:
        if int(record.get("epoch", 0)) % self.every:
            return {}
        state = _replicas(self._state)
        if state is None:
            raise ArgumentError(
                "ExchangeLikelihood without ladders: train with a gradient such as "
                "gb.PCD(sampler=gb.Tempering())"
            )
        estimate = exchange_log_partition(self.sampler, rbm, state, self.sweeps, self.generator)
        v = rbm.visible.observe(rbm.visible.check_data(self.data), self.generator)
        return {
            "exchange_log_likelihood": negative_free_energies(rbm, v).mean().item()
            - estimate.value,
            "exchange_stderr": math.hypot(estimate.stderr, estimate.drift / 2),
            "exchange_trips": state.passages.trips.double().mean().item(),
        }


def _replicas(state: Any) -> Any:
    """The replicas within the state of a gradient estimator; None if there are none."""
    if hasattr(state, "passages") and hasattr(state, "below"):
        return state
    if isinstance(state, tuple):
        return next((found for part in state if (found := _replicas(part)) is not None), None)
    return None


def _bennett(up: Tensor, down: Tensor) -> Tensor:
    """log Z of each rung but the first less that of the rung below, (rungs - 1,)."""
    return balance_point(*(x.transpose(0, 1).flatten(1) for x in (up, down)))
