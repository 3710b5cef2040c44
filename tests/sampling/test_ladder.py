"""Replica exchange by exact-start stationarity, planted faults, exact rejection and trip rates.

Every rung of every ladder starts at an independent exact draw of its own distribution, so after
any number of steps it holds independent draws of it again. A fault is a ladder that is wrong on
purpose.
"""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from montecarlo import assert_mean, quantile
from replicas import (
    CHAINS,
    FINITE,
    NAN,
    TWO_MODES,
    assert_alike,
    base_of,
    generator,
    randomized,
    rejection,
    started,
    stepped,
    tempered,
    two_modes,
)
from scipy.interpolate import PchipInterpolator

import gibbsite as gb
from gibbsite.likelihood.weights import balance_point
from gibbsite.sampling import Conditionals, Path
from gibbsite.sampling.ladder import Pairs, Passages, equal_parts, exchange_and_move
from gibbsite.sampling.tempering import Temperatures
from gibbsite.sampling.trajectory import Models

BETAS = [0.0, 0.3, 0.6, 0.8, 1.0]
STEPS = 6

each_finite = pytest.mark.parametrize("case", FINITE.values(), ids=FINITE)


def temperatures(case, seed=0, *, scale=1.0, chains=CHAINS, kind=Temperatures, clamp=None):
    """A ladder of betas from a base at random, and log p*(v) of its rungs."""
    rbm = case.model(seed, scale)
    base = base_of(rbm, seed)
    masses = [case.log_mass(rbm, beta, base) for beta in BETAS]
    return kind(Path(rbm, *base, clamp), BETAS, chains), masses


def models(case, seed=0, *, scale=1.0, chains=CHAINS, kind=Models, clamp=None):
    """A ladder of models on the way from one to another, the first without weights; log p*(v)."""
    start, end = case.model(seed + 1, scale), case.model(seed, scale)
    rungs = [mixture(start, end, share) for share in (0.3, 0.5, 0.8, 1.0)]
    rungs[0].weight.zero_()
    masses = [case.log_mass(rbm) for rbm in rungs]
    return kind([Conditionals(rbm, clamp=clamp) for rbm in rungs]), masses


def mixture(start: gb.RBM, end: gb.RBM, share: float) -> gb.RBM:
    """A model whose parameters lie between those of two."""
    rbm = copy.deepcopy(end)
    for parameter, other in zip(rbm.parameters(), start.parameters(), strict=True):
        parameter.lerp_(other, 1 - share)
    return rbm


each_ladder = pytest.mark.parametrize("make", [temperatures, models])


def worst(case, ladder, masses, steps=STEPS, seed=0):
    """Largest total variation of a rung over its floor, after exact starts."""
    g, tables = generator(seed), [case.p(mass) for mass in masses]
    rows = stepped(ladder, [case.draws(p, CHAINS, g) for p in tables], steps)
    return max(case.far(v, p) for v, p in zip(rows, tables, strict=True))


@each_finite
@each_ladder
@pytest.mark.parametrize("steps", [1, 6])
def test_every_rung_keeps_its_distribution(case, make, steps):
    assert worst(case, *make(case), steps) < 1


@pytest.mark.parametrize("seed", [3, 4])
@each_ladder
def test_every_rung_keeps_its_distribution_for_other_models(make, seed):
    case = FINITE["bernoulli"]
    assert worst(case, *make(case, seed)) < 1


@each_ladder
def test_one_row_of_clamps_conditions_every_rung(make):
    case, clamp = FINITE["bernoulli"], torch.tensor([NAN, 1, NAN, 0]).double()
    ladder, masses = make(case, clamp=clamp[None])
    g, tables = generator(), [case.p(mass, clamp) for mass in masses]
    rows = stepped(ladder, [case.draws(p, CHAINS, g) for p in tables], STEPS)
    assert max(case.far(v, p) for v, p in zip(rows, tables, strict=True)) < 1


PATTERNS = torch.tensor([[NAN, 1, NAN, 0], [1, NAN, NAN, NAN], [NAN] * 4, [0, NAN, 1, 1]]).double()


def worst_of_patterns(ladder, masses, case, n):
    """Largest total variation over its floor, of chains clamped by each pattern on each rung."""
    tables = [[case.p(mass, pattern) for pattern in PATTERNS] for mass in masses]
    g = generator()
    start = [torch.cat([case.draws(p, n, g) for p in own]) for own in tables]
    return max(
        case.far(part, p)
        for v, own in zip(stepped(ladder, start, STEPS), tables, strict=True)
        for part, p in zip(v.split(n), own, strict=True)
    )


