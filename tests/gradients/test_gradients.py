"""Gradient estimators: the exact one against finite differences, the others against it.

What a sampled estimator is expected to give follows from the enumerated Markov kernel, so its
bias is known exactly and its noise is bounded by its own standard error.
"""

import numpy as np
import pytest
import torch
from montecarlo import assert_mean, quantile
from oracle import agree, bernoulli_case, derivative, gaussian_case

import gibbsite as gb
from gibbsite.gradients import Batch, centered
from gibbsite.sampling import GibbsState

BINARY = bernoulli_case(0)
CASES = {
    "bernoulli": BINARY,
    "gaussian shared": gaussian_case(0.7, learn_sigma=False),
    "gaussian per unit": gaussian_case([0.6, 1.3], learn_sigma=True),
    "gaussian learned shared": gaussian_case(0.7, learn_sigma=True),
}
ESTIMATORS = {
    "exact": gb.ExactGradient(),
    "mean field": gb.MeanField(steps=2),
    "cd": gb.CD(steps=3),
    "pcd": gb.PCD(chains=7, steps=2),
    "noise cd": gb.NoiseCD(chains=7, steps=2),
    "fpcd": gb.FPCD(chains=7, steps=2),
    "centered": gb.Centered(gb.PCD(chains=7)),
}

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_estimator = pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(case) -> torch.Tensor:
    return torch.from_numpy(case.data)


def batch(case) -> Batch:
    return Batch(rows(case))


def flat(gradient: dict) -> np.ndarray:
    return np.concatenate([np.asarray(value).ravel() for value in gradient.values()])


def exact_gradient(case) -> np.ndarray:
    return flat(gb.exact.gradient(case.rbm, case.data))


@each_case
@each_estimator
def test_gradients_have_the_names_and_shapes_of_the_parameters(case, estimator):
    g = generator()
    state = estimator.init(case.rbm, g)
    for _ in range(2):
        gradient, state, _ = estimator.step(case.rbm, batch(case), state, g)
    for name, parameter in case.rbm.named_parameters():
        assert gradient[name].shape == parameter.shape
        assert gradient[name].dtype == parameter.dtype
        assert not gradient[name].requires_grad
    assert len(gradient) == len(dict(case.rbm.named_parameters()))


@each_case
def test_exact_gradient_by_finite_differences(case):
    gradient, *_ = gb.ExactGradient().step(case.rbm, batch(case), None)
    for name, value in gradient.items():
        agree(value.numpy(), case.d_log_p(name, case.data).mean(-1))


def expected_cd(case, steps: int, data: np.ndarray | None = None) -> np.ndarray:
    """CD-k's expectation: the negative phase under data that the exact kernel moved k times."""
    data = case.data if data is None else data
    kernel = (case.joint / case.p_v[:, None]) @ (case.joint / case.p_h).T
    start = (case.v[:, None] == data[None]).all(-1).mean(1)
    weights = torch.from_numpy(start @ np.linalg.matrix_power(kernel, steps))
    positive = flat(case.rbm.data_phase(torch.from_numpy(data)))
    return positive - flat(case.rbm.data_phase(torch.from_numpy(case.v), weights))


def cd_estimates(case, steps: int, copies: int = 40) -> np.ndarray:
    """400 independent CD-k gradients, each from so many copies of the data, (400, parameters)."""
    g, data = generator(steps), Batch(rows(case).repeat(copies, 1))
    estimator = gb.CD(steps=steps)
    return np.array([flat(estimator.step(case.rbm, data, None, g)[0]) for _ in range(400)])


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_cd_gives_what_the_kernel_predicts(steps):
    assert_mean(cd_estimates(BINARY, steps), expected_cd(BINARY, steps))


@pytest.mark.parametrize(("steps", "predicted"), [(1, 2), (2, 1)])
def test_the_wrong_number_of_steps_is_noticed(steps, predicted):
    with pytest.raises(AssertionError):
        assert_mean(cd_estimates(BINARY, steps), expected_cd(BINARY, predicted))


