"""Layers of different types side by side: the columns of a typed table."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from gibbsite.checks import as_array, as_tensor
from gibbsite.errors import ArgumentError, EntryError
from gibbsite.layers.base import Layer
from gibbsite.layers.moments import Moments
from gibbsite.layers.names import as_layer, layer_type, name_of


class MixedMoments(NamedTuple):
    """The mean of all columns, and the moments of each part by its own type."""

    mean: Tensor
    parts: tuple[Moments, ...]


class Mixed(Layer):
    r"""Layers side by side as one: energies and log-partitions add up, columns follow each other.

    $E(x) = \sum_k E_k(x_k)$ for $x = (x_1, x_2, \dots)$, with the statistics and the conditionals
    of the parts. The units of all parts meet the same units on the other side of a model, as in
    mixed-variate RBMs (Tran, Phung, Venkatesh 2011). Parameters are those of the parts, named
    ``layers.0.bias`` and so on; a part may be a `Mixed` itself. Data are (rows, width), or one
    column a unit, (rows, n), where a part takes codes (see `Categorical`).

    Args:
        *layers: the parts, each an object of its own, all of one dtype.

    Attributes: ``layers``, the parts, and ``columns``, the slice of columns of each.

    >>> import torch, gibbsite as gb
    >>> layer = gb.Mixed(gb.Bernoulli(2), gb.Gaussian(1), gb.Poisson(1))
    >>> layer.n, layer.width, layer.columns[1]
    (4, 4, slice(2, 3, None))
    >>> layer.mean(torch.zeros(4)).tolist()
    [0.5, 0.5, 0.0, 1.0]
    """

    def __init__(self, *layers: Layer) -> None:
        _check_parts(layers)
        super().__init__(sum(layer.n for layer in layers), sum(layer.width for layer in layers))
        self.layers = nn.ModuleList(layers)
        ends = accumulate((layer.width for layer in layers), initial=0)
        self.columns = [slice(start, stop) for start, stop in pairwise(ends)]
        self.sizes = [size for layer in layers for size in layer.sizes]
        lows, highs = zip(*(layer.interval for layer in layers), strict=True)
        self.interval = min(lows), max(highs)
        self.has_units = any(layer.has_units for layer in layers)
        self.whole = any(layer.whole for layer in layers)
        self.independent = all(layer.independent for layer in layers)

    def parts(self) -> list[Layer]:
        """The layers, in order."""
        return list(cast("Iterable[Layer]", self.layers))

    def split(self, x: Tensor) -> list[tuple[Layer, Tensor]]:
        """Each part with its columns of x, (..., width), contiguous."""
        pairs = zip(self.parts(), self.columns, strict=True)
        return [(layer, x[..., columns].contiguous()) for layer, columns in pairs]

    # the exponential family

    def energy(self, x: Tensor) -> Tensor:
        return torch.stack([layer.energy(part) for layer, part in self.split(x)]).sum(0)

    def statistic(self, x: Tensor) -> Tensor:
        return torch.cat([layer.statistic(part) for layer, part in self.split(x)], -1)

    def log_partition(self, inputs: Tensor) -> Tensor:
        return torch.stack([layer.log_partition(part) for layer, part in self.split(inputs)]).sum(0)

    def moments(self, inputs: Tensor) -> MixedMoments:
        return joined([layer.moments(part) for layer, part in self.split(inputs)])

    def moments_at(self, x: Tensor) -> MixedMoments:
        return MixedMoments(x, tuple(layer.moments_at(part) for layer, part in self.split(x)))

    def gradient(
        self, moments: Any, weights: Tensor, coupling: Callable[[], Tensor]
    ) -> dict[str, Tensor]:
        _, parts = moments
        shared = functools.cache(coupling)

        def of_part(columns: slice) -> Callable[[], Tensor]:
            return lambda: shared()[columns]

        return self._named(
            layer.gradient(part, weights, of_part(columns))
            for layer, part, columns in zip(self.parts(), parts, self.columns, strict=True)
        )

    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.cat([layer.sample(part, generator) for layer, part in self.split(inputs)], -1)

    def scaled_weight(self, weight: Tensor) -> Tensor:
        pairs = zip(self.parts(), self.columns, strict=True)
        return torch.cat([layer.scaled_weight(weight[columns]) for layer, columns in pairs])

    # biases

    def bias_shift(self, inputs: Tensor) -> dict[str, Tensor]:
        return self._named(layer.bias_shift(part) for layer, part in self.split(inputs))

    def input_gradient(self, gradient: dict[str, Tensor]) -> Tensor:
        return torch.cat([layer.input_gradient(own) for layer, own in self._own(gradient)])

    def shift_(self, inputs: Tensor) -> None:
        for layer, part in self.split(inputs):
            layer.shift_(part)

    def inputs_for(self, rows: Tensor) -> Tensor:
        return torch.cat([layer.inputs_for(part) for layer, part in self.split(rows)])

    def initialize(self, rows: Tensor) -> None:
        for layer, part in self.split(rows):
            layer.initialize(part)

    def zero_biases(self) -> None:
        for layer in self.parts():
            layer.zero_biases()

    def fitted(self, data: Tensor) -> Mixed:
        return Mixed(*(layer.fitted(part) for layer, part in self.split(data)))

    def precondition_(self, gradient: dict[str, Tensor]) -> None:
        for layer, own in self._own(gradient):
            layer.precondition_(own)

    def uncorrelated(self) -> Mixed:
        return Mixed(*(copy.deepcopy(layer.uncorrelated()) for layer in self.parts()))

    # states

    def encode(self, codes: Tensor) -> Tensor:
        layers = self.parts()
        parts = torch.split(codes, [layer.n for layer in layers], -1)
        return torch.cat(
            [layer.encode(part) for layer, part in zip(layers, parts, strict=True)], -1
        )

    def unit_columns(self, unit: int) -> slice:
        layer, own, first = self._locate(unit)
        columns = layer.unit_columns(own)
        return slice(first + columns.start, first + columns.stop)

    def unit_states(self, unit: int, reach: float = 0.0) -> tuple[Tensor, Tensor]:
        layer, own, _ = self._locate(unit)
        return layer.unit_states(own, reach)

    def overdispersed(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.cat([layer.overdispersed(n, generator) for layer in self.parts()], -1)

    def clamped(self, x: Tensor, values: Tensor) -> Tensor:
        pairs = zip(self.split(x), self.split(values), strict=True)
        return torch.cat([layer.clamped(own, held) for (layer, own), (_, held) in pairs], -1)

    def guess(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        states, probabilities = zip(
            *(layer.guess(part) for layer, part in self.split(mean)), strict=True
        )
        return torch.cat(states, -1), torch.cat(probabilities, -1)

    def conditioned(self, values: Tensor, weight: Tensor) -> tuple[Layer, Tensor]:
        """`Layer.conditioned`, part by part; of one part that has free units that part alone."""
        layers, weights = [], []
        for (layer, own), columns in zip(self.split(values), self.columns, strict=True):
            if bool(torch.isnan(own).any()):
                free, rows = layer.conditioned(own, weight[columns])
                layers.append(free)
                weights.append(rows)
        return layers[0] if len(layers) == 1 else Mixed(*layers), torch.cat(weights)

    def curvature(self) -> Tensor:
        return torch.cat([layer.curvature() for layer in self.parts()])

    # checks and data

    @property
    def like(self) -> Tensor:
        return self.parts()[0].like

    @property
    def measured(self) -> Tensor:
        return torch.cat([layer.measured for layer in self.parts()])

    def fault(self) -> str:
        faults = ((index, layer.fault()) for index, layer in enumerate(self.parts()))
        return next((f"layers.{index}.{found}" for index, found in faults if found), "")

    def check_states(self, x: Tensor) -> None:
        super().check_means(x)
        for (layer, part), columns in zip(self.split(x), self.columns, strict=True):
            with _columns_from(columns.start):
                layer.check_states(part)

    def check_means(self, x: Tensor) -> None:
        super().check_means(x)
        for layer, part in self.split(x):
            layer.check_means(part)

    def coerce(self, x: Tensor) -> Tensor:
        """`Layer.coerce`; of codes, one a unit, each part makes its own columns."""
        x = as_tensor(x, self.like)
        if x.ndim == 0 or x.shape[-1] != self.n or self.n == self.width:
            return super().coerce(x)
        return self._by_part(x, lambda layer, part: layer.coerce(part))

    def check_data(self, data: Tensor) -> Tensor:
        """`Layer.check_data`, by part; an error counts the columns of the whole."""
        given = data if isinstance(data, Tensor) else as_array(data)
        if given.ndim != 2 or len(given) == 0 or given.shape[1] not in (self.n, self.width):
            return super().check_data(data)
        return self._by_part(given, lambda layer, part: layer.check_data(part))

    def check(self, rows: Tensor) -> None:
        """Let every part check its columns; an error counts them from the first part's first."""
        for (layer, part), columns in zip(self.split(rows), self.columns, strict=True):
            with _columns_from(columns.start):
                layer.check(part)

    @property
    def checks_extremes(self) -> bool:
        return all(layer.checks_extremes for layer in self.parts())

    def by_unit(self, x: Tensor) -> Tensor:
        return torch.cat([layer.by_unit(part) for layer, part in self.split(x)], -1)

    def as_grey(self, x: Tensor) -> Tensor:
        return torch.cat([layer.as_grey(part) for layer, part in self.split(x)], -1)

    def pull(self, weight: Tensor) -> Tensor:
        pairs = zip(self.parts(), self.columns, strict=True)
        return torch.cat([layer.pull(weight[columns]) for layer, columns in pairs])

    def learned_scales(self) -> dict[str, slice]:
        return {
            f"layers.{index}.{name}": slice(columns.start + own.start, columns.start + own.stop)
            for index, (layer, columns) in enumerate(zip(self.parts(), self.columns, strict=True))
            for name, own in layer.learned_scales().items()
        }

    def observe(self, data: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.cat([layer.observe(part, generator) for layer, part in self.split(data)], -1)

    def rescaled(self, shift: Tensor, scale: Tensor) -> Mixed:
        """A new layer for shift + scale * x; 0 and 1 for parts that have no scale."""

        def part(layer: Layer, shift: Tensor, scale: Tensor) -> Layer:
            same = bool((shift == 0).all() and (scale == 1).all())
            return copy.deepcopy(layer) if same else layer.rescaled(shift, scale)

        triples = zip(self.parts(), self.columns, strict=True)
        return Mixed(*(part(layer, shift[columns], scale[columns]) for layer, columns in triples))

    # description

    def kinds(self) -> list[tuple[type[Layer], int]]:
        return [kind for layer in self.parts() for kind in layer.kinds()]

    def options(self) -> dict[str, Any]:
        return {
            "layers": [
                {"type": name_of(layer), "n": layer.n, "options": layer.options()}
                for layer in self.parts()
            ]
        }

    @classmethod
    def skeleton(cls, n: int, shapes: dict[str, list[int]], options: dict[str, Any]) -> Mixed:
        layers = []
        for index, part in enumerate(options["layers"]):
            own = dict(_beneath(shapes, f"layers.{index}."))
            layers.append(layer_type(part["type"]).skeleton(part["n"], own, part["options"]))
        mixed = cls(*layers)
        if mixed.n != n:
            raise ArgumentError(f"{n!r} units, but its parts have {mixed.n}")
        return mixed

    def describe(self) -> str:
        return f"Mixed({', '.join(layer.describe() for layer in self.parts())})"

    def extra_repr(self) -> str:
        return ""

    # parameters and units by part

    def _by_part(self, x: Any, convert: Callable[[Layer, Any], Tensor]) -> Tensor:
        """Results of `convert` for each part's share of x, which is by column, or else by unit."""
        by_column = x.shape[-1] == self.width
        done, first = [], 0
        for layer in self.parts():
            last = first + (layer.width if by_column else layer.n)
            with _columns_from(first):
                done.append(convert(layer, x[..., first:last]))
            first = last
        return torch.cat(done, -1)

    def _named(self, parts: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Tensors of the parts' parameters under their names in the whole."""
        return {
            f"layers.{index}.{name}": value
            for index, part in enumerate(parts)
            for name, value in part.items()
        }

    def _own(self, gradient: dict[str, Tensor]) -> list[tuple[Layer, dict[str, Tensor]]]:
        """Each part with its tensors under its own names: inverse of `_named`."""
        return [
            (layer, dict(_beneath(gradient, f"layers.{index}.")))
            for index, layer in enumerate(self.parts())
        ]

    def _locate(self, unit: int) -> tuple[Layer, int, int]:
        """The part that holds a unit, the unit's index there, and the part's first column."""
        for layer, columns in zip(self.parts(), self.columns, strict=True):
            if unit < layer.n:
                return layer, unit, columns.start
            unit -= layer.n
        raise IndexError(f"{self.describe()} has {self.n} units")


def joined(parts: list[Moments]) -> MixedMoments:
    """Moments of all columns from those of the parts."""
    return MixedMoments(torch.cat([part.mean for part in parts], -1), tuple(parts))


def _beneath(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Names and values under a prefix, without it."""
    for name, value in values.items():
        if name.startswith(prefix):
            yield name.removeprefix(prefix), value


@contextmanager
def _columns_from(first: int) -> Iterator[None]:
    """Count the columns of an `EntryError` from so many before."""
    try:
        yield
    except EntryError as error:
        raise error.shifted(columns=first) from None


def _check_parts(layers: tuple[Layer, ...]) -> None:
    if not layers:
        raise ArgumentError("no layers; pass at least one, such as gb.Mixed(gb.Bernoulli(3))")
    for index, layer in enumerate(layers):
        as_layer(f"layer {index}", layer)
    inner = [id(module) for layer in layers for module in layer.modules()]
    if len(set(inner)) < len(inner):
        raise ArgumentError("the same layer appears twice; make one object for each part")
    if len(dtypes := {str(layer.like.dtype) for layer in layers}) > 1:
        raise ArgumentError(f"layers of {' and '.join(sorted(dtypes))}; make all of one dtype")
