"""`gibbsite.testing`: sound layers, samplers and gradients pass, broken ones fail.

Each broken one differs from a sound one in one respect; the message must name it.
"""

import subprocess
import sys
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import nn

import gibbsite as gb
from gibbsite.gradients import Info
from gibbsite.layers import Finite, Layer, Means, fast, require
from gibbsite.layers.fast import FORMS, FastBernoulli
from gibbsite.sampling import Conditionals, GibbsInfo, GibbsState
from gibbsite.testing import check_gradient, check_layer, check_sampler
from gibbsite.testing.compare import bernstein, require_close, require_mean
from gibbsite.testing.gradients import student_quantile


def test_no_test_framework_is_needed():
    code = "import sys, gibbsite.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# layers


class OneHot(Finite):
    """A user's own type, written from its formulas alone: n units of three states, one-hot."""

    interval = 0.0, 1.0

    def __init__(self, n):
        super().__init__(n, 3, 3 * n)
        self.bias = nn.Parameter(torch.zeros(3 * n))

    def energy(self, x):
        return -(x @ self.bias)

    def fields(self, inputs):
        return (self.bias + inputs).unflatten(-1, (self.n, 3))

    def log_partition(self, inputs):
        return self.fields(inputs).logsumexp(-1).sum(-1)

    def moments(self, inputs):
        return Means(self.fields(inputs).softmax(-1).flatten(-2))

    @torch.no_grad()
    def sample(self, inputs, generator=None):
        p = self.moments(inputs).mean.reshape(-1, 3)
        codes = torch.multinomial(p, 1, generator=generator).reshape(*inputs.shape[:-1], self.n)
        return self.encode(codes)

    def unit_columns(self, unit):
        return slice(3 * unit, 3 * unit + 3)

    def encode(self, codes):
        return nn.functional.one_hot(codes, 3).flatten(-2).to(self.bias.dtype)

    def by_unit(self, x):
        return x.unflatten(-1, (self.n, 3)).argmax(-1).to(x.dtype)

    def pull(self, weight):
        return (weight[2::3] - weight[::3]) / 2

    def check(self, rows):
        units = rows.unflatten(-1, (self.n, 3))
        good = ((units == 0) | (units == 1)).all(-1) & (units.sum(-1) == 1)
        require(rows, good.repeat_interleave(3, -1), "one of three columns is 1, the others 0")

    @torch.no_grad()
    def inputs_for(self, rows):
        return ((rows.sum(0) + 0.5) / (len(rows) + 1.5)).log() - self.bias


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("make", [OneHot, gb.Bernoulli, gb.Gaussian])
def test_sound_layers_pass(make, seed):
    check_layer(make, seed=seed)


class WrongMean(gb.Bernoulli):
    def moments(self, inputs):
        return Means(0.99 * super().moments(inputs).mean)


class WrongVariance(gb.Gaussian):
    def moments(self, inputs):
        moments = super().moments(inputs)
        return moments._replace(variance=moments.variance.sqrt())


class WrongSpread(gb.Gaussian):
    def sample(self, inputs, generator=None):
        x, mean = super().sample(inputs, generator), self.mean(inputs).detach()
        return mean + 1.05 * (x - mean)


class WrongTails(gb.Gaussian):
    """Uniform draws of the right mean and variance."""

    @torch.no_grad()
    def sample(self, inputs, generator=None):
        draws = torch.rand(inputs.shape, generator=generator, dtype=inputs.dtype)
        return self.mean(inputs) + self.sigma * (draws - 0.5) * 12**0.5


class WrongInputs(gb.Bernoulli):
    def sample(self, inputs, generator=None):
        return super().sample(1.1 * inputs, generator)


class OffLogPartition(gb.Gaussian):
    def log_partition(self, inputs):
        return super().log_partition(inputs) - 0.5 * self.n


class ClippedLogPartition(gb.Bernoulli):
    """log(1 + e^x) by its definition, which overflows in float32."""

    def log_partition(self, inputs):
        return (self.bias + inputs).exp().log1p().sum(-1)


