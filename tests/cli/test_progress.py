"""Live lines, and Ctrl-C wherever it comes."""

import io

import pytest
from rich.console import Console
from typer.testing import CliRunner

import gibbsite as gb
from gibbsite.cli import app, folder, job, progress
from gibbsite.cli.folder import read_json
from gibbsite.training.fit import Update

FIT = ["digits", "--epochs", "3", "--hidden", "30"]


def run(*args):
    return CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(job.Job, "_write_pictures", lambda *_: None)


def interrupt(*_, **__):
    raise KeyboardInterrupt


RECORD = {"epoch": 5, "learning_rate": 0.0123456, "updates": 50}


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        ({}, "rate 0.0123"),
        ({"validation_log_likelihood": -17.25}, "rate 0.0123  held out -17.250 nats"),
        ({"pseudo_likelihood": -9.0}, "rate 0.0123  pseudo-likelihood -9.000 nats"),
        (
            {"ais_log_likelihood": -80.04, "ais_stderr": 0.25},
            "rate 0.0123  test about -80.0 ± 0.5 nats",
        ),
    ],
)
def test_the_figures_of_an_epoch_in_a_line(figures, text):
    assert progress.summary(RECORD | figures) == text


def test_the_live_line_has_speed_rate_and_the_last_figure_held_out(monkeypatch):
    """Also where the run goes on: what was done before is no speed."""
    terminal = Console(force_terminal=True, width=120, file=io.StringIO())
    monkeypatch.setattr(progress, "err", terminal)
    rbm = gb.RBM(gb.Bernoulli(2), gb.Bernoulli(1))
    with progress.EpochBar(10, 10) as bar:
        clock = iter(range(100))
        bar.bar.get_time = lambda: float(next(clock))
        bar.bar.tasks[0]._get_time = bar.bar.get_time
        for number in range(40, 51):
            bar.after_update(rbm, Update(number, 1.0, None, None))
        assert bar.bar.tasks[0].speed < 2
        bar(rbm, RECORD | {"validation_log_likelihood": -17.25})
        bar(rbm, RECORD | {"epoch": 6})
        assert bar.bar.figures == "rate 0.0123  held out -17.250 nats"
        columns = [str(c.render(bar.bar.tasks[0])) for c in bar.bar.columns[2:]]
        assert columns[1].strip() == "50/100"
        assert columns[3].endswith("/s")


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("gibbsite.cli.prepared.source_for", "nothing was begun yet; the same command starts anew"),
        ("gibbsite.gradients.PCD.init", "nothing was begun yet; the same command starts anew"),
        ("gibbsite.cli.job.gb.fit", "what is done is saved; `gibbsite resume"),
        ("gibbsite.cli.job.closing_figures", "what is done is saved; `gibbsite resume"),
        ("gibbsite.cli.job.Job._write_pictures", "what is done is saved; `gibbsite resume"),
    ],
)
def test_ctrl_c_says_what_to_do_next(tmp_path, monkeypatch, place, sentence):
    with monkeypatch.context() as patch:
        patch.setattr(place, interrupt)
        told = run("fit", *FIT, "--budget", 0, "-o", tmp_path / "run")
    assert told.exit_code == 130
    assert f"interrupted; {sentence}" in told.stderr
    if "anew" in sentence:
        assert not (tmp_path / "run").exists()
    else:
        assert run("resume", tmp_path / "run").exit_code == 0
        assert read_json(tmp_path / "run" / folder.FIGURES)["interrupted"] is False


def test_ctrl_c_during_annealing_keeps_what_there_is_and_says_so(tmp_path, monkeypatch):
    shown = []

    def show(self, log_weights):
        shown.append(log_weights)
        if len(shown) == 20:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(progress.EstimateBar, "show", show)
        told = run("fit", *FIT, "--budget", 1, "-o", tmp_path / "run")
    assert told.exit_code == 130
    assert "estimates the log-likelihood anew" in told.stderr
    figures = read_json(tmp_path / "run" / folder.FIGURES)
    assert figures["interrupted"] is True
    assert "log-likelihood: interrupted" in figures["verdict"]
