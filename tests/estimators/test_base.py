"""What both estimators share, against NumPy formulas, enumeration and scikit-learn's rules."""

import inspect
import pickle
import re
import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from montecarlo import tv_floor
from oracle import agree, arrays, bernoulli_table, bits
from outcomes import outcome
from scipy.special import expit
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import gibbsite as gb
from gibbsite.estimators import training
from gibbsite.estimators.tables import as_rows

BOTH = (gb.BernoulliRBM, gb.GaussianRBM)
each = pytest.mark.parametrize("kind", BOTH, ids=lambda kind: kind.__name__)
SMALL = {"n_components": 3, "n_iter": 3, "random_state": 0}
BINARY = (np.random.default_rng(0).random((40, 5)) < [0.1, 0.3, 0.5, 0.7, 0.9]).astype(float)
FLOAT32 = 1e-6  # tolerance for what is trained in it
PATTERNS = np.repeat([[0.0, 0, 0, 1, 1], [1, 1, 1, 0, 0], [0, 1, 0, 1, 0]], [40, 40, 20], axis=0)
OWN = {gb.BernoulliRBM: {}, gb.GaussianRBM: {"whiten": False}}  # by column, as formulas here are
STREAM = {"n_iter": 1, "schedule": "constant", "average": 0.0, "l2": 0.0}  # as partial_fit trains
SPARSE = [sp.csr_matrix, sp.csc_matrix, sp.coo_matrix, sp.csr_array, sp.lil_array]


def parameters(estimator) -> list[np.ndarray]:
    return [p.detach().numpy().copy() for p in estimator.rbm_.parameters()]


def assert_same(ours, theirs) -> None:
    for a, b in zip(parameters(ours), parameters(theirs), strict=True):
        np.testing.assert_array_equal(a, b)


STOCHASTIC = {
    f"check_sample_weight_equivalence_on_{form}_data": "minibatches of other rows are other draws"
    for form in ("dense", "sparse")
}


@parametrize_with_checks(
    [kind(n_components=4, n_iter=2) for kind in BOTH], expected_failed_checks=lambda _: STOCHASTIC
)
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


# formulas


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_and_reconstructions_are_the_conditional_means(kind, dtype):
    model = kind(**SMALL).fit(BINARY.astype(dtype))
    w, b, c = arrays(model.rbm_)
    sigma = getattr(model, "sigma_", np.ones(5)).astype(float)
    features = model.transform(BINARY.astype(dtype))
    agree(features, expit(BINARY / sigma @ w + c), 1e-5)
    inputs = bits(3) @ w.T
    means = expit(b + inputs) if kind is gb.BernoulliRBM else b + sigma * inputs
    back = model.inverse_transform(bits(3).astype(dtype))
    agree(back, means, 1e-5)
    assert features.dtype == back.dtype == model.components_.dtype == dtype
    agree(model.components_, w.T)
    agree(model.intercept_visible_, b)
    agree(model.intercept_hidden_, c)


@each
def test_what_is_fitted_has_the_shapes_of_scikit_learn(kind):
    model = kind(**SMALL, chains=7).fit(BINARY)
    assert model.n_features_in_ == 5
    assert model.components_.shape == (3, 5)
    assert model.intercept_hidden_.shape == (3,)
    assert model.intercept_visible_.shape == (5,)
    assert model.h_samples_.shape == (7, 3)
    assert set(np.unique(model.h_samples_)) <= {0, 1}
    assert len(model.history_) == 3
    assert not hasattr(model, "feature_names_in_")
    prefix = kind.__name__.lower()
    assert list(model.get_feature_names_out()) == [f"{prefix}{i}" for i in range(3)]


@each
def test_hidden_states_without_persistent_chains_are_drawn_the_same_each_time(kind):
    model = kind(**SMALL, gradient="cd", chains=7).fit(BINARY)
    first = model.h_samples_
    assert first.shape == (7, 3)
    np.testing.assert_array_equal(first, model.h_samples_)


