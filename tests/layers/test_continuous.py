"""Units with continuous states: every formula against the energy, alone and in models."""

import math

import numpy as np
import pytest
import torch
from continuous import (
    CASES,
    brute_free_energy,
    brute_log_partition,
    brute_pseudo_likelihood,
    model,
)
from montecarlo import assert_mean
from scipy.stats import kstest

import gibbsite as gb
from gibbsite.layers.fast import fast
from gibbsite.testing import check_layer

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_side = pytest.mark.parametrize("side", ["visible", "hidden"])
INPUTS = torch.tensor([[-6.0, 0.0, 2.0], [0.3, -1.0, 9.0], [1e-4, 25.0, -25.0]]).double()


def expected(case, layer, moment):
    """Expectations of moment(x) for each entry of INPUTS, by quadrature."""
    values = np.zeros(INPUTS.shape)
    for row, unit in np.ndindex(*INPUTS.shape):
        x, p, _ = case.density(layer, unit, INPUTS[row, unit].item())
        values[row, unit] = p @ moment(x)
    return torch.tensor(values)


def gradients(rbm, v):
    """Derivatives of the mean log-likelihood by autograd."""
    likelihood = gb.exact.log_likelihood(rbm, v).mean()
    names, parameters = zip(*rbm.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(likelihood, parameters), strict=True))


@each_case
def test_energy(case):
    layer = case.layer(3)
    x = torch.linspace(0.05, 0.95, 12).double().reshape(4, 3)
    x = torch.cat([x, 3 * x - 1.5]) if math.isinf(case.low) else x
    parts = [case.energy(x[:, i].numpy(), **case.parameters(layer, i)) for i in range(3)]
    np.testing.assert_allclose(layer.energy(x).detach(), sum(parts), rtol=1e-14, atol=1e-14)


@each_case
def test_log_partition(case):
    layer = case.layer(3)
    rows = [sum(case.density(layer, i, a)[2] for i, a in enumerate(row)) for row in INPUTS.tolist()]
    np.testing.assert_allclose(layer.log_partition(INPUTS).detach(), rows, rtol=1e-12, atol=1e-12)


@each_case
def test_moments(case):
    layer = case.layer(3)
    of = {
        "mean": lambda x: x,
        "square": lambda x: x**2,
        "plus": lambda x: np.maximum(x, 0),
        "minus": lambda x: np.minimum(x, 0),
        "plus_square": lambda x: np.maximum(x, 0) ** 2,
        "minus_square": lambda x: np.minimum(x, 0) ** 2,
    }
    for name, value in layer.moments(INPUTS)._asdict().items():
        torch.testing.assert_close(value, expected(case, layer, of[name]), rtol=1e-11, atol=1e-14)
    x = torch.tensor([[0.2, 0.0, 1.0]]).double()
    x = torch.cat([x, -x]) if math.isinf(case.low) else x
    for name, value in layer.moments_at(x)._asdict().items():
        np.testing.assert_array_equal(value, of[name](x.numpy()))


@each_case
def test_moments_are_derivatives(case):
    """Of log_partition: by the inputs the mean, by the parameters what `gradient` sums up."""
    layer, weights = case.layer(3), torch.tensor([0.5, -1.0, 0.2]).double()
    inputs = INPUTS.clone().requires_grad_()
    total = layer.log_partition(inputs) @ weights
    names, parameters = zip(*layer.named_parameters(), strict=True)
    slope, *by_parameter = torch.autograd.grad(total, [inputs, *parameters])
    moments = layer.moments(INPUTS)
    torch.testing.assert_close(slope, weights[:, None] * moments.mean, rtol=1e-11, atol=1e-14)
    found = layer.gradient(moments, weights, lambda: None)
    assert set(found) == set(names)
    for name, value in zip(names, by_parameter, strict=True):
        torch.testing.assert_close(found[name], value, rtol=1e-11, atol=1e-12)


@each_case
def test_variance_by_autograd(case):
    layer = case.layer(3)
    inputs = INPUTS.clone().requires_grad_()
    (first,) = torch.autograd.grad(layer.log_partition(inputs).sum(), inputs, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), inputs)
    mean = layer.mean(INPUTS).detach()
    variance = torch.zeros_like(INPUTS)
    for row, unit in np.ndindex(*INPUTS.shape):
        x, p, _ = case.density(layer, unit, INPUTS[row, unit].item())
        variance[row, unit] = float(p @ (x - mean[row, unit].item()) ** 2)
    torch.testing.assert_close(second, variance, rtol=1e-8, atol=1e-13)