class WrongSign(gb.Bernoulli):
    def gradient(self, moments, weights, coupling):
        return {"bias": -(weights @ moments.mean)}


class SummedGradient(gb.Bernoulli):
    def gradient(self, moments, weights, coupling):
        gradient = super().gradient(moments, weights, coupling)["bias"]
        return {"bias": gradient.mean().expand(self.n).clone()}


class NoCoupling(gb.Gaussian):
    def gradient(self, moments, weights, coupling):
        return super().gradient(moments, weights, lambda: coupling() * 0)


class Neighbours(gb.Bernoulli):
    def energy(self, x):
        return super().energy(x) - 0.1 * (x[..., 1:] * x[..., :-1]).sum(-1)


class Squared(gb.Gaussian):
    def statistic(self, x):
        return x**2 / self.sigma


class ColumnsForUnits(OneHot):
    """Each column a binary unit of its own."""

    check = Layer.check

    def sample(self, inputs, generator=None):
        return torch.bernoulli(self.mean(inputs).detach(), generator=generator)


class ColumnsMixed(OneHot):
    def unit_columns(self, unit):
        return slice(unit, 3 * self.n, self.n)


class NotScaled(gb.Gaussian):
    def scaled_weight(self, weight):
        return weight


class NotNormalised(gb.Bernoulli):
    def log_prob(self, x, inputs):
        return super().log_prob(x, inputs) + self.log_partition(inputs)


class WrongShift(gb.Gaussian):
    def bias_shift(self, inputs):
        return {"bias": inputs}


class NotAdjoint(gb.Gaussian):
    def input_gradient(self, gradient):
        return gradient["bias"]


class SameRows(gb.Gaussian):
    """One draw for all rows."""

    @torch.no_grad()
    def sample(self, inputs, generator=None):
        noise = torch.randn(inputs.shape[-1], generator=generator, dtype=inputs.dtype)
        return self.mean(inputs) + self.sigma * noise


class SameUnits(gb.Bernoulli):
    """One draw for all units of a row."""

    @torch.no_grad()
    def sample(self, inputs, generator=None):
        draws = torch.rand((*inputs.shape[:-1], 1), generator=generator, dtype=torch.float64)
        return (draws < self.mean(inputs).double()).to(inputs.dtype)


class GlobalDraws(gb.Bernoulli):
    @torch.no_grad()
    def sample(self, inputs, generator=None):
        return torch.bernoulli(self.mean(inputs))


class Overwriting(gb.Bernoulli):
    def sample(self, inputs, generator=None):
        return inputs.copy_(super().sample(inputs, generator))


class Widening(gb.Gaussian):
    def sample(self, inputs, generator=None):
        return super().sample(inputs, generator).double()


class Repeated(gb.Bernoulli):
    def states(self, start, stop):
        return super().states(start, stop)[:, :1].expand(-1, self.n)


class Uncounted(gb.Gaussian):
    def states(self, start, stop):
        return torch.zeros(stop - start, self.n)


class AllNumbers(gb.Bernoulli):
    def check(self, rows):
        """Take all."""


class Forgetful(gb.Gaussian):
    """A subclass whose option is not stored."""

    def __init__(self, n, shift=0.0):
        super().__init__(n)
        self.shift = shift

    def moments(self, inputs):
        moments = super().moments(inputs)
        return moments._replace(mean=moments.mean + 0 * self.shift)

    def options(self):
        return {"shift": torch.tensor(self.shift)}

    @classmethod
    def skeleton(cls, n, shapes, options):
        return cls(n, **options)


class Unfit(gb.Bernoulli):
    def inputs_for(self, rows):
        return torch.zeros_like(rows[0])


class Unreset(gb.Bernoulli):
    def zero_biases(self):
        """Leave them."""


class Downhill(gb.Bernoulli):
    def precondition_(self, gradient):
        gradient["bias"].neg_()


class Faultless(gb.Bernoulli):
    def fault(self):
        return ""


class Opaque(gb.Bernoulli):
    def log_partition(self, inputs):
        return super().log_partition(inputs).detach()


