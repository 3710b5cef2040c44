"""log Z of every method against enumeration, quadrature and closed forms; bounds, verdicts, errors.

An estimate must come within as many of its standard errors as a normal one would but once in a
million, plus, in float32, the rounding of the sums it consists of.
"""

import copy
import math

import numpy as np
import pytest
import torch
from montecarlo import FAILURE, quantile
from oracle import (
    Case,
    agree,
    arrays,
    bernoulli_case,
    bernoulli_log_z,
    bits,
    gaussian_case,
    random_rbm,
)
from planted import opposite_patterns
from scipy.special import logsumexp
from scipy.stats import binom, t

import gibbsite as gb
from gibbsite.likelihood import (
    Path,
    partition,
    salakhutdinov_murray_schedule,
    temperatures_within,
    uniform_schedule,
)
from gibbsite.likelihood.annealing import Walk
from gibbsite.sampling import Conditionals

BINARY = {"bernoulli 0": bernoulli_case(0), "bernoulli 1": bernoulli_case(1)}
REAL = {
    "shared sigma": gaussian_case(0.7, learn_sigma=False),
    "sigma a unit": gaussian_case([0.6, 1.3], learn_sigma=False),
    "learned sigma": gaussian_case([0.6, 1.3], learn_sigma=True),
}
CASES = BINARY | REAL
CASE = BINARY["bernoulli 0"]

ESTIMATES = ["ais", "reverse-ais", "bridge"]
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_estimate = pytest.mark.parametrize("method", ESTIMATES)
each_method = pytest.mark.parametrize("method", ["auto", "exact", *ESTIMATES])
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(case: Case, dtype: torch.dtype = torch.float64) -> gb.RBM:
    """A copy of the case's model."""
    return copy.deepcopy(case.rbm).to(dtype)


@pytest.fixture
def markov_starts(monkeypatch):
    """As in a model too large to enumerate, reverse runs start from Markov chains."""
    monkeypatch.setattr(gb.exact, "EXACT_STATES", 0)


def assert_near(result: gb.LogPartition, truth: float, slack: float = 1e-9) -> None:
    assert 0 < result.stderr < 0.2
    assert abs(result.value - truth) < quantile() * result.stderr + slack


@each_case
@each_dtype
@each_estimate
@pytest.mark.parametrize("known_data", [False, True])
def test_against_enumeration_and_quadrature(case, dtype, method, known_data):
    data = torch.from_numpy(case.data) if known_data else None
    rbm = model(case, dtype)
    result = gb.log_partition(rbm, method, data=data, temperatures=100, generator=generator())
    assert_near(result, np.log(case.z()), 1e-5 if dtype is torch.float32 else 1e-9)
    assert result.method == method


@each_case
@each_estimate
def test_from_markov_chains(case, method, markov_starts):
    result = gb.log_partition(case.rbm, method, temperatures=200, generator=generator(1))
    assert_near(result, np.log(case.z()))


@each_case
@pytest.mark.parametrize("method", ["auto", "exact"])
def test_exact(case, method):
    result = gb.log_partition(case.rbm, method)
    agree([result.value, result.lower, result.upper], [np.log(case.z())] * 3)
    assert (result.stderr, result.ess, result.method) == (0.0, math.inf, "exact")
    assert (result.forward, result.reverse, result.verdict) == (None, None, "trustworthy")


def test_auto_bridges_what_is_too_large_to_enumerate(markov_starts):
    result = gb.log_partition(CASE.rbm, temperatures=200, generator=generator())
    assert result.method == "bridge"
    assert_near(result, np.log(CASE.z()))


def sum_over_hidden(rbm: gb.RBM, sigma: np.ndarray) -> float:
    """log Z of real visible units, v integrated in closed form for each of the 2^n_hidden h."""
    w, b, c = arrays(rbm)
    h = bits(len(c))
    quadratic = 0.5 * ((h @ (w.T @ w)) * h).sum(1)
    return float(
        logsumexp(h @ c + quadratic + h @ (w.T @ (b / sigma)))
        + np.log(sigma).sum()
        + 0.5 * len(b) * np.log(2 * np.pi)
    )