def binary_model(kind=gb.BernoulliRBM) -> gb.BernoulliRBM:
    """Fitted, then given strong weights of its own."""
    model = kind(n_components=3, n_iter=0, random_state=0).fit(BINARY[:, :4])
    rng = np.random.default_rng(5)
    with torch.no_grad():
        for p in model.rbm_.parameters():
            p.copy_(torch.from_numpy(rng.normal(size=tuple(p.shape))))
    return model


def numbers(v: np.ndarray) -> np.ndarray:
    return (v @ [8, 4, 2, 1]).astype(int)


@pytest.mark.parametrize("how", ["exact", "chains"])
def test_samples_are_distributed_as_the_model(how, monkeypatch):
    model, n = binary_model(), 4000
    if how == "chains":
        monkeypatch.setattr(gb.exact, "EXACT_STATES", 0)
    v = model.sample(n, steps=100, random_state=1)
    p = bernoulli_table(*arrays(model.rbm_)).sum(1)
    observed = np.bincount(numbers(v), minlength=16) / n
    assert 0.5 * np.abs(observed - p).sum() < tv_floor(p, n)
    np.testing.assert_array_equal(v, model.sample(n, steps=100, random_state=1))
    assert (v != model.sample(n, steps=100)).any()


def test_a_gibbs_step_leaves_the_model_stationary_and_follows_its_conditionals():
    model, n = binary_model(), 20000
    table = bernoulli_table(*arrays(model.rbm_))
    p = table.sum(1)
    after = model.gibbs(model.sample(n, random_state=2))
    assert 0.5 * np.abs(np.bincount(numbers(after), minlength=16) / n - p).sum() < tv_floor(p, n)
    h_given_v, v_given_h = table / p[:, None], table / table.sum(0)
    step = h_given_v[5] @ v_given_h.T  # from v = 0101
    after = model.gibbs(np.tile([0.0, 1, 0, 1], (n, 1)))
    near = 0.5 * np.abs(np.bincount(numbers(after), minlength=16) / n - step).sum()
    assert near < tv_floor(step, n) < 0.5 * np.abs(step - p).sum()


# training


@each
def test_an_update_is_one_step_up_the_exact_gradient(kind):
    options = {"gradient": "exact", "centered": False, "learning_rate": 0.2, "batch_size": 40}
    model = kind(**SMALL | {"n_iter": 0}, **options, **OWN[kind]).fit(BINARY)
    units = model._training.units
    before = {name: p.detach().clone() for name, p in model._training.rbm.named_parameters()}
    rows = torch.from_numpy((BINARY - units.shift) / units.scale)
    wanted = gb.exact.gradient(model._training.rbm, rows)
    model.partial_fit(BINARY)
    for name, p in model._training.rbm.named_parameters():
        agree((p.detach() - before[name]).numpy(), 0.2 * wanted[name].numpy(), FLOAT32)


@each
@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_penalties_pull_the_weights_down(kind, penalty):
    options = {"gradient": "exact", "learning_rate": 0.2, "batch_size": 40, penalty: 0.3}
    model = kind(**SMALL | {"n_iter": 0}, **options).fit(BINARY)
    plain = pickle.loads(pickle.dumps(model)).set_params(**{penalty: 0.0}).partial_fit(BINARY)
    w = arrays(model._training.rbm)[0].copy()
    pull = w if penalty == "l2" else np.sign(w)
    model.partial_fit(BINARY)
    agree(plain.components_.T - model.components_.T, 0.2 * 0.3 * pull, FLOAT32)


@each
def test_training_is_the_same_for_double_precision(kind):
    """It is in float32 for either; only what is fitted takes the dtype of the data."""
    options = {"n_iter": 3, "momentum": 0.5, "random_state": 0}
    double, single = (kind(4, **options).fit(BINARY.astype(f"f{size}")) for size in (8, 4))
    for name in ("components_", "intercept_hidden_", "intercept_visible_", "h_samples_"):
        ours, theirs = getattr(double, name), getattr(single, name)
        assert (ours.dtype, theirs.dtype) == (np.float64, np.float32)
        agree(ours, theirs, FLOAT32)
    assert double.history_.column("gradient_norm") == pytest.approx(
        single.history_.column("gradient_norm"), rel=FLOAT32
    )