@each_ladder
def test_chains_are_clamped_each_at_its_own_units(make):
    case, n = FINITE["bernoulli"], CHAINS // 4
    clamp = PATTERNS.repeat_interleave(n, 0)
    assert worst_of_patterns(*make(case, chains=4 * n, clamp=clamp), case, n) < 1


def test_clamps_of_other_chains_are_noticed():
    case, n = FINITE["bernoulli"], CHAINS // 4
    clamp = PATTERNS.repeat_interleave(n, 0)
    ladder, masses = temperatures(case, chains=4 * n, clamp=clamp)
    ladder.path = ladder.path.clamped(clamp.repeat_interleave(len(BETAS), 0))  # not rung by rung
    assert worst_of_patterns(ladder, masses, case, n) > 1


REAL = {
    "gaussian": (lambda: gb.Gaussian(3, sigma=0.7), lambda: gb.Bernoulli(3)),
    "sigma a unit": (lambda: gb.Gaussian(2, sigma=[0.6, 1.3]), lambda: gb.Spin(3)),
    "relu": (lambda: gb.Bernoulli(4), lambda: gb.ReLU(2)),
    "visible relu": (lambda: gb.ReLU(2), lambda: gb.Bernoulli(3)),
    "gaussian hidden": (lambda: gb.Bernoulli(4), lambda: gb.Gaussian(2)),
}


@pytest.mark.parametrize("layers", REAL.values(), ids=REAL)
@each_ladder
def test_real_units_keep_the_moments_of_every_rung(layers, make):
    visible, hidden = layers
    rungs = [randomized(gb.RBM(visible(), hidden()), seed, 0.7) for seed in range(4)]
    base = base_of(rungs[-1], 0)
    if make is temperatures:
        ladder = Temperatures(Path(rungs[-1], *base), BETAS, CHAINS)
        rungs = [tempered(rungs[-1], base, beta) for beta in BETAS]
    else:
        rungs[0].weight.zero_()
        ladder = Models([Conditionals(rbm) for rbm in rungs])
    g = generator(2)
    rows = stepped(ladder, [gb.exact.sample(rbm, CHAINS, generator=g) for rbm in rungs], STEPS)
    for rbm, v in zip(rungs, rows, strict=True):
        assert_alike(rbm, v, gb.exact.sample(rbm, CHAINS, generator=g))


# faults

SLOW = [0, 3]
"""Seeds of spin models in which sweeps are too slow to repair what a wrong exchange does."""


class ByModel(Temperatures):
    """Swaps on beta F(v) of the model, but moves at the tempered joint: the error of others."""

    def pairs(self, first, v, inputs):
        found, n = super().pairs(first, v, inputs), (len(v) - first) // 2
        free = self.path.rbm.free_energy(v[first : first + 2 * n]).view(n, 2, -1)
        step = self._beta[first + 1 : first + 2 * n : 2] - self._beta[first : first + 2 * n : 2]
        return found._replace(up=-step * free[:, 0], down=-step * free[:, 1])


def wrong(kind, change):
    """A kind of ladder whose pairs are changed, given first and the inputs of all rungs."""

    class Wrong(kind):
        def pairs(self, first, v, inputs):
            return change(super().pairs(first, v, inputs), first, inputs)

    return Wrong


def inverted(pairs, first, inputs):
    return pairs._replace(up=pairs.down, down=pairs.up)


def one_sided(pairs, first, inputs):
    """Of the lower row alone, as if a row were copied and not exchanged."""
    return pairs._replace(down=torch.zeros_like(pairs.down))


def h_of_the_other_rung(pairs, first, inputs):
    """A row that was exchanged has its h drawn at the rung that it left."""
    n = 2 * len(pairs.up)
    return pairs._replace(low=inputs[first + 1 : first + n : 2], high=inputs[first : first + n : 2])


def h_of_the_other_row(pairs, first, inputs):
    """A rung keeps the h of the row that left it."""
    n = 2 * len(pairs.up)
    return pairs._replace(low=inputs[first : first + n : 2], high=inputs[first + 1 : first + n : 2])