@each_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_inputs(case, dtype):
    """Nothing overflows or cancels: float32 is float64 to its own digits, up to 1e4."""
    double = case.layer(1)
    layer = case.make(1).to(dtype)
    layer.load_state_dict({name: value.to(dtype) for name, value in double.state_dict().items()})
    double.load_state_dict({name: value.double() for name, value in layer.state_dict().items()})
    sizes = torch.logspace(-8, 4, 60, dtype=dtype)
    inputs = torch.cat([sizes, -sizes, sizes.new_zeros(1)])[:, None].requires_grad_()
    value = layer.log_partition(inputs)
    (slope,) = torch.autograd.grad(value.sum(), inputs)
    wide = double.log_partition(inputs.detach().double())
    torch.testing.assert_close(value.double(), wide, rtol=2e-6, atol=3e-6)
    moments, true = layer.moments(inputs), double.moments(inputs.detach().double())
    torch.testing.assert_close(slope, moments.mean, rtol=1e-4, atol=1e-7)
    for narrow, exact in zip(moments, true, strict=True):
        assert narrow.dtype == dtype
        torch.testing.assert_close(narrow.double(), exact, rtol=1e-4, atol=1e-7)
    draws = layer.sample(inputs.detach(), torch.Generator().manual_seed(0))
    assert draws.dtype == dtype
    assert bool(torch.isfinite(draws).all())
    layer.check_states(draws)


@each_case
def test_unit_states_integrate(case):
    layer = case.layer(2)
    for reach in (0.0, 3.0, 25.0):
        points, log_weights = layer.unit_states(1, reach)
        assert points.shape == (len(log_weights), 1)
        for a in (-reach, -reach / 3, reach):
            energy = case.energy(points[:, 0].numpy(), **case.parameters(layer, 1))
            exponent = log_weights.numpy() - energy + a * points[:, 0].numpy()
            total = np.logaddexp.reduce(exponent)
            assert total == pytest.approx(case.density(layer, 1, a)[2], rel=1e-12, abs=1e-12)


