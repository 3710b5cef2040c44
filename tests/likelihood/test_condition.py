"""The model of some units given the others: against sums of exp(-F) over their states."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from joint import columns_of, log_conditional
from one_of_each import FEW_UNITS, MAKE, generator, model, states

import gibbsite as gb

NAN = math.nan
SEEDS = st.integers(0, 2**16)


@pytest.mark.parametrize("kind", MAKE)
@settings(max_examples=4)
@given(data=st.data())
def test_any_visible_units_given_any_others(kind, data):
    """log p(free | known) is that of the joint; so are p(h | v) and the samples' columns."""
    rbm = model(MAKE[kind](FEW_UNITS[kind]), gb.Bernoulli(3), data.draw(SEEDS))
    layer = rbm.visible
    known = columns_of(layer, data.draw(st.integers(0, 2**layer.n - 2)))
    row = states(layer, 1, data.draw(SEEDS))[0]
    given_model = gb.condition(rbm, torch.where(known, row, NAN))
    found = gb.exact.log_likelihood(given_model, row[None, ~known]).item()
    assert found == pytest.approx(log_conditional(rbm, row, known), abs=1e-9)
    torch.testing.assert_close(given_model.hidden_mean(row[~known]), rbm.hidden_mean(row))


@pytest.mark.parametrize("kind", MAKE)
@settings(max_examples=4)
@given(data=st.data())
def test_any_hidden_units_take_in_what_is_known(kind, data):
    rbm = model(gb.Mixed(gb.Categorical(2, 3), gb.Spin(2)), MAKE[kind](2), data.draw(SEEDS))
    known = columns_of(rbm.visible, data.draw(st.integers(0, 14)))
    row = states(rbm.visible, 1, data.draw(SEEDS))[0]
    given_model = gb.condition(rbm, torch.where(known, row, NAN))
    found = gb.exact.log_likelihood(given_model, row[None, ~known]).item()
    assert found == pytest.approx(log_conditional(rbm, row, known), abs=1e-9)
    torch.testing.assert_close(given_model.hidden_mean(row[~known]), rbm.hidden_mean(row))


RBM = model(gb.Mixed(gb.Categorical(2, 3), gb.Gaussian(1), gb.Bernoulli(2)), gb.Bernoulli(3))
ROW = torch.tensor([NAN, 2, 0.7, NAN, 1]).double()
"""By unit: the first category and the first binary unit are free."""


def test_its_log_z_differs_from_the_sum_over_the_free_units_by_a_constant():
    """By the difference of free energies, the same for every state of the free units."""
    given_model, row = gb.condition(RBM, ROW), RBM.visible.coerce(ROW)
    free = torch.isnan(row)
    whole = row.repeat(6, 1)
    whole[:, free] = given_model.visible.states(0, 6)
    with torch.no_grad():
        change = RBM.free_energy(whole) - given_model.free_energy(whole[:, free])
        log_sum = torch.logsumexp(-RBM.free_energy(whole), 0)
    torch.testing.assert_close(change, change[:1].expand(6))
    torch.testing.assert_close(gb.exact.log_partition(given_model) - change[0], log_sum)


def test_everything_works_on_it(tmp_path):
    given_model, g = gb.condition(RBM, ROW), generator()
    assert given_model.visible.describe() == "Mixed(Categorical(1, 3), Bernoulli(1))"
    truth = gb.exact.log_partition(given_model).item()
    annealed = gb.log_partition(given_model, "bridge", chains=50, temperatures=100, generator=g)
    assert annealed.lower <= truth <= annealed.upper
    v = gb.sample(given_model, 20, steps=5, generator=g)
    assert gb.exact.gradient(given_model, v).keys() == dict(given_model.named_parameters()).keys()
    assert all(parameter.requires_grad for parameter in given_model.parameters())
    gb.save(given_model, tmp_path / "given")
    again = gb.load(tmp_path / "given")
    assert torch.equal(again.free_energy(v), given_model.free_energy(v))
    gb.fit(given_model, v, epochs=1, generator=g)


