"""Steps uphill: the step of an optimiser, centring, and many updates in one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gibbsite.errors import ArgumentError, DataError
from gibbsite.ops import reference
from gibbsite.ops.dispatch import (
    SINGLE,
    array,
    compiled_flat,
    compiles,
    fit,
    flat,
    is_binary,
    kernel,
    misfit,
    run,
    scalar,
    vector,
)


class Ascent(NamedTuple):
    """Tensors that updates of a binary model change in place; float32, contiguous.

    Attributes:
        parameters: weight, b and c.
        velocities: of the three.
        chains: v and h of persistent chains, zeros and ones; none if they start at the data.
        offsets: means of v and h, for centring.
    """

    parameters: Sequence[Tensor]
    velocities: Sequence[Tensor]
    chains: Sequence[Tensor]
    offsets: Sequence[Tensor]


def updates_(
    ascent: Ascent,
    data: Tensor,
    batch_size: int,
    steps: int,
    rates: tuple[float, float, float],
    generator: torch.Generator | None = None,
) -> list[float]:
    """Update the model by the minibatches of data in turn, in one call.

    For small models, where calls from Python would take most of the time. By persistent contrastive
    divergence if there are chains, else by contrastive divergence. rates are the share of a
    minibatch in the offsets, 0 for a gradient that is not centred, the learning rate and the
    momentum. The random numbers are those that single calls would draw. Returns the norms of the
    gradients; at the first that is not finite it ends, without a step.
    """
    if type(batch_size) is not int or type(steps) is not int or min(batch_size, steps) < 1:
        raise ArgumentError(f"{batch_size=}, {steps=}: expected whole numbers of at least 1")
    if not compiles():
        raise ArgumentError("many updates in one call need Numba's compiler, which is off")
    moving, chains = _moving(ascent, data), bool(ascent.chains)
    updates = -(-len(data) // batch_size)
    keys = torch.empty(updates, 1 + 2 * steps, dtype=torch.int64).random_(generator=generator)
    scalars, norms = tuple(map(np.float32, rates)), np.empty(updates)
    name = "persistent_updates" if chains else "contrastive_updates"
    update = kernel(name, ascent.parameters[0])
    done = update(*moving, data.contiguous().numpy(), batch_size, keys.numpy(), scalars, norms)
    return [float(norm) for norm in norms[:done]]


def _moving(ascent: Ascent, data: Tensor) -> tuple[tuple[Any, ...], ...]:
    """The arrays of an ascent, each checked to have the shape that the weight's implies."""
    weight = ascent.parameters[0]
    if weight.ndim != 2 or 0 in weight.shape:
        raise misfit(weight, ("n", "m"), SINGLE)
    n, m = weight.shape
    fit(data, (len(data) if data.ndim else 0, n), SINGLE)
    rows = len(ascent.chains[0]) if ascent.chains and ascent.chains[0].ndim else 1
    shapes = (
        (ascent.parameters, ((n, m), (n,), (m,))),
        (ascent.velocities, ((n, m), (n,), (m,))),
        (ascent.chains, ((rows, n), (rows, m)) if ascent.chains else ()),
        (ascent.offsets, ((n,), (m,))),
    )
    for tensors, expected in shapes:
        if len(tensors) != len(expected):
            raise DataError(f"{len(tensors)} tensors: expected {len(expected)}, {expected}")
        for tensor, shape in zip(tensors, expected, strict=True):
            fit(tensor, shape, SINGLE)
            if not tensor.is_contiguous():
                raise DataError(f"a tensor of shape {shape} is not contiguous")
    if rows < 1 or not all(map(is_binary, ascent.chains)):
        raise DataError("chains: expected zeros and ones, at least one row")
    parameters, velocities, chains, offsets = (
        tuple(array(x, SINGLE, *x.shape) for x in tensors) for tensors, _ in shapes
    )
    return parameters, tuple(x.reshape(-1) for x in velocities), chains, offsets


def center_(
    weight: Tensor,
    biases: tuple[Tensor, Tensor],
    offsets: tuple[Tensor, Tensor],
    scales: tuple[Tensor, Tensor],
) -> None:
    """weight <- weight - (s b) lam^T - mu (t c)^T, b <- b - s weight lam, c <- c - t weight^T mu.

    weight is (n, m), the pairs are biases b, c, offsets mu, lam and scales s, t, of (n,) and (m,).
    """
    if weight.ndim != 2:
        raise misfit(weight, ("n", "m"), weight)
    for pair in (biases, offsets, scales):
        for x, n in zip(pair, weight.shape, strict=True):
            fit(x, (n,), weight)
    if not all(map(compiled_flat, (weight, *biases))):
        reference.center_(weight, biases, offsets, scales)
        return
    vectors = (vector(x, weight, len(x)) for x in (*biases, *offsets, *scales))
    run("center", weight, *vectors)


def square_sum(tensors: Iterable[Tensor]) -> float:
    """Sum of the squares of all entries; not finite if one of them is not."""
    tensors = list(tensors)
    if not tensors or not all(x.dtype.is_floating_point for x in tensors):
        raise DataError("a sum of squares of no tensor, or of other than floating-point numbers")
    if not all(compiled_flat(x) and x.dtype == tensors[0].dtype for x in tensors):
        return reference.square_sum(tensors)
    return float(kernel("square_sum", max(tensors, key=Tensor.numel))(flat(tensors)))


def ascend_(
    tensors: Sequence[Tensor],
    gradients: Sequence[Tensor],
    rate: float,
    velocities: Sequence[Tensor],
    momentum: float,
) -> None:
    """u <- momentum u + g, x <- x + rate u for each x, g, u; without velocities u is g."""
    for others in (gradients, velocities) if velocities else (gradients,):
        if not 0 < len(tensors) == len(others):
            raise DataError(f"{len(others)} tensors to go with {len(tensors)}")
        for x, other in zip(tensors, others, strict=True):
            fit(other, x.shape, x)
    largest = max(tensors, key=Tensor.numel)
    everything = [*tensors, *gradients, *velocities]
    if not all(compiled_flat(x) and x.dtype == largest.dtype for x in everything):
        reference.ascend_(tensors, gradients, rate, velocities, momentum)
        return
    step = flat(tensors), flat(gradients), scalar(rate, largest)
    if velocities:
        moving = flat(velocities), scalar(momentum, largest)
        kernel("ascend_with_momentum", largest)(*step, *moving)
    else:
        kernel("ascend", largest)(*step)
