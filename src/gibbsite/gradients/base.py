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
