"""Fast forms of the unit types: the same results as the layers' methods, with compiled kernels.

A form is looked up by the exact type of the layer, so that a subclass with formulas of its own gets
the general one, made of its methods.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gibbsite import ops
from gibbsite.layers.base import Layer
from gibbsite.layers.bernoulli import Bernoulli
from gibbsite.layers.categorical import Categorical
from gibbsite.layers.drelu import DReLU
from gibbsite.layers.gaussian import Gaussian
from gibbsite.layers.mixed import Mixed, joined
from gibbsite.layers.moments import Means, Moments
from gibbsite.layers.relu import ReLU
from gibbsite.layers.spin import Spin
from gibbsite.rows import Rows

Beta = float | Tensor
"""Inverse temperature: a scalar, or one a row, (rows, 1)."""


class Form:
    """Draws and moments of a layer; every method may overwrite the inputs that it is given."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def sample(
        self,
        inputs: Tensor,
        generator: torch.Generator | None = None,
        scale: float = 1.0,
        base: Tensor | None = None,
    ) -> Tensor:
        """Draw x given base + scale (inputs - base); inputs are (rows, width), base (width,)."""
        shift = None if base is None else (1 - scale) * base
        return self._draw(inputs, generator, scale, shift)

    def _draw(
        self, inputs: Tensor, generator: torch.Generator | None, scale: float, shift: Tensor | None
    ) -> Tensor:
        """Draw x given shift + scale * inputs; shift is (width,), none is 0."""
        scaled = tempered(inputs, scale, None)
        return self.layer.sample(scaled if shift is None else scaled + shift, generator)

    def moments(self, inputs: Tensor) -> Moments:
        """`Layer.moments`."""
        return self.layer.moments(inputs)

    def log_partition_change(
        self, inputs: Tensor, base: Tensor, old: Beta, new: Beta, out: Tensor | None = None
    ) -> Tensor:
        """log_partition(base + t (inputs - base)) at t = new less that at old, float64, (rows,).

        t is a scalar, or one a row, (rows, 1).
        """
        after, before = (self.layer.log_partition(tempered(inputs, t, base)) for t in (new, old))
        change = after.double() - before
        return change if out is None else out.copy_(change)

    def minibatch(
        self, rows: Rows, index: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """`Layer.observe` of rows[index], as states to train on; undrawn rows as they are."""
        batch = self.layer.coerce(rows.at(index, self.layer.like.dtype))
        return self.observe(batch, generator) if rows.drawn else batch

    def observe(self, batch: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """`Layer.observe`, which may overwrite the batch."""
        return self.layer.observe(batch, generator)


class FastBernoulli(Form):
    """Binary units."""

    layer: Bernoulli

    def _draw(
        self, inputs: Tensor, generator: torch.Generator | None, scale: float, shift: Tensor | None
    ) -> Tensor:
        bias = _plus(self.layer.bias.detach(), shift)
        return ops.kernels_for(inputs).draw_bernoulli_(inputs, bias, generator, scale)

    def moments(self, inputs: Tensor) -> Moments:
        kernels, bias = ops.kernels_for(inputs), self.layer.bias.detach()
        return Means(kernels.mean_bernoulli_(inputs, bias))

    def log_partition_change(
        self, inputs: Tensor, base: Tensor, old: Beta, new: Beta, out: Tensor | None = None
    ) -> Tensor:
        bias = self.layer.bias.detach()
        return ops.kernels_for(inputs).softplus_change(inputs, bias, base, old, new, out)

    def minibatch(
        self, rows: Rows, index: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        if rows.drawn and self.layer.bias.dtype == torch.float32 and self.layer.bias.is_cpu:
            binary = rows.binarised_at(index, generator)
            if binary is not None:
                return binary
        return super().minibatch(rows, index, generator)

    def observe(self, batch: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return ops.kernels_for(batch).draw_probabilities_(batch, generator)


class FastGaussian(Form):
    """Real units."""

    layer: Gaussian

    def _draw(
        self, inputs: Tensor, generator: torch.Generator | None, scale: float, shift: Tensor | None
    ) -> Tensor:
        bias, sigma = self.layer.bias.detach(), self.layer.sigma.detach()
        mean = _plus(bias, None if shift is None else sigma * shift)
        return ops.kernels_for(inputs).draw_gaussian_(inputs, mean, sigma, generator, scale)


class FastSpin(Form):
    """Units of the states -1 and +1."""

    layer: Spin

    def _draw(
        self, inputs: Tensor, generator: torch.Generator | None, scale: float, shift: Tensor | None
    ) -> Tensor:
        bias = _plus(self.layer.bias.detach(), shift)
        return ops.kernels_for(inputs).draw_spin_(inputs, bias, generator, scale)

    def moments(self, inputs: Tensor) -> Moments:
        return Means(inputs.add_(self.layer.bias.detach()).tanh_())


class FastCategorical(Form):
    """Units of several states, one column a state."""

    layer: Categorical

    def _draw(
        self, inputs: Tensor, generator: torch.Generator | None, scale: float, shift: Tensor | None
    ) -> Tensor:
        kernels, bias = ops.kernels_for(inputs), _plus(self.layer.bias.detach(), shift)
        return kernels.draw_categorical_(inputs, bias, self.layer.sizes, generator, scale)

    def moments(self, inputs: Tensor) -> Moments:
        kernels, bias = ops.kernels_for(inputs), self.layer.bias.detach()
        return Means(kernels.mean_categorical_(inputs, bias, self.layer.sizes))


class FastReLU(Form):
    """Rectified units."""

    layer: ReLU

    def _draw(
        self, inputs: Tensor, generator: torch.Generator | None, scale: float, shift: Tensor | None
    ) -> Tensor:
        bias, gamma = _plus(self.layer.bias.detach(), shift), self.layer.gamma
        return ops.kernels_for(inputs).draw_rectified_(inputs, bias, gamma, generator, scale)


class FastDReLU(Form):
    """Double rectified units."""

    layer: DReLU

    def _draw(
        self, inputs: Tensor, generator: torch.Generator | None, scale: float, shift: Tensor | None
    ) -> Tensor:
        biases, gammas = self.layer.sides()
        plus, minus = (_plus(bias, shift) for bias in biases)
        kernels = ops.kernels_for(inputs)
        return kernels.draw_double_rectified_(inputs, (plus, minus), gammas, generator, scale)


class FastMixed(Form):
    """Layers side by side, each in its own fast form."""

    layer: Mixed

    def _draw(
        self, inputs: Tensor, generator: torch.Generator | None, scale: float, shift: Tensor | None
    ) -> Tensor:
        draws = [
            part._draw(own, generator, scale, None if shift is None else shift[columns])
            for (part, own), columns in zip(self._split(inputs), self.layer.columns, strict=True)
        ]
        return torch.cat(draws, -1)

    def moments(self, inputs: Tensor) -> Moments:
        return joined([part.moments(own) for part, own in self._split(inputs)])

    def log_partition_change(
        self, inputs: Tensor, base: Tensor, old: Beta, new: Beta, out: Tensor | None = None
    ) -> Tensor:
        pairs = zip(self._split(inputs), self.layer.columns, strict=True)
        changes = [
            part.log_partition_change(own, base[columns], old, new)
            for (part, own), columns in pairs
        ]
        return torch.sum(torch.stack(changes), 0, out=out)

    def _split(self, inputs: Tensor) -> list[tuple[Form, Tensor]]:
        """The fast form of each part with its columns."""
        return [(fast(part), own) for part, own in self.layer.split(inputs)]


FORMS: dict[type[Layer], type[Form]] = {
    Bernoulli: FastBernoulli,
    Categorical: FastCategorical,
    DReLU: FastDReLU,
    Gaussian: FastGaussian,
    Mixed: FastMixed,
    ReLU: FastReLU,
    Spin: FastSpin,
}


def fast(layer: Layer) -> Form:
    """The fast form of a layer; the general one if its type has none. Call it without autograd."""
    return FORMS.get(type(layer), Form)(layer)


def is_bernoulli(layer: Layer) -> bool:
    """True for exactly binary units, which the fused updates of training are for."""
    return type(layer) is Bernoulli


def _plus(bias: Tensor, shift: Tensor | None) -> Tensor:
    return bias if shift is None else bias + shift


def tempered(inputs: Tensor, scale: Beta, base: Tensor | None) -> Tensor:
    """base + scale (inputs - base); no base is 0."""
    if base is not None:
        return torch.lerp(base, inputs, scale)
    return inputs if isinstance(scale, float) and scale == 1 else scale * inputs
