"""Exact figures of single-precision models against sums in float64, centred and written apart."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import arrays, bits
from scipy.special import logsumexp

import gibbsite as gb
from gibbsite.cli.folder import start_job
from gibbsite.cli.settings import Settings
from gibbsite.likelihood.rounding import precise_enough, rounding
from gibbsite.precision import in_double
from gibbsite.training import to_data_units

RATIOS = [1.0, 1e2, 1e3, 1e4, 1e6]
"""Means of columns, in their standard deviations."""

each_ratio = pytest.mark.parametrize("ratio", RATIOS)


def near(actual, expected) -> None:
    """What the verdict promises: 1e-4 nats, or a millionth."""
    actual, expected = np.asarray(actual, float), np.asarray(expected, float)
    gap = np.abs(actual - expected)
    assert (gap <= 1e-4 + 1e-6 * np.abs(expected)).all(), gap.max()


def single(n: int, m: int, ratio: float, seed: int = 0, learn_sigma: bool = True) -> gb.RBM:
    """A float32 model of columns with that mean over sd, whose hidden units are undecided."""
    g = torch.Generator().manual_seed(seed)
    sigma = 0.5 + torch.rand(n, generator=g)
    rbm = gb.RBM(gb.Gaussian(n, sigma, learn_sigma), gb.Bernoulli(m)).requires_grad_(False)
    rbm.weight.copy_(torch.randn(n, m, generator=g))
    rbm.visible.bias.copy_(sigma * ratio * (1 + torch.rand(n, generator=g)))
    centred = torch.randn(m, generator=g).double() - 0.5 * (rbm.weight.double() ** 2).sum(0)
    pull = (rbm.visible.bias.double() / rbm.visible.sigma.double()) @ rbm.weight.double()
    rbm.hidden.bias.copy_(centred - pull)
    return rbm


def rows_of(rbm: gb.RBM, n: int = 30) -> np.ndarray:
    """Rows near the model's own, in float64."""
    rng = np.random.default_rng(1)
    w, b, _ = arrays(rbm)
    h = rng.integers(0, 2, (n, w.shape[1]))
    sigma = rbm.visible.sigma.double().numpy()
    return b + sigma * (h @ w.T + rng.normal(size=(n, len(b))))


def centred(rbm: gb.RBM) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """W, b, sigma and the hidden biases that the model has in units (v - b) / sigma."""
    w, b, c = arrays(rbm)
    visible = rbm.visible
    sigma = visible.log_sigma.double().exp() if visible.learn_sigma else visible.sigma.double()
    return w, b, sigma.numpy(), c + (b / sigma.numpy()) @ w


def true_log_z(rbm: gb.RBM) -> float:
    w, _, sigma, c = centred(rbm)
    h = bits(w.shape[1])
    return (
        logsumexp(h @ c + 0.5 * ((h @ w.T) ** 2).sum(1)) + np.log(sigma * np.sqrt(2 * np.pi)).sum()
    )


def true_scores(rbm: gb.RBM, v: np.ndarray) -> np.ndarray:
    """-F(v)."""
    w, b, sigma, c = centred(rbm)
    z = (v - b) / sigma
    return np.logaddexp(0, z @ w + c).sum(1) - 0.5 * (z**2).sum(1)


@each_ratio
@pytest.mark.parametrize("learn_sigma", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_figures_of_far_columns(ratio, learn_sigma, seed):
    """In float32 these were off by whole nats from a mean of 1,000 standard deviations on."""
    rbm = single(10, 8, ratio, seed, learn_sigma)
    v, log_z = rows_of(rbm), true_log_z(rbm)
    scores = true_scores(rbm, v)
    near(gb.log_partition(rbm).value, log_z)
    near(gb.exact.log_partition(rbm).item(), log_z)
    near(rbm.free_energy(v).numpy(), -scores)
    near(gb.exact.log_likelihood(rbm, v).numpy(), scores - log_z)
    result = gb.evaluate(rbm, v)
    near(result.rows.numpy(), scores - log_z)
    near(result.log_likelihood, scores.mean() - log_z)
    assert result.verdict == "trustworthy"
    near(gb.free_energy_gap(rbm, v[:9], v[9:]), scores[:9].mean() - scores[9:].mean())


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 6),
    st.floats(-6, 6),
    st.integers(0, 1000),
    st.floats(-3, 1),
)
def test_any_scale(n, m, exponent, seed, strength):
    rbm = single(n, m, 10**exponent, seed)
    rbm.weight.mul_(10**strength)
    v = rows_of(rbm)
    near(gb.evaluate(rbm, v).rows.numpy(), true_scores(rbm, v) - true_log_z(rbm))


