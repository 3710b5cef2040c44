"""Replica exchange over inverse temperatures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from gibbsite.checks import check_counts, check_memory
from gibbsite.errors import ArgumentError, DataError
from gibbsite.layers import Layer
from gibbsite.model import RBM
from gibbsite.sampling.conditionals import clamped_start
from gibbsite.sampling.ladder import (
    MOST_SWEEPS,
    ExchangeInfo,
    Pairs,
    Passages,
    Replicas,
    equal_parts,
    exchange_and_move,
)
from gibbsite.sampling.path import PILOT_CHAINS, PILOT_STEPS, Path, pilot_rows
from gibbsite.sampling.run import ByFields

LEAST_RUNGS, MOST_RUNGS = 3, 200
FIRST_ROUND, LAST_ROUND = 16, 512
"""Sweeps before the ladder is spaced anew; the number doubles each time, up to the last."""

BASE_ROWS = 500
"""Rows of the data that the base is fitted to."""

START_SWEEPS = 5
"""Sweeps at each rung on the way up from the first, for the rows to start from."""


class Base(NamedTuple):
    """Independent units that a ladder starts from.

    Attributes:
        means: mean v, (visible.width,).
        hidden_means: mean h, (hidden.width,).
        rows: v whose mean h becomes `hidden_means` whenever the ladder is spaced,
            (rows, visible.width); none if that stays.
    """

    means: Tensor
    hidden_means: Tensor
    rows: Tensor

    def check(self, rbm: RBM) -> None:
        """Raise `DataError` unless these may be means of units, and v."""
        _check_means(rbm.visible, self.means)
        _check_means(rbm.hidden, self.hidden_means)
        if not isinstance(self.rows, Tensor):
            raise DataError("rows of the base that are no tensor")
        rbm.visible.check_means(self.rows)

    def followed(self, rbm: RBM) -> Base:
        """The base of a model that may have moved."""
        if len(self.rows) == 0:
            return self
        return self._replace(hidden_means=rbm.hidden_mean(self.rows).mean(0))


class TemperingState(NamedTuple):
    """State of replicas at inverse temperatures from 0 to 1.

    Attributes:
        v: rows at beta 1, which follow the model, (chains, visible.width).
        below: rows at each lower beta, first 0; (chains, visible.width) each.
        betas: from 0 to 1.
        base: the independent units at beta 0.
        passages: record of the exchanges.
        rounds: number of times that the ladder was spaced.
    """

    v: Tensor
    below: list[Tensor]
    betas: list[float]
    base: Base
    passages: Passages
    rounds: int

    @classmethod
    def at(
        cls,
        rows: Sequence[Tensor],
        betas: Sequence[float],
        means: Tensor,
        hidden_means: Tensor,
    ) -> TemperingState:
        """Replicas that have not moved yet, given every rung's rows, with a base that stays."""
        *below, v = rows
        passages = Passages.none(v, len(betas))
        return cls(v, below, list(betas), Base(means, hidden_means, v[:0]), passages, 0)

    def barrier(self) -> float:
        r"""Communication barrier $\Lambda$: the sum of the rejection rates of all pairs of rungs.

        From as many sweeps as there were since the ladder was last spaced.
        """
        return sum(self.passages.rejections())

    def check(self, rbm: RBM) -> None:
        """Raise `DataError` unless the parts fit each other and the model."""
        if not len(self.betas) == len(self.below) + 1 == len(self.passages.rejected) + 1 >= 2:
            raise DataError("a ladder whose parts have different numbers of rungs")
        check_replicas(rbm, self.v, self.below, self.passages)
        real = all(type(beta) is float for beta in self.betas)
        if not (real and self.betas[0] == 0 and self.betas[-1] == 1 and _rises(self.betas)):
            raise DataError("betas that do not rise from 0 to 1")
        self.base.check(rbm)
        if type(self.rounds) is not int or not 0 <= self.rounds <= MOST_SWEEPS:
            raise DataError(f"a ladder spaced {self.rounds!r:.40} times")