def test_bias_of_cd_shrinks_with_steps():
    """At the rate of the kernel's second eigenvalue, and in the estimates themselves."""
    kernel = (BINARY.joint / BINARY.p_v[:, None]) @ (BINARY.joint / BINARY.p_h).T
    rate = np.sort(np.abs(np.linalg.eigvals(kernel)))[-2]
    truth = exact_gradient(BINARY)
    bias = [np.linalg.norm(expected_cd(BINARY, k) - truth) for k in (1, 2, 4, 8, 16)]
    assert np.all(np.diff(bias) < 0)
    assert bias[4] < 2 * rate**8 * bias[3]
    (seen_1, noise_1), (seen_2, noise_2) = (seen_bias(k, truth) for k in (1, 2))
    assert seen_1 - noise_1 > seen_2 + noise_2


def seen_bias(steps: int, truth: np.ndarray) -> tuple[float, float]:
    """Length of the mean estimate's error, and a bound on the noise in that length."""
    draws = cd_estimates(BINARY, steps, copies=400)
    error = draws.std(0, ddof=1) / np.sqrt(len(draws))
    noise = quantile(draws.shape[1]) * np.linalg.norm(error)
    return float(np.linalg.norm(draws.mean(0) - truth)), float(noise)


def test_cd_of_many_steps_is_unbiased():
    with pytest.raises(AssertionError):
        assert_mean(cd_estimates(BINARY, 1), exact_gradient(BINARY))
    assert_mean(cd_estimates(BINARY, 40), exact_gradient(BINARY))


def pcd_estimates(case, data: Batch, repeats: int = 400) -> np.ndarray:
    """Independent PCD gradients whose 100 chains start at exact draws."""
    g, estimator = generator(1), gb.PCD(chains=100, steps=1)
    found = []
    for _ in range(repeats):
        state = GibbsState(gb.exact.sample(case.rbm, 100, generator=g))
        found.append(flat(estimator.step(case.rbm, data, state, g)[0]))
    return np.array(found)


@each_case
def test_pcd_is_unbiased_at_stationarity(case):
    assert_mean(pcd_estimates(case, batch(case)), exact_gradient(case))


@each_case
def test_pcd_away_from_stationarity_is_noticed(case):
    """The first update of new chains is biased, and the check sees it."""
    g, estimator = generator(1), gb.PCD(chains=100)
    draws = []
    for _ in range(400):
        state = estimator.init(case.rbm, g)
        draws.append(flat(estimator.step(case.rbm, batch(case), state, g)[0]))
    with pytest.raises(AssertionError):
        assert_mean(draws, exact_gradient(case))


@pytest.mark.parametrize("steps", [1, 3])
def test_pcd_goes_on_from_its_chains(steps):
    """The state is moved `steps` Gibbs steps from where it was, whatever the data."""
    rbm, estimator = BINARY.rbm, gb.PCD(chains=6, steps=steps)
    state = estimator.init(rbm, generator(0))
    assert state.v.shape == (6, 4)
    _, moved, _ = estimator.step(rbm, batch(BINARY), state, generator(1))
    expected, g = state, generator(1)
    for _ in range(steps):
        expected, _ = gb.Gibbs().step(rbm, expected, g)
    assert torch.equal(moved.v, expected.v)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 99, 100, 101])
def test_each_phase_is_a_mean_over_its_own_rows(n):
    """Batches smaller and larger than the number of chains."""
    rbm = BINARY.rbm
    v = rows(BINARY)[torch.arange(n) % 5]
    gradient, state, info = gb.PCD(chains=100).step(
        rbm, Batch(v), gb.PCD(chains=100).init(rbm, generator()), generator()
    )
    h, chain_h = rbm.hidden_mean(v), rbm.hidden_mean(state.v)
    torch.testing.assert_close(gradient["visible.bias"], v.mean(0) - state.v.mean(0))
    torch.testing.assert_close(gradient["hidden.bias"], h.mean(0) - chain_h.mean(0))
    expected = v.T @ h / n - state.v.T @ chain_h / 100
    torch.testing.assert_close(gradient["weight"], expected)
    torch.testing.assert_close(info.visible, v.mean(0))
    torch.testing.assert_close(info.hidden, h.mean(0))


@pytest.mark.parametrize("estimator", [gb.ExactGradient(), gb.MeanField()])
@each_case
def test_data_twice_over_give_the_same_gradient(case, estimator):
    once, *_ = estimator.step(case.rbm, batch(case), None)
    twice, *_ = estimator.step(case.rbm, Batch(rows(case).repeat(2, 1)), None)
    agree(flat(twice), flat(once))


