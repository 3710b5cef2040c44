"""Annealing against sums over all walks: weights, moves, order of update, rates, schedules.

The points of a path are written out here from the definition, as tables over every v and h. A sum
over all walks of a chain is a product of such tables, so the moments of the weights are known
exactly; the draws must agree within tolerances computed from their number. Walks and moves that
are wrong on purpose must not.
"""

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from montecarlo import (
    FAILURE,
    assert_mean,
    hoeffding,
    quantile,
    state_numbers,
    total_variation,
    tv_floor,
)
from oracle import Case, agree, bernoulli_case, gaussian_case, random_rbm
from scipy.special import logsumexp
from scipy.stats import chi2

import gibbsite as gb
from gibbsite.likelihood import (
    Path,
    adapted_schedule,
    anneal,
    overlap_schedule,
    salakhutdinov_murray_schedule,
    uniform_schedule,
)
from gibbsite.likelihood.annealing import check_schedule
from gibbsite.sampling import Conditionals

CHAINS = 100_000
BINARY = {"seed 0": bernoulli_case(0), "seed 1": bernoulli_case(1)}
REAL = {
    "shared sigma": gaussian_case(0.7, learn_sigma=False),
    "sigma a unit": gaussian_case([0.6, 1.3], learn_sigma=True),
}
CASES = BINARY | REAL

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_binary = pytest.mark.parametrize("case", BINARY.values(), ids=BINARY)
each_real = pytest.mark.parametrize("case", REAL.values(), ids=REAL)
each_beta = pytest.mark.parametrize("beta", [0.0, 0.3, 0.8, 1.0])


def move(path, inputs, beta, generator):
    """One move as a walk makes it, from inputs of the hidden units, which stay as they are."""
    model = path.conditionals
    h = model.draw_hidden(inputs.clone(), generator, beta)
    return model.draw_visible(model.visible_inputs(h), generator, beta)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def path_of(case: Case, kind: type[Path] = Path, **options) -> Path:
    """A path whose base is far from fitted, so that no term of it can hide."""
    f, g = torch.tensor([1.0, -1.0, 1.0, -1.0]), torch.tensor([2.0, -2.0, 2.0])
    return kind(case.rbm, f[: len(case.b)].double(), g.double(), **options)


def statistic(case: Case, v: np.ndarray) -> np.ndarray:
    return v / case.sigma if "visible.log_sigma" in case.theta else v


def log_joint(case: Case, path: Path, beta: float, v: np.ndarray | None = None) -> np.ndarray:
    """-E_beta of rows of v, by default all, with every h: the definition of the path."""
    v = case.v if v is None else v
    f, g = path.visible_inputs.numpy(), path.hidden_inputs.numpy()
    base = (statistic(case, v) @ f)[:, None] + case.h @ g
    return (1 - beta) * base - case.energy(v, case.theta | {"weight": beta * case.w})


def log_z(case: Case, path: Path, beta: float) -> float:
    return float(logsumexp(log_joint(case, path, beta)) + np.log(case.cell))


def joint(case: Case, path: Path, beta: float) -> np.ndarray:
    """p(v, h) at beta; over v that are real, of grid cells."""
    table = log_joint(case, path, beta)
    return np.exp(table - logsumexp(table))


def kernel(p: np.ndarray) -> np.ndarray:
    """p(v' | v) of a Gibbs sweep, from the table p(v, h)."""
    return (p / p.sum(1, keepdims=True)) @ (p / p.sum(0)).T


def exact_draws(case: Case, path: Path, beta: float, n: int, seed: int = 0) -> torch.Tensor:
    """Independent v at beta: from the table, or h from it and then v by the normal density."""
    p, g = torch.from_numpy(joint(case, path, beta)), generator(seed)
    if "visible.log_sigma" not in case.theta:
        return torch.from_numpy(case.v)[torch.multinomial(p.sum(1), n, True, generator=g)]
    h = case.h[torch.multinomial(p.sum(0), n, True, generator=g).numpy()]
    inputs = beta * h @ case.w.T + (1 - beta) * path.visible_inputs.numpy()
    noise = torch.randn(inputs.shape, generator=g, dtype=torch.float64).numpy()
    return torch.from_numpy(case.b + case.sigma * (inputs + noise))


