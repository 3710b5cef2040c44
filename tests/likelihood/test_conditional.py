"""log p(some entries | others): against sums of exp(-F), closed forms, and the joint."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from joint import columns_of, log_conditional
from one_of_each import FEW_UNITS, MAKE, generator, model, states

import gibbsite as gb
from gibbsite.likelihood import marginals

NAN = math.nan
SEEDS = st.integers(0, 2**16)


def finite() -> gb.layers.Layer:
    return gb.Mixed(gb.Categorical(2, 3), gb.Spin(2))


def holes(layer: gb.layers.Layer, v: torch.Tensor, masks: list[int]) -> torch.Tensor:
    """Rows with the units of each mask missing."""
    missing = torch.stack([columns_of(layer, mask) for mask in masks])
    return torch.where(missing, NAN, v)


@pytest.mark.parametrize("kind", MAKE)
@settings(max_examples=3)
@given(data=st.data())
def test_rows_with_masks_and_holes_of_their_own(kind, data):
    """Two rows share a mask; what is missing anywhere is summed over."""
    rbm = model(MAKE[kind](FEW_UNITS[kind]), gb.Bernoulli(3), data.draw(SEEDS))
    layer = rbm.visible
    masks = st.integers(0, 2**layer.n - 1)
    known = torch.stack([columns_of(layer, data.draw(masks))] * 2 + [columns_of(layer, 1)])
    v = holes(layer, states(layer, 3, data.draw(SEEDS)), [0, data.draw(masks), data.draw(masks)])
    found = gb.conditional_log_likelihood(rbm, v, given=known)
    expected = [log_conditional(rbm, *pair) for pair in zip(v, known, strict=True)]
    np.testing.assert_allclose(found.rows, expected, atol=1e-9)
    assert found.log_likelihood == pytest.approx(np.mean(expected), abs=1e-9)
    assert (found.method, found.stderr, found.verdict) == ("exact", 0.0, "trustworthy")
    assert found.lower == pytest.approx(found.upper)


@pytest.mark.parametrize("kind", MAKE)
def test_any_hidden_units(kind):
    """Of endless states, too, where the free ones are enumerated."""
    rbm = model(finite(), MAKE[kind](2), 1)
    v, known = states(rbm.visible, 3), columns_of(rbm.visible, 0b0101)
    found = gb.conditional_log_likelihood(rbm, v, given=known).rows
    np.testing.assert_allclose(found, [log_conditional(rbm, x, known) for x in v], atol=1e-9)


@pytest.mark.parametrize("hidden", ["gaussian", "relu", "drelu", "binomial"])
@pytest.mark.parametrize("visible", ["gaussian", "multivariate", "truncated exponential", "relu"])
def test_one_free_unit_whatever_the_hidden_ones(visible, hidden, monkeypatch):
    """By quadrature, where no side can be enumerated."""
    monkeypatch.setattr(gb.exact, "EXACT_STATES", 0)
    rbm = model(MAKE[visible](3), MAKE[hidden](3), 2)
    with torch.no_grad():
        rbm.weight.mul_(0.6)  # for a finite Z
    v, known = states(rbm.visible, 2), columns_of(rbm.visible, 0b101)
    found = gb.conditional_log_likelihood(rbm, v, given=known)
    np.testing.assert_allclose(found.rows, [log_conditional(rbm, x, known) for x in v], atol=1e-9)
    assert found.method == "exact"


def test_gaussian_units_on_both_sides_are_one_gaussian():
    """The joint precision is [[1/s^2, -W/s], [-W/s, 1]]; its conditional is known in closed form.

    A tight coupling, so that the conditional is much wider than sigma.
    """
    rbm = gb.RBM(gb.Gaussian(2, 0.5), gb.Gaussian(1)).double()
    with torch.no_grad():
        rbm.weight.copy_(torch.tensor([[0.1], [0.99]]))
        rbm.visible.bias.copy_(torch.tensor([3.0, -2.0]))
    w = rbm.weight.detach().numpy() / 0.5
    covariance = np.linalg.inv(np.eye(2) / 0.25 - w @ w.T)
    mean = np.linalg.solve(np.eye(2) / 0.25 - w @ w.T, np.array([3.0, -2.0]) / 0.25)
    gain = covariance[1, 0] / covariance[0, 0]
    spread = math.sqrt(covariance[1, 1] - gain * covariance[0, 1])
    v = np.array([[4.0, -20.0], [2.5, 7.0]])
    z = (v[:, 1] - mean[1] - gain * (v[:, 0] - mean[0])) / spread
    found = gb.conditional_log_likelihood(rbm, v, given=[True, False])
    expected = -(z**2) / 2 - math.log(spread * math.sqrt(2 * math.pi))
    np.testing.assert_allclose(found.rows, expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ["categorical", "binomial", "gaussian", "mixed", "poisson"])
def test_one_unit_each_is_the_pseudo_likelihood(kind):
    rbm = model(MAKE[kind](3), gb.Bernoulli(20))
    v = states(rbm.visible, 4)
    total = sum(
        gb.conditional_log_likelihood(
            rbm, v, given=~columns_of(rbm.visible, 1 << unit)
        ).log_likelihood
        for unit in range(rbm.visible.n)
    )
    assert total == pytest.approx(gb.pseudo_likelihood(rbm, v), abs=1e-9)


RBM = model(finite(), gb.Bernoulli(4))
V = states(RBM.visible, 5)
KNOWN = torch.tensor([True, False, False, True])
"""By unit."""


def test_the_chain_rule():
    """log p(v) = log p(b) + log p(a | b), with p(b) of rows where a is missing."""
    none = torch.zeros(4, dtype=torch.bool)
    part = torch.where(columns_of(RBM.visible, 0b1001), V, NAN)
    joint, marginal, conditional = (
        gb.conditional_log_likelihood(RBM, v, given=mask).rows
        for v, mask in ((V, none), (part, none), (V, KNOWN))
    )
    torch.testing.assert_close(joint, gb.exact.log_likelihood(RBM, V))
    torch.testing.assert_close(joint, marginal + conditional)


def test_nothing_to_ask_for_scores_nothing():
    """All given, or missing."""
    every = torch.ones(4, dtype=torch.bool)
    v = torch.cat([V, torch.full_like(V, NAN)])
    found = gb.conditional_log_likelihood(RBM, v, given=every)
    assert not found.rows.any()
    assert (found.log_likelihood, found.method) == (0.0, "exact")


def test_masks_and_rows_by_unit_and_by_column():
    by_column = columns_of(RBM.visible, 0b1001)
    found = [
        gb.conditional_log_likelihood(RBM, v, given=mask).rows
        for v in (V, RBM.visible.by_unit(V))
        for mask in (KNOWN, KNOWN.tolist(), by_column, by_column.expand_as(V), KNOWN.expand(5, 4))
    ]
    assert all(torch.equal(x, found[0]) for x in found)


@pytest.mark.parametrize("kind", ["mixed finite", "multivariate"])
def test_rows_and_states_in_blocks(kind, monkeypatch):
    rbm = model(MAKE[kind](3), gb.Bernoulli(3))
    v, known = states(rbm.visible, 7), columns_of(rbm.visible, 0b010)
    whole = gb.conditional_log_likelihood(rbm, v, given=known).rows
    monkeypatch.setattr(marginals, "BLOCK_BYTES", 500)
    torch.testing.assert_close(gb.conditional_log_likelihood(rbm, v, given=known).rows, whole)


# estimates

LARGE = model(gb.Mixed(gb.Bernoulli(5), gb.Gaussian(2)), gb.Bernoulli(6), 3)
ROWS = states(LARGE.visible, 3)[[0, 1, 1, 2]].contiguous()
SOME = torch.tensor([True, True, False, False, False, True, False])
OPTIONS = {"chains": 100, "temperatures": 60}


def test_estimates_are_near_the_truth_and_bounds_around_it():
    missing = ROWS.clone()
    missing[0, 6] = NAN
    for v in (ROWS, missing):
        truth = gb.conditional_log_likelihood(LARGE, v, given=SOME)
        found = gb.conditional_log_likelihood(
            LARGE, v, given=SOME, method="bridge", generator=generator(), **OPTIONS
        )
        assert 0 < found.stderr < 0.05
        assert (found.rows - truth.rows).abs().max() < 0.25
        assert found.lower < truth.log_likelihood < found.upper
        for bound in (found.conservative, found.optimistic):
            assert found.lower < bound < found.upper
        assert (found.method, found.verdict) == ("bridge", "trustworthy")
        assert found.rows.mean().item() == pytest.approx(found.log_likelihood)
        assert found.log_partition.value == -found.log_likelihood


def test_rows_of_equal_values_share_an_estimate_and_its_error():
    """The error of their mean is that of one; of different rows it is less."""
    one, both = (
        gb.conditional_log_likelihood(
            LARGE, v, given=SOME, method="ais", generator=generator(), **OPTIONS
        )
        for v in (ROWS[1:2], ROWS[1:3])
    )
    assert both.rows[0] == both.rows[1] == one.rows[0]
    assert both.stderr == one.stderr
    assert both.conservative is None
    assert "row 1: one-sided" in both.verdict
    assert "1 more of the rows failed" in both.verdict


def test_too_many_states_are_estimated(monkeypatch):
    monkeypatch.setattr(gb.exact, "EXACT_STATES", 0)
    found = gb.conditional_log_likelihood(
        LARGE, ROWS[:1], given=SOME, generator=generator(), **OPTIONS
    )
    assert found.method == "bridge"
    rbm, known = gb.RBM(gb.Bernoulli(60), gb.Bernoulli(30)), torch.arange(60) < 10
    with pytest.raises(gb.TooLargeError, match="exact sums stop"):
        gb.conditional_log_likelihood(rbm, torch.ones(1, 60), given=known, method="exact")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"given": torch.zeros(4)}, gb.DataError, "float32: expected bool"),
        ({"given": torch.zeros(3, 10).bool()}, gb.DataError, r"shape \(3, 8\)|shape \(3, 10\)"),
        ({"given": [True] + [False] * 7}, gb.DataError, "unit 1 is given in some"),
        ({"given": KNOWN, "method": "guess"}, gb.ArgumentError, "method='guess': expected one"),
        ({"given": KNOWN, "chains": 1}, gb.ArgumentError, "chains=1"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        gb.conditional_log_likelihood(RBM, V, **options)


def test_values_that_are_no_states():
    rbm = gb.RBM(gb.Bernoulli(2), gb.Bernoulli(2))
    with pytest.raises(gb.DataError, match="other than 0 and 1"):
        gb.conditional_log_likelihood(rbm, torch.tensor([[0.3, 1]]), given=[True, False])