@pytest.mark.parametrize("steps", [1, 3])
def test_mean_field_of_binary_units(steps):
    """Pencil-and-paper (31)-(37), corrected."""

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    v, w, b, c = BINARY.data, BINARY.w, BINARY.b, BINARY.c
    v_hat = v
    for _ in range(steps):
        v_hat = sigmoid(b + sigmoid(c + v_hat @ w) @ w.T)
    h, h_hat = sigmoid(c + v @ w), sigmoid(c + v_hat @ w)
    gradient, *_ = gb.MeanField(steps=steps).step(BINARY.rbm, batch(BINARY), None)
    agree(gradient["weight"].numpy(), (v.T @ h - v_hat.T @ h_hat) / len(v))
    agree(gradient["visible.bias"].numpy(), (v - v_hat).mean(0))
    agree(gradient["hidden.bias"].numpy(), (h - h_hat).mean(0))


@each_case
def test_mean_field_takes_the_phase_under_independent_units(case):
    rbm, v = case.rbm, rows(case)
    shares = v.new_full((len(v),), 1 / len(v))
    visible = rbm.visible.moments(rbm.visible_inputs(rbm.hidden_mean(v)))
    hidden = rbm.hidden.moments(rbm.hidden_inputs(visible.mean))
    negative = rbm.phase(visible, hidden, shares)
    gradient, *_ = gb.MeanField().step(rbm, Batch(v), None)
    hidden = rbm.hidden.moments(rbm.hidden_inputs(v))
    positive = rbm.phase(rbm.visible.moments_at(v), hidden, shares)
    agree(flat(gradient), flat(positive) - flat(negative))


def test_mean_field_is_deterministic_and_biased():
    first, second = (
        flat(gb.MeanField().step(BINARY.rbm, batch(BINARY), None, generator(seed))[0])
        for seed in (0, 1)
    )
    assert np.array_equal(first, second)
    assert np.abs(first - exact_gradient(BINARY)).max() > 0.01


BINARY_OFFSETS = (np.array([0.3, 0.9, 0.5, 0.1]), np.array([0.2, 0.7, 0.5]))
REAL_OFFSETS = (np.array([0.4, -1.1]), np.array([0.2, 0.7, 0.5]))


def centered_by_definition(case, v_mean: np.ndarray, h_mean: np.ndarray) -> dict[str, np.ndarray]:
    """One ascent step in the biases of the centred model, b + sigma W lam and c + W' mu,
    with the slopes by finite differences, carried over to ours."""
    scale = np.exp(case.theta.get("visible.log_sigma", 0.0))
    mu = v_mean / scale

    def ours(centred):
        w = centred["weight"]
        return centred | {
            "visible.bias": centred["visible.bias"] - scale * (w @ h_mean),
            "hidden.bias": centred["hidden.bias"] - mu @ w,
        }

    centred = case.theta | {
        "visible.bias": case.b + scale * (case.w @ h_mean),
        "hidden.bias": case.c + mu @ case.w,
    }
    slope = {
        name: derivative(
            lambda x, name=name: np.asarray(
                case.log_p(case.data, ours(centred | {name: x})).mean()
            ),
            centred[name],
        )
        for name in ("weight", "visible.bias", "hidden.bias")
    }
    return slope | {
        "visible.bias": slope["visible.bias"] - scale * (slope["weight"] @ h_mean),
        "hidden.bias": slope["hidden.bias"] - mu @ slope["weight"],
    }


def center(rbm, gradient, v_mean, h_mean):
    """`centered.center` of a copy, as it overwrites what it is given."""
    copies = {name: value.clone() for name, value in gradient.items()}
    centered.center(rbm, copies, v_mean, h_mean)
    return copies


@each_case
def test_centring_is_ascent_in_the_centred_model(case):
    v_mean, h_mean = BINARY_OFFSETS if case is BINARY else REAL_OFFSETS
    plain = gb.exact.gradient(case.rbm, case.data)
    ours = center(case.rbm, plain, torch.from_numpy(v_mean), torch.from_numpy(h_mean))
    for name, expected in centered_by_definition(case, v_mean, h_mean).items():
        agree(ours[name].numpy(), expected, 1e-8)
    for name in ours.keys() - {"weight", "visible.bias", "hidden.bias"}:
        assert torch.equal(ours[name], plain[name])


