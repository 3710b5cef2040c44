"""`fit` on rows with missing entries."""

import importlib
import math

import holes
import numpy as np
import pytest
import torch

import gibbsite as gb
from gibbsite.gradients.missing import MarginalisedState
from gibbsite.training import SGD
from gibbsite.training.holes import Holes, hot_deck, observed_means

fitting = importlib.import_module("gibbsite.training.fit")
NAN = math.nan


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coins(rows: int = 60, n: int = 6, share: float = 0.3) -> torch.Tensor:
    """Zeros and ones; a hole or more in each row."""
    v = torch.randint(2, (rows, n), generator=generator(1)).float()
    v[torch.rand(v.shape, generator=generator(2)) < share] = NAN
    v[torch.arange(rows), torch.arange(rows) % n] = NAN
    return v


def trained(data, gradient=None, epochs=3, rbm=None, seed=3, **options):
    rbm = gb.RBM(gb.Bernoulli(data.shape[1]), gb.Bernoulli(4)) if rbm is None else rbm
    gradient = gb.PCD(10) if gradient is None else gradient
    optimizer = SGD(rbm.parameters(), lr=0.1)
    history = gb.fit(rbm, data, gradient=gradient, optimizer=optimizer, epochs=epochs,
                     batch_size=20, generator=generator(seed), **options)  # fmt: skip
    return rbm, history


def same(one: gb.RBM, other: gb.RBM) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


ESTIMATORS = {
    "pcd": gb.PCD(10),
    "cd": gb.CD(),
    "fpcd": gb.FPCD(10),
    "mean field": gb.MeanField(),
    "noise": gb.NoiseCD(10, 2),
    "centred": gb.Centered(gb.PCD(10, 2)),
    "tempering": gb.PCD(5, sampler=gb.Tempering()),
    "exact": gb.Centered(gb.ExactGradient()),
    "fresh": gb.Marginalised(gb.PCD(10), steps=3, persistent=False),
}


@pytest.mark.parametrize("gradient", ESTIMATORS.values(), ids=ESTIMATORS)
def test_every_estimator_trains(gradient):
    rbm, history = trained(coins(), gradient)
    assert torch.isfinite(rbm.weight).all()
    assert math.isfinite(history.column("gradient_norm")[-1])


@pytest.mark.parametrize("name", holes.PAIRS)
def test_every_unit_type_trains_with_nothing_chosen(name):
    rbm = holes.model(name)
    v = holes.rows(rbm, 60)
    v[0] = NAN
    with torch.no_grad():
        rbm.weight.zero_()
    gb.fit(rbm.float(), v, epochs=1, batch_size=60, generator=generator())
    assert torch.isfinite(gb.exact.log_likelihood(rbm, v)).all()


def test_codes_with_holes_are_one_hot_rows_with_holes():
    codes = torch.tensor([[0, 2], [NAN, 1], [1, NAN], [NAN, NAN]])
    layer = gb.Categorical([2, 3])
    one, other = (
        trained(x, rbm=gb.RBM(gb.Categorical([2, 3]), gb.Bernoulli(2)))[0]
        for x in (codes, layer.coerce(codes))
    )
    assert same(one, other)


def test_rows_of_any_source_are_the_same():
    data, weights = coins(), torch.arange(1.0, 61)
    plain, _ = trained(data, weights=weights)
    for source in (data.numpy(), gb.Rows(data.double().numpy()), gb.Rows(data)):
        assert same(plain, trained(source, weights=weights)[0])


def test_values_between_states_are_drawn_where_observed():
    data = coins()
    data[data == 1] = 0.9
    rbm, _ = trained(data, epochs=30)
    assert torch.isfinite(rbm.weight).all()


def test_complete_rows_are_none_of_its_business():
    data = coins().nan_to_num(1.0)
    plain, history = trained(data, gb.PCD(10))
    assert not isinstance(history.state, MarginalisedState)
    assert same(plain, trained(data, gb.Marginalised(gb.PCD(10)))[0])


@pytest.mark.parametrize("gradient", [gb.Centered(gb.PCD(10, 2)), gb.PCD(10)])
@pytest.mark.parametrize("steps", [1, 2])
def test_fused_updates_are_the_separate_ones(monkeypatch, gradient, steps):
    gradient = gb.Marginalised(gradient, steps)
    fused, history = trained(coins(), gradient)
    monkeypatch.setattr(fitting, "fused_updates", lambda run: None)
    separate, expected = trained(coins(), gradient)
    for x, y in zip(fused.parameters(), separate.parameters(), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-5)
    assert torch.equal(history.state.entries, expected.state.entries)