@dataclass(frozen=True, eq=False)
class Tempering(ByFields):
    r"""Replica exchange between inverse temperatures; each chain is a ladder of rows of v.

    The rungs lead from independent units with the means of the data, which are drawn anew in every
    step, along the geometric path to the model (`sampling.Path`). A step exchanges rows between
    neighbouring rungs, even and odd pairs by turns (`sampling.ladder`), and moves all of them by a
    Gibbs sweep, in two matrix products for all rungs. Leaves p(v) invariant at the last rung, whose
    rows are the state's ``v``.

    The base must not prefer one of several modes, or the others seldom come round: hence means of
    both layers, and not those of h at the mean v.

    The ladder adapts to equal rejection rates: after 16 steps, then 32, and so on up to every 512,
    the betas are spaced anew along the cumulative barrier, so that the ladder follows a model in
    training. Rows come round from the independent units to the model at a rate of at most
    $1/(2+2\Lambda)$ a step, with three rungs or more (`TemperingState.passages`). Without `rungs`
    there are about $2\Lambda$, more as $\Lambda$ grows.

    Costs as much as one Gibbs chain for each rung. Source: Swendsen and Wang (1986); Geyer (1991);
    Syed, Bouchard-Cote, Deligiannidis, Doucet (2022) for the order, the spacing and the rate.

    Args:
        rungs: number of inverse temperatures, 0 and 1 included, at least 2; None for by need.
        betas: the inverse temperatures themselves, rising from 0 to 1, to keep as they are.
        data: (rows, visible.width), some of the data: the independent units get their mean v and
            the mean h given them, anew as the model moves. None for rows of short Gibbs chains of
            the model at `init`; in training give data.
        means: mean v and mean h of the independent units, (visible.width,) and (hidden.width,), to
            keep as they are.
        clamp: (chains, visible.width), NaN where a unit is free, values that are held elsewhere;
            one row is for all chains. Then p(v) given these is left invariant.

    >>> import torch, gibbsite as gb
    >>> g, rbm = torch.Generator().manual_seed(0), gb.RBM(gb.Bernoulli(4), gb.Bernoulli(2))
    >>> sampler = gb.Tempering()
    >>> state = sampler.init(rbm, torch.zeros(10, 4), g)
    >>> state, info = sampler.step(rbm, state, g)
    >>> state.v.shape, state.betas[0], state.betas[-1]
    (torch.Size([10, 4]), 0.0, 1.0)
    """

    rungs: int | None = None
    betas: Sequence[float] | None = None
    data: Tensor | None = None
    means: tuple[Tensor, Tensor] | None = None
    clamp: Tensor | None = None

    def __post_init__(self) -> None:
        if self.rungs is not None:
            check_counts(2, rungs=self.rungs)
        if self.betas is None:
            return
        betas = [float(beta) for beta in self.betas]
        if self.rungs not in (None, len(betas)):
            raise ArgumentError(f"rungs={self.rungs} with {len(betas)} betas; give only betas")
        if len(betas) < 2 or betas[0] != 0 or betas[-1] != 1 or not _rises(betas):
            raise ArgumentError(f"betas={self.betas!r:.80}: expected to rise from 0 to 1")

    def fixed(self, rbm: RBM, state: TemperingState) -> Tempering:
        """The sampler with the betas of a state, which it keeps."""
        return replace(self, rungs=None, betas=state.betas, data=None, means=state.base[:2])

    @torch.no_grad()
    def init(self, rbm: RBM, v: Tensor, generator: torch.Generator | None = None) -> TemperingState:
        """Ladders whose last rungs hold the rows of v; the others start from independent units."""
        v, clamp = clamped_start(rbm, v, self.clamp)
        rows = v[:0] if self.means else self._base_rows(rbm, generator)
        means = self.means or (rows.mean(0), rbm.hidden_mean(rows).mean(0))
        for layer, values in zip((rbm.visible, rbm.hidden), means, strict=True):
            _check_means(layer, values)
        path = Path.of_means(rbm, *means)
        betas = self._betas(path, generator)
        check_memory(f"{len(v)} ladders of {len(betas)} rungs", len(v) * len(betas), v.shape[1])
        below = _started(path.clamped(clamp), betas, len(v), generator)
        return TemperingState.at([*below, v], betas, *means)._replace(base=Base(*means, rows))

    def step(
        self, rbm: RBM, state: TemperingState, generator: torch.Generator | None = None
    ) -> tuple[TemperingState, ExchangeInfo]:
        """One exchange and one sweep of every rung."""
        return self._moved(rbm, self.ladder(rbm, state), state, generator)

    def advance(
        self, rbm: RBM, state: TemperingState, steps: int, generator: torch.Generator | None = None
    ) -> TemperingState:
        """The state after `steps` steps, one or more; faster than one by one."""
        ladder, rounds = self.ladder(rbm, state), state.rounds
        for _ in range(steps):
            if state.rounds != rounds:
                ladder, rounds = self.ladder(rbm, state), state.rounds
            state, _ = self._moved(rbm, ladder, state, generator)
        return state

    def ladder(self, rbm: RBM, state: TemperingState) -> Temperatures:
        """The rungs of a state."""
        clamp = None if self.clamp is None else rbm.visible.coerce(self.clamp)
        path = Path.of_means(rbm, *state.base[:2]).clamped(clamp)
        return Temperatures(path, state.betas, len(state.v))

    def _moved(
        self,
        rbm: RBM,
        ladder: Temperatures,
        state: TemperingState,
        generator: torch.Generator | None,
    ) -> tuple[TemperingState, ExchangeInfo]:
        replicas = Replicas(state.below, state.v, state.passages)
        (below, v, passages), info = exchange_and_move(ladder, replicas, generator)
        state = state._replace(v=v, below=below, passages=passages)
        due = passages.sweeps >= min(LAST_ROUND, FIRST_ROUND << min(state.rounds, 20))
        return (self._spaced(rbm, state) if due and self.betas is None else state), info

    def _base_rows(self, rbm: RBM, generator: torch.Generator | None) -> Tensor:
        """Rows whose means the independent units get: some of the data, or of short chains."""
        if self.data is None:
            return pilot_rows(rbm, generator)
        data = rbm.visible.check_data(self.data)
        chosen = torch.randint(len(data), (BASE_ROWS,), generator=generator, device=data.device)
        return rbm.visible.observe(data[chosen], generator)

    def _betas(self, path: Path, generator: torch.Generator | None) -> list[float]:
        """The betas given, or such as a pilot run along the path finds."""
        if self.betas is not None:
            return [float(beta) for beta in self.betas]
        grid = torch.linspace(0, 1, PILOT_STEPS + 1).tolist()
        lengths = _pilot(path, grid, generator)
        rungs = self.rungs or _rungs_for(sum(lengths))
        return equal_parts(grid, lengths, rungs - 1)

    def _spaced(self, rbm: RBM, state: TemperingState) -> TemperingState:
        """The state with betas spaced to equal rejection, and more of them if it takes more."""
        rungs = self.rungs or max(len(state.betas), _rungs_for(state.barrier()))
        betas = equal_parts(state.betas, state.passages.rejections(), rungs - 1)
        below, fresh = state.below, state.passages.fresh
        if rungs != len(state.betas):  # new rungs start with the rows of the nearest old one
            old = torch.tensor(state.betas[:-1], dtype=torch.float64)
            nearest = [int((old - beta).abs().argmin()) for beta in betas[:-1]]
            below, fresh = [below[k] for k in nearest], [fresh[k] for k in nearest]
        rejected = [0.0] * (rungs - 1)
        passages = state.passages._replace(fresh=fresh, rejected=rejected, sweeps=0)
        return state._replace(
            below=below,
            betas=betas,
            base=state.base.followed(rbm),
            passages=passages,
            rounds=state.rounds + 1,
        )


