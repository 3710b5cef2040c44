"""All kernels in plain torch, for every device; the oracle of the other backends."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from gibbsite.errors import DataError
from gibbsite.ops.half_line import half_line, inverse_survival
from gibbsite.ops.segments import join, split

DOUBLE, SINGLE = torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.float32)


class Kernels:
    """One method a kernel, most of them elementwise and in place.

    A method whose name ends in ``_`` overwrites its first argument. Tensors whose shapes, dtypes
    or devices do not fit each other raise `DataError`. A backend is a subclass that overrides what
    it does better; it draws from the same distributions, but other values for the same generator.
    """

    def product(self, x: Tensor, weight: Tensor, out: Tensor | None = None) -> Tensor:
        """x @ weight, (rows, m), for x (rows, n) and weight (n, m).

        Where x is binary, a backend may ignore weights that meet a 0, even NaN and infinity.
        """
        if x.ndim != 2 or weight.ndim != 2 or x.dtype != weight.dtype or x.shape[1] != len(weight):
            raise misfit(weight, (*x.shape[1:], "columns"), x)
        if out is None:
            return x @ weight
        fit(out, (x.shape[0], weight.shape[1]), x)
        return torch.mm(x, weight, out=out)

    def draw_bernoulli_(
        self,
        x: Tensor,
        bias: Tensor,
        generator: torch.Generator | None = None,
        scale: float = 1.0,
    ) -> Tensor:
        """x <- 1 with probability sigmoid(bias + scale x), else 0; x is (rows, n), bias (n,).

        Probabilities of a one and of a zero are exact to 2^-53 or better.
        """
        fit_columns(x, bias)
        x.mul_(scale).add_(bias)
        return x.copy_(uniform(x, generator) < x.double().sigmoid_())  # float32 rounds it to 1

    def draw_probabilities_(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """x <- 1 with probability x, else 0; 0 and 1 stay, NaN gives 0. x is (rows, n)."""
        fit_columns(x)
        return x.copy_(uniform(x, generator) < x)

    def draw_spin_(
        self,
        x: Tensor,
        bias: Tensor,
        generator: torch.Generator | None = None,
        scale: float = 1.0,
    ) -> Tensor:
        """x <- +1 with probability sigmoid(2 (bias + scale x)), else -1.

        Shapes and exactness as in `draw_bernoulli_`.
        """
        fit_columns(x, bias)
        ones = self.draw_bernoulli_(x, 2 * bias, generator, 2 * scale)
        return ones.mul_(2).sub_(1)

    def draw_categorical_(
        self,
        x: Tensor,
        bias: Tensor,
        sizes: Sequence[int],
        generator: torch.Generator | None = None,
        scale: float = 1.0,
    ) -> Tensor:
        """x <- 1 in one column of each unit, with the probabilities of its softmax, else 0.

        The softmax is of bias + scale x. x is (rows, width), bias (width,); unit i has the next
        sizes[i] columns. Probabilities are exact to 2^-50.
        """
        fit_columns(x, bias)
        fit_segments(x, sizes)
        x.mul_(scale).add_(bias)
        ends = split(x, sizes, -torch.inf).double().softmax(-1).cumsum(-1)
        states = (ends <= uniform(ends[..., :1], generator) * ends[..., -1:]).sum(-1, keepdim=True)
        drawn = torch.arange(ends.shape[-1], device=x.device) == states
        return x.copy_(join(drawn, sizes))

    def draw_gaussian_(
        self,
        x: Tensor,
        bias: Tensor,
        sigma: Tensor,
        generator: torch.Generator | None = None,
        scale: float = 1.0,
    ) -> Tensor:
        """x <- Normal(bias + sigma scale x, sigma^2); x is (rows, n), bias and sigma (n,).

        The tails reach beyond 8 sigma.
        """
        fit_columns(x, bias, sigma)
        # in float32 torch's own noise ends before 6 sigma
        noise = torch.randn(x.shape, dtype=torch.float64, device=x.device, generator=generator)
        return x.mul_(scale).add_(noise.to(x.dtype)).mul_(sigma).add_(bias)

    def draw_rectified_(
        self,
        x: Tensor,
        bias: Tensor,
        gamma: Tensor,
        generator: torch.Generator | None = None,
        scale: float = 1.0,
    ) -> Tensor:
        """x <- Normal(a / gamma, 1 / gamma) cut at 0, with a = bias + scale x.

        x is (rows, n), bias and gamma (n,). By inversion, in float64.
        """
        fit_columns(x, bias, gamma)
        spread = gamma.double().rsqrt()
        z = spread * (bias + scale * x.double())
        return x.copy_(spread * inverse_survival(z, uniform(x, generator)))

    def draw_double_rectified_(
        self,
        x: Tensor,
        biases: tuple[Tensor, Tensor],
        gammas: tuple[Tensor, Tensor],
        generator: torch.Generator | None = None,
        scale: float = 1.0,
    ) -> Tensor:
        """x <- a draw from exp(a x - gamma x^2 / 2) with a, gamma of the side of 0 that x is on.

        a = bias + scale x. x is (rows, n); biases and gammas, of the sides above and below, are
        (n,). By inversion, in float64.
        """
        fit_columns(x, *biases, *gammas)
        above, below = (gamma.double().rsqrt() for gamma in gammas)
        inputs = scale * x.double()
        z = above * (biases[0] + inputs)
        negated = -below * (biases[1] + inputs)
        log_odds = half_line(z).log_integral - half_line(negated).log_integral
        positive = uniform(x, generator) < torch.sigmoid(log_odds + above.log() - below.log())
        t = inverse_survival(torch.where(positive, z, negated), uniform(x, generator))
        return x.copy_(torch.where(positive, above * t, -below * t))

    def mean_bernoulli_(self, x: Tensor, bias: Tensor) -> Tensor:
        """x <- sigmoid(bias + x); x is (rows, n), bias (n,)."""
        fit_columns(x, bias)
        return x.add_(bias).sigmoid_()

    def mean_categorical_(self, x: Tensor, bias: Tensor, sizes: Sequence[int]) -> Tensor:
        """x <- the softmax of bias + x over the columns of each unit, as in `draw_categorical_`."""
        fit_columns(x, bias)
        fit_segments(x, sizes)
        fields = split(x.add_(bias), sizes, -torch.inf)
        return x.copy_(join(fields.softmax(-1), sizes))

    def softplus_sum(self, x: Tensor, bias: Tensor) -> Tensor:
        """sum_j log(1 + exp(bias_j + x_j)) over the last axis; x is (..., n), bias (n,).

        One column stands for all. Differentiable in plain torch.
        """
        real = bias.dtype.is_floating_point and not x.is_complex()
        if not real or x.ndim == 0 or bias.ndim != 1 or x.shape[-1] not in (1, len(bias)):
            raise misfit(x, ("...", *bias.shape), bias)
        # torch replaces softplus(x) by x above its threshold: at 20 that loses 2e-9 a unit
        return softplus(bias + x, threshold=40.0).sum(-1)

    def softplus_change(
        self,
        x: Tensor,
        bias: Tensor,
        base: Tensor,
        old: float | Tensor,
        new: float | Tensor,
        out: Tensor | None = None,
    ) -> Tensor:
        """S(new) - S(old) of S(t) = sum_j softplus(bias_j + base_j + t (x_j - base_j)), float64.

        t is a scalar, or one a row, (rows, 1).
        """
        fit_columns(x, bias, base)
        for t in (old, new):
            if isinstance(t, Tensor) and t.shape != (*x.shape[:-1], 1):
                raise misfit(t, (*x.shape[:-1], 1), x)
        after, before = (
            softplus(bias + torch.lerp(base, x, t), threshold=40.0) for t in (new, old)
        )
        change = (after - before).sum(-1, dtype=torch.float64)
        if out is None:
            return change
        fit(out, x.shape[:-1], change)
        return out.copy_(change)

    def add_row_dot_(self, total: Tensor, x: Tensor, weights: Tensor, scale: float) -> Tensor:
        """total <- total + scale sum_j weights_j x_j for each row; total, (rows,), is float64."""
        fit_columns(x, weights)
        dot = x.double() @ weights.double()
        fit(total, x.shape[:-1], dot)
        return total.add_(dot, alpha=scale)

    def weighted(self, x: Tensor, weights: Tensor) -> Tensor:
        """weights_i x_ij: each row of x, (rows, n), times its own weight; weights is (rows,)."""
        if x.ndim != 2:
            raise misfit(x, (*weights.shape, "columns"), weights)
        fit(weights, x.shape[:1], x)
        return weights[:, None] * x

    def is_binary(self, x: Tensor) -> bool:
        """True if all of x is 0 or 1."""
        return bool(((x == 0) | (x == 1)).all())

    def center_(
        self, weight: Tensor, slopes: tuple[Tensor, Tensor], offsets: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """weight <- weight - s lam^T - mu t^T; returns weight lam, (n,), and weight^T mu, (m,).

        weight is (n, m); slopes s and t, and offsets mu and lam, are (n,) and (m,) each.
        """
        if weight.ndim != 2:
            raise misfit(weight, ("n", "m"), weight)
        for pair in (slopes, offsets):
            for x, n in zip(pair, weight.shape, strict=True):
                fit(x, (n,), weight)
        (s, t), (mu, lam) = slopes, offsets
        weight.addmm_(torch.stack([s, mu], 1), torch.stack([lam, t]), alpha=-1)
        return weight @ lam, mu @ weight

    def square_sum(self, tensors: Collection[Tensor]) -> float:
        """Sum of the squares of all entries; not finite if one of them is not."""
        if not tensors or not all(x.dtype.is_floating_point for x in tensors):
            raise DataError("a sum of squares of no tensor, or of a tensor that is not of floats")
        return float(sum(torch.linalg.vector_norm(x).item() ** 2 for x in tensors))

    def ascend_(
        self,
        tensors: Sequence[Tensor],
        gradients: Sequence[Tensor],
        rate: float,
        velocities: Sequence[Tensor],
        momentum: float,
    ) -> None:
        """u <- momentum u + g, x <- x + rate u for each x, g, u; without velocities u is g."""
        fit_each(tensors, gradients, velocities)
        for u, gradient in zip(velocities, gradients, strict=False):
            u.mul_(momentum).add_(gradient)
        for x, u in zip(tensors, velocities or gradients, strict=True):
            x.add_(u, alpha=rate)

    def gather(
        self, source: np.ndarray, index: np.ndarray, scale: float, shift: float
    ) -> Tensor | None:
        """shift + scale * source[index] in float32, (len(index), n); source is rounded first.

        source is (rows, n), index int64. None if an index is out of range.
        """
        if not fit_rows(source, index):
            return None
        return torch.from_numpy(source[index].astype(np.float32)).mul_(scale).add_(shift)

    def gather_and_draw(
        self,
        source: np.ndarray,
        index: np.ndarray,
        scale: float,
        shift: float,
        generator: torch.Generator | None = None,
    ) -> Tensor | None:
        """`gather`, then `draw_probabilities_`, in one pass."""
        shares = self.gather(source, index, scale, shift)
        return None if shares is None else self.draw_probabilities_(shares, generator)

    def gather_in_units(
        self, source: np.ndarray, index: np.ndarray, shift: Any, scale: Any
    ) -> Tensor | None:
        """(source[index] - shift) / scale in float32, from float64; shift, scale scalars or (n,).

        None as for `gather`.
        """
        if any(np.shape(x) not in ((), source.shape[1:]) for x in (shift, scale)):
            raise DataError(
                f"units of shape {np.shape(shift)}, {np.shape(scale)}: expected {source.shape[1:]}"
            )
        if not fit_rows(source, index):
            return None
        with np.errstate(all="ignore"):  # compiled code gives no warnings either
            values = (source[index] - np.float64(shift)) / scale
            return torch.from_numpy(values.astype(np.float32))


def uniform(like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Uniform draws of the shape of `like`, strictly within (0, 1), in float64."""
    draws = torch.rand(like.shape, dtype=torch.float64, device=like.device, generator=generator)
    return draws.add_(2.0**-55)  # k 2^-53 may be 0; half a step would round the last to 1