class Stale(Models):
    """Energies at the last rung by inputs of the model before the last update; h by the new."""

    def pairs(self, first, v, inputs):
        old = inputs.clone()
        old[-1] *= 0.5
        found, n = super().pairs(first, v, old), 2 * len(v[first:])
        return found._replace(low=super().pairs(first, v, inputs).low[: n // 2])


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (temperatures, ByModel),
        (temperatures, wrong(Temperatures, inverted)),
        (temperatures, wrong(Temperatures, one_sided)),
        (models, wrong(Models, inverted)),
        (models, wrong(Models, one_sided)),
        (models, wrong(Models, h_of_the_other_rung)),
        (models, Stale),
    ],
)
@pytest.mark.parametrize("seed", SLOW)
def test_a_wrong_ladder_is_noticed(make, kind, seed):
    assert worst(FINITE["spin"], *make(FINITE["spin"], seed, scale=2.0, kind=kind)) > 1


@each_ladder
@pytest.mark.parametrize("seed", SLOW)
def test_the_ladder_without_a_fault_passes(make, seed):
    assert worst(FINITE["spin"], *make(FINITE["spin"], seed, scale=2.0)) < 1


def test_the_wrong_swap_without_a_base_is_noticed():
    """In the form in which it is found: a path from uniform units, biases tempered as well."""
    case = FINITE["spin"]
    rbm = case.model(4, 2.0)
    base = tuple(-layer.bias for layer in (rbm.visible, rbm.hidden))
    masses = [case.log_mass(rbm, beta, base) for beta in BETAS]
    assert worst(case, Temperatures(Path(rbm, *base), BETAS, CHAINS), masses) < 1
    assert worst(case, ByModel(Path(rbm, *base), BETAS, CHAINS), masses) > 1


def deep(depth: float) -> gb.RBM:
    """6 units that are all 0 or all 1, and stay so for many sweeps."""
    rbm = gb.RBM(gb.Bernoulli(6), gb.Bernoulli(2)).double().requires_grad_(False)
    rbm.weight.fill_(depth)
    rbm.visible.bias.fill_(-depth)
    rbm.hidden.bias.fill_(-3 * depth)
    return rbm


@pytest.mark.parametrize("kind", [Models, wrong(Models, h_of_the_other_row)])
def test_an_exchange_moves_the_rows(kind):
    """Between rungs of one model every exchange is made; stationarity cannot see if none is."""
    rbm = deep(20.0)
    rows = [torch.zeros(100, 6).double(), torch.ones(100, 6).double()]
    low, high = stepped(kind([Conditionals(rbm)] * 2), rows, 1)
    moved = bool((low == 1).all() and (high == 0).all())
    assert moved == (kind is Models)


# the order of even and odd


def run(ladder, rows, steps, even_only=False, seed=3):
    """Replicas after steps, and the reports of all."""
    replicas, g, reports = started(rows), generator(seed), []
    for _ in range(steps):
        if even_only:
            replicas = replicas._replace(passages=replicas.passages._replace(sweeps=0))
        replicas, info = exchange_and_move(ladder, replicas, g)
        reports.append(info)
    return replicas, reports


@pytest.mark.parametrize("even_only", [False, True])
@each_ladder
def test_pairs_that_are_never_tested_let_no_row_reach_the_last_rung(make, even_only):
    case = FINITE["bernoulli"]
    ladder, masses = make(case, chains=200)
    g = generator()
    rows = [case.draws(case.p(mass), 200, g) for mass in masses]
    replicas, _ = run(ladder, rows, 100, even_only)
    assert bool(replicas.passages.trips.any()) != even_only


@pytest.mark.parametrize("rungs", [2, 3, 4, 5, 6])
def test_all_pairs_are_tested_by_turns(rungs):
    rows = [torch.zeros(3, 6).double()] * rungs
    replicas, reports = run(Models([Conditionals(deep(1.0))] * rungs), rows, 4)
    tested = [range(i.first, i.first + 2 * len(i.up), 2) for i in reports]
    odd = [1, 3, 5] if rungs > 2 else [0]
    expected = [[k for k in pairs if k < rungs - 1] for pairs in ([0, 2, 4], odd)]
    assert [list(pairs) for pairs in tested] == 2 * expected
    assert replicas.passages.age == replicas.passages.sweeps == 4


