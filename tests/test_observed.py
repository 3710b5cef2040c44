"""Exact sums over missing entries, of every unit type, against brute force."""

import holes
import pytest
import torch

import gibbsite as gb
from gibbsite import observed
from gibbsite.layers.missing import check_observed, log_partition_given

each_pair = pytest.mark.parametrize("name", holes.PAIRS)


@each_pair
def test_log_likelihood_and_gradient_of_rows_with_holes(name):
    rbm = holes.model(name)
    v = holes.rows(rbm, 5)
    brute = torch.stack([holes.brute_log_p(rbm, row) for row in v]) - gb.exact.log_partition(rbm)
    found = gb.exact.log_likelihood(rbm, v)
    torch.testing.assert_close(found, brute, rtol=0, atol=1e-8)
    expected = torch.autograd.grad(brute.mean(), list(rbm.parameters()))
    gradient = gb.exact.gradient(rbm, v)
    for (key, _), value in zip(rbm.named_parameters(), expected, strict=True):
        torch.testing.assert_close(gradient[key], value, rtol=0, atol=1e-7, msg=key)


@each_pair
def test_a_row_without_any_entry_has_probability_one_and_gradient_zero(name):
    rbm = holes.model(name)
    v = torch.full((2, rbm.visible.width), torch.nan).double()
    assert gb.exact.log_likelihood(rbm, v).abs().max() < 1e-9
    assert all(value.abs().max() < 1e-9 for value in gb.exact.gradient(rbm, v).values())
    assert gb.evaluate(rbm, v).log_likelihood == pytest.approx(0, abs=1e-9)


@each_pair
def test_ends_of_the_log_partition_with_some_units_known(name):
    rbm = holes.model(name)
    v, layer = gb.exact.sample(rbm, 4, holes.generator()), rbm.visible
    inputs = torch.randn(3, layer.width, generator=holes.generator()).double()
    known = layer.statistic(v) @ inputs.T - layer.energy(v)[:, None]
    torch.testing.assert_close(log_partition_given(layer, v, inputs), known)
    nothing = log_partition_given(layer, torch.full_like(v, torch.nan), inputs)
    torch.testing.assert_close(nothing, layer.log_partition(inputs).expand(4, 3))


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "binomial", "mixed"])
def test_both_ways_of_summing_agree(name):
    rbm = holes.model(name)
    v = holes.rows(rbm, 6)
    if name == "mixed":
        v[:, 3] = 0.5  # what is missing can be counted then
    rows = torch.arange(len(v))
    way = torch.cat([b.scores.logsumexp(1) for b in observed._by_hidden_state(rbm, v, rows)])
    torch.testing.assert_close(observed.log_sums(rbm, v), way)


def test_blocks_add_up(monkeypatch):
    rbm = holes.model("bernoulli")
    v = holes.rows(rbm, 7)
    expected, gradient = observed.log_sums(rbm, v), observed.phase(rbm, v).gradient
    monkeypatch.setattr(observed, "BLOCK_BYTES", 50)
    torch.testing.assert_close(observed.log_sums(rbm, v), expected)
    for name, value in observed.phase(rbm, v).gradient.items():
        torch.testing.assert_close(value, gradient[name])


def test_any_number_of_entries_may_be_missing_where_hidden_units_are_few():
    rbm = gb.RBM(gb.Bernoulli(200), gb.Bernoulli(3)).double()
    torch.nn.init.normal_(rbm.weight, generator=holes.generator())
    v = torch.ones(2, 200).double()
    v[0, 1:] = torch.nan
    one = gb.exact.log_likelihood(rbm, v)[0].exp().item()
    v[0, 0] = 0
    assert one + gb.exact.log_likelihood(rbm, v)[0].exp().item() == pytest.approx(1)


def test_too_many_states_are_refused(monkeypatch):
    rbm = gb.RBM(gb.Bernoulli(5), gb.Bernoulli(4))
    v = torch.zeros(3, 5)
    v[1, :4] = torch.nan
    monkeypatch.setattr(observed, "MAX_STATES", 8)
    with pytest.raises(gb.TooLargeError, match=r"row 2 .* 16 states .* gb\.evaluate"):
        gb.exact.log_likelihood(rbm, v)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([[0, 1, torch.nan, 0, 0]], "nan at row 1, column 3 .* unit 2 is missing in some"),
        ([[torch.nan, torch.nan, torch.inf, 0, 0]], "inf at row 1, column 3"),
        ([[torch.nan, torch.nan, 1, 1, 0]], "2 ones for unit 2 at row 1, column 3"),
        ([[torch.nan, 3]], "3 at row 1, column 2 .* 0 to 2"),
    ],
)
def test_what_is_observed_must_fit(data, message):
    with pytest.raises(gb.DataError, match=message):
        check_observed(gb.Categorical([2, 3]), torch.tensor(data))
    with pytest.raises(gb.DataError, match=message):
        gb.fit(gb.RBM(gb.Categorical([2, 3]), gb.Bernoulli(2)), torch.tensor(data))


def test_a_dependent_type_without_a_sum_of_its_own_says_so():
    class Own(gb.Bernoulli):
        independent = False

    rbm = gb.RBM(Own(2), gb.Bernoulli(1))
    with pytest.raises(gb.ArgumentError, match="depend on each other"):
        observed.phase(rbm.double(), torch.tensor([[torch.nan] * 2]).double())
