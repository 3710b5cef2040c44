"""Parts common to gradient estimators; they differ only in where the model's rows come from."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gibbsite.errors import ArgumentError
from gibbsite.layers import fast
from gibbsite.model import RBM


class Batch(NamedTuple):
    """A minibatch of rows to estimate the gradient from.

    Attributes:
        v: (rows, visible.width).
        weights: (rows,), one a row, with a mean of 1 over all of the data; None for ones. The
            gradient is that of the sum of weights * log p(v) over the rows, divided by their number.
        observed: (rows, visible.width), True where an entry is known; None if all are.
        index: (rows,), the numbers of the rows in the data, if they have such.
    """

    v: Tensor
    weights: Tensor | None = None
    observed: Tensor | None = None
    index: Tensor | None = None

    def shares(self) -> Tensor:
        """Weight of each row over the number of rows, (rows,); their sum is about 1."""
        if self.observed is not None:
            raise ArgumentError("this gradient estimator needs every entry; fill the missing ones")
        rows = len(self.v)
        if self.weights is None:
            return self.v.new_full((rows,), 1 / rows)
        return self.weights / rows


class Info(NamedTuple):
    """Means over the data's rows by the way of a gradient, as centring and monitors need them.

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
    """

    def init(self, rbm: RBM, generator: torch.Generator | None = None) -> Any: ...

    def step(
        self, rbm: RBM, batch: Batch, state: Any, generator: torch.Generator | None = None
    ) -> tuple[dict[str, Tensor], Any, Info]: ...


class Stateless:
    """An estimator that carries nothing from one update to the next."""

    def init(self, rbm: RBM, generator: torch.Generator | None = None) -> None:
        return None


def both_phases(
    rbm: RBM, shares: Tensor, chains: Tensor, v: Tensor, inputs: Tensor
) -> tuple[dict[str, Tensor], Info]:
    """Positive minus negative phase in one weighted sum, h averaged exactly given v.

    The first rows of v are the data's, with the weights `shares`; the others are the model's, with
    the weights `chains`. `inputs`, of the hidden layer given v, may be overwritten.
    """
    rows = len(shares)
    hidden = fast(rbm.hidden).moments(inputs)
    gradient = rbm.phase(rbm.visible.moments_at(v), hidden, torch.cat([shares, -chains]))
    return gradient, data_means(shares, v[:rows], hidden.mean[:rows])


def data_means(shares: Tensor, v: Tensor, hidden_mean: Tensor) -> Info:
    """The weighted means; of no weight at all, plain zeros."""
    shares = shares / shares.sum().clamp(min=torch.finfo(shares.dtype).tiny)
    return Info(shares @ v, shares @ hidden_mean)