def wide_model(dtype: torch.dtype, learn_sigma: bool) -> tuple[gb.RBM, float]:
    """784 real and 15 binary units, and its log Z."""
    sigma = torch.linspace(0.5, 2.0, 784).double()
    rbm = random_rbm(gb.Gaussian(784, sigma, learn_sigma), 15, seed=0).requires_grad_(False)
    rbm.weight.mul_(0.1)
    rbm.hidden.bias.copy_(-0.5 * (rbm.weight**2).sum(0))
    return rbm.to(dtype), sum_over_hidden(rbm, rbm.visible.sigma.double().numpy())


@pytest.mark.parametrize(("dtype", "learn_sigma"), [(torch.float32, True), (torch.float64, False)])
@each_estimate
def test_784_real_units_and_15_hidden_ones(dtype, learn_sigma, method):
    rbm, truth = wide_model(dtype, learn_sigma)
    result = gb.log_partition(rbm, method, temperatures=150, generator=generator())
    # float32: numbers near 1,000 are right to 1e-4, each of 150 steps to 1e-5
    assert_near(result, truth, 1e-9 if dtype is torch.float64 else 2e-3)


@each_estimate
def test_real_units_on_both_sides(method):
    """A Gaussian in v and h together: log Z from the determinant of its precision."""
    rbm = gb.RBM(gb.Gaussian(3), gb.Gaussian(2)).double().requires_grad_(False)
    for parameter, scale in ((rbm.weight, 0.3), (rbm.visible.bias, 1.0), (rbm.hidden.bias, 1.0)):
        noise = torch.randn(parameter.shape, generator=generator(3), dtype=torch.float64)
        parameter.copy_(scale * noise)
    w, b, c = arrays(rbm)
    precision = np.block([[np.eye(3), -w], [-w.T, np.eye(2)]])
    assert np.linalg.eigvalsh(precision)[0] > 0.1
    mean = np.concatenate([b, c])
    truth = 0.5 * (
        5 * np.log(2 * np.pi)
        - np.linalg.slogdet(precision)[1]
        + mean @ np.linalg.solve(precision, mean)
        - mean @ mean
    )
    result = gb.log_partition(rbm, method, temperatures=200, generator=generator())
    assert_near(result, truth)


@each_dtype
@each_estimate
@pytest.mark.parametrize("visible", [gb.Bernoulli, gb.Gaussian])
def test_a_model_without_weights(visible, dtype, method):
    """n log 2, or n/2 log 2 pi, a side; from a base that is off, and from one that is right."""
    rbm = gb.RBM(visible(6), gb.Bernoulli(3)).to(dtype)
    side = math.log(2) if visible is gb.Bernoulli else 0.5 * math.log(2 * math.pi)
    truth, slack = 6 * side + 3 * math.log(2), 1e-9 if dtype is torch.float64 else 1e-5
    off = gb.log_partition(rbm, method, temperatures=50, generator=generator())
    assert_near(off, truth, slack)
    balanced = torch.tensor([[0.0] * 6, [1.0] * 6] if visible is gb.Bernoulli else [[0.0] * 6])
    right = gb.log_partition(rbm, method, data=balanced, temperatures=50, generator=generator())
    agree([right.value, right.stderr], [truth, 0.0], slack)


@each_estimate
@pytest.mark.parametrize(
    "schedule",
    [uniform_schedule(200), uniform_schedule(200).float(), torch.tensor([0, 0.5, 1])],
)
def test_schedules_that_are_given(method, schedule):
    result = gb.log_partition(CASE.rbm, method, temperatures=schedule, generator=generator())
    assert_near(result, np.log(CASE.z()))
    run = (result.forward or result.reverse).run
    assert len(run.betas) == len(schedule) - 1


def test_the_published_schedule_runs():
    result = gb.log_partition(
        model(CASE, torch.float32),
        "ais",
        chains=10,
        temperatures=salakhutdinov_murray_schedule(),
        generator=generator(),
    )
    assert len(result.forward.run.betas) == 14_500
    assert_near(result, np.log(CASE.z()), 1e-4)


