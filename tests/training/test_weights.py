"""Weights of rows in `fit`: what is maximised is the weighted mean log-likelihood."""

import math

import numpy as np
import pytest
import torch
from montecarlo import assert_mean, quantile
from oracle import random_rbm

import gibbsite as gb
from gibbsite.gradients import Batch
from gibbsite.training import SGD
from gibbsite.training.fused import FusedUpdates

DATA = torch.tensor(
    [
        [0.0, 0.0, 1.0, 1.0],
        [1.0, 1.0, 1.0, 1.0],
        [1.0, 0.0, 1.0, 1.0],
        [0.0, 0.0, 0.0, 1.0],
        [1.0, 1.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, 0.0],
    ]
).double()
WEIGHTS = torch.tensor([2.0, 0.0, 1.0, 3.0, 1.0, 4.0]).double()
COPIES = DATA.repeat_interleave(WEIGHTS.long(), 0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def binary() -> gb.RBM:
    return random_rbm(gb.Bernoulli(4), 3, 0, scale=0.5).double()


def real() -> gb.RBM:
    return random_rbm(gb.Gaussian(4, learn_sigma=True), 3, 0, scale=0.5).double()


def fitted(rbm, data, gradient=None, epochs=20, rate=0.1, batch_size=100, **options):
    gradient = gb.ExactGradient() if gradient is None else gradient
    optimizer = torch.optim.SGD(rbm.parameters(), lr=rate)
    options = {"generator": generator(), **options}
    history = gb.fit(
        rbm,
        data,
        gradient=gradient,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        **options,
    )
    return rbm, history


def assert_same_models(ours: gb.RBM, theirs: gb.RBM) -> None:
    for (name, x), y in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-10, msg=name)


@pytest.mark.parametrize("make", [binary, real])
@pytest.mark.parametrize(
    "gradient",
    [gb.ExactGradient(), gb.Centered(gb.ExactGradient()), gb.MeanField()],
    ids=["exact", "centered", "mean field"],
)
@pytest.mark.parametrize("scale", [1.0, 1e-3, 4e307])
def test_whole_weights_are_copies_of_rows(make, gradient, scale):
    """In full batches; only the ratios of the weights count."""
    ours, history = fitted(make(), DATA, gradient, rate=0.01, weights=scale * WEIGHTS)
    theirs, expected = fitted(make(), COPIES, gradient, rate=0.01)
    assert_same_models(ours, theirs)
    np.testing.assert_allclose(history.column("gradient_norm"), expected.column("gradient_norm"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: gb.RBM(gb.Bernoulli(4), gb.Bernoulli(3)),
        lambda: gb.RBM(gb.Gaussian(4), gb.Bernoulli(3)),
    ],
)
def test_a_new_model_starts_from_the_weighted_rows(make):
    """Its visible biases are those of the copies, and its weights the same noise."""
    data = DATA.float()
    started = []
    for rows, weights in ((data, WEIGHTS), (COPIES.float(), None)):
        rbm = make()
        fitted(rbm, rows, epochs=1, rate=0.0, weights=weights)
        started.append(rbm)
    ours, theirs = (rbm.visible.bias.detach() for rbm in started)
    assert torch.equal(started[0].weight, started[1].weight)
    if isinstance(started[0].visible, gb.Gaussian):
        torch.testing.assert_close(ours, theirs)
    else:  # half a count is added to either side of as many rows as there are
        n, share = len(DATA), COPIES.float().mean(0)
        torch.testing.assert_close(ours, ((n * share + 0.5) / (n * (1 - share) + 0.5)).log())


def test_rows_without_weight_might_as_well_not_be_there():
    kept = WEIGHTS > 0
    ours, _ = fitted(binary(), DATA, weights=kept.double())
    theirs, _ = fitted(binary(), DATA[kept])
    assert_same_models(ours, theirs)


def test_equal_weights_are_none():
    ours, _ = fitted(binary(), DATA, batch_size=4, weights=torch.full((6,), 7.0))
    theirs, _ = fitted(binary(), DATA, batch_size=4)
    assert_same_models(ours, theirs)


class Kept:
    """The exact gradient; it keeps the parts of every update."""

    def __init__(self):
        self.batches, self.gradients = [], []

    def init(self, rbm, generator=None):
        return None

    def step(self, rbm, batch, state, generator=None):
        found = gb.ExactGradient().step(rbm, batch, state)
        self.batches.append(batch)
        self.gradients.append({name: value.clone() for name, value in found[0].items()})
        return found


def test_minibatches_carry_the_weights_and_the_numbers_of_their_rows():
    kept = Kept()
    rows = torch.arange(24.0).view(6, 4).double() / 24
    fitted(real(), rows, kept, epochs=3, rate=0.0, batch_size=4, weights=WEIGHTS)
    assert [len(batch.v) for batch in kept.batches] == [4, 2] * 3
    for batch in kept.batches:
        assert torch.equal(batch.v, rows[batch.index])
        torch.testing.assert_close(batch.weights, (WEIGHTS / WEIGHTS.mean())[batch.index].double())
        assert batch.observed is None


