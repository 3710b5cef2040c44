"""The contract that every unit type fulfils."""

from __future__ import annotations

import copy
import inspect
import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gibbsite.errors import ArgumentError
from gibbsite.layers.codes import state_codes
from gibbsite.layers.faults import (
    require_one_column,
)
from gibbsite.layers.moments import Means, Moments, inputs_with_means
from gibbsite.layers.units import Units


class Layer(Units):
    r"""A vector of n units of one type, coupled to the rest through `inputs`.

    Units are independent given their inputs, unless `independent` says otherwise.

    A layer is the exponential family

    $$p(x \mid \text{inputs}) = \exp\bigl(-\text{energy}(x) + \text{statistic}(x)\cdot\text{inputs}
      - \text{log\_partition}(\text{inputs})\bigr),$$

    where inputs, (..., width), is what the other layer sends through the weight. Everything that
    depends on the unit type is a method here; nothing outside ``layers/`` asks for the type.
    ``statistic(moments(inputs).mean) = d log_partition / d inputs`` for every layer, and samples
    have those moments; `gibbsite.testing.check_layer` tests both, and more.

    Args:
        n: number of units.
        width: number of columns that their states take; n for units of one column each.
    """

    # the exponential family

    @abstractmethod
    def energy(self, x: Tensor) -> Tensor:
        """The layer's own energy of states x: (..., width) -> (...)."""

    def statistic(self, x: Tensor) -> Tensor:
        """Statistic s(x) that meets the weight, linear in x; here x itself.

        By column, where units are `independent`.
        """
        return x

    @abstractmethod
    def log_partition(self, inputs: Tensor) -> Tensor:
        r"""$\log\int\exp(-\text{energy}(x) + \text{statistic}(x)\cdot\text{inputs})\,dx$: (...).

        Finite for all real inputs: weights that grow in training may give any.
        """

    @abstractmethod
    def moments(self, inputs: Tensor) -> Moments:
        """E[x | inputs], and what else `gradient` needs; (..., width) each."""

    def moments_at(self, x: Tensor) -> Moments:
        """`moments` of units whose states x are known: the same named tuple."""
        return Means(x)

    def gradient(
        self, moments: Any, weights: Tensor, coupling: Callable[[], Tensor]
    ) -> dict[str, Tensor]:
        r"""Weighted sum over rows of $-\partial E/\partial\theta$ for the layer's own parameters.

        It leads uphill, hence the minus. Here that of a bias with energy $-b\cdot x$: E[x].

        Args:
            moments: what `moments` or `moments_at` gave, (rows, width) each.
            weights: (rows,), of either sign.
            coupling: gives the weighted sum of E[statistic(x)] * inputs, (width,), which moves with
                a parameter inside the statistic, as sigma in the x / sigma of Gaussian units.
        """
        return {"bias": weights @ moments.mean}

    @abstractmethod
    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw x ~ p(x | inputs), unit by unit: (..., width), in the dtype of inputs.

        Inputs of 1e4 give finite numbers, unless they are states too large for the dtype.
        """

    def mean(self, inputs: Tensor) -> Tensor:
        """E[x | inputs], (..., width)."""
        return self.moments(inputs).mean

    def log_prob(self, x: Tensor, inputs: Tensor) -> Tensor:
        """log p(x | inputs) in nats: (...)."""
        coupling = (self.statistic(x) * inputs).sum(-1)
        return coupling - self.energy(x) - self.log_partition(inputs)

    def scaled_weight(self, weight: Tensor) -> Tensor:
        """The matrix for which x @ scaled_weight = statistic(x) @ weight; weight is (width, m)."""
        if type(self).statistic is Layer.statistic:
            return weight
        return self.statistic(weight.new_ones(self.width))[:, None] * weight

    # biases

    def bias_shift(self, inputs: Tensor) -> dict[str, Tensor]:
        """Changes of parameters, by name, that do what constant inputs, (width,), do.

        Initialisation, centring and annealing move biases by it. Linear in the inputs.
        """
        return {"bias": inputs}

    def input_gradient(self, gradient: dict[str, Tensor]) -> Tensor:
        """Derivative by constant inputs, (width,), given those by the layer's parameters.

        The adjoint of `bias_shift`, from which it follows; centred gradients need it.
        """
        per_input = self.bias_shift(torch.ones_like(self.like).new_ones(self.width))
        return torch.stack([part * gradient[name] for name, part in per_input.items()]).sum(0)

    @torch.no_grad()
    def shift_(self, inputs: Tensor) -> None:
        """Move the biases, in place, by what constant inputs, (width,), do."""
        for name, change in self.bias_shift(inputs).items():
            self.get_parameter(name).add_(change)

    @torch.no_grad()
    def inputs_for(self, rows: Tensor) -> Tensor:
        """Constant inputs, (width,), that give units without weights the means of rows.

        By bisection; units of several columns need a method of their own, else `ArgumentError`.
        """
        require_one_column(self, "inputs_for")
        return inputs_with_means(self.mean, rows.mean(0))

    def initialize(self, rows: Tensor) -> None:
        """Move the biases so that the layer alone, without weights, fits each column of rows."""
        self.shift_(self.inputs_for(rows))

    @torch.no_grad()
    def zero_biases(self) -> None:
        """Set the biases to zero."""
        for name in self.bias_shift(self.zero_inputs(1)[0]):
            self.get_parameter(name).zero_()

    def fitted(self, data: Tensor) -> Layer:
        """A new layer in float64 that by itself, without weights, fits each column of data."""
        layer = copy.deepcopy(self).double()
        layer.initialize(data.double())
        return layer

    def precondition_(self, gradient: dict[str, Tensor]) -> None:
        """Turn the gradient of the layer's own parameters, in place, into the step's direction.

        Each entry may be multiplied by a positive number: the direction still leads uphill, and
        vanishes where the gradient does. Here all stay as they are.
        """

    def uncorrelated(self) -> Layer:
        """A layer of like units, independent of each other: here itself."""
        return self

    # states

    @property
    def n_states(self) -> float:
        """Number of states of the layer; infinite if one of its units has endless states."""
        return math.prod(map(float, self.sizes))

    def states(self, start: int, stop: int) -> Tensor:
        """States of index start to stop - 1, (stop - start, width); finite layers only.

        The first unit changes fastest.
        """
        if math.isinf(max(self.sizes)):
            raise ArgumentError(f"{self.describe()} has no countable states to enumerate")
        return self.encode(state_codes(self.sizes, start, stop).to(self.like.device))

    def encode(self, codes: Tensor) -> Tensor:
        """States, (..., width), of units whose states have the numbers given, int64 (..., n)."""
        raise ArgumentError(f"{self.describe()} has no countable states to number")

    def unit_columns(self, unit: int) -> slice:
        """Columns that hold the state of a unit."""
        return slice(unit, unit + 1)

    @abstractmethod
    def unit_states(self, unit: int, reach: float = 0.0) -> tuple[Tensor, Tensor]:
        """Points (k, columns of the unit) and log-weights (k,) that sum or integrate over a unit.

        Log-weights are logs of the measure alone: 0 for a sum over states, the log of the weight
        of a quadrature (`gauss_legendre`) for an integral. Each column's input is at most `reach`
        in size, by which units with endless states know how far to look; a bias comes on top.
        """

    @torch.no_grad()
    def overdispersed(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n states spread over all possible ones, (n, width), to start chains from.

        Units that have no such spread, as real ones, are drawn without inputs.
        """
        return self.sample(self.zero_inputs(n), generator)

    def clamped(self, x: Tensor, values: Tensor) -> Tensor:
        """Draws x given the inputs, (rows, width), made into draws given some units' values too.

        Values are NaN where free, in one row or as many. Independent units that are free stay.
        """
        return torch.where(torch.isnan(values), x, values)

    def guess(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        """The state to name for a unit of that mean, and its probability: (..., width) each.

        The most probable state of units whose states are categories or two; of counts and real
        units the mean itself, and NaN for the probability. Here all count as the latter.
        """
        return mean, torch.full_like(mean, math.nan)

    # some units given the others

    @torch.no_grad()
    def conditioned(self, values: Tensor, weight: Tensor) -> tuple[Layer, Tensor]:
        r"""A layer of the units that are free, NaN in values, (width,), given the others.

        And its weight, (columns of the free units, m), made of this layer's, (width, m). For states
        x, with the free units at $x_f$ and the others at their values,

        $$E(x) - s(x)\cdot Wt = E'(x_f) - s'(x_f)\cdot W't - s(x^0)\cdot Wt + \text{const}$$

        for every t, where $x^0$ is x with 0 for the free units. One unit at least must be free.
        Here the free units and their rows of the weight as they are, which is right for
        `independent` units. Others need a method of their own, and their layer for other values
        must be this one but for a shift of states by what `clamped` moves them.

        Raises `ArgumentError` for a type that no layer of some of the units can be made of: the new
        layer is `skeleton` of `unit_options`, with the free units' entries of stored tensors.
        """
        if not self.independent:
            raise ArgumentError(
                f"units of {self.describe()} depend on each other, and it has no method "
                "conditioned of its own; define conditioned"
            )
        free = torch.isnan(values)
        units = [unit for unit in range(self.n) if bool(free[self.unit_columns(unit)].all())]
        entries = {
            self.n: torch.tensor(units, device=free.device),
            self.width: free.nonzero()[:, 0],
        }
        tensors = {
            name: value[entries[len(value)]] if len(value) in entries else value
            for name, value in self.state_dict().items()
        }
        shapes = {name: list(value.shape) for name, value in tensors.items()}
        try:
            layer = type(self).skeleton(len(units), shapes, self.unit_options(units)).to(self.like)
            layer.load_state_dict(tensors)
        except (ArgumentError, TypeError, RuntimeError) as error:
            raise ArgumentError(
                f"no layer of {len(units)} of the units of {self.describe()} can be made "
                f"({error}); define skeleton, unit_options or conditioned"
            ) from error
        return layer, weight[free].clone()

    def unit_options(self, units: Sequence[int]) -> dict[str, Any]:
        """`options` of a layer of some of the units."""
        return self.options()

    def curvature(self) -> Tensor:
        """Largest c known for which the energy grows like c s(x)^2 / 2 at least: (width,).

        Infinite for units in a bounded interval, 0 for others unless their layer says more. Two
        unbounded layers have a finite Z as long as the weight is small against it (`model.fault`).
        """
        bounded = all(map(math.isfinite, self.interval))
        return self.like.new_full((self.width,), math.inf if bounded else 0.0)

    # layers made of others

    def rescaled(self, shift: Tensor, scale: Tensor) -> Layer:
        """A new layer for shift + scale * x, both (width,); only units with a scale can."""
        raise ArgumentError(f"{self.describe()} cannot be rescaled; only Gaussian units can")

    @classmethod
    def for_columns(cls, greatest: Tensor, **options: Any) -> Layer:
        """A layer of one unit a column of data, given the greatest value in each, (n,).

        Of the options it takes those that its constructor has, unless they are None. Raises
        `ArgumentError` if the constructor needs others.
        """
        signature = inspect.signature(cls)
        given = {k: x for k, x in options.items() if k in signature.parameters and x is not None}
        try:
            signature.bind(len(greatest), **given)
        except TypeError as error:
            raise ArgumentError(f"no {cls.__name__} for columns of data alone: {error}") from None
        return cls(len(greatest), **given)

    def kinds(self) -> list[tuple[type[Layer], int]]:
        """Types of the units and how many of each, in order."""
        return [(type(self), self.n)]

    @classmethod
    def skeleton(cls, n: int, shapes: dict[str, list[int]], options: dict[str, Any]) -> Layer:
        """A layer of n units ready to take stored tensors, by `load_state_dict`.

        Shapes are by tensor, options as `options` gave them; some types need these, not n.
        """
        return cls(n, **options)