class Temperatures:
    """The ladder of a path at given betas, with so many rows on each rung."""

    def __init__(self, path: Path, betas: Sequence[float], chains: int) -> None:
        clamp = path.clamp
        every = clamp if clamp is None or len(clamp) == 1 else clamp.repeat(len(betas), 1)
        self.path = path.clamped(every)
        beta = torch.tensor(betas, dtype=path.rbm.weight.dtype, device=path.rbm.weight.device)
        self._beta = beta[:, None].expand(-1, chains).contiguous()

    def log_partition(self) -> float:
        """log Z of the independent units at beta 0, in nats."""
        return self.path.log_partition_at_zero()

    def hidden_inputs(self, v: Tensor) -> Tensor:
        """Inputs of the hidden layer at beta 1, which are those of every rung, in one product."""
        return self.path.conditionals.hidden_inputs(v.flatten(0, 1)).view(*v.shape[:2], -1)

    def pairs(self, first: int, v: Tensor, inputs: Tensor) -> Pairs:
        """The rows of neighbouring rungs, two and two, which differ in beta alone."""
        n = (len(v) - first) // 2
        both = slice(first, first + 2 * n)
        ends = (self._beta[k : k + 2 * n : 2].repeat_interleave(2, 0) for k in (first, first + 1))
        old, new = (beta.reshape(-1, 1) for beta in ends)
        rows = v[both].flatten(0, 1), inputs[both].flatten(0, 1)
        change = self.path.log_ratio(*rows, old, new).view(n, 2, -1)
        own = inputs[both].view(n, 2, *inputs.shape[1:])
        return Pairs(change[:, 0], change[:, 1], own[:, 1], own[:, 0])

    def moved(self, inputs: Tensor, generator: torch.Generator | None) -> Tensor:
        """v of each rung after a Gibbs sweep at its beta."""
        model, beta = self.path.conditionals, self._beta.view(-1, 1)
        h = model.draw_hidden(inputs.flatten(0, 1), generator, beta)
        v = model.draw_visible(model.visible_inputs(h), generator, beta)
        return v.view(*inputs.shape[:2], -1)


