"""Checks of what a layer draws, and of its fast form, against sums over the states of its units."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from gibbsite.layers import Layer, fast, tempered
from gibbsite.rows import Rows
from gibbsite.testing.case import LayerCase
from gibbsite.testing.compare import (
    bernstein,
    require,
    require_close,
    require_mean,
    unchanged,
)

DRAWS = 20_000
FREQUENCIES = (0.7, 2.0)
"""Of the characteristic function, over the standard deviation."""

Draw = Callable[[Tensor, torch.Generator], Tensor]


def samples_have_the_distribution(case: LayerCase) -> None:
    """Mean, covariance within units, and E[cos tx], E[sin tx] by column."""
    _require_distribution("sample(inputs)", case, case.layer.sample, case.inputs)


def samples_are_states(case: LayerCase) -> None:
    layer = case.layer
    x = layer.sample(case.inputs, case.generator())
    require(not x.requires_grad, "sample must not record for autograd; use torch.no_grad()")
    layer.check_states(x)
    layer.check_data(x)
    low, high = layer.interval
    within = ((x >= low) & (x <= high)).all()
    require(within, f"sample leaves interval [{low:g}, {high:g}]")


def samples_are_independent(case: LayerCase) -> None:
    """Of other rows, the next one and that half the table away, and of other units."""
    layer = case.layer
    x = layer.sample(case.inputs[:1].expand(2 * DRAWS, -1), case.generator(1)).double()
    varied = x.std(0) > 0
    z = torch.where(varied, (x - x.mean(0)) / x.std(0).clamp(min=1e-300), 0.0)
    ones = varied.double()
    pairs = {
        "a row and the next": (z[::2], z[1::2]),
        "rows half the table apart": (z[:DRAWS], z[DRAWS:]),
    }
    for name, (a, b) in pairs.items():
        require_mean(f"correlation of samples of {name}", a * b, 0 * ones, ones)
    correlation = z.T @ z / len(z)
    for columns in case.blocks:
        correlation[columns, columns] = 0
    limit = bernstein(torch.ones_like(correlation), len(z), correlation.numel())
    what = "correlation of samples of different units"
    require_close(what, correlation, torch.zeros_like(correlation), limit)


def the_generator_decides(case: LayerCase) -> None:
    """And inputs, parameters and the global generator stay as they were."""
    layer, inputs = case.layer, case.inputs.repeat(20, 1)
    methods: dict[str, Draw] = {
        "sample": layer.sample,
        "overdispersed": lambda inputs, g: layer.overdispersed(len(inputs), g),
        "observe": lambda inputs, g: layer.observe(layer.sample(inputs, case.generator()), g),
    }
    for name, draw in methods.items():
        with unchanged(name, inputs, *layer.parameters()):
            draws = [draw(inputs, case.generator(seed)) for seed in (5, 5)]
        require(
            draws[0].dtype == inputs.dtype,
            f"{name} gives {draws[0].dtype}: expected {inputs.dtype}, as the inputs and parameters",
        )
        require(torch.equal(*draws), f"{name} gives other draws for the same generator")
        require(draws[0].shape == inputs.shape, f"{name} gives shape {tuple(draws[0].shape)}")
        layer.check_states(draws[0])
    other = layer.sample(inputs, case.generator(6))
    first = layer.sample(inputs, case.generator(5))
    require(not torch.equal(first, other), "sample gives the same draws for other generators")


@torch.no_grad()
def fast_moments_agree(case: LayerCase) -> None:
    """`fast(layer).moments` and `log_partition_change` are those of the layer's methods."""
    layer, inputs, form = case.layer, case.inputs, fast(case.layer)
    tolerance = 1e-9 if inputs.dtype == torch.float64 else 2e-4
    found, expected = form.moments(inputs.clone()), layer.moments(inputs)
    require_close("fast(layer).moments(inputs).mean", found.mean, expected.mean, tolerance)
    base = case.normal(layer.width)
    for old, new in (0.0, 1.0), (0.6, 0.55):
        after, before = (layer.log_partition(tempered(inputs, t, base)) for t in (new, old))
        change = form.log_partition_change(inputs.clone(), base, old, new)
        require(change.dtype == torch.float64, "log_partition_change is not in float64")
        what = f"fast(layer).log_partition_change(inputs, base, {old}, {new})"
        require_close(what, change, after.double() - before.double(), tolerance)


