"""Sweeps, and runs side by side."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import gibbsite as gb
from gibbsite.cli import app, console, job, sweep
from gibbsite.cli.compare import Result, chosen, show, varied_settings
from gibbsite.cli.folder import read_json, write_json
from gibbsite.cli.numbers import Several, floats, integers
from gibbsite.cli.options import as_arguments
from gibbsite.cli.process import Deferred

FIT = ["bars-and-stripes", "--epochs", "3", "--budget", "0"]


def run(*args):
    return CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)


@pytest.fixture
def here(monkeypatch):
    """Runs of a sweep in this process, in turn; the list of their commands."""
    asked = []

    def run_all(names, command):
        errors, quiet = {}, (console.out.quiet, console.err.quiet)
        for name in names:
            words = command(name)
            asked.append(words)
            try:
                run(*words)
            except gb.GibbsiteError as error:
                errors[name] = str(error)
        console.out.quiet, console.err.quiet = quiet
        return errors, 0

    monkeypatch.setattr(sweep, "_run_all", run_all)
    monkeypatch.setattr(job.Job, "_write_pictures", lambda *_: None)
    return asked


# numbers


@pytest.mark.parametrize(
    ("parse", "text", "numbers"),
    [
        (integers, "16", 16),
        (integers, "-1", -1),
        (integers, 5, 5),
        (integers, "16,64,256", (16, 64, 256)),
        (integers, "0-3", (0, 1, 2, 3)),
        (integers, "0-1, 8", (0, 1, 8)),
        (floats, "1e-3", 1e-3),
        (floats, "0.05,1e-1", (0.05, 0.1)),
    ],
)
def test_numbers_are_one_or_several(parse, text, numbers):
    assert parse(text) == numbers
    assert isinstance(parse(text), Several) == isinstance(numbers, tuple)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (integers, "1,x"),
        (integers, "4-0"),
        (integers, "1,1"),
        (integers, "0-99999999"),
        (integers, ""),
        (integers, "1.5"),
        (floats, "0.1-0.3"),
        (floats, "0.1,nan"),
        (floats, "0.1,"),
    ],
)
def test_numbers_that_are_neither_are_wrong_usage(parse, text):
    with pytest.raises(typer.BadParameter, match="nor several such as"):
        parse(text)


def test_options_become_words_again():
    command = typer.main.get_command(app).commands["fit"]
    values = {"data": "-a.npy", "l1": 0.5, "exact_gradient": True, "centered": False}
    words = as_arguments(command, values)
    assert words == ["--l1=0.5", "--exact", "--no-centered", "--", "-a.npy"]


# sweeps


def test_a_sweep_runs_every_combination_and_marks_the_best(tmp_path, here):
    told = run("fit", *FIT, "--hidden", "2,5", "--l2", "0,0.1", "-o", tmp_path / "s", "--json")
    assert told.exit_code == 0
    record = json.loads(told.stdout)
    assert [Path(row["run"]).name for row in record["runs"]] == [
        "hidden-2_l2-0.0", "hidden-2_l2-0.1", "hidden-5_l2-0.0", "hidden-5_l2-0.1"
    ]  # fmt: skip
    assert record["runs"][3]["settings"] == {"hidden": 5, "l2": 0.1}
    reached = [row["figures"]["sets"]["train"]["log_likelihood"] for row in record["runs"]]
    assert record["best"] == record["runs"][reached.index(max(reached))]["run"]
    assert record["by"] == "train", "the patterns are all there are"
    whole = run("compare", tmp_path / "s")
    each = run("compare", *(row["run"] for row in record["runs"]))
    assert whole.stdout == each.stdout
    assert "(best)" in whole.stdout
    assert "(stopped)" not in whole.stdout
    path = Path(record["best"]) / "figures.json"
    write_json(path, read_json(path) | {"interrupted": True})
    assert "(stopped)" in run("compare", tmp_path / "s").stdout


def test_a_failed_run_is_a_row_and_the_same_sweep_goes_on(tmp_path, here):
    folder = tmp_path / "s"
    told = run("fit", *FIT, "--hidden", "0,2", "--seed", 3, "-o", folder)
    assert told.exit_code == 1
    assert "no figures" in told.stdout
    assert "hidden-0: hidden=0: expected a whole number of at least 1" in told.stdout
    assert "best by train log-likelihood" in told.stdout
    assert "error: 1 of 2 runs failed" in told.stderr
    del here[:]
    kept = read_json(folder / "hidden-2" / "figures.json")
    write_json(folder / "hidden-2" / "figures.json", kept | {"interrupted": True})
    run("fit", *FIT, "--hidden", "2-3", "--seed", 3, "-o", folder)
    assert [words[0] for words in here] == ["resume", "fit"]
    del here[:]
    assert run("fit", *FIT, "--hidden", "2,3", "--seed", 3, "-o", folder).exit_code == 0
    assert not here
    for other in (["--seed", 4], ["--seed", "3,4"]):
        with pytest.raises(gb.OutputError, match="holds a sweep with other options"):
            run("fit", *FIT, "--hidden", "2,3", *other, "-o", folder)
    with pytest.raises(gb.OutputError, match="exists already"):
        run("fit", *FIT, "--hidden", "2,3", "-o", folder / "hidden-2")


def test_too_many_combinations_are_refused(tmp_path):
    with pytest.raises(gb.ArgumentError, match="more than 1,000 combinations"):
        run("fit", *FIT, "--hidden", "1-40", "--seed", "1-40", "-o", tmp_path / "s")


def test_runs_are_processes_that_signals_are_passed_on_to(monkeypatch):
    """Plain programs in the place of runs: three come to an end, the fourth is stopped."""
    programs = {
        "done": "print('x')",
        "failed": "import sys; sys.exit('error: no such luck')",
        "killed": "import os; os.kill(os.getpid(), 9)",
        "endless": "import os, time; os.kill(os.getppid(), 15); time.sleep(60)",
        "never": "",
    }
    start = sweep.subprocess.Popen

    def popen(words, **options):
        return start([sys.executable, "-c", words[-1]], **options)

    monkeypatch.setattr(sweep.subprocess, "Popen", popen)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    errors, stopped = sweep._run_all(list(programs), lambda name: [programs[name]])
    assert errors == {"failed": "no such luck", "killed": "ended with SIGKILL"}
    assert stopped == signal.SIGTERM


@pytest.mark.parametrize(
    ("cores", "runs", "threads"), [(1, 3, 1), (4, 2, 2), (5, 2, 2), (8, 9, 1), (3, 0, None)]
)
def test_runs_share_the_cores(monkeypatch, cores, runs, threads):
    given = set()

    class Process:
        returncode = 0

        def __init__(self, words, *, env, **_):
            given.update(env[name] for name in sweep.THREADS)

        def poll(self):
            return 0

    monkeypatch.setattr(sweep.subprocess, "Popen", Process)
    monkeypatch.setattr(sweep, "POLL", 0)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert sweep._run_all([str(i) for i in range(runs)], lambda name: [name]) == ({}, 0)
    assert given == ({str(threads)} if threads else set())


@pytest.fixture
def interruptible():
    """SIGINT as a terminal gives it; what a shell runs in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_signals_are_kept_in_order():
    before = signal.getsignal(signal.SIGINT)
    with Deferred() as signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        assert signals.take() == [signal.SIGINT, signal.SIGTERM]
        assert signals.take() == []
        assert signals.first == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) == before


