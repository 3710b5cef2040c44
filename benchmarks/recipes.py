"""Recipes of the reference rows, as data, and the one function that trains by them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

import gibbsite as gb
from gibbsite.training import SGD, polynomial_decay

BASE_ROWS = 1000
"""Training rows that ladders get the means of their base from."""

ESTIMATORS: dict[str, Callable[[int, Tensor], Any]] = {
    "exact": lambda chains, data: gb.Centered(gb.ExactGradient()),
    "pcd": lambda chains, data: gb.Centered(gb.PCD(chains)),
    "tempering": lambda chains, data: gb.Centered(gb.PCD(chains, sampler=gb.Tempering(data=data))),
}
"""Gradient estimators by name, made for a number of chains and some of the data."""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        hidden: number of binary hidden units.
        epochs: passes over the training rows.
        rate: learning rate at the start; it falls as (1 - t)^power, t from 0 to 1, by epoch.
        batch: rows an update.
        chains: (t, number of chains from t on); more are made by copying those there are.
        estimator: a key of `ESTIMATORS`.
        power: of the fall of the rate.
        momentum: of the optimiser.
        l2: strength of weight decay, in nats.
        smooth: strength of `Smooth`, in nats; for images.
        shifted: share of the rows that are moved by a pixel, anew at each visit; for images.
        shifted_until: t up to which they are.
        average: horizon, in epochs, of the exponential average of the parameters; 0 for none.
        hidden_bias: biases of the hidden units at the start.
        learn_sigma: of Gaussian visible units.
    """

    hidden: int
    epochs: int
    rate: float
    batch: int = 100
    chains: tuple[tuple[float, int], ...] = ((0.0, 100),)
    estimator: str = "pcd"
    power: float = 2.0
    momentum: float = 0.0
    l2: float = 0.0
    smooth: float = 0.0
    shifted: float = 0.0
    shifted_until: float = 0.7
    average: float = 0.0
    hidden_bias: float = 0.0
    learn_sigma: bool = False

    def words(self) -> str:
        """The recipe in one line."""
        return ", ".join(self._parts())

    def _parts(self) -> Iterator[str]:
        yield {
            "exact": "centred exact gradient",
            "pcd": "centred PCD-1",
            "tempering": "centred PCD-1 by replica exchange",
        }[self.estimator]
        if self.estimator != "exact":
            yield f"{' to '.join(str(chains) for _, chains in self.chains)} chains"
        yield f"batches of {self.batch}"
        yield f"{self.epochs} epochs"
        yield f"rate {self.rate:g} falling as (1-t)^{self.power:g}"
        for name, value in (
            ("momentum", self.momentum),
            ("L2", self.l2),
            ("smoothness", self.smooth),
            ("hidden biases from", self.hidden_bias),
        ):
            if value:
                yield f"{name} {value:g}"
        if self.shifted:
            until = f"{self.shifted_until:.0%} of the epochs"
            yield f"{self.shifted:.0%} of the images moved by a pixel in the first {until}"
        if self.average:
            yield f"parameters averaged over {self.average:g} epochs"


@dataclass
class Smooth:
    r"""Penalty $\frac{s}{2}\sum (W_{ij}-W_{i'j})^2$ over neighbouring pixels i, i'; s in nats.

    A prior of weights that vary slowly over the image. It acts every tenth update, tenfold, as it
    would cost a third of the update otherwise.
    """

    strength: float
    shape: tuple[int, int]
    every: int = 10
    calls: int = 0

    @torch.no_grad()
    def __call__(self, rbm: gb.RBM, gradient: dict[str, Tensor]) -> None:
        self.calls += 1
        if self.calls % self.every:
            return
        weight = rbm.weight.detach().view(*self.shape, -1)
        change = gradient["weight"].view(*self.shape, -1)
        for dim in (0, 1):
            slope = weight.diff(dim=dim)
            n = slope.shape[dim]
            change.narrow(dim, 1, n).sub_(slope, alpha=self.strength * self.every)
            change.narrow(dim, 0, n).add_(slope, alpha=self.strength * self.every)


