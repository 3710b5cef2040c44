"""evaluate against brute force: rows, means, bounds, layout of the data, refusals."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from montecarlo import hoeffding, quantile
from oracle import agree, arrays, bernoulli_case, bits, gaussian_case, random_rbm
from outcomes import outcome
from scipy.special import logsumexp

import gibbsite as gb
from gibbsite.likelihood import monitors, uniform_schedule

CASES = {
    "bernoulli": bernoulli_case(0),
    "shared sigma": gaussian_case(0.7, learn_sigma=False),
    "learned sigma": gaussian_case([0.6, 1.3], learn_sigma=True),
}
CASE = CASES["bernoulli"]
FEW = {"temperatures": uniform_schedule(20), "chains": 50}
ESTIMATES = ["ais", "reverse-ais", "bridge"]

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_estimate = pytest.mark.parametrize("method", ESTIMATES)
each_method = pytest.mark.parametrize("method", ["auto", "exact", *ESTIMATES])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@each_case
@pytest.mark.parametrize("method", ["auto", "exact"])
def test_exact_log_likelihood_of_each_row(case, method):
    result = gb.evaluate(case.rbm, case.data, method)
    expected = case.log_p(case.data)
    agree(result.rows.numpy(), expected)
    agree([result.log_likelihood, result.lower, result.upper], [expected.mean()] * 3)
    agree(result.rows_stderr, expected.std(ddof=1) / np.sqrt(len(expected)))
    assert (result.stderr, result.method, result.warnings) == (0.0, "exact", ())
    assert (result.conservative, result.optimistic) == (None, None)
    assert result.verdict == "trustworthy"


def test_a_result_prints_how_many_rows_not_each():
    rows = torch.ones(500, 2)
    shown = repr(gb.evaluate(gb.RBM(gb.Bernoulli(2), gb.Bernoulli(2)), rows))
    assert shown.startswith("Evaluation(log_likelihood=-1.386")
    assert "method='exact'" in shown
    assert "rows=<500 rows>" in shown
    assert len(shown) < 500


@each_case
@each_estimate
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_estimates_against_brute_force(case, method, dtype):
    rbm = copy.deepcopy(case.rbm).to(dtype)
    result = gb.evaluate(rbm, case.data, method, temperatures=100, generator=generator())
    truth = case.log_p(case.data)
    limit = quantile() * result.stderr + (1e-5 if dtype is torch.float32 else 1e-9)
    assert abs(result.log_likelihood - truth.mean()) < limit < 0.2
    assert np.abs(result.rows.numpy() - truth).max() < limit
    assert result.rows.dtype == torch.float64


def test_784_real_units_and_15_hidden_ones():
    """Each row against the sum over h of p(v, h), normalised by hand."""
    rbm = random_rbm(gb.Gaussian(784, 0.8, learn_sigma=True), 15, seed=1).requires_grad_(False)
    rbm.weight.mul_(0.05)
    w, b, c = arrays(rbm)
    h = bits(15)
    log_z = logsumexp(
        h @ c + 0.5 * ((h @ (w.T @ w)) * h).sum(1) + h @ (w.T @ (b / 0.8))
    ) + 784 * np.log(0.8 * np.sqrt(2 * np.pi))
    v = gb.exact.sample(rbm, 20, generator()).numpy()
    free = logsumexp((v / 0.8) @ w @ h.T + h @ c, axis=1) - 0.5 * (((v - b) / 0.8) ** 2).sum(1)
    result = gb.evaluate(rbm, v, "bridge", temperatures=100, generator=generator())
    assert np.abs(result.rows.numpy() - (free - log_z)).max() < quantile() * result.stderr < 0.3
    agree(gb.evaluate(rbm, v).rows.numpy(), free - log_z, 1e-8)


@each_case
@each_estimate
def test_how_the_figures_hang_together(case, method):
    """A high log Z is a low likelihood: the bounds change sides."""
    result = gb.evaluate(case.rbm, case.data, method, **FEW, generator=generator())
    log_z = result.log_partition
    scores = -case.rbm.free_energy(torch.from_numpy(case.data)).numpy()
    agree(result.rows.numpy(), scores - log_z.value)
    agree(result.log_likelihood, scores.mean() - log_z.value)
    agree([result.lower, result.upper], scores.mean() - np.array([log_z.upper, log_z.lower]))
    assert result.lower < result.log_likelihood < result.upper
    assert (result.stderr, result.method) == (log_z.stderr, log_z.method)
    assert (result.warnings, result.verdict) == (log_z.problems, log_z.verdict)
    for bound, direction in (
        (result.optimistic, log_z.forward),
        (result.conservative, log_z.reverse),
    ):
        assert (bound is None) == (direction is None)
        if direction is not None:
            agree(bound, scores.mean() - direction.value)


@each_case
def test_bounds_bracket_the_likelihood_on_average(case):
    """Conservative too low, optimistic too high, over 300 seeds with a bad base."""
    far = np.full((5, len(case.b)), 4.0 if case.rbm.visible.has_units else 1.0)
    truth, ends = case.log_p(far).mean(), []
    options = {"chains": 2, "temperatures": uniform_schedule(2)}
    for seed in range(300):
        result = gb.evaluate(case.rbm, far, "bridge", **options, generator=generator(seed))
        ends.append((result.conservative, result.optimistic))
    low, high = np.array(ends).T - truth
    reach = [quantile(2) * x.std() / np.sqrt(300) for x in (low, high)]
    assert low.mean() + reach[0] < 0 < high.mean() - reach[1]


@each_case
@each_method
def test_the_order_of_rows_does_not_matter(case, method):
    order = torch.randperm(len(case.data), generator=generator(1)).numpy()
    plain, mixed = (
        gb.evaluate(case.rbm, rows, method, **FEW, generator=generator())
        for rows in (case.data, case.data[order])
    )
    agree(mixed.rows.numpy(), plain.rows.numpy()[order], 1e-10)
    agree(mixed.log_likelihood, plain.log_likelihood, 1e-10)


@each_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_one_by_one(case, dtype):
    """Exactly, row by row as all at once; estimated, their free energies are the same."""
    whole = gb.evaluate(case.rbm, case.data)
    single = [gb.evaluate(case.rbm, row[None]) for row in torch.from_numpy(case.data).to(dtype)]
    tolerance = 1e-12 if dtype is torch.float64 else 1e-5
    agree([r.log_likelihood for r in single], whole.rows.numpy(), tolerance)
    whole = gb.evaluate(case.rbm, case.data, "bridge", **FEW, generator=generator())
    single = [gb.evaluate(case.rbm, row[None], "ais", **FEW) for row in case.data]
    scores = [r.rows[0].item() + r.log_partition.value for r in single]
    agree(scores, whole.rows.numpy() + whole.log_partition.value, 1e-12)


@each_case
@pytest.mark.parametrize("block_bytes", [1, 30, 100])
def test_rows_in_blocks(case, block_bytes, monkeypatch):
    whole = gb.evaluate(case.rbm, case.data).rows
    monkeypatch.setattr(monitors, "BLOCK_BYTES", block_bytes)
    agree(gb.evaluate(case.rbm, case.data).rows.numpy(), whole.numpy(), 1e-12)


@each_estimate
def test_a_row_that_comes_twice_scores_twice_the_same(method):
    twice = np.concatenate([CASE.data, CASE.data])
    result = gb.evaluate(CASE.rbm, twice, method, **FEW, generator=generator())
    agree(result.rows[:5].numpy(), result.rows[5:].numpy(), 1e-12)


def test_kinds_of_array():
    results = [
        gb.evaluate(CASE.rbm, data)
        for data in (CASE.data, CASE.data.tolist(), CASE.data.astype(bool), CASE.data[::-1][::-1])
    ]
    for result in results:
        agree(result.rows.numpy(), results[0].rows.numpy(), 0)


def test_one_row_says_nothing_about_the_spread_of_rows():
    assert gb.evaluate(CASE.rbm, CASE.data[:1]).rows_stderr == math.inf


@each_method
def test_the_generator_decides(method, monkeypatch):
    monkeypatch.setattr(gb.exact, "EXACT_STATES", 0)
    before = torch.get_rng_state()
    results = [
        gb.evaluate(CASE.rbm, CASE.data, method, **FEW, generator=generator(s)) for s in (1, 1, 2)
    ]
    assert torch.equal(results[0].rows, results[1].rows)
    assert results[0].stderr == results[1].stderr
    assert (results[0].log_likelihood == results[2].log_likelihood) == (method == "exact")
    assert torch.equal(torch.get_rng_state(), before)


def test_grey_data_are_drawn_once():
    """All rows score as states do, and as often as their probability says."""
    grey = torch.full((5000, 4), 0.3)
    result = gb.evaluate(CASE.rbm, grey, generator=generator())
    states = dict(zip(np.round(CASE.log_p(CASE.v), 9), CASE.v.sum(1), strict=True))
    ones = [states[x] for x in np.round(result.rows.numpy(), 9)]
    assert abs(np.mean(ones) / 4 - 0.3) < hoeffding(20_000)
    again = gb.evaluate(CASE.rbm, grey, generator=generator())
    assert torch.equal(again.rows, result.rows)


@each_method
def test_the_model_and_its_data_are_left_alone(method):
    rbm = random_rbm(gb.Bernoulli(4), 3, seed=0)
    data, before = torch.eye(4), [p.detach().clone() for p in rbm.parameters()]
    result = gb.evaluate(rbm, data, method, **FEW, generator=generator())
    assert all(torch.equal(x, p) for x, p in zip(before, rbm.parameters(), strict=True))
    assert all(p.grad is None for p in rbm.parameters())
    assert torch.equal(data, torch.eye(4))
    assert not result.rows.requires_grad
    plain = ("log_likelihood", "stderr", "lower", "upper", "rows_stderr")
    assert all(type(getattr(result, name)) is float for name in plain)


@each_method
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(2, 3), "3 columns .* 4 units.*last axis"),
        (torch.zeros(0, 4), r"shape \(0, 4\).*at least one row"),
        (torch.zeros(4), r"shape \(4,\).*expected \(rows, 4\)"),
        (torch.full((2, 4), 7.0), "7 at row 1, column 1.*rescale"),
        ([[0, 1], [1]], "different lengths"),
        ([["a"] * 4], "real numbers"),
    ],
)
def test_unfit_data(method, data, message):
    with pytest.raises(gb.DataError, match=message):
        gb.evaluate(CASE.rbm, data, method)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_too_large_to_square(dtype):
    """Finite, but their squares are not: refused by row."""
    rbm, data = gb.RBM(gb.Gaussian(2), gb.Bernoulli(2)).to(dtype), torch.zeros(3, 2).double()
    data[1, 0] = 1e200
    with pytest.raises(gb.DataError, match=r"row 2 .* is inf.*rescale"):
        gb.evaluate(rbm, data)
    data[1, 0] = 1e30
    assert gb.evaluate(rbm, data).log_likelihood < -1e58


@each_method
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_parameters_that_are_not_finite(method, value):
    rbm = random_rbm(gb.Bernoulli(4), 3, seed=0).requires_grad_(False)
    rbm.weight[0, 0] = value
    with pytest.raises(gb.NonFiniteWeightError, match=r"weight is not finite.*smaller"):
        gb.evaluate(rbm, CASE.data, method)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "annealing"}, "method='annealing': expected one of auto, exact"),
        ({"chains": 1}, "chains=1: .*at least 2"),
        ({"temperatures": 1}, "temperatures=1: .*at least 2"),
        ({"temperatures": torch.tensor([0.0, 0.7, 0.3, 1.0])}, "from 0.7 to 0.3"),
        ({"temperatures": torch.tensor([0.0, 0.7, 0.9])}, "from 0 to 0.9"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(gb.ArgumentError, match=message):
        gb.evaluate(CASE.rbm, CASE.data, **options)


def test_too_large_for_exact():
    rbm = gb.RBM(gb.Bernoulli(40), gb.Bernoulli(30))
    with pytest.raises(gb.TooLargeError, match=r"Bernoulli\(30\).*method='bridge'"):
        gb.evaluate(rbm, torch.zeros(1, 40), "exact")


OPTIONS = st.one_of(st.integers(-1, 4), st.booleans(), st.floats(), st.none(), st.text(max_size=2))


@given(
    method=st.one_of(st.sampled_from(["auto", "exact", *ESTIMATES]), OPTIONS),
    chains=OPTIONS,
    temperatures=OPTIONS,
)
def test_any_options_work_or_are_refused_by_name(method, chains, temperatures):
    options = {"method": method, "chains": chains, "temperatures": temperatures}
    result, message = outcome(
        lambda: gb.evaluate(CASE.rbm, CASE.data, **options, generator=generator())
    )
    if message is not None:
        assert any(f"{name}=" in message for name in options)
        return
    assert {type(chains), type(temperatures)} == {int}
    assert math.isfinite(result.log_likelihood)
