"""The classifier: probabilities against enumeration, scikit-learn's rules, training."""

import contextlib

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

import gibbsite as gb

STOCHASTIC = {
    "check_sample_weight_equivalence_on_dense_data": "minibatches of other rows are other draws"
}
MODES = ("hybrid", "discriminative", "generative")
ITERATIONS = {"hybrid": 12, "discriminative": 12, "generative": 25}
ACCURACY = {"hybrid": 0.93, "discriminative": 0.93, "generative": 0.8}
each_mode = pytest.mark.parametrize("mode", MODES)
X, Y = load_iris(return_X_y=True)
BINARY = (np.random.default_rng(0).random((60, 4)) < [0.1, 0.3, 0.5, 0.7]).astype(float)
LABELS = np.where(BINARY[:, 0] + BINARY[:, 3] > 1, "both", np.where(BINARY[:, 1] > 0, "b", "c"))
SMALL = {"n_components": 3, "n_iter": 30, "random_state": 0}


@parametrize_with_checks(
    [gb.RBMClassifier(4, n_iter=30, learning_rate=0.2)], expected_failed_checks=lambda _: STOCHASTIC
)
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


def joint(model, x: np.ndarray) -> np.ndarray:
    """log p(x, y) of every class by enumeration of all of the model, (rows, classes)."""
    classes = len(model.classes_)
    rows = [np.c_[x, np.full(len(x), code)] for code in range(classes)]
    rbm = model.rbm_.double()
    parts = [gb.exact.log_likelihood(rbm, torch.from_numpy(part)).detach() for part in rows]
    return torch.stack(parts, 1).numpy()


@each_mode
def test_probabilities_are_those_of_the_joint_distribution(mode):
    model = gb.RBMClassifier(mode=mode, **SMALL).fit(BINARY, LABELS)
    logs = joint(model, BINARY)
    wanted = logs - np.logaddexp.reduce(logs, 1)[:, None]
    found = model.predict_log_proba(BINARY)
    np.testing.assert_allclose(found, wanted, atol=1e-9)
    np.testing.assert_allclose(model.predict_proba(BINARY).sum(1), 1)
    assert list(model.classes_) == ["b", "both", "c"]
    assert (model.predict(BINARY) == model.classes_[wanted.argmax(1)]).all()


def test_a_measured_model_is_in_units_of_the_data():
    model = gb.RBMClassifier(**SMALL).fit(X * [1, 100, 0.01, 1] + [1000, 0, 0, 0], Y)
    rows = X * [1, 100, 0.01, 1] + [1000, 0, 0, 0]
    logs = joint(model, rows)
    wanted = logs - np.logaddexp.reduce(logs, 1)[:, None]
    np.testing.assert_allclose(model.predict_log_proba(rows), wanted, atol=1e-6)
    given = torch.from_numpy(np.r_[rows[0], np.nan])
    label = gb.condition(model.rbm_.double(), gb.layers.Mixed.coerce(model.rbm_.visible, given))
    found = gb.exact.log_likelihood(label, torch.arange(3.0)[:, None]).detach().exp()
    np.testing.assert_allclose(found, model.predict_proba(rows[:1])[0], atol=1e-6)


@each_mode
def test_each_mode_learns_the_digits(mode):
    images, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(digits))
    train, test = order[:1200], order[1200:]
    model = gb.RBMClassifier(50, mode=mode, n_iter=ITERATIONS[mode], random_state=0)
    model.set_params(visible="bernoulli").fit(images[train], digits[train])
    assert model.score(images[test], digits[test]) > ACCURACY[mode]


def test_training_ends_once_held_out_labels_are_predicted_worse_and_keeps_the_best_model():
    noise = np.random.default_rng(1).integers(0, 2, 300)
    x = np.random.default_rng(2).integers(0, 2, (300, 20))
    model = gb.RBMClassifier(50, mode="discriminative", n_iter=300, patience=5, random_state=0)
    model.fit(x, noise)
    scores = [record["validation_log_probability"] for record in model.history_.records]
    assert model.n_iter_ == len(scores) < 300
    assert model.best_iter_ == int(np.argmax(scores)) + 1 == model.n_iter_ - 5
    full = clone(model).set_params(validation_fraction=0, n_iter=7).fit(x, noise)
    assert full.n_iter_ == full.best_iter_ == 7
    assert "validation_accuracy" not in full.history_.records[-1]


