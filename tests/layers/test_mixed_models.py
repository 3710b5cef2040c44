"""Models of counts, and of several types side by side, against sums over all states."""

import numpy as np
import pytest
import torch
from brute import Brute, Unit, arrays_by_name, random_rbm
from montecarlo import assert_mean
from oracle import derivative

import gibbsite as gb
from gibbsite.sampling.conditionals import Conditionals
from gibbsite.testing import check_layer, check_sampler
from gibbsite.training import scaling, to_data_units, to_standard_units


def mixed() -> gb.Mixed:
    return gb.Mixed(
        gb.Bernoulli(1),
        gb.Mixed(gb.Gaussian(1, learn_sigma=True), gb.Poisson(1)),
        gb.Categorical([3]),
    )


def units_of_mixed(side: str) -> list[Unit]:
    """Of `mixed`, by the names of its parameters in a model."""
    one = slice(0, 1)
    return [
        Unit("bernoulli", f"{side}.layers.0", one),
        Unit("gaussian", f"{side}.layers.1.layers.0", one),
        Unit("poisson", f"{side}.layers.1.layers.1", one),
        Unit("categorical", f"{side}.layers.2", slice(0, 3)),
    ]


def units_of(kind: str, trials: tuple[int, ...] = (0, 0)):
    def units(side: str) -> list[Unit]:
        return [Unit(kind, side, slice(i, i + 1), t) for i, t in enumerate(trials)]

    return units


POISSON = (lambda: gb.Poisson(2), units_of("poisson"))
BINOMIAL = (lambda: gb.Binomial(2, [3, 5]), units_of("binomial", (3, 5)))
BINARY = (lambda: gb.Bernoulli(2), units_of("bernoulli"))
MIXED = (mixed, units_of_mixed)
PAIRS = {
    "poisson, binary": (POISSON, BINARY),
    "binary, poisson": (BINARY, POISSON),
    "binomial, binary": (BINOMIAL, BINARY),
    "binary, binomial": (BINARY, BINOMIAL),
    "mixed, binary": (MIXED, BINARY),
    "binary, mixed": (BINARY, MIXED),
    "mixed, binomial": (MIXED, (lambda: gb.Binomial(2, [1, 2]), units_of("binomial", (1, 2)))),
}
each_pair = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
VISIBLE = {"poisson": POISSON, "binomial": BINOMIAL, "mixed": MIXED}


def case(pair, seed: int = 0) -> tuple[gb.RBM, Brute, torch.Tensor]:
    """A random model, its brute-force sums, and a few draws from it."""
    (visible, ours), (hidden, theirs) = pair
    rbm = random_rbm(visible(), hidden(), seed)
    brute = Brute(arrays_by_name(rbm), ours("visible"), theirs("hidden"))
    return rbm, brute, gb.exact.sample(rbm, 5, generator=torch.Generator().manual_seed(1))


@each_pair
def test_exact_sums(pair):
    rbm, brute, data = case(pair)
    assert gb.exact.log_partition(rbm).item() == pytest.approx(brute.log_z, rel=1e-12)
    ours = gb.exact.log_likelihood(rbm, data).detach()
    np.testing.assert_allclose(ours, brute.log_p(data.numpy()), rtol=1e-10)


@each_pair
def test_exact_gradient(pair):
    """Against finite differences of the brute-force log-likelihood."""
    rbm, brute, data = case(pair)
    parameters = arrays_by_name(rbm)
    gradient = gb.exact.gradient(rbm, data)
    assert gradient.keys() == parameters.keys()
    for name, value in parameters.items():

        def mean_log_p(x, name=name):
            moved = Brute({**parameters, name: x}, brute.visible.units, brute.hidden.units)
            return moved.log_p(data.numpy()).mean()

        np.testing.assert_allclose(gradient[name], derivative(mean_log_p, value), atol=1e-9)


@each_pair
def test_pseudo_likelihood_is_over_units(pair):
    rbm, brute, data = case(pair)
    expected = np.mean([brute.pseudo_log_likelihood(row) for row in data.numpy()])
    assert gb.pseudo_likelihood(rbm, data) == pytest.approx(expected, rel=1e-10)


def functions(v, h):
    """Columns of v, bounded functions of them, and products with those of h: (..., columns)."""
    products = v[..., :, None] * h[..., None, :]
    flat = products.reshape(*products.shape[:-2], -1)
    own = np.concatenate([v, np.cos(v), np.sin(2 * v)], -1)
    return np.concatenate([np.broadcast_to(own, (*flat.shape[:-1], own.shape[-1])), flat], -1)


@each_pair
def test_gibbs_keeps_p(pair):
    """Chains from exact draws, stepped twice, are draws of p still, and so are pairs (v, h)."""
    rbm, brute, _ = case(pair)
    g = torch.Generator().manual_seed(0)
    v = gb.exact.sample(rbm, 40_000, generator=g)
    for _ in range(2):
        v, _ = Conditionals(rbm).sweep(v, g)
    h = rbm.sample_hidden(v, g)
    assert_mean(functions(v.numpy(), h.numpy()), brute.mean(functions))