def test_passages_are_those_of_rows_followed_one_by_one():
    """Against a record that moves the index of each row and its last end about."""
    g, rungs, chains = generator(5), 5, 40
    passages = Passages.none(torch.zeros(chains, 1), rungs)
    fresh = np.zeros((rungs, chains), bool)
    fresh[0] = True
    trips = np.zeros(chains, int)
    for step in range(200):
        first = step % 2
        pairs = range(first, rungs - 1, 2)
        accepted = torch.rand(len(pairs), chains, generator=g) < 0.7
        for own, low in zip(accepted.numpy(), pairs, strict=True):
            fresh[low, own], fresh[low + 1, own] = fresh[low + 1, own], fresh[low, own].copy()
        trips += fresh[-1]
        fresh[-1], fresh[0] = False, True
        passages = passages.after(first, accepted, [0.3] * len(pairs))
        assert np.array_equal(torch.stack(passages.fresh).numpy(), fresh[:-1])
    assert np.array_equal(passages.trips.numpy(), trips)
    assert trips.min() > 0
    assert passages.rejections() == pytest.approx([0.3] * 4)
    assert passages.trip_rate() == trips.mean() / 200


# exact rates


def path_and_masses(rbm, betas, seed=0):
    base = base_of(rbm, seed)
    return Path(rbm, *base), [TWO_MODES.log_mass(rbm, beta, base) for beta in betas]


def exact_start(masses, n, seed=0):
    g = generator(seed)
    return [TWO_MODES.draws(TWO_MODES.p(mass), n, g) for mass in masses]


def test_rejection_rates_are_exact():
    """Of each pair the mean over chains, which are independent, of its rate over the steps."""
    betas, n, steps = [0.0, 0.2, 0.35, 0.5, 0.75, 1.0], 2000, 40
    path, masses = path_and_masses(two_modes(), betas)
    replicas, reports = run(Temperatures(path, betas, n), exact_start(masses, n), steps)
    expected = [rejection(*pair) for pair in itertools.pairwise(masses)]
    rates = [
        [1 - (i.up - i.down).clamp(max=0).exp() for i in reports if i.first == first]
        for first in (0, 1)
    ]
    per_chain = [torch.stack(own).mean(0).T for own in rates]
    assert_mean(per_chain[0], expected[::2])
    assert_mean(per_chain[1], expected[1::2])
    assert replicas.passages.rejections()[::2] == pytest.approx(per_chain[0].mean(0).tolist())
    assert replicas.passages.rejections()[1::2] == pytest.approx(per_chain[1].mean(0).tolist())


def trip_rates(rbm, betas, chains, steps, seed=0):
    """Trips a step of each chain, after as many steps again, and the rate of Syed et al. (2022)."""
    path, masses = path_and_masses(rbm, betas, seed)
    ladder, g = Temperatures(path, betas, chains), generator(7)
    replicas, before = started(exact_start(masses, chains)), torch.zeros(chains)
    for step in range(2 * steps):
        if step == steps:
            before = replicas.passages.trips
        replicas, _ = exchange_and_move(ladder, replicas, g)
    rates = [rejection(*pair) for pair in itertools.pairwise(masses)]
    limit = 1 / (2 + 2 * sum(r / (1 - r) for r in rates))
    return (replicas.passages.trips - before).double().numpy() / steps, limit


def test_trips_come_at_the_rate_of_rungs_that_forget_at_once():
    """Without weights a sweep is an independent draw on every rung, as the theory assumes."""
    rbm = two_modes()
    rbm.weight.zero_()
    found, limit = trip_rates(rbm, [0.0, 0.2, 0.5, 1.0], 1000, 300)
    assert 0.1 < limit < 0.45  # some exchanges are rejected
    assert_mean(found[:, None], [limit])


def test_trips_come_at_most_at_that_rate_where_sweeps_mix_well():
    found, limit = trip_rates(two_modes(0.6), np.linspace(0, 1, 8).tolist(), 1000, 200)
    assert limit < 0.4
    error = found.std() / math.sqrt(len(found))
    assert 0.65 * limit < found.mean() < limit + quantile() * error


# Bennett's acceptance ratio between neighbours


