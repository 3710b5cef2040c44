"""TrajectoryAIS and its ladders: right within the error told, or silent; and it can go on."""

import copy
import math

import pytest
import torch
from oracle import random_rbm
from planted import opposite_patterns, planted

import gibbsite as gb
from gibbsite import sampling
from gibbsite.likelihood.exchange import exchange_estimate, record_exchanges
from gibbsite.likelihood.trajectory import TrajectoryAIS, measure, systematic

DATA = gb.datasets.load("digits")
GREY = 0.1 + 0.8 * DATA.test[:100]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniform_betas() -> list[float]:
    return [0.0, 0.25, 0.5, 0.75, 1.0]


def at_beta(path: sampling.Path, beta: float) -> gb.RBM:
    """The distribution of a path at beta, as a model of its own."""
    rung = copy.deepcopy(path.rbm)
    with torch.no_grad():
        rung.weight.mul_(beta)
        rung.visible.bias.add_(path.visible_inputs, alpha=1 - beta)
        rung.hidden.bias.add_(path.hidden_inputs, alpha=1 - beta)
    return rung


def check_shown(figures: dict[str, float], truth: float) -> bool:
    """Nothing is shown, or a figure that is right within four standard errors; which of both."""
    if not figures["ais_trusted"]:
        assert set(figures) == {"ais_trusted"}
        return False
    error = figures["ais_log_likelihood"] - truth
    assert abs(error) < 4 * figures["ais_stderr"] + 2e-3, (error, figures)  # float32 sums
    assert figures["ais_stderr"] <= 1
    return True


# the figure


@pytest.mark.parametrize("rate", [0.05, 1.0])
def test_the_figure_is_right_or_left_out_as_training_goes(rate):
    """At the higher rate chains mix slowly: in 20 epochs the weights grow to a norm above 40."""
    rbm, test = gb.RBM(gb.Bernoulli(64), gb.Bernoulli(8)), DATA.test.round()
    tracker = TrajectoryAIS(test, substeps=12, generator=generator(1), every=5)
    history = gb.fit(
        rbm,
        DATA.train,
        epochs=20,
        optimizer=torch.optim.SGD(rbm.parameters(), lr=rate),
        generator=generator(0),
        callbacks=[tracker, gb.Monitor(DATA.train, test)],
    )
    measured = [record for record in history.records if "ais_trusted" in record]
    assert [record["epoch"] for record in measured] == [5, 10, 15, 20]
    shown = 0
    for record in measured:
        figures = {name: x for name, x in record.items() if name.startswith("ais_")}
        shown += check_shown(figures, record["test_log_likelihood"])
    assert shown >= 3


@pytest.mark.parametrize("make", [gb.Bernoulli, lambda n: gb.Gaussian(n, learn_sigma=True)])
@pytest.mark.parametrize("seed", range(3))
def test_the_figure_is_right_for_any_model(make, seed):
    rbm = random_rbm(make(6), 5, seed=seed, scale=1.0)
    rows = gb.exact.sample(rbm, 50, generator(3))
    figures = TrajectoryAIS(rows, substeps=12, generator=generator(210 + seed))(rbm, {})
    assert check_shown(figures, gb.exact.log_likelihood(rbm, rows).mean().item())


SEVERAL_PHASES = [
    case
    for case in planted()
    if case.data is not None and case.family in ("opposite patterns", "ferromagnet", "Curie-Weiss")
][::12]


@pytest.mark.parametrize("case", SEVERAL_PHASES, ids=lambda case: case.family)
def test_phases_that_ladders_do_not_mix_are_not_believed(case):
    """Rows of one phase of two: ladders that start there carry rows, but not to the other."""
    measured = measure(case.rbm, case.data, 100, 25, generator(1))
    if not measured.problems:
        assert abs(measured.value - case.log_z) < 4 * measured.stderr + 0.05


def test_chains_that_do_not_travel_are_not_believed():
    rbm, rows = opposite_patterns(0, 160.0)
    rows = torch.cat([rows, 1 - rows])
    tracker = TrajectoryAIS(rows, substeps=1, generator=generator(0))
    assert tracker(rbm, {}) == {"ais_trusted": 0.0}
    assert "came from independent units to the model, fewer than 1" in tracker.problems[0]


def test_it_leaves_model_and_training_alone():
    models = []
    for callbacks in ([], [TrajectoryAIS(DATA.test, substeps=2, generator=generator(1))]):
        rbm = gb.RBM(gb.Bernoulli(64), gb.Bernoulli(4))
        gb.fit(rbm, DATA.train, epochs=2, generator=generator(0), callbacks=callbacks)
        models.append(rbm)
    assert torch.equal(models[0].weight, models[1].weight)


def test_epochs_between_are_left_out_and_free():
    rbm, tracker = random_rbm(gb.Bernoulli(5), 4, seed=0), TrajectoryAIS(GREY[:, :5], every=3)
    tracker.generator = generator(0)
    assert tracker(rbm, {"epoch": 2.0}) == {}
    before = tracker.generator.get_state()
    assert tracker(rbm, {"epoch": 4.0}) == {}
    assert torch.equal(tracker.generator.get_state(), before)
    assert "ais_trusted" in tracker(rbm, {"epoch": 6.0})