def test_directions_and_what_a_bridge_makes_of_them():
    result = gb.log_partition(CASE.rbm, "bridge", temperatures=20, generator=generator())
    log_z0 = result.forward.value - (
        torch.logsumexp(result.forward.run.log_weights, 0).item() - math.log(100)
    )
    for direction, sign in ((result.forward, 1), (result.reverse, -1)):
        w = np.exp(direction.run.log_weights.numpy())
        agree(direction.value, log_z0 + sign * np.log(w.mean()))
        agree(direction.stderr, w.std(ddof=1) / w.mean() / 10)
        agree(direction.ess, w.sum() ** 2 / (w**2).sum())
        agree(direction.spread, np.log(w).std())
        assert 0.5 < direction.bootstrap / direction.stderr < 2
    assert result.stderr < min(result.forward.stderr, result.reverse.stderr)
    reach = t.ppf(0.975, result.ess - 1) * result.stderr
    unseen = -math.log(0.025) / 100  # the starts are 100 exact draws
    agree(result.lower, result.value - reach, 1e-3 * reach)
    agree(result.upper, result.value + reach + unseen, 1e-3 * reach)
    assert result.reverse.run.betas[-1] == 0
    assert result.forward.run.betas[-1] == 1


@pytest.mark.parametrize("visible", [gb.Bernoulli(5), gb.Gaussian(5, sigma=0.5)])
def test_bounds_hold_on_average(visible):
    """With few chains and temperatures: forward too low, reverse too high, the truth between."""
    rbm = random_rbm(visible, 4, seed=0, scale=2.0).requires_grad_(False)
    if visible.has_units:
        rbm.weight.mul_(0.25)
        truth = sum_over_hidden(rbm, np.full(5, 0.5))
    else:
        truth = bernoulli_log_z(*arrays(rbm))
    ends = []
    for seed in range(300):
        result = gb.log_partition(
            rbm,
            "bridge",
            data=torch.eye(5),
            chains=2,
            temperatures=uniform_schedule(3),
            generator=generator(seed),
        )
        ends.append((result.forward.value, result.reverse.value, result.value))
    low, high, between = np.array(ends).T - truth
    reach = [quantile(2) * x.std() / np.sqrt(300) for x in (low, high)]
    assert low.mean() + reach[0] < 0 < high.mean() - reach[1]
    assert low.mean() < between.mean() < high.mean()


@each_estimate
def test_intervals_hold_the_truth(method):
    """In 200 runs, as often as the binomial distribution allows for a share of 95%."""
    held, truth = 0, np.log(CASE.z())
    for seed in range(200):
        result = gb.log_partition(
            CASE.rbm,
            method,
            data=torch.from_numpy(CASE.data),
            temperatures=uniform_schedule(20),
            generator=generator(seed),
        )
        held += result.lower <= truth <= result.upper
    low, high = (binom.ppf(q, 200, 0.95) for q in (FAILURE / 2, 1 - FAILURE / 2))
    assert low <= held <= high


def two_modes(depth: float) -> tuple[gb.RBM, torch.Tensor]:
    """Two opposite patterns of equal mass, so many nats deep; and rows of one of them alone."""
    rbm, rows = opposite_patterns(3, depth)
    return rbm.double(), rows.double()


@pytest.mark.parametrize("depth", [40.0, 80.0, 160.0])
def test_two_modes_that_the_base_sees_unequally(depth):
    """Forward AIS misses half of Z, with a good ESS and a tiny error; the bridge says so."""
    rbm, rows = two_modes(depth)
    truth = gb.exact.log_partition(rbm).item()
    result = gb.log_partition(rbm, "bridge", data=rows, temperatures=200, generator=generator())
    assert result.forward.value + 5 * result.forward.stderr < truth - 0.5
    assert result.forward.ess > 50
    assert "forward and reverse disagree by" in result.verdict
    assert "use more temperatures" in result.verdict


@pytest.mark.parametrize("seed", range(5))
def test_a_mode_that_few_chains_find(seed):
    """At 20 nats few walks cross over, or none: no trust, or the right figure."""
    rbm, rows = two_modes(20.0)
    truth = gb.exact.log_partition(rbm).item()
    result = gb.log_partition(rbm, "bridge", data=rows, temperatures=200, generator=generator(seed))
    if result.verdict == "trustworthy":
        assert_near(result, truth)


@pytest.mark.parametrize("depth", [40.0, 160.0])
def test_two_modes_from_markov_chains(depth, markov_starts):
    """The two groups of chains each stay where they began; forward walks find only one."""
    rbm, rows = two_modes(depth)
    result = gb.log_partition(rbm, "bridge", data=rows, temperatures=200, generator=generator())
    assert "forward and reverse disagree by" in result.verdict


