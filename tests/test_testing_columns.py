"""`check_layer` on units of two columns, a half line and an interval of a user's own."""

import math
from typing import NamedTuple

import pytest
import torch
from torch import nn

import gibbsite as gb
from gibbsite.layers import Finite, Layer, Means, gauss_legendre, require
from gibbsite.layers.moments import inputs_with_means
from gibbsite.testing import check_layer


class Circular(Layer):
    """n angles, each in the columns (cos, sin), with energy -b . x: von Mises units."""

    interval = -1.0, 1.0

    def __init__(self, n):
        super().__init__(n, 2 * n)
        self.bias = nn.Parameter(torch.zeros(2 * n))

    def pairs(self, x):
        return x.unflatten(-1, (-1, 2))

    def energy(self, x):
        return -(x @ self.bias)

    def log_partition(self, inputs):
        size = self.pairs(self.bias + inputs).norm(dim=-1)
        return (torch.special.i0e(size).log() + size + math.log(2 * math.pi)).sum(-1)

    def moments(self, inputs):
        a = self.pairs(self.bias + inputs)
        size = a.norm(dim=-1, keepdim=True).clamp(min=1e-30)
        length = torch.special.i1e(size) / torch.special.i0e(size)
        return Means((length * a / size).flatten(-2))

    @torch.no_grad()
    def sample(self, inputs, generator=None):
        """By rejection from a wrapped Cauchy distribution (Best and Fisher 1979)."""
        a = self.pairs((self.bias + inputs).double())
        k = a.norm(dim=-1).clamp(min=1e-4)
        tau = 1 + (1 + 4 * k**2).sqrt()
        rho = (tau - (2 * tau).sqrt()) / (2 * k)
        r = (1 + rho**2) / (2 * rho)
        angle, done = torch.zeros_like(k), torch.zeros_like(k, dtype=torch.bool)
        while not bool(done.all()):
            u, v, w = torch.rand(3, *k.shape, generator=generator, dtype=k.dtype)
            z = torch.cos(math.pi * u)
            f = (1 + r * z) / (r + z)
            c = k * (r - f)
            good = ~done & ((c * (2 - c) > v) | ((c / v).log() + 1 - c >= 0))
            turned = (w - 0.5).sign() * f.clamp(-1, 1).acos()
            angle, done = torch.where(good, turned, angle), done | good
        angle = angle + torch.atan2(a[..., 1], a[..., 0])
        return torch.stack([angle.cos(), angle.sin()], -1).flatten(-2).to(inputs.dtype)

    @torch.no_grad()
    def inputs_for(self, rows):
        mean = self.pairs(rows.mean(0))
        length = mean.norm(dim=-1).clamp(1e-6, 1 - 1 / (len(rows) + 1))

        def length_at(size):
            return torch.special.i1e(size) / torch.special.i0e(size)

        size = inputs_with_means(length_at, length)
        return (size / length)[:, None].mul(mean).flatten() - self.bias

    def unit_columns(self, unit):
        return slice(2 * unit, 2 * unit + 2)

    def unit_states(self, unit, reach=0.0):
        count = 64 + 16 * math.ceil(reach + float(self.bias[self.unit_columns(unit)].norm()))
        angle = 2 * math.pi * torch.arange(count, dtype=self.bias.dtype) / count
        weight = torch.full_like(angle, math.log(2 * math.pi / count))
        return torch.stack([angle.cos(), angle.sin()], 1), weight

    def check(self, rows):
        good = (self.pairs(rows).norm(dim=-1) - 1).abs() < 1e-3
        require(rows, good.repeat_interleave(2, -1), "Circular units take (cos, sin)")

    def by_unit(self, x):
        pairs = self.pairs(x)
        return torch.atan2(pairs[..., 1], pairs[..., 0])

    def coerce(self, x):
        x = torch.as_tensor(x).to(self.bias)
        if x.shape[-1] == self.n:
            x = torch.stack([x.cos(), x.sin()], -1).flatten(-2)
        return super().coerce(x)

    def pull(self, weight):
        return weight[1::2]


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(2))
def test_units_of_two_columns_keep_the_contract(n, seed):
    check_layer(Circular, n=n, seed=seed)