def _check_means(layer: Layer, means: Tensor) -> None:
    """Raise `DataError` unless these may be means of the units, (width,)."""
    if not isinstance(means, Tensor) or means.ndim != 1:
        raise DataError(f"means of the base, {means!r:.80}: expected one a column")
    layer.check_means(means[None])


def _pilot(path: Path, grid: list[float], generator: torch.Generator | None) -> list[float]:
    r"""Rejection rate between each pair of neighbours of a fine grid of betas.

    By that of normal log ratios of standard deviation s at either end: $s/\sqrt{\pi}$, where small.
    """
    v, lengths = path.start(PILOT_CHAINS, generator), []
    for old, new in itertools.pairwise(grid):
        inputs = path.conditionals.hidden_inputs(v)
        lengths.append(path.log_ratio(v, inputs, old, new).std().item() / math.sqrt(math.pi))
        h = path.conditionals.draw_hidden(inputs, generator, new)
        v = path.conditionals.draw_visible(path.conditionals.visible_inputs(h), generator, new)
    return lengths


def _started(
    path: Path, betas: Sequence[float], chains: int, generator: torch.Generator | None
) -> list[Tensor]:
    """Rows for every rung but the last, each from those of the rung below."""
    rows = [path.conditionals.clamped(path.start(chains, generator))]
    for beta in betas[1:-1]:
        v = rows[-1]
        for _ in range(START_SWEEPS):
            v, _ = path.conditionals.sweep(v, generator, beta)
        rows.append(v)
    return rows


def check_replicas(rbm: RBM, v: Tensor, below: Sequence[Tensor], passages: Passages) -> None:
    """Raise `DataError` unless every rung holds as many states of the visible layer as the last."""
    for rows in (v, *below):
        if not isinstance(rows, Tensor):
            raise DataError(f"a rung with rows of type {type(rows).__name__}: expected a tensor")
        rbm.visible.check_states(rows)
        if not len(rows) == len(v) == len(passages.trips):
            raise DataError(f"rungs of {len(rows)} and of {len(v)} rows")


def _rungs_for(barrier: float) -> int:
    return max(LEAST_RUNGS, min(MOST_RUNGS, math.ceil(2 * barrier) + 1))


def _rises(betas: Sequence[float]) -> bool:
    return all(old < new for old, new in itertools.pairwise(betas))
