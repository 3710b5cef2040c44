"""Models of spins and of categorical units, visible and hidden, against sums over all states."""

import numpy as np
import pytest
import torch
from discrete import Enumerated, assert_frequencies, one_hot, random_model, spins
from montecarlo import total_variation, tv_floor

import gibbsite as gb
from gibbsite.sampling.conditionals import Conditionals

SIDES = {
    "spin": (lambda: gb.Spin(3), spins(3)),
    "categorical": (lambda: gb.Categorical(2, 3), one_hot([3, 3])),
    "different sizes": (lambda: gb.Categorical([2, 4, 3]), one_hot([2, 4, 3])),
}
BINARY = (lambda: gb.Bernoulli(2), (spins(2) + 1) / 2)
PAIRS = {f"{name}, binary": (side, BINARY) for name, side in SIDES.items()}
PAIRS |= {f"binary, {name}": (BINARY, side) for name, side in SIDES.items()}
PAIRS["spin, categorical"] = SIDES["spin"], SIDES["categorical"]
PAIRS["different sizes, spin"] = SIDES["different sizes"], SIDES["spin"]
each_pair = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
CHAINS = 100_000


def case(pair, seed: int = 0) -> tuple[gb.RBM, Enumerated, torch.Tensor]:
    """A random model, its enumeration, and a few rows of data."""
    (visible, v), (hidden, h) = pair
    rbm = random_model(visible(), hidden(), seed)
    return rbm, Enumerated(rbm, v, h), torch.tensor(v[[0, 2, 2, -1]])


@each_pair
def test_exact_sums(pair):
    rbm, brute, data = case(pair)
    assert gb.exact.log_partition(rbm).item() == pytest.approx(brute.log_z, rel=1e-12)
    expected = np.log(brute.p_v[brute.index(data)])
    np.testing.assert_allclose(gb.exact.log_likelihood(rbm, data).detach(), expected, rtol=1e-10)
    free = -np.log(brute.p_v) - brute.log_z
    np.testing.assert_allclose(rbm.free_energy(torch.tensor(brute.v)).detach(), free, rtol=1e-10)


@each_pair
def test_exact_gradient(pair):
    rbm, brute, data = case(pair)
    gradient, expected = gb.exact.gradient(rbm, data), brute.gradient(data.numpy())
    assert gradient.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(gradient[name], value, atol=1e-12)


@each_pair
def test_gibbs_keeps_p(pair):
    """Chains from exact draws, stepped twice, are draws of p still; pairs (v, h) likewise."""
    rbm, brute, _ = case(pair)
    g = torch.Generator().manual_seed(0)
    start = np.random.default_rng(0).choice(len(brute.v), CHAINS, p=brute.p_v)
    v = torch.tensor(brute.v[start])
    for _ in range(2):
        v, h = Conditionals(rbm).sweep(v, g)
    assert total_variation(brute.index(v), brute.p_v) < tv_floor(brute.p_v, CHAINS)
    numbers = brute.index(v) * len(brute.h) + (h.numpy()[:, None] == brute.h).all(2).argmax(1)
    assert_frequencies(numbers, brute.joint.ravel())


@each_pair
@pytest.mark.parametrize("beta", [0.0, 0.6])
def test_tempered_sweeps_keep_their_distribution(pair, beta):
    """Towards a base of inputs, at one inverse temperature or one a row."""
    rbm, _, _ = case(pair)
    g = torch.Generator().manual_seed(1)
    sizes = rbm.visible.width, rbm.hidden.width
    base = tuple(torch.randn(n, generator=g, dtype=torch.float64) for n in sizes)
    cooled = random_model(pair[0][0](), pair[1][0](), 0)
    with torch.no_grad():
        cooled.weight.mul_(beta)
        cooled.visible.bias.add_((1 - beta) * base[0])
        cooled.hidden.bias.add_((1 - beta) * base[1])
    brute = Enumerated(cooled, pair[0][1], pair[1][1])
    start = np.random.default_rng(0).choice(len(brute.v), CHAINS, p=brute.p_v)
    for inverse in (beta, torch.full((CHAINS, 1), beta, dtype=torch.float64)):
        v, _ = Conditionals(rbm, base).sweep(torch.tensor(brute.v[start]), g, inverse)
        assert total_variation(brute.index(v), brute.p_v) < tv_floor(brute.p_v, CHAINS)


@each_pair
def test_pseudo_likelihood_is_over_units(pair):
    rbm, brute, data = case(pair)
    units = [rbm.visible.unit_columns(unit) for unit in range(rbm.visible.n)]
    expected = np.mean([brute.pseudo_log_likelihood(row, units) for row in data.numpy()])
    assert gb.pseudo_likelihood(rbm, data) == pytest.approx(expected, rel=1e-10)


@each_pair
def test_bridge_meets_the_exact_log_z(pair):
    rbm, brute, _ = case(pair)
    g = torch.Generator().manual_seed(0)
    result = gb.log_partition(rbm, method="bridge", chains=500, temperatures=100, generator=g)
    assert abs(result.value - brute.log_z) < 5 * result.stderr + 1e-9
    assert result.stderr < 0.05


@pytest.mark.parametrize("side", SIDES.values(), ids=SIDES)
@pytest.mark.parametrize("gradient", [gb.PCD(chains=200), gb.CD(), gb.Centered(gb.PCD(200))])
def test_training_raises_the_likelihood(side, gradient):
    make, states = side
    data = torch.tensor(states[[0, 1, -1]], dtype=torch.float32).repeat(50, 1)
    rbm, g = gb.RBM(make(), gb.Bernoulli(4)), torch.Generator().manual_seed(0)
    gb.initialize(rbm, data, generator=g)
    before = gb.exact.log_likelihood(rbm, data).mean().item()
    optimizer = torch.optim.SGD(rbm.parameters(), lr=0.2)
    options = {"gradient": gradient, "optimizer": optimizer, "batch_size": 30, "generator": g}
    gb.fit(rbm, data, epochs=100, **options)
    assert gb.exact.log_likelihood(rbm, data).mean().item() > before + 0.3


@each_pair
def test_a_saved_model_comes_back(pair, tmp_path):
    rbm, brute, _ = case(pair)
    gb.save(rbm, tmp_path / "m.safetensors")
    loaded = gb.load(tmp_path / "m.safetensors")
    assert repr(loaded) == repr(rbm)
    assert gb.exact.log_partition(loaded).item() == pytest.approx(brute.log_z, rel=1e-12)
    assert loaded.state_dict().keys() == {"weight", "visible.bias", "hidden.bias"}


def test_codes_are_taken_wherever_data_come_in():
    layer = gb.Categorical([2, 4, 3])
    rbm, codes = random_model(layer, gb.Bernoulli(2), 0), np.array([[0, 3, 1], [1, 0, 2]])
    columns = layer.coerce(codes)
    for function in (rbm.free_energy, rbm.hidden_mean):
        assert torch.equal(function(codes), function(columns))
    for function in (gb.exact.log_likelihood, gb.exact.gradient, gb.pseudo_likelihood):
        ours, expected = function(rbm, codes), function(rbm, columns)
        torch.testing.assert_close(ours, expected, rtol=0, atol=0)
    fits = []
    for data in (codes, columns):
        rbm = random_model(gb.Categorical([2, 4, 3]), gb.Bernoulli(2), 0).float()
        gb.fit(rbm, data, epochs=2, generator=torch.Generator().manual_seed(0))
        fits.append(rbm.weight.detach())
    assert torch.equal(*fits)