class NotRescaled(gb.Gaussian):
    def rescaled(self, shift, scale):
        return super().rescaled(shift, torch.ones_like(scale) + 0 * scale)


class Steeper(gb.Gaussian):
    def curvature(self):
        return 1.1 * super().curvature()


BROKEN_LAYERS = {
    Steeper: r"curvature\(\) of unit 0 is 1.1, but far out energy is (0.99|1.0)",
    WrongMean: r"moments\(inputs\).mean is not E\[x\].*expected .*found",
    WrongVariance: r"moments\(inputs\).variance is not that over unit_states",
    WrongSpread: r"covariance of sample\(inputs\), unit 0 at inputs\[0\].*expected .*found",
    WrongTails: r"(cos|sin)\(2.0 x/sd\) of sample\(inputs\)",
    WrongInputs: r"mean of sample\(inputs\), unit",
    OffLogPartition: r"log_partition\(inputs\) is not log sum exp",
    ClippedLogPartition: "log_partition at inputs of 10000 is",
    WrongSign: r"gradient\['bias'\] of moments\(inputs\) is not that of autograd",
    SummedGradient: r"gradient\['bias'\] of moments\(inputs\) is not that of autograd",
    NoCoupling: r"gradient\['log_sigma'\] of moments\(inputs\) is not that of autograd",
    Neighbours: r"energy\(x\) is no sum over units",
    Squared: r"statistic\(x\) is not linear",
    ColumnsForUnits: r"covariance of sample\(inputs\), unit 0",
    ColumnsMixed: "unit_columns of the units are the columns",
    NotScaled: r"x @ scaled_weight\(weight\) is not statistic\(x\) @ weight",
    NotNormalised: r"log of the sum of exp\(log_prob\)",
    WrongShift: r"bias_shift\(c\)",
    NotAdjoint: r"input_gradient\(g\) . c",
    SameRows: r"(sample\(inputs\), unit|correlation of samples of a row and the next)",
    SameUnits: "correlation of samples of different units",
    GlobalDraws: "sample (draws from the global generator|gives other draws for the same)",
    Overwriting: "sample changes what it is given",
    Widening: "in float32: sample gives torch.float64",
    Repeated: r"states\(0, 8\) are not all different",
    Uncounted: r"n_states is infinite, but states\(0, 1\) raises no ArgumentError",
    AllNumbers: "check_data of data that hold -1, out of interval raises no DataError",
    Forgetful: "which is no JSON",
    Unfit: r"mean at inputs_for\(rows\)",
    Unreset: r"bias after zero_biases\(\)",
    Downhill: "precondition_ turns bias downhill",
    Faultless: r"fault\(\) does not name bias, which holds NaN",
    Opaque: r"log_partition\(inputs\) cannot be differentiated by autograd",
    NotRescaled: r"energy\(shift \+ scale x\) after rescaled",
}


@pytest.mark.parametrize("kind", BROKEN_LAYERS, ids=lambda kind: kind.__name__)
def test_broken_layers_are_told_what_is_wrong(kind):
    def make(n):
        if issubclass(kind, gb.Gaussian) and kind is not Forgetful:
            return kind(n, sigma=torch.linspace(0.5, 1.7, n), learn_sigma=kind is NoCoupling)
        return kind(n)

    with pytest.raises(AssertionError, match=BROKEN_LAYERS[kind]) as error:
        check_layer(make)
    assert str(error.value).startswith(f"{kind.__name__}(3) in float")


class Fused(gb.Bernoulli):
    """A layer with a fast form of its own."""


class ColdForm(FastBernoulli):
    def sample(self, inputs, generator=None, scale=1.0, base=None):
        return super().sample(inputs, generator, 1.0, base)


class BaselessForm(FastBernoulli):
    def sample(self, inputs, generator=None, scale=1.0, base=None):
        return super().sample(inputs, generator, scale, None)


class OffForm(FastBernoulli):
    def log_partition_change(self, inputs, base, old, new, out=None):
        return super().log_partition_change(inputs, 0 * base, old, new, out)


class MeanForm(FastBernoulli):
    def moments(self, inputs):
        return Means(inputs.sigmoid())