def fit(x: Tensor, shape: Sequence[int], like: Tensor) -> None:
    """Raise `DataError` unless x has that shape, and the dtype and device of `like`."""
    if x.shape != shape or x.dtype != like.dtype or x.device != like.device:
        raise misfit(x, shape, like)


def fit_columns(x: Tensor, *vectors: Tensor) -> None:
    """Raise `DataError` unless x is of floats and each vector has one entry a column."""
    if x.ndim == 0 or not x.dtype.is_floating_point:
        raise misfit(x, ("rows", "columns"), SINGLE)
    for other in vectors:
        fit(other, x.shape[-1:], x)


def fit_segments(x: Tensor, sizes: Sequence[int]) -> None:
    """Raise `DataError` unless units of so many states have as many columns as x."""
    if min(sizes, default=0) < 1 or sum(sizes) != x.shape[-1]:
        raise DataError(f"{x.shape[-1]} columns for units of {sum(sizes)} states in all")


def fit_each(
    tensors: Sequence[Tensor], gradients: Sequence[Tensor], velocities: Sequence[Tensor] = ()
) -> None:
    """Raise `DataError` unless each tensor has a gradient like it, and a velocity if any has."""
    for others in (gradients, velocities or gradients):
        if not 0 < len(tensors) == len(others):
            raise DataError(f"{len(others)} tensors to go with {len(tensors)}")
        for x, y in zip(tensors, others, strict=True):
            fit(y, x.shape, x)


def fit_rows(source: np.ndarray, index: np.ndarray) -> bool:
    """True if every index is in range; `DataError` unless kernels take such arrays."""
    if source.ndim != 2 or source.dtype.char not in "Bfd" or not source.dtype.isnative:
        raise DataError(
            f"a source of {source.dtype}, {source.shape}: expected uint8 or floats, 2-d"
        )
    if index.ndim != 1 or index.dtype != np.int64:
        raise DataError(f"an index of {index.dtype}, {index.shape}: expected int64, 1-d")
    return bool(((index >= 0) & (index < len(source))).all())


def misfit(x: Tensor, shape: Sequence[int | str], like: Tensor) -> DataError:
    """The error for a tensor of another shape, dtype or device than expected."""
    expected = ", ".join(map(str, shape))
    return DataError(
        f"a tensor of shape {tuple(x.shape)} and {x.dtype} on {x.device}: "
        f"expected ({expected}) and {like.dtype} on {like.device}"
    )
