"""Replica exchange over the models that training went through."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gibbsite.checks import check_memory
from gibbsite.errors import ArgumentError, DataError
from gibbsite.model import RBM, fault, with_parameters
from gibbsite.sampling.conditionals import Conditionals, clamped_start
from gibbsite.sampling.ladder import (
    ExchangeInfo,
    Pairs,
    Passages,
    Replicas,
    exchange_and_move,
    replicas_in,
)
from gibbsite.sampling.path import Path
from gibbsite.sampling.run import ByFields
from gibbsite.sampling.tempering import START_SWEEPS, check_replicas

Parameters = dict[str, Tensor]
"""Parameters of a model by name, as in ``rbm.named_parameters()``."""

MOST_MODELS = 64
"""Models that are kept of a trajectory."""

RATE = 0.1
"""Share of the latest test in the running mean of the acceptance to the last rung."""


class TrajectoryState(NamedTuple):
    """State of replicas at the models of a trajectory.

    Attributes:
        v: rows at the model itself, (chains, visible.width).
        below: rows at each earlier model, the first without weights; (chains, visible.width) each.
        models: parameters of the earlier models, by name.
        acceptance: running mean of the rate at which the model and the latest of these exchange.
        passages: record of the exchanges.
    """

    v: Tensor
    below: list[Tensor]
    models: list[Parameters]
    acceptance: float
    passages: Passages

    def barrier(self) -> float:
        r"""$\Lambda$: the sum of the rejection rates, since a model was added last."""
        return sum(self.passages.rejections())

    def check(self, rbm: RBM) -> None:
        """Raise `DataError` unless the parts fit each other and the model."""
        if not 1 <= len(self.models) == len(self.below) == len(self.passages.rejected):
            raise DataError("a trajectory whose parts have different numbers of rungs")
        check_replicas(rbm, self.v, self.below, self.passages)
        for parameters in self.models:
            _check_parameters(rbm, parameters)
        if bool(self.models[0]["weight"].any()):
            raise DataError("a trajectory whose first model has weights")
        if type(self.acceptance) is not float or not 0 <= self.acceptance <= 1:
            raise DataError(f"an acceptance rate of {self.acceptance!r:.40}")


@dataclass(frozen=True, eq=False)
class Trajectory(ByFields):
    r"""Replica exchange between the models of training; each chain is a ladder of rows of v.

    The rungs lead from a model without weights, drawn anew in every step, through models saved
    along training to the model itself, so they follow the modes as these came about: where a
    temperature path has a first-order transition, there often is none along training. A step
    exchanges rows of v between neighbours, even and odd pairs by turns (`sampling.ladder`), and
    moves all of them by a Gibbs sweep. Leaves p(v) invariant at the last rung.

    In `PCD`, where the model moves, a copy of it becomes a rung as soon as the last pair accepts
    less than `target` of its exchanges (running mean), up to 64. After training, `Trajectory.of`
    gives the sampler of the trained model. Costs a Gibbs chain and a half for each rung.
    Source: Bereux, Decelle, Furtlehner, Rosset, Seoane (2024), Fast training and sampling of
    restricted Boltzmann machines, arXiv 2405.15376: parallel trajectory tempering.

    Args:
        models: of one shape, the first without weights, in the order of training, and kept as they
            are; none to start with the model without its weights and add to it.
        target: acceptance rate, between 0 and 1.
        clamp: (chains, visible.width), NaN where a unit is free, values that are held elsewhere;
            one row is for all chains. Then p(v) given these is left invariant.

    >>> import torch, gibbsite as gb
    >>> data, g = gb.datasets.load("digits").train, torch.Generator().manual_seed(0)
    >>> rbm, gradient = gb.RBM(gb.Bernoulli(64), gb.Bernoulli(16)), gb.PCD(sampler=gb.Trajectory())
    >>> history = gb.fit(rbm, data, gradient=gradient, epochs=5, generator=g)
    >>> sampler = gb.Trajectory.of(rbm, history.state)
    >>> gb.sample(rbm, 10, sampler=sampler, steps=20, generator=g).shape
    torch.Size([10, 64])
    """

    models: Sequence[RBM] = ()
    target: float = 0.25
    clamp: Tensor | None = None

    def __post_init__(self) -> None:
        if not 0 < self.target < 1:
            raise ArgumentError(f"target={self.target}: expected a rate between 0 and 1")
        if self.models and bool(self.models[0].weight.any()):
            raise ArgumentError("the first of models has weights; set them to 0, to draw from it")

    @classmethod
    def of(cls, rbm: RBM, state: Any) -> Trajectory:
        """The sampler of a trained model, by the state that its training ended with.

        Raises `ArgumentError` for the state of another estimator.
        """
        models = trajectory_models(rbm, state)
        if not models:
            raise ArgumentError(
                "a state without a trajectory: train with PCD(sampler=Trajectory())"
            )
        return cls(models)

    def fixed(self, rbm: RBM, state: TrajectoryState) -> Trajectory:
        """The sampler with the models of a state, to which it adds none."""
        return replace(Trajectory.of(rbm, state), target=self.target, clamp=self.clamp)

    @torch.no_grad()
    def init(
        self, rbm: RBM, v: Tensor, generator: torch.Generator | None = None
    ) -> TrajectoryState:
        """Ladders whose last rungs hold the rows of v; the others start from independent units."""
        v, clamp = clamped_start(rbm, v, self.clamp)
        models = [_parameters(model, rbm.weight) for model in self.models] or [_unweighted(rbm)]
        for parameters in models:
            _check_parameters(rbm, parameters)
        check_memory(f"{len(v)} ladders of {len(models)} rungs", len(v) * len(models), v.shape[1])
        below: list[Tensor] = []
        for parameters in models:
            model = Conditionals(with_parameters(rbm, parameters), clamp=clamp)
            rows = below[-1] if below else v
            for _ in range(START_SWEEPS if below else 1):
                rows, _ = model.sweep(rows, generator)
            below.append(rows)
        return TrajectoryState(v, below, models, 1.0, Passages.none(v, len(models) + 1))

    def step(
        self, rbm: RBM, state: TrajectoryState, generator: torch.Generator | None = None
    ) -> tuple[TrajectoryState, ExchangeInfo]:
        """One exchange and one sweep of every rung."""
        return self._moved(rbm, self.ladder(rbm, state), state, generator)

    def advance(
        self, rbm: RBM, state: TrajectoryState, steps: int, generator: torch.Generator | None = None
    ) -> TrajectoryState:
        """The state after `steps` steps, one or more; faster than one by one."""
        ladder = self.ladder(rbm, state)
        for _ in range(steps):
            if len(ladder.rungs) != len(state.models) + 1:
                ladder = self.ladder(rbm, state)
            state, _ = self._moved(rbm, ladder, state, generator)
        return state

    def ladder(self, rbm: RBM, state: TrajectoryState) -> Models:
        """The rungs of a state."""
        clamp = None if self.clamp is None else rbm.visible.coerce(self.clamp)
        rungs = [*(with_parameters(rbm, parameters) for parameters in state.models), rbm]
        return Models([Conditionals(model, clamp=clamp) for model in rungs])

    def _moved(
        self,
        rbm: RBM,
        ladder: Models,
        state: TrajectoryState,
        generator: torch.Generator | None,
    ) -> tuple[TrajectoryState, ExchangeInfo]:
        replicas = Replicas(state.below, state.v, state.passages)
        (below, v, passages), info = exchange_and_move(ladder, replicas, generator)
        acceptance, last = state.acceptance, len(below) - 1
        if (last - info.first) % 2 == 0:
            rejected = passages.rejected[last] - state.passages.rejected[last]
            acceptance += RATE * (1 - rejected - acceptance)
        state = state._replace(v=v, below=below, acceptance=acceptance, passages=passages)
        grows = not self.models and acceptance < self.target and len(below) < MOST_MODELS
        return (_with_rung(rbm, state) if grows else state), info


def trajectory_models(rbm: RBM, state: Any) -> list[RBM]:
    """The models of a `Trajectory` in the state of a gradient estimator; none without one."""
    found = replicas_in(state)
    models = [copy.deepcopy(rbm) for _ in getattr(found, "models", ())]
    for model, parameters in zip(models, getattr(found, "models", ()), strict=True):
        model.load_state_dict(parameters, strict=False)  # but for buffers, which stay the same
    return models


class Models:
    """The ladder of some models, of one shape, given by their conditionals."""

    def __init__(self, rungs: Sequence[Conditionals]) -> None:
        self.rungs = rungs

    def log_partition(self) -> float:
        """log Z of the model without weights, in nats."""
        return Path.unweighted(self.rungs[0].rbm).log_partition_at_zero()

    def hidden_inputs(self, v: Tensor) -> Tensor:
        """Inputs of the hidden layer of each model, given the rows on its rung."""
        pairs = zip(self.rungs, v, strict=True)
        return torch.stack([model.hidden_inputs(rows) for model, rows in pairs])

    def pairs(self, first: int, v: Tensor, inputs: Tensor) -> Pairs:
        """The rows of neighbouring rungs, two and two, under both models of each."""
        found = [
            self._pair(low, *v[low : low + 2], *inputs[low : low + 2])
            for low in range(first, len(v) - 1, 2)
        ]
        return Pairs(*map(torch.stack, zip(*found, strict=True)))

    def _pair(
        self, lower: int, x: Tensor, y: Tensor, own_x: Tensor, own_y: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One entry of each of `Pairs`, of rows x on a rung and y on the next."""
        one, other = self.rungs[lower : lower + 2]
        high, low = other.hidden_inputs(x), one.hidden_inputs(y)
        up = _log_mass(other, x, high) - _log_mass(one, x, own_x)
        down = _log_mass(other, y, own_y) - _log_mass(one, y, low)
        return up, down, low, high

    def moved(self, inputs: Tensor, generator: torch.Generator | None) -> Tensor:
        """v of each rung after a Gibbs sweep of its model."""
        rows = []
        for model, own in zip(self.rungs, inputs, strict=True):
            h = model.draw_hidden(own, generator)
            rows.append(model.draw_visible(model.visible_inputs(h), generator))
        return torch.stack(rows)


