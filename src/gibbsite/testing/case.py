"""A layer with random parameters, and sums over the states of one of its units at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from gibbsite.layers import Layer, as_layer
from gibbsite.testing.compare import require

ROWS = 4
SPREAD = 1.5
"""Standard deviation of the inputs."""


class UnitSum(NamedTuple):
    """The states of one unit, with the other units at the base; of all, where they are dependent.

    Attributes:
        columns: of the unit, or all.
        x: (k, width), the states.
        p: (rows, k), their probabilities given each row of inputs, or shares of the integral.
        log_sum: (rows,), log of the sum of exp(exponent(x) - exponent(base)).
    """

    columns: slice
    x: Tensor
    p: Tensor
    log_sum: Tensor


@dataclass(frozen=True)
class LayerCase:
    """A layer, all of its parameters moved at random, and inputs for it, (rows, width)."""

    layer: Layer
    inputs: Tensor
    seed: int

    @classmethod
    def random(cls, make: Callable[[int], Layer], n: int, seed: int) -> LayerCase:
        """In float64."""
        layer = as_layer("make(n)", make(n)).double()
        generator = torch.Generator(layer.like.device).manual_seed(seed)
        perturb(layer, generator)
        inputs = SPREAD * _normal(layer.zero_inputs(ROWS), generator)
        return cls(layer, inputs, seed)

    def to(self, dtype: torch.dtype) -> LayerCase:
        """The same layer in another dtype."""
        return LayerCase(self.copy().to(dtype), self.inputs.to(dtype), self.seed)

    def copy(self) -> Layer:
        """A copy of the layer."""
        return copy.deepcopy(self.layer)

    def generator(self, seed: int = 0) -> torch.Generator:
        """A new generator; the same each time."""
        return torch.Generator(self.inputs.device).manual_seed(1000 * self.seed + seed)

    def normal(self, *shape: int, seed: int = 1) -> Tensor:
        """Normal draws of the layer's dtype; the same each time."""
        return _normal(self.inputs.new_empty(shape), self.generator(seed))

    @cached_property
    @torch.no_grad()
    def base(self) -> Tensor:
        """A state, (width,), that each unit has among its `unit_states`."""
        base = self.layer.zero_inputs(1)[0]
        for unit in range(self.layer.n):
            points, _ = self.layer.unit_states(unit)
            base[self.layer.unit_columns(unit)] = points[len(points) // 2].detach()
        return base

    @torch.no_grad()
    def states_of(self, unit: int, reach: float = 0.0) -> tuple[Tensor, Tensor]:
        """States of one unit with the others at the base, (k, width), and log-weights, (k,)."""
        points, log_weights = self.layer.unit_states(unit, reach)
        columns = self.layer.unit_columns(unit)
        size = len(range(self.layer.width)[columns])
        require(
            points.shape == (len(points), size) and log_weights.shape == (len(points),),
            f"unit_states({unit}) gives points {tuple(points.shape)} and log-weights "
            f"{tuple(log_weights.shape)}: expected (k, {size}) and (k,)",
        )
        x = self.base.repeat(len(points), 1)
        x[:, columns] = points
        return x, log_weights

    @cached_property
    def blocks(self) -> list[slice]:
        """Columns that do not depend on others given the inputs: those of each unit, or all."""
        if self.layer.independent:
            return [self.layer.unit_columns(unit) for unit in range(self.layer.n)]
        return [slice(0, self.layer.width)]

    @torch.no_grad()
    def states_of_block(self, block: int, reach: float = 0.0) -> tuple[Tensor, Tensor]:
        """`states_of` a unit; of units that depend on each other the grid of all their states."""
        if self.layer.independent:
            return self.states_of(block, reach)
        units = [self.layer.unit_states(unit, reach) for unit in range(self.layer.n)]
        points = torch.cartesian_prod(*(points[:, 0] for points, _ in units))
        log_weights = torch.cartesian_prod(*(log_weights for _, log_weights in units))
        rows = len(points)
        return points.reshape(rows, -1), log_weights.reshape(rows, -1).sum(-1)

    def exponent(self, x: Tensor, inputs: Tensor) -> Tensor:
        """statistic(x) . inputs - energy(x) of states and inputs of every row, (rows, k)."""
        return inputs @ self.layer.statistic(x).T - self.layer.energy(x)

    @torch.no_grad()
    def sums(self, inputs: Tensor) -> list[UnitSum]:
        """For each unit the sum over its states, from energy and statistic alone."""
        result = []
        start = self.exponent(self.base[None], inputs)
        for block, columns in enumerate(self.blocks):
            x, log_weights = self.states_of_block(block, float(inputs.abs().max()))
            exponent = log_weights + self.exponent(x, inputs) - start
            log_sum = torch.logsumexp(exponent, -1)
            p = torch.exp(exponent - log_sum[:, None])
            result.append(UnitSum(columns, x, p, log_sum))
        return result

    def expectation(
        self, inputs: Tensor, function: Callable[[Tensor], Tensor] = lambda x: x
    ) -> Tensor:
        """E[f(x) | inputs] of a function by column, (rows, width)."""
        result = torch.zeros_like(inputs)
        for part in self.sums(inputs):
            result[:, part.columns] = part.p @ function(part.x)[:, part.columns]
        return result

    def some_states(self, rows: int = 5) -> Tensor:
        """Rows of states, every unit at one of its `unit_states` at random."""
        generator, x = self.generator(2), self.base.repeat(rows, 1)
        for unit in range(self.layer.n):
            states, _ = self.states_of(unit, SPREAD)
            columns = self.layer.unit_columns(unit)
            chosen = torch.randint(
                len(states), (rows,), generator=generator, device=self.inputs.device
            )
            x[:, columns] = states[chosen, columns]
        return x


@torch.no_grad()
def perturb(layer: Layer, generator: torch.Generator) -> None:
    """Move every parameter at random, less far if the layer cannot have such values."""
    before = [(p, p.clone(), _normal(p, generator)) for p in layer.parameters()]
    require(len(before) > 0, f"{layer.describe()} has no parameter; a layer has a bias at least")
    for scale in (0.5, 0.25, 0.1, 0.01):
        for parameter, start, noise in before:
            parameter.copy_(start + scale * noise)
        if not layer.fault():
            return
    require(False, f"fault() finds {layer.fault()!r} in parameters near those of make(n)")


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    draws = torch.randn(
        like.shape, generator=generator, dtype=torch.float64, device=generator.device
    )
    return draws.to(like.dtype)
