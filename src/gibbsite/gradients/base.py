"""What every gradient estimator does; they differ only in how they get the model's phase."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

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


def contrast(
    rbm: RBM, data: tuple[Tensor, Tensor], model: tuple[Tensor, Tensor]
) -> dict[str, Tensor]:
    """`difference` of the phases of two sets of (v, E[h | v]), in two matrix products.

    The same as from `RBM.phase`, up to rounding, in fewer passes over the weights.
    """
    (v, h), (v_model, h_model), (visible, hidden) = data, model, (rbm.visible, rbm.hidden)
    rows, chains = v.shape[0], v_model.shape[0]
    weight = torch.mm(v.T, h).addmm_(v_model.T, h_model, beta=1 / rows, alpha=-1 / chains)
    weight = hidden.coupled(visible.coupled(weight).T).T
    ours = visible.contrast(v, v_model, True, lambda: (rbm.weight * weight).sum(1))
    theirs = hidden.contrast(h, h_model, False, lambda: (rbm.weight * weight).sum(0))
    return {
        "weight": weight,
        **{f"visible.{name}": value for name, value in ours.items()},
        **{f"hidden.{name}": value for name, value in theirs.items()},
    }
