"""Small models that can be enumerated, and comparisons of rows with their distribution."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from gibbsite import exact
from gibbsite.errors import ArgumentError
from gibbsite.layers import layer_type
from gibbsite.model import RBM
from gibbsite.testing.case import perturb
from gibbsite.testing.compare import bernstein, require, require_close, total_variation_limit

SIZE = 1.0
"""Standard deviation of the weights: enough to tell the model from independent units."""

MOST_STATES = 512
"""Number of visible states up to which rows are compared by total variation."""

REFERENCE = 4
"""Number of exact draws for each row that they are compared with."""


def small_models(models: Sequence[RBM] | None, seed: int) -> list[RBM]:
    """The models given, or small ones of binary and of real visible units, float64, at random."""
    if models is not None:
        for rbm in models:
            if not exact.is_small(rbm):
                raise ArgumentError("models=...: expected models small enough to enumerate")
        return list(models)
    pairs = ("bernoulli", 4), ("gaussian", 3)
    made = []
    for kind, n in pairs:
        rbm = RBM(layer_type(kind)(n), layer_type("bernoulli")(3)).double()
        made.append(randomize(rbm, seed))
    return made


@torch.no_grad()
def randomize(rbm: RBM, seed: int) -> RBM:
    """The model, with all parameters moved at random."""
    generator = torch.Generator(rbm.weight.device).manual_seed(seed)
    perturb(rbm.visible, generator)
    perturb(rbm.hidden, generator)
    noise = torch.randn(
        rbm.weight.shape, generator=generator, dtype=torch.float64, device=rbm.weight.device
    )
    rbm.weight.copy_(SIZE * noise)
    return rbm


def name_of_model(rbm: RBM) -> str:
    """Types and sizes of the layers."""
    return f"a model of {rbm.visible.describe()} and {rbm.hidden.describe()}"


@torch.no_grad()
def require_distribution(what: str, rbm: RBM, v: Tensor, generator: torch.Generator) -> None:
    """Fail unless independent rows of v come from p(v).

    By the means of log p(v), of v, of products of its columns, of E[h | v], of cos and sin of v,
    against those of exact draws; where there are few states, against the exact ones, and by total
    variation too.
    """
    rbm.visible.check_states(v)
    finite = rbm.visible.n_states <= MOST_STATES
    if finite:
        _require_total_variation(what, rbm, v)
        others = rbm.visible.states(0, int(rbm.visible.n_states))
        p = exact.log_likelihood(rbm, others).double().exp()
    else:
        others = exact.sample(rbm, REFERENCE * len(v), generator)
        p = others.new_full((len(others),), 1 / len(others)).double()
    center = p @ others.double()
    spread = (p @ (others - center) ** 2).sqrt().clamp(min=1e-12)
    ours, theirs = (_functions(rbm, (x - center) / spread, x) for x in (v, others))
    comparisons = sum(x.shape[1] for x in ours.values())
    for name, draws in ours.items():
        expected = p @ theirs[name]
        variance = p @ (theirs[name] - expected) ** 2
        limit = bernstein(variance, len(v), comparisons)
        if not finite:
            limit = limit + bernstein(variance, len(others), comparisons)
        size = 1 + float(expected.abs().max())
        require_close(f"{what}: mean {name}", draws.mean(0), expected, limit / size + 1e-6)


def _functions(rbm: RBM, z: Tensor, v: Tensor) -> dict[str, Tensor]:
    """Functions of v, and of z, v standardised, by column, (rows, columns) each, in float64."""
    functions = {
        "log p(v)": exact.log_likelihood(rbm, v)[:, None],
        "v": v,
        "product of columns of v": (z[:, :, None] * z[:, None]).flatten(1),
        "E[h | v]": rbm.hidden_mean(v),
        "cos of v": torch.cos(2 * z),
        "sin of v": torch.sin(2 * z),
    }
    return {name: value.double() for name, value in functions.items()}


def _require_total_variation(what: str, rbm: RBM, v: Tensor) -> None:
    """Fail unless the shares of the states among the rows of v are those of p(v)."""
    total = int(rbm.visible.n_states)
    states = rbm.visible.states(0, total)
    p = exact.log_likelihood(rbm, states).double().exp()
    _, numbers = torch.unique(torch.cat([states, v]), dim=0, return_inverse=True)
    place = torch.full((int(numbers.max()) + 1,), total, device=v.device)
    place[numbers[:total]] = torch.arange(total, device=v.device)
    counts = torch.bincount(place[numbers[total:]], minlength=total + 1)
    require(counts[total] == 0, f"{what}: v holds rows that are no states of the visible layer")
    found = 0.5 * float((counts[:total] / len(v) - p).abs().sum())
    limit = total_variation_limit(p, len(v))
    require(
        found <= limit,
        f"{what}: total variation from p(v): expected at most {limit:.4f} by chance, found "
        f"{found:.4f}",
    )


def leaves(tree: Any) -> Iterator[Tensor]:
    """The tensors of a state, in order.

    Raises AssertionError for what no checkpoint could hold: a state is made of tensors, scalars,
    None, lists, mappings and named tuples.
    """
    if torch.is_tensor(tree):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from leaves(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from leaves(value)
    else:
        require(
            tree is None or isinstance(tree, bool | int | float | str),
            f"the state holds a {tree.__class__.__name__}; a checkpoint stores tensors, scalars, "
            "None, lists, mappings and named tuples",
        )
        if isinstance(tree, float):
            require(not math.isnan(tree), "the state holds NaN")


def same_shapes(one: Any, other: Any) -> bool:
    """True if two states hold tensors of the same shapes and dtypes."""
    pairs = [[(x.shape, x.dtype) for x in leaves(state)] for state in (one, other)]
    return pairs[0] == pairs[1]


def same_tensors(one: Any, other: Any) -> bool:
    """True if two states hold equal tensors."""
    return same_shapes(one, other) and all(
        torch.equal(x, y) for x, y in zip(leaves(one), leaves(other), strict=True)
    )