@each_case
def test_the_base_is_independent_units(case):
    path = path_of(case)
    agree(path.log_partition_at_zero(), log_z(case, path, 0.0))


@each_case
def test_the_path_ends_at_the_model(case):
    path = path_of(case)
    agree(log_z(case, path, 1.0), np.log(case.z()))


@each_case
@pytest.mark.parametrize(("old", "new"), [(0.0, 1.0), (0.2, 0.3), (1.0, 0.6), (0.5, 0.5)])
def test_log_ratio(case, old, new):
    path, v = path_of(case), torch.from_numpy(case.data)
    marginals = [logsumexp(log_joint(case, path, beta, case.data), 1) for beta in (old, new)]
    ratio = path.log_ratio(v, case.rbm.hidden_inputs(v), old, new)
    agree(ratio.numpy(), marginals[1] - marginals[0])


@each_case
def test_log_ratio_in_single_precision(case):
    path = path_of(case)
    single = Path(
        copy.deepcopy(case.rbm).float(), path.visible_inputs.float(), path.hidden_inputs.float()
    )
    ratios = []
    for p in (path, single):
        v = torch.from_numpy(case.data).to(p.rbm.weight)
        ratios.append(p.log_ratio(v, p.rbm.hidden_inputs(v), 0.2, 0.7))
        assert ratios[-1].dtype == torch.float64
    agree(ratios[1].numpy(), ratios[0].numpy(), 1e-5)  # sums of some 10 terms below 10, at 1e-7


@each_binary
def test_the_fitted_base_has_the_means_of_the_data(case):
    path = Path.fit(case.rbm, case.data)
    means = (case.data.sum(0) + 0.5) / (len(case.data) + 1)
    agree(joint(case, path, 0.0).sum(1) @ case.v, means)
    hidden = case.rbm.hidden_mean(torch.from_numpy(case.data)).detach().numpy()
    expected = (hidden.sum(0) + 0.5) / (len(case.data) + 1)
    agree(joint(case, path, 0.0).sum(0) @ case.h, expected)


@each_real
def test_the_fitted_base_of_real_units_has_the_means_of_the_data(case):
    path = Path.fit(case.rbm, case.data)
    means = case.data.mean(0)
    agree(joint(case, path, 0.0).sum(1) @ case.v, means)
    hidden = case.rbm.hidden_mean(torch.from_numpy(case.data)).detach().numpy()
    expected = (hidden.sum(0) + 0.5) / (len(case.data) + 1)
    agree(joint(case, path, 0.0).sum(0) @ case.h, expected)


@each_binary
def test_without_data_the_base_has_the_means_of_the_model(case):
    path = Path.fit(case.rbm, generator=generator())
    means = joint(case, path, 0.0).sum(1) @ case.v
    deviation = np.abs(means - case.p_v @ case.v).max()
    assert deviation < hoeffding(100, comparisons=4) + 0.5 / 101  # 100 chains and half a count


def test_fitting_leaves_the_model_alone():
    case = BINARY["seed 0"]
    before = copy.deepcopy(case.rbm.state_dict())
    Path.fit(case.rbm, case.data)
    assert all(torch.equal(before[name], value) for name, value in case.rbm.state_dict().items())


@each_binary
def test_starts_follow_the_base(case):
    path = path_of(case)
    numbers = state_numbers(path.start(CHAINS, generator()))
    p = joint(case, path, 0.0).sum(1)
    assert total_variation(numbers, p) < tv_floor(p, CHAINS)


