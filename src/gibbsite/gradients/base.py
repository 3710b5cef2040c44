"""Parts common to gradient estimators; they differ only in how they get the model's phase."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gibbsite import ops
from gibbsite.layers import Phases
from gibbsite.model import RBM


class Gradient(Protocol):
    """Estimator: `init` makes the state carried between updates, `step` gives one gradient.

    The gradient is of the mean log-likelihood of the rows of v, keyed by ``named_parameters()``.
    Each phase is a mean over its own rows, so minibatches and chains of any number fit together.
    The tensors of a gradient are the caller's to overwrite, as `fit` does.

    A state is made of tensors, scalars, None, lists, mappings and named tuples. One that comes out
    of a checkpoint has tensors of the shapes and dtypes that `init` gives; a named tuple with a
    method ``check(rbm)``, which raises `DataError`, can ask for more.
    """

    def init(self, rbm: RBM, generator: torch.Generator | None = None) -> Any: ...

    def step(
        self, rbm: RBM, v: Tensor, state: Any, generator: torch.Generator | None = None
    ) -> tuple[dict[str, Tensor], Any]: ...


class Stateless:
    """An estimator that carries nothing from one update to the next."""

    def init(self, rbm: RBM, generator: torch.Generator | None = None) -> None:
        return None


def difference(data: dict[str, Tensor], model: dict[str, Tensor]) -> dict[str, Tensor]:
    """Positive phase minus negative phase."""
    return {name: data[name] - model[name] for name in data}


class Statistics(NamedTuple):
    """Both phases of both layers, and E[h | v] times the weight and the sign of its row."""

    visible: Phases
    hidden: Phases
    shares: Tensor

    @classmethod
    def of(cls, v: Tensor, hidden_mean: Tensor, rows: int, workspace: ops.Workspace) -> Statistics:
        """Compute them from v and E[h | v], the first rows of which are the data's."""
        v_means = workspace.table("means of v", v, 3, v.shape[1])
        h_means = workspace.table("means of h", v, 3, hidden_mean.shape[1])
        shares = workspace.table("shares", hidden_mean, *hidden_mean.shape)
        ops.phase_statistics_(v, hidden_mean, rows, v_means, h_means, shares)
        visible = Phases(v, rows, v_means, known=True)
        return cls(visible, Phases(hidden_mean, rows, h_means, known=False), shares)


class Contrast(Stateless, ops.Reusing):
    """An estimator whose model phase is of sampled v; `phases` computes both phases."""

    def phases(
        self, rbm: RBM, v: Tensor, state: Any, generator: torch.Generator | None = None
    ) -> tuple[Statistics, Any]:
        """Both phases, and the new state."""
        raise NotImplementedError

    @torch.no_grad()
    def step(
        self, rbm: RBM, v: Tensor, state: Any, generator: torch.Generator | None = None
    ) -> tuple[dict[str, Tensor], Any]:
        statistics, state = self.phases(rbm, v, state, generator)
        return contrast(rbm, statistics, self.workspace), state


def contrast(rbm: RBM, statistics: Statistics, workspace: ops.Workspace) -> dict[str, Tensor]:
    """`difference` of the phases, each a mean over its own rows, in one matrix product.

    The same as from `RBM.phase`, up to rounding, in fewer passes over the weights.
    """
    visible, hidden, shares = statistics
    out = workspace.table("gradient", rbm.weight, *rbm.weight.shape)
    product = ops.product(visible.table.T, shares, out)
    here = rbm.visible.coupled(product, lambda x: x)
    weight = rbm.hidden.coupled(here.T, lambda x: x).T

    def interactions(ours: Tensor, product: Tensor) -> Tensor:
        """Sum over the other layer's units, for each unit of a layer."""
        return ops.row_dots(ours, product, workspace.table("interactions", product, len(product)))

    ours = rbm.visible.contrast(visible, lambda: interactions(rbm.weight, weight))
    theirs = rbm.hidden.contrast(hidden, lambda: interactions(rbm.weight.T, weight.T))
    return {
        "weight": weight,
        **{f"visible.{name}": value for name, value in ours.items()},
        **{f"hidden.{name}": value for name, value in theirs.items()},
    }
