"""Replica exchange: the moves and records that every ladder of distributions has in common.

A ladder leads from independent units, its first rung, to the model, its last. A replica is a ladder
of chains, one row of v on each rung. Neighbouring rungs exchange rows, then every row moves by a
Gibbs sweep of its own rung.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gibbsite.errors import DataError
from gibbsite.model import RBM

MOST_SWEEPS = 2**53
"""Sweeps up to which their number, and rates made of it, are exact in float64."""


class Pairs(NamedTuple):
    """Rows of pairs of neighbouring rungs, as both rungs see them.

    Attributes:
        up: log p*(v), unnormalised, at the upper rung less that at the lower, of the rows on the
            lower; (pairs, chains), float64. With F(v), summed over h, an exchange needs no h.
        down: the same difference, of the rows on the upper.
        low: inputs of the hidden layer at the lower rung, of the rows on the upper,
            (pairs, chains, hidden.width).
        high: inputs of the hidden layer at the upper rung, of the rows on the lower.
    """

    up: Tensor
    down: Tensor
    low: Tensor
    high: Tensor


class Ladder(Protocol):
    """Distributions of v, rung by rung; rows and inputs are (rungs, chains, width)."""

    def log_partition(self) -> float:
        """log Z of the first rung, in nats."""
        ...

    def hidden_inputs(self, v: Tensor) -> Tensor:
        """Inputs of the hidden layer of each rung, given the rows on it."""
        ...

    def pairs(self, first: int, v: Tensor, inputs: Tensor) -> Pairs:
        """The rows of rungs first and first + 1, first + 2 and first + 3, and so on."""
        ...

    def moved(self, inputs: Tensor, generator: torch.Generator | None) -> Tensor:
        """v after h is drawn given its inputs, then v; independent of them on the first rung.

        The inputs may be overwritten.
        """
        ...


class LadderSampler(Protocol):
    """A `Sampler` whose chains are ladders; its states have ``below`` and ``passages`` too."""

    def init(self, rbm: RBM, v: Tensor, generator: torch.Generator | None = None) -> Any: ...

    def step(
        self, rbm: RBM, state: Any, generator: torch.Generator | None = None
    ) -> tuple[Any, ExchangeInfo]: ...

    def ladder(self, rbm: RBM, state: Any) -> Ladder:
        """The rungs of a state."""
        ...

    def fixed(self, rbm: RBM, state: Any) -> LadderSampler:
        """The sampler with the rungs of a state, which it keeps."""
        ...


class ExchangeInfo(NamedTuple):
    """Report of an exchange between rungs `first` and first + 1, first + 2 and first + 3, ...

    Attributes:
        up, down: as in `Pairs`, (pairs, chains).
    """

    first: int
    up: Tensor
    down: Tensor


class Passages(NamedTuple):
    """Record of the exchanges of a set of replicas.

    Attributes:
        fresh: True for rows that came from the first rung since they were on the last, (chains,)
            for each rung but the last.
        trips: passages of rows from the first rung to the last, (chains,), int64.
        age: sweeps so far.
        rejected: sums of the rejection rate of each pair of rungs, since the ladder was changed.
        sweeps: sweeps since the ladder was changed.
    """

    fresh: list[Tensor]
    trips: Tensor
    age: int
    rejected: list[float]
    sweeps: int

    @classmethod
    def none(cls, v: Tensor, rungs: int) -> Passages:
        """The record of replicas that have not moved yet."""
        stale = torch.zeros(len(v), dtype=torch.bool, device=v.device)
        fresh = [~stale, *(stale.clone() for _ in range(rungs - 2))]
        return cls(fresh, torch.zeros_like(stale, dtype=torch.int64), 0, [0.0] * (rungs - 1), 0)

    def after(self, first: int, accepted: Tensor, rejections: Sequence[float]) -> Passages:
        """The record after another sweep, given which of its exchanges were made, and their rates.

        Args:
            first: lowest rung of the pairs, of each of which (pairs, chains) tells.
        """
        fresh = torch.stack([*self.fresh, torch.zeros_like(self.fresh[0])])
        lower, upper = (fresh[first + k : first + 2 * len(accepted) + k - 1 : 2] for k in (0, 1))
        low = torch.where(accepted, upper, lower)
        upper.copy_(torch.where(accepted, lower, upper))
        lower.copy_(low)
        trips = self.trips + fresh[-1]
        fresh[0] = True
        rejected = list(self.rejected)
        for pair, rate in enumerate(rejections):
            rejected[first + 2 * pair] += rate
        return Passages(list(fresh[:-1]), trips, self.age + 1, rejected, self.sweeps + 1)

    def rejections(self) -> list[float]:
        """Mean rejection rate of each pair of rungs since the ladder was changed; 0 if untested."""
        if len(self.rejected) == 1:  # the only pair is tested in every sweep
            return [self.rejected[0] / max(1, self.sweeps)]
        tests = [(self.sweeps + 1 - pair % 2) // 2 for pair in range(len(self.rejected))]
        return [x / max(1, n) for x, n in zip(self.rejected, tests, strict=True)]

    def trip_rate(self) -> float:
        """Passages from the first rung to the last, a sweep and replica."""
        return self.trips.double().mean().item() / max(1, self.age)

    def check(self, rbm: RBM) -> None:
        """Raise `DataError` unless the record may be of replicas."""
        trips = self.trips
        if not isinstance(trips, Tensor) or (trips.ndim, trips.dtype) != (1, torch.int64):
            raise DataError("a record of exchanges without whole counts of trips, one a chain")
        if len(self.fresh) != len(self.rejected) or not all(map(self._is_row_of_flags, self.fresh)):
            raise DataError("a record of exchanges whose rows do not fit its rungs")
        counts = [*trips.tolist(), self.sweeps, self.age]
        whole = all(type(x) is int for x in counts)
        if not whole or min(counts) < 0 or max(counts) > self.age or self.age > MOST_SWEEPS:
            raise DataError("a record of exchanges with impossible counts")
        if not all(type(x) is float and 0 <= x <= self.sweeps for x in self.rejected):
            raise DataError("a record of exchanges with impossible rates of rejection")

    def _is_row_of_flags(self, x: object) -> bool:
        return isinstance(x, Tensor) and x.dtype == torch.bool and x.shape == self.trips.shape


class Replicas(NamedTuple):
    """Rows on every rung but the last, first rung first, and on the last; with their record."""

    below: list[Tensor]
    v: Tensor
    passages: Passages


@torch.no_grad()
def exchange_and_move(
    ladder: Ladder, replicas: Replicas, generator: torch.Generator | None = None
) -> tuple[Replicas, ExchangeInfo]:
    r"""Let even and odd pairs of rungs, by turns, exchange rows; then move all rows.

    Rows v below and v' above change places with probability

    $$\min\Bigl(1, \frac{p^*_{k+1}(v)\,p^*_k(v')}{p^*_k(v)\,p^*_{k+1}(v')}\Bigr)$$

    of the marginals of v, after which h is drawn anew. The fixed order of even and odd lets a row
    go on in one direction, so that round trips take a time in proportion to the number of rungs and
    not to its square: Syed, Bouchard-Cote, Deligiannidis, Doucet (2022), Non-reversible parallel
    tempering, J. R. Stat. Soc. B 84.
    """
    passages, rungs = replicas.passages, len(replicas.below) + 1
    first = passages.sweeps % 2 if rungs > 2 else 0
    rows = torch.stack([*replicas.below, replicas.v])
    inputs = ladder.hidden_inputs(rows)
    pairs = ladder.pairs(first, rows, inputs)
    gain = pairs.up - pairs.down
    chance = torch.rand(gain.shape, generator=generator, device=gain.device, dtype=gain.dtype)
    accepted = chance.log_() < gain
    lower, upper = (slice(first + k, first + 2 * len(gain) + k - 1, 2) for k in (0, 1))
    chosen = accepted[..., None]
    inputs[lower], inputs[upper] = (
        torch.where(chosen, pairs.low, inputs[lower]),
        torch.where(chosen, pairs.high, inputs[upper]),
    )
    *below, v = ladder.moved(inputs, generator)
    rejections = (1 - gain.clamp(max=0).exp_().mean(1)).tolist()
    passages = passages.after(first, accepted, rejections)
    return Replicas(below, v, passages), ExchangeInfo(first, pairs.up, pairs.down)


def replicas_in(state: Any) -> Any:
    """The state of a ladder sampler within that of a gradient estimator; None if there is none."""
    if hasattr(state, "passages") and hasattr(state, "below"):
        return state
    if isinstance(state, tuple):
        return next((found for part in state if (found := replicas_in(part)) is not None), None)
    return None


def equal_parts(ends: Sequence[float], lengths: Sequence[float], parts: int) -> list[float]:
    """Points that cut [ends[0], ends[-1]] into parts of equal length.

    The length from the first end up to each is interpolated by a monotone cubic (Fritsch and
    Butland 1984); `lengths` are those between neighbouring ends, 0 or more.
    """
    x = torch.tensor(ends, dtype=torch.float64)
    steps = torch.tensor(lengths, dtype=torch.float64)
    steps = steps + 0.01 * steps.mean() + 1e-9  # no step is free
    y = torch.cat([steps.new_zeros(1), steps.cumsum(0)])
    targets = torch.linspace(0, 1, parts + 1, dtype=torch.float64)[1:-1] * y[-1]
    low, high = _monotone_inverse(x, y, targets)
    return [ends[0], *((low + high) / 2).tolist(), ends[-1]]


def _monotone_inverse(x: Tensor, y: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Ends of short intervals in which the monotone cubic through (x, y) takes the targets."""
    width, slope = x.diff(), y.diff() / x.diff()
    inner = 2 * slope[:-1] * slope[1:] / (slope[:-1] + slope[1:])  # harmonic: never overshoots
    tangent = torch.cat([slope[:1], inner, slope[-1:]])
    index = torch.searchsorted(y, targets).clamp(1, len(y) - 1) - 1
    low, high = torch.zeros_like(targets), torch.ones_like(targets)
    for _ in range(50):
        t = (low + high) / 2
        rise = (3 * t**2 - 2 * t**3) * slope[index]
        bends = t * (1 - t) ** 2 * tangent[index] + t**2 * (t - 1) * tangent[index + 1]
        below = y[index] + width[index] * (rise + bends) < targets
        low, high = torch.where(below, t, low), torch.where(below, high, t)
    return x[index] + width[index] * low, x[index] + width[index] * high
