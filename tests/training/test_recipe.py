"""Settings chosen from the data: rules, what is given, and the coupling of columns."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gibbsite as gb
from gibbsite.training.pace import timed_update
from gibbsite.training.recipe import RULES, base_rows, recipe_for, seconds_an_update
from gibbsite.training.traits import Traits, coupled_share


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


TRAITS = st.builds(
    Traits,
    rows=st.integers(1, 10**7),
    columns=st.integers(1, 10**4),
    spread=st.floats(0, 1e6),
    measured=st.booleans(),
    whitened=st.booleans(),
    coupled=st.floats(0, 1),
    bounded=st.booleans(),
)


@given(TRAITS)
def test_any_data_get_usable_settings_and_a_reason_for_each(traits):
    recipe = recipe_for(traits)
    assert set(recipe.reasons) == set(RULES)
    counts = recipe.hidden, recipe.batch_size, recipe.chains, recipe.epochs
    assert all(isinstance(count, int) and count >= 1 for count in counts)
    assert recipe.batch_size <= traits.rows
    assert 0 < recipe.learning_rate <= 0.57
    assert 0 <= recipe.l2 < math.inf
    assert recipe.average >= 0


@given(TRAITS, st.sampled_from(list(RULES)))
def test_what_is_given_stays(traits, name):
    wanted = {"sampler": "tempering", "schedule": "constant"}.get(name, 3)
    recipe = recipe_for(traits, {name: wanted, "seconds": None})
    assert getattr(recipe, name) == wanted
    assert name not in recipe.reasons


def test_more_time_has_more_updates():
    traits = Traits(rows=60_000, columns=784, spread=0.1)
    usual = recipe_for(traits)
    assert recipe_for(traits, {"seconds": 360.0}).epochs > 5 * usual.epochs


def test_rates_go_by_the_spread_of_the_columns():
    rates = [recipe_for(Traits(1000, 10, spread)).learning_rate for spread in (0.1, 1.0, 100.0)]
    assert rates == pytest.approx([0.4, 0.1, 0.001])


def regressed_share(states: torch.Tensor) -> float:
    """Share of columns with R^2 above 0.9 by least squares on the others, of those that vary."""
    states = states - states.mean(0)
    coupled, varying = 0, 0
    for column in range(states.shape[1]):
        own, others = states[:, column], torch.cat([states[:, :column], states[:, column + 1 :]], 1)
        if own.var() < 1e-9:
            continue
        solution = torch.linalg.lstsq(others, own[:, None], driver="gelsd").solution[:, 0]
        varying += 1
        coupled += bool((own - others @ solution).var() < 0.1 * own.var())
    return coupled / varying


def test_the_coupling_is_that_of_regressions():
    g = generator()
    free = torch.bernoulli(torch.full((2000, 8), 0.5), generator=g)
    noise = torch.bernoulli(torch.full((2000, 2), 0.02), generator=g)
    copies = (free[:, :2] - noise).abs()  # R^2 of about 0.92 each, for both of a pair
    states = torch.cat([free, copies, torch.ones(2000, 1)], 1).double()
    found = coupled_share(states, gb.Bernoulli(11))
    assert found == regressed_share(states) == pytest.approx(0.4)


def test_the_columns_of_one_unit_do_not_couple_it():
    g = generator()
    layer = gb.Categorical(5, 3)
    codes = torch.randint(3, (1000, 5), generator=g)
    states = layer.encode(codes).double()
    assert coupled_share(states, layer) == 0
    codes[:, 1] = codes[:, 0]
    assert coupled_share(layer.encode(codes).double(), layer) == pytest.approx(0.4)


def test_traits_are_those_of_the_rows():
    g = generator()
    grey = torch.rand(500, 4, generator=g)
    traits = Traits.of(gb.Bernoulli(4), gb.Rows.of(grey))
    assert traits.spread == pytest.approx(0.25, abs=0.01)  # of states drawn from them
    assert (traits.rows, traits.columns, traits.measured) == (500, 4, False)
    real = Traits.of(gb.Gaussian(4), gb.Rows.of(1000 * grey), gb.Gaussian(2))
    assert (real.spread, real.measured, real.whitened, real.bounded) == (1.0, True, True, False)
    again = Traits.of(gb.Bernoulli(4), gb.Rows.of(grey))
    assert traits == again


def test_tempering_has_the_base_of_some_rows():
    data = torch.bernoulli(torch.full((2000, 6), 0.3), generator=generator())
    data[:, 3:] = data[:, :3]
    rbm, rows = gb.RBM(gb.Bernoulli(6), gb.Bernoulli(4)), gb.Rows.of(data)
    recipe = recipe_for(Traits.of(rbm.visible, rows))
    assert recipe.sampler == "tempering"
    assert set(base_rows(rbm, rows).unique().tolist()) == {0.0, 1.0}
    gradient, sampler = recipe.gradient(rbm, rows)
    assert isinstance(sampler, gb.Tempering)
    history = gb.fit(rbm, data, epochs=2, generator=generator())
    assert type(history.state.inner) is type(gradient.init(rbm, generator()).inner)


def test_a_timed_update_takes_time_and_leaves_the_model_alone():
    data = gb.datasets.load("digits").train
    rbm, rows = gb.RBM(gb.Bernoulli(64), gb.Bernoulli(8)), gb.Rows.of(data)
    traits = Traits.of(rbm.visible, rows)
    recipe = recipe_for(traits, {"hidden": 8})
    assert 0 < timed_update(rbm, rows, recipe.gradient(rbm, rows)[0], 100) < 10
    assert not rbm.weight.any()
    assert seconds_an_update(traits, vars(recipe)) > 0