@each_real
def test_starts_of_real_units_follow_the_base(case):
    path = path_of(case)
    v, p = path.start(CHAINS, generator()).numpy(), joint(case, path, 0.0).sum(1)
    assert_mean(v, p @ case.v)
    assert_mean((v - p @ case.v) ** 2, p @ (case.v - p @ case.v) ** 2)


def faded(inputs, base, beta):
    """How the base gives way to the weights."""
    return beta * inputs + (1 - beta) * base


@dataclass(frozen=True)
class Rewritten(Path):
    """A path whose conditionals are written out here, by rules that may be wrong."""

    to_hidden: Callable = faded
    to_visible: Callable = faded

    @property
    def conditionals(self):
        return Rules(self)


class Rules(Conditionals):
    """Conditionals of a `Rewritten` path."""

    def __init__(self, path):
        super().__init__(path.rbm)
        self.path = path

    def draw_hidden(self, inputs, generator=None, beta=1.0):
        inputs = self.path.to_hidden(inputs, self.path.hidden_inputs, beta)
        return self.rbm.hidden.sample(inputs, generator)

    def draw_visible(self, inputs, generator=None, beta=1.0):
        inputs = self.path.to_visible(inputs, self.path.visible_inputs, beta)
        return self.rbm.visible.sample(inputs, generator)


RULES = {
    "no base": lambda inputs, base, beta: beta * inputs,
    "full base": lambda inputs, base, beta: beta * inputs + base,
    "ends exchanged": lambda inputs, base, beta: faded(inputs, base, 1 - beta),
}
FULL = {side: lambda inputs, base, beta: inputs for side in ("to_hidden", "to_visible")}
MISTAKES = {
    f"{name}, {side}": {side: rule}
    for name, rule in RULES.items()
    for side in ("to_hidden", "to_visible")
} | {"the model at every beta": FULL}
each_mistake = pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)


def moved(case: Case, path: Path, beta: float, v: torch.Tensor) -> torch.Tensor:
    return move(path, case.rbm.hidden_inputs(v), beta, generator(1))


@each_binary
@each_beta
@pytest.mark.parametrize("kind", [Path, Rewritten])
def test_a_move_keeps_its_distribution(case, beta, kind):
    path = path_of(case, kind)
    v, p = exact_draws(case, path, beta, CHAINS), joint(case, path, beta).sum(1)
    after = state_numbers(moved(case, path, beta, v))
    assert total_variation(after, p) < tv_floor(p, CHAINS)


@each_binary
@each_mistake
def test_a_wrong_move_is_noticed(case, mistake):
    path, excess = path_of(case, Rewritten, **mistake), []
    for beta in (0.3, 0.8):
        v, p = exact_draws(case, path, beta, CHAINS), joint(case, path, beta).sum(1)
        after = state_numbers(moved(case, path, beta, v))
        excess.append(total_variation(after, p) / tv_floor(p, CHAINS))
    assert max(excess) > 1


@each_binary
@each_beta
def test_a_move_is_reversible(case, beta):
    """Both v before and v after follow the symmetric table p(v) p(v' | v)."""
    path = path_of(case)
    v, p = exact_draws(case, path, beta, CHAINS), joint(case, path, beta)
    flow = p.sum(1)[:, None] * kernel(p)
    agree(flow, flow.T)
    pairs = state_numbers(v) * len(flow) + state_numbers(moved(case, path, beta, v))
    assert total_variation(pairs, flow.ravel()) < tv_floor(flow.ravel(), CHAINS)


def assert_real_units_follow(case: Case, path: Path, beta: float, v: np.ndarray) -> None:
    """p(h), by p(h | v), and the mean and variance of v against quadrature."""
    p = joint(case, path, beta)
    mean = p.sum(1) @ case.v
    assert_mean(v, mean)
    assert_mean((v - mean) ** 2, p.sum(1) @ (case.v - mean) ** 2)
    table = log_joint(case, path, beta, v)
    given_v = np.exp(table - logsumexp(table, axis=1, keepdims=True))
    deviation = np.abs(given_v.mean(0) - p.sum(0)).max()
    assert deviation < hoeffding(len(v), comparisons=len(case.h))