def _log_mass(model: Conditionals, v: Tensor, inputs: Tensor) -> Tensor:
    """log p*(v) = -F(v), (rows,), float64, given the inputs of the hidden layer."""
    rbm = model.rbm
    return rbm.hidden.log_partition(inputs).double() - rbm.visible.energy(v).double()


def _check_parameters(rbm: RBM, parameters: Parameters) -> None:
    """Raise `DataError` unless these may be parameters of a model of the shape and dtype of rbm."""
    expected = {name: (x.shape, x.dtype) for name, x in rbm.named_parameters()}
    tensors = isinstance(parameters, dict) and all(
        isinstance(x, Tensor) for x in parameters.values()
    )
    if not tensors or {n: (x.shape, x.dtype) for n, x in parameters.items()} != expected:
        raise DataError(
            "a model of the trajectory has parameters of other names or shapes; give models made "
            "like the one to sample from"
        )
    if problem := fault(with_parameters(rbm, parameters)):
        raise DataError(f"a model of the trajectory whose {problem}")


def _parameters(rbm: RBM, like: Tensor) -> Parameters:
    """Copies of the parameters of a model, in the dtype and on the device of a tensor."""
    return {name: value.detach().to(like, copy=True) for name, value in rbm.named_parameters()}


def _unweighted(rbm: RBM) -> Parameters:
    """Parameters of the model, but for weights of 0."""
    parameters = _parameters(rbm, rbm.weight)
    return parameters | {"weight": torch.zeros_like(parameters["weight"])}


def _with_rung(rbm: RBM, state: TrajectoryState) -> TrajectoryState:
    """The state with the model itself as one more rung, whose rows are those of the last."""
    passages = state.passages
    fresh = [*passages.fresh, torch.zeros_like(passages.fresh[-1])]
    rejected = [0.0] * (len(passages.rejected) + 1)
    return TrajectoryState(
        state.v,
        [*state.below, state.v.clone()],
        [*state.models, _parameters(rbm, rbm.weight)],
        1.0,
        passages._replace(fresh=fresh, rejected=rejected, sweeps=0),
    )