@pytest.mark.parametrize("method", ["ais", "reverse-ais"])
def test_one_direction_alone_is_never_called_trustworthy(method):
    for rbm, rows in ((CASE.rbm, torch.from_numpy(CASE.data)), two_modes(40.0)):
        result = gb.log_partition(rbm, method, data=rows, temperatures=200, generator=generator())
        assert "one-sided" in result.verdict
        assert "method='bridge'" in result.verdict


def test_unequal_modes_make_reverse_weights_unequal():
    rbm, rows = two_modes(40.0)
    with torch.no_grad():
        rbm.visible.bias.sub_(0.5 * (2 * rows[0] - 1))  # the mode that data do not show wins
    result = gb.log_partition(
        rbm, "reverse-ais", data=rows, temperatures=200, generator=generator()
    )
    assert "reverse weights have an effective sample size" in result.verdict


def test_chains_that_do_not_mix_make_no_bound(markov_starts):
    """Two groups whose free energies differ for good."""
    rbm, rows = two_modes(40.0)
    with torch.no_grad():
        rbm.visible.bias.add_(0.5 * (2 * rows[0] - 1))
    result = gb.log_partition(
        rbm, "reverse-ais", data=rows, temperatures=200, generator=generator()
    )
    assert "did not start at equilibrium, so it is no bound" in result.verdict
    assert "split R-hat of the free energy" in result.verdict


@each_case
def test_a_model_that_behaves_is_trustworthy(case):
    result = gb.log_partition(case.rbm, "bridge", temperatures=200, generator=generator())
    assert result.problems == ()
    assert result.verdict == "trustworthy"


def test_a_model_that_behaves_is_trustworthy_from_markov_chains(markov_starts):
    result = gb.log_partition(CASE.rbm, "bridge", temperatures=300, generator=generator())
    assert result.verdict == "trustworthy"


def test_few_effective_chains_are_reported_on_either_side():
    """A base fitted to rows that the model never gives, and two steps to get there."""
    rbm = gb.RBM(gb.Bernoulli(20), gb.Bernoulli(2)).requires_grad_(False)
    rbm.visible.bias.fill_(2.0)
    options = {"data": torch.zeros(100, 20), "temperatures": torch.tensor([0, 0.5, 1])}
    verdict = gb.log_partition(rbm, "bridge", **options, generator=generator()).verdict
    for side in ("forward", "reverse"):
        assert f"{side} weights have an effective sample size of" in verdict
    assert "use more temperatures or chains" in verdict


@each_estimate
def test_the_generator_decides(method, markov_starts):
    before = torch.get_rng_state()
    results = [
        gb.log_partition(CASE.rbm, method, temperatures=20, generator=generator(seed))
        for seed in (1, 1, 2)
    ]
    assert results[0][:5] == results[1][:5]
    assert results[0].value != results[2].value
    assert torch.equal(torch.get_rng_state(), before)


@each_estimate
def test_the_order_of_data_rows_does_not_matter(method):
    """But for rounding in the means of h, as the base takes only means."""
    rows = torch.from_numpy(CASE.data)
    values = [
        gb.log_partition(CASE.rbm, method, data=data, temperatures=20, generator=generator()).value
        for data in (rows, rows.flip(0), rows[[2, 0, 4, 1, 3]], rows.float(), rows.tolist())
    ]
    assert values == pytest.approx([values[0]] * 5, abs=1e-9)


@each_estimate
def test_the_model_is_left_alone(method):
    rbm = model(CASE).requires_grad_(True)
    before = [p.detach().clone() for p in rbm.parameters()]
    result = gb.log_partition(rbm, method, temperatures=20, generator=generator())
    assert all(torch.equal(x, p) for x, p in zip(before, rbm.parameters(), strict=True))
    assert all(type(x) is float for x in (result.value, result.stderr, result.lower, result.ess))


def test_progress_sees_both_directions():
    seen = []
    result = gb.log_partition(
        CASE.rbm,
        "bridge",
        chains=7,
        temperatures=uniform_schedule(5),
        generator=generator(),
        progress=seen.append,
    )
    assert len(seen) == 10
    assert torch.equal(seen[4], result.forward.run.log_weights)
    assert torch.equal(seen[9], result.reverse.run.log_weights)