@each_real
@each_beta
@pytest.mark.parametrize("kind", [Path, Rewritten])
def test_a_move_of_real_units_keeps_its_distribution(case, beta, kind):
    path = path_of(case, kind)
    v = exact_draws(case, path, beta, 20_000)
    assert_real_units_follow(case, path, beta, moved(case, path, beta, v).numpy())


@each_real
@each_mistake
def test_a_wrong_move_of_real_units_is_noticed(case, mistake):
    path = path_of(case, Rewritten, **mistake)
    after = moved(case, path, 0.8, exact_draws(case, path, 0.8, 20_000))
    with pytest.raises(AssertionError):
        assert_real_units_follow(case, path, 0.8, after.numpy())


def log_weights(path, betas, v, generator):
    return anneal(path, betas, v, generator).log_weights


def moved_first(path, betas, v, generator):
    """The planted mistake: it weighs after the move."""
    total = torch.zeros(len(v), dtype=torch.float64)
    for old, new in itertools.pairwise(betas.tolist()):
        v = move(path, path.rbm.hidden_inputs(v), new, generator)
        total += path.log_ratio(v, path.rbm.hidden_inputs(v), old, new)
    return total


def rewritten(path, betas, v, generator):
    """The same loop in the right order."""
    total = torch.zeros(len(v), dtype=torch.float64)
    for old, new in itertools.pairwise(betas.tolist()):
        total += path.log_ratio(v, path.rbm.hidden_inputs(v), old, new)
        v = move(path, path.rbm.hidden_inputs(v), new, generator)
    return total


FEW = uniform_schedule(4)


