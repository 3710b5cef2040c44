"""Correlated continuous units, x in R^n."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gibbsite import ops
from gibbsite.checks import as_scales, as_tensor
from gibbsite.covariance import ShrunkCorrelation
from gibbsite.errors import ArgumentError
from gibbsite.layers.base import Layer
from gibbsite.layers.faults import first_fault
from gibbsite.layers.gaussian import Gaussian

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)

DIAGONAL = 1e-5
"""Entries off the diagonal, over those on it, below which a factor is diagonal but for rounding."""


class MultivariateMoments(NamedTuple):
    """Means of the units, and mean squares of L^-1 (x - b)."""

    mean: Tensor
    squares: Tensor


class MultivariateGaussian(Layer):
    r"""n real units, correlated given the other layer: Gaussian units behind a linear map L.

    $$E(x) = \tfrac12\sum_i\frac{u_i^2}{s_i^2},\quad u = L^{-1}(x-b),\qquad
      \text{statistic}(x)_i = \frac{(L^{-1}x)_i}{s_i},\qquad
      x \mid \text{inputs} \sim \mathcal N\bigl(b + LS\,\text{inputs},\; LS^2L^T\bigr)$$

    with $S = \mathrm{diag}(s)$. It is the layer of a model that was trained as one of
    `Gaussian` units on whitened rows u, in the units of the data
    (`gibbsite.training.to_data_units`). L is stored and not trained. Without weights p(x) is
    the Gaussian of covariance $LS^2L^T$; hidden units explain what is not Gaussian.

    Units depend on each other given the other layer, so that there is no pseudo-likelihood; of
    clamped units the free ones are drawn given these, too.

    Args:
        factor: L, (n, n), in units of the data, with an inverse.
        scale: s, dimensionless: a scalar shared by all units, or n values.
        learn_scale: train s too, as ``log_scale`` (so that it stays positive).

    Source: Melchior, Wang, Wiskott (2017), Gaussian-binary restricted Boltzmann machines for
    modeling natural image statistics, PLoS ONE 12(2), train on whitened rows.

    >>> import torch, gibbsite as gb
    >>> layer = gb.MultivariateGaussian([[1.0, 0.0], [2.0, 1.0]])
    >>> layer.mean(torch.tensor([1.0, 0.0])).tolist()
    [1.0, 2.0]
    >>> layer.covariance.tolist()
    [[1.0, 2.0], [2.0, 5.0]]
    """

    has_units = True
    linear = True
    independent = False

    def __init__(
        self,
        factor: Tensor | Sequence[Sequence[float]],
        scale: float | Sequence[float] | Tensor = 1.0,
        learn_scale: bool = False,
    ) -> None:
        square = _as_square(factor)
        super().__init__(len(square))
        self.bias = nn.Parameter(torch.zeros(self.n, dtype=square.dtype))
        self.register_buffer("factor", square)
        self._inverse: _Inverse | None = None
        scales = as_scales("scale", scale, self.n, self.bias)
        self.learn_scale = learn_scale
        if learn_scale:
            self.log_scale = nn.Parameter(scales.log())
        else:
            self.register_buffer("fixed_scale", scales)
        if found := self.fault():
            raise ArgumentError(f"factor: {found}; give one with an inverse")

    @property
    def scale(self) -> Tensor:
        """s, (n,)."""
        scale = self.log_scale.exp() if self.learn_scale else self.get_buffer("fixed_scale")
        return scale.expand(self.n)

    @property
    def sigma(self) -> Tensor:
        """Standard deviation of each unit given its inputs, (n,), in units of the data."""
        sigma: Tensor = torch.linalg.vector_norm(self.get_buffer("factor") * self.scale, dim=1)
        return sigma

    @property
    def covariance(self) -> Tensor:
        """L S^2 L^T, that of the units given their inputs, (n, n)."""
        scaled = self.get_buffer("factor") * self.scale
        return scaled @ scaled.T

    def fault(self) -> str:
        """`Layer.fault`; the factor must have an inverse, and exp(log_scale) be above 0."""

        def usable(scale: Tensor) -> Tensor:
            return torch.isfinite(scale) & torch.isfinite(1 / scale) & (scale > 0)

        if found := super().fault() or first_fault("scale", self.scale, usable):
            return found
        return "" if torch.isfinite(self._inverted().log_det) else "factor has no inverse"

    def _inverted(self) -> _Inverse:
        """L^-1 and log |det L|, made anew after the factor has changed."""
        factor = self.get_buffer("factor")
        if self._inverse is None or not self._inverse.is_of(factor):
            self._inverse = _Inverse.of(factor)
        return self._inverse

    def _white(self, x: Tensor) -> Tensor:
        """L^-1 x, (..., n)."""
        return x @ self._inverted().matrix.T

    def _coloured(self, u: Tensor) -> Tensor:
        """L u, (..., n)."""
        return u @ self.get_buffer("factor").T

    # the exponential family

    def energy(self, x: Tensor) -> Tensor:
        return 0.5 * ((self._white(x - self.bias) / self.scale) ** 2).sum(-1)

    def statistic(self, x: Tensor) -> Tensor:
        return self._white(x) / self.scale

    def log_partition(self, inputs: Tensor) -> Tensor:
        exponent: Tensor = torch.linalg.vecdot(self.statistic(self.bias) + 0.5 * inputs, inputs)
        volume = (self.scale.log() + _HALF_LOG_2PI).sum() + self._inverted().log_det
        return exponent + volume

    def moments(self, inputs: Tensor) -> MultivariateMoments:
        u = self.scale * inputs
        return MultivariateMoments(self.bias + self._coloured(u), u**2 + self.scale**2)

    def moments_at(self, x: Tensor) -> MultivariateMoments:
        return MultivariateMoments(x, self._white(x - self.bias) ** 2)

    @torch.no_grad()
    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        rows = inputs.detach().clone(memory_format=torch.contiguous_format).reshape(-1, self.n)
        kernels = ops.kernels_for(rows)
        zero = torch.zeros_like(self.bias.detach())
        u = kernels.draw_gaussian_(rows, zero, self.scale.detach().contiguous(), generator)
        return (self.bias + self._coloured(u)).reshape(inputs.shape)

    def gradient(
        self, moments: Any, weights: Tensor, coupling: Callable[[], Tensor]
    ) -> dict[str, Tensor]:
        """Gradients of bias, L^-T S^-2 E[u], and log_scale, E[u^2]/s^2 - s(x) inputs."""
        mean, squares = moments
        u = weights @ self._white(mean - self.bias)
        gradient = {"bias": (u / self.scale**2) @ self._inverted().matrix}
        if self.learn_scale:
            by_unit = (weights @ squares) / self.scale**2 - coupling()
            shared = self.log_scale.numel() == 1
            gradient["log_scale"] = by_unit.sum(0, keepdim=True) if shared else by_unit
        return gradient

    def precondition_(self, gradient: dict[str, Tensor]) -> None:
        """Turn the gradient of a shared log_scale, a sum over units, into their mean."""
        if "log_scale" in gradient:
            gradient["log_scale"].div_(self.n // self.log_scale.numel())

    def scaled_weight(self, weight: Tensor) -> Tensor:
        return self._inverted().matrix.T @ (weight / self.scale[:, None])

    # biases

    def bias_shift(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"bias": self._coloured(self.scale * inputs)}

    def input_gradient(self, gradient: dict[str, Tensor]) -> Tensor:
        return self.scale * (gradient["bias"] @ self.get_buffer("factor"))

    @torch.no_grad()
    def inputs_for(self, rows: Tensor) -> Tensor:
        """Distance of the mean of rows from the bias: S^-1 L^-1 (mean - b)."""
        return self.statistic(rows.mean(0) - self.bias)

    @torch.no_grad()
    def initialize(self, rows: Tensor) -> None:
        self.bias.copy_(rows.mean(0))

    def fitted(self, data: Tensor) -> MultivariateGaussian:
        """A new layer in float64 with the mean of data and their shrunk covariance."""
        alone = self.uncorrelated().fitted(data)
        standard = alone.statistic(data.double() - alone.bias).detach()
        root = ShrunkCorrelation.of([standard]).root()
        layer = MultivariateGaussian(alone.sigma[:, None] * root)
        layer.initialize(data.double())
        return layer

    def uncorrelated(self) -> Gaussian:
        """`Gaussian` units of the same means and standard deviations."""
        layer = Gaussian(self.n, self.sigma.detach()).to(self.bias)
        with torch.no_grad():
            layer.bias.copy_(self.bias)
        return layer

    # states

    def unit_states(self, unit: int, reach: float = 0.0) -> tuple[Tensor, Tensor]:
        """Trapezoid rule over one unit, fine enough for its conditional given all the others.

        Step 0.75 deviations of that conditional, up to 7.5 deviations of the marginal beyond
        the most extreme mean: an error below 1e-12.
        """
        precision = self.scaled_weight(torch.eye(self.n).to(self.bias))
        step = 0.75 / torch.linalg.vector_norm(precision[unit])
        rows = self.get_buffer("factor")[unit] * self.scale
        end = reach * rows.abs().sum() + 7.5 * torch.linalg.vector_norm(rows)
        half = math.ceil(float(end / step))
        nodes = torch.arange(-half, half + 1, dtype=self.bias.dtype, device=self.bias.device)
        points = self.bias[unit] + step * nodes
        return points[:, None], step.log().expand_as(points)

    @torch.no_grad()
    def clamped(self, x: Tensor, values: Tensor) -> Tensor:
        r"""`Layer.clamped`: free units move by $\Sigma_{fc}\Sigma_{cc}^{-1}(\text{values}-x)_c$.

        A joint draw so moved is one of the free units given the clamped (Matheron's rule; Journel
        and Huijbregts 1978, Mining geostatistics).
        """
        covariance, result = self.covariance.double(), x.clone()
        patterns, which = torch.unique(~torch.isnan(values), dim=0, return_inverse=True)
        which = which.expand(len(x)) if len(values) == 1 else which
        values = values.expand_as(x)
        for index, held in enumerate(patterns):
            rows = (which == index).nonzero()[:, 0]
            gap = (values[rows][:, held] - x[rows][:, held]).double()
            gain = torch.linalg.solve(covariance[held][:, held], covariance[held])
            result[rows] += (gap @ gain).to(x)
        return torch.where(torch.isnan(values), result, values)

    @torch.no_grad()
    def conditioned(self, values: Tensor, weight: Tensor) -> tuple[Layer, Tensor]:
        r"""`Layer.conditioned`: the Gaussian of the free units given the others.

        With $Q$ the free columns of $(LS)^{-1}$ and $Q = OR$, R triangular, the energy is
        $\tfrac12|R(x_f - b')|^2$ and the statistic $R x_f$: a layer of factor $R^{-1}$, whose
        covariance is $(Q^TQ)^{-1}$, with the weight $O^T W$.
        """
        free, wide = torch.isnan(values), weight.double()
        if bool(free.all()):
            return copy.deepcopy(self), weight.clone()
        white = self._inverted().matrix.double() / self.scale.double()[:, None]
        basis, root = torch.linalg.qr(white[:, free])
        held = torch.where(free, 0, values - self.bias).double()
        bias = (
            self.bias[free]
            - torch.linalg.solve_triangular(root, (basis.T @ (white @ held))[:, None], upper=True)[
                :, 0
            ]
        )
        factor = torch.linalg.inv(root)
        layer = MultivariateGaussian(factor).to(self.bias)
        layer.bias.copy_(bias)
        return layer, (basis.T @ wide).to(weight)

    def curvature(self) -> Tensor:
        return torch.ones_like(self.bias.detach())

    # units of the data

    def rescaled(self, shift: Tensor, scale: Tensor) -> MultivariateGaussian:
        layer = MultivariateGaussian(
            scale[:, None] * self.get_buffer("factor"), self._stored_scale(), self.learn_scale
        ).to(self.bias)
        with torch.no_grad():
            layer.bias.copy_(shift + scale * self.bias)
        return layer

    def _stored_scale(self) -> Tensor:
        """The scale as it is stored, of one value or n."""
        name = "log_scale" if self.learn_scale else "fixed_scale"
        stored: Tensor = self.state_dict()[name]
        return stored.exp() if self.learn_scale else stored

    def pull(self, weight: Tensor) -> Tensor:
        """Shift of the mean of each unit by weights, (n, m), in its standard deviations."""
        moved = self.get_buffer("factor") @ (self.scale[:, None] * weight)
        return torch.div(moved, self.sigma[:, None])

    @classmethod
    def for_columns(cls, greatest: Tensor, **options: Any) -> Layer:
        """Uncorrelated units to begin with, as no column alone tells of a correlation."""
        return cls(torch.eye(len(greatest)))

    def options(self) -> dict[str, Any]:
        return {"learn_scale": self.learn_scale}

    @classmethod
    def skeleton(cls, n: int, shapes: dict[str, list[int]], options: dict[str, Any]) -> Layer:
        name = "log_scale" if options.get("learn_scale") else "fixed_scale"
        return cls(torch.eye(n), scale=torch.ones(shapes[name]), **options)


def transformed(layer: Layer, shift: Tensor, factor: Tensor) -> Layer:
    """A new layer for shift + factor x, (n,) and (n, n), where x are the states of a layer.

    Of `Gaussian` units where the map makes them independent, else a `MultivariateGaussian`. Raises
    `ArgumentError` for other types.
    """
    if isinstance(layer, MultivariateGaussian):
        product, scale = factor @ layer.get_buffer("factor"), layer._stored_scale()
        learned = layer.learn_scale
    elif isinstance(layer, Gaussian):
        product, scale, learned = factor, layer.sigma.detach(), layer.learn_sigma
    else:
        raise ArgumentError(f"{layer.describe()} cannot be whitened; only Gaussian units can")
    new: Layer
    if _is_diagonal(product):
        new = Gaussian(layer.n, product.diagonal() * scale, learned)
    else:
        new = MultivariateGaussian(product, scale, learned)
    new = new.to(layer.bias)
    with torch.no_grad():
        new.bias.copy_(shift + factor @ layer.bias)
    return new


def _is_diagonal(matrix: Tensor) -> bool:
    """True for a positive diagonal and entries beside it that rounding accounts for."""
    sizes = matrix.diagonal()
    rest = matrix - torch.diag(sizes)
    return bool((sizes > 0).all() and (rest.abs() <= DIAGONAL * sizes.min()).all())


class _Inverse(NamedTuple):
    """The inverse of a matrix and its log |det|, as long as the matrix stays as it was."""

    factor: Tensor
    version: int
    matrix: Tensor
    log_det: Tensor

    @classmethod
    def of(cls, factor: Tensor) -> _Inverse:
        """In float64, then in the dtype of the factor."""
        wide = factor.double()
        matrix, fault = torch.linalg.inv_ex(wide)
        log_det = torch.linalg.slogdet(wide)[1]
        if bool(fault):
            log_det = torch.full_like(log_det, math.nan)
        return cls(factor, factor._version, matrix.to(factor), log_det.to(factor))

    def is_of(self, factor: Tensor) -> bool:
        """True while the factor is the same tensor and nobody has written to it."""
        return self.factor is factor and self.version == factor._version


def _as_square(factor: object) -> Tensor:
    """A copy of the factor as a square floating-point matrix, else `ArgumentError`."""
    matrix = as_tensor(factor, torch.zeros((), dtype=getattr(factor, "dtype", torch.float32)))
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) == 0:
        raise ArgumentError(
            f"factor of shape {tuple(matrix.shape)}: expected (n, n), one row and column a unit"
        )
    if not bool(torch.isfinite(matrix).all()):
        raise ArgumentError("factor holds values that are not finite")
    kind = torch.float64 if matrix.dtype == torch.float64 else torch.float32
    return matrix.detach().to(kind).clone()
