"""Parts common to gradient estimators, which differ only in where their chains come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gibbsite.errors import ArgumentError
from gibbsite.layers import Layer, fast
from gibbsite.model import RBM


@dataclass(frozen=True)
class Batch:
    """A minibatch of rows to estimate the gradient from.

    Attributes:
        v: (rows, visible.width); anything where an entry is missing.
        weights: (rows,), one a row, with a mean of 1 over all of the data; None for ones. The
            gradient is that of the sum over rows of weight * log p(v) over the number of rows.
        observed: (rows, visible.width), True where an entry is known; None if all are.
        index: (rows,), of the rows in the data; None if they come from elsewhere.
    """

    v: Tensor
    weights: Tensor | None = None
    observed: Tensor | None = None
    index: Tensor | None = None

    @cached_property
    def shares(self) -> Tensor:
        """Weights over the number of rows, (rows,); their sum is about 1."""
        if self.observed is not None:
            raise ArgumentError(
                "this gradient estimator needs every entry; wrap it in gb.Marginalised"
            )
        rows = len(self.v)
        if self.weights is None:
            return self.v.new_full((rows,), 1 / rows)
        return self.weights / rows

    def total(self) -> float | Tensor:
        """Sum of the shares."""
        return 1.0 if self.weights is None else self.shares.sum()

    def means(self, hidden: Tensor) -> Info:
        """Weighted means of v and of E[h | v], given for each row; 0 where all weights are 0."""
        total, shares = self.total(), self.shares
        if isinstance(total, Tensor):
            shares = shares / total.clamp(min=torch.finfo(total.dtype).tiny)
        return Info(shares @ self.v, shares @ hidden)


class Info(NamedTuple):
    """Means over the rows of a minibatch, for centring and monitors.

    Attributes:
        visible: mean v, (visible.width,).
        hidden: mean E[h | v], (hidden.width,).
    """

    visible: Tensor
    hidden: Tensor


class Gradient(Protocol):
    """Estimator: `init` makes the state carried between updates, `step` gives one gradient.

    The gradient is of the weighted mean log-likelihood of the rows of a batch, keyed by
    ``named_parameters()``. Both phases have the same total weight, however many rows and chains
    there are. The tensors of a gradient are the caller's to overwrite, as `fit` does.

    A state is made of tensors, scalars, None, lists, mappings and named tuples. One that comes out
    of a checkpoint has tensors of the shapes and dtypes that `init` gives; a named tuple with a
    method ``check(rbm)``, which raises `DataError`, can ask for more.

    `fit` wraps an estimator in `Marginalised` where data have missing entries, unless its attribute
    ``marginalises`` is true: then it takes batches with `Batch.observed`.
    """

    def init(self, rbm: RBM, generator: torch.Generator | None = None) -> Any: ...

    def step(
        self, rbm: RBM, batch: Batch, state: Any, generator: torch.Generator | None = None
    ) -> tuple[dict[str, Tensor], Any, Info]: ...


class Stateless:
    """Base of estimators that carry nothing from one update to the next."""

    def init(self, rbm: RBM, generator: torch.Generator | None = None) -> None:
        return None


def both_phases(
    rbm: RBM, batch: Batch, chains: Tensor, v: Tensor, inputs: Tensor
) -> tuple[dict[str, Tensor], Info]:
    """Positive minus negative phase in one weighted sum, h averaged exactly given v.

    The first rows of v are the batch's; the others are the chains', with weights `chains` of the
    same sum. `inputs`, of the hidden layer given v, may be overwritten.
    """
    weights = torch.cat([batch.shares, -chains])
    hidden = fast(rbm.hidden).moments(inputs)
    gradient = rbm.phase(rbm.visible.moments_at(v), hidden, weights)
    return gradient, batch.means(hidden.mean[: len(batch.v)])


def layer_gradients(
    rbm: RBM, gradient: Mapping[str, Tensor]
) -> Iterator[tuple[Layer, dict[str, Tensor]]]:
    """The visible layer with the gradient of its own parameters by name, then the hidden layer."""
    for side, layer in (("visible.", rbm.visible), ("hidden.", rbm.hidden)):
        names = [name for name in gradient if name.startswith(side)]
        yield layer, {name.removeprefix(side): gradient[name] for name in names}
