"""Checks of a layer's units given others, and of the state to name for a mean."""

from __future__ import annotations

import math

import torch

from gibbsite.errors import ArgumentError
from gibbsite.testing.case import LayerCase
from gibbsite.testing.compare import require, require_close


@torch.no_grad()
def some_units_given_the_others(case: LayerCase) -> None:
    """As functions of the free units, energies and couplings agree but for a constant."""
    layer, x = case.layer, case.some_states()
    weight, t = case.normal(layer.width, 2, seed=3), case.normal(2, seed=4)
    for first in range(min(2, layer.n)):
        values = x[0].clone()
        for unit in range(first, layer.n, 2):
            values[layer.unit_columns(unit)] = math.nan
        free = torch.isnan(values)
        try:
            ours, rows = layer.conditioned(values, weight)
        except ArgumentError as error:
            raise AssertionError(f"conditioned: {error}") from None
        told = f"conditioned on all but units {first}, {first + 2}, ..."
        require(
            (ours.n, ours.width) == (len(range(first, layer.n, 2)), int(free.sum())),
            f"{told} has {ours.n} units in {ours.width} columns",
        )
        whole = torch.where(free, x, values)
        outside = torch.where(free, 0.0, values)
        expected = layer.energy(whole) - layer.statistic(whole - outside) @ weight @ t
        found = ours.energy(x[:, free]) - ours.statistic(x[:, free]) @ rows @ t
        require_close(
            f"{told}, energy(x) - statistic(x) @ weight less that of the first row",
            found - found[0],
            expected - expected[0],
        )
        ours.check_states(x[:, free])
        _other_values_shift_it(case, values, told)


def _other_values_shift_it(case: LayerCase, values: torch.Tensor, told: str) -> None:
    """For other values of the others it is the same but for what `clamped` moves states by."""
    layer, x, free = case.layer, case.some_states(), torch.isnan(values)
    other = torch.where(free, values, x[1])
    state = torch.where(free, x, values)
    moved = layer.clamped(state, other[None])
    weight = case.normal(layer.width, 2, seed=3)
    (before, rows), (after, others) = (layer.conditioned(y, weight) for y in (values, other))
    require_close(f"{told}: its weight for other values", others, rows)
    ours, theirs = before.energy(state[:, free]), after.energy(moved[:, free])
    require_close(f"{told}: its energy for other values", theirs - theirs[0], ours - ours[0])


@torch.no_grad()
def guesses_are_states(case: LayerCase) -> None:
    """guess of a state is that state, of probability 1; of a mean a state where it says so."""
    layer, x = case.layer, case.some_states()
    state, probability = layer.guess(x)
    require_close("guess(x) of a state", state, x, 0.0)
    certain = torch.where(torch.isnan(probability), 1.0, probability)
    require_close("probability in guess(x) of a state", certain, torch.ones_like(x))
    mean = layer.mean(case.inputs)
    state, probability = layer.guess(mean)
    named = ~torch.isnan(probability)
    held = torch.where(named, state, case.base.expand_as(state))
    layer.check_states(held)
    require_close("guess(mean) of a unit without a probability", state[~named], mean[~named], 0.0)
    good = (probability[named] > 0) & (probability[named] <= 1)
    require(good.all(), f"guess(mean) gives the probabilities {probability[named].tolist()}")


DOUBLE = (some_units_given_the_others, guesses_are_states)
