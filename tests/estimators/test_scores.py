"""Scores against every state written out, and what they rest on beyond."""

import pickle
import warnings

import numpy as np
import pytest
import sklearn.neural_network
import torch
from oracle import agree, arrays, bernoulli_log_z, bernoulli_table, bits, random_rbm
from scipy.special import gammaln, logsumexp
from sklearn.model_selection import GridSearchCV, ShuffleSplit

import gibbsite as gb
from gibbsite.estimators import fitted, scores
from gibbsite.estimators.scores import Sample
from gibbsite.likelihood.monitors import negative_free_energies, pseudo_log_likelihoods
from gibbsite.rows import Rows

ONE_SIDED = "likelihood='ais'.*one-sided"


def estimator(seed: int, **options) -> gb.BernoulliRBM:
    model = gb.BernoulliRBM(3, n_iter=0, random_state=0, **options).fit(bits(4))
    model.rbm_.load_state_dict(random_rbm(gb.Bernoulli(4), 3, seed, 1.5).state_dict())
    return model


def minus_free_energy(model: gb.BernoulliRBM, v: np.ndarray) -> np.ndarray:
    w, b, c = arrays(model.rbm_)
    return v @ b + logsumexp(v @ w @ bits(3).T + bits(3) @ c, axis=1)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("likelihood", ["auto", "exact"])
