"""The few kernels worth writing, most of them elementwise and in place; dispatch is here.

CPU tensors go to compiled kernels (`cpu`), all others to plain torch (`reference`). Both draw
from the same distributions but not the same numbers. Matrix products stay torch's, but for those
with tables of zeros and ones (`bits`).
"""

from __future__ import annotations

import functools
import logging
import platform
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gibbsite.ops import reference
from gibbsite.ops.workspace import FRESH, Fresh, Reusing, Workspace, reusing, workspace_of

__all__ = ["FRESH", "Fresh", "Reusing", "Workspace", "reusing", "workspace_of"]

FLOATS = (torch.float32, torch.float64)

log = logging.getLogger("gibbsite")


def draw_bernoulli_(
    x: Tensor,
    bias: Tensor,
    generator: torch.Generator | None = None,
    scale: float = 1.0,
    base: Tensor | None = None,
) -> Tensor:
    """x <- 1 with probability sigmoid(bias + base + scale (x - base)), else 0.

    x is (rows, n), bias and base (n,); no base is 0. Probabilities are met to 2^-24 or better.
    """
    if not _compiled(x):
        return reference.draw_bernoulli_(x, _moved(bias, base, scale), generator, scale)
    start = _moved(_vector(bias), _vector(base), scale)
    _run("draw_bernoulli", x, start, _scalar(scale, x), _key(generator))
    return x


def mean_and_draw_(
    x: Tensor,
    bias: Tensor,
    generator: torch.Generator | None = None,
    start: int = 0,
    draws: Tensor | None = None,
) -> Tensor:
    """x <- sigmoid(bias + x); returns draws of the rows from `start` on, (rows - start, n)."""
    draws = x.new_empty(x.shape[0] - start, x.shape[1]) if draws is None else draws
    if not _compiled(x) or x.dtype != torch.float32:
        draws.copy_(reference.mean_bernoulli_(x, bias)[start:])
        return draw_probabilities_(draws, generator)
    _run("mean_and_draw", x, _vector(bias), start, _key(generator), draws.numpy())
    return draws