class BatchForm(FastBernoulli):
    def minibatch(self, rows, index, generator=None):
        return super().minibatch(rows, index.flip(0), generator)


BROKEN_FORMS = {
    ColdForm: r"mean of fast\(layer\).sample\(inputs, scale=0.4\)",
    BaselessForm: r"mean of fast\(layer\).sample\(inputs, scale=0.4, base=base\)",
    OffForm: r"fast\(layer\).log_partition_change\(inputs, base, 0.0, 1.0\)",
    MeanForm: r"fast\(layer\).moments\(inputs\).mean",
    BatchForm: r"fast\(layer\).minibatch\(rows, index\)",
}


@pytest.mark.parametrize("form", BROKEN_FORMS, ids=lambda form: form.__name__)
def test_broken_fast_forms_are_told_what_is_wrong(form, monkeypatch):
    monkeypatch.setitem(FORMS, Fused, FastBernoulli)
    assert isinstance(fast(Fused(2)), FastBernoulli)
    check_layer(Fused)
    monkeypatch.setitem(FORMS, Fused, form)
    with pytest.raises(AssertionError, match=BROKEN_FORMS[form]):
        check_layer(Fused)


# samplers


class Frozen(gb.Gibbs):
    def step(self, rbm, state, generator=None):
        return state, GibbsInfo(rbm.sample_hidden(state.v, generator))


class Hot(gb.Gibbs):
    def step(self, rbm, state, generator=None):
        v, h = Conditionals(rbm).sweep(state.v, generator, beta=0.9)
        return GibbsState(v), GibbsInfo(h)


class MeansInstead(gb.Gibbs):
    """Passes E[h | v] on instead of a draw."""

    def step(self, rbm, state, generator=None):
        h = rbm.hidden_mean(state.v)
        return GibbsState(rbm.sample_visible(h, generator)), GibbsInfo(h)


class WrongAdvance(gb.Gibbs):
    def advance(self, rbm, state, steps, generator=None):
        for _ in range(steps):
            state, _ = Hot().step(rbm, state, generator)
        return state


class Together(gb.Gibbs):
    """All chains follow the first."""

    def step(self, rbm, state, generator=None):
        state, info = super().step(rbm, GibbsState(state.v[:1]), generator)
        return GibbsState(state.v.expand(self.chains, -1)), info

    def init(self, rbm, v, generator=None):
        object.__setattr__(self, "chains", len(v))
        return super().init(rbm, v, generator)


class InPlace(gb.Gibbs):
    def step(self, rbm, state, generator=None):
        new, info = super().step(rbm, state, generator)
        state.v.copy_(new.v)
        return state, info


class Careless(gb.Gibbs):
    def step(self, rbm, state, generator=None):
        return super().step(rbm, state, None)


class Bare(gb.Gibbs):
    def step(self, rbm, state, generator=None):
        return super().step(rbm, state, generator)[0], None


class Elsewhere(gb.Gibbs):
    def init(self, rbm, v, generator=None):
        return super().init(rbm, v.flip(0), generator)


class StaleHidden(gb.Gibbs):
    """State with an h that does not belong to its v."""

    def step(self, rbm, state, generator=None):
        new, info = super().step(rbm, GibbsState(state.v), generator)
        return GibbsState(new.v, info.h.flip(0)), info


BROKEN_SAMPLERS = {
    Frozen: "step gives the same v for every generator",
    Hot: "chains from exact draws after 10 steps: mean",
    MeansInstead: r"chains from exact draws after 10 steps: total variation from p\(v\)",
    WrongAdvance: "after advance by 10 steps",
    Together: r"total variation from p\(v\)",
    InPlace: "step changes what it is given",
    Careless: "step draws from the global generator",
    Bare: "step reports a NoneType, no named tuple",
    Elsewhere: "the v of the state that init gives is not the v given",
    StaleHidden: "mean v h",
}