class ByColumn(Circular):
    """Solves for each column as if it were a unit."""

    def inputs_for(self, rows):
        return inputs_with_means(self.mean, rows.mean(0))


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_inputs_for_by_column_is_noticed(n, seed):
    with pytest.raises(AssertionError, match=r"mean at inputs_for\(rows\)"):
        check_layer(ByColumn, n=n, seed=seed)


def without(kind, method, name):
    """The type with Layer's own method."""
    return type(name, (kind,), {method: getattr(Layer, method)})


NoInputsFor = without(Circular, "inputs_for", "NoInputsFor")
NoByUnit = without(Circular, "by_unit", "NoByUnit")
NoPull = without(Circular, "pull", "NoPull")
NoCheck = without(Circular, "check", "NoCheck")


class HalfCircle(Circular):
    """Tells an angle that its own coerce reads back as another."""

    def by_unit(self, x):
        return super().by_unit(x) / 2


class GreyColumns(Circular):
    def as_grey(self, x):
        return x


class WidePull(Circular):
    def pull(self, weight):
        return weight


class OneUnit(Circular):
    @classmethod
    def for_columns(cls, greatest, **options):
        return cls(len(greatest) + 1)


class Ternary(Finite):
    """States -1, 0 and 1, with an interval alone: check is Layer's."""

    interval = -1.0, 1.0

    def __init__(self, n):
        super().__init__(n, states=3)
        self.bias = nn.Parameter(torch.zeros(n))

    def energy(self, x):
        return -(x @ self.bias)

    def exponents(self, inputs):
        a = self.bias + inputs
        return torch.stack([-a, torch.zeros_like(a), a], -1)

    def log_partition(self, inputs):
        return self.exponents(inputs).logsumexp(-1).sum(-1)

    def moments(self, inputs):
        down, _, up = self.exponents(inputs).softmax(-1).unbind(-1)
        return Means(up - down)

    @torch.no_grad()
    def sample(self, inputs, generator=None):
        p = self.exponents(inputs).softmax(-1)
        codes = torch.multinomial(p.reshape(-1, 3), 1, generator=generator)
        return self.encode(codes.reshape(inputs.shape))

    def encode(self, codes):
        return codes.to(self.bias.dtype) - 1


class CheckedTernary(Ternary):
    def check(self, rows):
        require(rows, rows == rows.round().clamp(-1, 1), "Ternary units take -1, 0 and 1")


class NoInterval(CheckedTernary):
    interval = -math.inf, math.inf


class HalfInterval(CheckedTernary):
    interval = -1.0, math.inf


class WideInterval(CheckedTernary):
    interval = -1.0, 3.0


class NarrowInterval(CheckedTernary):
    interval = -1.0, 0.0


class Unbounded(gb.TruncatedExponential):
    """States of an interval that it does not tell."""

    interval = -math.inf, math.inf


class UnboundedCircular(Circular):
    interval = -math.inf, math.inf


class Squares(NamedTuple):
    mean: torch.Tensor
    square: torch.Tensor


class NoMomentsAt(CheckedTernary):
    """Moments of two fields, of which moments_at gives one."""

    def moments(self, inputs):
        down, _, up = self.exponents(inputs).softmax(-1).unbind(-1)
        return Squares(up - down, up + down)


class AnyCount(gb.Poisson):
    def check(self, rows):
        require(rows, rows >= 0, "Counts take no negative numbers")


class Refused(CheckedTernary):
    """Draws halves, which its own check refuses."""

    def sample(self, inputs, generator=None):
        return super().sample(inputs, generator) / 2


