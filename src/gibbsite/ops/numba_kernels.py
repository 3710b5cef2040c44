"""The backend of kernels compiled by Numba: contiguous float32 and float64 tensors on the CPU.

Numba itself is imported when a kernel is first called.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from gibbsite.ops.dispatch import compiler, kernel, key, run
from gibbsite.ops.kernels import Kernels, fit_each, fit_rows

LOOKUP_WORK = 2**20
"""Multiply-adds from which a matrix product may gain from lookup tables."""

X86 = platform.machine().lower() in ("x86_64", "amd64")

F = TypeVar("F", bound=Callable[..., Any])


class Unsuitable(Exception):
    """Raised for arguments that the compiled kernels do not take."""


def with_fallback(method: F) -> F:
    """Pass arguments for which a method raises `Unsuitable` to plain torch, which checks them."""
    plain = getattr(Kernels, method.__name__)

    @functools.wraps(method)
    def wrapper(self: Kernels, *arguments: Any, **options: Any) -> Any:
        try:
            return method(self, *arguments, **options)
        except Unsuitable:
            pass  # call it below, so that its errors have no context
        return plain(self, *arguments, **options)

    return cast(F, wrapper)


class Numba(Kernels):
    """Compiled kernels, on one thread or several; not differentiable.

    The random draws of a call depend on its key and on the position in x, not on threads.
    """

    @with_fallback
    def product(self, x: Tensor, weight: Tensor, out: Tensor | None = None) -> Tensor:
        if not lookup_pays(x, weight):
            raise Unsuitable
        shape = x.shape[0], weight.shape[1]
        out = x.new_empty(shape) if out is None else out
        if array(out, np.float32).shape != shape or not lookup_product(x, weight, out):
            raise Unsuitable
        return out

    @with_fallback
    def draw_bernoulli_(
        self,
        x: Tensor,
        bias: Tensor,
        generator: torch.Generator | None = None,
        scale: float = 1.0,
    ) -> Tensor:
        rows = matrix(x)
        run("draw_bernoulli", rows, vector(bias, rows), rows.dtype.type(scale), key(generator))
        return x

    @with_fallback
    def draw_probabilities_(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        rows = matrix(x)
        run("draw_probabilities", rows, key(generator))
        return x

    @with_fallback
    def draw_spin_(
        self,
        x: Tensor,
        bias: Tensor,
        generator: torch.Generator | None = None,
        scale: float = 1.0,
    ) -> Tensor:
        rows = matrix(x)
        twice = 2 * vector(bias, rows), rows.dtype.type(2 * scale)
        run("draw_spin", rows, *twice, key(generator))
        return x

    @with_fallback
    def draw_categorical_(
        self,
        x: Tensor,
        bias: Tensor,
        sizes: Sequence[int],
        generator: torch.Generator | None = None,
        scale: float = 1.0,
    ) -> Tensor:
        rows = matrix(x)
        columns, factor = first_columns(sizes, rows), rows.dtype.type(scale)
        run("draw_categorical", rows, vector(bias, rows), columns, factor, key(generator))
        return x

    @with_fallback
    def draw_gaussian_(
        self,
        x: Tensor,
        bias: Tensor,
        sigma: Tensor,
        generator: torch.Generator | None = None,
        scale: float = 1.0,
    ) -> Tensor:
        rows = matrix(x)
        vectors = vector(bias, rows), vector(sigma, rows)
        name = "draw_gaussian" if x.dtype == torch.float32 else "draw_gaussian_double"
        run(name, rows, *vectors, rows.dtype.type(scale), key(generator))
        return x

    @with_fallback
    def draw_rectified_(
        self,
        x: Tensor,
        bias: Tensor,
        gamma: Tensor,
        generator: torch.Generator | None = None,
        scale: float = 1.0,
    ) -> Tensor:
        rows = matrix(x, np.float32)
        sigma = inverse_sqrt(vector(gamma, rows))
        bias = vector(bias, rows)
        run("draw_rectified", rows, bias, sigma, np.float32(scale), key(generator))
        return x

    @with_fallback
    def draw_double_rectified_(
        self,
        x: Tensor,
        biases: tuple[Tensor, Tensor],
        gammas: tuple[Tensor, Tensor],
        generator: torch.Generator | None = None,
        scale: float = 1.0,
    ) -> Tensor:
        rows = matrix(x, np.float32)
        sigmas = inverse_sqrt(np.stack([vector(gamma, rows) for gamma in gammas]))
        starts = np.stack([vector(bias, rows) for bias in biases])
        run("draw_double_rectified", rows, starts, sigmas, np.float32(scale), key(generator))
        return x

    @with_fallback
    def mean_bernoulli_(self, x: Tensor, bias: Tensor) -> Tensor:
        rows = matrix(x, np.float32)
        run("mean_bernoulli", rows, vector(bias, rows))
        return x

    @with_fallback
    def mean_categorical_(self, x: Tensor, bias: Tensor, sizes: Sequence[int]) -> Tensor:
        rows = matrix(x, np.float32)
        run("mean_categorical", rows, vector(bias, rows), first_columns(sizes, rows))
        return x

    @with_fallback
    def softplus_sum(self, x: Tensor, bias: Tensor) -> Tensor:
        if x.ndim < 2:  # under `torch.vmap` a matrix looks like a vector
            raise Unsuitable
        rows, out = array(x).reshape(-1, x.shape[-1]), x.new_empty(x.shape[:-1])
        name = "softplus_sum" if x.dtype == torch.float32 else "softplus_sum_double"
        run(name, rows, vector(bias, rows), array(out).reshape(-1))
        return out

    @with_fallback
    def softplus_change(
        self,
        x: Tensor,
        bias: Tensor,
        base: Tensor,
        old: float | Tensor,
        new: float | Tensor,
        out: Tensor | None = None,
    ) -> Tensor:
        rows = matrix(x, np.float32)
        out = x.new_empty(len(x), dtype=torch.float64) if out is None else out
        ends = each_row(old, rows), each_row(new, rows)
        run("softplus_change", rows, vector(bias, rows), vector(base, rows), *ends,
            row_sums(out, rows))  # fmt: skip
        return out

    @with_fallback
    def add_row_dot_(self, total: Tensor, x: Tensor, weights: Tensor, scale: float) -> Tensor:
        rows = matrix(x)
        run("add_row_dot", rows, vector(weights, rows), float(scale), row_sums(total, rows))
        return total

    @with_fallback
    def is_binary(self, x: Tensor) -> bool:
        return bool(run("is_binary", array(x).reshape(-1)))

    @with_fallback
    def center_(
        self, weight: Tensor, slopes: tuple[Tensor, Tensor], offsets: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        rows = matrix(weight)
        vectors = [
            vector(x, rows, axis) for pair in (slopes, offsets) for axis, x in enumerate(pair)
        ]
        left, right = weight.new_empty(len(weight)), weight.new_empty(weight.shape[1])
        run("center", rows, *vectors, left.numpy(), right.numpy())
        return left, right

    @with_fallback
    def square_sum(self, tensors: Collection[Tensor]) -> float:
        vectors = flattened(tensors)
        return float(kernel("square_sum", max(vectors, key=len))(vectors))

    @with_fallback
    def ascend_(
        self,
        tensors: Sequence[Tensor],
        gradients: Sequence[Tensor],
        rate: float,
        velocities: Sequence[Tensor],
        momentum: float,
    ) -> None:
        fit_each(tensors, gradients, velocities)
        vectors = flattened([*tensors, *gradients, *velocities])
        n, real = len(tensors), vectors[0].dtype.type
        arguments = vectors[:n], vectors[n : 2 * n], real(rate)
        name = "ascend_with_momentum" if velocities else "ascend"
        more = (vectors[2 * n :], real(momentum)) if velocities else ()
        kernel(name, max(vectors, key=len))(*arguments, *more)

    @with_fallback
    def gather(
        self, source: np.ndarray, index: np.ndarray, scale: float, shift: float
    ) -> Tensor | None:
        out, rows = output_rows(source, index)
        in_range = run("gather", rows, source, index, np.float32(scale), np.float32(shift))
        return out if in_range else None

    @with_fallback
    def gather_and_draw(
        self,
        source: np.ndarray,
        index: np.ndarray,
        scale: float,
        shift: float,
        generator: torch.Generator | None = None,
    ) -> Tensor | None:
        out, rows = output_rows(source, index)
        units = np.float32(scale), np.float32(shift)
        in_range = run("gather_and_draw", rows, source, index, *units, key(generator))
        return out if in_range else None

    @with_fallback
    def gather_in_units(
        self, source: np.ndarray, index: np.ndarray, shift: Any, scale: Any
    ) -> Tensor | None:
        (out, rows), n = output_rows(source, index), source.shape[1:]
        if any(np.shape(x) not in ((), n) for x in (shift, scale)):
            raise Unsuitable
        shift, scale = (np.broadcast_to(x, n).astype(np.float64) for x in (shift, scale))
        return out if run("gather_in_units", rows, source, index, shift, scale) else None


def to_numpy(x: Tensor, dtype: Any = None) -> Any:
    """x as an array of that dtype, or of float32 or float64, in any memory layout."""
    if not x.is_cpu or x.dtype not in (torch.float32, torch.float64):
        raise Unsuitable
    values = x.detach().numpy() if x.requires_grad else x.numpy()
    if dtype is not None and values.dtype != dtype:
        raise Unsuitable
    return values


def array(x: Tensor, dtype: Any = None) -> Any:
    """x as a contiguous, non-empty array."""
    if not x.is_contiguous() or x.numel() == 0:
        raise Unsuitable
    return to_numpy(x, dtype)


def matrix(x: Tensor, dtype: Any = None) -> Any:
    """x as a contiguous, non-empty matrix."""
    if x.ndim != 2:
        raise Unsuitable
    return array(x, dtype)


def vector(x: Tensor, rows: Any, axis: int = 1) -> Any:
    """x as a contiguous array with an entry for each column (axis 1) or row (0) of a matrix."""
    values = to_numpy(x, rows.dtype)
    if values.shape != (rows.shape[axis],):
        raise Unsuitable
    return values if x.is_contiguous() else np.ascontiguousarray(values)


def first_columns(sizes: Sequence[int], rows: Any) -> Any:
    """The first column of each unit of so many states, and the end of the last, int64."""
    if min(sizes, default=0) < 1 or sum(sizes) != rows.shape[1]:
        raise Unsuitable
    return np.append(0, np.cumsum(sizes))


def inverse_sqrt(gamma: Any) -> Any:
    """1 / sqrt(gamma); without meaning, and without a warning, where gamma is not positive."""
    with np.errstate(all="ignore"):
        return 1 / np.sqrt(gamma)


def each_row(x: float | Tensor, rows: Any) -> Any:
    """A scalar, or (rows, 1), as an array with one entry for each row of a matrix."""
    if not isinstance(x, Tensor):
        return np.full(len(rows), x, rows.dtype)
    if x.shape != (len(rows), 1):
        raise Unsuitable
    return vector(x[:, 0], rows, 0)


def row_sums(x: Tensor, rows: Any) -> Any:
    """x as a contiguous array of float64 with one entry for each row of a matrix."""
    values = array(x, np.float64)
    if values.shape != rows.shape[:1]:
        raise Unsuitable
    return values


def flattened(tensors: Collection[Tensor]) -> tuple[Any, ...]:
    """Tensors of one dtype as flat arrays."""
    vectors = tuple(array(x).reshape(-1) for x in tensors)
    if len({x.dtype for x in vectors}) != 1:
        raise Unsuitable
    return vectors


def output_rows(source: np.ndarray, index: np.ndarray) -> tuple[Tensor, Any]:
    """A new tensor for the rows of source picked by index, and its array."""
    fit_rows(source, index)
    out = torch.empty(len(index), source.shape[1])
    return out, matrix(out)


def lookup_pays(x: Tensor, weight: Tensor) -> bool:
    """True if `lookup_product` is quicker than a matrix product, x being binary.

    By size alone, lest results differ from run to run. Measured where MKL does the products.
    """
    if not (X86 and x.ndim == weight.ndim == 2 and x.shape[1] == len(weight)):
        return False
    (rows, n), m = x.shape, weight.shape[1]
    work = n * m * rows
    if work < LOOKUP_WORK:
        return False
    depth, width = compiler().bits.DEPTH, compiler().bits.WIDTH
    whole_tiles = -(-n // depth) * depth * -(-m // width) * width
    fill = 24 if weight.is_contiguous() else 40  # cost of the lookup tables of a tile, in rows
    pays = whole_tiles * (rows + fill) < 2 * work
    return pays and all(
        a.is_cpu and a.dtype == torch.float32 and (a.is_contiguous() or a.T.is_contiguous())
        for a in (x, weight)
    )


def lookup_product(x: Tensor, weight: Tensor, out: Tensor) -> bool:
    """out <- x @ weight by lookup tables (`bits`); False unless x is binary."""
    flip, flip_weight = not x.is_contiguous(), not weight.is_contiguous()
    left, right = array(x.T if flip else x), array(weight.T if flip_weight else weight)
    rows, tiles = len(out), -(-out.shape[1] // compiler().bits.WIDTH)
    # enough pieces for all threads, yet long ones, as each fills its lookup tables anew
    pieces = max(-(-rows // 1024), min(rows // 128, 4 * torch.get_num_threads() // tiles))
    result, tile_rows = array(out), -(-rows // pieces)
    largest = max(result, left, right, key=np.size)
    product = kernel("bit_product", largest)
    return bool(product(result, left, flip, right, flip_weight, tile_rows))
