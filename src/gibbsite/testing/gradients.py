"""The contract of a gradient estimator, checked."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from gibbsite import exact
from gibbsite.gradients import Batch, Gradient
from gibbsite.model import RBM
from gibbsite.testing.compare import FAILURE, naming, require, require_close, unchanged
from gibbsite.testing.models import (
    leaves,
    name_of_model,
    randomize,
    same_shapes,
    same_tensors,
    small_models,
)

ROWS, REPEATS, WARMUP = 200, 64, 10


def check_gradient(
    gradient: Gradient,
    models: Sequence[RBM] | None = None,
    *,
    fixed_point: bool = True,
    seed: int = 0,
) -> None:
    """Raise AssertionError unless an estimator keeps the contract of `gibbsite.gradients.Gradient`.

    On each small model, that of binary and that of real visible units by default, the first point
    in float32 and float64:

    - ``step(rbm, batch, state, generator)`` gives finite tensors by the names and shapes of
      ``named_parameters()``, a state that a checkpoint can hold, and the weighted means of v and
      E[h | v] over the batch. It changes neither batch, state nor parameters; the state and the
      generator decide all; the tensors of a gradient are the caller's to overwrite;
    - weights: in expectation, whole weights do what repeated rows do, and weights of 2 give twice
      the gradient;
    - fixed point: with data drawn from p(v) the expected gradient is zero; an estimator with chains
      of its own has made `WARMUP` steps by then;
    - ascent: with data from another model the expected gradient has a positive product with the
      exact one.

    These hold for biased estimators, such as CD, and for preconditioned ones, such as Centered; the
    size of a bias or of a step is not checked. Expectations are means over `REPEATS` independent
    steps; a sound estimator is off by more with probability 1e-6.

    Args:
        models: small enough to enumerate.
        fixed_point: False for an approximation that is known not to vanish there, as `MeanField`.

    >>> import gibbsite as gb
    >>> from gibbsite.testing import check_gradient
    >>> check_gradient(gb.CD(steps=1))
    >>> check_gradient(gb.MeanField(), fixed_point=False)
    """
    for rbm in small_models(models, seed):
        generator = torch.Generator(rbm.weight.device).manual_seed(seed)
        with naming(f"{gradient.__class__.__name__} on {name_of_model(rbm)}"), torch.no_grad():
            other = randomize(copy.deepcopy(rbm), seed + 1)
            v = exact.sample(other, 6, generator)
            for dtype in (torch.float64, torch.float32):
                _keeps_the_contract(gradient, copy.deepcopy(rbm).to(dtype), v.to(dtype), seed)
            _weights_count_rows(gradient, rbm, exact.sample(other, 4, generator), generator)
            if fixed_point:
                _vanishes_at_the_model(gradient, rbm, generator)
            _ascends(gradient, rbm, other, generator)


def _keeps_the_contract(gradient: Gradient, rbm: RBM, v: Tensor, seed: int) -> None:
    def generator(add: int = 0) -> torch.Generator:
        return torch.Generator(v.device).manual_seed(seed + add)

    weights = torch.linspace(0.5, 1.5, len(v), dtype=v.dtype, device=v.device)
    batch = Batch(v, weights)
    with unchanged("init", *rbm.parameters()):
        states = [gradient.init(rbm, generator()) for _ in range(2)]
    require(same_tensors(*states), "init gives other states for the same generator")
    with unchanged("step", v, weights, *leaves(states[0]), *rbm.parameters()):
        state = gradient.step(rbm, batch, states[0], generator(1))[1]
    kept = copy.deepcopy(state)
    with unchanged("step", v, weights, *leaves(state), *rbm.parameters()):
        found, new, info = gradient.step(rbm, batch, state, generator(2))
    _require_entries(rbm, found)
    _require_means(rbm, batch, info)
    require(same_shapes(state, new), "step changes the shapes or dtypes of its state")
    if hasattr(new, "check"):
        new.check(rbm)
    again, _, _ = gradient.step(rbm, batch, kept, generator(2))
    for name, value in again.items():
        what = f"{name} by a copy of the state, as from a checkpoint, and the same generator"
        require_close(what, value, found[name], 0.0)
    following, _, _ = gradient.step(rbm, batch, copy.deepcopy(new), generator(3))
    for value in found.values():
        value.fill_(math.nan)
    after, _, _ = gradient.step(rbm, batch, new, generator(3))
    for name, value in after.items():
        require_close(
            f"{name} after the last gradient was overwritten", value, following[name], 0.0
        )


def _require_entries(rbm: RBM, found: dict[str, Tensor]) -> None:
    parameters = dict(rbm.named_parameters())
    require(
        set(found) == set(parameters),
        f"the gradient has the keys {sorted(found)}: expected those of named_parameters(), "
        f"{sorted(parameters)}",
    )
    for name, value in found.items():
        expected = parameters[name]
        require(
            value.shape == expected.shape and value.dtype == expected.dtype,
            f"the gradient's {name} is {tuple(value.shape)}, {value.dtype}: expected "
            f"{tuple(expected.shape)}, {expected.dtype}",
        )
        require(torch.isfinite(value).all(), f"the gradient's {name} is not finite")
        require(not value.requires_grad, f"the gradient's {name} records for autograd")


def _require_means(rbm: RBM, batch: Batch, info: Any) -> None:
    shares = batch.shares / batch.shares.sum()
    means = {"visible": shares @ batch.v, "hidden": shares @ rbm.hidden_mean(batch.v)}
    for name, expected in means.items():
        require(hasattr(info, name), f"step reports no mean called {name}; give an Info")
        tolerance = 1e4 * torch.finfo(expected.dtype).eps
        what = f"info.{name} against the batch's mean"
        require_close(what, getattr(info, name), expected, tolerance)


def _weights_count_rows(
    gradient: Gradient, rbm: RBM, v: Tensor, generator: torch.Generator
) -> None:
    v = v.repeat(ROWS // 4, 1)
    weights = v.new_tensor([3.0, 1.0, 0.0, 0.0]).repeat(ROWS // 4)
    rows = torch.arange(len(v)).repeat_interleave(weights.long().cpu())
    state = gradient.init(rbm, generator)
    steps = {"weighted": Batch(v, weights), "repeated": Batch(v[rows], None)}
    steps["doubled"] = Batch(v, 2 * weights)
    draws = {
        name: torch.stack(
            [_flat(gradient.step(rbm, batch, state, generator)[0]) for _ in range(REPEATS)]
        )
        for name, batch in steps.items()
    }
    what = "mean gradient with weights 0, 1 and 3, less that with rows left out and repeated"
    _require_zero_mean(rbm, what, draws["weighted"] - draws["repeated"])
    what = "mean gradient with weights doubled, less twice that without"
    _require_zero_mean(rbm, what, draws["doubled"] - 2 * draws["weighted"])


def _vanishes_at_the_model(gradient: Gradient, rbm: RBM, generator: torch.Generator) -> None:
    found = _steps(gradient, rbm, lambda: exact.sample(rbm, ROWS, generator), generator)
    _require_zero_mean(rbm, "mean gradient with data from the model itself", found)


def _ascends(gradient: Gradient, rbm: RBM, other: RBM, generator: torch.Generator) -> None:
    v = exact.sample(other, ROWS, generator)
    uphill = _flat(exact.gradient(rbm, v))
    products = _steps(gradient, rbm, lambda: v, generator) @ uphill
    mean, error = products.mean(), products.std() / math.sqrt(REPEATS)
    require(
        mean > student_quantile(1, REPEATS - 1) * error,
        f"product of the mean gradient with the exact one: expected a positive number, near "
        f"{float(uphill @ uphill):.4g} if without bias, found {float(mean):.4g} "
        f"(standard error {float(error):.2g}); the estimate does not lead uphill",
    )


def _steps(
    gradient: Gradient, rbm: RBM, data: Callable[[], Tensor], generator: torch.Generator
) -> Tensor:
    """Gradients of independent steps, (REPEATS, parameters), each from a state of its own."""
    found = []
    for _ in range(REPEATS):
        state = gradient.init(rbm, generator)
        if any(True for _ in leaves(state)):
            for _ in range(WARMUP):
                _, state, _ = gradient.step(rbm, Batch(data()), state, generator)
        found.append(_flat(gradient.step(rbm, Batch(data()), state, generator)[0]))
    return torch.stack(found)


def _flat(gradient: dict[str, Tensor]) -> Tensor:
    return torch.cat([gradient[name].flatten().double() for name in sorted(gradient)])


def _require_zero_mean(rbm: RBM, what: str, draws: Tensor) -> None:
    limit = student_quantile(draws.shape[1], len(draws) - 1) * draws.std(0) / math.sqrt(len(draws))
    start = 0
    for name, parameter in sorted(rbm.named_parameters()):
        part = slice(start, start + parameter.numel())
        start = part.stop
        mean = draws.mean(0)[part].reshape(parameter.shape)
        slack = (limit[part] + 1e-9).reshape(parameter.shape)
        require_close(f"{name} of the {what}", mean, torch.zeros_like(mean), slack)


def student_quantile(comparisons: int, freedom: int) -> float:
    """Standard errors that `comparisons` means all stay within; estimated ones, of so many degrees.

    Fisher's expansion of Student's quantile about the normal one, to the second order.
    """
    z = -NormalDist().inv_cdf(FAILURE / (2 * comparisons))
    first = (z**3 + z) / (4 * freedom)
    return z + first + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
