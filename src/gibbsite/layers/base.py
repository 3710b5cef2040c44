"""The contract that every unit type fulfils."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from gibbsite import ops
from gibbsite.checks import as_array, as_tensor, check_counts, check_memory, not_finite
from gibbsite.errors import ArgumentError, DataError, EntryError
from gibbsite.rows import Rows, picked


class Marginals(NamedTuple):
    """Means and variances of independent units, each (rows, n).

    A known configuration x is ``Marginals(x, zeros)``: see `Marginals.at`.
    """

    mean: Tensor
    variance: Tensor

    @classmethod
    def at(cls, x: Tensor) -> Marginals:
        """Units whose states are known: mean x, no variance."""
        return cls(x, x.new_zeros(()))


class Phases(NamedTuple):
    """The data's phase and the model's of one layer in one tensor, so that one product does both.

    Attributes:
        table: tensor (rows + others, n) of states or means of units, the data's first.
        rows: number of rows that are the data's.
        means: over the data's rows, over the model's, and the difference, (3, n).
        known: True if the table holds states, False if means.
    """

    table: Tensor
    rows: int
    means: Tensor
    known: bool


class Layer(nn.Module, ABC):
    r"""A vector of n independent units of one type, coupled to the rest through `inputs`.

    A layer is the exponential family

    $$p(x \mid \text{inputs}) = \exp\bigl(-\text{energy}(x) + \text{statistic}(x)\cdot\text{inputs}
      - \text{log\_partition}(\text{inputs})\bigr),$$

    where inputs, (..., n), is what the other layer sends through the weight. Everything that
    depends on the unit type is a method here; nothing outside ``layers/`` asks for the type.
    Two identities hold for every layer and are tested for every layer:
    ``statistic(mean(inputs)) = d log_partition / d inputs``, and samples have `mean` and
    `variance`.
    """

    bias: nn.Parameter
    has_units: ClassVar[bool] = False
    """True if states are measured in units of the data, so that `rescaled` works."""
    is_binary: ClassVar[bool] = False
    """True if units are 0 or 1, with log-odds bias + inputs and no other parameter.

    Kernels for binary models then stand in for the layer's methods.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Drop inherited shortcuts past a formula that the subclass overrides."""
        super().__init_subclass__(**options)
        own = vars(cls)
        cls.is_binary = own.get("is_binary", False)
        for shortcut, formulas in SHORTCUTS.items():
            if shortcut not in own and any(formula in own for formula in formulas):
                setattr(cls, shortcut, getattr(Layer, shortcut))

    def __init__(self, n: int) -> None:
        super().__init__()
        check_counts(n=n)
        check_memory(f"{n} units", n)
        self.n = int(n)
        self.bias = nn.Parameter(torch.zeros(self.n))

    # the exponential family

    @abstractmethod
    def energy(self, x: Tensor) -> Tensor:
        """The layer's own energy of states x: (..., n) -> (...)."""

    @abstractmethod
    def statistic(self, x: Tensor) -> Tensor:
        """Statistic s(x) that meets the weight, by unit and linear in x: (..., n) -> (..., n)."""

    @abstractmethod
    def log_partition(self, inputs: Tensor) -> Tensor:
        r"""$\log\int\exp(-\text{energy}(x) + \text{statistic}(x)\cdot\text{inputs})\,dx$: (...)."""

    @abstractmethod
    def mean(self, inputs: Tensor) -> Tensor:
        """E[x | inputs], unit by unit."""

    @abstractmethod
    def variance(self, inputs: Tensor) -> Tensor:
        """Var[x | inputs], unit by unit."""

    @torch.no_grad()
    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw x ~ p(x | inputs), unit by unit."""
        rows = inputs.detach().clone(memory_format=torch.contiguous_format).reshape(-1, self.n)
        return self.sample_(rows, generator).reshape(inputs.shape)

    @abstractmethod
    def sample_(
        self,
        inputs: Tensor,
        generator: torch.Generator | None = None,
        *,
        scale: float = 1.0,
        base: Tensor | None = None,
    ) -> Tensor:
        """Overwrite inputs, (rows, n), with a draw given base + scale (inputs - base).

        base is (n,); none is 0.
        """

    @abstractmethod
    def mean_(self, inputs: Tensor) -> Tensor:
        """Overwrite inputs, (rows, n), with E[x | inputs]."""

    def mean_and_sample_(
        self,
        inputs: Tensor,
        generator: torch.Generator | None = None,
        start: int = 0,
        out: Tensor | None = None,
    ) -> Tensor:
        """Overwrite inputs, (rows, n), with E[x | inputs]; returns draws of the rows from start."""
        draws = inputs.new_empty(len(inputs) - start, self.n) if out is None else out
        self.sample_(draws.copy_(inputs[start:]), generator)
        self.mean_(inputs)
        return draws

    @torch.no_grad()
    def log_partition_change(
        self, inputs: Tensor, base: Tensor, old: float, new: float, out: Tensor | None = None
    ) -> Tensor:
        """log_partition(base + t (inputs - base)) at t = new less that at old, in float64, (rows,).

        inputs are (rows, n), base (n,).
        """
        after, before = (self.log_partition(torch.lerp(base, inputs, t)) for t in (new, old))
        change = (after - before).double()
        return change if out is None else out.copy_(change)

    def coupled(
        self, weight: Tensor, table: Callable[[Tensor], Tensor] = torch.empty_like
    ) -> Tensor:
        """weight, (n, others), as constants such that x @ coupled = statistic(x) @ weight.

        weight itself if the layer need not change it, else in the buffer that `table` gives for it.
        """
        return weight.detach()

    def log_prob(self, x: Tensor, inputs: Tensor) -> Tensor:
        """log p(x | inputs) in nats: (...)."""
        coupling = (self.statistic(x) * inputs).sum(-1)
        return coupling - self.energy(x) - self.log_partition(inputs)

    def marginals(self, inputs: Tensor) -> Marginals:
        """`mean` and `variance` together."""
        return self.marginals_with_mean(self.mean(inputs))

    @abstractmethod
    def marginals_with_mean(self, mean: Tensor) -> Marginals:
        """A mean that some inputs give, with the variance that goes with it."""

    @abstractmethod
    def parameter_gradient(
        self, units: Marginals, weights: Tensor, interaction: Callable[[], Tensor]
    ) -> dict[str, Tensor]:
        r"""Weighted sum over rows of $-\partial E/\partial\theta$ for the layer's own parameters.

        `units` are (rows, n), `weights` (rows,). `interaction` gives the weighted sum of
        statistic(x) * inputs, (n,), on which a parameter inside the statistic (a scale) acts.
        """

    def contrast(self, phases: Phases, interaction: Callable[[], Tensor]) -> dict[str, Tensor]:
        """`parameter_gradient` of the mean over the data's rows less that over the model's.

        `interaction` is already a difference. May overwrite all means but the data's. No gradient.
        """
        units = Marginals.at if phases.known else self.marginals_with_mean
        parts = phases.table[: phases.rows], phases.table[phases.rows :]
        shares = (part.new_full((len(part),), 1 / len(part)) for part in parts)
        terms = (interaction, lambda: self.bias.new_zeros(()))
        positive, negative = map(self.parameter_gradient, map(units, parts), shares, terms)
        return {name: positive[name] - negative[name] for name in positive}

    def precondition_(self, gradient: dict[str, Tensor]) -> None:
        """Turn the gradient of the layer's own parameters, in place, into the step's direction.

        Each entry may be multiplied by a positive number: the direction still leads uphill, and
        vanishes where the gradient does. Here all stay as they are.
        """

    def bias_per_input(self, out: Tensor | None = None) -> Tensor:
        """Change of the bias that does what an input of 1 does, (n,); in `out`, if given."""
        return torch.ones_like(self.bias) if out is None else out.fill_(1)

    # states

    @property
    def n_states(self) -> float:
        """Number of states of the layer; infinite for continuous units."""
        return math.inf

    def states(self, start: int, stop: int) -> Tensor:
        """States of index start to stop - 1, (stop - start, n); finite layers only."""
        raise ArgumentError(f"{self.describe()} has no countable states to enumerate")

    @abstractmethod
    def unit_grid(self, spread: Tensor) -> tuple[Tensor, Tensor]:
        """Points and log-weights, (k, n) each, that sum or integrate over one unit's states.

        `spread`, (n,), bounds |inputs|, so that a continuous unit knows how far to look.
        """

    @torch.no_grad()
    def overdispersed(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n states spread over all possible ones, (n, units), to start chains from.

        Units that have no such spread, as real ones, are drawn without inputs.
        """
        return self.sample(self.bias.new_zeros(n, self.n), generator)

    # checks

    def fault(self) -> str:
        """The first parameter that no formula can use, such as ``bias holds nan``, or ""."""
        for name, value in self.state_dict(keep_vars=True).items():
            if found := first_fault(name, value, torch.isfinite):
                return found
        return ""

    def check_states(self, x: Tensor) -> None:
        """Raise `DataError` unless x holds states, (rows, n), as `sample` gives them."""
        self.check_means(x)
        self.check_data(x)
        if self.is_binary and not ops.is_binary(x):
            raise DataError("states of binary units other than 0 and 1")

    def check_means(self, x: Tensor) -> None:
        """Raise `DataError` unless rows of x, (rows, n), may be means of states, up to rounding."""
        if x.ndim != 2 or x.shape[1] != self.n or x.dtype != self.bias.dtype:
            raise DataError(
                f"states of shape {tuple(x.shape)}, {x.dtype}: expected (rows, {self.n}), "
                f"{self.bias.dtype}"
            )
        if not bool(torch.isfinite(x).all()):
            raise DataError("states that are not finite")

    # data

    def coerce(self, x: Tensor) -> Tensor:
        """x as a tensor of the layer's dtype and device; its last axis must have n entries."""
        x = as_tensor(x, self.bias)
        if x.ndim == 0 or x.shape[-1] != self.n:
            width = "no" if x.ndim == 0 else x.shape[-1]
            raise DataError(
                f"states have {width} columns but {self.describe()} has {self.n} units; "
                "pass arrays whose last axis is the units"
            )
        return x

    def check_data(self, data: Tensor) -> Tensor:
        """`coerce`, and raise `DataError` unless data are (rows, n), finite and not empty."""
        given, data = data, self.coerce(data)
        if data.ndim != 2 or len(data) == 0:
            raise DataError(
                f"data of shape {tuple(data.shape)}: expected (rows, {self.n}), at least one row"
            )
        if not bool(torch.isfinite(torch.stack(torch.aminmax(data))).all()):
            row, column = (int(i) for i in (~torch.isfinite(data)).nonzero()[0])
            entries = given if isinstance(given, Tensor) else as_array(given)
            fault, remedy = not_finite(float(entries[row, column]), data.dtype)
            raise EntryError(fault, row, column, remedy)
        return data

    def observe(self, data: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Data as states to train on; a layer may draw them (see `Bernoulli.observe`)."""
        return data

    def take(
        self,
        data: Tensor | Rows,
        index: Tensor,
        generator: torch.Generator | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """The rows asked for as states to train on: `observe` of data[index], in `out` if it can.

        out is (len(index), n); data and index are on one device.
        """
        return self.observe(self.coerce(picked(data, index, out)), generator)

    @abstractmethod
    def initialize(self, data: Tensor) -> None:
        """Set the bias so that the layer alone, without weights, fits each column of data."""

    def fitted(self, data: Tensor) -> Layer:
        """A new layer in float64 that by itself, without weights, fits each column of data."""
        layer = copy.deepcopy(self).double()
        layer.initialize(data.double())
        return layer

    def rescaled(self, shift: Tensor, scale: Tensor) -> Layer:
        """A new layer for shift + scale * x, shift and scale (n,); only units with a scale can."""
        raise ArgumentError(f"{self.describe()} cannot be rescaled; only Gaussian units can")

    # description

    def options(self) -> dict[str, bool]:
        """Constructor arguments beyond n and the stored tensors, as a model file keeps them."""
        return {}

    @classmethod
    def skeleton(cls, n: int, shapes: dict[str, list[int]], options: dict[str, bool]) -> Layer:
        """A layer ready to take stored tensors of the given shapes."""
        return cls(n, **options)

    def describe(self) -> str:
        """Name and size, such as ``Bernoulli(64)``."""
        return f"{type(self).__name__}({self.n})"

    def extra_repr(self) -> str:
        return str(self.n)


SHORTCUTS = {
    "mean_and_sample_": ("sample_", "mean_"),
    "log_partition_change": ("log_partition",),
    "contrast": ("parameter_gradient", "marginals_with_mean"),
    "take": ("observe",),
}
"""Methods with a general form in `Layer`, and the formulas from which that follows."""


def check_layer(name: str, value: object) -> Layer:
    """Return value if it is a layer, else raise `ArgumentError`."""
    if not isinstance(value, Layer):
        raise ArgumentError(f"{name}={value!r}: expected a layer such as gb.Bernoulli(64)")
    return value


def require(data: Tensor, good: Callable[[Tensor], Tensor], remedy: str) -> None:
    """Raise an `EntryError` that names the first value that is not good, its row and its column.

    Good is a range, so that it is enough to look at the least and the greatest.
    """
    if not bool(good(torch.stack(torch.aminmax(data))).all()):
        row, column = (int(i) for i in (~good(data)).nonzero()[0])
        raise EntryError(f"{data[row, column].item():g}", row, column, remedy)


def first_fault(name: str, value: Tensor, good: Callable[[Tensor], Tensor]) -> str:
    """The name and the first entry that is not good, such as ``bias holds nan``; "" if all are."""
    bad = ~good(value.detach())
    return f"{name} holds {value.detach()[bad][0].item():g}" if bool(bad.any()) else ""
