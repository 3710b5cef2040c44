"""What every gradient estimator does; they differ only in how they get the model's phase."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gibbsite import ops
from gibbsite.model import RBM


class Gradient(Protocol):
    """`init` makes what is carried between updates, `step` gives one gradient.

    The gradient is of the mean log-likelihood of the rows of v, keyed by ``named_parameters()``.
    Each phase is a mean over its own rows, so minibatches and chains of any number fit together.
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


class Phases(NamedTuple):
    """The states of both phases in one table, so that one matrix product does for both.

    Attributes:
        v: (rows + chains, n_visible), the minibatch and then the model's.
        hidden_mean: E[h | v], (rows + chains, n_hidden).
        rows: how many belong to the minibatch.
    """

    v: Tensor
    hidden_mean: Tensor
    rows: int


class Contrast(Stateless):
    """An estimator whose model phase is of sampled v: `phases` makes both."""

    def phases(
        self, rbm: RBM, v: Tensor, state: Any, generator: torch.Generator | None = None
    ) -> tuple[Phases, Any]:
        """Both phases, and the new state."""
        raise NotImplementedError

    @torch.no_grad()
    def step(
        self, rbm: RBM, v: Tensor, state: Any, generator: torch.Generator | None = None
    ) -> tuple[dict[str, Tensor], Any]:
        phases, state = self.phases(rbm, v, state, generator)
        return contrast(rbm, phases), state


def contrast(rbm: RBM, phases: Phases) -> dict[str, Tensor]:
    """`difference` of the phases, each a mean over its own rows, in one matrix product.

    The same as from `RBM.phase`, up to rounding, in fewer passes over the weights.
    """
    v, h, rows = phases
    visible, hidden = rbm.visible, rbm.hidden
    weight = hidden.coupled(visible.coupled(torch.mm(v.T, ops.shares(h, rows))).T).T
    ours = visible.contrast(v, rows, True, lambda: (rbm.weight * weight).sum(1))
    theirs = hidden.contrast(h, rows, False, lambda: (rbm.weight * weight).sum(0))
    return {
        "weight": weight,
        **{f"visible.{name}": value for name, value in ours.items()},
        **{f"hidden.{name}": value for name, value in theirs.items()},
    }