def draw_probabilities_(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """x <- 1 with probability x, else 0; 0 and 1 stay. x is (rows, n)."""
    if not _compiled(x):
        return reference.draw_probabilities_(x, generator)
    _run("draw_probabilities", x, _key(generator))
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

    x is (rows, n), bias, sigma and base (n,); no base is 0.
    """
    if not _compiled(x):
        start = _moved(bias, None if base is None else sigma * base, scale)
        return reference.draw_gaussian_(x, start, sigma, generator, scale)
    spread = _vector(sigma)
    start = _moved(_vector(bias), None if base is None else spread * _vector(base), scale)
    _run("draw_gaussian", x, start, spread, _scalar(scale, x), _key(generator))
    return x


def mean_bernoulli_(x: Tensor, bias: Tensor, scale: float = 1.0) -> Tensor:
    """x <- sigmoid(bias + scale x); x is (rows, n), bias (n,)."""
    if not _compiled(x) or x.dtype != torch.float32:
        return reference.mean_bernoulli_(x, bias, scale)
    _run("mean_bernoulli", x, _vector(bias), _scalar(scale, x))
    return x


def softplus_sum(x: Tensor, bias: Tensor) -> Tensor:
    """sum_j log(1 + exp(bias_j + x_j)) over the last axis; x is (..., n), bias (n,). No gradient.

    A single vector is left to torch, as `torch.vmap` takes tables for such.
    """
    fits = x.ndim > 1 and x.shape[-1:] == bias.shape and x.dtype == bias.dtype
    if not (fits and _compiled_flat(x)):
        return reference.softplus_sum(x, bias)
    out = x.new_empty(x.shape[:-1])
    name = "softplus_sum" if x.dtype == torch.float32 else "softplus_sum_double"
    _run(name, x.reshape(-1, x.shape[-1]), _vector(bias), out.reshape(-1).numpy())
    return out


def softplus_change(
    x: Tensor, bias: Tensor, base: Tensor, old: float, new: float, out: Tensor | None = None
) -> Tensor:
    """By how much S(t) = sum_j log(1 + exp(bias_j + base_j + t (x_j - base_j))) grows from old to
    new, in float64, (rows,).
    """
    out = x.new_empty(x.shape[:-1], dtype=torch.float64) if out is None else out
    if not _compiled(x) or x.dtype != torch.float32:
        return out.copy_(reference.softplus_change(x, bias, base, old, new))
    scalars = _scalar(old, x), _scalar(new, x)
    _run("softplus_change", x, _vector(bias), _vector(base), *scalars, out.numpy())
    return out


def add_row_dot_(total: Tensor, x: Tensor, weights: Tensor, scale: float) -> None:
    """total <- total + scale sum_j weights_j x_j of each row of x; total, (rows,), is float64."""
    if not _compiled(x):
        reference.add_row_dot_(total, x, weights, scale)
        return
    _run("add_row_dot", x, _vector(weights), scale, total.numpy())


def product(x: Tensor, weight: Tensor, out: Tensor | None = None) -> Tensor:
    """x @ weight, (rows, m), for x (rows, n) and weight (n, m); no gradient.

    Where x is all zeros and ones a weight that is not finite counts for the ones alone.
    """
    out = x.new_empty(x.shape[0], weight.shape[1]) if out is None else out
    if not (_pays_tables(x, weight, out) and _tabled(x, weight, out)):
        torch.mm(x, weight, out=out)
    return out


def _tabled(x: Tensor, weight: Tensor, out: Tensor) -> bool:
    """out <- x @ weight by sums of rows of the weight; False unless x is zeros and ones."""
    columns, across = not x.is_contiguous(), not weight.is_contiguous()
    table, rows = x.T if columns else x, weight.T if across else weight
    number, tiles = len(out), -(-out.shape[1] // _cpu().bits.WIDTH)
    # enough pieces for all threads, yet long ones, as each makes its tables anew
    pieces = max(-(-number // 1024), min(number // 128, 4 * torch.get_num_threads() // tiles))
    together = -(-number // pieces)
    kernel = _kernel("bit_product", max(out, x, weight, key=Tensor.numel))
    return bool(kernel(out.numpy(), _array(table), columns, _array(rows), across, together))


def _pays_tables(x: Tensor, weight: Tensor, out: Tensor) -> bool:
    """Whether sums of rows are quicker than a matrix product, if x is zeros and ones.

    By size alone, lest results differ from run to run. Measured where MKL does the products.
    """
    (rows, n), m = x.shape, weight.shape[1]
    work = n * m * rows
    if work < TABLES_PAY or not (_X86 and _compiled(out) and out.dtype == torch.float32):
        return False
    depth, width = _cpu().bits.DEPTH, _cpu().bits.WIDTH
    whole_tiles = -(-n // depth) * depth * -(-m // width) * width
    build = 24 if weight.is_contiguous() else 40  # in rows that go past a tile
    pays = whole_tiles * (rows + build) < 2 * work
    return pays and _lies_flat(x) and _lies_flat(weight)


TABLES_PAY = 2**20
"""Multiply-adds below which a matrix product is too quick to be bettered."""

_X86 = platform.machine().lower() in ("x86_64", "amd64")


def phase_statistics_(
    v: Tensor, h: Tensor, rows: int, v_means: Tensor, h_means: Tensor, shares: Tensor
) -> None:
    """Fills in means of v and of h, (3, n) each, and h as it counts in a difference of means.

    Means over the first rows, over the others, and the difference; in shares, like h, the others
    count negative.
    """
    if not (_compiled(v) and _compiled(h)):
        reference.phase_statistics_(v, h, rows, v_means, h_means, shares)
        return
    _run("phase_statistics", h, v.numpy(), rows, *map(_array, (v_means, h_means, shares)))


def phase_spread_(x: Tensor, rows: int, center: Tensor, out: Tensor) -> None:
    """out <- mean of (x - center)^2 over the first rows less that over the others, (n,)."""
    if not _compiled(x):
        reference.phase_spread_(x, rows, center, out)
        return
    _run("phase_spread", x, rows, _vector(center), out.numpy())


def row_dots(x: Tensor, y: Tensor, out: Tensor) -> Tensor:
    """out <- sum_j x_ij y_ij for each row i, (rows,)."""
    if not (_compiled(x) and _compiled(y)):
        return reference.row_dots(x, y, out)
    _run("row_dots", x, _array(y), out.numpy())
    return out


class Ascent(NamedTuple):
    """All that updates of a binary model change in place; float32, plain.

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
    """Updates by the minibatches of data in turn, in one call, for models bound by calls.

    By persistent contrastive divergence if there are chains, else by contrastive divergence.
    rates are the share of a minibatch in the offsets, 0 for a gradient that is not centred, the
    learning rate and the momentum. The numbers drawn are those that single calls would draw.
    Returns the norms of the gradients; at the first that is not finite it ends, without a step.
    """
    updates = -(-len(data) // batch_size)
    keys = torch.empty(updates, 1 + 2 * steps, dtype=torch.int64).random_(generator=generator)
    parameters, chains, offsets = (
        tuple(map(_array, tensors))
        for tensors in (ascent.parameters, ascent.chains, ascent.offsets)
    )
    moving = parameters, _flat(ascent.velocities), chains, offsets
    numbers, norms = tuple(map(np.float32, rates)), np.empty(updates)
    name = "persistent_updates" if chains else "contrastive_updates"
    update = _kernel(name, ascent.parameters[0])
    done = update(*moving, data.contiguous().numpy(), batch_size, keys.numpy(), numbers, norms)
    return [float(norm) for norm in norms[:done]]


def is_binary(x: Tensor) -> bool:
    """Whether all of x, (rows, n), is 0 or 1."""
    return bool(_run("is_binary", x)) if _compiled(x) else reference.is_binary(x)


def gather_and_draw(
    table: np.ndarray,
    rows: np.ndarray,
    out: Tensor | None,
    scale: float,
    shift: float,
    generator: torch.Generator | None = None,
) -> Tensor | None:
    """`draw_probabilities_` of what `gather` gives, in one pass."""
    out = torch.empty(len(rows), table.shape[1]) if out is None else out
    numbers = np.float32(scale), np.float32(shift), _key(generator)
    return out if _run("gather_and_draw", out, table, rows, *numbers) else None


def gather(
    table: np.ndarray, rows: np.ndarray, out: Tensor | None, scale: float, shift: float
) -> Tensor | None:
    """shift + scale * table[rows] in float32, (len(rows), n); table is rounded to that first.

    None if the table lacks one of the rows, whole numbers from 0.
    """
    out = torch.empty(len(rows), table.shape[1]) if out is None else out
    there = _run("gather", out, table, rows, np.float32(scale), np.float32(shift))
    return out if there else None


def gather_in_units(
    table: np.ndarray, rows: np.ndarray, out: Tensor, shift: Any, scale: Any
) -> Tensor | None:
    """(table[rows] - shift) / scale, computed in float64; shift, scale are numbers or (n,).

    None as for `gather`.
    """
    shift, scale = (np.broadcast_to(x, table.shape[1:]).astype(np.float64) for x in (shift, scale))
    return out if _run("gather_in_units", out, table, rows, shift, scale) else None


def center_(
    weight: Tensor,
    biases: tuple[Tensor, Tensor],
    offsets: tuple[Tensor, Tensor],
    scales: tuple[Tensor, Tensor],
) -> None:
    """weight <- weight - (s b) lam^T - mu (t c)^T, b <- b - s weight lam, c <- c - t weight^T mu.

    weight is (n, m), the pairs are biases b, c, offsets mu, lam and scales s, t, of (n,) and (m,).
    """
    if not all(_compiled_flat(x) for x in (weight, *biases)):
        reference.center_(weight, biases, offsets, scales)
        return
    _run("center", weight, *(_vector(x) for x in (*biases, *offsets, *scales)))


def square_sum(tensors: Iterable[Tensor]) -> float:
    """Sum of the squares of all entries; not finite if one of them is not."""
    tensors = list(tensors)
    if not all(map(_compiled_flat, tensors)):
        return reference.square_sum(tensors)
    return float(_kernel("square_sum", max(tensors, key=Tensor.numel))(_flat(tensors)))


def ascend_(
    tensors: Sequence[Tensor],
    gradients: Sequence[Tensor],
    rate: float,
    velocities: Sequence[Tensor],
    momentum: float,
) -> None:
    """u <- momentum u + g, x <- x + rate u for each x, g, u; without velocities u is g."""
    largest = max(tensors, key=Tensor.numel)
    everything = [*tensors, *gradients, *velocities]
    if not all(_compiled_flat(x) and x.dtype == largest.dtype for x in everything):
        reference.ascend_(tensors, gradients, rate, velocities, momentum)
        return
    step = _flat(tensors), _flat(gradients), _scalar(rate, largest)
    if velocities:
        moving = _flat(velocities), _scalar(momentum, largest)
        _kernel("ascend_with_momentum", largest)(*step, *moving)
    else:
        _kernel("ascend", largest)(*step)


@contextmanager
def fitting_threads(work: int) -> Iterator[None]:
    """Within it torch and the kernels use one thread if `work`, multiply-adds a product, is small.

    Sharing out small work gains little, and costs tenfold where another process has the cores.
    """
    threads = torch.get_num_threads()
    if threads == 1 or work >= SHARED_WORK:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


SHARED_WORK = 2**20


def _compiled(x: Tensor) -> bool:
    """Whether the compiled kernels take it: a plain table in this machine's memory."""
    return x.ndim == 2 and _compiled_flat(x)


def _compiled_flat(x: Tensor) -> bool:
    """The same for kernels that take any shape as one long vector."""
    return x.is_cpu and x.dtype in FLOATS and x.is_contiguous()


def _lies_flat(x: Tensor) -> bool:
    """Whether it or its transpose is a plain table of float32."""
    return x.dtype == torch.float32 and (x.is_contiguous() or x.T.is_contiguous())


def _vector(x: Tensor | None) -> Any:
    if x is None:
        return None
    return _array(x) if x.is_contiguous() else np.ascontiguousarray(_array(x))


def _moved(bias: Any, base: Any, scale: float) -> Any:
    """bias + (1 - scale) base, of tensors or arrays, as far as there is a base."""
    return bias if base is None else bias + (1 - scale) * base


def _scalar(value: float, x: Tensor) -> Any:
    """A number of x's precision, lest the kernel compute in a higher one."""
    return np.float32(value) if x.dtype == torch.float32 else np.float64(value)


_LOCAL = threading.local()


def _key(generator: torch.Generator | None) -> Any:
    """64 fresh bits of the generator: the key of a counter-based stream, for one call."""
    if not hasattr(_LOCAL, "key"):
        with torch.inference_mode(False):  # else it could not be filled outside of that mode
            _LOCAL.key = torch.zeros(1, dtype=torch.int64)
        _LOCAL.key_array = _LOCAL.key.numpy()
    if generator is not None and generator.device.type != "cpu":
        _LOCAL.key.copy_(torch.randint(2**63 - 1, (1,), generator=generator, device="cuda"))
    else:
        _LOCAL.key.random_(generator=generator)
    return _LOCAL.key_array


def _array(x: Tensor) -> Any:
    return x.detach().numpy() if x.requires_grad else x.numpy()


def _flat(tensors: Sequence[Tensor]) -> tuple[Any, ...]:
    return tuple(_array(x) if x.ndim == 1 else _array(x).reshape(-1) for x in tensors)


def _run(name: str, x: Tensor, *arguments: Any) -> Any:
    """Call a kernel on x, in parallel where that pays."""
    return _kernel(name, x)(_array(x), *arguments)


def _kernel(name: str, x: Tensor) -> Callable[..., Any]:
    """The kernel for tables of the size and type of x."""
    threads = torch.get_num_threads() if x.numel() >= PARALLEL_SIZE else 1
    if threads > 1 and getattr(_LOCAL, "threads", 0) != threads:
        _cpu().set_threads(threads)
        _LOCAL.threads = threads
    kind = name, threads > 1, x.dtype
    return _KERNELS.get(kind) or _new_kernel(kind)


PARALLEL_SIZE = 2**15
"""Smaller tables are faster done by one thread than shared out."""

_KERNELS: dict[tuple[str, bool, torch.dtype], Callable[..., Any]] = {}


def _new_kernel(kind: tuple[str, bool, torch.dtype]) -> Callable[..., Any]:
    """A kernel whose first call, which may compile, says so."""
    kernel: Callable[..., Any] = _cpu().kernel(*kind[:2])

    def patient(*arguments: Any) -> Any:
        with _patience():
            result = kernel(*arguments)
        _KERNELS[kind] = kernel
        return result

    return patient


@functools.cache
def _cpu() -> ModuleType:
    """The compiled kernels; imported late, as numba takes its time."""
    from gibbsite.ops import cpu

    return cpu


@contextmanager
def _patience() -> Iterator[None]:
    """Say what takes so long, if it does."""
    message = "compiling kernels, once on this machine; later starts are quick"
    timer = threading.Timer(1.0, log.warning, [message])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