@pytest.mark.parametrize("bad", [{"chains": 0}, {"substeps": 0}, {"every": 0}])
def test_counts_are_checked(bad):
    with pytest.raises(gb.GibbsiteError):
        TrajectoryAIS(DATA.test, **bad)


# the ladder


def test_sweeps_leave_every_rung_as_it_is():
    """From exact draws at each rung: afterwards the means at each are those of exact draws."""
    rbm, n, betas = (
        random_rbm(gb.Bernoulli(4), 3, seed=1, scale=1.5),
        4000,
        [0.0, 0.25, 0.5, 0.75, 1.0],
    )
    means = torch.full((4,), 0.5).double()
    sampler = gb.Tempering(betas=betas)
    base = sampling.Path.of_means(rbm, means)
    rungs = [at_beta(base, beta) for beta in betas]
    rows = [gb.exact.sample(rung, n, generator(2)) for rung in rungs]
    state = sampling.TemperingState.at(rows, betas, means)
    state, record = record_exchanges(sampler, rbm, state, 12, generator(3))
    states = rbm.visible.states(0, 16)
    for rung, here in zip(rungs, [*state.below, state.v], strict=True):
        expected = gb.exact.log_likelihood(rung, states).exp()
        numbers = (here @ torch.tensor([1.0, 2.0, 4.0, 8.0]).double()).long()
        found = torch.bincount(numbers, minlength=16) / n
        # of 16 shares the distance is at most sqrt(16 / n) / 2 on average
        assert 0.5 * (found - expected).abs().sum() < math.sqrt(16 / n)
    estimate = exchange_estimate(record)
    truth = gb.exact.log_partition(rungs[-1]) - gb.exact.log_partition(rungs[0])
    assert abs(estimate.value - truth.item()) < 4 * estimate.stderr
    assert estimate.stderr < 0.02
    assert abs(estimate.drift) < 8 * estimate.stderr
    assert abs(estimate.by_start) < 8 * estimate.stderr
    assert record.trips.double().mean() > 0.3  # 4 exchanges up take at least 4 of 12 sweeps


def test_the_error_is_that_of_repetitions():
    """Standard deviation of 30 estimates against the error each tells: within its own error."""
    rbm = random_rbm(gb.Bernoulli(6), 4, seed=2, scale=1.5)
    path, betas = (
        sampling.Path.of_means(rbm, torch.full((6,), 0.5).double()),
        [0, 0.25, 0.5, 0.75, 1],
    )
    sampler, values, errors = gb.Tempering(betas=betas), [], []
    for seed in range(30):
        g = generator(seed)
        rows = [path.start(10, g) for _ in betas]
        state = sampling.TemperingState.at(rows, betas, path.means)
        state, _ = record_exchanges(sampler, rbm, state, 20, g)
        estimate = exchange_estimate(record_exchanges(sampler, rbm, state, 80, g)[1])
        values.append(estimate.value)
        errors.append(estimate.stderr)
    spread = torch.tensor(values).std().item()
    told = torch.tensor(errors).square().mean().sqrt().item()
    assert 0.6 < spread / told < 1.6  # 30 values: 13%, and 9 degrees of freedom each: 5%


def test_resampling_takes_rows_by_their_share():
    share = torch.softmax(torch.linspace(-2, 2, 1000, dtype=torch.float64), 0)
    counts = torch.bincount(systematic(share, generator(0)), minlength=1000)
    assert ((counts - 1000 * share).abs() < 1).all()


def test_too_few_sweeps_are_told():
    rbm, rows = random_rbm(gb.Bernoulli(6), 5, seed=0), torch.zeros(10, 6)
    problems = measure(rbm, rows, 20, 1, generator(0)).problems
    assert any("use more substeps" in problem for problem in problems)


# going on


def test_a_state_goes_on_with_the_same_numbers_and_grey_data():
    rbm = random_rbm(gb.Bernoulli(64), 5, seed=0)
    whole, first, second = (
        TrajectoryAIS(GREY, substeps=3, generator=generator(seed)) for seed in (1, 1, 2)
    )
    whole(rbm, {})
    first(rbm, {})
    second.load_state_dict(first.state_dict())
    assert second(rbm, {}) == whole(rbm, {})
    assert torch.equal(second.data, whole.data)


def test_a_state_from_before_the_first_epoch_is_empty():
    tracker = TrajectoryAIS(GREY)
    assert tracker.state_dict() == {}
    tracker.load_state_dict({})


@pytest.mark.parametrize(
    "state",
    [
        {"start": torch.zeros(3)},
        {"start": torch.zeros(3), "now": torch.zeros(3)},
        {"start": "a", "now": 1.0},
        {"start": torch.zeros(10**6, dtype=torch.uint8), "now": None},
    ],
)
def test_a_state_that_is_none_is_refused(state):
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        TrajectoryAIS(GREY, generator=generator(0)).load_state_dict(state)