@torch.no_grad()
def fast_samples_have_the_distribution(case: LayerCase) -> None:
    """At scale 1, and at another scale with a base and without."""
    form, base = fast(case.layer), case.normal(case.layer.width)
    options: tuple[tuple[float, Tensor | None], ...] = ((1.0, None), (0.4, None), (0.4, base))
    for scale, origin in options:

        def draw(
            inputs: Tensor, g: torch.Generator, scale: float = scale, base: Tensor | None = origin
        ) -> Tensor:
            return form.sample(inputs.clone(), g, scale, base)

        told = "" if origin is None else ", base=base"
        what = f"fast(layer).sample(inputs, scale={scale}{told})"
        _require_distribution(what, case, draw, case.inputs, scale, origin)


@torch.no_grad()
def fast_minibatch_observes(case: LayerCase) -> None:
    """`minibatch` gives the rows asked for, as `observe` does: in distribution by the mean."""
    layer = case.layer
    x = layer.sample(case.inputs, case.generator())
    index = torch.tensor([2, 0, 2, 3]).repeat(500)
    found = fast(layer).minibatch(Rows(x), index, case.generator(3))
    layer.check_states(found)
    expected = layer.observe(x[index], case.generator(4))
    variance = (found.double() - expected.double()) ** 2
    what = "fast(layer).minibatch(rows, index)"
    for row in (0, 1, 3):
        part = slice(row, None, 4)
        require_mean(what, found[part], expected[part].double().mean(0), 2 * variance[part].mean(0))


def subclasses_lose_the_fast_form(case: LayerCase) -> None:
    """A subclass with a formula of its own is taken at its word."""
    layer, inputs = case.copy(), case.inputs
    parent = layer.__class__

    def moments(self: Layer, inputs: Tensor) -> object:
        return parent.moments(self, 0.5 * inputs)

    layer.__class__ = type(f"Own{parent.__name__}", (parent,), {"moments": moments})
    with torch.no_grad():
        found = fast(layer).moments(inputs.clone()).mean
        expected = parent.moments(layer, 0.5 * inputs).mean
    what = "fast(layer).moments of a subclass with moments of its own"
    require_close(what, found, expected)


def _require_distribution(
    what: str,
    case: LayerCase,
    draw: Draw,
    inputs: Tensor,
    scale: float = 1.0,
    base: Tensor | None = None,
) -> None:
    """Draws at each row of inputs, against sums over states at the tempered ones, in float64."""
    double = case.to(torch.float64)
    wide = None if base is None else base.double()
    sums = double.sums(tempered(inputs.double(), scale, wide))
    generator, rows = case.generator(7), len(inputs)
    many = inputs.repeat_interleave(DRAWS, 0)
    draws = draw(many, generator).double().reshape(rows, DRAWS, -1)
    for row in range(rows):
        for unit, part in enumerate(sums):
            where = f"{what}, unit {unit} at inputs[{row}]"
            states, p = part.x[:, part.columns], part.p[row]
            _require_moments(where, draws[row][:, part.columns], states, p)


def _require_moments(what: str, draws: Tensor, states: Tensor, p: Tensor) -> None:
    """Draws (draws, columns) of one unit have the distribution p, (k,), on states (k, columns)."""

    def require_mean_of(name: str, function: Callable[[Tensor], Tensor]) -> None:
        values = function(states)
        expected = p @ values
        variance = (p @ (values - expected) ** 2).clamp(min=0)
        require_mean(f"{name} of {what}", function(draws), expected, variance)

    mean = p @ states
    spread = (p @ (states - mean) ** 2).clamp(min=1e-12).sqrt()
    require_mean_of("mean", lambda x: x)
    require_mean_of(
        "covariance", lambda x: ((x - mean)[:, :, None] * (x - mean)[:, None]).flatten(1)
    )
    for t in FREQUENCIES:
        for name, function in ("cos", torch.cos), ("sin", torch.sin):
            require_mean_of(f"{name}({t} x/sd)", partial(_wave, function, mean, spread / t))


def _wave(function: Callable[[Tensor], Tensor], mean: Tensor, length: Tensor, x: Tensor) -> Tensor:
    return function((x - mean) / length)


DRAWS_AND_FORM = (
    the_generator_decides,
    samples_are_states,
    samples_have_the_distribution,
    samples_are_independent,
    fast_moments_agree,
    fast_samples_have_the_distribution,
    fast_minibatch_observes,
    subclasses_lose_the_fast_form,
)
