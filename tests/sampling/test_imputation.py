"""Missing entries filled: against the conditional distribution by enumeration."""

import math

import pytest
import torch
from joint import columns_of
from montecarlo import quantile
from one_of_each import MAKE

import gibbsite as gb
from gibbsite.testing.models import randomize, require_distribution

NAN = math.nan


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(visible: gb.layers.Layer, seed: int = 0) -> gb.RBM:
    rbm = randomize(gb.RBM(visible, gb.Bernoulli(3)).double(), seed)
    with torch.no_grad():
        rbm.weight.mul_(0.5)
    return rbm


def exact_moments(rbm: gb.RBM, row: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of the free columns given the others, by the states of h.

    The variance of x given h is the slope of its mean by the input, over that of the statistic.
    """
    given = gb.condition(rbm, row)
    mirror = given.mirror()
    h = given.hidden.states(0, int(given.hidden.n_states))
    p = gb.exact.log_likelihood(mirror, h).exp().detach()
    inputs = given.visible_inputs(h).detach()
    mean = given.visible.mean(inputs)
    mixture = p @ mean
    slope = torch.autograd.functional.jacobian(lambda x: given.visible.mean(x).sum(0), inputs)
    scale = given.visible.scaled_weight(torch.eye(given.visible.width).double())
    within = torch.einsum("ihj,jk->ihk", slope, torch.linalg.inv(scale).T)
    own = torch.stack([within[i, :, i] for i in range(len(mixture))], 1)
    return mixture.detach(), (p @ (own + (mean - mixture) ** 2)).detach()


@pytest.mark.parametrize("kind", MAKE)
def test_means_modes_and_spread(kind):
    """Of 400 equal rows, each independent: within what their own scatter allows."""
    rbm = model(MAKE[kind](3))
    layer, n = rbm.visible, 400
    row = layer.sample(layer.zero_inputs(1), generator(1))[0]
    row[~columns_of(layer, 0b010)] = NAN
    free = torch.isnan(row)
    rows = row.repeat(n, 1)
    mean, variance = exact_moments(rbm, row)
    state, probability = gb.condition(rbm, row).visible.guess(mean)
    found = gb.impute(rbm, rows, steps=60, generator=generator(2))
    assert torch.equal(found.values[:, ~free], rows[:, ~free])
    values, spread = found.values[:, free], found.spread[:, free]
    named = ~torch.isnan(probability)
    if bool(named.any()):
        agreed = (values == state)[:, named].double().mean(0)
        assert (agreed > 0.5).all()
        shares = torch.where(values == state, spread, 1 - spread)[:, named]
        binary = columns_of_two(gb.condition(rbm, row).visible)[named]
        close(shares[:, binary], probability[named][binary])
    close(values[:, ~named], mean[~named])
    close(spread[:, ~named] ** 2, variance[~named], slack=0.02)
    known = found.spread[:, ~free]
    assert bool(((known == 0) | (known - 1).abs().le(1e-12)).all())


def columns_of_two(layer: gb.layers.Layer) -> torch.Tensor:
    """True for columns of units with two states in one column."""
    columns = torch.zeros(layer.width, dtype=torch.bool)
    for unit, size in enumerate(layer.sizes):
        own = layer.unit_columns(unit)
        columns[own] = size == 2 and own.stop - own.start == 1
    return columns


def close(draws: torch.Tensor, expected: torch.Tensor, slack: float = 1e-3) -> None:
    """Column means agree to what their scatter allows, and a share for chains that still mix."""
    if expected.numel() == 0:
        return
    error = draws.std(0) / math.sqrt(len(draws))
    limit = quantile(expected.numel()) * error + slack * (1 + expected.abs())
    assert bool(((draws.mean(0) - expected).abs() <= limit).all())


@pytest.mark.parametrize("kind", ["categorical", "gaussian", "multivariate", "mixed multivariate"])
def test_draws_are_of_the_conditional_distribution(kind):
    rbm = model(MAKE[kind](3), 1)
    layer = rbm.visible
    row = layer.sample(layer.zero_inputs(1), generator(1))[0]
    row[~columns_of(layer, 0b010)] = NAN
    free = torch.isnan(row)
    found = gb.impute(rbm, row[None], draws=3000, steps=60, generator=generator(2))
    assert found.values.shape == (3000, 1, layer.width)
    assert found.spread.shape == (1, layer.width)
    draws = found.values[:, 0]
    assert (draws[:, ~free] == row[~free]).all()
    require_distribution("draws", gb.condition(rbm, row), draws[:, free], generator(3))


RBM = model(gb.Mixed(gb.Categorical([2, 3]), gb.Gaussian(1)))
TABLE = torch.tensor([[0, 2, 0.5], [NAN, 1, NAN], [NAN, NAN, NAN], [1, NAN, 2.0]])


def test_rows_by_unit_are_filled_by_unit():
    found = gb.impute(RBM, TABLE, steps=20, generator=generator())
    assert found.values.shape == found.spread.shape == (4, 3)
    there = ~torch.isnan(TABLE)
    assert torch.equal(found.values[there], TABLE.double()[there])
    assert torch.equal(found.values[0], TABLE.double()[0])
    assert not torch.isnan(found.values).any()
    by_column = gb.impute(RBM, RBM.visible.coerce(TABLE), steps=20, generator=generator())
    assert torch.equal(RBM.visible.by_unit(by_column.values), found.values)
    assert torch.equal(by_column.spread[:, [0, 2, 5]], found.spread)
    drawn = gb.impute(RBM, TABLE, draws=2, steps=20, generator=generator())
    assert drawn.values.shape == (2, 4, 3)
    assert torch.equal(drawn.values[:, there], TABLE.double()[there].expand(2, -1))


def test_rows_without_gaps_cost_nothing_and_stay():
    v = RBM.visible.sample(RBM.visible.zero_inputs(3), generator())
    before = (g := generator(5)).get_state()
    found = gb.impute(RBM, v, generator=g)
    assert torch.equal(found.values, v)
    assert torch.equal(g.get_state(), before)
    assert torch.equal(found.spread, torch.tensor([[1.0] * 5 + [0.0]] * 3).double())


def test_the_generator_and_the_sampler_decide(monkeypatch):
    ladder = gb.Tempering(3)
    found = [
        gb.impute(RBM, TABLE, steps=20, sampler=sampler, generator=generator(seed)).spread
        for sampler, seed in ((None, 0), (gb.Gibbs(), 0), (None, 1), (ladder, 0))
    ]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[3])
    monkeypatch.setattr("gibbsite.sampling.imputation.BLOCK_BYTES", 1)
    assert not torch.isnan(gb.impute(RBM, TABLE, steps=20).values).any()


@pytest.mark.parametrize("steps", [1, 2, 3, 101])
def test_any_number_of_steps(steps):
    assert torch.isfinite(gb.impute(RBM, TABLE, steps=steps, generator=generator()).values).all()


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        (TABLE, {"draws": 0}, gb.ArgumentError, "draws=0"),
        (TABLE, {"steps": 0}, gb.ArgumentError, "steps=0"),
        (TABLE, {"generator": 3}, gb.ArgumentError, "generator=3"),
        (TABLE[0], {}, gb.DataError, "expected"),
        (TABLE + 3, {}, gb.DataError, "codes from 0 to 1"),
        (torch.full((1, 3), math.inf), {}, gb.DataError, "inf"),
    ],
)
def test_bad_input(rows, options, error, message):
    with pytest.raises(error, match=message):
        gb.impute(RBM, rows, **options)