@each
@pytest.mark.parametrize("gradient", ["pcd", "cd", "mean-field", "exact"])
@pytest.mark.parametrize("centered", [False, True])
def test_every_gradient_raises_the_likelihood(kind, gradient, centered):
    X = PATTERNS
    X = X + (0 if kind is gb.BernoulliRBM else np.random.default_rng(0).normal(0, 0.3, X.shape))
    options = {"gradient": gradient, "centered": centered, "learning_rate": 0.2}
    before = kind(**SMALL | {"n_iter": 0}, **options).fit(X).score(X)
    assert kind(**SMALL | {"n_iter": 60}, **options).fit(X).score(X) > before + 0.1


@each
def test_the_first_partial_fit_is_one_epoch_of_fit(kind):
    options = SMALL | STREAM
    assert_same(kind(**options).fit(BINARY), kind(**options).partial_fit(BINARY))


@each
@pytest.mark.parametrize("schedule", ["linear", "constant"])
def test_the_learning_rate_falls_as_the_schedule_says(kind, schedule):
    model = kind(**SMALL, schedule=schedule, learning_rate=0.03).fit(BINARY)
    expected = 0.03 * np.array([1, 2 / 3, 1 / 3] if schedule == "linear" else [1, 1, 1])
    agree(model.history_.column("learning_rate"), expected)
    model.partial_fit(BINARY)
    agree(model.history_.column("learning_rate"), [0.03])


@each
def test_a_warm_start_goes_on_as_partial_fit_does(kind):
    options = SMALL | STREAM
    warm, by_parts = kind(**options, warm_start=True), kind(**options)
    for _ in range(3):
        assert_same(warm.fit(BINARY), by_parts.partial_fit(BINARY))
    with pytest.raises(ValueError, match=r"has 4 features, but .* expecting 5"):
        warm.fit(BINARY[:, :4])
    with pytest.raises(gb.ArgumentError, match=r"n_components=4: .* has 3; .* warm_start=False"):
        warm.set_params(n_components=4).fit(BINARY)
    assert warm.set_params(warm_start=False).fit(BINARY).rbm_.hidden.n == 4


@each
def test_fit_forgets_and_partial_fit_goes_on(kind):
    model = kind(**SMALL).fit(BINARY)
    start = parameters(model)
    assert model.partial_fit(BINARY) is model
    assert any((a != b).any() for a, b in zip(start, parameters(model), strict=True))
    assert_same(model.fit(BINARY), kind(**SMALL).fit(BINARY))
    model.fit(BINARY[:, :4])
    assert model.n_features_in_ == 4


@each
def test_the_same_seed_gives_the_same_model_and_touches_no_global_generator(kind):
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    model = kind(**SMALL).fit(BINARY)
    assert_same(model, kind(**SMALL).fit(BINARY))
    model.sample(3)
    model.gibbs(BINARY)
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002
    source = np.random.RandomState(0)
    options = SMALL | {"random_state": source}
    first, second = kind(**options).fit(BINARY), kind(**options).fit(BINARY)
    assert_same(first, model)
    assert (first.components_ != second.components_).any()
    assert (model.components_ != kind(**SMALL | {"random_state": 1}).fit(BINARY).components_).any()


@each
def test_without_a_seed_numpys_global_one_counts(kind, monkeypatch):
    def fitted():
        monkeypatch.setattr(np.random.mtrand, "_rand", np.random.RandomState(3))
        return kind(**SMALL | {"random_state": None}).fit(BINARY)

    assert_same(fitted(), fitted())