@each_case
@pytest.mark.parametrize("drawn_by", ["the layer", "its fast form"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples(case, drawn_by, dtype):
    """Kolmogorov-Smirnov at 1e-6 against the integrated density, and means of the moments."""
    double, g = case.layer(4, seed=5), torch.Generator().manual_seed(8)
    layer = double if dtype == torch.float64 else _copy(case, double)
    row = torch.tensor([-2.0, -1.0, 0.5, 30.0], dtype=dtype)
    with torch.no_grad():
        sample = layer.sample if drawn_by == "the layer" else fast(layer).sample
        draws = sample(row.repeat(30_000, 1), g)
    assert draws.dtype == dtype
    x = draws.double()
    for unit, a in enumerate(row.tolist()):
        points, p, _ = case.density(double, unit, a)
        ends, cumulative = np.append(points, points[-1]), np.append(np.cumsum(p) - p / 2, 1.0)
        assert kstest(x[:, unit].numpy(), lambda t: np.interp(t, ends, cumulative)).pvalue > 1e-6  # noqa: B023
    for found, true in zip(layer.moments_at(draws), layer.moments(row[None]), strict=True):
        assert_mean(found.double().detach().numpy(), true[0].double().detach().numpy())
    z = (x - x.mean(0)) / x.std(0)
    assert_mean((z * z.roll(1, 1)).numpy(), np.zeros(4))
    assert_mean((z[::2] * z[1::2]).numpy(), np.zeros(4))


def _copy(case, double):
    layer = case.make(double.n)
    layer.load_state_dict({name: value.float() for name, value in double.state_dict().items()})
    return layer


@each_case
def test_draws_repeat_and_take_any_shape(case):
    layer = _copy(case, case.layer(3))
    inputs = INPUTS.float().repeat(2, 1).reshape(2, 3, 3)
    one, two = (layer.sample(inputs, torch.Generator().manual_seed(4)) for _ in range(2))
    assert one.shape == inputs.shape
    assert torch.equal(one, two)


@each_case
def test_inputs_that_give_means(case):
    layer = case.layer(3)
    rows = torch.tensor([[0.2, 0.5, 0.9], [0.3, 0.7, 0.9]]).double().repeat(10, 1)
    inputs = layer.inputs_for(rows)
    torch.testing.assert_close(layer.mean(inputs), rows.mean(0), rtol=1e-9, atol=1e-9)
    layer.shift_(inputs)
    torch.testing.assert_close(layer.mean(torch.zeros_like(inputs)), rows.mean(0))
    layer.zero_biases()
    assert not any(p.any() for name, p in layer.named_parameters() if name.startswith("bias"))


@each_case
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_columns_leave_finite_biases(case, value):
    layer = case.make(2)
    layer.initialize(torch.full((50, 2), value))
    assert layer.fault() == ""
    assert float(layer.inputs_for(torch.full((50, 2), value)).abs().max()) < 200


@each_case
def test_a_constant_input_is_a_shift_of_the_biases(case):
    """Its gradient, too, is the sum of theirs."""
    layer, c = case.layer(3), torch.tensor([0.4, -1.0, 2.0]).double()
    shifted = case.layer(3)
    shifted.shift_(c)
    change = layer.log_partition(INPUTS + c) - layer.log_partition(INPUTS)
    torch.testing.assert_close(shifted.log_partition(INPUTS) - layer.log_partition(INPUTS), change)
    moments = layer.moments(INPUTS)
    gradient = layer.gradient(moments, torch.ones(3).double(), lambda: None)
    torch.testing.assert_close(layer.input_gradient(gradient), moments.mean.sum(0))


@each_case
@each_side
def test_exact_log_partition(case, side):
    rbm = model(case, side, 2, 4, seed=3)
    value = gb.exact.log_partition(rbm).item()
    assert value == pytest.approx(brute_log_partition(case, side, rbm), rel=1e-12, abs=1e-11)


@each_case
@each_side
def test_exact_gradient(case, side):
    rbm = model(case, side, 3, 4, seed=4)
    v = gb.exact.sample(rbm, 6, generator=torch.Generator().manual_seed(1))
    found, true = gb.exact.gradient(rbm, v), gradients(rbm, v)
    assert set(found) == set(true)
    for name, value in true.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-11)


@each_case
@each_side
def test_free_energy_and_pseudo_likelihood(case, side):
    rbm = model(case, side, 3, 3, seed=8)
    v = gb.exact.sample(rbm, 4, generator=torch.Generator().manual_seed(1))
    free = [brute_free_energy(case, side, rbm, row) for row in v.numpy()]
    np.testing.assert_allclose(rbm.free_energy(v).detach(), free, rtol=1e-11, atol=1e-11)
    expected = np.mean([brute_pseudo_likelihood(case, side, rbm, row) for row in v.numpy()])
    assert gb.pseudo_likelihood(rbm, v) == pytest.approx(expected, rel=1e-9)


@each_case
@each_side
def test_bridge_meets_the_exact_log_z(case, side):
    rbm, g = model(case, side, 3, 3, seed=8), torch.Generator().manual_seed(0)
    result = gb.log_partition(rbm, method="bridge", chains=500, temperatures=100, generator=g)
    exact = gb.exact.log_partition(rbm).item()
    assert abs(result.value - exact) < 5 * result.stderr + 1e-9
    assert result.stderr < 0.1


@each_case
def test_contract(case):
    check_layer(case.make)


@each_case
@each_side
def test_gibbs_leaves_exact_draws_where_they_are(case, side):
    """Means of v, of its square and of products with h after three sweeps from exact draws."""
    rbm, g = model(case, side, 3, 3, seed=6), torch.Generator().manual_seed(2)
    v = gb.exact.sample(rbm, 20_000, generator=g)
    for _ in range(3):
        v = rbm.sample_visible(rbm.sample_hidden(v, g), g)
    reference = gb.exact.moments(rbm)
    assert_mean(v.numpy(), reference.visible.numpy())
    h = rbm.sample_hidden(v, g)
    assert_mean(h.numpy(), reference.hidden.numpy())
    pairs = v[:, :, None] * h[:, None, :]
    assert_mean(pairs.flatten(1).numpy(), reference.product.flatten().numpy())


@each_case
@each_side
def test_saved_and_loaded(case, side, tmp_path):
    rbm = model(case, side, 3, 2, seed=7)
    gb.save(rbm, tmp_path / "model.safetensors")
    loaded = gb.load(tmp_path / "model.safetensors")
    v = gb.exact.sample(rbm, 3, generator=torch.Generator().manual_seed(0))
    assert type(getattr(loaded, side)) is type(getattr(rbm, side))
    torch.testing.assert_close(loaded.free_energy(v), rbm.free_energy(v), rtol=0, atol=0)


@pytest.mark.slow
@each_case
@each_side
def test_training_raises_the_likelihood(case, side):
    """On two groups of rows, which independent columns cannot tell apart."""
    g = torch.Generator().manual_seed(0)
    group = (torch.rand(1000, 1, generator=g) < 0.5).float()
    if side == "visible":
        low, size = {0.0: (0.2, 0.6 if case.high == 1 else 2.0)}.get(case.low, (-1.0, 2.0))
        noise = torch.rand(1000, 4, generator=g)
        v = (low + size * (0.6 * group + 1.2 * noise - 0.4)).clamp(case.low, case.high)
    else:
        v = (group - (torch.rand(1000, 4, generator=g) < 0.2).float()).abs()
    layers = case.make(4), gb.Bernoulli(4)
    rbm = gb.RBM(*(layers if side == "visible" else layers[::-1]))
    gb.initialize(rbm, v, generator=g)
    optimizer = torch.optim.Adam(rbm.parameters(), lr=0.05)
    before = gb.exact.log_likelihood(rbm, v).mean().item()
    gb.fit(rbm, v, gradient=gb.PCD(500, steps=10), optimizer=optimizer, epochs=30, generator=g)
    after = gb.exact.log_likelihood(rbm, v).mean().item()
    assert after > before + 0.15
