"""Settings that the command chooses: trials, rows that steer, budgets, rates that diverge."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import gibbsite as gb
from gibbsite.cli import app, job, prepared, settings, trials
from gibbsite.cli.data import load_data
from gibbsite.training import History, Traits, recipe

RUNNER = CliRunner()
ROWS = 120


def run(*args):
    return RUNNER.invoke(app, [str(a) for a in args], catch_exceptions=False)


def record(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def model(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Few updates, and no pictures, which take most of the time of a short run."""
    monkeypatch.setattr(recipe, "MOST_UPDATES", 40)
    monkeypatch.setattr(recipe, "FEWEST_HIDDEN", 4)
    monkeypatch.setattr(job.Job, "_write_pictures", lambda *_: None)


@pytest.fixture
def table(tmp_path) -> Path:
    """Two independent groups of four columns, each with a column that decides."""
    random = np.random.default_rng(0)
    causes = random.random((ROWS, 2)) < 0.5
    rows = random.random((ROWS, 8)) < np.where(np.repeat(causes, 4, axis=1), 0.7, 0.3)
    np.save(tmp_path / "table.npy", rows.astype(float))
    return tmp_path / "table.npy"


# trials


def test_trials_choose_what_is_open_and_all_rows_are_then_trained_on(table, tmp_path):
    result = run("fit", table, "-o", tmp_path / "run")
    assert result.stderr.count("nats on rows held out") == 5
    assert "rows to train on, 24 held out, 10 to steer training by" in result.stdout
    kept = record(tmp_path / "run")
    assert kept["data"]["rows"] == 96
    assert kept["settings"]["validation"] == 0
    assert None not in {kept["settings"][name] for name in kept["reasons"]}
    for name, reason in kept["reasons"].items():
        assert f"--{name.replace('_', '-')} " in result.stdout
        assert reason in " ".join(result.stdout.split())
    figures = json.loads((tmp_path / "run" / "figures.json").read_text())
    assert -7 < figures["validation_log_likelihood"] < -4


def test_the_settings_chosen_repeat_the_run(table, tmp_path):
    for name in ("run", "same"):
        run("fit", table, "-o", tmp_path / name)
    run("fit", "--config", tmp_path / "run" / "run.json", "-o", tmp_path / "again")
    assert model(tmp_path / "run") == model(tmp_path / "same") == model(tmp_path / "again")


def test_the_data_are_read_once(table, tmp_path, monkeypatch):
    reads = []

    def counted(*args):
        reads.append(args)
        return load_data(*args)

    monkeypatch.setattr("gibbsite.cli.start.load_data", counted)
    run("fit", table, "--budget", "30s", "-o", tmp_path / "run")
    assert len(reads) == 1


def test_a_run_that_is_stopped_in_its_trials_tries_again(table, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trials, "candidates", stop)
        assert run("fit", table, "-o", tmp_path / "stopped").exit_code == 130
    assert record(tmp_path / "stopped")["settings"]["hidden"] is None
    assert run("resume", tmp_path / "stopped").exit_code == 0
    run("fit", table, "-o", tmp_path / "whole")
    assert model(tmp_path / "stopped") == model(tmp_path / "whole")


def test_what_is_given_is_not_tried(table, tmp_path):
    result = run("fit", table, "--hidden", 3, "--l2", 0.01, "-o", tmp_path / "run")
    assert result.stderr.count("nats on rows held out") == 1
    kept = record(tmp_path / "run")
    assert (kept["settings"]["hidden"], kept["settings"]["l2"]) == (3, 0.01)
    assert not {"hidden", "l2"} & kept["reasons"].keys()
    result = run("fit", table, "--epochs", 2, "--hidden", 3, "-o", tmp_path / "given")
    assert "nats on rows held out" not in result.stderr
    assert record(tmp_path / "given")["settings"]["validation"] == 0


# rows that steer