@pytest.mark.parametrize("seed", range(3))
def test_sound_samplers_pass(seed):
    check_sampler(gb.Gibbs(), seed=seed)
    models = [gb.RBM(OneHot(2), gb.Bernoulli(2)), gb.RBM(gb.Bernoulli(3), gb.Gaussian(2))]
    check_sampler(gb.Gibbs(), models, seed=seed)


@pytest.mark.parametrize("kind", BROKEN_SAMPLERS, ids=lambda kind: kind.__name__)
def test_broken_samplers_are_told_what_is_wrong(kind):
    with pytest.raises(AssertionError, match=BROKEN_SAMPLERS[kind]) as error:
        check_sampler(kind())
    assert str(error.value).startswith(f"{kind.__name__} on a model of")


def test_a_wrong_temperature_of_real_units_is_noticed():
    rbm = gb.RBM(gb.Gaussian(2), gb.Bernoulli(2)).double()
    with torch.no_grad():
        rbm.weight.copy_(torch.tensor([[1.5, -1.0], [0.5, 2.0]]))
    check_sampler(gb.Gibbs(), [rbm])
    with pytest.raises(AssertionError, match="chains from exact draws after 10 steps: mean"):
        check_sampler(Hot(), [rbm])


def test_models_too_large_to_enumerate_are_refused():
    with pytest.raises(gb.ArgumentError, match="small enough to enumerate"):
        check_sampler(gb.Gibbs(), [gb.RBM(gb.Bernoulli(100), gb.Bernoulli(100))])


# gradients


class Turned(gb.ExactGradient):
    def step(self, rbm, batch, state, generator=None):
        gradient, state, info = super().step(rbm, batch, state, generator)
        return {name: -value for name, value in gradient.items()}, state, info


class DataAlone(gb.ExactGradient):
    """The positive phase without the negative one."""

    def step(self, rbm, batch, state, generator=None):
        _, state, info = super().step(rbm, batch, state, generator)
        return rbm.data_phase(batch.v, batch.shares), state, info


class OtherCounts(gb.ExactGradient):
    """Phases divided by different counts."""

    def step(self, rbm, batch, state, generator=None):
        _, state, info = super().step(rbm, batch, state, generator)
        data, model = rbm.data_phase(batch.v, batch.shares), gb.exact.model_phase(rbm)
        return {name: data[name] - 1.1 * model[name] for name in data}, state, info


class Unweighted(gb.CD):
    def step(self, rbm, batch, state, generator=None):
        gradient, state, _ = super().step(rbm, replace(batch, weights=None), state, generator)
        _, _, info = super().step(rbm, batch, state, generator)
        return gradient, state, info


class Renamed(gb.CD):
    def step(self, rbm, batch, state, generator=None):
        gradient, state, info = super().step(rbm, batch, state, generator)
        return {name.split(".")[-1]: value for name, value in gradient.items()}, state, info


class Unaveraged(gb.CD):
    def step(self, rbm, batch, state, generator=None):
        gradient, state, info = super().step(rbm, batch, state, generator)
        return gradient, state, Info(batch.v.mean(0), info.hidden)


class Remembering(gb.CD):
    """Carries a count outside of its state."""

    calls = 0

    def step(self, rbm, batch, state, generator=None):
        Remembering.calls += 1
        gradient, state, info = super().step(rbm, batch, state, generator)
        return {name: value * self.calls for name, value in gradient.items()}, state, info


class Shared(gb.PCD):
    """Hands out tensors of its state as the gradient."""

    def init(self, rbm, generator=None):
        zeros = {name: torch.zeros_like(value) for name, value in rbm.named_parameters()}
        return {"gradient": zeros, "chains": super().init(rbm, generator)}

    def step(self, rbm, batch, state, generator=None):
        gradient, chains, info = super().step(rbm, batch, state["chains"], generator)
        for name, value in state["gradient"].items():
            gradient[name] = value + gradient[name]
        return gradient, {"gradient": gradient, "chains": chains}, info


class Box:
    """No part of a state that a checkpoint holds."""


class BoxState(NamedTuple):
    box: Box