@each_ratio
def test_gradients_and_draws_of_far_columns(ratio):
    """Against the same model in units in which nothing cancels."""
    rbm = single(4, 3, ratio)
    w, b, sigma, c = centred(rbm)
    plain = gb.RBM(gb.Gaussian(4), gb.Bernoulli(3)).double().requires_grad_(False)
    plain.weight.copy_(torch.from_numpy(w))
    plain.hidden.bias.copy_(torch.from_numpy(c))
    expected = gb.exact.moments(plain)
    near(gb.exact.moments(rbm).hidden, expected.hidden)
    v = rows_of(rbm)
    ours, theirs = (
        gb.exact.gradient(model, rows)["hidden.bias"]
        for model, rows in ((rbm, v), (plain, (v - b) / sigma))
    )
    near(ours, theirs)
    draws = gb.exact.sample(rbm, 4000, torch.Generator().manual_seed(0)).double().numpy()
    # noise in float32 and in float64 are other numbers
    again = gb.exact.sample(plain.to(rbm.weight.dtype), 4000, torch.Generator().manual_seed(0))
    again = again.double().numpy()
    assert np.abs((draws - b) / sigma - again).max() < 1e-5 + 1e-6 * ratio  # the draws' own digits


@each_ratio
def test_estimates_of_far_columns(ratio, monkeypatch):
    """The chains and their weights too keep the digits: as near as at a mean of 0."""
    monkeypatch.setattr(gb.exact, "EXACT_STATES", 0)
    rbm = single(6, 4, ratio)
    v = rows_of(rbm)
    g = torch.Generator().manual_seed(0)
    result = gb.evaluate(rbm, v, "bridge", temperatures=300, generator=g)
    truth = (true_scores(rbm, v) - true_log_z(rbm)).mean()
    assert abs(result.log_likelihood - truth) < 4 * result.stderr < 0.4


@each_ratio
def test_pseudo_likelihood_of_far_columns(ratio):
    """A conditional p(v_i | the others) does not know where 0 is."""
    rbm = single(6, 4, ratio)
    w, b, sigma, c = centred(rbm)
    v = rows_of(rbm)
    total, z = 0.0, (v - b) / sigma
    grid = np.arange(-40, 40, 0.05)
    for i in range(6):
        others = z @ w + c - z[:, i, None] * w[i]
        trials = others[:, None] + grid[:, None] * w[i]
        weights = np.logaddexp(0, trials).sum(2) - 0.5 * grid**2
        here = np.logaddexp(0, z @ w + c).sum(1) - 0.5 * z[:, i] ** 2
        total += (here - logsumexp(weights, 1) - np.log(0.05 * sigma[i])).mean()
    near(gb.pseudo_likelihood(rbm, v), total)


@each_ratio
def test_a_model_brought_to_data_units_is_the_one_that_was_trained(ratio):
    """What float32 would lose of the hidden biases is kept, by float64 where it must be."""
    g = torch.Generator().manual_seed(0)
    trained = gb.RBM(gb.Gaussian(10, 0.8, True), gb.Bernoulli(8)).requires_grad_(False)
    trained.weight.copy_(torch.randn(10, 8, generator=g))
    trained.hidden.bias.copy_(-0.5 * (trained.weight**2).sum(0))
    scale = 0.5 + torch.rand(10, generator=g)
    shift = scale * ratio * (1 + torch.rand(10, generator=g))
    kept = to_data_units(trained, shift, scale)
    assert kept.weight.dtype == (torch.float32 if ratio < 500 else torch.float64)
    z = rows_of(trained)
    v = shift.double().numpy() + scale.double().numpy() * z
    volume = scale.double().log().sum().item()
    near(gb.evaluate(kept, v).rows.numpy() + volume, gb.evaluate(trained, z).rows.numpy())


