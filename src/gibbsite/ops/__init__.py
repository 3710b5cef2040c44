"""The few elementwise kernels worth fusing, each overwriting its argument; dispatch is here.

CPU tensors go to compiled kernels (`cpu`), all others to plain torch (`reference`). Both draw
from the same distributions but not the same numbers. Matrix products stay torch's.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gibbsite.ops import reference

FLOATS = (torch.float32, torch.float64)

log = logging.getLogger("gibbsite")


def draw_bernoulli_(
    x: Tensor,
    bias: Tensor,
    generator: torch.Generator | None = None,
    scale: float = 1.0,
    mean: Tensor | None = None,
) -> Tensor:
    """x <- 1 with probability sigmoid(bias + scale x), else 0; `mean` gets the probabilities.

    x is (rows, n), bias (n,). Probabilities are met to 2^-24 or better.
    """
    if not _compiled(x):
        return reference.draw_bernoulli_(x, bias, generator, scale, mean)
    if mean is None:
        _run("draw_bernoulli", x, _vector(bias), _scalar(scale, x), _key(generator))
    elif x.dtype == torch.float32:
        means = mean.detach().numpy()
        _run("draw_and_mean", x, _vector(bias), _scalar(scale, x), _key(generator), means)
    else:
        draw_probabilities_(
            x.copy_(reference.mean_bernoulli_(mean.copy_(x), bias, scale)), generator
        )
    return x


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
) -> Tensor:
    """x <- Normal(bias + sigma scale x, sigma^2); x is (rows, n), bias and sigma (n,)."""
    if not _compiled(x):
        return reference.draw_gaussian_(x, bias, sigma, generator, scale)
    _run("draw_gaussian", x, _vector(bias), _vector(sigma), _scalar(scale, x), _key(generator))
    return x


def mean_bernoulli_(x: Tensor, bias: Tensor, scale: float = 1.0) -> Tensor:
    """x <- sigmoid(bias + scale x); x is (rows, n), bias (n,)."""
    if not _compiled(x) or x.dtype != torch.float32:
        return reference.mean_bernoulli_(x, bias, scale)
    _run("mean_bernoulli", x, _vector(bias), _scalar(scale, x))
    return x


def softplus_sum(x: Tensor, bias: Tensor, scale: float = 1.0) -> Tensor:
    """sum_j log(1 + exp(bias_j + scale x_j)) of each row of x, in float64, (rows,)."""
    if not _compiled(x) or x.dtype != torch.float32:
        return reference.softplus_sum(x, bias, scale)
    out = torch.empty(len(x), dtype=torch.float64)
    _run("softplus_sum", x, _vector(bias), _scalar(scale, x), out.numpy())
    return out


def row_dot(x: Tensor, weights: Tensor) -> Tensor:
    """sum_j weights_j x_j of each row of x, in float64, (rows,).

    A product with a vector wakes the threads of another library for a moment's work.
    """
    if not _compiled(x):
        return reference.row_dot(x, weights)
    out = torch.empty(len(x), dtype=torch.float64)
    _run("row_dot", x, _vector(weights), out.numpy())
    return out


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
    return x.device.type == "cpu" and x.ndim == 2 and x.is_contiguous() and x.dtype in FLOATS


def _vector(x: Tensor) -> Any:
    return x.detach().contiguous().numpy()


def _scalar(value: float, x: Tensor) -> Any:
    """A number of x's precision, lest the kernel compute in a higher one."""
    return np.float32(value) if x.dtype == torch.float32 else np.float64(value)


_KEY = threading.local()


def _key(generator: torch.Generator | None) -> Any:
    """64 fresh bits of the generator: the key of a counter-based stream, for one call."""
    if not hasattr(_KEY, "tensor"):
        _KEY.tensor = torch.zeros(1, dtype=torch.int64)
        _KEY.array = _KEY.tensor.numpy()
    if generator is not None and generator.device.type != "cpu":
        _KEY.tensor.copy_(torch.randint(2**63 - 1, (1,), generator=generator, device="cuda"))
    else:
        _KEY.tensor.random_(generator=generator)
    return _KEY.array


def _run(name: str, x: Tensor, *arguments: Any) -> None:
    """Call a kernel on x, in parallel where that pays."""
    kernel = _kernel(name, x.numel() >= PARALLEL_SIZE and torch.get_num_threads() > 1)
    kernel(x.detach().numpy(), *arguments)


PARALLEL_SIZE = 2**16
"""Smaller tables are faster done by one thread than shared out."""


@functools.cache
def _kernel(name: str, parallel: bool) -> Callable[..., Any]:
    """A kernel, whose first call may compile."""
    kernel = _cpu().kernel(name, parallel)
    started = set()

    def patient(x: Any, *arguments: Any) -> Any:
        if x.dtype in started:
            return kernel(x, *arguments)
        with _patience():
            result = kernel(x, *arguments)
        started.add(x.dtype)
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
