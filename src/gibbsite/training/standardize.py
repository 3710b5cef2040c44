"""Standard or whitened units for training, and models in them or in the units of the data."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gibbsite.covariance import ShrunkCorrelation
from gibbsite.errors import DataError, location
from gibbsite.layers import Layer, transformed
from gibbsite.likelihood.rounding import MAX_ROUNDING
from gibbsite.model import RBM
from gibbsite.precision import in_double
from gibbsite.rows import Rows

MOST_COLUMNS = 2000
"""Columns up to which rows are whitened: beyond, eigenvectors take minutes."""

DENSE_BYTES = 2**28
"""Size up to which whitened rows are kept, not made anew at each visit."""


class Scaling(NamedTuple):
    """Shift and scale of columns x, so that (x - shift) / scale has mean 0 and deviation 1.

    Attributes:
        shift: mean of each column, (n,), float64.
        scale: standard deviation, (n,), float64; 1 for a constant column.
        constant: (n,), True where a column varies by no more than the rounding of its values.
    """

    shift: Tensor
    scale: Tensor
    constant: Tensor

    def only(self, columns: Tensor) -> Scaling:
        """The scaling of some columns, bool (n,), as `Layer.measured`; others keep 0 and 1."""
        columns = columns.to(self.shift.device)
        shift, scale = torch.where(columns, self.shift, 0.0), torch.where(columns, self.scale, 1.0)
        return Scaling(shift, scale, self.constant & columns)

    def warning(self, names: Sequence[str] | None = None) -> str:
        """A sentence that names the constant columns; '' if there are none."""
        constant = [int(column) for column in self.constant.nonzero()]
        if not constant:
            return ""
        places = [location(None, i, None if names is None else names[i]) for i in constant[:10]]
        more = f" and {len(constant) - 10} more" if len(constant) > 10 else ""
        return (
            f"constant: {', '.join(places)}{more} (counted from 1); such a column is only shifted "
            "and keeps its sigma, so it says nothing about the model: leave it out if you can"
        )


class Whitening(NamedTuple):
    r"""Map of columns x to $u = R^{-1/2}\,(x - m)/d$, of mean 0 and covariance I, and back.

    R is the correlation matrix, shrunk so that held-out rows are likeliest
    (`gibbsite.covariance.ShrunkCorrelation`); the root is the symmetric one, which keeps u_i as
    near to column i as any does (Kessy, Lewin, Strimmer 2018, Optimal whitening and decorrelation,
    ZCA-cor). A model without weights is then the Gaussian of that covariance. Constant columns
    are only shifted.

    Attributes:
        scaling: m, d and which columns are constant.
        root, inverse: R^(1/2) and R^(-1/2), (n, n), float64.
        shrinkage: share of I in R, in [0, 1]; nan where it is not known any more.
    """

    scaling: Scaling
    root: Tensor
    inverse: Tensor
    shrinkage: float

    @property
    def factor(self) -> Tensor:
        """L of x = m + L u, (n, n), in units of the data."""
        return self.scaling.scale[:, None] * self.root

    @classmethod
    def of_factor(cls, scaling: Scaling, factor: Tensor) -> Whitening:
        """The whitening with that L, of a model that was trained by it."""
        root = factor.double() / scaling.scale[:, None]
        return cls(scaling, root, torch.linalg.inv(root), math.nan)

    def rows(self, data: Tensor | Rows) -> Rows:
        """Whitened rows, float32; made at each visit if they are too many to be kept."""
        matrix = self.inverse / self.scaling.scale
        lazy = Whitened.of_rows(Rows.of(data), self.scaling.shift, matrix)
        small = 4 * lazy.shape[0] * lazy.shape[1] <= DENSE_BYTES
        return Rows(lazy.dense()) if small else lazy


@dataclass(frozen=True, eq=False)
class Whitened(Rows):
    """Rows less a centre, times a matrix: float32, (rows, columns)."""

    centre: Tensor = field(default_factory=lambda: torch.zeros(()))
    matrix: Tensor = field(default_factory=lambda: torch.ones(1, 1))

    @classmethod
    def of_rows(cls, rows: Rows, centre: Tensor, matrix: Tensor) -> Whitened:
        """The rows of another table, of which they share the source."""
        parts = rows.source, rows.scale, rows.shift, rows.chosen
        return cls(*parts, _file=rows._file, centre=centre, matrix=matrix)

    def binarised_at(self, *_: Any) -> None:
        """None: no kernel whitens and draws."""

    def column_extremes(self) -> Iterator[Tensor]:
        """All rows, as the extremes of the source's columns are not those of these."""
        yield from self.blocks()

    def at(self, index: slice | Tensor, dtype: torch.dtype | None = None) -> Tensor:
        centre, matrix = self.centre.to(self.device), self.matrix.to(self.device)
        return ((super().at(index).double() - centre) @ matrix.T).float()