@each_case
def test_centring_points_uphill(case):
    """g . direction = |dW|^2 + |g_b|^2 + |g_c|^2 (+ the scales'), whatever the offsets."""
    g = generator(3)
    plain = gb.exact.gradient(case.rbm, case.data)
    for _ in range(5):
        v_mean = 3 * torch.randn(case.rbm.visible.n, generator=g, dtype=torch.float64)
        h_mean = torch.rand(case.rbm.hidden.n, generator=g, dtype=torch.float64)
        ours = center(case.rbm, plain, v_mean, h_mean)
        squares = sum((value**2).sum() for name, value in plain.items() if name != "weight")
        agree(flat(plain) @ flat(ours), (squares + (ours["weight"] ** 2).sum()).item())


def test_centring_with_no_offsets_is_the_plain_gradient():
    plain = gb.exact.gradient(BINARY.rbm, BINARY.data)
    ours = center(BINARY.rbm, plain, torch.zeros(4).double(), torch.zeros(3).double())
    agree(flat(ours), flat(plain))


def test_offsets_are_running_means_of_the_data():
    rbm, estimator = BINARY.rbm, gb.Centered(gb.ExactGradient())
    first, second = torch.from_numpy(BINARY.v[:7]), torch.from_numpy(BINARY.v[5:])
    state = estimator.init(rbm, None)
    ours, state, _ = estimator.step(rbm, Batch(first), state)
    torch.testing.assert_close(state.visible, first.mean(0))
    torch.testing.assert_close(state.hidden, rbm.hidden_mean(first).mean(0))
    plain = gb.exact.gradient(rbm, first)
    agree(flat(ours), flat(center(rbm, plain, state.visible, state.hidden)))
    _, after, _ = estimator.step(rbm, Batch(second), state)
    expected = (1 - centered.RATE) * state.visible + centered.RATE * second.mean(0)
    torch.testing.assert_close(after.visible, expected)


def test_centring_carries_the_chains():
    estimator = gb.Centered(gb.PCD(chains=5))
    state = estimator.init(BINARY.rbm, generator())
    _, after, _ = estimator.step(BINARY.rbm, batch(BINARY), state, generator(1))
    _, inner, _ = gb.PCD(chains=5).step(BINARY.rbm, batch(BINARY), state.inner, generator(1))
    assert torch.equal(after.inner.v, inner.v)


@each_estimator
def test_the_generator_decides(estimator):
    def run(seed):
        g = generator(seed)
        state = estimator.init(BINARY.rbm, g)
        return flat(estimator.step(BINARY.rbm, batch(BINARY), state, g)[0])

    before = torch.get_rng_state()
    assert np.array_equal(run(1), run(1))
    assert torch.equal(torch.get_rng_state(), before)


@each_estimator
def test_the_model_is_only_read(estimator):
    before = flat(BINARY.rbm.state_dict())
    state = estimator.init(BINARY.rbm, generator())
    estimator.step(BINARY.rbm, batch(BINARY), state, generator())
    assert np.array_equal(flat(BINARY.rbm.state_dict()), before)
    assert all(parameter.grad is None for parameter in BINARY.rbm.parameters())


WEIGHTS = torch.tensor([2.0, 0.0, 1.0, 3.0, 1.0], dtype=torch.float64)


@pytest.mark.parametrize("estimator", [gb.ExactGradient(), gb.MeanField(steps=2)])
@each_case
def test_whole_weights_count_data_as_copies(case, estimator):
    """Over the number of rows, so that weights of mean 1 leave the size of the gradient."""
    v = rows(case)
    weights = WEIGHTS[torch.arange(len(v)) % 5]
    copies = v.repeat_interleave(weights.long(), 0)
    weighted, _, info = estimator.step(case.rbm, Batch(v, weights), None)
    expected, _, info_of_copies = estimator.step(case.rbm, Batch(copies), None)
    agree(flat(weighted), flat(expected) * len(copies) / len(v))
    agree(info.visible.numpy(), info_of_copies.visible.numpy())
    agree(info.hidden.numpy(), info_of_copies.hidden.numpy())
    doubled, *_ = estimator.step(case.rbm, Batch(v, 2 * weights), None)
    agree(flat(doubled), 2 * flat(weighted))