@each
@pytest.mark.parametrize("gradient", ["pcd", "cd"])
def test_a_pickle_goes_on_as_the_original(kind, gradient):
    model = kind(**SMALL, momentum=0.5, gradient=gradient).fit(BINARY)
    copied = pickle.loads(pickle.dumps(model))
    assert copied.get_params() == model.get_params()
    np.testing.assert_array_equal(copied.transform(BINARY), model.transform(BINARY))
    np.testing.assert_array_equal(copied.score_samples(BINARY), model.score_samples(BINARY))
    for _ in range(3):
        model.partial_fit(BINARY)
        copied.partial_fit(BINARY)
    assert_same(model, copied)
    np.testing.assert_array_equal(copied.sample(5), model.sample(5))


@each
def test_chains_and_momentum_are_carried_from_call_to_call(kind):
    model = kind(**SMALL, momentum=0.9).fit(BINARY)
    assert set(model._training.momentum) == {n for n, _ in model._training.rbm.named_parameters()}
    without = pickle.loads(pickle.dumps(model))
    without._training.momentum = {}
    model.partial_fit(BINARY)
    without.partial_fit(BINARY)
    assert (model.components_ != without.components_).any()
    fresh = pickle.loads(pickle.dumps(model))
    fresh._training.state = None
    assert (model.partial_fit(BINARY).components_ != fresh.partial_fit(BINARY).components_).any()


@each
def test_a_clone_is_unfitted_and_fits_the_same(kind):
    model = kind(**SMALL, l2=0.01).fit(BINARY)
    copied = clone(model)
    with pytest.raises(NotFittedError):
        copied.transform(BINARY)
    assert_same(copied.fit(BINARY), model)


def test_hyperparameters_of_scikit_learn_keep_their_names_and_defaults():
    from sklearn.neural_network import BernoulliRBM

    theirs = inspect.signature(BernoulliRBM).parameters
    ours = gb.BernoulliRBM().get_params()
    assert {name: p.default for name, p in theirs.items()}.items() <= ours.items()
    assert gb.BernoulliRBM(7).n_components == gb.GaussianRBM(7).n_components == 7


@each
def test_zero_passes_only_initialise(kind):
    model = kind(**SMALL | {"n_iter": 0}, **OWN[kind]).fit(BINARY)
    assert len(model.history_) == 0
    assert 0 < np.abs(model.components_).max() < 0.5
    expected = BINARY.mean(0)
    if kind is gb.BernoulliRBM:
        ones = BINARY.sum(0)
        expected = np.log((ones + 0.5) / (40 - ones + 0.5))
    agree(model.intercept_visible_, expected, FLOAT32)
    assert (arrays(model._training.rbm)[2] == 0).all()


@each
def test_three_hundred_small_batches_keep_the_mean_of_the_data(kind):
    rng = np.random.default_rng(0)
    centres = rng.permuted(np.repeat([0.1, 0.3, 0.6, 0.8], 2))
    model = kind(n_components=6, batch_size=10, learning_rate=0.01, random_state=0)
    for _ in range(300):  # of 100 rows: more than a minibatch, which is where scikit-learn drifts
        model.partial_fit((rng.random((100, 8)) < centres).astype(float))
    means = gb.exact.moments(model.rbm_.double()).visible.numpy()
    # SGD at rest: rows and chains make means jitter by sqrt(rate / 2 * (1/10 + 1/100)) = 0.023
    # standard deviations of a column, each at most 0.5; 0.1 is 8 times that
    assert np.abs(means - centres).max() < 0.1


# interruptions and failures


@each
def test_ctrl_c_keeps_the_model_and_is_heard(kind, monkeypatch):
    def interrupt(self, rbm, record):
        if record["epoch"] == 3:
            raise KeyboardInterrupt
        return {}

    monkeypatch.setattr(training.PrintedEpoch, "__call__", interrupt)
    model = kind(**SMALL | {"n_iter": 9, "verbose": 1})
    with pytest.raises(KeyboardInterrupt):
        model.fit(BINARY)
    assert len(model.history_) == 2
    assert model.history_.interrupted
    assert np.isfinite(model.transform(BINARY)).all()
    monkeypatch.undo()
    assert len(model.set_params(verbose=0).partial_fit(BINARY).history_) == 1


