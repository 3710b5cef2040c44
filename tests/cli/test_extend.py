"""Runs that go on beyond their end, and what they say about it."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import gibbsite as gb
from gibbsite.cli import app, job
from gibbsite.cli.figures import course_in_words
from gibbsite.cli.folder import read_json
from gibbsite.training import History

FIT = ["--epochs", "4", "--hidden", "3", "--budget", "0", "--average", "1"]
LEFT_OUT = ("seconds",)


def run(*args):
    return CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)


def lines(folder: Path) -> list[dict]:
    records = History.read(folder / "history.jsonl").records
    return [{k: x for k, x in line.items() if k not in LEFT_OUT} for line in records]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(job.Job, "_write_pictures", lambda *_: None)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.npy"
    np.save(path, np.random.default_rng(0).normal(3, 2, (60, 5)))
    return path


@pytest.fixture
def done(tmp_path, table):
    """A run that has come to its end."""
    run("fit", table, *FIT, "--schedule", "constant", "-o", tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("epochs", ["+3", "7"])
def test_a_run_that_goes_on_is_one_run_of_its_new_length(tmp_path, table, done, epochs):
    """At a constant rate; the schedule of another length is tested below."""
    run("fit", table, *FIT[2:], "--epochs", 7, "--schedule", "constant", "-o", tmp_path / "whole")
    result = run("resume", done, "--epochs", epochs)
    assert "going on after epoch 4" in result.stdout
    models = [(tmp_path / f / "model.safetensors").read_bytes() for f in ("run", "whole")]
    assert models[0] == models[1]
    assert lines(done) == lines(tmp_path / "whole")
    assert read_json(done / "figures.json")["epochs"] == 7
    record = read_json(done / "run.json")
    assert record["settings"]["epochs"] == 7
    assert len(record["resumed"]) == 1
    assert run("resume", done).exit_code == 0, "the new end is now its end"
    assert len(lines(done)) == 7


def test_the_rate_goes_on_as_in_a_run_of_the_new_length(tmp_path, table):
    options = [*FIT, "--schedule", "linear", "--learning-rate", 0.1]
    run("fit", table, *options, "-o", tmp_path / "run")
    run("resume", tmp_path / "run", "--epochs", 10)
    rates = [line["learning_rate"] for line in lines(tmp_path / "run")]
    old, new = [1, 0.75, 0.5, 0.25], [0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert rates == pytest.approx([0.1 * x for x in old + new])


def test_a_run_killed_on_its_way_to_a_new_end_is_resumed_to_the_same_bytes(
    tmp_path, table, done, monkeypatch
):
    run("fit", table, *FIT[2:], "--epochs", 8, "--schedule", "constant", "-o", tmp_path / "whole")

    def killed(path, record):
        if record["epoch"] == 6:
            raise ZeroDivisionError
        append(path, record)

    append = job.append
    with monkeypatch.context() as patch:
        patch.setattr(job, "append", killed)
        with pytest.raises(ZeroDivisionError):
            run("resume", done, "--epochs", "+4")
    assert run("resume", done).exit_code == 0
    assert lines(done) == lines(tmp_path / "whole")


def test_a_budget_becomes_epochs_by_the_time_that_they_took(done):
    path = done / "checkpoints"
    state = gb.Checkpoints(path).read()
    for epoch, record in enumerate(state["history"], 1):
        record["seconds"] = 100.0 + epoch  # the first compiled
    gb.Checkpoints(path).write(4, state)
    run("resume", done, "--budget", "10s")
    assert len(lines(done)) == 4 + 4  # 0.4 of 10 s, at a second each
    assert read_json(done / "run.json")["settings"]["budget"] == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "4"], r"--epochs 4: the run has made 4 epochs already; give \+4"),
        (["--epochs", "+0"], r"made 4 epochs already"),
        (["--epochs", "many"], r"--epochs many: expected \+50 for 50 more"),
        (["--epochs", "-3"], r"--epochs -3: expected \+50"),
        (["--budget", "soon"], r"--budget soon: expected a time"),
        (["--budget", "0"], r"--budget 0: expected seconds, more than 0"),
    ],
)
def test_an_end_that_cannot_be_is_refused(done, options, message):
    before = {path: path.read_bytes() for path in done.rglob("*") if path.is_file()}
    with pytest.raises(gb.ArgumentError, match=message):
        run("resume", done, *options)
    assert {path: path.read_bytes() for path in done.rglob("*") if path.is_file()} == before
    assert run("resume", done, "--epochs", "9", "--budget", "9").exit_code == 2


def test_checkpoints_that_are_missing_or_damaged_are_told(done):
    files = gb.Checkpoints(done / "checkpoints").files()
    for path in files:
        path.write_bytes(b"")
    with pytest.raises(gb.ModelFileError, match="start again in another folder"):
        run("resume", done, "--epochs", "+1")
    for path in files:
        path.unlink()
    with pytest.raises(gb.DataError, match="has no checkpoint to go on from"):
        run("resume", done, "--epochs", "+1")


def test_a_run_that_rows_held_out_have_ended_does_not_go_on(tmp_path, monkeypatch):
    options = ["digits", *FIT, "--validation", 0.1, "-o", tmp_path / "run"]
    monkeypatch.setattr("gibbsite.training.held_out.HeldOut._worse", lambda self: len(self.scores))
    told = run("fit", *options)
    assert "rows held out: overfitting since epoch" in told.stdout
    assert read_json(tmp_path / "run" / "figures.json")["training"].startswith("overfitting")
    with pytest.raises(gb.ArgumentError, match="ended by itself, overfitting since epoch"):
        run("resume", tmp_path / "run", "--epochs", "+4")


def test_the_advice_names_the_command():
    figures = {"training": "still improving, by 0.10 nats from epoch 20", "epochs": 25}
    assert course_in_words(figures, "a").endswith("go on with `gibbsite resume a --epochs +25`")
    assert course_in_words({"training": "levelled off by epoch 9"}, "a").endswith("by epoch 9")
    trial = {"training": "levelled off by epoch 9", "trial_epochs": 20}
    told = "rows held out in a trial of 20 epochs: levelled off by epoch 9"
    assert course_in_words(trial, "a") == told
    assert course_in_words(figures | {"interrupted": True}, "a") == ""
    assert course_in_words({"training": ""}, "a") == course_in_words({}, "a") == ""


def test_the_figures_are_kept(done):
    told = json.loads(run("resume", done, "--json").stdout)
    assert told.pop("folder") == str(done)
    assert read_json(done / "figures.json") == told
