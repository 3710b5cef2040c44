"""The contract of a sampler, checked."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gibbsite import exact
from gibbsite.checks import check_counts
from gibbsite.model import RBM
from gibbsite.sampling import Sampler, advance
from gibbsite.testing.compare import naming, require, require_mean, unchanged
from gibbsite.testing.models import (
    leaves,
    name_of_model,
    require_distribution,
    same_shapes,
    same_tensors,
    small_models,
)


def check_sampler(
    sampler: Sampler,
    models: Sequence[RBM] | None = None,
    *,
    chains: int = 20_000,
    steps: int = 10,
    seed: int = 0,
) -> None:
    """Raise AssertionError unless a sampler keeps the contract of `gibbsite.sampling.Sampler`.

    On each small model, that of binary and that of real visible units by default, the first point
    in float32 and float64:

    - ``init(rbm, v, generator)`` gives a named tuple whose field v is v; ``step(rbm, state,
      generator)`` gives such a state, of the same shapes, and a named tuple of what it reports.
      Neither changes v, the state given or the parameters, nor draws from the global generator;
      the generator given decides all;
    - chains that start with exact draws from p(v) still have that distribution after `steps`
      steps: by total variation for few states, else by moments and characteristic function, within
      limits that a sampler that leaves p(v) invariant exceeds with probability 1e-6. The same for
      ``advance``, if there is one, and for the pairs (v, h) if the state has h;
    - chains that start at one state leave it for p(v), and do not move together.

    Args:
        models: small enough to enumerate; for other unit types, or weights of one's own.
        chains: number of chains; the total variation found by chance falls as its root.
        steps: steps of each chain; more find smaller errors, and a sampler whose `init` cannot
            start all of its state exactly, as replicas, needs enough to forget that.

    >>> import gibbsite as gb
    >>> from gibbsite.testing import check_sampler
    >>> check_sampler(gb.Gibbs())
    >>> class Hot(gb.Gibbs):
    ...     def step(self, rbm, state, generator=None):
    ...         v, h = gb.sampling.Conditionals(rbm).sweep(state.v, generator, beta=0.5)
    ...         return state._replace(v=v), gb.sampling.GibbsInfo(h)
    >>> check_sampler(Hot())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    AssertionError: Hot on a model of Bernoulli(4) and Bernoulli(3): chains from exact draws ...
    """
    check_counts(chains=chains, steps=steps)
    for rbm in small_models(models, seed):
        generator = torch.Generator(rbm.weight.device).manual_seed(seed)
        with naming(f"{sampler.__class__.__name__} on {name_of_model(rbm)}"), torch.no_grad():
            start = exact.sample(rbm, chains, generator)
            for dtype in (torch.float64, torch.float32):
                v = start[:50].to(dtype)
                _keeps_the_contract(sampler, copy.deepcopy(rbm).to(dtype), v, seed)
            _keeps_the_distribution(sampler, rbm, start, steps, generator)
            _moves(sampler, rbm, start, steps, generator)


def _keeps_the_contract(sampler: Sampler, rbm: RBM, v: Tensor, seed: int) -> None:
    def generator() -> torch.Generator:
        return torch.Generator(v.device).manual_seed(seed)

    with unchanged("init", v, *rbm.parameters()):
        state = sampler.init(rbm, v, generator())
    _check_state("init", rbm, state, v)
    require(torch.equal(state.v, v), "the v of the state that init gives is not the v given")
    kept = copy.deepcopy(state)
    with unchanged("step", *leaves(state), *rbm.parameters()):
        results = [sampler.step(rbm, state, generator()) for _ in range(2)]
    new, info = results[0]
    _check_state("step", rbm, new, v)
    require(hasattr(info, "_fields"), f"step reports a {info.__class__.__name__}, no named tuple")
    require(
        all(same_tensors(one, other) for one, other in zip(*results, strict=True)),
        "step gives other results for the same generator",
    )
    again, _ = sampler.step(rbm, new, generator())
    require(same_shapes(new, again), "step changes the shapes or dtypes of its state")
    require(same_tensors(state, kept), "a later step changes an earlier state")
    other, _ = sampler.step(rbm, state, torch.Generator(v.device).manual_seed(seed + 1))
    require(not torch.equal(other.v, new.v), "step gives the same v for every generator")


def _check_state(method: str, rbm: RBM, state: Any, v: Tensor) -> None:
    fields = getattr(state, "_fields", ())
    require("v" in fields, f"{method} gives a state without a field v; use a NamedTuple")
    require(
        state.v.shape == v.shape and state.v.dtype == v.dtype,
        f"{method} gives v of {tuple(state.v.shape)}, {state.v.dtype}: expected "
        f"{tuple(v.shape)}, {v.dtype}",
    )
    rbm.visible.check_states(state.v)
    list(leaves(state))
    if hasattr(state, "check"):
        state.check(rbm)


def _keeps_the_distribution(
    sampler: Sampler, rbm: RBM, start: Tensor, steps: int, generator: torch.Generator
) -> None:
    state = sampler.init(rbm, start, generator)
    for _ in range(steps):
        state, _ = sampler.step(rbm, state, generator)
    what = f"chains from exact draws after {steps} steps"
    require_distribution(what, rbm, state.v, generator)
    h = getattr(state, "h", None)
    if h is not None:
        _require_pairs(what, rbm, state.v, h)
    if hasattr(sampler, "advance"):
        state = advance(sampler, rbm, sampler.init(rbm, start, generator), steps, generator)
        what = f"chains from exact draws after advance by {steps} steps"
        require_distribution(what, rbm, state.v, generator)


def _require_pairs(what: str, rbm: RBM, v: Tensor, h: Tensor) -> None:
    products = (v[:, :, None] * h[:, None]).flatten(1)
    expected = exact.moments(rbm).product.flatten()
    require_mean(f"{what}: mean v h", products, expected, products.var(0))


def _moves(
    sampler: Sampler, rbm: RBM, start: Tensor, steps: int, generator: torch.Generator
) -> None:
    """Chains that start at one state spread, each by itself."""
    one = start[:1].expand(len(start), -1).contiguous()
    state = sampler.init(rbm, one, generator)
    for _ in range(steps):
        state, _ = sampler.step(rbm, state, generator)
    share = (state.v == one).all(1).double().mean()
    expected = (start == one).all(1).double().mean()
    require(
        share < 0.5 * (1 + expected),
        f"of chains that start at one state, a share of {share:.2f} is there after {steps} steps: "
        f"expected {expected:.2f} in the end",
    )
    varied = state.v.std(0) > 0
    require(varied.any(), "chains that start at one state move together")
    z = (state.v - state.v.mean(0))[:, varied] / state.v.std(0)[varied]
    half = len(z) // 2
    for name, (a, b) in {
        "a chain and the next": (z[: 2 * half : 2], z[1 : 2 * half : 2]),
        "chains half the table apart": (z[:half], z[half : 2 * half]),
    }.items():
        ones = torch.ones_like(z[0]).double()
        require_mean(f"correlation of {name}", a * b, 0 * ones, ones)
