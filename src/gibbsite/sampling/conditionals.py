"""The conditionals of a model, p(h | v) and p(v | h), and the Gibbs sweep made of them."""

from __future__ import annotations

import torch
from torch import Tensor

from gibbsite import ops
from gibbsite.errors import ArgumentError, DataError
from gibbsite.layers import Beta, Form, fast, tempered
from gibbsite.model import RBM


class Conditionals:
    r"""p(h | v) and p(v | h) of a model, prepared for any number of Gibbs sweeps.

    At inverse temperature $\beta$ and with a base (f, g) they are those of

    $$E_\beta(v,h) = E_v(v) + E_h(h) - \beta\,s(v)^T W s(h)
      - (1-\beta)\,[s(v)\cdot f + s(h)\cdot g],$$

    so the inputs of a layer are base + beta (inputs - base): at 0 the units are independent, at 1
    they are the model's. Clamped units keep given values; the others are drawn given these.

    Args:
        rbm: the model, which must not change meanwhile; after an update make a new object.
        base: f (visible.width,) and g (hidden.width,); none is 0.
        clamp: (rows, visible.width), NaN where a unit is free; one row is for all. It must have
            passed `check_clamp`.
    """

    def __init__(
        self, rbm: RBM, base: tuple[Tensor, Tensor] | None = None, clamp: Tensor | None = None
    ) -> None:
        self.rbm = rbm
        weight = rbm.weight.detach()
        self._visible_scaled_weight = rbm.visible.scaled_weight(weight).detach()
        self._hidden_scaled_weight = rbm.hidden.scaled_weight(weight.T).detach()
        self.base: tuple[Tensor | None, Tensor | None] = base or (None, None)
        self.clamp = clamp
        self._visible, self._hidden = fast(rbm.visible), fast(rbm.hidden)

    def hidden_inputs(self, v: Tensor, out: Tensor | None = None) -> Tensor:
        """Inputs of the hidden layer given v, at beta 1: statistic(v) W, (rows, hidden.width)."""
        return ops.kernels_for(v).product(v, self._visible_scaled_weight, out)

    def visible_inputs(self, h: Tensor, out: Tensor | None = None) -> Tensor:
        """Inputs of the visible layer given h, at beta 1: W statistic(h), (rows, visible.width)."""
        return ops.kernels_for(h).product(h, self._hidden_scaled_weight, out)

    def draw_hidden(
        self, inputs: Tensor, generator: torch.Generator | None = None, beta: Beta = 1.0
    ) -> Tensor:
        """h ~ p(h | v) at beta, given `hidden_inputs`, which may be overwritten."""
        return _draw(self._hidden, inputs, generator, beta, self.base[1])

    def draw_visible(
        self, inputs: Tensor, generator: torch.Generator | None = None, beta: Beta = 1.0
    ) -> Tensor:
        """v ~ p(v | h) at beta, given `visible_inputs`, which may be overwritten."""
        v = _draw(self._visible, inputs, generator, beta, self.base[0])
        return self.clamped(v)

    def clamped(self, v: Tensor) -> Tensor:
        """v, drawn given h, with the clamped units at their values, the others given these."""
        if self.clamp is None:
            return v
        return self.rbm.visible.clamped(v, self.clamp)

    def sweep(
        self, v: Tensor, generator: torch.Generator | None = None, beta: Beta = 1.0
    ) -> tuple[Tensor, Tensor]:
        """The next v, and the h drawn on the way; leaves p at beta invariant."""
        h = self.draw_hidden(self.hidden_inputs(v), generator, beta)
        return self.draw_visible(self.visible_inputs(h), generator, beta), h


def clamped_start(rbm: RBM, v: Tensor, clamp: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Rows that chains start from, with units at the values of a clamp, and the checked clamp."""
    v = rbm.visible.coerce(v)
    if clamp is None:
        return v, None
    clamp = check_clamp(rbm, clamp, len(v))
    return torch.where(torch.isnan(clamp), v, clamp), clamp


def check_clamp(rbm: RBM, clamp: Tensor, chains: int = 0) -> Tensor:
    """Values to hold units at, as a tensor, NaN where free: (rows, visible.width).

    Raises `DataError` unless what it holds are states of whole units (one of several columns is
    free or clamped in all of them), in one row or, if given, as many as there are chains.
    """
    rows = rbm.visible.coerce(clamp)
    if rows.ndim != 2:
        raise DataError(
            f"clamped units of shape {tuple(rows.shape)}: expected (chains, {rbm.visible.width}), "
            "or one row for all chains"
        )
    if chains and len(rows) not in (1, chains):
        raise DataError(f"{len(rows)} rows of clamped units for {chains} chains; give 1 or as many")
    free, columns = torch.isnan(rows), map(rbm.visible.unit_columns, range(rbm.visible.n))
    for unit, own in enumerate(columns if rbm.visible.width > rbm.visible.n else ()):
        if bool((free[:, own] != free[:, own][:, :1]).any()):
            raise DataError(f"unit {unit + 1} is clamped in some of its columns only; give all")
    states = rbm.visible.overdispersed(len(rows), torch.Generator(rows.device).manual_seed(0))
    held = rbm.visible.check_data(torch.where(free, states, rows))
    rbm.visible.check_states(held)
    return rows


def _draw(
    form: Form,
    inputs: Tensor,
    generator: torch.Generator | None,
    beta: Beta,
    base: Tensor | None,
) -> Tensor:
    if isinstance(beta, Tensor):
        if beta.shape != (len(inputs), 1):
            raise ArgumentError(
                f"beta of shape {tuple(beta.shape)}: expected ({len(inputs)}, 1), or a number"
            )
        return form.sample(tempered(inputs, beta, base), generator)
    return form.sample(inputs, generator, beta, base)