def test_exact_scores_are_log_probabilities(seed, likelihood):
    model = estimator(seed, likelihood=likelihood)
    log_p = np.log(bernoulli_table(*arrays(model.rbm_)).sum(1))
    agree(model.score_samples(bits(4)), log_p)
    assert model.score_samples(bits(4)).dtype == np.float64
    grey = np.array([[0.2, 0.9, 0.5, 0.0]])
    agree(
        model.score_samples(grey),
        minus_free_energy(model, grey) - bernoulli_log_z(*arrays(model.rbm_)),
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_pseudo_scores_are_the_conditionals_of_every_unit(seed):
    model = estimator(seed, likelihood="pseudo")
    v = np.vstack([bits(4), [[0.2, 0.9, 0.5, 0.0]]])
    expected = np.zeros(len(v))
    for unit in range(4):
        ends = []
        for value in (0.0, 1.0):
            other = v.copy()
            other[:, unit] = value
            ends.append(minus_free_energy(model, other))
        expected += minus_free_energy(model, v) - logsumexp(ends, axis=0)
    agree(model.score_samples(v), expected)
    agree(model.score(v), gb.pseudo_likelihood(model.rbm_, torch.from_numpy(v)))


def test_scores_by_annealing_one_way_are_near_exact_the_same_each_time_and_never_silent():
    model = estimator(0)
    exact = model.score_samples(bits(4))
    model.set_params(likelihood="ais")
    with pytest.warns(gb.LikelihoodWarning, match=ONE_SIDED):
        offset = model.score_samples(bits(4)) - exact
    with pytest.warns(gb.LikelihoodWarning, match=ONE_SIDED):  # the second time too
        np.testing.assert_array_equal(model.score_samples(bits(4)) - exact, offset)
    agree(offset, np.full(16, offset[0]))
    result = model.log_partition()
    agree(offset[0], gb.exact.log_partition(model.rbm_).item() - result.value)
    assert abs(offset[0]) < 6 * result.stderr + 0.01


def sparse_rows(n: int, columns: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((n, columns)) < 0.3).astype(float)


def test_auto_is_one_quantity_on_both_sides_of_what_is_enumerated():
    X = sparse_rows(120, 22)
    sizes = {"n_components": [20, 21]}
    split = ShuffleSplit(1, random_state=0)
    search = GridSearchCV(gb.BernoulliRBM(n_iter=5, random_state=0), sizes, cv=split)
    found = search.fit(X).cv_results_["mean_test_score"]
    train, test = next(split.split(X))
    for n_components, auto in zip((20, 21), found, strict=True):
        model = gb.BernoulliRBM(n_components, n_iter=5, random_state=0).fit(X[train])
        log_z = model.log_partition()
        assert log_z.method == ("exact" if n_components == 20 else "bridge")
        exact = model.set_params(likelihood="exact").score(X[test])
        assert abs(auto - exact) <= 5 * log_z.stderr + 1e-9


def test_exact_says_where_it_ends():
    model = gb.BernoulliRBM(26, n_iter=0, random_state=0, likelihood="exact")
    with pytest.raises(gb.TooLargeError, match="2\\^25"):
        model.fit(sparse_rows(20, 26)).score(sparse_rows(20, 26))


def two_phases(n_visible: int, n_hidden: int, w: float, tilt: float) -> tuple[gb.RBM, float]:
    """A ferromagnet that prefers ones by `tilt` a unit, and its exact log Z."""
    rbm = gb.RBM(gb.Bernoulli(n_visible), gb.Bernoulli(n_hidden)).double()
    b, c = tilt - n_hidden * w / 2, -n_visible * w / 2
    with torch.no_grad():
        rbm.weight.fill_(w)
        rbm.visible.bias.fill_(b)
        rbm.hidden.bias.fill_(c)
    k = np.arange(n_hidden + 1)  # hidden units that are on
    ways = gammaln(n_hidden + 1) - gammaln(k + 1) - gammaln(n_hidden - k + 1)
    return rbm, logsumexp(ways + k * c + n_visible * np.logaddexp(0, b + k * w))


def test_estimates_start_from_rows_trained_on_and_are_wrong_only_with_a_warning():
    rbm, log_z = two_phases(100, 24, 0.13, 0.04)
    X = 1 - (np.random.default_rng(0).random((300, 100)) < 0.03).astype(float)
    model = gb.BernoulliRBM(24, n_iter=0, random_state=0).fit(X)
    model.rbm_.load_state_dict(rbm.state_dict())
    truth = -rbm.free_energy(torch.from_numpy(X)).detach().numpy() - log_z
    result, seeded = model.log_partition(), torch.Generator().manual_seed(0)
    again = gb.log_partition(rbm, "bridge", data=torch.from_numpy(X), generator=seeded)
    agree(result.value, again.value, 0.5)  # there without rows it is wrong by 2.6 nats
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        error = model.score_samples(X) - truth
    assert bool(told) == bool(result.problems)
    assert told or np.abs(error).max() < 0.1
    with pytest.warns(gb.LikelihoodWarning, match=ONE_SIDED):
        one_way = model.set_params(likelihood="ais").score_samples(X) - truth
    assert np.abs(one_way).max() < 0.3  # 2.6 without rows


def test_a_score_does_not_depend_on_the_rows_scored_with_it():
    X = sparse_rows(60, 30)
    model = gb.BernoulliRBM(21, n_iter=2, random_state=0).fit(X)
    together = model.score_samples(X)
    for row in (0, 31, 59):
        agree(model.score_samples(X[row : row + 1]), together[row : row + 1], 1e-12)


def test_log_z_is_found_once_a_model(monkeypatch):
    calls = []

    def counted(*args, **options):
        calls.append(args[1])
        return gb.log_partition(*args, **options)

    monkeypatch.setattr(fitted, "log_partition", counted)
    model = gb.BernoulliRBM(3, n_iter=2, random_state=0).fit(bits(4))
    model.score(bits(4)), model.score_samples(bits(4)[:2]), model.log_partition()
    assert calls == ["auto"]
    model = pickle.loads(pickle.dumps(model))
    model.score(bits(4))
    assert calls == ["auto"]
    model.partial_fit(bits(4)).score(bits(4))
    assert calls == ["auto"] * 2
    with torch.no_grad():
        model.rbm_.weight[0, 0] += 1.0
    model.score(bits(4))
    assert calls == ["auto"] * 3
    assert model.set_params(likelihood="exact").log_partition() == model.log_partition()
    assert calls == ["auto"] * 3 + ["exact"]
    model.set_params(likelihood="pseudo").score(bits(4))
    assert calls == ["auto"] * 3 + ["exact"]
    assert model.log_partition().method == "exact"


def test_log_z_belongs_to_the_model_in_units_of_the_data():
    X = np.random.default_rng(0).normal([5, -100], [1, 20], (50, 2))
    model = gb.GaussianRBM(3, n_iter=2, random_state=0).fit(X)
    agree(model.log_partition().value, gb.exact.log_partition(model.rbm_).item())
    rows = model._training.sample.rows
    agree(rows[rows[:, 0].argsort()], X[X[:, 0].argsort()])
    generator = torch.Generator().manual_seed(0)
    bridge = gb.log_partition(model.rbm_, "bridge", data=rows, generator=generator)
    agree(model.set_params(likelihood="bridge").log_partition().value, bridge.value, 1e-12)


def test_a_model_from_scikit_learn_has_no_rows_to_start_from():
    theirs = sklearn.neural_network.BernoulliRBM(3, n_iter=1, random_state=0).fit(bits(4))
    ours = gb.BernoulliRBM.from_sklearn(theirs).set_params(likelihood="ais")
    with pytest.warns(gb.LikelihoodWarning):
        assert np.isfinite(ours.score(bits(4)))


@pytest.mark.parametrize("size", [1, 7, 500, 4000])
def test_every_row_seen_is_as_likely_to_be_kept(size):
    numbered = np.arange(4000.0)[:, None]
    sample = Sample()
    for start in range(0, 4000, size):
        sample = sample.extended(Rows(numbered[start : start + size]), torch.float64)
    kept = np.sort(sample.rows[:, 0].numpy())
    assert sample.seen == 4000
    assert len(kept) == len(np.unique(kept)) == 500
    # mean of 500 of 0 .. 3999 without replacement
    stderr = 4000 / np.sqrt(12 * 500) * np.sqrt(3500 / 3999)
    assert abs(kept.mean() - 1999.5) < 4 * stderr
    assert 80 < (kept < 1000).sum() < 170  # 125, sd 9


def test_few_rows_are_all_kept_and_wide_ones_in_bounded_memory():
    few = Sample().extended(Rows(bits(4)), torch.float32).extended(Rows(bits(4)), torch.float32)
    assert len(few.rows) == few.seen == 32
    assert few.rows.dtype == torch.float32
    agree(few.rows.mean(0), np.full(4, 0.5))
    for columns, rows in ((2**20 // 500, 500), (2**20 // 300, 300), (2**16, 100)):
        wide = Rows(np.zeros((510, columns), np.float32))
        assert len(Sample().extended(wide, torch.float32).rows) == rows


def test_blocks_do_not_show(monkeypatch):
    rbm = estimator(0).rbm_
    for score in (negative_free_energies, pseudo_log_likelihoods):
        whole = scores.scores(rbm, Rows(bits(4)), score)
        monkeypatch.setattr(scores, "BLOCK_BYTES", 8 * 7 * 3)  # three rows
        agree(scores.scores(rbm, Rows(bits(4)), score), whole, 1e-14)
        monkeypatch.undo()