@each
def test_divergence_is_an_error_and_leaves_the_model_before_it(kind):
    X = BINARY.astype(np.float32)  # whose largest number is 3.4e38
    model = kind(**SMALL, centered=True).fit(X)
    before = parameters(model)
    model.set_params(learning_rate=3e38)
    with pytest.raises(gb.DivergenceError, match="learning rate"):
        model.partial_fit(X)
    for old, new in zip(before, parameters(model), strict=True):
        np.testing.assert_array_equal(old, new)


@each
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_components", 0),
        ("n_components", 2.5),
        ("batch_size", 0),
        ("n_iter", -1),
        ("n_iter", "many"),
        ("learning_rate", 0),
        ("learning_rate", -0.1),
        ("learning_rate", float("nan")),
        ("momentum", 1.0),
        ("l1", -1),
        ("l2", "strong"),
        ("gradient", "pcd5"),
        ("steps", 0),
        ("chains", 0),
        ("schedule", "cosine"),
        ("device", "tpu"),
    ],
)
def test_a_bad_hyperparameter_is_named(kind, name, value):
    with pytest.raises(gb.ArgumentError, match=re.escape(f"{name}={value!r}")):
        kind(**SMALL | {name: value}).fit(BINARY)
    if name != "n_iter":
        with pytest.raises(gb.ArgumentError, match=re.escape(f"{name}={value!r}")):
            kind(**SMALL | {name: value}).partial_fit(BINARY)


@each
def test_a_bad_likelihood_is_named_where_it_is_used(kind):
    model = kind(**SMALL, likelihood="best").fit(BINARY)
    with pytest.raises(gb.ArgumentError, match="likelihood='best'"):
        model.score(BINARY)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@each
def test_without_cuda_asking_for_it_says_so_and_auto_uses_the_cpu(kind):
    with pytest.raises(gb.ArgumentError, match="device='cuda'"):
        kind(**SMALL, device="cuda").fit(BINARY)
    assert_same(kind(**SMALL, device="auto").fit(BINARY), kind(**SMALL).fit(BINARY))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@each
def test_on_cuda_what_is_fitted_lies_on_the_cpu(kind):  # pragma: no cover
    model = kind(**SMALL, device="cuda").fit(BINARY).partial_fit(BINARY)
    assert model.rbm_.weight.device.type == "cpu"
    on_cpu = pickle.loads(pickle.dumps(model)).set_params(device="cpu")
    agree(model.transform(BINARY), on_cpu.transform(BINARY), 1e-6)
    agree(model.score_samples(BINARY), on_cpu.score_samples(BINARY), 1e-5)
    assert model.sample(4).shape == model.gibbs(BINARY[:4]).shape == (4, 5)


@each
def test_nothing_works_before_fit_nor_after_one_that_failed(kind):
    model = kind(**SMALL, centered=True)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.full((3, 5), np.nan))
    with pytest.raises(gb.DivergenceError):
        model.set_params(learning_rate=3e38).fit(BINARY.astype(np.float32))
    calls = [model.transform, model.inverse_transform, model.score_samples, model.score]
    for call in [
        *calls,
        model.gibbs,
        lambda X: model.sample(),
        lambda X: model.get_feature_names_out(),
    ]:
        with pytest.raises(NotFittedError):
            call(BINARY)
    assert not hasattr(model, "components_")


@each
def test_tables_that_do_not_fit_are_refused_with_their_numbers(kind):
    model = kind(**SMALL).fit(BINARY)
    for call in (model.transform, model.score_samples, model.gibbs, model.partial_fit):
        with pytest.raises(ValueError, match=r"4 features.*5 features"):
            call(BINARY[:, :4])
    with pytest.raises(gb.DataError, match=r"2 columns.*3 components"):
        model.inverse_transform(np.zeros((1, 2)))
    for options in ({"n_samples": 0}, {"n_samples": 2.5}, {"steps": 0}):
        ((name, value),) = options.items()
        with pytest.raises(gb.ArgumentError, match=f"{name}={value}: expected"):
            model.sample(**options)


