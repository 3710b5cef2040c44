"""The model of some units given the values of the others."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from gibbsite.errors import ArgumentError, DataError
from gibbsite.layers import Layer
from gibbsite.model import RBM, check_usable
from gibbsite.precision import in_double
from gibbsite.sampling import check_clamp


@torch.no_grad()
def condition(rbm: RBM, v: Tensor) -> RBM:
    r"""The model of the units that are free, NaN in v, given the values of the others.

    $$p'(v_f, h) = p(v_f, h \mid v_c) \propto
      \exp\bigl(-E_f(v_f) - E_h(h) + s(v_f)\,W_f\,s(h) + s(v_c)\,W_c\,s(h)\bigr):$$

    an RBM of the free units, in order, whose hidden biases have taken in $s(v_c)\,W_c$. Real units
    that depend on each other (`MultivariateGaussian`) become those of the Gaussian given the known
    ones. Everything works on the new model: exact answers, evaluation, sampling, gradients, files.
    Its log-likelihood of the free columns of a row is log p(v_f | v_c). Its log Z is not that of
    the model, nor their ratio p(v_c): energies differ by a constant.

    Args:
        v: one row, (visible.width,), NaN where free; or by unit, where codes are data. What is
            known must be states: for Bernoulli units 0 or 1.

    Raises `DataError` for what no unit can be, or where no unit is free, and `ArgumentError` if the
    hidden layer is a type of one's own that has no bias to take in an input, or the visible one
    lacks `conditioned`. Source: Cheng's tutorial (2.1)-(2.3), with $v_c$ constant.

    >>> import torch, gibbsite as gb
    >>> rbm = gb.RBM(gb.Bernoulli(3), gb.Bernoulli(1))
    >>> with torch.no_grad():
    ...     _ = rbm.weight.copy_(torch.tensor([[3.0], [0.0], [-1.0]]))
    >>> given = gb.condition(rbm, torch.tensor([1.0, torch.nan, torch.nan]))
    >>> given.visible.n, given.hidden.bias.item()
    (2, 3.0)
    """
    check_usable(rbm)
    row = _one_row(rbm, v)
    if not bool(torch.isnan(row).any()):
        raise DataError(
            "v has a value for every unit, so that none is free; set those to ask for to NaN, or "
            "use gb.evaluate for the log-likelihood of whole rows"
        )
    # biases and what the known units send may be thousands that cancel
    visible, hidden = (copy.deepcopy(x).double() for x in (rbm.visible, rbm.hidden))
    weight = rbm.weight.detach().double()
    free, rows = visible.conditioned(row, weight)
    _absorb(hidden, visible.statistic(row.nan_to_num(nan=0.0)) @ weight)
    model = RBM(free, hidden)
    model.weight.copy_(rows)
    model = model.to(rbm.weight.dtype)
    check_usable(model)
    return model


def _one_row(rbm: RBM, v: Tensor) -> Tensor:
    """v by column in float64, checked, (visible.width,)."""
    wide = in_double(rbm)
    row = wide.visible.coerce(v)
    if row.ndim > 2 or (row.ndim == 2 and len(row) != 1):
        raise DataError(
            f"v of shape {tuple(row.shape)}: expected one row, ({rbm.visible.width},), since each "
            "row has a model of its own"
        )
    return check_clamp(wide, row.reshape(1, -1))[0]


def _absorb(hidden: Layer, inputs: Tensor) -> None:
    """Move the biases by what constant inputs do; `ArgumentError` if they cannot."""
    expected = hidden.mean(inputs)
    try:
        hidden.shift_(inputs)
        rounding = 1e-6 + 1e-12 * float(inputs.abs().max())
        found = hidden.mean(torch.zeros_like(inputs))
        same = torch.allclose(found, expected, rtol=1e-6, atol=rounding)
    except (AttributeError, KeyError):
        same = False
    if not same:
        raise ArgumentError(
            f"hidden {hidden.describe()} has no bias that takes in what the known units send; "
            "define bias_shift of its parameters"
        )
