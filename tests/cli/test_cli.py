"""The command, run as a user runs it, in a process of its own where exit codes matter."""

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import gibbsite as gb
from gibbsite.cli import app, main
from gibbsite.likelihood import baselines
from gibbsite.training import History
from gibbsite.training.named import GradientName

RUNNER = CliRunner()
QUICK = ["--epochs", "2", "--hidden", "4"]


def run(*args: str):
    """Run in this process; Gibbsite errors come out as exceptions."""
    return RUNNER.invoke(app, [str(a) for a in args], catch_exceptions=False)


def command(*args: str, **options) -> subprocess.CompletedProcess:
    """Run in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "gibbsite", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )


def test_fit_writes_a_whole_run_folder(tmp_path):
    result = run("fit", "digits", *QUICK, "-o", tmp_path / "run")
    assert result.exit_code == 0
    assert "mean log-likelihood, nats (exact)" in result.stdout
    names = {path.name for path in (tmp_path / "run").iterdir()}
    pictures = {"filters.png", "samples.png", "learning_curves.png"}
    kept = {"model.safetensors", "history.jsonl", "run.json", "figures.json", "checkpoints"}
    assert names == kept | pictures
    for name in pictures:
        assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")
    rbm = gb.load(tmp_path / "run" / "model.safetensors")
    history = History.read(tmp_path / "run" / "history.jsonl")
    test = gb.datasets.load("digits").test
    exact = gb.exact.log_likelihood(rbm, test).mean().item()
    assert history.column("test_log_likelihood")[-1] == pytest.approx(exact, abs=1e-4)
    printed = [float(number) for number in re.findall(r"-\d+\.\d{4}", result.stdout)]
    assert min(abs(number - exact) for number in printed) < 1e-3


def test_each_history_record_holds_the_promised_figures(tmp_path):
    run("fit", "digits", *QUICK, "-o", tmp_path / "run")
    lines = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    expected = {
        "epoch", "updates", "learning_rate", "gradient_norm", "weight_norm", "seconds",
        "train_log_likelihood", "test_log_likelihood", "free_energy_gap",
        "reconstruction_error", "pseudo_likelihood",
    }  # fmt: skip
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    assert all(set(json.loads(line)) == expected for line in lines)


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("fit", "digits", *QUICK, "--seed", seed, "-o", tmp_path / name)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize("gradient", GradientName)
@pytest.mark.parametrize("centered", ["--centered", "--no-centered"])
def test_every_gradient_runs(tmp_path, gradient, centered):
    options = ["--gradient", gradient, centered, "--learning-rate", "0.05"]
    result = run("fit", "bars-and-stripes", *QUICK, *options, "-o", tmp_path / "run")
    assert result.exit_code == 0
    assert f"{gradient} gradient" in result.stdout


def test_exact_training_climbs(tmp_path):
    options = ["--exact", "--epochs", "150", "--hidden", "6"]
    run("fit", "bars-and-stripes", *options, "-o", tmp_path / "run")
    history = History.read(tmp_path / "run" / "history.jsonl")
    assert history.column("train_log_likelihood")[-1] > -3.5


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_penalties_and_optimisers_reach_fit(tmp_path, optimizer):
    common = ["digits", *QUICK, "--optimizer", optimizer, "--learning-rate", "0.01"]
    run("fit", *common, "-o", tmp_path / "free")
    run("fit", *common, "--l2", "1", "--l1", "1", "-o", tmp_path / "held")
    norms = [
        gb.load(tmp_path / name / "model.safetensors").weight.norm().item()
        for name in ("free", "held")
    ]
    assert norms[1] < 0.8 * norms[0]


def test_gaussian_models_come_back_in_the_units_of_the_data(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "table.npy", rng.normal([1000.0, -3.0], [50.0, 0.1], (400, 2)))
    options = ["--hidden", 4, "--epochs", 100, "-o", tmp_path / "run"]
    result = run("fit", tmp_path / "table.npy", *options)
    assert "Gaussian(2) visible" in result.stdout
    rbm = gb.load(tmp_path / "run" / "model.safetensors")
    draws = gb.exact.sample(rbm, 20_000, generator=torch.Generator().manual_seed(0))
    assert draws.mean(0).tolist() == pytest.approx([1000, -3], rel=0.02)
    assert draws.std(0).tolist() == pytest.approx([50, 0.1], rel=0.15)
    history = History.read(tmp_path / "run" / "history.jsonl")
    rows = torch.tensor(np.load(tmp_path / "table.npy"), dtype=torch.float32)
    mean = gb.exact.log_likelihood(rbm, rows).mean().item()
    assert history.column("train_log_likelihood")[-1] == pytest.approx(mean, abs=0.1)


def test_a_model_too_large_to_enumerate_says_what_its_figures_are(tmp_path):
    np.save(tmp_path / "t.npy", np.eye(30))
    common = ["fit", tmp_path / "t.npy", "--hidden", 30, "--epochs", 1]
    result = run(*common, "--budget", 0.2, "-o", tmp_path / "run")
    assert "nats (bridge" in result.stdout
    assert "log-likelihood: " in result.stdout
    assert "exact)" not in result.stdout.split("train - test")[0]
    result = run(*common, "--budget", 0, "-o", tmp_path / "without")
    assert "no log-likelihood: too many states" in result.stdout


def test_default_folders_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        run("fit", "bars-and-stripes", *QUICK)
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {
        "bars-and-stripes-1",
        "bars-and-stripes-2",
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    gb.save(gb.RBM(gb.Bernoulli(6), gb.Bernoulli(3)), path)
    return path


def test_sample_writes_rows_and_pictures(tmp_path, model):
    for name in ("s.npy", "s.csv", "s.png"):
        result = run("sample", model, "-n", 7, "--steps", 3, "-o", tmp_path / name)
        assert result.exit_code == 0
    rows = np.load(tmp_path / "s.npy")
    assert rows.shape == (7, 6)
    assert set(np.unique(rows)) <= {0, 1}
    assert np.array_equal(np.loadtxt(tmp_path / "s.csv", delimiter=","), rows)
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_evaluate_agrees_with_the_exact_figure(tmp_path, model):
    np.save(tmp_path / "rows.npy", np.eye(6)[:5])
    options = ["--temperatures", 300, "--picture", tmp_path / "weights.png", "--json"]
    exact = json.loads(run("evaluate", model, tmp_path / "rows.npy", "--json").stdout)
    bridge = json.loads(
        run("evaluate", model, tmp_path / "rows.npy", "--method", "bridge", *options).stdout
    )
    assert exact["method"] == "exact"
    assert exact["log_likelihood"] == pytest.approx(-6 * np.log(2), abs=1e-6)
    error = abs(bridge["log_likelihood"] - exact["log_likelihood"])
    assert error < 4 * bridge["stderr"] < 0.1
    assert bridge["verdict"] == "trustworthy"
    assert (tmp_path / "weights.png").read_bytes().startswith(b"\x89PNG")
    table = run("evaluate", model, tmp_path / "rows.npy", "--method", "ais", "--budget", 1)
    assert "optimistic (forward AIS)" in table.stdout
    assert "verdict: one-sided" in table.stdout


@pytest.fixture
def no_pictures(monkeypatch):
    """Drawing them takes the longest."""
    monkeypatch.setattr("gibbsite.cli.job.Job._write_pictures", lambda *_: None)


@pytest.mark.usefixtures("no_pictures")
def test_a_model_worse_than_independent_columns_is_called_so(tmp_path):
    """A figure can be trustworthy and the model terrible; that is no error."""
    wild = ["fit", "digits", "--epochs", 2, "--hidden", 4, "--learning-rate", 100]
    told = run(*wild, "-o", tmp_path / "run")
    assert told.exit_code == 0
    assert "warning: the model explains the test rows worse than independent columns" in told.stdout
    figures = json.loads(run(*wild, "-o", tmp_path / "again", "--json").stdout)
    digits = gb.datasets.load("digits")
    expected = baselines(gb.load(tmp_path / "run/model.safetensors"), digits.test, digits.train)
    for name, entry in figures["sets"].items():
        assert entry["log_likelihood"] < entry["baselines"]["independent_columns"], name
    assert figures["sets"]["test"]["baselines"] == pytest.approx(expected)
    (warning,) = figures["warnings"]
    record = json.loads(run("evaluate", tmp_path / "run", "digits", "--json").stdout)
    assert record["warnings"] == [warning]
    assert record["baselines"] == pytest.approx(expected)
    assert record["baselines_fitted_to"] == "train"
    table = run("evaluate", tmp_path / "run", "digits")
    assert f"{expected['independent_columns']:.4f}" in table.stdout
    assert "warning: " in table.stdout


@pytest.mark.usefixtures("no_pictures")
def test_a_better_model_is_not_warned_of(tmp_path):
    options = ["--epochs", 10, "--hidden", 12, "--learning-rate", 0.2, "-o", tmp_path / "run"]
    told = run("fit", "digits", *options)
    assert "independent columns" in told.stdout
    assert "warning" not in told.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("no_pictures")
def test_baselines_of_real_columns_without_a_test_set(tmp_path):
    """They are fitted to the rows evaluated, and this is said; one Gaussian is among them."""
    rows = np.random.default_rng(0).normal(size=(60, 4)) @ np.eye(4, 4, 1) * 3 + np.arange(4)
    rows[:, 0] += np.random.default_rng(1).normal(size=60)
    np.save(tmp_path / "rows.npy", rows)
    fitted = run("fit", tmp_path / "rows.npy", "--epochs", 1, "-o", tmp_path / "run", "--json")
    sets = json.loads(fitted.stdout)["sets"]
    assert sets["train"]["baselines"].keys() == {"independent_columns", "one_gaussian"}
    record = json.loads(run("evaluate", tmp_path / "run", tmp_path / "rows.npy", "--json").stdout)
    assert record["baselines_fitted_to"] == "these rows"
    assert record["baselines"].keys() == {"independent_columns", "one_gaussian"}
    table = run("evaluate", tmp_path / "run", tmp_path / "rows.npy").stdout
    assert "fitted to these rows" in table


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("ratio", [1.0, 1e3, 1e5])
def test_columns_far_from_zero_are_evaluated_as_those_near_it(tmp_path, ratio):
    """Whole seconds, whose digits float32 has; in float32 the sums were nats off from 1,000 on."""
    rng = np.random.default_rng(0)
    rows = np.round(rng.normal(size=(80, 3)) @ rng.normal(size=(3, 3)) * 16)
    options = ["--epochs", 3, "--hidden", 4, "--test-fraction", 0, "--json"]
    figures = []
    for name, moved in (("near", rows), ("far", rows + np.round(16 * ratio))):
        np.save(tmp_path / f"{name}.npy", moved)
        run("fit", tmp_path / f"{name}.npy", *options, "-o", tmp_path / name)
        told = run("evaluate", tmp_path / name, tmp_path / f"{name}.npy", "--json").stdout
        figures.append(json.loads(told)["log_likelihood"])
    assert figures[1] == pytest.approx(figures[0], abs=2e-3)  # training itself is in float32


def test_info_tells_sizes_and_log_z(model):
    result = run("info", model)
    assert "Bernoulli(6)" in result.stdout
    assert f"{9 * np.log(2):.6g} nats (exact)" in result.stdout


def test_datasets_lists_every_name():
    stdout = run("datasets").stdout
    assert all(name in stdout for name in gb.datasets.NAMES)


COMMANDS = ["fit", "resume", "diagnose", "sample", "evaluate", "transform", "info", "datasets"]


@pytest.mark.parametrize("subcommand", COMMANDS)
def test_help_explains_every_option(subcommand):
    text = RUNNER.invoke(app, [subcommand, "--help"], env={"COLUMNS": "450"}).stdout
    options = re.findall(r"^│ \*? *(?:--?[\w-]+|[a-z]\w*).*$", text, re.M)
    assert options
    for line in options:
        words = re.sub(r"--?[\w-]+|\[.*?\]|│|<[^>]*>|[A-Z]{3,}", "", line).split()
        assert len(words) >= 3, line
        if line.startswith("│ --") and "--help" not in line:
            assert re.search("default:", line, re.I), line


BAD = {
    "missing file": (["fit", "none.csv"], "neither a file nor a data set"),
    "empty file": (["fit", "empty.csv"], "empty.csv is empty"),
    "word in a table": (["fit", "word.csv"], r"line 3, column 2 \(y\): 'apple'"),
    "infinity": (["fit", "inf.csv"], r"inf.csv, line 2, column 1: inf"),
    "outside [0, 1]": (
        ["fit", "wide.npy", "--visible", "bernoulli"],
        "wide.npy, row 2, column 2: 2",
    ),
    "existing folder": (["fit", "digits", "-o", "here"], "here exists already"),
    "folder under a file": (["fit", "digits", "-o", "empty.csv/x"], "cannot make the run folder"),
    "unwritable place": (["fit", "digits", "-o", "/proc/run"], "cannot make the run folder"),
    "no hidden units": (["fit", "digits", "--hidden", "0"], "--hidden 0: expected"),
    "negative epochs": (["fit", "digits", "--epochs", "-1"], "--epochs -1: expected"),
    "batch of none": (["fit", "digits", "--batch-size", "0"], "--batch-size 0: expected"),
    "no chains": (["fit", "digits", "--chains", "0"], "--chains 0: expected"),
    "negative rate": (["fit", "digits", "--learning-rate", "-1"], "learning-rate -1"),
    "momentum of 1": (["fit", "digits", "--momentum", "1"], "momentum 1"),
    "negative penalty": (["fit", "digits", "--l2", "-1"], "--l2 -1.0: expected"),
    "sigma of 0": (["fit", "patches", "--sigma", "0"], "--sigma 0.0: expected a number above 0"),
    "sigma of nan": (["fit", "digits", "--sigma", "nan"], "--sigma nan"),
    "negative seed": (["fit", "digits", "--seed", "-1"], "--seed -1"),
    "huge seed": (["fit", "digits", "--seed", str(2**63)], "--seed 9223372036854775808"),
    "huge model": (["fit", "digits", "--hidden", str(10**9)], "238.4 GiB.*use fewer"),
    "more units than memory": (["fit", "digits", "--hidden", str(10**15)], "use fewer"),
    "huge chains": (["fit", "digits", "--chains", str(10**10)], "chains of 64 .*use fewer"),
    "huge sample": (["sample", "model", "-n", str(10**12)], "samples of 6 units .*use fewer"),
    "image that does not fit": (["fit", "digits", "--image", "7x9"], "product of 64"),
    "too large to enumerate": (["fit", "digits", "--exact", "--hidden", "40"], "1.1e\\+12 states"),
    "everything held out": (
        ["fit", "wide.npy", "--test-fraction", "1"],
        "--test-fraction 1.0: expected",
    ),
    "diverging": (["fit", "digits", "--learning-rate", "1e38", "--epochs", "3"], "non-finite"),
    "no such model": (["sample", "none.safetensors"], "no such model file"),
    "not a model": (["info", "word.csv"], "not a Gibbsite model"),
    "output in the way": (["sample", "model", "-o", "empty.csv"], "empty.csv exists already"),
    "features in a table of columns": (
        ["transform", "model", "word.npy", "-o", "f.parquet"],
        r"f.parquet: expected a name that ends in .npy, .csv\n",
    ),
    "features as a picture": (
        ["transform", "model", "word.npy", "-o", "f.png"],
        r"f.png: expected a name that ends in .npy, .csv\n",
    ),
    "unknown output": (["sample", "model", "-o", "s.jpeg"], "ends in .npy, .csv, .png"),
    "no temperatures": (
        ["evaluate", "model", "word.npy", "--method", "ais", "--temperatures", "0"],
        "--temperatures 0: expected",
    ),
    "budget of none": (
        ["evaluate", "model", "word.npy", "--budget", "0"],
        "--budget 0: expected seconds, more than 0",
    ),
    "data too wide": (["evaluate", "model", "digits"], "64 columns.* 6 units"),
    "no samples": (["sample", "model", "-n", "0"], "-n 0: expected"),
    "no cuda": (
        ["fit", "digits", "--device", "cuda"],
        "--device cuda: this machine has no CUDA device; use cpu or auto",
    ),
    "a name too long": (["fit", "x" * 5000], "File name too long"),
    "a model's name too long": (["info", "x" * 5000], "File name too long"),
    "an output's name too long": (["sample", "model", "-o", "x" * 5000], "File name too long"),
    "markup in a name": (["fit", "\\[/red] :smile:"], r"\\\[/red\] :smile:: neither a file"),
    "numbers beyond all bounds": (["sample", "model", "-n", str(10**400)], "too large|use fewer"),
    "epochs beyond all bounds": (["fit", "digits", "--epochs", str(10**400)], "--epochs: .* 2.62"),
    "key of a name": (["fit", "digits", "--key", "x"], "digits is no file"),
    "resize of a table": (["fit", "wide.npy", "--resize", "2x2"], "no folder of images"),
    "resize of nothing": (["fit", "here", "--resize", "0x2"], "--resize 0x2: expected HEIGHT"),
    "nothing to resume": (["resume", "none"], "none/run.json is no run.json .*: No such file"),
    "no run to resume": (["resume", "here"], "here/run.json is no run.json .*: No such file"),
    "config that is none": (["fit", "--config", "none.json"], "none.json is no .*No such file"),
    "data too narrow": (["transform", "model", "wide.npy"], "2 columns"),
    "no test set": (["transform", "model", "word.npy", "--test"], "word.npy has no test set"),
    "features in the way": (
        ["transform", "model", "word.npy", "-o", "empty.csv"],
        "exists already",
    ),
    "picture in the way": (
        ["evaluate", "model", "word.npy", "--picture", "empty.csv"],
        "empty.csv exists already",
    ),
}


@pytest.fixture(scope="module")
def bad_place(tmp_path_factory, model):
    place = tmp_path_factory.mktemp("bad")
    (place / "empty.csv").touch()
    (place / "word.csv").write_text("x,y\n1,0\n0,apple\n")
    (place / "inf.csv").write_text("1,0\ninf,1\n")
    np.save(place / "wide.npy", np.array([[0, 1], [0, 2], [0, 3]]))
    np.save(place / "word.npy", np.eye(6))
    (place / "here").mkdir()
    (place / "model").write_bytes(model.read_bytes())
    return place


@pytest.mark.parametrize(("args", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence_and_exit_code_1(bad_place, monkeypatch, capsys, args, message):
    monkeypatch.chdir(bad_place)
    monkeypatch.setattr(sys, "argv", ["gibbsite", *args])
    before = set(bad_place.iterdir())
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert "Traceback" not in error
    assert set(bad_place.iterdir()) - {bad_place / "runs"} == before - {bad_place / "runs"}
    assert all(any(run.iterdir()) for run in bad_place.glob("runs/*")), "an empty run folder"


@pytest.mark.parametrize(
    "args",
    [["fit", "digits", "--hiden", "3"], ["fit"], ["train"], ["fit", "digits", "--hidden", "x"]],
)
def test_wrong_usage_is_exit_code_2(args):
    assert RUNNER.invoke(app, args).exit_code == 2


def test_errors_leave_a_process_with_exit_code_1_and_no_traceback(tmp_path):
    result = command("fit", "digitz", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("error: digitz: neither a file nor a data set")
    assert "Traceback" not in result.stderr


def test_exit_codes_are_in_the_help():
    text = " ".join(RUNNER.invoke(app, ["--help"], env={"COLUMNS": "100"}).stdout.split())
    assert "Exit codes: 0 done; 1 an error, told in one sentence on stderr; 2 wrong usage;" in text
    assert "130 interrupted by Ctrl-C" in text


@pytest.mark.slow
def test_ctrl_c_keeps_the_model_and_the_history(tmp_path):
    arguments = ["fit", "digits", "--epochs", "100000", "--hidden", "4", "-o", "run"]
    process = subprocess.Popen(
        [sys.executable, "-m", "gibbsite", *arguments],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    history = tmp_path / "run" / "history.jsonl"
    deadline = time.monotonic() + 240
    while not (history.exists() and history.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == 130
    assert "interrupted after" in stderr
    assert gb.load(tmp_path / "run" / "model.safetensors").weight.isfinite().all()
    assert len(History.read(history)) >= 1


def test_a_diverged_run_keeps_the_last_good_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--learning-rate", "1e38", "--epochs", "3", "-o", "run"]
    monkeypatch.setattr(sys, "argv", ["gibbsite", "fit", "digits", *options])
    with pytest.raises(SystemExit):
        main()
    assert "update" in capsys.readouterr().err
    assert gb.load(tmp_path / "run" / "model.safetensors").weight.isfinite().all()
