"""Gradients of the log-probability of a label given the rest of a row."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gibbsite import ops
from gibbsite.checks import check_strength
from gibbsite.errors import ArgumentError
from gibbsite.gradients.base import Batch, Gradient, Info, Stateless
from gibbsite.layers import fast
from gibbsite.model import RBM


class Label(NamedTuple):
    """A visible unit of few states that is to be predicted from the others.

    Attributes:
        columns: of the visible layer that hold its state.
        states: its states in these columns, (classes, columns).
        rows: a row for each state, with 0 for the other units, (classes, visible.width).
    """

    columns: slice
    states: Tensor
    rows: Tensor

    @classmethod
    def of(cls, rbm: RBM, unit: int) -> Label:
        """The unit of that index, from the end if negative; `ArgumentError` if it cannot be one."""
        visible, n = rbm.visible, rbm.visible.n
        if not -n <= unit < n or math.isinf(visible.sizes[unit]):
            raise ArgumentError(
                f"unit={unit!r} of {visible.describe()}: expected one of its {n} visible units, "
                "and one with a finite number of states, such as that of gb.Categorical(1, 10)"
            )
        columns, (states, _) = visible.unit_columns(unit % n), visible.unit_states(unit % n)
        rows = visible.zero_inputs(len(states))
        rows[:, columns] = states
        return cls(columns, states, rows)

    def without(self, v: Tensor) -> Tensor:
        """The rows with 0 in the label's columns."""
        rest = v.clone()
        rest[..., self.columns] = 0.0
        return rest

    def found_in(self, v: Tensor) -> Tensor:
        """1 where a row has the label's state, else 0, (rows, classes)."""
        return (v[:, None, self.columns] == self.states).all(-1).to(v.dtype)


def label_log_probabilities(rbm: RBM, v: Tensor, unit: int = -1) -> Tensor:
    r"""Log-probability log p(y | x) of every state y of a visible unit given the others.

    $$p(y \mid x) = \frac{e^{-F(x, y)}}{\sum_{y'} e^{-F(x, y')}}$$

    (rows, classes), exact, with one product of x and the weights for all y. What its columns of v,
    (rows, visible.width), hold does not matter.
    Source: Larochelle, Bengio (2008), Classification using discriminative restricted Boltzmann
    machines, (2), of binary hidden units; here of any.

    >>> import torch, gibbsite as gb
    >>> from gibbsite.gradients import label_log_probabilities
    >>> rbm = gb.RBM(gb.Mixed(gb.Bernoulli(4), gb.Categorical(1, 3)), gb.Bernoulli(2))
    >>> label_log_probabilities(rbm, torch.zeros(2, 7)).exp().shape
    torch.Size([2, 3])
    """
    label = Label.of(rbm, unit)
    return _log_probabilities(rbm, label, _inputs(rbm, label, label.without(v)))


def _inputs(rbm: RBM, label: Label, rest: Tensor) -> Tensor:
    """Inputs of the hidden units for every state of the label, (rows, classes, hidden.width)."""
    statistic, kernels = rbm.visible.statistic, ops.kernels_for(rest)
    shared = kernels.product(statistic(rest), rbm.weight)
    return shared[:, None] + statistic(label.rows) @ rbm.weight


def _log_probabilities(rbm: RBM, label: Label, inputs: Tensor) -> Tensor:
    scores = rbm.hidden.log_partition(inputs) - rbm.visible.energy(label.rows)
    return scores.log_softmax(-1)


