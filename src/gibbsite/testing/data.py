"""Checks of the data that a layer takes and tells: its interval, refusals, columns of a table."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gibbsite.errors import ArgumentError, DataError
from gibbsite.testing.case import LayerCase
from gibbsite.testing.compare import require, require_close

FAR = 1e4
"""Inputs at which the mean of a bounded unit is near an end of its interval."""

NEAR = 0.01
"""Share of the interval by which states may stay away from an end."""

SAME = 1e-3
"""Distance from a state below which a point is that state."""

PAIRS = 40
POINTS = 200


@torch.no_grad()
def interval_is_that_of_the_states(case: LayerCase) -> None:
    """States and means at far inputs stay in `interval`, come near its ends, and it has ends."""
    layer = case.layer
    points = torch.cat([layer.unit_states(unit)[0].flatten() for unit in range(layer.n)])
    means = torch.stack([layer.mean(torch.full_like(case.base, size)) for size in (FAR, -FAR)])
    low, high = layer.interval
    told = f"interval is [{low:g}, {high:g}]"
    size = high - low if math.isfinite(high - low) else 1.0
    for sign, bound, more in (1, high, "more"), (-1, -low, "less"):
        end, farthest = float((sign * points).max()), float((sign * means).max())
        nearest = max(end, farthest)
        require(end <= bound, f"{told}, but unit_states hold {sign * end:.6g}")
        if math.isinf(bound):
            spread = float(points.max() - points.min())
            require(
                not farthest <= end + NEAR * spread,
                f"{told}, but no state is {more} than {sign * nearest:.6g}; set interval, as "
                "without an end units count as unbounded",
            )
        else:
            require(
                not nearest < bound - NEAR * size,
                f"{told}, but states come no nearer to {sign * bound:g} than {sign * nearest:.6g}",
            )


def bad_data_are_refused(case: LayerCase) -> None:
    """NaN, infinity, other widths and values out of `interval`, by `DataError`."""
    layer = case.layer
    good = layer.sample(case.inputs, case.generator())
    bad = {"NaN": math.nan, "infinity": math.inf}
    low, high = layer.interval
    bad |= {f"{x:g}, out of interval": x for x in (low - 1, high + 1) if math.isfinite(x)}
    for name, value in bad.items():
        data = good.clone()
        data[1, -1] = value
        _require_refused(f"check_data of data that hold {name}", layer.check_data, data)
        _require_refused(f"check_states of states that hold {name}", layer.check_states, data)
    wider = torch.cat([good, good[:, :1]], 1)
    _require_refused("check_data of one column too many", layer.check_data, wider)
    _require_refused("check_states of one column too many", layer.check_states, wider)
    _require_refused("check_data of no row", layer.check_data, good[:0])


@torch.no_grad()
def what_is_no_state_is_refused(case: LayerCase) -> None:
    """Points between states, within `interval`; or `observe` draws states of them."""
    layer = case.layer
    good = layer.sample(case.inputs, case.generator())
    for unit in range(layer.n):
        points, limit = _states_and_limit(case, unit)
        for point in _between(case, points, limit)[:8]:
            data = good.clone()
            data[1, layer.unit_columns(unit)] = point
            what = f"of data in which unit {unit} is {[round(x, 6) for x in point.tolist()]}"
            remedy = "though that is none of its states; define check"
            try:
                seen = layer.observe(layer.check_data(data), case.generator())
            except DataError:
                pass
            else:
                distance = torch.cdist(seen[1:2, layer.unit_columns(unit)], points).min()
                require(distance <= limit, f"check_data {what} raises no DataError, {remedy}")
            _require_refused(f"check_states {what}", layer.check_states, data, f", {remedy}")


@torch.no_grad()
def units_are_told_by_column(case: LayerCase) -> None:
    """by_unit and as_grey give (..., n), pull (n, m), for_columns a layer of n units.

    What by_unit gives is read back, if `coerce` reads one column a unit.
    """
    layer, n, x = case.layer, case.layer.n, case.some_states(4)
    rows = {"states": x, "means": layer.mean(case.inputs), "shaped states": x.reshape(2, 2, -1)}
    methods: dict[str, Callable[[Tensor], Tensor]] = {
        "by_unit": layer.by_unit,
        "as_grey": layer.as_grey,
    }
    for name, method in methods.items():
        for kind, given in rows.items():
            _require_like(f"{name}({kind})", method(given), given, (*given.shape[:-1], n))
    weight = case.normal(layer.width, 2)
    _require_like(f"pull of a weight ({layer.width}, 2)", layer.pull(weight), weight, (n, 2))
    told = layer.by_unit(x)
    try:
        again = layer.coerce(told)
    except DataError:
        again = x
    require_close("coerce(by_unit(states)) is not the states", again, x, 1e-5)
    try:
        made = type(layer).for_columns(told.amax(0))
    except ArgumentError:  # as types do that need more than columns
        return
    require(made.n == n, f"for_columns of {n} columns has {made.n} units")


def _states_and_limit(case: LayerCase, unit: int) -> tuple[Tensor, float]:
    """States (k, columns) of a unit, and the distance from all of them beyond which none is.

    Of a sum over states these are all; points of an integral lie among others, so that the limit is
    twice the largest distance between neighbours. Real units of one column have no limit here:
    their states are an interval.
    """
    points, log_weights = case.layer.unit_states(unit)
    if not bool(log_weights.any()):
        return points, SAME
    if points.shape[1] == 1:
        return points, math.inf
    some = torch.randperm(len(points), generator=case.generator())[:POINTS].to(points.device)
    distances = torch.cdist(points[some], points).topk(2, largest=False).values
    return points, 2 * float(distances[:, 1].max())


def _between(case: LayerCase, points: Tensor, limit: float) -> Tensor:
    """Points halfway between two states, and of columns of one and the other, beyond the limit."""
    generator = case.generator(8)
    drawn = torch.randint(len(points), (2, PAIRS), generator=generator, device=points.device)
    one, other = points[drawn]
    takes = torch.rand(one.shape, generator=generator, device=points.device) < 0.5
    found = torch.stack([(one + other) / 2, torch.where(takes, one, other)], 1).flatten(0, 1)
    return found[torch.cdist(found, points).amin(1) > limit]


def _require_like(what: str, found: Tensor, given: Tensor, shape: tuple[int, ...]) -> None:
    require(
        found.shape == shape and found.dtype == given.dtype,
        f"{what} is {tuple(found.shape)}, {found.dtype}: expected {shape}, {given.dtype}",
    )
    require(torch.isfinite(found).all(), f"{what} is not finite")


def _require_refused(what: str, check: object, data: Tensor, remedy: str = "") -> None:
    try:
        check(data)  # type: ignore[operator]
    except DataError:
        return
    raise AssertionError(f"{what} raises no DataError{remedy}")


DOUBLE = (interval_is_that_of_the_states,)
BOTH = (bad_data_are_refused, what_is_no_state_is_refused, units_are_told_by_column)