class Interrupt:
    """Progress that is interrupted at one of its calls."""

    def __init__(self, after: int):
        self.left = after

    def __call__(self, log_weights):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def test_an_interrupted_bridge_gives_the_forward_estimate():
    options = {"temperatures": uniform_schedule(20), "chains": 50}
    result = gb.log_partition(
        CASE.rbm, "bridge", **options, generator=generator(), progress=Interrupt(30)
    )
    forward = gb.log_partition(CASE.rbm, "ais", **options, generator=generator())
    assert result.value == forward.value
    assert result.reverse is None
    assert "interrupted before the reverse run was done" in result.verdict


@pytest.mark.parametrize("method", ["bridge", "ais"])
@pytest.mark.parametrize("after", [0, 7, 399])
def test_an_interrupted_forward_run_is_finished_in_haste(method, after):
    """Its weights are those of a shorter ladder: right on average, and said to be so."""
    result = gb.log_partition(
        CASE.rbm,
        method,
        temperatures=uniform_schedule(400),
        chains=4000,
        generator=generator(),
        progress=Interrupt(after),
    )
    betas = result.forward.run.betas
    assert len(betas) <= after + 1 + 50
    assert betas[-1] == 1.0
    assert f"interrupted after {after + 1} of 400 temperatures" in result.verdict
    assert result.reverse is None
    truth = gb.exact.log_partition(CASE.rbm).item()
    assert abs(result.value - truth) < quantile() * result.stderr


class Interrupted(Conditionals):
    """Conditionals of a path, one of whose moves is interrupted once it has spoilt its buffers."""

    def __init__(self, path: Path, after: int):
        super().__init__(path.rbm, (path.visible_inputs, path.hidden_inputs))
        self.left = after

    def draw_hidden(self, inputs, generator=None, beta=1.0):
        h = super().draw_hidden(inputs.clone(), generator, beta)
        self.left -= 1
        if self.left == -1:
            inputs.fill_(float("nan"))
        return h

    def draw_visible(self, inputs, generator=None, beta=1.0):
        if self.left == -1:
            inputs.fill_(float("nan"))
            raise KeyboardInterrupt
        return super().draw_visible(inputs, generator, beta)


@pytest.mark.parametrize("after", [0, 1, 5])
def test_an_interruption_within_a_step_spoils_nothing(after):
    path = Path.fit(CASE.rbm, generator=generator())
    start = path.start(50, generator())
    walk = Walk(path, uniform_schedule(10), start)
    kept = start.clone()
    vars(path)["conditionals"] = Interrupted(path, after)
    with pytest.raises(KeyboardInterrupt):
        walk.finish(generator())
    assert walk.steps == after
    assert torch.isfinite(walk.finish(generator()).log_weights).all()
    assert torch.equal(start, kept)


@pytest.mark.parametrize(("ahead", "steps"), [(10, 50), (50, 50), (51, 50), (99, 50), (7, 3)])
def test_a_short_cut_keeps_the_last_beta(ahead, steps):
    path = Path.fit(CASE.rbm, generator=generator())
    walk = Walk(path, uniform_schedule(ahead), path.start(2, generator()))
    walk.shorten(steps)
    assert (walk.schedule[0], walk.schedule[-1]) == (0.0, 1.0)
    assert 1 <= len(walk.schedule) - 1 <= steps
    assert set(walk.schedule) <= set(uniform_schedule(ahead).tolist())


def test_an_interruption_without_any_estimate_goes_through():
    with pytest.raises(KeyboardInterrupt):
        gb.log_partition(
            CASE.rbm,
            "reverse-ais",
            temperatures=uniform_schedule(20),
            generator=generator(),
            progress=Interrupt(3),
        )


@pytest.mark.parametrize("method", ["AIS", "", "exakt", None, 3])
def test_methods_that_are_none(method):
    with pytest.raises(gb.ArgumentError, match="expected one of auto, exact, ais") as error:
        gb.log_partition(CASE.rbm, method)
    assert f"method={method!r}" in str(error.value)


