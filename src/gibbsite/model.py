"""The restricted Boltzmann machine: two layers and the weight between them."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gibbsite import ops
from gibbsite.checks import check_memory
from gibbsite.errors import ArgumentError, DataError
from gibbsite.layers import Layer, Moments, as_layer, first_fault
from gibbsite.precision import in_double


class RBM(nn.Module):
    r"""Restricted Boltzmann machine with any visible and any hidden `Layer`.

    $$p(v,h) = e^{-E(v,h)}/Z,\qquad
      E(v,h) = E_v(v) + E_h(h) - \sum_{ij} s_i(v)\,W_{ij}\,s_j(h)$$

    where $E_v, E_h$ are the layers' own energies and $s$ their statistics (v, or v/sigma for
    Gaussian units). Parameters: ``weight`` (visible.width, hidden.width), and those of the layers,
    such as ``visible.bias`` and ``hidden.bias``. States are (..., visible.width) and
    (..., hidden.width); arrays and tensors of other dtypes are converted. A width that does not fit
    raises `DataError`. Two layers of which neither has bounded states, as rectified or Gaussian
    units, have a finite Z for small weights only (see `fault`); with Poisson units on one side
    there is none, and they raise `ArgumentError`.

    A new model has all parameters zero; `fit` draws small random weights for it.
    Source: Cheng's tutorial (2.1)-(2.3), (3.1)-(3.3), with the energy's usual sign.

    >>> import torch, gibbsite as gb
    >>> rbm = gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2))
    >>> rbm.energy(torch.ones(4, 3), torch.ones(4, 2)).shape
    torch.Size([4])
    >>> rbm.free_energy(torch.zeros(1, 3)).item()  # -2 log 2
    -1.3862943649291992
    """

    weight: Tensor
    visible: Layer
    hidden: Layer
    certificate: Any = None
    """The `Diagnosis` of the model as it is, by `gb.diagnose`; kept in its file. Or None."""
    schema: Any = None
    """Record of the columns of the table that it models (`gibbsite.datasets.Columns.as_record`),
    as plain values for JSON; kept in its file. Or None."""

    def __init__(self, visible: Layer, hidden: Layer) -> None:
        super().__init__()
        if visible is hidden:
            raise ArgumentError("visible and hidden are the same object; make one layer for each")
        self.visible = as_layer("visible", visible)
        self.hidden = as_layer("hidden", hidden)
        if visible.like.dtype != hidden.like.dtype:
            raise ArgumentError(
                f"visible is {visible.like.dtype}, hidden {hidden.like.dtype}; make both the same, "
                "or convert the whole model with rbm.to(dtype)"
            )
        _check_pair(visible, hidden)
        shape = visible.width, hidden.width
        check_memory(f"weights between {visible.n} and {hidden.n} units", *shape)
        self.weight = nn.Parameter(visible.like.new_zeros(shape))

    def mirror(self) -> RBM:
        """The same distribution with the layers' names exchanged; parameters are shared.

        Whatever holds for v holds for h on the mirror: ``rbm.mirror().free_energy(h)`` is the
        negative log of the unnormalised marginal of h, ``gb.exact.log_likelihood(rbm.mirror(), h)``
        is log p(h). A view for formulas, not for training.
        """
        mirror = RBM.__new__(RBM)
        nn.Module.__init__(mirror)
        mirror.visible, mirror.hidden = self.hidden, self.visible
        mirror.weight = self.weight.T
        return mirror

    def hidden_inputs(self, v: Tensor) -> Tensor:
        """Inputs of the hidden layer given v, without bias: statistic(v) W, (..., hidden.width)."""
        return self.visible.statistic(self.visible.coerce(v)) @ self.weight

    def visible_inputs(self, h: Tensor) -> Tensor:
        """Inputs of the visible layer given h, without bias: W statistic(h), (..., n_visible)."""
        return self.hidden.statistic(self.hidden.coerce(h)) @ self.weight.T

    def energy(self, v: Tensor, h: Tensor) -> Tensor:
        """E(v, h), dimensionless, (...): Cheng's (2.3) and (3.3), negated."""
        v, h = self._pair(v, h)
        coupling = (self.hidden_inputs(v) * self.hidden.statistic(h)).sum(-1)
        return self.visible.energy(v) + self.hidden.energy(h) - coupling

    def free_energy(self, v: Tensor) -> Tensor:
        """F(v) = -log sum_h exp(-E(v, h)), (...): Cheng's (2.9) and (3.9), minus their log.

        With units of the data it is computed in float64: v/sigma may be thousands, of which the
        hidden biases take away nearly all.
        """
        rbm = in_double(self) if self.visible.has_units or self.hidden.has_units else self
        v = rbm.visible.coerce(v)
        free = rbm.visible.energy(v) - rbm.hidden.log_partition(rbm.hidden_inputs(v))
        return free.to(self.weight.dtype)

    def hidden_mean(self, v: Tensor) -> Tensor:
        """E[h | v], (..., n_hidden): Cheng's (2.10) and (3.10)."""
        return self.hidden.mean(self.hidden_inputs(v))

    def visible_mean(self, h: Tensor) -> Tensor:
        """E[v | h], (..., n_visible): Cheng's (2.19) and (3.19)."""
        return self.visible.mean(self.visible_inputs(h))

    def log_prob_hidden(self, h: Tensor, v: Tensor) -> Tensor:
        """log p(h | v) in nats, (...): Cheng's (2.10) and (3.10)."""
        v, h = self._pair(v, h)
        return self.hidden.log_prob(h, self.hidden_inputs(v))

    def log_prob_visible(self, v: Tensor, h: Tensor) -> Tensor:
        """log p(v | h) in nats, (...): Cheng's (2.19) and (3.19)."""
        v, h = self._pair(v, h)
        return self.visible.log_prob(v, self.visible_inputs(h))

    @torch.no_grad()
    def sample_hidden(self, v: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw h ~ p(h | v), (..., n_hidden)."""
        return self.hidden.sample(self.hidden_inputs(v), generator)

    @torch.no_grad()
    def sample_visible(self, h: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw v ~ p(v | h), (..., n_visible)."""
        return self.visible.sample(self.visible_inputs(h), generator)

    @torch.no_grad()
    def phase(self, visible: Moments, hidden: Moments, weights: Tensor) -> dict[str, Tensor]:
        r"""Weighted sum over rows of $-\partial E/\partial\theta$, keyed by ``named_parameters()``.

        The rows of `visible` and `hidden` are independent-unit distributions over v and h, counted
        with `weights`, (rows,). With weights 1/N for N rows of data and -1/M for M rows of the
        model it is the gradient of the mean log-likelihood, both phases in one sum: Cheng's (2.7),
        (3.7). Sufficient statistics only, no autograd.
        """
        kernels = ops.kernels_for(weights)
        shares = kernels.weighted(self.hidden.statistic(hidden.mean), weights)
        weight = kernels.product(self.visible.statistic(visible.mean).T, shares)
        ours = self.visible.gradient(visible, weights, lambda: (self.weight * weight).sum(1))
        theirs = self.hidden.gradient(hidden, weights, lambda: (self.weight * weight).sum(0))
        return {
            "weight": weight,
            **{f"visible.{name}": value for name, value in ours.items()},
            **{f"hidden.{name}": value for name, value in theirs.items()},
        }

    def data_phase(self, v: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
        """`phase` at given v with h | v averaged exactly: the weighted sum of -dF/dtheta over rows.

        Weights are 1/rows by default.
        """
        weights = v.new_full((len(v),), 1 / len(v)) if weights is None else weights
        hidden = self.hidden.moments(self.hidden_inputs(v))
        return self.phase(self.visible.moments_at(v), hidden, weights)

    def _pair(self, v: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """v and h as tensors whose rows belong together or broadcast, else `DataError`."""
        v, h = self.visible.coerce(v), self.hidden.coerce(h)
        if any(
            a != b and 1 not in (a, b)
            for a, b in zip(v.shape[-2::-1], h.shape[-2::-1], strict=False)
        ):
            raise DataError(
                f"v of shape {tuple(v.shape)} and h of shape {tuple(h.shape)} do not pair up; "
                "give as many rows of one as of the other, or one row"
            )
        return v, h


M = TypeVar("M", bound=nn.Module)


def with_parameters(module: M, parameters: Mapping[str, Tensor], prefix: str = "") -> M:
    """A view of a model with other parameters, by ``named_parameters()``; all else is shared.

    For formulas and chains, not for training: the parameters are the tensors given.
    """
    view = copy.copy(module)
    own, children = module.named_parameters(recurse=False), module.named_children()
    vars(view).update(
        _parameters={name: parameters[prefix + name] for name, _ in own},
        _modules={
            name: with_parameters(child, parameters, f"{prefix}{name}.") for name, child in children
        },
    )
    return view


def fault(rbm: RBM) -> str:
    """The first parameter that no formula can use, such as ``weight holds nan``, or "".

    Also a weight with which Z may be infinite (`divergence`).
    """
    return (
        first_fault("weight", rbm.weight, torch.isfinite)
        or _of("visible", rbm.visible.fault())
        or _of("hidden", rbm.hidden.fault())
        or divergence(rbm)
    )


@torch.no_grad()
def divergence(rbm: RBM) -> str:
    r"""A description of a weight so large that Z may be infinite, or "".

    It cannot be if a layer is bounded. Otherwise energies grow at least like

    $$\tfrac12 \sum_i c_i s_i^2 + \tfrac12 \sum_j d_j s_j^2 - \sum_{ij} s_i W_{ij} s_j$$

    with c and d the layers' `curvature`, which is positive in every direction if and only if the
    spectral norm of $W_{ij}/\sqrt{c_i d_j}$ is below 1. If no state is negative, only positive
    weights lower the energy. Z is infinite if the norm is not below 1 and both layers Gaussian, or
    both rectified and no weight negative; otherwise it may be.
    """
    if any(map(_is_bounded, (rbm.visible, rbm.hidden))):
        return ""
    ours, theirs = rbm.visible.curvature().double(), rbm.hidden.curvature().double()
    scaled = rbm.weight.double() / (ours.sqrt()[:, None] * theirs.sqrt())
    if min(rbm.visible.interval[0], rbm.hidden.interval[0]) >= 0:
        scaled = scaled.clamp(min=0)
    norm = torch.linalg.matrix_norm(scaled, 2).item()
    if norm < 1:
        return ""
    return f"weight has spectral norm {norm:.4g}, relative to both layers' curvatures, not below 1"


def _check_pair(visible: Layer, hidden: Layer) -> None:
    """Raise `ArgumentError` for two layers with which no positive weight leaves Z finite."""
    if any(map(_is_bounded, (visible, hidden))):
        return
    if not all(bool((layer.curvature() > 0).all()) for layer in (visible, hidden)):
        raise ArgumentError(
            f"visible {visible.describe()} and hidden {hidden.describe()}: any positive weight "
            "would make Z infinite, as states have no bounds on either side and the energy of one "
            "grows more slowly than a square. Make one layer of bounded units, such as "
            "gb.Bernoulli, or, if it is your own, define its `curvature`"
        )


def _is_bounded(layer: Layer) -> bool:
    """True if all states lie in an interval that ends, as those that can be counted do."""
    return all(map(math.isfinite, layer.interval)) or max(layer.sizes) < math.inf


def _of(side: str, found: str) -> str:
    return found and f"{side}.{found}"


@torch.no_grad()
def imprecision(rbm: RBM, v: Tensor) -> str:
    """A description of free energies F(v) that are known to no better than a nat, or "".

    Also of a log-partition that is nan, of either layer.

    Floating-point numbers near F lie |F| times the machine epsilon apart, and a log-likelihood, and
    the odds behind a gradient, are differences of such numbers.
    """
    kind = rbm.weight.dtype
    largest = rbm.free_energy(v).abs().max().item()
    back = rbm.visible.log_partition(rbm.visible_inputs(rbm.hidden_mean(v)))
    if math.isnan(largest) or bool(back.isnan().any()):
        return "a log-partition of nan, which must be finite at every input"
    if largest * torch.finfo(kind).eps < 1:
        return ""
    return (
        f"free energies of {largest:.0e} nats, too large for {kind} to tell one nat from the next"
    )


def check_usable(rbm: RBM) -> None:
    """Raise `ArgumentError` if `fault` finds something: such a model has no probabilities."""
    if found := fault(rbm):
        raise ArgumentError(
            f"the model's {found}, which gives no probabilities; go back to an earlier one"
        )
