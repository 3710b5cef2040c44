"""Penalties change the gradient; they act on the weight alone, never on biases or scales."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gibbsite.checks import check_strength
from gibbsite.model import RBM


@dataclass(frozen=True)
class L2:
    """Weight decay: maximise mean log p(v) - strength/2 |W|^2; strength in nats.

    >>> import gibbsite as gb
    >>> gb.L2(1e-4)
    L2(strength=0.0001)
    """

    strength: float

    def __post_init__(self) -> None:
        check_strength(strength=self.strength)

    def __call__(self, rbm: RBM, gradient: dict[str, Tensor]) -> None:
        gradient["weight"].sub_(rbm.weight.detach(), alpha=self.strength)


@dataclass(frozen=True)
class L1:
    """Sparsity: maximise mean log p(v) - strength |W|_1; strength in nats.

    >>> import gibbsite as gb
    >>> gb.L1(1e-4)
    L1(strength=0.0001)
    """

    strength: float

    def __post_init__(self) -> None:
        check_strength(strength=self.strength)

    def __call__(self, rbm: RBM, gradient: dict[str, Tensor]) -> None:
        gradient["weight"].sub_(torch.sign(rbm.weight.detach()), alpha=self.strength)
