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

    By total variation where there are few states; else by the means of v, of products of its
    columns, of E[h | v], and of cos and sin of v, against exact draws.
    """
    rbm.visible.check_states(v)
    if rbm.visible.n_states <= MOST_STATES:
        found, most = total_variation(rbm, v)
        require(
            found <= most,
            f"{what}: total variation from p(v): expected at most {most:.4f} by chance, found "
            f"{found:.4f}",
        )
        return
    reference = exact.sample(rbm, REFERENCE * len(v), generator)
    center, spread = reference.mean(0), reference.std(0)
    ours, theirs = (_functions(rbm, x, center, spread) for x in (v, reference))
    comparisons = sum(x.shape[1] for x in ours.values())
    for name, draws in ours.items():
        expected = theirs[name]
        variance = expected.var(0)
        limit = bernstein(variance, len(v), comparisons) + bernstein(
            variance, len(expected), comparisons
        )
        size = 1 + float(expected.mean(0).abs().max())
        require_close(f"{what}: mean {name}", draws.mean(0), expected.mean(0), limit / size)


def _functions(rbm: RBM, v: Tensor, center: Tensor, spread: Tensor) -> dict[str, Tensor]:
    z = (v - center) / spread.clamp(min=1e-12)
    return {
        "v": v,
        "product of columns of v": (z[:, :, None] * z[:, None]).flatten(1),
        "E[h | v]": rbm.hidden_mean(v),
        "cos of v/sd": torch.cos(2 * z),
        "sin of v/sd": torch.sin(2 * z),
    }


def total_variation(rbm: RBM, v: Tensor) -> tuple[float, float]:
    """Total variation of rows of v from p(v), and what it exceeds by chance once in a million."""
    total = int(rbm.visible.n_states)
    states = rbm.visible.states(0, total)
    p = exact.log_likelihood(rbm, states).double().exp()
    _, numbers = torch.unique(torch.cat([states, v]), dim=0, return_inverse=True)
    place = torch.empty(int(numbers.max()) + 1, dtype=torch.int64, device=v.device).fill_(total)
    place[numbers[:total]] = torch.arange(total, device=v.device)
    counts = torch.bincount(place[numbers[total:]], minlength=total + 1)
    require(counts[total] == 0, "v holds rows that are no states of the visible layer")
    distance = 0.5 * float((counts[:total] / len(v) - p).abs().sum())
    return distance, total_variation_limit(p, len(v))


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
