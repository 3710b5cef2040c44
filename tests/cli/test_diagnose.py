"""The command `diagnose`, and what other commands make of its certificate."""

import json
import math

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import gibbsite as gb
from gibbsite import plots
from gibbsite.cli import app

RUNNER = CliRunner()
QUICK = ["--budget", "0.05", "--chains", "16"]


def run(*args):
    return RUNNER.invoke(app, [str(a) for a in args], catch_exceptions=False)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "m.safetensors"
    gb.save(gb.RBM(gb.Bernoulli(6), gb.Bernoulli(3)), path)
    return path


def test_the_certificate_is_kept_and_shown(model):
    assert "gibbsite diagnose makes one" in run("info", model).stdout
    result = run("diagnose", model, "--budget", 2)
    assert result.exit_code == 0
    found = gb.load(model).certificate
    assert found.kind == "equilibrium"
    assert f"verdict: {found.verdict}" in result.stdout
    assert "no data to compare" in result.stderr
    assert found.verdict in run("info", model).stdout
    assert json.loads(run("info", model, "--json").stdout)["certificate"] == found.as_record()


def test_data_given_and_a_picture(model, tmp_path):
    np.save(tmp_path / "rows.npy", np.ones((20, 6)))
    picture = tmp_path / "p.png"
    result = run("diagnose", model, tmp_path / "rows.npy", *QUICK, "--picture", picture, "--json")
    record = json.loads(result.stdout)
    assert record["course"]["reference"] == "data"
    assert record["verdict"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(gb.OutputError, match="exists already"):
        run("diagnose", model, *QUICK, "--picture", picture)


def test_a_run_brings_its_own_data(tmp_path):
    run("fit", "digits", "--epochs", 1, "--hidden", 4, "-o", tmp_path / "run")
    assert run("diagnose", tmp_path / "run", *QUICK).exit_code == 0
    assert gb.load(tmp_path / "run").certificate.course.reference == "data"


def test_data_of_the_run_that_are_gone_are_done_without(tmp_path):
    np.save(tmp_path / "rows.npy", np.ones((20, 6)))
    run("fit", tmp_path / "rows.npy", "--epochs", 1, "--hidden", 4, "-o", tmp_path / "run")
    (tmp_path / "rows.npy").unlink()
    result = run("diagnose", tmp_path / "run", *QUICK)
    assert result.exit_code == 0
    assert "no data to compare chains with" in result.stderr


@pytest.mark.parametrize("budget", ["0", "-1", "nan"])
def test_budgets_that_are_none(model, budget):
    with pytest.raises(gb.ArgumentError, match="--budget"):
        run("diagnose", model, "--budget", budget)


def test_sample_follows_it(model, tmp_path):
    rbm = gb.load(model)
    rbm.certificate = gb.diagnose(rbm, budget=400, generator=torch.Generator().manual_seed(0))
    gb.save(rbm, model)
    run("sample", model, "-n", 5, "--seed", 3, "-o", tmp_path / "s.npy")
    g = torch.Generator().manual_seed(3)
    expected = gb.sample(rbm, 5, steps=rbm.certificate.steps, generator=g)
    assert np.array_equal(np.load(tmp_path / "s.npy"), expected.numpy())
    result = run("sample", model, "--steps", 2, "-o", tmp_path / "t.npy")
    assert "2 steps of Gibbs, but the model's certificate says" in result.stderr


def test_the_picture_shows_every_start():
    rbm = gb.RBM(gb.Bernoulli(6), gb.Bernoulli(3))
    found = gb.diagnose(rbm, budget=64, generator=torch.Generator().manual_seed(0))
    energies, discrepancy = plots.mixing(found).axes
    assert [line.get_label() for line in energies.lines] == [
        f"from {name}" for name in ("noise", "coins", "corner")
    ]
    assert np.array_equal(discrepancy.lines[0].get_ydata(), found.course.discrepancy)
    assert math.isclose(discrepancy.lines[0].get_xdata()[-1], 64)