# tables


@each
@pytest.mark.parametrize("form", SPARSE, ids=lambda form: form.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sparse_table_gives_what_a_dense_one_gives(kind, form, dtype):
    X = BINARY.astype(dtype)
    dense, sparse = kind(**SMALL).fit(X), kind(**SMALL).fit(form(X))
    assert_same(dense, sparse)
    assert_same(dense.partial_fit(X), sparse.partial_fit(form(X)))
    for method in ("transform", "score_samples"):
        np.testing.assert_array_equal(getattr(dense, method)(X), getattr(sparse, method)(form(X)))
    np.testing.assert_array_equal(dense.gibbs(X), sparse.gibbs(form(X)))
    h = dense.transform(X)
    np.testing.assert_array_equal(dense.inverse_transform(h), dense.inverse_transform(form(h)))


def sparse_ones(rows: int, columns: int) -> sp.csr_matrix:
    """float32, with ten ones a row."""
    rng = np.random.default_rng(0)
    where = np.sort(rng.integers(0, columns, (rows, 10))).ravel(), np.arange(rows + 1) * 10
    table = sp.csr_matrix((np.ones(rows * 10, np.float32), *where), (rows, columns))
    table.sum_duplicates()
    table.data[:] = 1
    return table


def test_a_sparse_table_is_densified_in_blocks_only():
    """240 MB if it were dense; training and features see 32 MiB at a time."""
    X = sparse_ones(3000, 20_000)
    tracemalloc.start()  # NumPy reports to it, and what scipy densifies is NumPy's
    model = gb.BernoulliRBM(2, n_iter=1, batch_size=500, chains=10, random_state=0).fit(X)
    assert model.transform(X).shape == (3000, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2e8


def test_a_sparse_table_of_sixteen_gigabytes_can_be_begun_and_gone_on_with():
    X = sparse_ones(200_000, 20_000)
    model = gb.BernoulliRBM(2, n_iter=0, chains=10, random_state=0).fit(X)
    assert np.isfinite(model.partial_fit(X[:20]).transform(X[-20:])).all()


@each
@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_frames_have_their_columns_named_and_checked(kind, frame):
    columns = dict(zip("abcde", BINARY.T, strict=True))
    model = kind(**SMALL).fit(frame(columns))
    assert list(model.feature_names_in_) == list("abcde")
    assert_same(model, kind(**SMALL).fit(BINARY))
    np.testing.assert_array_equal(
        model.transform(frame(columns)), kind(**SMALL).fit_transform(BINARY)
    )
    with pytest.raises(ValueError, match="feature names should match"):
        model.transform(frame(dict(reversed(columns.items()))))


@each
@pytest.mark.parametrize("form", ["pandas", "polars"])
def test_set_output_gives_frames(kind, form):
    model = kind(**SMALL).set_output(transform=form)
    features = model.fit_transform(BINARY)
    assert isinstance(features, pd.DataFrame if form == "pandas" else pl.DataFrame)
    assert list(features.columns) == list(model.get_feature_names_out())
    np.testing.assert_array_equal(features.to_numpy(), kind(**SMALL).fit_transform(BINARY))


@pytest.mark.filterwarnings("ignore:constant")
@given(st.data())
@settings(max_examples=25)
def test_odd_tables_work_or_are_refused_by_name(data):
    kind = data.draw(st.sampled_from(BOTH))
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 3)))
    values = data.draw(st.sampled_from([[0, 1], [0, 0.25, 1], [-1, 7], [3], [0, 1e9], [1e-300]]))
    dtype = data.draw(st.sampled_from([bool, np.uint8, np.int64, np.float16, np.float32, float]))
    with np.errstate(all="ignore"):
        X = np.random.default_rng(0).choice(values, shape).astype(dtype, order="F")
    if not np.isfinite(X).all():
        return
    X.flags.writeable = data.draw(st.booleans())
    model, refusal = outcome(lambda: kind(2, n_iter=1, random_state=0).fit(X))
    if refusal:
        assert kind is gb.BernoulliRBM
        assert refusal.startswith("Negative values in data")
        assert X.min() < 0
        return
    assert np.isfinite(model.transform(X)).all()
    assert np.isfinite(model.score_samples(X)).all()
    assert np.isfinite(model.gibbs(X)).all()
    assert model.sample(2).shape == (2, shape[1])


