"""Estimators from the folders of runs of the command."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from oracle import agree
from typer.testing import CliRunner

import gibbsite as gb
from gibbsite.cli import app, job

RNG = np.random.default_rng(0)
ONES = (RNG.random((60, 4)) < [0.1, 0.4, 0.6, 0.9]).astype(np.float32)
BINARY = pd.DataFrame(ONES, columns=list("abcd"))
NUMBERS = RNG.normal([5.0, -100.0, 0.0], [1.0, 20.0, 0.1], (60, 3)).astype(np.float32)
REAL = pd.DataFrame(NUMBERS, columns=list("abc"))


@pytest.fixture(scope="module", autouse=True)
def no_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job.Job, "_write_pictures", lambda *_: None)
        yield


def run_on(frame, folder, *options):
    """The folder of a run on those rows."""
    table = folder / "rows.csv"
    frame.to_csv(table, index=False)
    short = ["--epochs", 3, "--hidden", 3, "--budget", 0, "--batch-size", 20, "--test-fraction", 0]
    args = ["fit", table, "-o", folder / "run", *short, *options]
    assert CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False).exit_code == 0
    return folder / "run"


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    return run_on(BINARY, tmp_path_factory.mktemp("binary"), "--seed", 7, "--learning-rate", 0.02)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return run_on(REAL, tmp_path_factory.mktemp("real"), "--visible", "gaussian", "--sigma", 0.5)


def test_the_model_settings_and_names_of_a_binary_run(binary):
    model, rbm = gb.BernoulliRBM.from_run(binary), gb.load(binary)
    for ours, theirs in zip(model.rbm_.parameters(), rbm.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    agree(
        model.score_samples(BINARY),
        gb.exact.log_likelihood(rbm, torch.from_numpy(ONES)).detach(),
        1e-5,
    )
    assert list(model.feature_names_in_) == list("abcd")
    assert model.data_range_ == (0, 1)
    wanted = {"n_components": 3, "n_iter": 3, "batch_size": 20, "learning_rate": 0.02}
    wanted |= {"random_state": 7, "centered": True, "momentum": 0.0, "chains": 500}
    assert {name: model.get_params()[name] for name in wanted} == wanted


def test_chains_of_the_last_checkpoint_go_on(binary):
    stored = gb.Checkpoints(binary / "checkpoints").read()["gradient"]
    model = gb.BernoulliRBM.from_run(binary)
    np.testing.assert_array_equal(model.h_samples_, stored[0][1].numpy())
    before = model.rbm_.weight.clone()
    model.partial_fit(BINARY)
    assert 0 < (model.rbm_.weight - before).abs().max() < 0.1


def test_a_real_run_keeps_its_standard_units(real):
    model, rbm = gb.GaussianRBM.from_run(real), gb.load(real)
    agree(model.mean_, NUMBERS.mean(0), 1e-5)
    agree(model.scale_, NUMBERS.std(0), 1e-5)
    exact = gb.exact.log_likelihood(rbm, torch.from_numpy(NUMBERS)).detach()
    agree(model.score_samples(REAL), exact, 1e-4)
    standard = model._training.rbm.visible.sigma.detach().numpy()
    agree(standard * model.scale_, rbm.visible.sigma.detach(), 1e-5)
    before = model.score(REAL)
    model.set_params(warm_start=True, n_iter=5).fit(REAL)
    assert model.score(REAL) > before - 0.1  # in units far from the data it would be lost
    assert model.sigma == 0.5


def test_what_is_no_such_run_is_refused(binary, real, tmp_path):
    with pytest.raises(gb.ArgumentError, match=r"gaussian visible .* expected bernoulli"):
        gb.BernoulliRBM.from_run(real)
    with pytest.raises(gb.ArgumentError, match=r"bernoulli visible .* expected gaussian"):
        gb.GaussianRBM.from_run(binary)
    with pytest.raises(gb.DataError, match=r"is no run\.json that can be used: .*No such file"):
        gb.BernoulliRBM.from_run(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {"names": None}}, "earlier version"),
        ({"data": {"names": None, "scaling": {"shift": [0], "scale": [1]}}}, "damaged"),
        ({"settings": {}}, "no usable"),
        ({"format": 2}, "format 2"),
    ],
)
def test_damaged_records_are_refused(real, tmp_path, change, message):
    record = json.loads((real / "run.json").read_text()) | change
    (tmp_path / "run.json").write_text(json.dumps(record))
    gb.save(gb.load(real), tmp_path / "model.safetensors")
    with pytest.raises(gb.DataError, match=message):
        gb.GaussianRBM.from_run(tmp_path)