def test_columns_beyond_double_precision_are_spoken_of():
    rbm = single(5, 3, 1.0).double()
    rbm.visible.bias.fill_(1e13)
    rbm.hidden.bias.copy_(-(rbm.visible.bias / rbm.visible.sigma) @ rbm.weight)
    for method in ("exact", "ais"):
        g = torch.Generator().manual_seed(0)
        result = gb.log_partition(rbm, method, temperatures=20, generator=g)
        assert "rounding in float64 may cost" in result.verdict
        assert "standardise" in result.verdict


@pytest.mark.parametrize("strength", [1.0, 30.0, 300.0])
def test_binary_units_with_large_weights(strength):
    """log Z near 10^4 and beyond; in float32 it came out in steps of 0.001."""
    g = torch.Generator().manual_seed(0)
    rbm = gb.RBM(gb.Bernoulli(100), gb.Bernoulli(8)).requires_grad_(False)
    for parameter in rbm.parameters():
        parameter.copy_(strength * torch.randn(parameter.shape, generator=g))
    w, b, c = arrays(rbm)
    h = bits(8)
    log_z = logsumexp(h @ c + np.logaddexp(0, h @ w.T + b).sum(1))
    v = (np.random.default_rng(0).random((20, 100)) < 0.5).astype(float)
    scores = v @ b + np.logaddexp(0, v @ w + c).sum(1)
    assert abs(gb.log_partition(rbm).value - log_z) < 1e-10 * abs(log_z)
    gap = np.abs(gb.evaluate(rbm, v).rows.numpy() - (scores - log_z))
    assert gap.max() < 1e-9 * abs(log_z)
    record = gb.Monitor(torch.from_numpy(v))(rbm, {})
    assert abs(record["train_log_likelihood"] - (scores.mean() - log_z)) < 1e-9 * abs(log_z)


def test_the_bound_on_rounding_is_above_what_happens_and_not_far():
    """F in plain float32, as chains compute it, over 4 scales and 4 seeds."""
    for ratio in RATIOS[:4]:
        for seed in range(4):
            rbm = single(20, 10, ratio, seed)
            v = torch.from_numpy(rows_of(rbm)).float()
            inputs = rbm.hidden_inputs(v) + rbm.hidden.bias
            w, b, sigma, c = centred(rbm)
            exact = ((v.double().numpy() - b) / sigma) @ w + c
            error = np.linalg.norm(inputs.double().numpy() - exact, axis=1).max()
            assert error / 3 < rounding(rbm) < 100 * error


def test_chains_go_on_in_the_models_dtype_where_that_will_do():
    near_rbm, far = single(10, 8, 1.0), single(10, 8, 1e3)
    assert precise_enough(near_rbm) is near_rbm
    assert precise_enough(far).weight.dtype == torch.float64
    assert far.weight.dtype == torch.float32


def test_in_double_is_the_same_model_and_differentiable():
    rbm = gb.RBM(gb.Gaussian(3, [0.5, 1.0, 2.0], learn_sigma=True), gb.Bernoulli(2))
    with torch.no_grad():
        rbm.weight.normal_(generator=torch.Generator().manual_seed(0))
    for model in (rbm, rbm.mirror()):
        wide = in_double(model)
        assert wide.weight.dtype == wide.visible.bias.dtype == torch.float64
        assert torch.equal(wide.weight.float(), model.weight)
        assert in_double(wide) is wide
    names = dict(rbm.named_parameters())
    assert all(p.dtype == torch.float32 for p in names.values())
    in_double(rbm).free_energy(torch.ones(4, 3)).sum().backward()
    expected = rbm.data_phase(torch.ones(4, 3))
    for name, parameter in names.items():
        assert parameter.grad.dtype == torch.float32
        torch.testing.assert_close(parameter.grad, -4 * expected[name])


def test_the_command_fits_columns_far_from_zero(tmp_path):
    """As the same columns standardised beforehand: nothing is rounded before it is shifted."""
    x = np.random.default_rng(0).standard_normal((100, 1))
    np.save(tmp_path / "near.npy", x)
    np.save(tmp_path / "far.npy", 1.7e9 + 50 * x)
    scores = []
    for name, scale in (("near", 1.0), ("far", 50.0)):
        asked = Settings(data=str(tmp_path / f"{name}.npy"), hidden=2, epochs=3)
        job, folder = start_job(asked, tmp_path / name)
        _, figures = job.run(folder)
        scores.append(figures["sets"]["train"]["log_likelihood"] + np.log(scale))
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)