def test_a_run_goes_on_bit_for_bit(tmp_path):
    whole, history = trained(coins(), epochs=5)
    keep = gb.Checkpoints(tmp_path)
    trained(coins(), epochs=2, checkpoints=keep)
    rbm, resumed = trained(coins(), epochs=5, checkpoints=keep)
    assert same(whole, rbm)
    assert torch.equal(history.state.entries, resumed.state.entries)


def test_a_checkpoint_of_other_holes_is_refused(tmp_path):
    trained(coins(), epochs=1, checkpoints=gb.Checkpoints(tmp_path))
    with pytest.raises(gb.ModelFileError, match="another run"):
        trained(coins(share=0.6), epochs=2, checkpoints=gb.Checkpoints(tmp_path))


def test_entries_that_are_no_states_are_refused():
    rbm = gb.RBM(gb.Bernoulli(2), gb.Bernoulli(2))
    for value in (2.0, NAN, math.inf):
        with pytest.raises(gb.DataError, match=r"outside of \[0, 1\]"):
            MarginalisedState(None, torch.tensor([0.0, value])).check(rbm)


def test_chains_are_carried_and_those_given_stay_as_they_are():
    rbm, first = trained(coins(), epochs=1)
    kept = first.state.entries.clone()
    _, second = trained(coins(), epochs=1, rbm=rbm, state=first.state)
    assert torch.equal(first.state.entries, kept)
    assert not torch.equal(second.state.entries, kept)
    _, third = trained(coins(), epochs=1, rbm=rbm, state=first.state.inner)
    assert third.state.entries.shape == kept.shape
    with pytest.raises(gb.ArgumentError, match="missing entries for data that miss"):
        trained(coins(share=0.6), epochs=1, rbm=rbm, state=first.state)


def test_biases_start_from_the_observed_entries():
    data = torch.tensor([[1.0, NAN, 2.0], [NAN, NAN, 4.0], [3.0, NAN, NAN]])
    rbm = gb.RBM(gb.Gaussian(3), gb.Bernoulli(2))
    gb.initialize(rbm, data, generator())
    assert rbm.visible.bias.tolist() == [2.0, 0.0, 3.0]
    weights = torch.tensor([3.0, 5.0, 1.0])
    means = observed_means(rbm.visible, data, weights).T @ weights / 9
    torch.testing.assert_close(means[[0, 2]], torch.tensor([6 / 4, 26 / 8]))


def test_a_column_all_missing_and_a_row_all_missing():
    data = coins()
    data[:, 2], data[5] = NAN, NAN
    rbm, _ = trained(data, epochs=20)
    assert torch.isfinite(rbm.weight).all()
    assert gb.exact.log_likelihood(rbm, data)[5].abs() < 1e-5


def test_rows_all_missing_are_worth_nothing_to_the_exact_gradient():
    rbm = holes.model("mixed")
    data = torch.full((4, rbm.visible.width), NAN).double()
    before = [x.detach().clone() for x in rbm.parameters()]
    gb.fit(
        rbm, data, gradient=gb.ExactGradient(), epochs=1, optimizer=SGD(rbm.parameters(), lr=1.0)
    )
    for x, y in zip(rbm.parameters(), before, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-9)


@pytest.mark.parametrize("value", [math.inf, -math.inf, 2.0])
def test_other_faults_are_refused_and_located(value):
    data = coins()
    data[7, 2] = value
    for rows in (data, gb.Rows(data)):
        with pytest.raises(gb.DataError, match="row 8, column 3"):
            trained(rows)


def test_holes_are_filled_from_their_own_columns():
    layer = gb.Categorical([2, 3])
    x = layer.coerce(torch.tensor([[0, NAN], [NAN, 2], [0, 2], [0, NAN]]))
    assert hot_deck(layer, x).tolist() == layer.coerce([[0, 2]] * 4).tolist()
    filled = Holes.of(layer, gb.Rows(x)).filled
    layer.check_states(filled.dense())
    assert np.isfinite(np.asarray(filled)).all()