def test_rows_held_out_steer_a_run_of_many_rows(table, tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "FEW_ROWS", 10)
    result = run("fit", table, "-o", tmp_path / "run")
    assert "nats on rows held out" not in result.stderr
    assert record(tmp_path / "run")["settings"]["validation"] == 0.1
    assert record(tmp_path / "run")["data"]["rows"] == 86
    scores = History.read(tmp_path / "run" / "history.jsonl").column("validation_log_likelihood")
    best = json.loads((tmp_path / "run" / "figures.json").read_text())["validation_log_likelihood"]
    assert best in scores
    assert "rows held out: " in result.stdout
    saved = gb.load(tmp_path / "run")
    held = prepared.Prepared.of(settings.Settings.read(tmp_path / "run" / "run.json")[0])
    valid = held.source.hold_out(0.1, torch.Generator().manual_seed(0)).valid
    assert gb.exact.log_likelihood(saved, valid).mean().item() == pytest.approx(best, abs=1e-4)


def test_rows_that_the_file_sets_apart_steer(table, tmp_path):
    rows = np.load(table)
    np.savez(tmp_path / "parts.npz", train=rows[:70], test=rows[70:95], valid=rows[95:])
    result = run("fit", tmp_path / "parts.npz", "-o", tmp_path / "run")
    assert "70 rows to train on, 25 held out, 25 to steer training by" in " ".join(
        result.stdout.split()
    )
    np.savez(tmp_path / "odd.npz", train=rows, valid=rows[:, 1:])
    with pytest.raises(gb.DataError, match="train has 8 columns, valid 7"):
        run("fit", tmp_path / "odd.npz", "-o", tmp_path / "odd")


# time


def test_a_budget_is_kept_by_the_measured_speed(table, tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "FEW_ROWS", 10)
    usual = {}
    for pace in (1.0, 4.0):
        with monkeypatch.context() as patch:
            patch.setattr(trials, "timed_update", lambda *_: 1.0)
            patch.setattr(trials, "seconds_an_update", lambda *_: 1.0 / pace)  # noqa: B023
            result = run("fit", table, "--budget", "1m", "-o", tmp_path / str(pace))
        kept = record(tmp_path / str(pace))
        usual[pace] = kept["settings"]["epochs"]
        assert "at the speed of this machine" in kept["reasons"]["epochs"]
        assert "for 60 s at the speed of this machine now" in " ".join(result.stdout.split())
    assert usual[1.0] == 4 * usual[4.0]


# rates


def test_a_rate_of_the_recipe_that_diverges_is_lowered_and_said(table, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "RATE", 1e12)
    monkeypatch.setattr(sys.modules["gibbsite.cli.fit"], "RESTARTS", 20)
    result = run("fit", table, "--epochs", 3, "--hidden", 3, "-o", tmp_path / "run")
    assert "diverged at update" in result.stderr
    assert "starting again at a learning rate of" in result.stderr
    rates = History.read(tmp_path / "run" / "history.jsonl").column("learning_rate")
    assert len(rates) == 3
    assert rates[0] == record(tmp_path / "run")["settings"]["learning_rate"] < 4e12
    with pytest.raises(gb.DivergenceError):  # one of the user's own is an error
        run("fit", table, "--learning-rate", 1e30, "--epochs", 3, "-o", tmp_path / "own")


def test_a_population_is_learnt_whole(tmp_path):
    run("fit", "bars-and-stripes", "-o", tmp_path / "run")
    kept = record(tmp_path / "run")
    assert kept["data"]["rows"] == 16
    assert (kept["settings"]["l2"], kept["settings"]["validation"]) == (0, 0)


# few rows of many columns


def test_noise_ends_no_worse_than_independent_columns(tmp_path, monkeypatch):
    coins = torch.rand(48, 400, generator=torch.Generator().manual_seed(0)) < 0.5
    np.save(tmp_path / "coins.npy", coins.numpy().astype(np.uint8))
    result = run("fit", tmp_path / "coins.npy", "--hidden", "4", "--budget", "2",
                 "-o", tmp_path / "run")  # fmt: skip
    assert "no trial was better than independent columns" in result.stderr
    test = json.loads((tmp_path / "run" / "figures.json").read_text())["sets"]["test"]
    assert test["log_likelihood"] > test["baselines"]["independent_columns"] - 0.1
    assert record(tmp_path / "run")["settings"]["validation"] == 0.0


def test_wide_data_hold_a_fifth_out():
    wide, narrow = (Traits(rows=40, columns=n, spread=0.2) for n in (401, 400))
    given = settings.Settings("x", epochs=None)
    assert given.completed(wide).validation == 0.2
    assert given.completed(narrow).validation == 0.0  # fewer than 50 rows
    assert given.completed(wide._replace(rows=24)).validation == 0.0
