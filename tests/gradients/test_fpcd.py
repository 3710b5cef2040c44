"""Fast weights against PCD and the exact model of both parameters; chains from noise."""

import copy

import numpy as np
import pytest
import torch
from montecarlo import assert_mean
from oracle import agree, bernoulli_case, gaussian_case

import gibbsite as gb
from gibbsite.gradients import Batch
from gibbsite.gradients.fpcd import FPCDState, shifted
from gibbsite.sampling import GibbsState
from gibbsite.testing import check_gradient

CASES = {
    "bernoulli": bernoulli_case(0),
    "gaussian per unit": gaussian_case([0.6, 1.3], learn_sigma=True),
    "gaussian learned shared": gaussian_case(0.7, learn_sigma=True),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flat(gradient: dict) -> np.ndarray:
    return np.concatenate([np.asarray(gradient[name]).ravel() for name in sorted(gradient)])


def offsets(rbm: gb.RBM, size: float = 0.3, seed: int = 0) -> dict[str, torch.Tensor]:
    g = generator(seed)
    return {
        name: size * torch.randn(x.shape, generator=g, dtype=x.dtype)
        for name, x in rbm.named_parameters()
    }


def summed(rbm: gb.RBM, added: dict[str, torch.Tensor]) -> gb.RBM:
    """A model whose parameters are those of rbm and the added ones."""
    total = copy.deepcopy(rbm)
    with torch.no_grad():
        for name, parameter in total.named_parameters():
            parameter.add_(added[name])
    return total


def batch(case) -> Batch:
    return Batch(torch.from_numpy(case.data))


@each_case
def test_without_a_fast_rate_it_is_pcd(case):
    found, expected = gb.FPCD(chains=7, steps=2, fast_rate=0), gb.PCD(chains=7, steps=2)
    ours, theirs = found.init(case.rbm, generator()), expected.init(case.rbm, generator())
    one, other = generator(1), generator(1)
    for _ in range(5):
        gradient, ours, info = found.step(case.rbm, batch(case), ours, one)
        plain, theirs, plain_info = expected.step(case.rbm, batch(case), theirs, other)
        assert torch.equal(ours.chains.v, theirs.v)
        assert torch.equal(ours.chains.h, theirs.h)
        agree(flat(gradient), flat(plain))
        agree(info.hidden.numpy(), plain_info.hidden.numpy())


@each_case
def test_the_expected_gradient_is_between_two_models(case):
    """The data's phase under theta, less the exact one of the model at theta + phi."""
    rbm, fast, g = case.rbm, offsets(case.rbm), generator(1)
    moved, draws = summed(rbm, fast), []
    for _ in range(400):
        state = FPCDState(GibbsState(gb.exact.sample(moved, 100, g)), fast)
        draws.append(flat(gb.FPCD().step(rbm, batch(case), state, g)[0]))
    data, model = rbm.data_phase(batch(case).v), gb.exact.model_phase(moved)
    assert_mean(draws, flat(data) - flat(model))
    with pytest.raises(AssertionError):
        assert_mean(draws, flat(data) - flat(gb.exact.model_phase(rbm)))


def test_fast_parameters_follow_the_gradient_and_decay():
    rbm, g = CASES["bernoulli"].rbm, generator()
    estimator, expected = gb.FPCD(chains=5, fast_rate=0.3, decay=0.7), 0.0
    state = estimator.init(rbm, g)
    assert not flat(state.fast).any()
    for _ in range(4):
        gradient, state, _ = estimator.step(rbm, batch(CASES["bernoulli"]), state, g)
        expected = 0.7 * expected + 0.3 * flat(gradient)
        agree(flat(state.fast), expected)


def test_a_shared_sigma_follows_the_mean_over_its_units():
    case = CASES["gaussian learned shared"]
    estimator = gb.FPCD(chains=5, fast_rate=0.5)
    state = estimator.init(case.rbm, generator())
    gradient, state, _ = estimator.step(case.rbm, batch(case), state, generator())
    agree(state.fast["visible.log_sigma"].numpy(), 0.25 * gradient["visible.log_sigma"].numpy())


def test_the_chains_are_those_of_the_sum():
    rbm, fast = CASES["bernoulli"].rbm, offsets(CASES["bernoulli"].rbm)
    v = torch.from_numpy(CASES["bernoulli"].v)
    _, ours, _ = gb.FPCD().step(
        rbm, batch(CASES["bernoulli"]), FPCDState(GibbsState(v), fast), generator()
    )
    _, theirs, _ = gb.PCD().step(
        summed(rbm, fast), batch(CASES["bernoulli"]), GibbsState(v), generator()
    )
    assert torch.equal(ours.chains.v, theirs.v)
    assert torch.equal(ours.chains.h, theirs.h)


LAYERS = {
    "bernoulli": lambda: gb.Bernoulli(4),
    "spin": lambda: gb.Spin(4),
    "categorical": lambda: gb.Categorical([2, 3]),
    "binomial": lambda: gb.Binomial(3, 4),
    "poisson": lambda: gb.Poisson(3),
    "gaussian": lambda: gb.Gaussian(3, learn_sigma=True),
    "relu": lambda: gb.ReLU(3),
    "drelu": lambda: gb.DReLU(3),
    "truncated exponential": lambda: gb.TruncatedExponential(3),
    "mixed": lambda: gb.Mixed(gb.Bernoulli(2), gb.Categorical(2, 3), gb.Gaussian(2)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_a_shifted_view_is_the_model_of_the_sums(make, dtype):
    rbm = gb.RBM(make(), gb.Bernoulli(3)).to(dtype)
    rbm = summed(rbm, offsets(rbm, 0.2, 1))
    before = copy.deepcopy(rbm.state_dict())
    fast = offsets(rbm, 0.2, 2)
    view, expected = shifted(rbm, fast), summed(rbm, fast)
    for (name, ours), (_, theirs) in zip(
        view.state_dict().items(), expected.state_dict().items(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    v = gb.random_start(rbm, 5, generator())
    assert torch.equal(view.free_energy(v), expected.free_energy(v))
    assert torch.equal(view.sample_hidden(v, generator()), expected.sample_hidden(v, generator()))
    assert all(torch.equal(value, before[name]) for name, value in rbm.state_dict().items())
    assert not any(parameter.requires_grad for parameter in view.parameters())


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_every_unit_type_is_trained(make):
    rbm = gb.RBM(make(), gb.Bernoulli(3))
    v = gb.random_start(rbm, 40, generator())
    history = gb.fit(
        rbm, v, gradient=gb.Centered(gb.FPCD(chains=5)), epochs=2, generator=generator()
    )
    history.state.check(rbm)
    history.state.inner.check(rbm)
    assert flat(history.state.inner.fast).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fast: fast | {"weight": fast["weight"] * torch.nan}, "weight holds nan"),
        (lambda fast: fast | {"weight": fast["weight"].float()}, "not those of the model"),
        (lambda fast: fast | {"weight": fast["weight"][:1]}, "not those of the model"),
        (lambda fast: {"weight": fast["weight"]}, "not those of the model"),
    ],
)
def test_fast_parameters_that_do_not_fit(change, message):
    rbm = CASES["bernoulli"].rbm
    state = gb.FPCD(chains=3).init(rbm, generator())
    state.check(rbm)
    with pytest.raises(gb.DataError, match=message):
        state._replace(fast=change(state.fast)).check(rbm)


@pytest.mark.parametrize("rate", [-0.1, float("nan"), float("inf")])
def test_a_fast_rate_that_is_none(rate):
    with pytest.raises(gb.ArgumentError, match=f"fast_rate={rate}: expected a number of at least"):
        gb.FPCD(fast_rate=rate)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_that_is_none(decay):
    with pytest.raises(gb.ArgumentError, match=f"decay={decay}: expected 0 up to less than 1"):
        gb.FPCD(decay=decay)


@pytest.mark.parametrize(
    "estimator",
    [gb.FPCD(), gb.FPCD(fast_rate=0), gb.Centered(gb.FPCD()), gb.NoiseCD(chains=50)],
    ids=repr,
)
def test_new_estimators_keep_the_contract(estimator):
    check_gradient(estimator)


def test_few_steps_from_noise_lead_uphill_but_not_to_the_likelihood():
    check_gradient(gb.NoiseCD(steps=2), fixed_point=False)
    with pytest.raises(AssertionError, match="data from the model itself"):
        check_gradient(gb.NoiseCD(steps=1))


@pytest.mark.parametrize("steps", [1, 2])
def test_chains_from_noise_give_what_the_kernel_predicts(steps):
    case = CASES["bernoulli"]
    kernel = (case.joint / case.p_v[:, None]) @ (case.joint / case.p_h).T
    p = 1 / (1 + np.exp(-case.b))
    start = np.where(case.v == 1, p, 1 - p).prod(1)
    data, g, estimator = batch(case), generator(), gb.NoiseCD(steps=steps)
    draws = [flat(estimator.step(case.rbm, data, None, g)[0]) for _ in range(400)]

    def expected(k):
        weights = torch.from_numpy(start @ np.linalg.matrix_power(kernel, k))
        model = case.rbm.data_phase(torch.from_numpy(case.v), weights)
        return flat(case.rbm.data_phase(data.v)) - flat(model)

    assert_mean(draws, expected(steps))
    with pytest.raises(AssertionError):
        assert_mean(draws, expected(steps - 1))


def test_chains_from_noise_leave_nothing_behind():
    case = CASES["bernoulli"]
    assert gb.NoiseCD().init(case.rbm, generator()) is None
    first, state, _ = gb.NoiseCD().step(case.rbm, batch(case), None, generator(3))
    again, _, _ = gb.NoiseCD().step(case.rbm, batch(case), state, generator(3))
    assert state is None
    assert np.array_equal(flat(first), flat(again))
