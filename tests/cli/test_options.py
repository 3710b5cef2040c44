"""Options that change nothing are told, those that contradict each other refused."""

import json
import sys

import matplotlib.image
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import gibbsite as gb
from gibbsite import plots
from gibbsite.cli import app, main

QUICK = ["--epochs", "1", "--hidden", "3", "--checkpoint-every", "0"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a small model and rows for it."""
    monkeypatch.chdir(tmp_path)
    gb.save(gb.RBM(gb.Bernoulli(6), gb.Bernoulli(3)), "model")
    np.save("binary.npy", np.eye(6))
    np.save("real.npy", np.random.default_rng(0).normal(size=(30, 4)))
    np.savez("both.npz", train=np.eye(6), test=np.eye(6)[:3])
    return tmp_path


def once(args, monkeypatch, capsys) -> tuple[int, str, str]:
    """Exit code, standard output, standard error of a process of that command line."""
    monkeypatch.setattr(sys, "argv", ["gibbsite", *args])
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = capsys.readouterr()
    return stop.value.code or 0, out, err


IDLE = {
    "sigma": (["fit", "binary.npy", "--sigma", "2"], ["--sigma"], "Bernoulli(6) units have none"),
    "sigma that is the default": (["fit", "binary.npy", "--sigma", "1"], ["--sigma"], "none"),
    "learned sigma": (["fit", "binary.npy", "--learn-sigma"], ["--learn-sigma"], "units have none"),
    "fixed sigma": (["fit", "binary.npy", "--no-learn-sigma"], ["--no-learn-sigma"], "have none"),
    "chains of cd": (
        ["fit", "binary.npy", "--gradient", "cd", "--chains", "9"],
        ["--chains"],
        "pcd",
    ),
    "chains of mean field": (
        ["fit", "real.npy", "--gradient", "mean-field", "--chains", "9"],
        ["--chains"],
        "the gradient is mean-field",
    ),
    "chains and steps without any": (
        ["fit", "binary.npy", "--exact", "--chains", "9", "--steps", "2"],
        ["--chains", "--steps"],
        "the gradient is exact",
    ),
    "momentum": (
        ["fit", "binary.npy", "--optimizer", "adam", "--momentum", "0.9"],
        ["--momentum"],
        "adam",
    ),
    "held out already": (
        ["fit", "both.npz", "--test-fraction", "0.3"],
        ["--test-fraction"],
        "the data say what is held out",
    ),
    "named data": (["fit", "digits", "--test-fraction", "0"], ["--test-fraction"], "held out"),
    "budget": (["fit", "binary.npy", "--budget", "3", "--epochs", "2"], ["--budget"], "exact"),
    "estimate": (
        ["evaluate", "model", "binary.npy", "--chains", "9", "--budget", "3", "--picture", "p.png"],
        ["--chains", "--budget", "--picture"],
        "log Z is exact here; --method bridge estimates it",
    ),
    "temperatures": (
        ["evaluate", "model", "binary.npy", "--method", "exact", "--temperatures", "9"],
        ["--temperatures"],
        "exact",
    ),
    "image": (["sample", "model", "--steps", "2", "--image", "2x3"], ["--image"], "is no picture"),
}


@pytest.mark.parametrize(("args", "options", "reason"), IDLE.values(), ids=IDLE)
@pytest.mark.usefixtures("place")
def test_an_option_that_changes_nothing_is_told(args, options, reason, monkeypatch, capsys):
    args = [*args, *(QUICK if args[0] == "fit" else [])]
    code, out, err = once([*args, "--json"], monkeypatch, capsys)
    assert code == 0, err
    assert json.loads(out)
    notes = [line for line in err.splitlines() if line.startswith("note: ")]
    assert sorted(line.split()[1] for line in notes) == sorted(options)
    assert all("changes nothing: " in line and reason in line for line in notes)


EFFECTIVE = {
    "sigma": ["fit", "real.npy", "--sigma", "0.7", "--no-learn-sigma", "--chains", "9"],
    "cd": ["fit", "binary.npy", "--gradient", "cd", "--steps", "2", "--momentum", "0.1"],
    "split": ["fit", "binary.npy", "--test-fraction", "0.3", "--exact", "--gradient", "exact"],
    "nothing": ["fit", "binary.npy", "--optimizer", "adam", "--gradient", "cd"],
    "estimate": [
        *("evaluate", "model", "binary.npy", "--method", "bridge", "--picture", "p.png"),
        *("--temperatures", "20", "--chains", "9"),
    ],
    "picture": ["sample", "model", "--steps", "2", "--image", "2x3", "-o", "s.png"],
}


@pytest.mark.parametrize("args", EFFECTIVE.values(), ids=EFFECTIVE)
@pytest.mark.usefixtures("place")
def test_nothing_is_said_of_options_that_count(args, monkeypatch, capsys):
    args = [*args, *(QUICK if args[0] == "fit" else [])]
    code, _, err = once(args, monkeypatch, capsys)
    assert code == 0, err
    assert "changes nothing" not in err


def test_options_of_a_config_are_not_told(place, monkeypatch, capsys):
    first = ["fit", "binary.npy", "--gradient", "cd", "--chains", "9", *QUICK, "-o", "a"]
    assert "--chains changes nothing" in once(first, monkeypatch, capsys)[2]
    again = ["fit", "--config", "a/run.json", "-o", "b"]
    assert "changes nothing" not in once(again, monkeypatch, capsys)[2]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["fit", "binary.npy", "--exact", "--gradient", "cd"], "--exact and --gradient cd"),
        (["fit", "binary.npy", "--exact", "--gradient", "pcd"], "exclude each other"),
        (
            ["evaluate", "model", "binary.npy", "--budget", "1", "--temperatures", "50"],
            "--budget sets --temperatures",
        ),
    ],
)
@pytest.mark.usefixtures("place")
def test_options_that_contradict_each_other_are_wrong_usage(args, words):
    result = CliRunner().invoke(app, args, env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert words in result.output


def test_a_picture_of_more_samples_than_it_holds_says_so(place, monkeypatch, capsys):
    args = ["sample", "model", "-n", "500", "--steps", "2", "-o"]
    code, out, err = once([*args, "big.png"], monkeypatch, capsys)
    assert code == 0
    assert out == "100 samples of 6 units in big.png\n"
    assert err == "note: a picture holds 100 samples at most; .npy and .csv all 500\n"
    assert matplotlib.image.imread("big.png").ndim == 3
    shown = plots.images(torch.eye(6)).axes[0].get_title()
    assert shown == "6 samples"
    assert json.loads(once([*args, "b.png", "--json"], monkeypatch, capsys)[1])["rows"] == 100
    assert once([*args, "big.npy"], monkeypatch, capsys)[1:] == (
        "500 samples of 6 units in big.npy\n",
        "",
    )
    assert len(np.load("big.npy")) == 500


def test_an_exact_evaluation_draws_no_empty_picture(place, monkeypatch, capsys):
    args = ["evaluate", "model", "binary.npy", "--picture", "p.png"]
    assert once(args, monkeypatch, capsys)[0] == 0
    assert not (place / "p.png").exists()


def test_the_version_is_told(monkeypatch, capsys):
    assert once(["--version"], monkeypatch, capsys) == (0, f"gibbsite {gb.__version__}\n", "")
