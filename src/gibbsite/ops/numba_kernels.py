"""The kernels compiled by Numba, for contiguous float32 and float64 in this machine's memory.

This module is imported with the package; Numba itself comes when a kernel is first called.
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
from gibbsite.ops.kernels import Kernels, fit_each, fit_rows, moved

TABLES_PAY = 2**20
"""Multiply-adds below which a matrix product is too quick to be bettered by lookup tables."""

X86 = platform.machine().lower() in ("x86_64", "amd64")

F = TypeVar("F", bound=Callable[..., Any])


class Unsuitable(Exception):
    """Raised for a tensor that the compiled kernels do not take."""


def or_plain(method: F) -> F:
    """Leave arguments that do not suit to plain torch, which refuses those that are wrong."""
    plain = getattr(Kernels, method.__name__)

    @functools.wraps(method)
    def chosen(self: Kernels, *arguments: Any, **options: Any) -> Any:
        try:
            return method(self, *arguments, **options)
        except Unsuitable:
            pass
        return plain(self, *arguments, **options)

    return cast(F, chosen)


class Numba(Kernels):
    """Compiled kernels, on one thread or several; none of them can be differentiated.

    The random numbers of a call depend on its key and on the place in x, not on threads.
    """

    @or_plain
    def product(self, x: Tensor, weight: Tensor, out: Tensor | None = None) -> Tensor:
        if not pays_tables(x, weight):
            raise Unsuitable
        shape = x.shape[0], weight.shape[1]
        to = x.new_empty(shape) if out is None else out
        if array(to, np.float32).shape != shape or not tabled(x, weight, to):
            raise Unsuitable
        return to

    @or_plain
    def draw_bernoulli_(
        self,
        x: Tensor,
        bias: Tensor,
        generator: torch.Generator | None = None,
        scale: float = 1.0,
        base: Tensor | None = None,
    ) -> Tensor:
        rows = matrix(x)
        start = moved(vector(bias, rows), None if base is None else vector(base, rows), scale)
        run("draw_bernoulli", rows, start, rows.dtype.type(scale), key(generator))
        return x

    @or_plain
    def draw_probabilities_(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        rows = matrix(x)
        run("draw_probabilities", rows, key(generator))
        return x

    @or_plain
    def draw_spin_(
        self,
        x: Tensor,
        bias: Tensor,
        generator: torch.Generator | None = None,
        scale: float = 1.0,
        base: Tensor | None = None,
    ) -> Tensor:
        rows = matrix(x)
        start = moved(vector(bias, rows), None if base is None else vector(base, rows), scale)
        run("draw_spin", rows, 2 * start, rows.dtype.type(2 * scale), key(generator))
        return x

    @or_plain
    def draw_categorical_(
        self,
        x: Tensor,
        bias: Tensor,
        sizes: Sequence[int],
        generator: torch.Generator | None = None,
        scale: float = 1.0,
        base: Tensor | None = None,
    ) -> Tensor:
        rows = matrix(x)
        start = moved(vector(bias, rows), None if base is None else vector(base, rows), scale)
        starts = borders(sizes, rows)
        run("draw_categorical", rows, start, starts, rows.dtype.type(scale), key(generator))
        return x

    @or_plain
    def draw_gaussian_(
        self,
        x: Tensor,
        bias: Tensor,
        sigma: Tensor,
        generator: torch.Generator | None = None,
        scale: float = 1.0,
        base: Tensor | None = None,
    ) -> Tensor:
        rows = matrix(x)
        spread = vector(sigma, rows)
        shift = None if base is None else spread * vector(base, rows)
        start = moved(vector(bias, rows), shift, scale)
        name = "draw_gaussian" if x.dtype == torch.float32 else "draw_gaussian_double"
        run(name, rows, start, spread, rows.dtype.type(scale), key(generator))
        return x

    @or_plain
    def draw_rectified_(
        self,
        x: Tensor,
        bias: Tensor,
        gamma: Tensor,
        generator: torch.Generator | None = None,
        scale: float = 1.0,
        base: Tensor | None = None,
    ) -> Tensor:
        rows = matrix(x, np.float32)
        spread = deviations(vector(gamma, rows))
        start = moved(vector(bias, rows), None if base is None else vector(base, rows), scale)
        run("draw_rectified", rows, start, spread, np.float32(scale), key(generator))
        return x

    @or_plain
    def draw_double_rectified_(
        self,
        x: Tensor,
        biases: tuple[Tensor, Tensor],
        gammas: tuple[Tensor, Tensor],
        generator: torch.Generator | None = None,
        scale: float = 1.0,
        base: Tensor | None = None,
    ) -> Tensor:
        rows = matrix(x, np.float32)
        spreads = deviations(np.stack([vector(gamma, rows) for gamma in gammas]))
        start = np.stack([vector(bias, rows) for bias in biases])
        start = moved(start, None if base is None else vector(base, rows), scale)
        step = np.float32(scale), key(generator)
        run("draw_double_rectified", rows, start, spreads, *step)
        return x

    @or_plain
    def mean_bernoulli_(self, x: Tensor, bias: Tensor) -> Tensor:
        rows = matrix(x, np.float32)
        run("mean_bernoulli", rows, vector(bias, rows))
        return x

    @or_plain
    def mean_categorical_(self, x: Tensor, bias: Tensor, sizes: Sequence[int]) -> Tensor:
        rows = matrix(x, np.float32)
        run("mean_categorical", rows, vector(bias, rows), borders(sizes, rows))
        return x

    @or_plain
    def softplus_sum(self, x: Tensor, bias: Tensor) -> Tensor:
        if x.ndim < 2:  # under `torch.vmap` a matrix looks like a vector
            raise Unsuitable
        rows, out = array(x).reshape(-1, x.shape[-1]), x.new_empty(x.shape[:-1])
        name = "softplus_sum" if x.dtype == torch.float32 else "softplus_sum_double"
        run(name, rows, vector(bias, rows), array(out).reshape(-1))
        return out

    @or_plain
    def softplus_change(
        self,
        x: Tensor,
        bias: Tensor,
        base: Tensor,
        old: float,
        new: float,
        out: Tensor | None = None,
    ) -> Tensor:
        rows = matrix(x, np.float32)
        out = x.new_empty(len(x), dtype=torch.float64) if out is None else out
        arguments = vector(bias, rows), vector(base, rows), np.float32(old), np.float32(new)
        run("softplus_change", rows, *arguments, totals(out, rows))
        return out

    @or_plain
    def add_row_dot_(self, total: Tensor, x: Tensor, weights: Tensor, scale: float) -> Tensor:
        rows = matrix(x)
        run("add_row_dot", rows, vector(weights, rows), float(scale), totals(total, rows))
        return total

    @or_plain
    def is_binary(self, x: Tensor) -> bool:
        return bool(run("is_binary", array(x).reshape(-1)))

    @or_plain
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

    @or_plain
    def square_sum(self, tensors: Collection[Tensor]) -> float:
        vectors = flat(tensors)
        return float(kernel("square_sum", max(vectors, key=len))(vectors))

    @or_plain
    def ascend_(
        self,
        tensors: Sequence[Tensor],
        gradients: Sequence[Tensor],
        rate: float,
        velocities: Sequence[Tensor],
        momentum: float,
    ) -> None:
        fit_each(tensors, gradients, velocities)
        vectors = flat([*tensors, *gradients, *velocities])
        n, real = len(tensors), vectors[0].dtype.type
        largest, step = max(vectors, key=len), (vectors[:n], vectors[n : 2 * n], real(rate))
        if velocities:
            kernel("ascend_with_momentum", largest)(*step, vectors[2 * n :], real(momentum))
        else:
            kernel("ascend", largest)(*step)

    @or_plain
    def gather(
        self, source: np.ndarray, index: np.ndarray, scale: float, shift: float
    ) -> Tensor | None:
        out, rows = gathered(source, index)
        there = run("gather", rows, source, index, np.float32(scale), np.float32(shift))
        return out if there else None

    @or_plain
    def gather_and_draw(
        self,
        source: np.ndarray,
        index: np.ndarray,
        scale: float,
        shift: float,
        generator: torch.Generator | None = None,
    ) -> Tensor | None:
        out, rows = gathered(source, index)
        units = np.float32(scale), np.float32(shift)
        there = run("gather_and_draw", rows, source, index, *units, key(generator))
        return out if there else None

    @or_plain
    def gather_in_units(
        self, source: np.ndarray, index: np.ndarray, shift: Any, scale: Any
    ) -> Tensor | None:
        (out, rows), n = gathered(source, index), source.shape[1:]
        if any(np.shape(x) not in ((), n) for x in (shift, scale)):
            raise Unsuitable
        shift, scale = (np.broadcast_to(x, n).astype(np.float64) for x in (shift, scale))
        return out if run("gather_in_units", rows, source, index, shift, scale) else None


def entries(x: Tensor, dtype: Any = None) -> Any:
    """x as an array of that dtype, or of float32 or float64, in any layout."""
    if not x.is_cpu or x.dtype not in (torch.float32, torch.float64):
        raise Unsuitable
    found = x.detach().numpy() if x.requires_grad else x.numpy()
    if dtype is not None and found.dtype != dtype:
        raise Unsuitable
    return found


def array(x: Tensor, dtype: Any = None) -> Any:
    """x as a contiguous array that is not empty."""
    if not x.is_contiguous() or x.numel() == 0:
        raise Unsuitable
    return entries(x, dtype)


def matrix(x: Tensor, dtype: Any = None) -> Any:
    """x as a contiguous matrix that is not empty."""
    if x.ndim != 2:
        raise Unsuitable
    return array(x, dtype)


def vector(x: Tensor, rows: Any, axis: int = 1) -> Any:
    """x as a contiguous array with one entry for each column, or for each row, of a matrix."""
    found = entries(x, rows.dtype)
    if found.shape != (rows.shape[axis],):
        raise Unsuitable
    return found if x.is_contiguous() else np.ascontiguousarray(found)


def borders(sizes: Sequence[int], rows: Any) -> Any:
    """The first column of each unit of so many states, and the end of the last, int64."""
    if min(sizes, default=0) < 1 or sum(sizes) != rows.shape[1]:
        raise Unsuitable
    return np.append(0, np.cumsum(sizes))


def deviations(gamma: Any) -> Any:
    """Standard deviations 1 / sqrt(gamma); of no meaning where gamma is not positive."""
    with np.errstate(all="ignore"):
        return 1 / np.sqrt(gamma)


def totals(x: Tensor, rows: Any) -> Any:
    """x as a contiguous array of float64 with one entry for each row of a matrix."""
    found = array(x, np.float64)
    if found.shape != rows.shape[:1]:
        raise Unsuitable
    return found


def flat(tensors: Collection[Tensor]) -> tuple[Any, ...]:
    """Tensors of one dtype as vectors."""
    vectors = tuple(array(x).reshape(-1) for x in tensors)
    if len({x.dtype for x in vectors}) != 1:
        raise Unsuitable
    return vectors


def gathered(source: np.ndarray, index: np.ndarray) -> tuple[Tensor, Any]:
    """A tensor for the rows of source picked by index, and its array."""
    fit_rows(source, index)
    out = torch.empty(len(index), source.shape[1])
    return out, matrix(out)


def pays_tables(x: Tensor, weight: Tensor) -> bool:
    """True if sums of rows are quicker than a matrix product, x being zeros and ones.

    By size alone, lest results differ from run to run. Measured where MKL does the products.
    """
    if not (X86 and x.ndim == weight.ndim == 2 and x.shape[1] == len(weight)):
        return False
    (rows, n), m = x.shape, weight.shape[1]
    work = n * m * rows
    if work < TABLES_PAY:
        return False
    depth, width = compiler().bits.DEPTH, compiler().bits.WIDTH
    whole_tiles = -(-n // depth) * depth * -(-m // width) * width
    build = 24 if weight.is_contiguous() else 40  # in rows that go past a tile
    pays = whole_tiles * (rows + build) < 2 * work
    return pays and lies_flat(x) and lies_flat(weight)


def lies_flat(x: Tensor) -> bool:
    """True if x, or its transpose, is a contiguous matrix of float32 on the CPU."""
    return x.is_cpu and x.dtype == torch.float32 and (x.is_contiguous() or x.T.is_contiguous())


def tabled(x: Tensor, weight: Tensor, out: Tensor) -> bool:
    """out <- x @ weight by sums of rows of the weight; False unless x is zeros and ones."""
    columns, across = not x.is_contiguous(), not weight.is_contiguous()
    bits, sums = array(x.T if columns else x), array(weight.T if across else weight)
    height, tiles = len(out), -(-out.shape[1] // compiler().bits.WIDTH)
    # enough pieces for all threads, yet long ones, as each makes its lookup tables anew
    pieces = max(-(-height // 1024), min(height // 128, 4 * torch.get_num_threads() // tiles))
    to, together = array(out), -(-height // pieces)
    largest = max(to, bits, sums, key=np.size)
    return bool(kernel("bit_product", largest)(to, bits, columns, sums, across, together))