class Exponential(Layer):
    """States x >= 0 with energy -b x, whose integral is finite for b + inputs below 0 alone."""

    interval = 0.0, math.inf

    def __init__(self, n):
        super().__init__(n)
        self.bias = nn.Parameter(torch.full((n,), -1.0))

    def energy(self, x):
        return -(x @ self.bias)

    def log_partition(self, inputs):
        return -torch.log(-(self.bias + inputs)).sum(-1)

    def moments(self, inputs):
        return Means(-1 / (self.bias + inputs))

    @torch.no_grad()
    def sample(self, inputs, generator=None):
        draws = torch.empty_like(inputs).exponential_(generator=generator)
        return draws / (self.bias + inputs).abs()

    def unit_states(self, unit, reach=0.0):
        points, log_weights = gauss_legendre(torch.linspace(0, 200, 401).to(self.bias))
        return points[:, None], log_weights


def test_ternary_units_with_a_check_pass():
    check_layer(CheckedTernary)


BROKEN = {
    NoInputsFor: r"NoInputsFor\(3\) has 6 columns for 3 units.*define inputs_for",
    NoByUnit: "no by_unit of its own; define by_unit",
    NoPull: "no pull of its own; define pull",
    NoCheck: r"check_data of data in which unit 0 is .* raises no DataError, .*define check",
    HalfCircle: r"coerce\(by_unit\(states\)\) is not the states",
    GreyColumns: r"as_grey\(states\) is \(4, 6\), torch.float64: expected \(4, 3\)",
    WidePull: r"pull of a weight \(6, 2\) is \(6, 2\), torch.float64: expected \(3, 2\)",
    OneUnit: "for_columns of 3 columns has 4 units",
    Ternary: r"unit 0 is \[-?0.5\] raises no DataError, .* none of its states; define check",
    AnyCount: r"in which unit 0 is \[\d+.5\] raises no DataError",
    NoInterval: r"interval is \[-inf, inf\], but no state is more than 1; set interval",
    HalfInterval: r"interval is \[-1, inf\], but no state is more than 1",
    WideInterval: r"interval is \[-1, 3\], but states come no nearer to 3 than 1",
    NarrowInterval: r"interval is \[-1, 0\], but unit_states hold 1",
    Unbounded: r"no state is more than 0.999\d*; set interval, as without an end units count",
    UnboundedCircular: "set interval",
    NoMomentsAt: r"moments gives mean, square, but moments_at mean: define moments_at",
    Refused: r"data hold -?0.5 at row .*; Ternary units take -1, 0 and 1",
    Exponential: r"log_partition\(inputs\) is not .* must be finite for all real inputs\)",
}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_broken_layers_are_told_what_is_wrong(kind):
    with pytest.raises(AssertionError, match=BROKEN[kind]) as error:
        check_layer(kind)
    assert str(error.value).startswith(f"{kind.__name__}(3) in float")


@pytest.mark.parametrize("method", ["inputs_for", "by_unit", "pull"])
def test_methods_of_one_column_are_refused_for_several(method):
    layer = Circular(2)
    with pytest.raises(gb.ArgumentError, match=f"4 columns for 2 units.*define {method}"):
        getattr(Layer, method)(layer, torch.zeros(4, 4))


def test_a_type_that_columns_cannot_make_is_refused_by_name():
    class Levels(gb.Bernoulli):
        def __init__(self, n, levels):
            super().__init__(n)

    with pytest.raises(gb.ArgumentError, match=r"no Levels for columns of data alone.*levels"):
        Levels.for_columns(torch.ones(2))
    assert Levels.for_columns(torch.ones(2), levels=3).n == 2


@pytest.mark.parametrize("side", ["visible", "hidden"])
def test_training_stops_where_a_log_partition_is_nan(side):
    g = torch.Generator().manual_seed(0)
    layers = Exponential(3), gb.Bernoulli(3)
    rbm = gb.RBM(*layers) if side == "visible" else gb.RBM(*layers[::-1])
    with torch.no_grad():
        rbm.weight.fill_(0.1)
    data = torch.ones(20, 3)

    def jump(rbm):
        rbm.weight.fill_(2.0)

    with pytest.raises(gb.DivergenceError, match="training reached a log-partition of nan"):
        gb.fit(rbm, data, gradient=gb.CD(), epochs=2, projections=[jump], generator=g)
    assert torch.isfinite(rbm.free_energy(data)).all()
