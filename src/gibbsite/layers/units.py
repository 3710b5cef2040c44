"""Units as columns of data and of model files: checks, data, description."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gibbsite.checks import as_tensor, check_counts, check_memory
from gibbsite.errors import DataError
from gibbsite.layers.faults import (
    first_fault,
    require_columns,
    require_finite,
    require_means,
    require_one_column,
    require_within,
)


class Units(nn.Module, ABC):
    """Base of `Layer`: the units' states as data have them, without any formula."""

    bias: nn.Parameter
    """Of layers that have one."""

    has_units: bool = False
    """True if states are measured in units of the data, so that `rescaled` works."""

    sizes: Sequence[float]
    """Number of states of each unit, (n,); infinite for those that cannot be enumerated."""

    interval: tuple[float, float] = (-math.inf, math.inf)
    """Least and greatest value of an entry of a state; without it units count as unbounded."""

    whole: bool = False
    """True if data are codes or counts: bytes then stand for themselves, not for grey levels."""

    independent: bool = True
    """True if units do not depend on each other given their inputs, as all but a few types'."""

    linear: bool = False
    """True if linear maps of states have a layer of their own, by `gibbsite.layers.transformed`."""

    nominal: bool = False
    """True if the states of a unit are categories, which a table may give as words."""

    def __init__(self, n: int, width: int | None = None) -> None:
        super().__init__()
        check_counts(n=n)
        self.n = int(n)
        self.width = self.n if width is None else int(width)
        check_memory(f"{n} units", self.width)
        self.sizes = [math.inf] * self.n

    # checks

    @property
    def measured(self) -> Tensor:
        """True for the columns that are measured in units of the data, (width,)."""
        return torch.full((self.width,), self.has_units, device=self.like.device)

    @property
    def like(self) -> Tensor:
        """The layer's first parameter, whose dtype and device are the layer's."""
        return next(iter(self._parameters.values()))  # type: ignore[return-value]

    def zero_inputs(self, rows: int) -> Tensor:
        """Inputs of 0, (rows, width)."""
        return self.like.new_zeros(rows, self.width)

    def fault(self) -> str:
        """The first parameter that no formula can use, such as ``bias holds nan``, or ""."""
        for name, value in self.state_dict(keep_vars=True).items():
            if found := first_fault(name, value, torch.isfinite):
                return found
        return ""

    def check_states(self, x: Tensor) -> None:
        """Raise `DataError` unless x holds states, (rows, width), as `sample` gives them.

        For chains and files. Override it only if `check` takes data that are no states, as
        probabilities are for binary units.
        """
        self.check_means(x)
        self.check_data(x)

    def check_means(self, x: Tensor) -> None:
        """Raise `DataError` unless rows of x, (rows, width), may be means, in `interval`."""
        require_means(x, self.like.new_empty(0, self.width), *self.interval)

    # data

    def coerce(self, x: Tensor) -> Tensor:
        """x as a tensor of the layer's dtype and device; its last axis must be the columns."""
        x = as_tensor(x, self.like)
        require_columns(self, x)
        return x

    def check_data(self, data: Tensor) -> Tensor:
        """`coerce`, and raise `DataError` unless data are (rows, width), at least one, and fit.

        Shape and finiteness are seen to here; what else makes a state is `check`'s, to override.
        """
        given, data = data, self.coerce(data)
        if data.ndim != 2 or len(data) == 0:
            raise DataError(
                f"data of shape {tuple(data.shape)}: expected (rows, {self.width}), at least one "
                "row"
            )
        require_finite(data, given)
        self.check(data)
        return data

    def check(self, rows: Tensor) -> None:
        """Raise `EntryError` unless rows, finite and (rows, width), hold states of the units.

        Override it if states are not all of an interval. Here every entry must lie in `interval`.
        """
        units = f"{type(self).__name__} units"
        require_within(rows, *self.interval, units, "rescale the data or use Gaussian units")

    @property
    def checks_extremes(self) -> bool:
        """True if rows fit as soon as the least and the greatest value of each column do."""
        return type(self).check is Units.check

    def observe(self, data: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Data as states to train on; a layer may draw them (see `Bernoulli.observe`)."""
        return data

    def by_unit(self, x: Tensor) -> Tensor:
        """States or means by unit, (..., n), as data have them; of one-hot columns the code."""
        require_one_column(self, "by_unit")
        return x

    def as_grey(self, x: Tensor) -> Tensor:
        """States or means as grey levels of a picture, one a unit: (..., n)."""
        return self.by_unit(x)

    def pull(self, weight: Tensor) -> Tensor:
        """Pull of weights, (width, m), on each unit towards greater values: (n, m)."""
        require_one_column(self, "pull")
        return weight

    def learned_scales(self) -> dict[str, slice]:
        """Parameters that are the logs of measured columns' scales, and those columns."""
        return {}

    # description

    def options(self) -> dict[str, Any]:
        """Constructor arguments beyond n and the stored tensors, as JSON, for a model file."""
        return {}

    def describe(self) -> str:
        """Name and size, such as ``Bernoulli(64)``."""
        return f"{type(self).__name__}({self.n})"

    def extra_repr(self) -> str:
        return str(self.n)