def test_weights_of_rows_count():
    x = np.repeat([[0.0, 1.0]], 200, 0)
    y = np.tile([0, 1], 100)
    weights = np.where(y == 1, 3.0, 1.0)
    options = {"mode": "discriminative", "validation_fraction": 0, "l2": 0.0, "random_state": 0}
    model = gb.RBMClassifier(2, n_iter=60, **options).fit(x, y, weights)
    np.testing.assert_allclose(model.predict_proba(x[:1])[0], [0.25, 0.75], atol=0.01)


def test_the_same_seed_gives_the_same_model_and_frames_keep_their_names():
    frame = pd.DataFrame(BINARY, columns=list("abcd"))
    models = [gb.RBMClassifier(**SMALL).fit(frame, LABELS) for _ in range(2)]
    for a, b in zip(*(model.rbm_.parameters() for model in models), strict=True):
        assert torch.equal(a, b)
    assert list(models[0].feature_names_in_) == list("abcd")


def test_a_fitted_model_can_be_saved_sampled_and_conditioned(tmp_path):
    model = gb.RBMClassifier(**SMALL).fit(BINARY, LABELS)
    gb.save(model.rbm_, tmp_path / "model.safetensors")
    again = gb.load(tmp_path / "model.safetensors")
    assert again.visible.n == 5
    clamp = torch.full((5, 7), torch.nan)
    clamp[:, 4:] = torch.tensor([0.0, 1.0, 0.0])
    rows = gb.sample(again, 5, clamp=clamp, steps=5, generator=torch.Generator().manual_seed(0))
    assert (rows[:, 5] == 1).all()


def test_progress_is_printed(capsys):
    gb.RBMClassifier(4, n_iter=2, verbose=1, validation_fraction=0.4).fit(BINARY, LABELS)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "accuracy = " in lines[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "gan"}, "mode='gan': expected one of hybrid"),
        ({"visible": "poisson"}, "visible='poisson'"),
        ({"alpha": -1}, "alpha=-1"),
        ({"validation_fraction": 1.0}, "validation_fraction=1.0: expected a share below 1"),
        ({"patience": 0}, "patience=0"),
        ({"n_iter": 0}, "n_iter=0"),
        ({"n_components": 0}, "n_components=0"),
        ({"learning_rate": 0}, "learning_rate=0"),
        ({"device": "tpu"}, "device='tpu'"),
    ],
)
def test_hyperparameters_that_cannot_be_used_are_refused(options, message):
    with pytest.raises(gb.ArgumentError, match=message):
        gb.RBMClassifier(**options).fit(BINARY, LABELS)


def test_data_that_cannot_be_used_are_refused():
    with pytest.raises(gb.DataError, match="one class alone"):
        gb.RBMClassifier().fit(BINARY, np.zeros(60))
    with pytest.raises(gb.DataError, match="Negative values in data: -1"):
        gb.RBMClassifier(visible="bernoulli").fit(-BINARY, LABELS)
    with pytest.raises(ValueError, match="NaN"):
        gb.RBMClassifier().fit(np.where(BINARY == 0, np.nan, 1), LABELS)
    with pytest.raises(NotFittedError):
        gb.RBMClassifier().predict(BINARY)


def test_a_rate_of_the_recipe_that_diverges_is_lowered(monkeypatch, caplog):
    from gibbsite.estimators import classifier

    chosen = classifier.recipe_for
    monkeypatch.setattr(
        classifier,
        "recipe_for",
        lambda traits, given: chosen(traits, {**given, "learning_rate": 1e6}),
    )
    model = gb.RBMClassifier(4, n_iter=3, random_state=0)
    with caplog.at_level("WARNING", "gibbsite"), contextlib.suppress(gb.DivergenceError):
        model.fit(X, Y)
    assert "starts again at 250000" in caplog.text
