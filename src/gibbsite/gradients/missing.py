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
        finite = torch.isfinite(self.entries)
        inside = finite & (self.entries >= low) & (self.entries <= high)
        if not bool((inside | torch.isnan(self.entries)).all()):
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
        starts: (rows + 1,), number of missing entries before each row; set by `fit`.

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
        return replace(self, starts=torch.cat([ends.new_zeros(1), ends]))

    def init(self, rbm: RBM, generator: torch.Generator | None = None) -> MarginalisedState:
        """The wrapped state; missing entries are NaN up to the first visit of their row."""
        entries = None
        if self.starts is not None:
            entries = rbm.weight.new_full((int(self.starts[-1]),), torch.nan)
        return MarginalisedState(self.gradient.init(rbm, generator), entries)

    def adopt(self, rbm: RBM, state: Any) -> MarginalisedState:
        """A copy of a state to go on from: of this estimator, or of the wrapped one alone."""
        fresh = (
            None if self.starts is None else rbm.weight.new_full((int(self.starts[-1]),), torch.nan)
        )
        if not isinstance(state, MarginalisedState):
            return MarginalisedState(state, fresh)
        if fresh is None or state.entries is None:
            return state._replace(entries=fresh)
        if state.entries.shape != fresh.shape:
            raise ArgumentError(
                f"a state with {len(state.entries)} missing entries for data that miss "
                f"{len(fresh)}; go on with the data that it was made with"
            )
        return state._replace(entries=state.entries.to(fresh).clone())

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
            entries = clamp.new_full((int(missing.sum()),), torch.nan)
            places = torch.arange(len(entries), device=clamp.device)
        else:
            places = self._places(batch.index.to(rows.device)[rows], missing)
        v = self._start(model, clamp, missing, entries[places], generator)
        for _ in range(self.steps):
            v, _ = model.sweep(v, generator)
        entries[places] = v[missing]
        return batch.v.index_copy(0, rows, v) if some else v

    def _start(
        self,
        model: Conditionals,
        clamp: Tensor,
        missing: Tensor,
        kept: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Rows to sweep from: as kept, or drawn from the visible layer alone at a first visit."""
        if bool(kept.isnan().any()):
            visible = model.rbm.visible
            fresh = model.clamped(visible.sample(visible.zero_inputs(len(clamp)), generator))
            kept = torch.where(kept.isnan(), fresh[missing], kept)
        return clamp.masked_scatter(missing, kept)

    def _places(self, index: Tensor, missing: Tensor) -> Tensor:
        """Places among all entries of those that rows of this index miss, row by row."""
        assert self.starts is not None
        starts = self.starts.to(index.device)[index]
        places = starts[:, None] + missing.cumsum(1) - 1
        return places[missing]


def marginalised(gradient: Any, rbm: RBM, rows: Rows) -> Any:
    """The estimator, or `Marginalised` around it, made ready for rows with missing entries."""
    if getattr(gradient, "marginalises", False):
        return gradient
    wrapped = gradient if isinstance(gradient, Marginalised) else Marginalised(gradient)
    return wrapped.of(rbm, rows)
