"""What a run meets from outside: signals, lost readers, other runs, names that are no text."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import faults
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import gibbsite as gb
from gibbsite import startup
from gibbsite.cli import app, main
from gibbsite.cli.console import escape
from gibbsite.cli.progress import WithFigures

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def told():
    result = subprocess.run(
        [sys.executable, faults.__file__], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_signal_ends_a_run_with_a_message_and_a_model(told, name, code):
    assert told[name]["code"] == code
    assert told[name]["records"] > 0
    assert "the model so far is saved; `gibbsite resume" in told[name]["text"]
    assert "Traceback" not in told[name]["text"]
    assert ("ended by " + name in told[name]["text"]) == (name != "SIGINT")


def test_a_lost_reader_does_not_stop_training(told):
    assert told["lost reader"] == {"code": 0, "records": 20}


def test_a_second_run_in_a_folder_is_refused(told):
    assert told["another run"]["code"] == 1
    assert "is in use: another run writes into it" in told["another run"]["text"]


def test_output_that_cannot_be_written_is_an_error_at_the_end(told):
    assert told["full output"]["code"] == 1


PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
sys.modules["torch"] = None  # never imported before the signal
class Interrupting:
    def find_spec(self, name, *_):
        if name == "gibbsite.datasets":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
sys.argv = {argv}
import gibbsite
"""


@pytest.mark.parametrize(
    ("argv", "code"),
    [(["/bin/gibbsite", "fit"], 130), (["gibbsite.exe"], 130), (["mine.py"], -2)],
)
def test_ctrl_c_while_the_command_is_imported(argv, code):
    words = [sys.executable, "-c", PROGRAM.format(argv=argv)]
    told = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == code
    ours = code == 130
    assert (told.stderr == "interrupted before the command began\n") == ours
    assert ("KeyboardInterrupt" in told.stderr) != ours  # a library is no command


def test_ctrl_c_is_an_error_again_once_the_command_begins(monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        monkeypatch.setattr(sys, "argv", ["-m"])
        monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "gibbsite"])
        startup.end_quietly()
        assert signal.getsignal(signal.SIGINT) is startup._end
        startup.interrupt_again()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        startup.end_quietly()  # as in the background
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_budget_is_checked_before_it_is_said_to_change_nothing(tmp_path, monkeypatch, capsys):
    gb.save(gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2)), tmp_path / "model.safetensors")
    np.save(tmp_path / "rows.npy", np.eye(3))
    args = ["evaluate", tmp_path / "model.safetensors", tmp_path / "rows.npy", "--budget", "inf"]
    told = fails(monkeypatch, capsys, *args)
    assert told.startswith("error: --budget inf: expected seconds")


def test_it_works_without_docstrings():
    result = subprocess.run(
        [sys.executable, "-OO", "-m", "gibbsite", "datasets", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == gb.datasets.DESCRIPTIONS


def fails(monkeypatch, capsys, *args):
    """The message of a command that ends with exit code 1."""
    monkeypatch.setattr(sys, "argv", ["gibbsite", *map(str, args)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget", "inf"], "--budget inf"),
        (["--budget", "1e18"], r"--budget 1e\+18"),
        (["--budget", "nan"], "--budget nan"),
        (["--image", "9" * 5000 + "x1"], "--image 9+: expected HEIGHTxWIDTH"),
        (["--l2", "inf"], "inf"),
    ],
)
def test_options_are_checked_before_the_first_epoch(tmp_path, options, message):
    with pytest.raises(gb.ArgumentError, match=message):
        RUNNER.invoke(
            app, ["fit", "digits", *options, "-o", str(tmp_path / "run")], catch_exceptions=False
        )
    assert not (tmp_path / "run").exists()


@pytest.fixture
def model(tmp_path):
    gb.save(gb.RBM(gb.Bernoulli(64), gb.Bernoulli(2)), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_an_output_that_cannot_be_made_is_told_before_sampling(model, monkeypatch):
    monkeypatch.setattr(gb, "sample", lambda *_, **__: pytest.fail("sampled"))
    with pytest.raises(gb.OutputError, match="cannot write"):
        RUNNER.invoke(
            app,
            ["sample", str(model), "-o", str(model.parent / "no" / "s.npy")],
            catch_exceptions=False,
        )


@pytest.mark.parametrize(
    "args", [["sample"], ["transform", "digits"], ["evaluate", "digits"], ["info"]], ids=str
)
def test_no_command_takes_a_model_of_nan(model, monkeypatch, capsys, args):
    content = model.read_bytes()
    nan = torch.tensor(torch.nan).numpy().tobytes()
    model.write_bytes(content[:-4] + nan)
    command, *data = args
    error = fails(monkeypatch, capsys, command, model, *data)
    assert "holds nan" in error


def test_a_run_folder_may_have_a_name_that_is_no_text(tmp_path, monkeypatch, capsys):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/run-\xff"))
    options = ["--epochs", "2", "--hidden", "2", "-o", folder]
    for args in (["fit", "bars-and-stripes", *options], ["resume", folder], ["info", folder]):
        monkeypatch.setattr(sys, "argv", ["gibbsite", *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code, capsys.readouterr().err
    assert gb.load(folder).hidden.n == 2


def test_names_reach_the_terminal_without_control_characters(monkeypatch, capsys):
    error = fails(monkeypatch, capsys, "fit", "a\x1b[2Jb\nc\u202e.npy")
    assert error.count("\n") == 1
    assert not {"\x1b", "\u202e"} & {*error}
    assert r"a\x1b[2Jb\nc\u202e.npy" in error
    assert escape("[bold]é") == r"\[bold]é"


def test_the_figures_below_a_bar_are_whole():
    bar = WithFigures()
    bar.figures = "x" * 200
    assert str(list(bar.get_renderables())[-1]) == "x" * 200