def test_the_model_is_left_alone():
    before = copy.deepcopy(RBM.state_dict())
    with torch.no_grad():
        for parameter in gb.condition(RBM, ROW).parameters():
            parameter.zero_()
        for parameter in gb.condition(RBM, torch.full((5,), NAN)).parameters():
            parameter.zero_()
    assert all(torch.equal(x, before[name]) for name, x in RBM.state_dict().items())


@pytest.mark.parametrize("kind", ["multivariate", "mixed finite"])
def test_nothing_known_is_the_model_itself(kind):
    rbm = model(MAKE[kind](2), gb.Gaussian(2))
    v = states(rbm.visible, 3)
    given_model = gb.condition(rbm, torch.full((rbm.visible.width,), NAN))
    torch.testing.assert_close(given_model.free_energy(v), rbm.free_energy(v))


def test_of_the_mirror_hidden_units_are_given():
    given_model = gb.condition(RBM.mirror(), torch.tensor([1.0, NAN, NAN]))
    h = torch.tensor([[1.0, 0, 1], [1.0, 1, 1]]).double()
    torch.testing.assert_close(given_model.hidden_mean(h[:, 1:]), RBM.visible_mean(h))


def test_conditions_add_up():
    """Given one unit and then another is given both."""
    whole = gb.condition(RBM, ROW)
    first = gb.condition(RBM, torch.tensor([NAN, 2, NAN, NAN, NAN]).double())
    second = gb.condition(first, torch.tensor([NAN, 0.7, NAN, 1]).double())
    v = whole.visible.states(0, 6)
    ours, theirs = (gb.exact.log_likelihood(x, v) for x in (whole, second))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("layer", [gb.Gaussian(3, 0.01), gb.MultivariateGaussian(torch.eye(3))])
def test_columns_far_from_zero_keep_their_digits(layer):
    """In float32, of biases of thousands that the known columns take away again."""
    rbm = model(layer, gb.Bernoulli(3))
    with torch.no_grad():
        rbm.visible.bias.fill_(100.0)
        rbm.hidden.bias.sub_(rbm.hidden_inputs(torch.full((3,), 100.0).double()))
        single = copy.deepcopy(rbm).float()
    rbm = copy.deepcopy(single).double()
    row = torch.tensor([100.0, NAN, 100.0])
    ours, theirs = (
        gb.exact.log_likelihood(gb.condition(x, row), torch.tensor([[100.0]])).item()
        for x in (single, rbm)
    )
    assert ours == pytest.approx(theirs, abs=2e-3)
    torch.testing.assert_close(
        gb.condition(single, row).hidden_mean(torch.tensor([[100.0]])),
        single.double().hidden_mean(torch.full((1, 3), 100.0)).float(),
        atol=2e-3,
        rtol=0,
    )


class Unbiased(gb.Bernoulli):
    """A layer whose bias cannot take in an input."""

    def bias_shift(self, inputs):
        return {}


class Chained(gb.Gaussian):
    independent = False


@pytest.mark.parametrize(
    ("visible", "hidden", "message"),
    [
        (gb.Bernoulli(2), Unbiased(2), "Unbiased.* has no bias that takes in"),
        (Chained(2), gb.Bernoulli(2), r"Chained\(2\) depend .* define conditioned"),
    ],
)
def test_layers_of_ones_own_that_cannot(visible, hidden, message):
    with pytest.raises(gb.ArgumentError, match=message):
        gb.condition(model(visible, hidden), torch.tensor([1.0, NAN]))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.0, 1, 1], "every unit, so that none is free"),
        ([[NAN, 1, 1], [NAN, 0, 1]], r"shape \(2, 3\): expected one row"),
        ([NAN, 1], "2 columns"),
        ([NAN, 0.5, 1], "other than 0 and 1"),
        ([NAN, math.inf, 1], "inf at row 1, column 2"),
    ],
)
def test_rows_that_are_refused(row, message):
    with pytest.raises(gb.DataError, match=message):
        gb.condition(gb.RBM(gb.Bernoulli(3), gb.Bernoulli(1)), torch.tensor(row))


def test_a_unit_free_in_some_of_its_columns():
    with pytest.raises(gb.DataError, match="unit 1 is clamped in some"):
        gb.condition(gb.RBM(gb.Categorical(2, 2), gb.Bernoulli(1)), torch.tensor([NAN, 1, 0, 1]))
