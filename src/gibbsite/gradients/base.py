"""What every gradient estimator does; they differ only in how they get the model's phase."""

from __future__ import annotations

import functools
from typing import Any, Protocol

import torch
from torch import Tensor

from gibbsite.layers import Marginals
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


@torch.no_grad()
def contrast(
    rbm: RBM, data: tuple[Tensor, Tensor], model: tuple[Tensor, Tensor]
) -> dict[str, Tensor]:
    """`difference` of the phases of two sets of (v, E[h | v]), in two matrix products.

    The same numbers as from `RBM.phase`, up to rounding, without a pass over the weights apart
    from the products.
    """
    (v, h), (v_model, h_model) = data, model
    ratio = len(v) / len(v_model)
    weight = torch.mm(v.T, h).addmm_(v_model.T, h_model, alpha=-ratio)
    weight = rbm.hidden.coupled(rbm.visible.coupled(weight.div_(len(v))).T).T
    visible = Marginals.at(v), Marginals.at(v_model)
    hidden = rbm.hidden.marginals_with_mean(h), rbm.hidden.marginals_with_mean(h_model)
    gradient = {"weight": weight}
    for name, layer, pair, axis in (
        ("visible", rbm.visible, visible, 1),
        ("hidden", rbm.hidden, hidden, 0),
    ):
        interaction = functools.partial(_interaction, rbm.weight, weight, axis)
        ours = layer.parameter_gradient(pair[0], _shares(v), interaction)
        theirs = layer.parameter_gradient(pair[1], _shares(v_model), lambda: weight.new_zeros(()))
        gradient |= {f"{name}.{key}": ours[key] - theirs[key] for key in ours}
    return gradient


def _interaction(weight: Tensor, gradient: Tensor, axis: int) -> Tensor:
    """Of both phases at once, as it is linear in them."""
    return (weight * gradient).sum(axis)


def _shares(rows: Tensor) -> Tensor:
    return rows.new_full((len(rows),), 1 / len(rows))