@each_method
@pytest.mark.parametrize("name", ["chains", "temperatures"])
@pytest.mark.parametrize("value", [1, 0, -1, 1.5, 20.0, True, "3", None, float("nan"), [0.0, 1.0]])
def test_counts_that_are_none(method, name, value):
    """One chain has no error, one temperature no path; refused whether needed or not."""
    with pytest.raises(gb.ArgumentError, match=f"{name}=.*whole number of at least 2") as error:
        gb.log_partition(CASE.rbm, method, **{name: value})
    assert repr(value) in str(error.value)


@each_method
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(2, 3), "3 columns .* 4 units"),
        (torch.zeros(0, 4), r"shape \(0, 4\)"),
        (torch.zeros(4), r"shape \(4,\)"),
        (torch.tensor([[0.0, 1, float("nan"), 0]]), "nan at row 1, column 3"),
        (torch.full((2, 4), 7.0), "7 at row 1, column 1"),
    ],
)
def test_unfit_data(method, data, message):
    with pytest.raises(gb.DataError, match=message):
        gb.log_partition(CASE.rbm, method, data=data)


@pytest.mark.parametrize("name", ["weight", "visible.bias", "hidden.bias"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@each_method
def test_parameters_that_are_not_finite(name, value, method):
    rbm = model(CASE)
    rbm.get_parameter(name).view(-1)[1] = value
    with pytest.raises(gb.NonFiniteWeightError, match=f"{name} is not finite.*smaller"):
        gb.log_partition(rbm, method, temperatures=uniform_schedule(3), generator=generator())


def test_log_z_beyond_single_precision():
    """It is a number, but what rounding may cost is beyond all bounds."""
    rbm = gb.RBM(gb.Gaussian(2), gb.Bernoulli(2)).requires_grad_(False)
    rbm.weight.fill_(1e30)
    result = gb.log_partition(rbm, "exact")
    assert math.isfinite(result.value)
    assert "rounding in float64" in result.verdict


def test_log_z_beyond_double_precision():
    rbm = gb.RBM(gb.Gaussian(2), gb.Bernoulli(2)).double().requires_grad_(False)
    rbm.weight.fill_(1e200)
    with pytest.raises(gb.NonFiniteWeightError, match=r"log Z is not finite.*float64.*smaller"):
        gb.log_partition(rbm, "exact")


@pytest.mark.parametrize("n", [26, 40, 2000])
def test_too_large_for_exact(n):
    rbm = gb.RBM(gb.Bernoulli(n), gb.Bernoulli(n))
    with pytest.raises(gb.TooLargeError, match=f"Bernoulli\\({n}\\)"):
        gb.log_partition(rbm, "exact")


def test_two_real_sides_are_not_countable():
    with pytest.raises(gb.TooLargeError, match=r"neither Gaussian\(2\) nor Gaussian\(3\)"):
        gb.log_partition(gb.RBM(gb.Gaussian(2), gb.Gaussian(3)), "exact")


class Clock:
    """A clock that moves on by a fixed number of seconds each time it is read."""

    def __init__(self, tick: float):
        self.time, self.tick = 0.0, tick

    def __call__(self) -> float:
        self.time += self.tick
        return self.time


@pytest.mark.parametrize(
    ("seconds", "temperatures"), [(60, 14_675), (1, 150), (0.1, 10), (1e-9, 10)]
)
def test_temperatures_within(seconds, temperatures, monkeypatch):
    """At 1 ms a step: 60,000 steps, less pilots (300, and 1000 or 100), over four; at least 10."""
    monkeypatch.setattr(partition.time, "perf_counter", Clock(0.05))
    assert temperatures_within(CASE.rbm, seconds) == pytest.approx(temperatures, abs=1)


def test_measuring_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    temperatures_within(CASE.rbm, 1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "1", None])
def test_seconds_that_are_none(value):
    with pytest.raises(gb.ArgumentError, match=r"seconds=.*above 0") as error:
        temperatures_within(CASE.rbm, value)
    assert repr(value) in str(error.value)


def test_chains_to_measure_that_are_none():
    with pytest.raises(gb.ArgumentError, match="chains=0"):
        temperatures_within(CASE.rbm, 1, 0)


def test_a_result_is_short_to_look_at():
    result = gb.log_partition(CASE.rbm, "bridge", temperatures=200, generator=generator())
    assert len(repr(result)) < 1000
    assert "100 chains, 200 temperatures" in repr(result)