def bennett(reports, rungs):
    """log Z of the last rung less the first, and its standard error from 20 groups of chains."""

    def total(part: slice) -> float:
        steps = []
        for pair in range(rungs - 1):
            own = [i for i in reports if i.first == pair % 2]
            up, down = (
                torch.stack([getattr(i, side)[pair // 2, part] for i in own]).flatten()
                for side in ("up", "down")
            )
            steps.append(balance_point(up, down).item())
        return sum(steps)

    n = reports[0].up.shape[1] // 20
    groups = np.array([total(slice(k * n, (k + 1) * n)) for k in range(20)])
    return total(slice(None)), groups.std(ddof=1) / math.sqrt(20)


def assert_log_ratio(reports, masses):
    value, stderr = bennett(reports, len(masses))
    expected = np.logaddexp.reduce(masses[-1]) - np.logaddexp.reduce(masses[0])
    assert abs(value - expected) < 4 * stderr
    assert stderr < 0.02


def test_log_z_along_temperatures():
    betas = [0.0, 0.15, 0.3, 0.5, 0.75, 1.0]
    path, masses = path_and_masses(two_modes(), betas)
    rows = exact_start(masses, 2000)
    assert_log_ratio(run(Temperatures(path, betas, 2000), rows, 30)[1], masses)
    assert path.log_partition_at_zero() == pytest.approx(np.logaddexp.reduce(masses[0]))


def test_log_z_along_models():
    rungs = [two_modes(depth) for depth in (0.0, 0.5, 0.9, 1.2, 1.5)]
    masses = [TWO_MODES.log_mass(rbm) for rbm in rungs]
    ladder = Models([Conditionals(rbm) for rbm in rungs])
    assert_log_ratio(run(ladder, exact_start(masses, 2000), 30)[1], masses)


# the spacing


def squares(x):
    return np.asarray(x) ** 2


@pytest.mark.parametrize("parts", [1, 2, 5, 40])
def test_equal_parts_of_a_known_length(parts):
    """Of a length that is x^2, cut at square roots; the 1 % that no step is free turns it a bit."""
    ends = np.linspace(0, 1, 60)
    found = equal_parts(ends.tolist(), np.diff(squares(ends)).tolist(), parts)
    assert len(found) == parts + 1
    assert (found[0], found[-1]) == (0.0, 1.0)
    lengths = np.diff(0.99 * squares(found) + 0.01 * np.array(found)) / (1 / parts)
    assert np.abs(lengths - 1).max() < 0.02


def test_equal_parts_lie_on_a_monotone_cubic():
    """The cubic is SciPy's PCHIP at inner points of equal widths, within the inner intervals."""
    ends, lengths = np.linspace(0, 1, 9), np.array([0.1, 0.3, 0.9, 0.4, 0.2, 0.2, 0.6, 0.1])
    found = equal_parts(ends.tolist(), lengths.tolist(), 30)
    steps = lengths + 0.01 * lengths.mean()
    cubic = PchipInterpolator(ends, np.concatenate([[0], np.cumsum(steps)]))
    inner = np.array([(k, x) for k, x in enumerate(found) if ends[1] < x < ends[-2]])
    np.testing.assert_allclose(cubic(inner[:, 1]), inner[:, 0] / 30 * steps.sum(), atol=1e-6)


@pytest.mark.parametrize(
    "lengths", [[0.0] * 5, [0, 0, 1, 0, 0], [1e-300, 1, 1e-300, 1, 1], [1.0, 1e9, 1.0, 1e-9, 5.0]]
)
def test_equal_parts_rise_whatever_the_lengths(lengths):
    found = equal_parts([0.0, 0.1, 0.5, 0.6, 0.9, 1.0], lengths, 50)
    assert all(a < b for a, b in itertools.pairwise(found))
    assert (found[0], found[-1]) == (0.0, 1.0)


def test_pairs_of_one_rung_and_the_next_are_those_of_all_at_once():
    """Each pair alone: both log ratios from the energies, and the inputs of either rung."""
    case = FINITE["mixed"]
    g = generator()
    for make in (temperatures, models):
        ladder, masses = make(case, chains=20)
        rows = [case.draws(case.p(mass), 20, g) for mass in masses]
        v = torch.stack(rows)
        inputs = ladder.hidden_inputs(v)
        for first in (0, 1):
            pairs = ladder.pairs(first, v, inputs)
            assert isinstance(pairs, Pairs)
            for k, low in enumerate(range(first, len(v) - 1, 2)):
                change = masses[low + 1] - masses[low]
                index = [np.abs(x[:, None].numpy() - case.v).sum(2).argmin(1) for x in v[low:][:2]]
                np.testing.assert_allclose(pairs.up[k], change[index[0]], atol=1e-9)
                np.testing.assert_allclose(pairs.down[k], change[index[1]], atol=1e-9)
                torch.testing.assert_close(pairs.low[k], _inputs(ladder, low, v[low + 1]))
                torch.testing.assert_close(pairs.high[k], _inputs(ladder, low + 1, v[low]))


def _inputs(ladder, rung, v):
    model = ladder.rungs[rung] if isinstance(ladder, Models) else ladder.path.conditionals
    return model.rbm.hidden_inputs(v)