@pytest.mark.parametrize("mean", [1.0, 0.25])
def test_pcd_of_weighted_rows_has_the_weighted_gradient_as_its_mean(mean):
    """Both phases weigh alike, whatever the weights of a minibatch sum up to."""
    v = rows(BINARY)
    weights = WEIGHTS[torch.arange(len(v)) % 5]
    data = Batch(v, mean * weights / weights.mean())
    exact, *_ = gb.ExactGradient().step(BINARY.rbm, data, None)
    assert_mean(pcd_estimates(BINARY, data), flat(exact))
    with pytest.raises(AssertionError):
        assert_mean(pcd_estimates(BINARY, Batch(v)), flat(exact))


def test_cd_of_weighted_rows_starts_at_the_weighted_data():
    v = rows(BINARY)
    weights = WEIGHTS[torch.arange(len(v)) % 5]
    copies = v.repeat_interleave(weights.long(), 0)
    data, g = Batch(v.repeat(40, 1), weights.repeat(40)), generator()
    draws = [flat(gb.CD().step(BINARY.rbm, data, None, g)[0]) for _ in range(400)]
    scale = len(copies) / len(v)
    assert_mean(draws, scale * expected_cd(BINARY, 1, copies.numpy()))
    with pytest.raises(AssertionError):
        assert_mean(draws, scale * expected_cd(BINARY, 1))


def test_a_batch_without_weight_moves_nothing():
    v = rows(BINARY)
    for estimator in ESTIMATORS.values():
        state = estimator.init(BINARY.rbm, generator())
        nothing = Batch(v, torch.zeros(len(v), dtype=v.dtype))
        gradient, _, info = estimator.step(BINARY.rbm, nothing, state, generator())
        assert not flat(gradient).any()
        assert not info.visible.any()


def test_a_batch_without_weight_leaves_the_running_means():
    v, estimator = rows(BINARY), gb.Centered(gb.ExactGradient())
    nothing = Batch(v, torch.zeros(len(v), dtype=v.dtype))
    _, first, _ = estimator.step(BINARY.rbm, nothing, estimator.init(BINARY.rbm))
    assert first.visible is None
    _, second, _ = estimator.step(BINARY.rbm, Batch(v), first)
    gradient, third, _ = estimator.step(BINARY.rbm, nothing, second)
    torch.testing.assert_close(third.visible, v.mean(0))
    assert torch.equal(third.visible, second.visible)
    assert torch.equal(third.hidden, second.hidden)
    assert not flat(gradient).any()


def test_missing_entries_are_refused():
    v = rows(BINARY)
    with pytest.raises(gb.ArgumentError, match="every entry"):
        gb.CD().step(BINARY.rbm, Batch(v, observed=torch.ones_like(v, dtype=torch.bool)), None)


class Still:
    """A sampler that never moves: CD's two phases then cancel."""

    def init(self, rbm, v, generator=None):
        return GibbsState(v)

    def step(self, rbm, state, generator=None):
        return state, None


def test_estimators_move_chains_with_the_sampler_they_are_given():
    gradient, *_ = gb.CD(sampler=Still()).step(BINARY.rbm, batch(BINARY), None)
    assert np.abs(flat(gradient)).max() < 1e-15
    estimator = gb.PCD(chains=5, sampler=Still())
    state = estimator.init(BINARY.rbm, generator())
    assert estimator.step(BINARY.rbm, batch(BINARY), state)[1].v is state.v


@pytest.mark.parametrize("value", [0, -1, 1.5, 1.0, True, "3", None, float("nan")])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (gb.CD, "steps"),
        (gb.MeanField, "steps"),
        *((make, name) for make in (gb.PCD, gb.NoiseCD, gb.FPCD) for name in ("steps", "chains")),
    ],
)
def test_counts_that_are_none(make, name, value):
    with pytest.raises(gb.ArgumentError, match=f"{name}=.*whole number of at least 1") as error:
        make(**{name: value})
    assert repr(value) in str(error.value)


@pytest.mark.parametrize(
    "make", [gb.CD, gb.PCD, gb.NoiseCD, gb.FPCD, gb.MeanField, gb.ExactGradient]
)
def test_misspelt_options_are_refused(make):
    with pytest.raises(TypeError, match="stepz"):
        make(stepz=3)
