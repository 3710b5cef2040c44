"""Tempering as a sampler: exact starts, adaptation, clamps, log Z, sparse columns, training."""

import itertools

import numpy as np
import pytest
import torch
from replicas import (
    CHAINS,
    FINITE,
    NAN,
    TWO_MODES,
    assert_alike,
    generator,
    randomized,
    rejection,
    tempered,
    two_modes,
)

import gibbsite as gb
from gibbsite.sampling import Path, TemperingState
from gibbsite.sampling.ladder import Passages
from gibbsite.sampling.tempering import FIRST_ROUND, Base
from gibbsite.testing import check_gradient, check_sampler

BETAS = [0.0, 0.3, 0.6, 0.8, 1.0]

each_finite = pytest.mark.parametrize("case", FINITE.values(), ids=FINITE)


def means_of(rbm):
    """Means v and h of a base other than the model's own."""
    return [layer.mean(layer.zero_inputs(1) + 0.5)[0] for layer in (rbm.visible, rbm.hidden)]


def base_at(rbm, means, hidden_means):
    path = Path.of_means(rbm, means, hidden_means)
    return path.visible_inputs, path.hidden_inputs


@each_finite
@pytest.mark.parametrize("by", ["step", "advance"])
def test_every_rung_keeps_its_distribution(case, by):
    rbm, sampler, g = case.model(5), gb.Tempering(betas=BETAS), generator()
    means = means_of(rbm)
    base = base_at(rbm, *means)
    tables = [case.p(case.log_mass(rbm, beta, base)) for beta in BETAS]
    state = TemperingState.at([case.draws(p, CHAINS, g) for p in tables], BETAS, *means)
    if by == "advance":
        state = sampler.advance(rbm, state, 7, g)
    for _ in range(7 if by == "step" else 0):
        state, _ = sampler.step(rbm, state, g)
    assert max(case.far(v, p) for v, p in zip([*state.below, state.v], tables, strict=True)) < 1


def test_real_units_keep_the_moments_of_every_rung():
    rbm = randomized(gb.RBM(gb.Gaussian(3, sigma=0.7), gb.Bernoulli(3)), 1, 0.8)
    sampler, g = gb.Tempering(betas=BETAS), generator()
    means = torch.tensor([0.5, -1, 2]).double(), torch.tensor([0.2, 0.5, 0.7]).double()
    rungs = [tempered(rbm, base_at(rbm, *means), beta) for beta in BETAS]
    rows = [gb.exact.sample(rung, CHAINS, g) for rung in rungs]
    state = TemperingState.at(rows, BETAS, *means)
    for _ in range(5):
        state, _ = sampler.step(rbm, state, g)
    for rung, v in zip(rungs, [*state.below, state.v], strict=True):
        assert_alike(rung, v, gb.exact.sample(rung, CHAINS, g))


def test_the_base_has_the_means_that_it_is_given():
    for name, case in FINITE.items():
        rbm = case.model(2)
        means = means_of(rbm)
        for layer, inputs, mean in zip(
            (rbm.visible, rbm.hidden), base_at(rbm, *means), means, strict=True
        ):
            found = layer.mean(inputs[None])[0]
            torch.testing.assert_close(found, mean, atol=1e-3, rtol=0, msg=name)


# adaptation


def test_spacing_makes_the_rejections_equal():
    """Exact rejection rates, by enumeration, at the betas that a run of 16 + ... + 128 found."""
    rbm, g = two_modes(1.2), generator()
    sampler = gb.Tempering(rungs=7)
    state = sampler.init(rbm, gb.exact.sample(rbm, 1000, g), g)
    state = sampler.advance(rbm, state, 16 + 32 + 64 + 128, g)
    assert state.rounds == 4
    base = base_at(rbm, *state.base[:2])
    masses = [TWO_MODES.log_mass(rbm, beta, base) for beta in state.betas]
    rates = np.array([rejection(*pair) for pair in itertools.pairwise(masses)])
    assert rates.mean() > 0.02
    assert np.abs(rates / rates.mean() - 1).max() < 0.1


def test_rungs_come_by_need():
    rbm, g = two_modes(4.0), generator()
    sampler = gb.Tempering(rungs=2)
    assert len(sampler.init(rbm, torch.zeros(5, 8), g).betas) == 2
    sampler = gb.Tempering()
    weak, strong = (
        sampler.advance(model, sampler.init(model, torch.zeros(50, 8), g), 100, g)
        for model in (two_modes(0.1), rbm)
    )
    assert len(weak.betas) == 3
    assert len(strong.betas) >= 2 * strong.barrier() > 2 * weak.barrier()
    for state in (weak, strong):
        assert state.rounds == 2
        state.check(rbm)
        assert len(state.below) == len(state.passages.fresh) == len(state.betas) - 1