def whitening(data: Tensor | Rows) -> Whitening:
    """The `Whitening` of data by their own covariance.

    >>> import torch
    >>> from gibbsite.training import whitening
    >>> g = torch.Generator().manual_seed(0)
    >>> data = torch.randn(1000, 2, generator=g) @ torch.tensor([[3.0, 1.0], [0.0, 0.1]]) + 7
    >>> torch.allclose(whitening(data).rows(data).dense().T.cov(), torch.eye(2), atol=0.01)
    True
    """
    found, rows = scaling(data), Rows.of(data)
    scale, shift = found.scale.to(rows.device), found.shift.to(rows.device)
    blocks = ((block.double() - shift) / scale for block in rows.blocks())
    correlation = ShrunkCorrelation.of(blocks)
    root, inverse = correlation.root(0.5), correlation.root(-0.5)
    return Whitening(found, root, inverse, correlation.shrinkage)


def whitens(layer: Layer, columns: int) -> bool:
    """True if rows of so many columns are whitened for a visible layer, all of it Gaussian."""
    return layer.linear and layer.n == columns and 1 < columns <= MOST_COLUMNS


def measured_columns(layer: Layer, n: int) -> Tensor:
    """True for those of n columns of data, one a unit or as the layer has them, with units."""
    if n == layer.width:
        return layer.measured
    starts = [layer.unit_columns(unit).start for unit in range(layer.n)]
    return layer.measured[starts]


def scaling_for(layer: Layer, data: Tensor | Rows) -> Scaling:
    """`scaling` of the columns that are measured in units; the others are left as they are."""
    return scaling(data).only(measured_columns(layer, data.shape[1]))


def by_layer_column(layer: Layer, values: Tensor, fill: float) -> Tensor:
    """Values of data's columns, (n,), by the layer's own, (width,); `fill` where not measured.

    A unit that is measured has one column.
    """
    wide = values.new_full((layer.width,), fill)
    wide[layer.measured.cpu()] = values[measured_columns(layer, len(values)).cpu()]
    return wide


def scaling(data: Tensor | Rows) -> Scaling:
    """Shift and scale that standardise data; columns that do not vary are only shifted."""
    mean, scale = column_moments(data)
    if not bool(torch.isfinite(scale).all()):
        column = int((~torch.isfinite(scale)).nonzero()[0])
        raise DataError(
            f"{location(None, column)} (counted from 1) has no finite standard deviation: its "
            "values are not finite, or so large that their squares overflow; rescale it"
        )
    constant = scale <= 10 * torch.finfo((data[:1] * 1.0).dtype).eps * mean.abs()
    return Scaling(mean, torch.where(constant, 1.0, scale), constant)


def column_scales(data: Tensor | Rows) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column, (n,) each; 1 for a constant column."""
    shift, scale, _ = scaling(data)
    return shift.float(), scale.float()


def column_moments(data: Tensor | Rows) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column, (n,) each, in float64.

    One pass in blocks: Chan, Golub, LeVeque (1983), Algorithms for computing the sample variance.
    """
    count, mean, squares = 0, torch.zeros(()).double(), torch.zeros(()).double()
    for block in Rows.of(data).blocks():
        block = block.double()
        n, block_mean = len(block), block.mean(0)
        gap = block_mean - mean
        squares = squares + ((block - block_mean) ** 2).sum(0) + gap**2 * (count * n / (count + n))
        mean = mean + gap * (n / (count + n))
        count += n
    return mean, torch.sqrt(squares / count)


