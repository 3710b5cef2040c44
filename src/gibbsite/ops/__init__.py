"""The few kernels worth writing, most of them elementwise and in place.

CPU tensors go to compiled kernels (`draws`, `cpu`), all others to plain torch (`reference`). Both
draw from the same distributions but not the same numbers. Matrix products stay torch's, but for
those of matrices of zeros and ones (`bits`). Kernels do not check shapes: arguments that do not fit
are refused here, by `DataError`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gibbsite.errors import DataError
from gibbsite.ops import reference
from gibbsite.ops.ascent import Ascent, ascend_, center_, square_sum, updates_
from gibbsite.ops.dispatch import (
    DOUBLE,
    array,
    compiled,
    compiled_flat,
    compiles,
    fit,
    fit_columns,
    fitting_threads,
    is_binary,
    key,
    misfit,
    run,
    scalar,
    vector,
)
from gibbsite.ops.gathering import gather, gather_and_draw, gather_in_units
from gibbsite.ops.products import product
from gibbsite.ops.workspace import FRESH, Fresh, Reusing, Workspace, reusing, workspace_of

__all__ = [
    "FRESH",
    "Ascent",
    "Fresh",
    "Reusing",
    "Workspace",
    "ascend_",
    "center_",
    "compiles",
    "fitting_threads",
    "gather",
    "gather_and_draw",
    "gather_in_units",
    "is_binary",
    "product",
    "reusing",
    "square_sum",
    "updates_",
    "workspace_of",
]


def draw_bernoulli_(
    x: Tensor,
    bias: Tensor,
    generator: torch.Generator | None = None,
    scale: float = 1.0,
    base: Tensor | None = None,
) -> Tensor:
    """x <- 1 with probability sigmoid(bias + base + scale (x - base)), else 0.

    x is (rows, n), bias and base (n,); no base is 0. A one, or a zero, comes at its rate however
    rare it is: probabilities are met to 2^-53 or better.
    """
    if not compiled(x):
        fit_columns(x, bias, base)
        return reference.draw_bernoulli_(x, _moved(bias, base, scale), generator, scale)
    n = x.shape[1]
    start = _moved(vector(bias, x, n), None if base is None else vector(base, x, n), scale)
    run("draw_bernoulli", x, start, scalar(scale, x), key(generator))
    return x


def mean_and_draw_(
    x: Tensor,
    bias: Tensor,
    generator: torch.Generator | None = None,
    start: int = 0,
    draws: Tensor | None = None,
) -> Tensor:
    """x <- sigmoid(bias + x); returns draws of the rows from `start` on, (rows - start, n)."""
    if x.ndim != 2 or not 0 <= start <= len(x):
        raise DataError(f"draws from row {start} on of a tensor of shape {tuple(x.shape)}")
    draws = x.new_empty(x.shape[0] - start, x.shape[1]) if draws is None else draws
    if not compiled(x) or x.dtype != torch.float32 or not draws.is_contiguous():
        fit_columns(x, bias)
        fit(draws, (len(x) - start, x.shape[1]), x)
        draw_bernoulli_(draws.copy_(x[start:]), bias, generator)  # as a mean may round to 0 or 1
        mean_bernoulli_(x, bias)
        return draws
    rows, n = x.shape
    out = array(draws, x, rows - start, n)
    run("mean_and_draw", x, vector(bias, x, n), start, key(generator), out)
    return draws


def draw_probabilities_(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """x <- 1 with probability x, else 0; 0 and 1 stay. x is (rows, n)."""
    if not compiled(x):
        fit_columns(x)
        return reference.draw_probabilities_(x, generator)
    run("draw_probabilities", x, key(generator))
    return x


def draw_gaussian_(
    x: Tensor,
    bias: Tensor,
    sigma: Tensor,
    generator: torch.Generator | None = None,
    scale: float = 1.0,
    base: Tensor | None = None,
) -> Tensor:
    """x <- Normal(bias + sigma (base + scale (x - base)), sigma^2).

    x is (rows, n), bias, sigma and base (n,); no base is 0. The tails reach beyond 8 sigma.
    """
    if not compiled(x):
        fit_columns(x, bias, sigma, base)
        start = _moved(bias, None if base is None else sigma * base, scale)
        return reference.draw_gaussian_(x, start, sigma, generator, scale)
    n = x.shape[1]
    spread = vector(sigma, x, n)
    shift = None if base is None else spread * vector(base, x, n)
    start = _moved(vector(bias, x, n), shift, scale)
    name = "draw_gaussian" if x.dtype == torch.float32 else "draw_gaussian_double"
    run(name, x, start, spread, scalar(scale, x), key(generator))
    return x


def mean_bernoulli_(x: Tensor, bias: Tensor, scale: float = 1.0) -> Tensor:
    """x <- sigmoid(bias + scale x); x is (rows, n), bias (n,)."""
    if not compiled(x) or x.dtype != torch.float32:
        fit_columns(x, bias)
        return reference.mean_bernoulli_(x, bias, scale)
    run("mean_bernoulli", x, vector(bias, x, x.shape[1]), scalar(scale, x))
    return x


def softplus_sum(x: Tensor, bias: Tensor) -> Tensor:
    """sum_j log(1 + exp(bias_j + x_j)) over the last axis; x is (..., n), bias (n,). No gradient.

    One column stands for all. A single vector is left to torch: under `torch.vmap` a matrix
    looks like one.
    """
    fits = x.ndim > 1 and x.shape[-1:] == bias.shape and x.dtype == bias.dtype
    if not (fits and compiled_flat(x)):
        real = bias.dtype.is_floating_point and not x.is_complex()
        if not real or x.ndim == 0 or bias.ndim != 1 or x.shape[-1] not in (1, len(bias)):
            raise misfit(x, ("...", *bias.shape), bias)
        return reference.softplus_sum(x, bias)
    n, out = x.shape[-1], x.new_empty(x.shape[:-1])
    name = "softplus_sum" if x.dtype == torch.float32 else "softplus_sum_double"
    run(name, x.reshape(-1, n), vector(bias, x, n), out.reshape(-1).numpy())
    return out


def softplus_change(
    x: Tensor, bias: Tensor, base: Tensor, old: float, new: float, out: Tensor | None = None
) -> Tensor:
    """S(new) - S(old) of S(t) = sum_j log(1 + exp(bias_j + base_j + t (x_j - base_j))), (rows,).

    In float64.
    """
    out = x.new_empty(x.shape[:-1], dtype=torch.float64) if out is None else out
    if not compiled(x) or x.dtype != torch.float32:
        fit_columns(x, bias, base)
        _fit_totals(out, x)
        return out.copy_(reference.softplus_change(x, bias, base, old, new))
    rows, n = x.shape
    vectors = vector(bias, x, n), vector(base, x, n)
    run("softplus_change", x, *vectors, scalar(old, x), scalar(new, x), _totals(out, rows))
    return out


def add_row_dot_(total: Tensor, x: Tensor, weights: Tensor, scale: float) -> None:
    """total <- total + scale sum_j weights_j x_j of each row of x; total, (rows,), is float64."""
    if not compiled(x):
        fit_columns(x, weights)
        _fit_totals(total, x)
        reference.add_row_dot_(total, x, weights, scale)
        return
    rows, n = x.shape
    run("add_row_dot", x, vector(weights, x, n), float(scale), _totals(total, rows))


def _fit_totals(out: Tensor, x: Tensor) -> None:
    """Raise `DataError` unless out is float64 with one entry for each row of x."""
    fit(out, x.shape[:-1], DOUBLE if x.is_cpu else x[:0].double())


def _totals(out: Tensor, rows: int) -> Any:
    return array(out, DOUBLE, rows)


def phase_statistics_(
    v: Tensor, h: Tensor, rows: int, v_means: Tensor, h_means: Tensor, shares: Tensor
) -> None:
    """Write means of v and of h, (3, n) each, and h as it counts in a difference of means.

    Means over the first rows, over the others, and the difference; in shares, like h, the others
    count negative.
    """
    if v.ndim != 2 or h.ndim != 2 or not 0 < rows < len(v):
        raise DataError(f"phases of {rows} of the rows of {tuple(v.shape)} and {tuple(h.shape)}")
    (total, n), m = v.shape, h.shape[1]
    if not (compiled(v) and compiled(h)):
        fit(h, (total, m), v)
        for out, shape in ((v_means, (3, n)), (h_means, (3, m)), (shares, (total, m))):
            fit(out, shape, v)
        reference.phase_statistics_(v, h, rows, v_means, h_means, shares)
        return
    fit(h, (total, m), v)
    means = array(v_means, v, 3, n), array(h_means, v, 3, m)
    run("phase_statistics", h, array(v, v, total, n), rows, *means, array(shares, v, total, m))


def phase_spread_(x: Tensor, rows: int, center: Tensor, out: Tensor) -> None:
    """out <- mean of (x - center)^2 over the first rows less that over the others, (n,)."""
    if x.ndim != 2 or not 0 < rows < len(x):
        raise DataError(f"phases of {rows} of the rows of {tuple(x.shape)}")
    if not compiled(x):
        fit_columns(x, center, out)
        reference.phase_spread_(x, rows, center, out)
        return
    n = x.shape[1]
    run("phase_spread", x, rows, vector(center, x, n), array(out, x, n))


def row_dots(x: Tensor, y: Tensor, out: Tensor) -> Tensor:
    """out <- sum_j x_ij y_ij for each row i, (rows,)."""
    if not (compiled(x) and compiled(y)):
        fit_columns(x)
        fit(y, x.shape, x)
        fit(out, x.shape[:1], x)
        return reference.row_dots(x, y, out)
    rows, n = x.shape
    run("row_dots", x, array(y, x, rows, n), array(out, x, rows))
    return out


def _moved(bias: Any, base: Any, scale: float) -> Any:
    """bias + (1 - scale) base, of tensors or arrays; bias if there is no base."""
    return bias if base is None else bias + (1 - scale) * base