class Unstorable(gb.CD):
    def init(self, rbm, generator=None):
        return BoxState(Box())

    def step(self, rbm, batch, state, generator=None):
        gradient, _, info = super().step(rbm, batch, None, generator)
        return gradient, state, info


class Spoiling(gb.CD):
    def step(self, rbm, batch, state, generator=None):
        found = super().step(rbm, batch, state, generator)
        batch.v.zero_()
        return found


class Infinite(gb.CD):
    def step(self, rbm, batch, state, generator=None):
        gradient, state, info = super().step(rbm, batch, state, generator)
        gradient["hidden.bias"] = gradient["hidden.bias"] / 0
        return gradient, state, info


BROKEN_GRADIENTS = {
    Turned: "does not lead uphill",
    DataAlone: "mean gradient with data from the model itself",
    OtherCounts: "mean gradient with (data from the model itself|weights doubled)",
    Unweighted: "mean gradient with weights",
    Renamed: "the gradient has the keys",
    Unaveraged: "info.visible against the batch's mean",
    Remembering: "by a copy of the state, as from a checkpoint, and the same generator",
    Shared: "after the last gradient was overwritten",
    Unstorable: "the state holds a Box; a checkpoint stores tensors",
    Spoiling: "step changes what it is given",
    Infinite: "the gradient's hidden.bias is not finite",
}


SOUND_GRADIENTS = [
    gb.ExactGradient(),
    gb.CD(),
    gb.CD(steps=3),
    gb.PCD(chains=50),
    gb.Centered(gb.CD()),
]


@pytest.mark.parametrize("gradient", SOUND_GRADIENTS, ids=repr)
def test_sound_gradients_pass(gradient):
    check_gradient(gradient)
    check_gradient(gradient, [gb.RBM(OneHot(2), gb.Bernoulli(2)).double()], seed=1)


def test_mean_field_passes_but_for_its_fixed_point():
    check_gradient(gb.MeanField(steps=2), fixed_point=False)
    with pytest.raises(AssertionError, match="data from the model itself"):
        check_gradient(gb.MeanField())


@pytest.mark.parametrize("kind", BROKEN_GRADIENTS, ids=lambda kind: kind.__name__)
def test_broken_gradients_are_told_what_is_wrong(kind):
    with pytest.raises(AssertionError, match=BROKEN_GRADIENTS[kind]) as error:
        check_gradient(kind())
    assert str(error.value).startswith(f"{kind.__name__} on a model of Bernoulli(4)")


# comparisons


def test_the_worst_entry_is_named():
    found, expected = torch.zeros(2, 3), torch.zeros(2, 3)
    found[1, 2], found[0, 0] = 0.5, 0.1
    with pytest.raises(AssertionError, match=r"slope at \[1, 2\]: expected 0, found 0.5 \(tol"):
        require_close("slope", found, expected)
    with pytest.raises(AssertionError, match=r"slope has shape \(3,\): expected \(2, 3\)"):
        require_close("slope", found[0], expected)
    with pytest.raises(AssertionError, match="found inf"):
        require_close("slope", found / 0, expected)
    require_close("log", torch.tensor([-torch.inf]), torch.tensor([-torch.inf]))


def test_limits_hold_as_often_as_they_say():
    """Of two hundred tries none fails; limits are within a few times the standard error."""
    g = torch.Generator().manual_seed(0)
    draws = torch.rand(200, 4000, 20, generator=g).double()
    for x in draws:
        require_mean("uniform", x, torch.full((20,), 0.5), torch.full((20,), 1 / 12))
    limit = bernstein(torch.tensor(1.0), 10_000, 1)
    assert 4.9 < 100 * limit < 7
    with pytest.raises(AssertionError, match="uniform"):
        require_mean("uniform", draws[0], torch.full((20,), 0.6), torch.full((20,), 1 / 12))


@pytest.mark.parametrize(("comparisons", "freedom"), [(1, 63), (20, 63), (100, 30)])
def test_student_quantile(comparisons, freedom):
    from scipy.stats import t

    expected = t.isf(1e-6 / (2 * comparisons), freedom)
    assert student_quantile(comparisons, freedom) == pytest.approx(expected, rel=0.03)