def test_given_betas_stay():
    rbm, g = two_modes(), generator()
    sampler = gb.Tempering(betas=BETAS)
    state = sampler.advance(rbm, sampler.init(rbm, torch.zeros(5, 8), g), 2 * FIRST_ROUND, g)
    assert (state.betas, state.rounds, state.passages.sweeps) == (BETAS, 0, 2 * FIRST_ROUND)


# the contract of samplers and of gradients


@pytest.mark.parametrize("sampler", [gb.Tempering(), gb.Tempering(rungs=2)])
def test_it_keeps_the_contract_of_samplers(sampler):
    check_sampler(sampler, steps=15, chains=8000)


@each_finite
def test_it_keeps_the_contract_for_every_unit_type(case):
    check_sampler(gb.Tempering(rungs=4), [case.model(7)], chains=4000)


def test_it_keeps_the_contract_for_rectified_units():
    rbm = randomized(gb.RBM(gb.Bernoulli(3), gb.ReLU(2)), 3, 0.6)
    check_sampler(gb.Tempering(rungs=4), [rbm], chains=4000)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_columns_that_never_vary(dtype):
    """Data as sparse as one-hot tables, some columns all 0 or all 1: the base stays finite."""
    case, g = FINITE["bernoulli"], generator()
    data = torch.tensor([[0, 1, 0, 1], [0, 1, 0, 0], [0, 1, 0, 0]]).to(dtype).repeat(20, 1)
    rbm = case.model(1).to(dtype)
    sampler = gb.Tempering(data=data, rungs=5)
    state = sampler.init(rbm, data, g)
    state.check(rbm)
    means, _ = sampler.ladder(rbm, state).path.means
    assert ((means > 0) & (means < 1)).all()
    state, info = sampler.step(rbm, state, g)
    assert torch.isfinite(info.up).all()
    assert state.v.dtype == dtype
    check_sampler(gb.Tempering(data=data, rungs=5), [case.model(1)], chains=4000)


@pytest.mark.slow
def test_pcd_by_it_keeps_the_contract_of_gradients():
    check_gradient(gb.PCD(chains=100, sampler=gb.Tempering(rungs=3)))


# clamps


CLAMP = torch.tensor([[NAN, 1, NAN, 0]]).double()


def samplers():
    case = FINITE["bernoulli"]
    first = case.model(0)
    first.weight.zero_()
    return [gb.Gibbs(), gb.Tempering(rungs=3), gb.Trajectory(), gb.Trajectory([first])]


@pytest.mark.parametrize("index", range(4))
def test_samples_given_clamped_units(index):
    case, g = FINITE["bernoulli"], generator()
    rbm = case.model(0)
    p = case.p(case.log_mass(rbm), CLAMP[0])
    v = gb.sample(rbm, CHAINS, sampler=samplers()[index], steps=30, clamp=CLAMP, generator=g)
    assert (v[:, 1] == 1).all()
    assert (v[:, 3] == 0).all()
    assert case.far(v, p) < 1


@pytest.mark.parametrize("index", range(4))
def test_samples_given_a_row_of_clamps_for_each(index):
    case, g, n = FINITE["categorical"], generator(), 5000
    patterns = torch.full((2, 7), NAN).double()
    patterns[0, :3] = torch.tensor([0, 1, 0])
    patterns[1, 3:] = torch.tensor([1, 0, 0, 1])
    rbm = case.model(0)
    chosen = [gb.Gibbs(), gb.Tempering(), gb.Tempering(betas=BETAS), gb.Trajectory()][index]
    clamp = patterns.repeat_interleave(n, 0)
    v = gb.sample(rbm, 2 * n, sampler=chosen, steps=30, clamp=clamp, generator=g)
    for part, pattern in zip(v.split(n), patterns, strict=True):
        assert case.far(part, case.p(case.log_mass(rbm), pattern)) < 1


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize(
    ("clamp", "message"),
    [
        (torch.zeros(3, 4), "3 rows of clamped units for 5 chains"),
        (torch.zeros(1, 3), "3 columns"),
        (torch.full((1, 4), 2.0), r"2 at row 1"),
        (torch.full((1, 4), torch.inf), "infinity"),
        (torch.full((1, 4), 0.5), "states of binary units other than 0 and 1"),
        (torch.zeros(4), r"shape \(4,\): expected \(chains, 4\)"),
        (torch.zeros(0, 4), "0 rows"),
    ],
)
def test_clamps_that_do_not_fit_are_refused(index, clamp, message):
    rbm = FINITE["bernoulli"].model(0)
    with pytest.raises(gb.DataError, match=message):
        gb.sample(rbm, 5, sampler=samplers()[index], steps=2, clamp=clamp)


class Unclamped:
    """A sampler that knows of no clamps."""


def test_samplers_without_clamps_are_refused():
    with pytest.raises(gb.ArgumentError, match="no field clamp"):
        gb.sample(FINITE["bernoulli"].model(0), 5, sampler=Unclamped(), clamp=CLAMP)


