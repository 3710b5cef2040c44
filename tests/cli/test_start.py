"""Runs that start from the model of another."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import gibbsite as gb
from gibbsite.cli import app, job
from gibbsite.cli.folder import read_json
from gibbsite.cli.job import Job
from gibbsite.cli.settings import Settings
from gibbsite.training import History

FIT = ["--epochs", "3", "--budget", "0"]


def run(*args):
    return CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(job.Job, "_write_pictures", lambda *_: None)


@pytest.fixture
def tables(tmp_path):
    """Two tables of the same columns in quite other units, and one of other columns."""
    rng = np.random.default_rng(0)
    for name, rows in (
        ("a", rng.normal(300, 20, (60, 5))),
        ("b", rng.normal(290, 40, (80, 5))),
        ("wide", rng.normal(0, 1, (60, 6))),
        ("bits", rng.integers(0, 2, (60, 5))),
    ):
        np.save(tmp_path / f"{name}.npy", rows.astype("f4"))
    return tmp_path


def same_density(one: gb.RBM, other: gb.RBM, rows: torch.Tensor) -> bool:
    values = [gb.exact.log_likelihood(rbm.double(), rows.double()) for rbm in (one, other)]
    return torch.allclose(*values, atol=1e-3)


def test_the_model_is_brought_to_the_units_of_the_new_data(tables):
    run("fit", tables / "a.npy", *FIT, "--hidden", 3, "-o", tables / "first")
    model = gb.load(tables / "first")
    begun = Job(Settings(str(tables / "b.npy"), start=str(tables / "first"), epochs=3))
    assert begun.rbm.visible.describe() == model.visible.describe()
    rows = torch.from_numpy(np.load(tables / "b.npy"))
    assert same_density(begun.units.restore(begun.rbm), model, rows)
    assert begun.rbm.weight.abs().max() < 10


def test_a_run_that_starts_from_another_keeps_what_it_started_from(tables, monkeypatch):
    """It is resumed to the same bytes, even if the other run has gone on meanwhile."""
    run("fit", tables / "a.npy", *FIT, "--hidden", 3, "-o", tables / "first")
    options = [tables / "b.npy", *FIT, "--from", tables / "first"]
    told = run("fit", *options, "-o", tables / "whole")
    assert told.exit_code == 0
    assert "Bernoulli(3) hidden" in told.stdout

    def killed(*_):
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(job, "append", killed)
        with pytest.raises(ZeroDivisionError):
            run("fit", *options, "--checkpoint-every", 2, "-o", tables / "run")
    run("resume", tables / "first", "--epochs", "+2")
    assert "no checkpoint yet" in run("resume", tables / "run").stdout
    models = [(tables / name / "model.safetensors").read_bytes() for name in ("run", "whole")]
    assert models[0] == models[1]
    assert read_json(tables / "run" / "run.json")["settings"]["start"] == str(tables / "first")
    run("fit", *options, "--hidden", 3, "--visible", "gaussian", "-o", tables / "same")
    assert (tables / "same" / "model.safetensors").read_bytes() == models[0]


def test_training_goes_on_where_the_model_was(tmp_path):
    options = ["digits", "--batch-size", 100, "--budget", 0, "--schedule", "constant"]
    run("fit", *options, "--hidden", 8, "--epochs", 20, "-o", tmp_path / "first")
    run("fit", *options, "--from", tmp_path / "first", "--epochs", 1, "-o", tmp_path / "second")
    names = ("first", "second")
    courses = [
        History.read(tmp_path / name / "history.jsonl").column("test_log_likelihood")
        for name in names
    ]
    assert courses[1][0] > courses[0][-1] - 0.3 > courses[0][0] + 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["wide.npy"], gb.DataError, "wide.npy has 6 columns, and the model .*first, is of 5"),
        (["a.npy", "--hidden", "4"], gb.ArgumentError, "--hidden 4: the model .* has 3 hidden"),
        (["a.npy", "--visible", "bernoulli"], gb.ArgumentError, "bernoulli: the model .*gaussian"),
        (["a.npy", "--hidden-type", "spin"], gb.ArgumentError, "spin: the model .*bernoulli"),
        (["a.npy", "--from", "none"], gb.DataError, "none"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(tables, monkeypatch, options, error, message):
    monkeypatch.chdir(tables)
    run("fit", "a.npy", *FIT, "--hidden", 3, "-o", "first")
    with pytest.raises(error, match=message):
        run("fit", *FIT, "--from", "first", *options, "-o", "second")
    assert not (tables / "second").exists()


def test_options_for_units_that_are_there_already_are_told(tables):
    run("fit", tables / "a.npy", *FIT, "--hidden", 3, "-o", tables / "first")
    told = run(
        "fit", tables / "a.npy", *FIT, "--from", tables / "first", "--sigma", 2, "-o", tables / "b"
    )
    assert "--sigma changes nothing: units are those of the model to start from" in told.stderr