def to_standard_units(rbm: RBM, shift: Tensor, scale: Tensor) -> RBM:
    """The model of (v - shift) / scale, where rbm is the model of v: inverse of `to_data_units`.

    With a matrix for scale, (n, n), as `Whitening.factor`, it is that of scale^-1 (v - shift).

    Serves to train a model in the units of the data, such as the command writes, further on
    standardised rows. Raises `ArgumentError` for Bernoulli units.

    >>> import torch, gibbsite as gb
    >>> from gibbsite.training import column_scales, to_data_units, to_standard_units
    >>> rbm = gb.RBM(gb.Gaussian(1, sigma=5.0), gb.Bernoulli(1))
    >>> data = torch.tensor([[290.0], [300.0]])
    >>> shift, scale = column_scales(data)
    >>> standard = to_standard_units(rbm, shift, scale)
    >>> history = gb.fit(standard, (data - shift) / scale)
    >>> to_data_units(standard, shift, scale).visible.sigma
    tensor([5.])
    """
    shift, scale = shift.double(), scale.double()  # shift / scale may need many digits
    inverse = 1 / scale if scale.ndim == 1 else torch.linalg.inv(scale)
    moved = inverse * shift if scale.ndim == 1 else inverse @ shift
    return to_data_units(copy.deepcopy(rbm).double(), -moved, inverse).to(rbm.weight.dtype)


@torch.no_grad()
def to_data_units(rbm: RBM, shift: Tensor, scale: Tensor) -> RBM:
    r"""The model of shift + scale * v, where rbm is the model of v; a new RBM.

    With a matrix for scale, (n, n), as `Whitening.factor` L, that of shift + L v, whose visible
    units are a `MultivariateGaussian`; log-densities then fall by $\log\lvert\det L\rvert$.

    With $v' = m + s v$: $b' = m + s b$, $\sigma' = s\sigma$, $W' = W$, and as
    $v/\sigma = v'/\sigma' - m/\sigma'$, the hidden biases become $c' = c - W^T m/\sigma'$.
    Log-densities fall by $\sum_i\log s_i$. Raises `ArgumentError` for Bernoulli units.
    A float32 model becomes one of float64 if c' would lose more digits than make `MAX_ROUNDING`
    nats, which it does for columns whose mean is hundreds of standard deviations.

    >>> import torch, gibbsite as gb
    >>> from gibbsite.training import to_data_units
    >>> rbm = gb.RBM(gb.Gaussian(1), gb.Bernoulli(1))
    >>> to_data_units(rbm, torch.tensor([5.0]), torch.tensor([2.0])).visible.sigma
    tensor([2.])
    """
    wide, dtype = copy.deepcopy(rbm).double(), rbm.weight.dtype
    shift, scale = shift.to(wide.weight), scale.to(wide.weight)
    if scale.ndim > 1:
        visible = transformed(wide.visible, shift, scale)
    else:
        visible = wide.visible.rescaled(shift, scale)
    result = RBM(visible, wide.hidden)
    result.weight.copy_(wide.weight)
    result.hidden.shift_(-(result.visible.statistic(shift) @ wide.weight))
    rounded = copy.deepcopy(result).to(dtype)
    # c' cancels most of the input that a large mean gives to the hidden units, and the inverse of a
    # factor most of a column that others explain
    error = _rounding_error(result, in_double(rounded), shift)
    if scale.ndim > 1:
        error = max(error, _rounding_error(result, in_double(rounded), shift + scale.sum(1)))
    return rounded if error <= MAX_ROUNDING else result


def _rounding_error(exact: RBM, rounded: RBM, v: Tensor) -> float:
    """Error of F near v, in nats, by the rounding of the parameters; both models in float64."""
    gaps = [_biases(rounded, v)[name] - bias for name, bias in _biases(exact, v).items()]
    gaps.append(rounded.visible.inputs_for(v[None]) - exact.visible.inputs_for(v[None]))
    return float(torch.linalg.vector_norm(torch.cat(gaps)))


def _biases(rbm: RBM, v: Tensor) -> dict[str, Tensor]:
    """Biases of the hidden units plus the inputs that v, (visible.width,), gives them."""
    changes, biases = rbm.hidden.bias_shift(rbm.hidden_inputs(v)), rbm.hidden.state_dict()
    return {name: biases[name] + change for name, change in changes.items()}


@dataclass(frozen=True)
class Held:
    """Penalty that holds entries of a parameter where they are: sets their gradient to 0.

    Args:
        name: of the parameter, as in ``named_parameters()``.
        entries: True for those to hold, in the shape of the parameter.
    """

    name: str
    entries: Tensor

    def __call__(self, rbm: RBM, gradient: dict[str, Tensor]) -> None:
        own = gradient[self.name]
        own.masked_fill_(self.entries.to(own.device), 0.0)