def test_gradients_of_minibatches_have_the_weighted_gradient_as_their_mean():
    """Batches of one size; a model that stays where it is."""
    kept, rbm = Kept(), binary()
    fitted(rbm, DATA, kept, epochs=600, rate=0.0, batch_size=2, weights=WEIGHTS)
    exact = gb.exact.gradient(rbm, COPIES)
    draws = np.array(
        [torch.cat([x.flatten() for x in g.values()]).numpy() for g in kept.gradients[::3]]
    )  # one of an epoch: the others of it depend on that one
    expected = torch.cat([exact[name].flatten() for name in kept.gradients[0]]).numpy()
    assert_mean(draws, expected)
    unweighted = gb.exact.gradient(rbm, DATA)
    with pytest.raises(AssertionError):
        assert_mean(draws, torch.cat([x.flatten() for x in unweighted.values()]).numpy())


def test_batches_without_any_weight_change_nothing():
    """One row has all the weight: the others' updates stand still, and training is finite."""
    weights = torch.zeros(6).double()
    weights[2] = 1
    ours, history = fitted(
        binary(),
        DATA,
        gb.Centered(gb.PCD(50)),
        epochs=200,
        rate=0.05,
        batch_size=1,
        weights=weights,
    )
    assert history.records[-1]["updates"] == 1200
    scores = gb.exact.log_likelihood(ours, DATA).detach()
    assert scores.argmax() == 2
    assert math.isfinite(scores.sum())


def test_weighted_training_ends_at_the_weighted_data():
    """A model that can hold any distribution of two units takes on the weighted frequencies."""
    data = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).double()
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    rbm = random_rbm(gb.Bernoulli(2), 2, 0, scale=0.5).double()
    fitted(rbm, data, epochs=3000, rate=1.0, weights=weights)
    found = gb.exact.log_likelihood(rbm, data).exp()
    torch.testing.assert_close(found, weights.double() / 10, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("gradient", [gb.PCD(10), gb.Centered(gb.PCD(10))])
def test_small_binary_models_train_alike_with_and_without_fused_updates(monkeypatch, gradient):
    """Weights switch fused updates off; equal ones then give the results that those give."""
    calls, models, inner = [], [], FusedUpdates.__call__

    def counted(*arguments):
        calls.append(len(models))
        return inner(*arguments)

    monkeypatch.setattr(FusedUpdates, "__call__", counted)
    data = torch.randint(2, (60, 6), generator=generator(1)).float()
    for weights in (None, torch.ones(60)):
        rbm = random_rbm(gb.Bernoulli(6), 4, 0, scale=0.3).float()
        gb.fit(
            rbm,
            data,
            weights=weights,
            gradient=gradient,
            optimizer=SGD(rbm.parameters(), lr=0.05, momentum=0.5),
            epochs=3,
            batch_size=10,
            generator=generator(2),
        )
        models.append(rbm)
    assert calls == [0, 0, 0]
    for x, y in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", [list, np.asarray, lambda w: w.float(), lambda w: w.long()])
def test_weights_come_in_any_form(form):
    ours, _ = fitted(binary(), DATA, epochs=2, weights=form(WEIGHTS))
    theirs, _ = fitted(binary(), DATA, epochs=2, weights=WEIGHTS)
    assert_same_models(ours, theirs)


def with_entry(value: float) -> torch.Tensor:
    weights = WEIGHTS.clone()
    weights[3] = value
    return weights


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (WEIGHTS[:5], r"shape \(5,\) for 6 rows"),
        (WEIGHTS[:, None], r"shape \(6, 1\) for 6 rows"),
        (torch.tensor(1.0), r"shape \(\) for 6 rows"),
        (with_entry(-1e-9), "row 4 .* is -1e-09; expected finite weights of at least 0"),
        (with_entry(math.nan), "row 4 .* is nan"),
        (with_entry(math.inf), "row 4 .* is inf"),
        (torch.zeros(6), "row 1 .* is 0; .* not all of them zero"),
    ],
)
def test_weights_that_are_none_are_refused(weights, message):
    rbm = binary()
    before = rbm.weight.detach().clone()
    with pytest.raises(gb.ArgumentError, match=message):
        fitted(rbm, DATA, weights=weights)
    assert torch.equal(rbm.weight, before)


def test_means_of_the_data_are_weighted():
    weights = WEIGHTS.to(DATA)
    info = Batch(DATA, weights).means(2 * DATA[:, :3])
    torch.testing.assert_close(info.visible, COPIES.mean(0))
    torch.testing.assert_close(info.hidden, 2 * COPIES.mean(0)[:3])
    assert not Batch(DATA, 0 * weights).means(DATA).visible.any()


def test_weights_of_huge_ratio_keep_training_finite():
    weights = WEIGHTS.double() * torch.tensor([1e-300, 1, 1e300, 1, 1e-10, 1], dtype=torch.float64)
    ours, _ = fitted(binary(), DATA, epochs=5, weights=weights)
    theirs, _ = fitted(binary(), DATA[2:3], epochs=5)
    assert_same_models(ours, theirs)


def test_pcd_in_minibatches_learns_the_weighted_distribution():
    """Chains at the end: their means are those of the weighted data, within their noise."""
    rbm = gb.RBM(gb.Bernoulli(4), gb.Bernoulli(3)).double()
    weights = torch.tensor([8.0, 0.0, 1.0, 1.0, 0.0, 2.0])
    fitted(rbm, DATA, gb.PCD(2000), epochs=400, rate=0.2, batch_size=6, weights=weights)
    moments = gb.exact.moments(rbm)
    shares = weights.double() / weights.sum()
    bound = quantile(4) * math.sqrt(0.25 / 2000)
    assert float((moments.visible - shares @ DATA).abs().max()) < bound