def works(walk, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """l - log Z_1/Z_0 of walks forwards, and of reverse walks as seen forwards."""
    path = path_of(case)
    d = log_z(case, path, 1.0) - log_z(case, path, 0.0)
    up = walk(path, FEW, exact_draws(case, path, 0.0, CHAINS), generator(2)).numpy()
    v = exact_draws(case, path, 1.0, CHAINS, seed=3)
    down = walk(path, FEW.flip(0), v, generator(4)).numpy()
    return up - d, -down - d


def assert_unbiased(walk, case: Case) -> None:
    """E[w] = Z_1/Z_0 forwards and E[w] = Z_0/Z_1 in reverse."""
    up, down = works(walk, case)
    assert_mean(np.exp(up)[:, None], [1.0])
    assert_mean(np.exp(-down)[:, None], [1.0])


def assert_crooks(walk, case: Case) -> None:
    """E_F[f(l) e^(l-d)] = E_R[f(l)] and E_F[f(l)] = E_R[f(l) e^(d-l)] for f that cut l off."""
    up, down = works(walk, case)
    cuts = np.quantile(np.concatenate([up, down]), np.linspace(0.1, 0.9, 9))
    below, above = up[:, None] < cuts, up[:, None] >= cuts
    forward = np.hstack([below * np.exp(up)[:, None], above])
    below, above = down[:, None] < cuts, down[:, None] >= cuts
    reverse = np.hstack([below, above * np.exp(-down)[:, None]])
    assert_mean(forward - reverse, np.zeros(forward.shape[1]))  # pairs are independent


@each_case
@pytest.mark.parametrize("walk", [log_weights, rewritten])
@pytest.mark.parametrize("check", [assert_unbiased, assert_crooks])
def test_weights_obey_both_directions(case, walk, check):
    check(walk, case)


@each_case
@pytest.mark.parametrize("check", [assert_unbiased, assert_crooks])
def test_weighing_after_the_move_is_noticed(case, check):
    with pytest.raises(AssertionError, match="off by"):
        check(moved_first, case)


@each_binary
def test_moves_at_the_wrong_beta_are_noticed(case):
    def move_at_the_end(path, betas, v, generator):
        total = torch.zeros(len(v), dtype=torch.float64)
        for old, new in itertools.pairwise(betas.tolist()):
            total += path.log_ratio(v, path.rbm.hidden_inputs(v), old, new)
            v = move(path, path.rbm.hidden_inputs(v), betas[-1].item(), generator)
        return total

    for check in (assert_unbiased, assert_crooks):
        with pytest.raises(AssertionError, match="off by"):
            check(move_at_the_end, case)


def moments(case: Case, path: Path, betas: torch.Tensor) -> np.ndarray:
    """E[l], E[l^2], E[w], E[w^2] over all walks that start exactly: products of tables."""
    schedule = betas.tolist()
    p = joint(case, path, schedule[0]).sum(1)
    zeroth, first, second, weight, square = p, 0 * p, 0 * p, p, p
    for old, new in itertools.pairwise(schedule):
        after, before = (logsumexp(log_joint(case, path, beta), 1) for beta in (new, old))
        gain, step = after - before, kernel(joint(case, path, new))
        second = (second + 2 * gain * first + gain**2 * zeroth) @ step
        first = (first + gain * zeroth) @ step
        zeroth = zeroth @ step
        weight, square = (weight * np.exp(gain)) @ step, (square * np.exp(2 * gain)) @ step
    return np.array([x.sum() for x in (first, second, weight, square)])


def assert_moments(walk, case: Case, betas: torch.Tensor) -> None:
    path = path_of(case)
    v = exact_draws(case, path, betas[0].item(), CHAINS)
    draws = walk(path, betas, v, generator(5)).numpy()
    columns = np.stack([draws, draws**2, np.exp(draws), np.exp(2 * draws)], 1)
    assert_mean(columns, moments(case, path, betas))


PARTIAL = torch.tensor([0.3, 0.5, 0.9], dtype=torch.float64)
WALKS = {"up": FEW, "down": FEW.flip(0), "part of the way": PARTIAL}
each_walk = pytest.mark.parametrize("betas", WALKS.values(), ids=WALKS)


@each_binary
@each_walk
def test_weights_have_the_moments_of_all_walks(case, betas):
    assert_moments(log_weights, case, betas)
    path = path_of(case)
    ratio = np.exp(log_z(case, path, betas[-1].item()) - log_z(case, path, betas[0].item()))
    agree(moments(case, path, betas)[2], ratio)  # the oracle keeps Neal's identity


@each_binary
@each_walk
def test_other_moments_are_noticed(case, betas):
    with pytest.raises(AssertionError, match="off by"):
        assert_moments(moved_first, case, betas)


@each_case
def test_from_the_target_all_weights_are_one(case):
    """Betas that stay at the target: however long the walk, no weight and no variance."""
    run = anneal(
        path_of(case), torch.ones(20), exact_draws(case, path_of(case), 1.0, 50), generator()
    )
    assert not run.log_weights.any()
    assert not run.increments.any()


@pytest.mark.parametrize("visible", [gb.Bernoulli(5), gb.Gaussian(5, sigma=0.5)])
def test_a_base_that_is_the_target_gives_no_variance(visible):
    rbm = random_rbm(visible, 3, seed=0).requires_grad_(False)
    rbm.weight.zero_()
    path = Path(rbm, torch.zeros(5).double(), torch.zeros(3).double())
    run = anneal(path, uniform_schedule(50), path.start(100, generator()), generator())
    assert not run.log_weights.any()
    agree(path.log_partition_at_zero(), gb.exact.log_partition(rbm).item())


def slope(x: np.ndarray, y: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """Least-squares slope of y over x and its standard error, from those of independent y."""
    share = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    return float(share @ y), float(np.sqrt((share**2) @ errors**2))


@each_binary
@pytest.mark.parametrize("reverse", [False, True])
def test_variance_falls_as_one_over_temperatures(case, reverse):
    """The slope is -1; the exact one says how far these few temperatures are from the limit."""
    path, variances, errors, exact = path_of(case), [], [], []
    counts = np.array([16, 32, 64, 128, 256])
    for n in counts:
        betas = uniform_schedule(int(n))
        betas = betas.flip(0) if reverse else betas
        v = exact_draws(case, path, betas[0].item(), 2000, seed=int(n))
        draws = anneal(path, betas, v, generator(int(n))).log_weights.numpy()
        squares = (draws - draws.mean()) ** 2
        variances.append(squares.mean())
        errors.append(squares.std() / squares.mean() / np.sqrt(len(draws)))
        first, second, *_ = moments(case, path, betas)
        exact.append(second - first**2)
    found, error = slope(np.log(counts), np.log(variances), np.array(errors))
    expected, _ = slope(np.log(counts), np.log(exact), np.zeros(5))
    assert abs(expected + 1) < 0.1
    assert abs(found - expected) < quantile() * error < 0.25


def test_error_falls_as_the_square_root_of_chains():
    """Spread of log Z over groups of n chains, against sqrt(Var w / n) from all walks."""
    case = BINARY["seed 0"]
    path, betas = path_of(case), uniform_schedule(30)
    d = log_z(case, path, 1.0) - log_z(case, path, 0.0)
    *_, weight, square = moments(case, path, betas)
    v = exact_draws(case, path, 0.0, CHAINS)
    draws = anneal(path, betas, v, generator(6)).log_weights.numpy() - d
    for n in (100, 400, 1600):
        groups = draws[: CHAINS // n * n].reshape(-1, n)
        estimates = logsumexp(groups, 1) - np.log(n)
        ratio = estimates.var(ddof=1) / ((square / weight**2 - 1) / n)
        freedom = len(groups) - 1
        low, high = (chi2.ppf(q, freedom) / freedom for q in (FAILURE / 2, 1 - FAILURE / 2))
        # the delta method leaves out terms of order Var w / n, at most 0.01 here
        assert 0.99 * low < ratio < 1.01 * high


def test_a_walk_reports_itself():
    """Increments, profile and progress against the weights that progress saw."""
    path, betas, seen = path_of(BINARY["seed 0"]), uniform_schedule(6), []
    run = anneal(path, betas, path.start(9, generator()), generator(), seen.append)
    history = torch.stack([torch.zeros(9).double(), *seen])
    assert torch.equal(run.betas, betas[1:])
    assert torch.equal(history[-1], run.log_weights)
    agree(run.profile.numpy(), history[1:].mean(1).numpy(), 1e-12)
    agree(run.increments.numpy(), history.diff(dim=0).var(1).numpy(), 1e-9)
    agree(run.variances.numpy(), history[1:].var(1).numpy(), 1e-9)
    assert run.v.shape == (9, 4)


def test_the_last_v_is_not_yet_at_the_last_beta():
    """After one step it is the start itself."""
    path = path_of(BINARY["seed 0"])
    v = path.start(9, generator())
    assert torch.equal(anneal(path, uniform_schedule(1), v, generator()).v, v)


def test_one_chain_has_no_variance():
    path = path_of(BINARY["seed 0"])
    run = anneal(path, FEW, path.start(1, generator()), generator())
    assert not run.increments.any()
    assert not run.variances.any()
    assert run.log_weights.shape == (1,)


def test_the_generator_decides_a_walk():
    path = path_of(BINARY["seed 0"])
    before = torch.get_rng_state()
    runs = [
        anneal(path, FEW, path.start(20, generator(s)), generator(s)).log_weights for s in (1, 1, 2)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    schedules = [adapted_schedule(path, 10, generator(s)) for s in (1, 1, 2)]
    assert torch.equal(schedules[0], schedules[1])
    assert not torch.equal(schedules[0], schedules[2])
    Path.fit(path.rbm, generator=generator())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite(value):
    rbm = random_rbm(gb.Bernoulli(4), 3, seed=0).requires_grad_(False)
    path = Path.fit(rbm, torch.eye(4))
    rbm.weight[1, 2] = value
    with pytest.raises(gb.NonFiniteWeightError, match=r"not finite.*float64.*smaller"):
        anneal(path, FEW, path.start(10, generator()), generator())
    with pytest.raises(gb.NonFiniteWeightError):
        adapted_schedule(path, 10, generator())


def test_weights_beyond_single_precision():
    """Overflow in float32 is refused with a remedy that works; `log_partition` itself takes it."""
    rbm = gb.RBM(gb.Gaussian(2), gb.Bernoulli(2)).requires_grad_(False)
    rbm.weight.fill_(1e30)
    path = Path.fit(rbm, torch.ones(2, 2), generator())
    with pytest.raises(gb.NonFiniteWeightError, match=r"float32.*double"):
        anneal(path, FEW, path.start(10, generator()), generator())
    for model in (rbm, copy.deepcopy(rbm).double()):
        wide = gb.log_partition(model, "ais", data=torch.ones(2, 2), generator=generator())
        assert np.isfinite(wide.value)
        assert "rounding in float64" in wide.verdict


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_uniform_schedule(n):
    agree(uniform_schedule(n).numpy(), np.arange(n + 1) / n, 1e-12)
    assert uniform_schedule(n).dtype == torch.float64


def test_the_published_schedule():
    """500 temperatures up to 0.5, 4,000 up to 0.9, 10,000 up to 1."""
    betas = salakhutdinov_murray_schedule().numpy()
    assert len(betas) - 1 == 14_500
    assert (betas[0], betas[500], betas[4500], betas[-1]) == (0.0, 0.5, 0.9, 1.0)
    steps = np.diff(betas)
    for part, step in ((steps[:500], 1e-3), (steps[500:4500], 1e-4), (steps[4500:], 1e-5)):
        np.testing.assert_allclose(part, step, rtol=1e-9)
    assert torch.equal(check_schedule(torch.from_numpy(betas)), torch.from_numpy(betas))


def speeds(case: Case, path: Path, betas: torch.Tensor) -> np.ndarray:
    """Standard deviation under p(v) of each step's gain, from the tables."""
    found = []
    for old, new in itertools.pairwise(betas.tolist()):
        p = joint(case, path, old).sum(1)
        after, before = (logsumexp(log_joint(case, path, beta), 1) for beta in (new, old))
        gain = after - before
        found.append(np.sqrt(p @ gain**2 - (p @ gain) ** 2))
    return np.array(found)


@pytest.mark.parametrize("make", [overlap_schedule, adapted_schedule])
@pytest.mark.parametrize("temperatures", [2, 10, 200, 1000])
def test_adapted_schedules_rise_from_0_to_1(make, temperatures):
    betas = make(path_of(BINARY["seed 0"]), temperatures, generator())
    assert len(betas) == temperatures + 1
    assert torch.equal(check_schedule(betas), betas)


@each_binary
def test_neighbours_overlap_alike(case):
    """The exact deviations of its steps are equal, up to what a pilot of 100 chains can see.

    A standard deviation from 100 chains is right to the factor that chi-squared gives, weights
    with heavy tails aside; the floor of 5% of the mean adds at most that much.
    """
    path = path_of(case)
    betas = overlap_schedule(path, 40, generator())
    adapted, equal = speeds(case, path, betas), speeds(case, path, uniform_schedule(40))
    low, high = (np.sqrt(chi2.ppf(q, 99) / 99) for q in (FAILURE / 200, 1 - FAILURE / 200))
    assert adapted.max() / adapted.min() < 1.05 * high / low
    assert adapted.std() / adapted.mean() < 0.5 * equal.std() / equal.mean()


def strangers() -> gb.RBM:
    """Four pairs of one visible and one hidden unit, weight 9: slow once beta is well above 0."""
    rbm = gb.RBM(gb.Bernoulli(4), gb.Bernoulli(4)).double().requires_grad_(False)
    rbm.weight.copy_(9.0 * torch.eye(4))
    rbm.visible.bias.fill_(-4.5)
    rbm.hidden.bias.fill_(-4.5)
    return rbm


def test_slow_mixing_is_given_more_steps():
    """Against steps that overlap alike, log weights vary less and the slow end gets more steps.

    Variances of 4,000 log weights, a few nats wide, are right to 1/sqrt(2000) or so each.
    """
    path = Path.fit(strangers(), torch.eye(4).double())
    found = {}
    for make in (overlap_schedule, adapted_schedule):
        betas = make(path, 400, generator())
        run = anneal(path, betas, path.start(4000, generator()), generator())
        found[make] = (run.log_weights.var().item(), (betas > 0.7).double().mean().item())
    (plain, plain_end), (adapted, adapted_end) = found.values()
    assert adapted < (1 - 5 / math.sqrt(2000)) * plain
    assert adapted_end > plain_end


def test_adapted_schedule_keeps_overlap():
    """No stretch of the way gets less than a quarter of the steps that equal overlap gives it."""
    path = path_of(BINARY["seed 0"])
    plain, adapted = (make(path, 200, generator()) for make in (overlap_schedule, adapted_schedule))
    marks = plain[::20].contiguous()
    steps = torch.searchsorted(adapted, marks).diff()
    assert int(steps.min()) >= 5


def test_adapted_schedule_without_weights_is_nearly_uniform():
    """A pilot that sees no variance at all has nothing to adapt to."""
    rbm = gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2)).requires_grad_(False)
    path = Path(rbm, torch.zeros(3), torch.zeros(2))
    agree(adapted_schedule(path, 10, generator()).numpy(), np.arange(11) / 10)


@pytest.mark.parametrize("value", [0, -1, 1.5, 2.0, True, "3", None])
def test_temperatures_that_are_none(value):
    for make in (uniform_schedule, lambda n: adapted_schedule(path_of(BINARY["seed 0"]), n)):
        with pytest.raises(gb.ArgumentError, match=r"temperatures=.*whole number") as error:
            make(value)
        assert repr(value) in str(error.value)


@pytest.mark.parametrize(
    ("betas", "message"),
    [
        ([], r"shape \(0,\).*at least 3"),
        ([1.0], r"shape \(1,\).*at least 3"),
        ([0.0, 1.0], r"shape \(2,\).*at least 3"),
        ([[0.0, 0.5, 1.0]], r"shape \(1, 3\).*one row"),
        ([0.0, 0.5, 0.9], "from 0 to 0.9.*from 0 to 1"),
        ([0.1, 0.5, 1.0], "from 0.1 to 1.*from 0 to 1"),
        ([1.0, 0.5, 0.0], "from 1 to 0.*from 0 to 1"),
        ([0.0, 0.6, 0.4, 1.0], "from 0.6 to 0.4 at entry 2.*rise"),
        ([0.0, 0.5, 0.5, 1.0], "from 0.5 to 0.5 at entry 2.*rise"),
        ([0.0, float("nan"), 1.0], "from 0 to nan at entry 1.*rise"),
        ([0.0, 2.0, 1.0], "from 2 to 1 at entry 2.*rise"),
    ],
)
def test_schedules_that_are_none(betas, message):
    rbm = BINARY["seed 0"].rbm
    for method in ("ais", "exact"):  # wrong is wrong, needed or not
        with pytest.raises(gb.ArgumentError, match=message):
            gb.log_partition(rbm, method, temperatures=torch.tensor(betas))
