"""Recipes of the reference rows, as data, and the one function that trains by them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

import gibbsite as gb
from gibbsite.training import SGD

ESTIMATORS: dict[str, Callable[[int], Any]] = {
    "exact": lambda chains: gb.ExactGradient(),
    "pcd": lambda chains: gb.Centered(gb.PCD(chains)),
    "tempering": lambda chains: gb.Centered(gb.PCD(chains, sampler=gb.Tempering())),
}
"""Gradient estimators by name, made for a number of chains."""


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
    average: float = 0.0
    hidden_bias: float = 0.0
    learn_sigma: bool = False

    def words(self) -> str:
        """The recipe in one line."""
        return ", ".join(self._parts())

    def _parts(self) -> Iterator[str]:
        yield {
            "exact": "exact gradient",
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


def fitted(
    recipe: Recipe,
    visible: gb.layers.Layer,
    data: Tensor | gb.Rows,
    *,
    image_shape: tuple[int, int] | None = None,
    seed: int = 0,
) -> tuple[gb.RBM, float]:
    """A model trained by the recipe, and the seconds of all threads that it took."""
    generator = torch.Generator().manual_seed(seed)
    rows = gb.Rows.of(data)
    rbm = gb.RBM(visible, gb.Bernoulli(recipe.hidden))
    gb.initialize(rbm, rows[:20_000], generator)
    with torch.no_grad():
        rbm.hidden.bias.fill_(recipe.hidden_bias)
    optimizer = SGD(rbm.parameters(), lr=recipe.rate, momentum=recipe.momentum)
    last = recipe.epochs - 0.5
    scheduler = LambdaLR(
        optimizer, lambda epoch: (1 - min(epoch, last) / recipe.epochs) ** recipe.power
    )
    updates = -(-len(rows) // recipe.batch)
    average = gb.Averaged(rbm, horizon=max(1.0, recipe.average * updates))
    started, state = time.process_time(), None
    for chains, epochs in _stages(recipe):
        state = None if state is None else _grown(state, chains)
        history = gb.fit(
            rbm,
            rows,
            gradient=ESTIMATORS[recipe.estimator](chains),
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
    return average.model if recipe.average else rbm, time.process_time() - started


def _stages(recipe: Recipe) -> list[tuple[int, int]]:
    """(chains, epochs) of each call of `fit`."""
    ends = [round(t * recipe.epochs) for t, _ in recipe.chains] + [recipe.epochs]
    counts = [chains for _, chains in recipe.chains]
    return [(n, b - a) for n, (a, b) in zip(counts, pairwise(ends), strict=True) if b > a]


def _penalties(recipe: Recipe, image_shape: Sequence[int] | None) -> Iterator[Any]:
    if recipe.l2:
        yield gb.L2(recipe.l2)
    if recipe.smooth:
        assert image_shape is not None, "only weights of an image are smooth"
        yield Smooth(recipe.smooth, tuple(image_shape))


def _grown(state: Any, chains: int) -> Any:
    """The state of centred PCD with more chains, copies of those there are."""
    copies = -(-chains // len(state.inner.v))
    inner = {
        name: None if x is None else x.repeat(copies, 1)[:chains]
        for name, x in state.inner._asdict().items()
    }
    return state._replace(inner=type(state.inner)(**inner))