# compare


def result(name="a", verdict="trustworthy", **figures):
    sets = {kind: {"log_likelihood": x} for kind, x in figures.items() if kind != "validation"}
    kept = {"sets": sets, "verdict": f"log-likelihood: {verdict}"}
    if "validation" in figures:
        kept["validation_log_likelihood"] = figures["validation"]
    return Result(name, {"data": "digits", "seed": 0, "test_fraction": 0.2}, kept)


def test_the_best_is_chosen_by_validation_rows_where_all_have_some():
    runs = [result(validation=-2.0, test=-5.0, train=-1), result(validation=-3, test=-1, train=-1)]
    assert chosen(runs)[:2] == (0, "validation")
    assert not chosen(runs).notes
    choice = chosen([runs[0], result(test=-1.0, train=-9.0)])
    assert choice[:2] == (1, "test")
    assert "its test figure flatters it" in choice.notes[0]
    assert chosen([result(train=-2.0), result(train=-1.0)])[:2] == (1, "train")


def test_an_estimate_that_cannot_be_trusted_is_no_best():
    runs = [result(test=-1.0, verdict="few paths count"), result(test=-5.0)]
    assert chosen(runs).best == 1
    assert "no log-likelihood passed its checks" in chosen(runs[:1]).notes[-1]


def test_runs_of_different_data_have_no_best():
    other = result(test=-1.0)
    other = other._replace(settings={**other.settings, "data": "/a.npy", "device": "cuda"})
    choice = chosen([result(test=-2.0), other])
    assert choice.best is None
    assert "2 data sets" in choice.notes[0]
    assert varied_settings([result(), other]) == ["data"]


def test_few_runs_that_differ_in_much_are_columns(capsys):
    settings = {"l1": 0.1, "l2": 0.2, "chains": 5, "image": None}
    runs = [
        result(name, test=x)._replace(settings={"data": "digits", "seed": i, "test_fraction": 0.2}
                                      | {key: value for key, value in settings.items() if i})
        for i, (name, x) in enumerate([("one", -1.0), ("two", -2.0)])
    ]  # fmt: skip
    show(runs, as_json=False)
    lines = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines()]
    cells = {row[0].strip(): [x.strip() for x in row[1:]] for row in lines if row}
    assert cells["seed"] == ["0", "1"]
    assert cells["l1"] == ["", "0.1"]
    assert cells["test, nats a row"] == ["-1.000", "-2.000"]


def test_a_folder_without_a_run_or_with_damaged_figures_is_told(tmp_path, here):
    with pytest.raises(gb.DataError, match="holds no run; name folders"):
        run("compare", tmp_path)
    folder = tmp_path / "run"
    run("fit", *FIT, "--hidden", 2, "-o", folder)
    figures = folder / "figures.json"
    for text in ("{", "[]", "{}", '{"sets": 3, "verdict": ""}', '{"sets": {}, "verdict": 3}'):
        figures.write_text(text)
        with pytest.raises(gb.DataError, match=r"figures\.json cannot be"):
            run("compare", folder)
    figures.unlink()
    told = run("compare", folder)
    assert told.exit_code == 0
    assert "has not come to its end" in told.stdout
