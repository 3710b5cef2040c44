"""Rows with missing entries: their minibatches, and rows filled in for what needs every entry."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gibbsite.layers import Layer, fast
from gibbsite.layers.missing import hot_deck, some_state
from gibbsite.rows import Rows
from gibbsite.training.traits import ROWS


@dataclass(frozen=True, eq=False)
class Holes:
    """Missing entries of the rows of a training run.

    Attributes:
        filled: some of the rows, with what is missing drawn from the same column of others. They
            are for choices and checks, and are not trained on.
        state: of the visible layer, (width,).
    """

    filled: Rows
    state: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, visible: Layer, rows: Rows) -> Holes:
        """The holes of rows that have some."""
        generator = torch.Generator().manual_seed(0)
        chosen = torch.randperm(len(rows), generator=generator)[:ROWS]
        x = visible.coerce(rows.at(chosen))
        return cls(Rows(hot_deck(visible, x), drawn=rows.drawn), some_state(visible))

    def minibatch(
        self, visible: Layer, rows: Rows, index: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """`Form.minibatch` of rows with holes, and which entries are observed."""
        x = visible.coerce(rows.at(index, visible.like.dtype))
        observed = ~torch.isnan(x)
        x = torch.where(observed, x, self.state)
        return (fast(visible).observe(x, generator) if rows.drawn else x), observed


def observed_means(visible: Layer, x: Tensor, weights: Tensor | None = None) -> Tensor:
    """Rows x with each missing entry at its column's weighted mean; of none, that of the layer.

    Biases depend on rows by their means, which are then those of the observed entries.
    """
    missing = torch.isnan(x)
    known = (~missing).to(x) if weights is None else (~missing) * weights[:, None]
    total = known.sum(0)
    mean = (x.nan_to_num(0.0) * known).sum(0) / total.clamp(min=torch.finfo(x.dtype).tiny)
    alone = visible.mean(visible.zero_inputs(1)[0])
    return torch.where(missing, torch.where(total > 0, mean, alone), x)