# wrong arguments, hostile states


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rungs": 1}, "rungs=1"),
        ({"rungs": 2.5}, "rungs=2.5"),
        ({"betas": [0.0]}, "betas="),
        ({"betas": [0.0, 0.5]}, "betas="),
        ({"betas": [0.1, 1.0]}, "betas="),
        ({"betas": [0.0, 0.5, 0.5, 1.0]}, "betas="),
        ({"betas": [0.0, NAN, 1.0]}, "betas="),
        ({"betas": [0.0, 1.0], "rungs": 3}, "give only betas"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(gb.ArgumentError, match=message):
        gb.Tempering(**options)


V = torch.zeros(4, 4).double()

OF_PASSAGES = {
    "fresh short": {"fresh": [torch.ones(4, dtype=torch.bool)]},
    "fresh of numbers": {"fresh": [torch.ones(4)] * 2},
    "fresh of other rows": {"fresh": [torch.ones(3, dtype=torch.bool)] * 2},
    "fresh text": {"fresh": ["x", "y"]},
    "trips real": {"trips": torch.zeros(4)},
    "trips negative": {"trips": torch.full((4,), -1)},
    "trips of other rows": {"trips": torch.zeros(5, dtype=torch.int64)},
    "trips beyond the sweeps": {"trips": torch.full((4,), 10)},
    "trips none": {"trips": None},
    "age negative": {"age": -1},
    "age NaN": {"age": NAN},
    "age real": {"age": 9.5},
    "age endless": {"age": 10**400},
    "sweeps real": {"sweeps": 1.5},
    "sweeps NaN": {"sweeps": NAN},
    "sweeps beyond age": {"sweeps": 99},
    "sweeps true": {"sweeps": True},
    "rejected text": {"rejected": ["x", "y"]},
    "rejected NaN": {"rejected": [NAN, 0.0]},
    "rejected negative": {"rejected": [-1.0, 0.0]},
    "rejected more than all": {"rejected": [9.0, 0.0]},
    "rejected short": {"rejected": [0.0]},
}
OF_ROWS = {
    "v of 7": {"v": V + 7},
    "v short": {"v": V[:3]},
    "v float32": {"v": V.float()},
    "below NaN": {"below": [V, V * NAN]},
    "below of 0.5": {"below": [V, V + 0.5]},
    "below of other rows": {"below": [V, V[:2]]},
    "below of other columns": {"below": [V, torch.zeros(4, 3).double()]},
    "below float32": {"below": [V, V.float()]},
    "below text": {"below": ["x", V]},
    "below of lists": {"below": [V, [[0.0] * 4] * 4]},
    "below short": {"below": [V]},
    "below none": {"below": []},
}
BASE = Base(V[0] + 0.5, V[0, :3] + 0.5, V)
OF_LADDER = {
    "betas short": {"betas": [0.0, 1.0]},
    "betas text": {"betas": [0.0, "x", 1.0]},
    "betas NaN": {"betas": [0.0, NAN, 1.0]},
    "betas not rising": {"betas": [0.0, 1.0, 1.0]},
    "betas from 0.1": {"betas": [0.1, 0.5, 1.0]},
    "betas of tensors": {"betas": [torch.tensor(0.0), torch.tensor(0.5), torch.tensor(1.0)]},
    "means NaN": {"base": BASE._replace(means=V[0] * NAN)},
    "means of 2": {"base": BASE._replace(means=V[0] + 2)},
    "means short": {"base": BASE._replace(means=V[0, :2])},
    "means a table": {"base": BASE._replace(means=V)},
    "means none": {"base": BASE._replace(means=None)},
    "hidden means NaN": {"base": BASE._replace(hidden_means=torch.full((3,), NAN).double())},
    "hidden means short": {"base": BASE._replace(hidden_means=V[0, :2])},
    "rows text": {"base": BASE._replace(rows="x")},
    "rows of 2": {"base": BASE._replace(rows=V + 2)},
    "rounds negative": {"rounds": -1},
    "rounds real": {"rounds": 0.5},
    "rounds endless": {"rounds": 10**400},
}


def passages() -> Passages:
    return Passages.none(V, 3)._replace(age=5, sweeps=5)


def state() -> TemperingState:
    half = V[0] + 0.5
    return TemperingState(V, [V, V], [0.0, 0.5, 1.0], Base(half, half[:3], V), passages(), 0)


def test_a_whole_state_passes():
    rbm = FINITE["bernoulli"].model(0)
    state().check(rbm)
    state().passages.check(rbm)


@pytest.mark.parametrize("change", (OF_ROWS | OF_LADDER).values(), ids=OF_ROWS | OF_LADDER)
def test_a_hostile_state_is_refused(change):
    with pytest.raises(gb.DataError):
        state()._replace(**change).check(FINITE["bernoulli"].model(0))


@pytest.mark.parametrize("change", OF_PASSAGES.values(), ids=OF_PASSAGES)
def test_a_hostile_record_is_refused(change):
    rbm, changed = FINITE["bernoulli"].model(0), passages()._replace(**change)
    with pytest.raises(gb.DataError):
        changed.check(rbm)
