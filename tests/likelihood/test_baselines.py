"""Baselines against formulas and scikit-learn; and what is said of a model below them."""

import numpy as np
import pytest
import torch
from oracle import agree
from scipy.stats import multivariate_normal, norm

import gibbsite as gb
from gibbsite.covariance import ShrunkCorrelation
from gibbsite.likelihood import baselines
from gibbsite.likelihood.baselines import GAUSSIAN, INDEPENDENT, shortfalls

RNG = np.random.default_rng(0)
BITS = (RNG.random((60, 5)) < [0.1, 0.5, 0.9, 0.3, 0.7]).astype(float)
MIX = np.array([[2.0, 0, 0], [1.5, 0.5, 0], [0, 3.0, 20.0]])
REAL = RNG.normal(size=(200, 3)) @ MIX.T + [5, -100, 1000]

binary, real = (
    gb.RBM(layer, gb.Bernoulli(4)) for layer in (gb.Bernoulli(5), gb.Gaussian(3, 7.0, True))
)


def test_independent_bits_by_hand():
    """Each column's rate, with half a count added to either side."""
    train, test = BITS[:40], BITS[40:]
    p = (train.sum(0) + 0.5) / 41
    expected = (test * np.log(p) + (1 - test) * np.log(1 - p)).sum(1).mean()
    agree(list(baselines(binary, test, train).values()), [expected])
    assert list(baselines(binary, test, train)) == ["independent_columns"]


def test_a_pixel_that_is_never_on_in_training_is_not_impossible():
    train, test = np.zeros((10, 5)), np.ones((1, 5))
    agree(baselines(binary, test, train)[INDEPENDENT], 5 * np.log(0.5 / 11))


def test_independent_normals():
    train, test = REAL[:150], REAL[150:]
    expected = norm(train.mean(0), train.std(0)).logpdf(test).sum(1).mean()
    agree(baselines(real, test, train)[INDEPENDENT], expected)


def test_one_gaussian():
    """Shrunk on standardised columns, so that units of measurement do not matter."""
    train, test = REAL[:150], REAL[150:]
    centre, scale = train.mean(0), train.std(0)
    found = ShrunkCorrelation.of([torch.from_numpy((train - centre) / scale)])
    shrunk = found.root(1.0).numpy()
    normal = multivariate_normal(centre, scale[:, None] * shrunk * scale)
    found = baselines(real, test, train)
    agree(found[GAUSSIAN], normal.logpdf(test).mean(), 1e-7)
    assert found[GAUSSIAN] > found[INDEPENDENT] + 0.5
    factor = np.array([1e-3, 1.0, 1e3])
    scaled = baselines(real, test * factor, train * factor)
    agree(list(scaled.values()), list(found.values()), 1e-7)


def test_much_data_brings_the_truth():
    """Of draws from one Gaussian both come to minus its entropy, or its columns'."""
    z = np.random.default_rng(1).normal(size=(50_000, 3)) @ MIX.T
    covariance = MIX @ MIX.T
    entropy = 0.5 * (3 * np.log(2 * np.pi * np.e) + np.linalg.slogdet(covariance)[1])
    columns = 0.5 * np.log(2 * np.pi * np.e * np.diag(covariance)).sum()
    found = baselines(real, z)
    agree([found[GAUSSIAN], found[INDEPENDENT]], [-entropy, -columns], 5e-3)


@pytest.mark.parametrize("far", [0.0, 1.0])
def test_constant_and_collinear_columns_are_finite(far):
    """Whatever training rows lack, a test row that has it is improbable, not impossible."""
    train = np.repeat(RNG.choice([-1.0, 1.0], size=(20, 1)), 3, axis=1)  # no shrinkage at all
    train[:, 2] = 4.0
    test = train[:5] + far * np.eye(5, 3)
    for value in baselines(real, test, train).values():
        assert np.isfinite(value)
    single, joint = baselines(real, train[:, [2, 2, 2]]).values()  # nothing to correlate
    agree(single, joint)


def test_far_columns_keep_their_digits():
    near_zero = baselines(real, REAL - REAL.mean(0))
    far = baselines(real, REAL - REAL.mean(0) + 1e6 * REAL.std(0))
    agree(list(far.values()), list(near_zero.values()), 1e-6)


def test_one_row_and_many_columns():
    assert list(baselines(real, REAL, REAL[:1])) == [INDEPENDENT]
    wide = gb.RBM(gb.Gaussian(2001), gb.Bernoulli(2))
    assert list(baselines(wide, torch.randn(3, 2001))) == [INDEPENDENT]


def test_the_model_is_left_alone():
    before = [p.detach().clone() for p in real.parameters()]
    baselines(real, REAL)
    assert all(torch.equal(a, b) for a, b in zip(before, real.parameters(), strict=True))


def test_unfit_rows():
    with pytest.raises(gb.DataError, match="2 columns"):
        baselines(binary, torch.zeros(3, 2))
    with pytest.raises(gb.DataError, match="2 columns"):
        baselines(binary, BITS, torch.zeros(3, 2))
    with pytest.raises(gb.DataError, match="rescale"):
        baselines(real, 1e200 * REAL)


def test_a_user_s_own_layer_needs_nothing_more():
    class Own(gb.Bernoulli):
        pass

    rbm = gb.RBM(Own(5), gb.Bernoulli(2))
    assert baselines(rbm, BITS) == baselines(binary, BITS)


def test_what_is_said_of_a_model_below_them():
    values = {INDEPENDENT: -30.0, GAUSSIAN: -20.0}
    assert shortfalls(-19.0, values, "test") == []
    both = shortfalls(-466.0, values, "test")
    assert ["independent columns" in told for told in both] == [True, False]
    (told,) = shortfalls(-25.0, values, "test")
    assert told.startswith("the model explains the test rows worse than one Gaussian: -25.0000 ag")