@each_pair
def test_tempered_sweeps_keep_their_distribution(pair):
    """Towards a base of inputs, which each part takes its share of."""
    rbm, _, _ = case(pair)
    beta, g = 0.6, torch.Generator().manual_seed(2)
    sizes = rbm.visible.width, rbm.hidden.width
    base = tuple(0.3 * torch.randn(n, generator=g, dtype=torch.float64) for n in sizes)
    cooled = random_rbm(pair[0][0](), pair[1][0](), 0)
    with torch.no_grad():
        cooled.weight.mul_(beta)
    cooled.visible.shift_((1 - beta) * base[0])
    cooled.hidden.shift_((1 - beta) * base[1])
    brute = Brute(arrays_by_name(cooled), pair[0][1]("visible"), pair[1][1]("hidden"))
    v = gb.exact.sample(cooled, 40_000, generator=g)
    v, h = Conditionals(rbm, base).sweep(v, g, beta)
    assert_mean(
        functions(v.numpy(), np.zeros_like(h)), brute.mean(lambda v, h: functions(v, 0 * h))
    )


@each_pair
def test_bridge_meets_the_exact_log_z(pair):
    rbm, brute, _ = case(pair)
    g = torch.Generator().manual_seed(0)
    result = gb.log_partition(rbm, method="bridge", chains=500, temperatures=100, generator=g)
    assert abs(result.value - brute.log_z) < 5 * result.stderr + 1e-9
    assert result.stderr < 0.05


@pytest.mark.parametrize("side", VISIBLE.values(), ids=VISIBLE)
@pytest.mark.parametrize(
    "gradient", [gb.PCD(chains=200), gb.CD(steps=10), gb.Centered(gb.PCD(200))]
)
def test_training_raises_the_likelihood(side, gradient):
    """On rows of two patterns, which no layer alone can tell apart."""
    g = torch.Generator().manual_seed(0)
    layer = side[0]()
    rows = layer.sample(layer.zero_inputs(2), g)
    low, high = layer.sample(layer.zero_inputs(40), g).aminmax(dim=0)
    rows[0], rows[1] = low, high
    data = torch.tensor(np.repeat(rows.numpy(), 50, axis=0))
    if side is MIXED:
        data[:, -3:] = torch.eye(3)[:2].repeat_interleave(50, 0)
    rbm = gb.RBM(layer, gb.Bernoulli(4))
    gb.initialize(rbm, data, generator=g)
    before = gb.exact.log_likelihood(rbm, data).mean().item()
    optimizer = torch.optim.SGD(rbm.parameters(), lr=0.05)
    options = {"gradient": gradient, "optimizer": optimizer, "batch_size": 20, "generator": g}
    gb.fit(rbm, data, epochs=60, **options)
    assert gb.exact.log_likelihood(rbm, data).mean().item() > before + 0.3


@each_pair
def test_a_saved_model_comes_back(pair, tmp_path):
    rbm, brute, _ = case(pair)
    gb.save(rbm, tmp_path / "m.safetensors")
    loaded = gb.load(tmp_path / "m.safetensors")
    assert repr(loaded) == repr(rbm)
    assert gb.exact.log_partition(loaded).item() == pytest.approx(brute.log_z, rel=1e-12)
    assert loaded.state_dict().keys() == rbm.state_dict().keys()


LAYERS = {
    "poisson": gb.Poisson,
    "binomial": lambda n: gb.Binomial(n, 5),
    "binomial, each its own": lambda n: gb.Binomial(n, [k + 1 for k in range(n)]),
    "mixed": lambda n: mixed(),
    "mixed, finite": lambda n: gb.Mixed(gb.Bernoulli(2), gb.Categorical([2, 3]), gb.Spin(1)),
    "mixed of one": lambda n: gb.Mixed(gb.Bernoulli(n)),
    "mixed, rectified": lambda n: gb.Mixed(gb.ReLU(1), gb.DReLU(1), gb.TruncatedExponential(1)),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_the_contract_of_layers(make):
    check_layer(make)


@pytest.mark.parametrize("pair", ["poisson, binary", "mixed, binary", "binary, mixed"])
def test_gibbs_is_a_sampler_of_such_models(pair):
    check_sampler(gb.Gibbs(), [case(PAIRS[pair])[0]], chains=4000)


def test_real_columns_alone_change_their_units():
    """log p falls by the log of the scale, and states move with it; the other columns stay."""
    rbm, brute, data = case((MIXED, BINARY))
    found = scaling(20 + 3 * data).only(rbm.visible.measured)
    assert (found.shift != 0).tolist() == [False, True, False, False, False, False]
    assert (found.scale != 1).tolist() == [False, True, False, False, False, False]
    inside = to_data_units(rbm, found.shift, found.scale)
    moved = found.shift + found.scale * data
    expected = brute.log_p(data.numpy()) - np.log(found.scale.numpy()).sum()
    ours = gb.exact.log_likelihood(inside, moved).detach()
    np.testing.assert_allclose(ours, expected, rtol=1e-10)
    back = to_standard_units(inside, found.shift, found.scale)
    np.testing.assert_allclose(
        gb.exact.log_likelihood(back, data).detach(), brute.log_p(data.numpy()), rtol=1e-10
    )
