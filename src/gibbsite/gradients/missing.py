"""Rows with missing entries: a gradient estimator that averages over them by clamped chains."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gibbsite.checks import check_counts
from gibbsite.errors import ArgumentError, DataError
from gibbsite.gradients.base import Batch, Gradient, Info
from gibbsite.model import RBM
from gibbsite.rows import Rows
from gibbsite.sampling import Conditionals


class MarginalisedState(NamedTuple):
    """The wrapped estimator's state, and the states of the chains of missing entries.

    Attributes:
        inner: of the wrapped estimator.
        entries: values of all missing entries, row by row, (missing,); None if they do not persist.
    """

    inner: Any
    entries: Tensor | None

    def check(self, rbm: RBM) -> None:
        """Raise `DataError` unless the entries are finite and in the interval of the units."""
        if self.entries is None:
            return
        low, high = rbm.visible.interval
        inside = (self.entries >= low) & (self.entries <= high) & torch.isfinite(self.entries)
        if not bool(inside.all()):
            raise DataError(f"missing entries filled with values outside of [{low:g}, {high:g}]")


@dataclass(frozen=True)
class Marginalised:
    r"""A gradient estimator for rows with missing entries, which are averaged over, not imputed.

    $$\partial_\theta \log p(v_o) = -\langle\partial_\theta E\rangle_{p(v_m,h\mid v_o)}
      + \langle\partial_\theta E\rangle_{p(v,h)}$$

    For each row a chain on its missing entries $v_m$, with the observed ones $v_o$ held, makes
    `steps` Gibbs sweeps at each visit of the row; h is then averaged exactly given v, and the
    wrapped estimator goes on from the completed rows. In `fit` the chains persist from visit to
    visit, as those of `PCD` do; without row numbers they start afresh, from the visible layer
    alone. The positive phase is unbiased where the chains are at equilibrium. `fit` wraps an
    estimator so by itself where data hold NaN, except for those that sum over missing entries
    themselves (`ExactGradient`); wrap it yourself for more steps. It must be the outermost one.
    Sources: Little, Rubin (2002), Statistical analysis with missing data, 6.2, on what is ignored;
    Tieleman (2008) for persistent chains, here of the positive phase.

    Args:
        gradient: the estimator that is wrapped.
        steps: Gibbs sweeps of a row's missing entries at each visit.
        persistent: False to start chains afresh at each visit.
        rows, starts: the data, and the number of missing entries before each row, (rows + 1,);
            set by `fit`.

    Raises `ArgumentError` for steps below 1, and for chains of data of another size.

    >>> import torch, gibbsite as gb
    >>> data = gb.datasets.load("bars-and-stripes").train.clone()
    >>> data[::2, 4] = torch.nan
    >>> rbm, g = gb.RBM(gb.Bernoulli(9), gb.Bernoulli(4)), torch.Generator().manual_seed(0)
    >>> gradient = gb.Marginalised(gb.PCD(chains=20), steps=2)
    >>> history = gb.fit(rbm, data, gradient=gradient, epochs=5, generator=g)
    >>> history.state.entries.shape
    torch.Size([8])
    """

    gradient: Gradient
    steps: int = 1
    persistent: bool = True
    rows: Rows | None = None
    starts: Tensor | None = None

    def __post_init__(self) -> None:
        check_counts(steps=self.steps)

    def of(self, rbm: RBM, rows: Rows) -> Marginalised:
        """The estimator for these rows: it knows where the missing entries of each begin."""
        if not self.persistent:
            return self
        blocks = rows.blocks(rbm.visible.width)
        counts = [torch.isnan(rbm.visible.coerce(block)).sum(1) for block in blocks]
        ends = torch.cat(counts).cumsum(0)
        return replace(self, rows=rows, starts=torch.cat([ends.new_zeros(1), ends]))

    def init(self, rbm: RBM, generator: torch.Generator | None = None) -> MarginalisedState:
        """The wrapped state, and missing entries drawn without the weights."""
        inner = self.gradient.init(rbm, generator)
        return MarginalisedState(inner, self._fresh_entries(rbm, generator))

    def adopt(
        self, rbm: RBM, state: Any, generator: torch.Generator | None = None
    ) -> MarginalisedState:
        """A copy of a state to go on from: of this estimator, or of the wrapped one alone."""
        if not isinstance(state, MarginalisedState):
            return MarginalisedState(state, self._fresh_entries(rbm, generator))
        if self.starts is None or state.entries is None:
            return state._replace(entries=self._fresh_entries(rbm, generator))
        if len(state.entries) != int(self.starts[-1]):
            raise ArgumentError(
                f"a state with {len(state.entries)} missing entries for data that miss "
                f"{int(self.starts[-1])}; go on with the data that it was made with"
            )
        return state._replace(entries=state.entries.to(rbm.weight.detach()).clone())

    @torch.no_grad()
    def _fresh_entries(self, rbm: RBM, generator: torch.Generator | None) -> Tensor | None:
        """Missing entries drawn from the visible layer alone, given those observed in a row."""
        if self.rows is None:
            return None
        blocks = map(rbm.visible.coerce, self.rows.blocks(rbm.visible.width))
        return torch.cat([_fresh(rbm, v, generator)[torch.isnan(v)] for v in blocks])

    @torch.no_grad()
    def step(
        self,
        rbm: RBM,
        batch: Batch,
        state: MarginalisedState,
        generator: torch.Generator | None = None,
    ) -> tuple[dict[str, Tensor], MarginalisedState, Info]:
        """The gradient of completed rows; the state's entries are overwritten by the new ones."""
        v = batch.v
        if batch.observed is not None:
            v = self._completed(rbm, batch, batch.observed, state.entries, generator)
        complete = replace(batch, v=v, observed=None)
        gradient, inner, info = self.gradient.step(rbm, complete, state.inner, generator)
        return gradient, state._replace(inner=inner), info

    def _completed(
        self,
        rbm: RBM,
        batch: Batch,
        observed: Tensor,
        entries: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        """The rows with their missing entries drawn, after `steps` sweeps of them."""
        rows = (~observed).any(1).nonzero()[:, 0]
        if len(rows) == 0:
            return batch.v
        some = len(rows) < len(batch.v)
        missing = ~observed[rows] if some else ~observed
        clamp = (batch.v[rows] if some else batch.v).masked_fill(missing, torch.nan)
        model = Conditionals(rbm, clamp=clamp)
        if entries is None or batch.index is None:
            places, v = None, _fresh(rbm, clamp, generator)
        else:
            places = self.places(batch.index.to(rows.device)[rows], missing)
            v = clamp.masked_scatter(missing, entries[places])
        for _ in range(self.steps):
            v, _ = model.sweep(v, generator)
        if entries is not None and places is not None:
            entries[places] = v[missing]
        return batch.v.index_copy(0, rows, v) if some else v

    def row_starts(self, index: Tensor) -> Tensor:
        """Number of missing entries before those of each row of an index."""
        assert self.starts is not None, "only fit knows them"
        return self.starts.to(index.device)[index]

    def places(self, index: Tensor, missing: Tensor) -> Tensor:
        """Places among all entries of those that rows of this index miss, row by row."""
        places = self.row_starts(index)[:, None] + missing.cumsum(1) - 1
        return places[missing]


def _fresh(rbm: RBM, clamp: Tensor, generator: torch.Generator | None) -> Tensor:
    """Rows with what is NaN drawn from the visible layer alone, given the rest."""
    draws = rbm.visible.sample(rbm.visible.zero_inputs(len(clamp)), generator)
    return rbm.visible.clamped(draws, clamp)


def marginalised(
    gradient: Any, rbm: RBM, rows: Rows | None, state: Any, generator: torch.Generator | None
) -> tuple[Any, Any]:
    """An estimator and its state made ready: for rows with missing entries, or None for complete.

    `Marginalised` is put around it or, where rows are complete, taken off. A state of None is new.
    """
    if rows is None:
        complete = gradient.gradient if isinstance(gradient, Marginalised) else gradient
        state = state.inner if isinstance(state, MarginalisedState) else state
        return complete, complete.init(rbm, generator) if state is None else state
    if not getattr(gradient, "marginalises", False):
        wrapped = gradient if isinstance(gradient, Marginalised) else Marginalised(gradient)
        gradient = wrapped.of(rbm, rows)
        state = None if state is None else gradient.adopt(rbm, state, generator)
    return gradient, gradient.init(rbm, generator) if state is None else state