# in a pipeline


@pytest.mark.slow
def test_a_search_in_two_processes():
    X = np.concatenate([BINARY, 1 - BINARY])
    y = np.repeat([0, 1], 40)
    binary = make_pipeline(MinMaxScaler(), gb.BernoulliRBM(**SMALL))
    features = FeatureUnion([("binary", binary), ("real", gb.GaussianRBM(**SMALL))])
    pipeline = make_pipeline(features, LogisticRegression())
    grid = {"featureunion__real__n_components": [1, 3]}
    search = GridSearchCV(pipeline, grid, n_jobs=2, cv=2, error_score="raise").fit(X, y)
    alone = GridSearchCV(pipeline, grid, n_jobs=1, cv=2, error_score="raise").fit(X, y)
    agree(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])


@each
def test_a_search_by_likelihood_finds_the_model_that_learns(kind):
    model = kind(3, n_iter=120, random_state=0)
    X = np.random.default_rng(0).permutation(PATTERNS)
    X = X + (0 if kind is gb.BernoulliRBM else np.random.default_rng(1).normal(0, 0.3, X.shape))
    rate = 0.2 if kind is gb.BernoulliRBM else 0.02
    search = GridSearchCV(model, {"learning_rate": [1e-6, rate]}, cv=2).fit(X)
    assert search.best_params_ == {"learning_rate": rate}


@each
def test_verbose_prints_a_line_an_epoch_as_scikit_learn_does(kind, capsys):
    kind(**SMALL).fit(BINARY)
    assert capsys.readouterr().out == ""
    model = kind(**SMALL, verbose=1).fit(BINARY)
    lines = capsys.readouterr().out.splitlines()
    pattern = r"\[%s\] Iteration (\d), pseudo-likelihood = -?\d+\.\d\d, time = \d+\.\d\ds"
    found = [re.fullmatch(pattern % kind.__name__, line) for line in lines]
    assert [match and match[1] for match in found] == ["1", "2", "3"]
    expected = gb.pseudo_likelihood(model._training.rbm, as_rows(BINARY, model._training.units)[:])
    assert model.history_.column("pseudo_likelihood")[-1] == pytest.approx(expected, rel=1e-6)


@each
def test_the_model_is_stored_by_save(kind, tmp_path):
    model = kind(**SMALL).fit(BINARY)
    gb.save(model.rbm_, tmp_path / "model.safetensors")
    rbm = gb.load(tmp_path / "model.safetensors")
    v = torch.from_numpy(BINARY)
    np.testing.assert_array_equal(rbm.free_energy(v).detach(), model.rbm_.free_energy(v).detach())


@each
def test_row_weights_count_as_rows(kind):
    """With the exact gradient of one batch, a row of weight 2 is that row twice."""
    options = SMALL | {"gradient": "exact", "batch_size": 40, "n_iter": 30, "learning_rate": 0.5}
    options |= {"standardize": False} if kind is gb.GaussianRBM else {}
    weights = np.tile([0, 2, 1, 1], 10)
    weighted = kind(**options).fit(BINARY, sample_weight=weights)
    repeated = kind(**options).fit(np.repeat(BINARY, weights, axis=0))
    plain = kind(**options).fit(BINARY)
    for ours, theirs in zip(arrays(weighted.rbm_), arrays(repeated.rbm_), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert abs(arrays(plain.rbm_)[1] - arrays(weighted.rbm_)[1]).max() > 0.01