@dataclass(frozen=True)
class Discriminative(Stateless):
    r"""The exact gradient of log p(y | x), where y is one visible unit and x are the others.

    $$\partial_\theta \log p(y\mid x) = -\Bigl\langle\partial_\theta E\Bigr\rangle_{p(h\mid x,y)}
      + \sum_{y'} p(y'\mid x)\Bigl\langle\partial_\theta E\Bigr\rangle_{p(h\mid x,y')}$$

    No chains: it costs one product with the weights each way, as for a network of one hidden layer,
    and the moments of h for every state of y. Biases of x have no gradient. Any layers will do, as
    long as y has few states and does not depend on x given h, such as the last part of
    ``gb.Mixed(gb.Bernoulli(784), gb.Categorical(1, 10))``. Rows must be complete.
    Source: Larochelle, Bengio (2008), Classification using discriminative restricted Boltzmann
    machines, section 4.

    Args:
        unit: index of y among the visible units; the last one by default.

    Raises `ArgumentError` for a unit that there is not, or one of endless states.

    >>> import torch, gibbsite as gb
    >>> v = torch.tensor([[0.0, 1, 1], [1, 0, 0]])  # two pixels, and the code of the class
    >>> rbm = gb.RBM(gb.Mixed(gb.Bernoulli(2), gb.Categorical(1, 2)), gb.Bernoulli(4))
    >>> history = gb.fit(rbm, v, gradient=gb.Discriminative(), epochs=100)
    """

    unit: int = -1

    @torch.no_grad()
    def step(
        self, rbm: RBM, batch: Batch, state: None, generator: torch.Generator | None = None
    ) -> tuple[dict[str, Tensor], None, Info]:
        shares, label = batch.shares, Label.of(rbm, self.unit)
        rest, true = label.without(batch.v), label.found_in(batch.v)
        inputs = _inputs(rbm, label, rest)
        expected = _log_probabilities(rbm, label, inputs).exp()
        signs = shares[:, None] * (true - expected)  # both phases: each class, less its probability
        moments = fast(rbm.hidden).moments(inputs.flatten(0, 1))
        mean = moments.mean.reshape(inputs.shape)
        hidden = rbm.hidden.statistic(mean)
        by_row = torch.bmm(signs[:, None], hidden)[:, 0]
        by_class = torch.bmm(signs.T[:, None], hidden.transpose(0, 1))[:, 0]
        statistic, kernels = rbm.visible.statistic, ops.kernels_for(rest)
        weight = kernels.product(statistic(rest).T, by_row) + statistic(label.rows).T @ by_class
        coupling = rbm.weight * weight
        # x is the same in both phases, so that of the energy of v only that of the label is left
        sides = {
            "visible": rbm.visible.gradient(
                rbm.visible.moments_at(label.rows), signs.sum(0), lambda: coupling.sum(1)
            ),
            "hidden": rbm.hidden.gradient(moments, signs.flatten(), lambda: coupling.sum(0)),
        }
        own = {f"{side}.{name}": x for side, found in sides.items() for name, x in found.items()}
        info = batch.means(torch.bmm(true[:, None], mean)[:, 0])
        return {"weight": weight, **own}, None, info


@dataclass(frozen=True)
class Hybrid:
    r"""The gradient of $\log p(y \mid x) + \alpha \log p(v)$, v being x and y together.

    The generative part regularises the discriminative one, the more so the fewer rows there are.
    Its chains are the state.
    Source: Larochelle, Bengio (2008), Classification using discriminative restricted Boltzmann
    machines, section 5: 0.01 for handwritten digits.

    Args:
        generative: estimator of the gradient of log p(v), such as ``gb.PCD()``.
        discriminative: that of log p(y | x).
        weight: alpha; 0 leaves the discriminative part alone.

    Raises `ArgumentError` for a weight that is negative or not finite.

    >>> import gibbsite as gb
    >>> gb.Centered(gb.Hybrid(gb.PCD(chains=50), weight=0.1)).gradient.weight
    0.1
    """

    generative: Gradient
    discriminative: Gradient = field(default_factory=Discriminative)
    weight: float = 0.01

    def __post_init__(self) -> None:
        check_strength(weight=self.weight)

    def init(self, rbm: RBM, generator: torch.Generator | None = None) -> Any:
        return self.generative.init(rbm, generator)

    @torch.no_grad()
    def step(
        self, rbm: RBM, batch: Batch, state: Any, generator: torch.Generator | None = None
    ) -> tuple[dict[str, Tensor], Any, Info]:
        gradient, state, _ = self.generative.step(rbm, batch, state, generator)
        theirs, _, info = self.discriminative.step(rbm, batch, None, generator)
        for name, value in gradient.items():
            value.mul_(self.weight).add_(theirs[name])
        return gradient, state, info