class Fitted(NamedTuple):
    """A trained model, the states of its persistent chains, if any, and seconds of all threads."""

    rbm: gb.RBM
    chains: Tensor | None
    seconds: float


def fitted(
    recipe: Recipe,
    visible: gb.layers.Layer,
    data: Tensor | gb.Rows,
    *,
    image_shape: tuple[int, int] | None = None,
    seed: int = 0,
) -> Fitted:
    """A model trained by the recipe."""
    generator = torch.Generator().manual_seed(seed)
    rows = gb.Rows.of(data)
    rbm = gb.RBM(visible, gb.Bernoulli(recipe.hidden))
    gb.initialize(rbm, rows[:20_000], generator)
    with torch.no_grad():
        rbm.hidden.bias.fill_(recipe.hidden_bias)
    optimizer = SGD(rbm.parameters(), lr=recipe.rate, momentum=recipe.momentum)
    scheduler = polynomial_decay(optimizer, recipe.epochs, recipe.power)
    updates = -(-len(rows) // recipe.batch)
    average = gb.Averaged(rbm, horizon=max(1.0, recipe.average * updates))
    base = rows[torch.randperm(len(rows), generator=generator)[:BASE_ROWS]]
    started, state = time.process_time(), None
    for chains, epochs, shifted in _stages(recipe):
        state = None if state is None else _grown(state, chains)
        history = gb.fit(
            rbm,
            _moved(rows, image_shape, recipe.shifted, generator) if shifted else rows,
            gradient=ESTIMATORS[recipe.estimator](chains, base),
            optimizer=optimizer,
            scheduler=scheduler,
            epochs=epochs,
            batch_size=recipe.batch,
            penalties=list(_penalties(recipe, image_shape)),
            callbacks=[average] if recipe.average else [],
            generator=generator,
            state=state,
        )
        state = history.state
    chains = getattr(state.inner, "v", None)  # the exact gradient has none
    seconds = time.process_time() - started
    return Fitted(average.model if recipe.average else rbm, chains, seconds)


def _stages(recipe: Recipe) -> Iterator[tuple[int, int, bool]]:
    """(chains, epochs, are images moved) of each call of `fit`; one an epoch while they are."""
    until = round(recipe.shifted_until * recipe.epochs) if recipe.shifted else 0
    starts = [round(t * recipe.epochs) for t, _ in recipe.chains]
    ends = sorted({*starts, *range(until + 1), recipe.epochs})
    for start, end in pairwise(ends):
        chains = max(i for i, at in enumerate(starts) if at <= start)
        yield recipe.chains[chains][1], end - start, end <= until


def _moved(
    rows: gb.Rows, shape: tuple[int, int] | None, share: float, generator: torch.Generator
) -> gb.Rows:
    """The images, a share of them moved by a pixel in one of eight directions; edges wrap."""
    assert shape is not None, "only images move"
    source = torch.as_tensor(rows.source)
    images = (source if rows.chosen is None else source[rows.chosen]).clone().view(-1, *shape)
    moves = [move for move in itertools.product((-1, 0, 1), repeat=2) if any(move)]
    choice = torch.randint(len(moves), (len(images),), generator=generator)
    choice[torch.rand(len(images), generator=generator) >= share] = len(moves)
    for i, move in enumerate(moves):
        chosen = choice == i
        images[chosen] = images[chosen].roll(move, (1, 2))
    return gb.Rows(images.flatten(1), scale=rows.scale, shift=rows.shift)


def _penalties(recipe: Recipe, image_shape: Sequence[int] | None) -> Iterator[Any]:
    if recipe.l2:
        yield gb.L2(recipe.l2)
    if recipe.smooth:
        assert image_shape is not None, "only weights of an image are smooth"
        yield Smooth(recipe.smooth, tuple(image_shape))


def _grown(state: Any, chains: int) -> Any:
    """The state of centred PCD with so many chains, copies of those there are."""
    if chains == len(state.inner.v):
        return state
    copies = -(-chains // len(state.inner.v))
    inner = {
        name: None if x is None else x.repeat(copies, 1)[:chains]
        for name, x in state.inner._asdict().items()
    }
    return state._replace(inner=type(state.inner)(**inner))
