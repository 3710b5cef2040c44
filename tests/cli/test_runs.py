"""Runs that go on, runs repeated from their run.json, and what the command prints for scripts."""

import dataclasses
import hashlib
import inspect
import json
import logging
import re
import signal
import subprocess
import sys
from pathlib import Path

import kills
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import gibbsite as gb
from gibbsite.cli import app, data, job, main
from gibbsite.cli.fit import fit
from gibbsite.cli.settings import Settings
from gibbsite.training import History

RUNNER = CliRunner()
FIT = ["--epochs", "4", "--hidden", "3", "--budget", "0"]


def run(*args):
    return RUNNER.invoke(app, [str(a) for a in args], catch_exceptions=False)


def model(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def record(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def rewrite(folder: Path, **settings) -> Path:
    """A run.json with other settings; None takes one out."""
    changed = record(folder)
    changed["settings"] |= settings
    path = folder.parent / "changed.json"
    path.write_text(json.dumps(changed))
    return path


@pytest.fixture(scope="module", autouse=True)
def no_pictures():
    """They take most of the time of a short run, and other tests look at them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job.Job, "_write_pictures", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "table.npy"
    np.save(path, np.random.default_rng(0).normal(3, 2, (60, 5)))
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory, table):
    """A run of Gaussian units on a table, never stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run("fit", table, *FIT, "--seed", 5, "-o", folder)
    return folder


# kills


@pytest.mark.slow
def test_a_killed_run_is_resumed_to_the_same_bytes():
    """A few kills; `benchmarks/robustness.py` does a hundred."""
    result = subprocess.run(
        [sys.executable, kills.__file__, "3", "1", "12"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["kills"] >= 3
    assert told["runs that ended, with the bytes of the run never stopped"] >= 1


class Stop(Exception):
    pass


def stopped(monkeypatch, *args, after: int, error: BaseException) -> None:
    """Run until an error comes from writing the record of an epoch."""
    done = []

    def append(path, record):
        done.append(record)
        if len(done) == after:
            raise error
        original(path, record)

    original = job.append
    with monkeypatch.context() as patch:
        patch.setattr(job, "append", append)
        try:
            run(*args)
        except type(error):
            pass


@pytest.mark.parametrize("after", [1, 2, 4])
@pytest.mark.parametrize("error", [Stop(), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("every", [1, 3])
def test_a_stopped_run_is_resumed_to_the_same_bytes(
    tmp_path, monkeypatch, table, whole, after, error, every
):
    options = [*FIT, "--seed", 5, "--checkpoint-every", every, "-o", tmp_path / "run"]
    stopped(monkeypatch, "fit", table, *options, after=after, error=error)
    (tmp_path / "run" / ".model.safetensors.ab12").write_bytes(b"half")
    result = run("resume", tmp_path / "run")
    assert result.exit_code == 0
    epoch = (after - 1) // every * every
    said = f"going on after epoch {epoch}" if epoch else "no checkpoint yet: from the start"
    assert said in result.stdout
    assert not list((tmp_path / "run").glob(".*")), "what was half-written is still there"
    assert model(tmp_path / "run") == model(whole)
    histories = [History.read(f / "history.jsonl").records for f in (tmp_path / "run", whole)]
    for history in histories:
        assert [line["epoch"] for line in history] == [1, 2, 3, 4]
        for line in history:
            del line["seconds"]
    assert histories[0] == histories[1]


def test_the_estimates_of_the_likelihood_are_resumed_too(tmp_path, monkeypatch):
    """More than 2^16 states a side, so that TrajectoryAIS, which draws numbers, is asked."""
    data = tmp_path / "table.npy"
    np.save(data, np.random.default_rng(0).normal(3, 2, (30, 2)).repeat(10, 1))
    options = ["--epochs", 12, "--hidden", 17, "--budget", 0, "--checkpoint-every", 1]
    run("fit", data, *options, "-o", tmp_path / "whole")
    stopped(monkeypatch, "fit", data, *options, "-o", tmp_path / "run", after=8, error=Stop())
    assert run("resume", tmp_path / "run").exit_code == 0
    names = ("run", "whole")
    histories = [History.read(tmp_path / name / "history.jsonl") for name in names]
    told = [
        [{k: x for k, x in line.items() if k != "seconds"} for line in history.records]
        for history in histories
    ]
    assert told[0] == told[1]
    assert [line["epoch"] for line in told[0] if "ais_trusted" in line] == [5, 10]


def test_resuming_a_run_that_has_ended_changes_nothing(whole):
    before = model(whole)
    assert run("resume", whole).exit_code == 0
    assert model(whole) == before


def test_averages_and_fast_weights_are_resumed_too(tmp_path, monkeypatch, table):
    options = [*FIT, "--average", 2, "--gradient", "fpcd", "--checkpoint-every", 1]
    run("fit", table, *options, "-o", tmp_path / "whole")
    stopped(monkeypatch, "fit", table, *options, "-o", tmp_path / "run", after=3, error=Stop())
    assert run("resume", tmp_path / "run").exit_code == 0
    assert model(tmp_path / "run") == model(tmp_path / "whole")


def test_the_average_is_saved_and_measured(tmp_path):
    options = ["bars-and-stripes", "--epochs", 40, "--hidden", 4, "--learning-rate", 0.5]
    options += ["--schedule", "linear", "--momentum", 0.5]
    for average in (0, 10):
        run("fit", *options, "--average", average, "-o", tmp_path / str(average))
    data = gb.datasets.load("bars-and-stripes").train
    models = [gb.load(tmp_path / name / "model.safetensors") for name in ("0", "10")]
    histories = [History.read(tmp_path / name / "history.jsonl") for name in ("0", "10")]
    assert histories[0].column("weight_norm") == histories[1].column("weight_norm")
    for rbm, history in zip(models, histories, strict=True):
        exact = gb.exact.log_likelihood(rbm, data).mean().item()
        assert history.column("train_log_likelihood")[-1] == pytest.approx(exact, abs=1e-4)
    assert models[1].weight.norm().item() < 0.95 * models[0].weight.norm().item()


def test_the_schedule_is_followed(tmp_path):
    course = {"linear": [0.4, 0.3, 0.2, 0.1], "quadratic": [0.4, 0.225, 0.1, 0.025]}
    for name, rates in (course | {"constant": [0.4] * 4}).items():
        options = [*FIT, "--learning-rate", 0.4, "--schedule", name]
        run("fit", "bars-and-stripes", *options, "-o", tmp_path / name)
        found = History.read(tmp_path / name / "history.jsonl").column("learning_rate")
        assert found == pytest.approx(rates)


def test_chains_from_noise_take_more_steps_unless_told(tmp_path):
    for name, options in (("10", []), ("3", ["--steps", 3])):
        options = [*FIT, "--gradient", "noise-cd", *options]
        run("fit", "bars-and-stripes", *options, "-o", tmp_path / name)
        assert record(tmp_path / name)["settings"]["steps"] == int(name)


def test_a_run_without_checkpoints_starts_over(tmp_path, monkeypatch, table, whole):
    options = [*FIT, "--seed", 5, "--checkpoint-every", 0, "-o", tmp_path / "run"]
    stopped(monkeypatch, "fit", table, *options, after=3, error=Stop())
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert "from the start" in run("resume", tmp_path / "run").stdout
    assert model(tmp_path / "run") == model(whole)


def test_resume_works_from_another_folder(tmp_path, monkeypatch, table, whole):
    monkeypatch.chdir(table.parent)
    options = [*FIT, "--seed", 5, "-o", tmp_path / "run"]
    stopped(monkeypatch, "fit", table.name, *options, after=3, error=Stop())
    monkeypatch.chdir(tmp_path)
    assert run("resume", "run").exit_code == 0
    assert model(tmp_path / "run") == model(whole)


@pytest.mark.parametrize("row", [0, 30, 59])
@pytest.mark.parametrize("dtype", ["f8", "u1"])
def test_changed_data_are_refused(tmp_path, monkeypatch, row, dtype):
    array = np.random.default_rng(0).integers(0, 256, (60, 5)).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    stopped(
        monkeypatch, "fit", tmp_path / "a.npy", *FIT, "-o", tmp_path / "run", after=3, error=Stop()
    )
    array[row, 4] += 1
    np.save(tmp_path / "a.npy", array)
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(gb.DataError, match=r"a\.npy is not what it was when .*run was begun"):
        run("resume", tmp_path / "run")
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


def test_data_on_disk_are_told_apart_by_any_number(tmp_path, monkeypatch):
    monkeypatch.setattr("gibbsite.datasets.files.LARGE_BYTES", 100)
    array = np.random.default_rng(0).random((50, 4)).astype("f4")
    seen = set()
    for place in (None, 0, 77, 199):
        np.save(tmp_path / "a.npy", array)
        if place is not None:
            changed = array.copy()
            changed.flat[place] /= 2
            np.save(tmp_path / "a.npy", changed)
        source = gb.datasets.load(tmp_path / "a.npy")
        assert isinstance(source.rows, gb.Rows)
        seen.add(data.fingerprint(source))
    assert len(seen) == 4


def test_a_full_disk_is_told_and_the_run_goes_on_later(tmp_path, monkeypatch, table, whole, capsys):
    error = OSError(28, "No space left on device")
    for place in ("os.fsync", "gibbsite.training.history.json.dumps"):
        folder = tmp_path / place

        def full(*_, **__):
            raise error

        stopped(monkeypatch, "fit", table, *FIT, "--seed", 5, "-o", folder, after=3, error=Stop())
        with monkeypatch.context() as patch:
            patch.setattr(place, full)
            code, _, err = once(["resume", folder], patch, capsys)
        assert code == 1
        assert "No space left on device" in err
        assert run("resume", folder).exit_code == 0
        assert model(folder) == model(whole)


def test_a_damaged_checkpoint_is_told_and_the_one_before_used(
    tmp_path, monkeypatch, table, whole, caplog
):
    options = [*FIT, "--seed", 5, "-o", tmp_path / "run"]
    stopped(monkeypatch, "fit", table, *options, after=4, error=Stop())
    newest, before = gb.Checkpoints(tmp_path / "run" / "checkpoints").files()
    newest.write_bytes(newest.read_bytes()[:-1])
    result = run("resume", tmp_path / "run")
    assert "going on after epoch 2" in result.stdout
    assert any(f"going on from {before.name}" in line for line in caplog.messages)
    assert model(tmp_path / "run") == model(whole)
    for path in gb.Checkpoints(tmp_path / "run" / "checkpoints").files():
        path.write_bytes(b"")
    with pytest.raises(gb.ModelFileError, match="start again in another folder"):
        run("resume", tmp_path / "run")


# run.json


def test_run_json_has_all_that_a_repetition_needs(tmp_path, monkeypatch, table):
    arguments = ["gibbsite", "fit", str(table), *FIT, "--quiet", "-o", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    kept = record(tmp_path / "run")
    assert kept["command"] == arguments
    assert set(kept["settings"]) == {field.name for field in dataclasses.fields(Settings)}
    optional = ("key", "resize", "image", "trials", "start")
    assert None not in [v for name, v in kept["settings"].items() if name not in optional]
    assert kept["settings"]["seed"] == 0
    assert kept["settings"]["device"] in ("cpu", "cuda")
    assert kept["versions"]["gibbsite"] == gb.__version__
    assert kept["versions"].keys() >= {"torch", "numpy", "python"}
    assert kept["data"]["rows"] == 48
    assert kept["data"]["columns"] == 5
    assert len(bytes.fromhex(kept["data"]["sha256"])) == hashlib.sha256().digest_size


OPTIONS = [
    ["--gradient", "fpcd", "--schedule", "quadratic", "--average", "1.5"],
    ["--gradient", "noise-cd", "--schedule", "constant"],
    ["--exact", "--no-centered"],
    ["--gradient", "cd", "--optimizer", "adam", "--learning-rate", "0.01", "--l1", "0.1"],
    ["--batch-size", "7", "--momentum", "0.1", "--chains", "9", "--steps", "2", "--sigma", "0.5"],
]


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_config_repeats_a_run_byte_by_byte(tmp_path, table, options):
    run("fit", table, *FIT, "--seed", 7, *options, "-o", tmp_path / "first")
    run("fit", "--config", tmp_path / "first" / "run.json", "-o", tmp_path / "second")
    assert model(tmp_path / "first") == model(tmp_path / "second")
    first, second = record(tmp_path / "first"), record(tmp_path / "second")
    assert first["settings"] == second["settings"]
    assert first["data"] == second["data"]


def test_config_with_other_data_says_so(tmp_path, whole, table):
    config = ["fit", "--config", whole / "run.json", "--epochs", 1]
    assert "not those of" not in run(*config, "-o", tmp_path / "same").stderr
    np.save(tmp_path / "other.npy", np.load(table) + 1)
    told = run(*config, tmp_path / "other.npy", "-o", tmp_path / "other").stderr
    assert "the data are not those of" in told


def test_an_option_beside_config_counts_even_if_it_is_the_default(tmp_path, whole):
    config = ["fit", "--config", whole / "run.json"]
    run(*config, "--seed", 0, "-o", tmp_path / "default")
    assert record(tmp_path / "default")["settings"]["seed"] == 0
    assert model(tmp_path / "default") != model(whole)
    run(*config, "--hidden", 4, "--no-learn-sigma", "bars-and-stripes", "-o", tmp_path / "others")
    kept, before = record(tmp_path / "others")["settings"], record(whole)["settings"]
    changed = {name for name in kept if kept[name] != before[name]}
    assert changed == {"hidden", "learn_sigma", "data"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hiden": 3}, "hiden is no setting"),
        ({"hidden": "3"}, "hidden is '3', expected int"),
        ({"hidden": 3.5}, "hidden is 3.5, expected int"),
        ({"hidden": True}, "hidden is True, expected int"),
        ({"centered": 1}, "centered is 1, expected bool"),
        ({"data": None}, "data is None, expected str"),
        ({"l2": "much"}, "l2 is 'much', expected float"),
        ({"seed": [1]}, r"seed is \[1\], expected int"),
        ({"gradient": "newton"}, "--gradient newton: expected one of pcd, fpcd, cd"),
        ({"schedule": "cosine"}, "--schedule cosine: expected one of linear, quadratic, constant"),
        ({"average": -1.0}, "--average -1.0: expected a finite number of at least 0"),
        ({"optimizer": "lbfgs"}, "--optimizer lbfgs: expected one of sgd, adam"),
        ({"visible": "coin"}, "--visible coin: expected auto, "),
        ({"device": "tpu"}, "--device tpu: expected one of auto, cpu, cuda"),
        ({"data": "none.npy"}, "none.npy: neither a file nor a data set"),
        ({"hidden": 10**30}, r"--hidden: expected a whole number of at most 2\^62"),
        ({"learning_rate": float("nan")}, "--learning-rate nan"),
    ],
)
def test_a_config_that_cannot_be_used_names_the_setting(
    tmp_path, monkeypatch, capsys, whole, settings, message
):
    path = rewrite(whole, **settings)
    code, _, err = once(["fit", "--config", path, "-o", tmp_path / "run"], monkeypatch, capsys)
    assert code == 1
    assert re.search(message, err)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[]", "run.json"),
        ("{}", "it has no 'format'"),
        ('{"format": 2}', "format 2"),
        ('{"format": 1}', "it has no 'settings'"),
        ('{"format": 1, "settings": {}}', "'data'"),
        ('{"format": 1, "settings": {"data": "digits"}}', "it has no 'data'"),
        ('{"format": 1, "settings": []}', "run.json"),
        ("[" * 100_000, "recursion"),
        ("\\ud800", "Expecting value"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path, text, message):
    path = tmp_path / "run.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(
        gb.DataError, match=r"run\.json is no run\.json that can be used: "
    ) as error:
        run("fit", "--config", path, "-o", tmp_path / "run")
    assert message in str(error.value)


def test_the_options_default_to_the_settings():
    """Else a setting that nobody gave would differ between the command and a Python user."""
    options = {name: p.default for name, p in inspect.signature(fit).parameters.items()}
    for field in dataclasses.fields(Settings):
        if field.name != "data":
            default = getattr(options[field.name], "value", options[field.name])
            assert default == field.default, field.name


# output for scripts


@pytest.fixture
def files(tmp_path, whole, table):
    return {"model": whole / "model.safetensors", "data": table, "folder": tmp_path}


EVERY = {
    "fit": lambda f: ["fit", f["data"], *FIT, "-o", f["folder"] / "run"],
    "resume": lambda f: ["resume", f["model"].parent],
    "sample": lambda f: ["sample", f["model"], "--steps", 3, "-o", f["folder"] / "s.npy"],
    "evaluate": lambda f: ["evaluate", f["model"], f["data"]],
    "evaluate, bridge": lambda f: [
        *("evaluate", f["model"], f["data"], "--method", "bridge", "--temperatures", 50)
    ],
    "transform": lambda f: ["transform", f["model"], f["data"], "-o", f["folder"] / "f.npy"],
    "diagnose": lambda f: ["diagnose", f["model"], f["data"], "--budget", 0.05],
    "info": lambda f: ["info", f["model"]],
    "datasets": lambda _: ["datasets"],
}


def once(args, monkeypatch, capsys):
    """What a user's process prints: exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["gibbsite", *map(str, args)])
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = capsys.readouterr()
    return stop.value.code or 0, out, err


KEYS = {
    "fit": {"folder", "interrupted", "sets", "method", "verdict", "epochs", "seconds"},
    "resume": {"folder", "interrupted", "sets", "method", "verdict", "epochs", "seconds"},
    "sample": {"file", "rows", "columns"},
    "evaluate": {
        "rows",
        "log_likelihood",
        "stderr",
        "lower",
        "upper",
        "method",
        "verdict",
        "baselines",
        "baselines_fitted_to",
    },
    "evaluate, bridge": {"conservative", "optimistic", "ess", "warnings"},
    "transform": {"file", "rows", "columns"},
    "diagnose": {"kind", "sampler", "steps", "mixing", "course", "verdict"},
    "info": {"certificate", "visible", "hidden", "parameters", "dtype", "tensors", "log_partition"},
    "datasets": set(gb.datasets.NAMES),
}


@pytest.mark.parametrize("name", EVERY)
def test_json_is_one_document_and_nothing_else(files, monkeypatch, capsys, name):
    code, out, _ = once([*EVERY[name](files), "--json"], monkeypatch, capsys)
    assert code == 0
    assert out.count("\n") == 1

    def no_constant(word):
        raise AssertionError(f"{word} is no JSON")

    assert json.loads(out, parse_constant=no_constant).keys() >= KEYS[name]


@pytest.mark.parametrize("name", sorted(set(EVERY) - {"info", "datasets"}))
def test_quiet_prints_nothing(files, monkeypatch, capsys, name):
    assert once([*EVERY[name](files), "--quiet"], monkeypatch, capsys) == (0, "", "")


def test_quiet_does_not_last(files, monkeypatch, capsys):
    once([*EVERY["evaluate"](files), "--quiet"], monkeypatch, capsys)
    for name in ("evaluate", "info", "datasets"):
        assert once(EVERY[name](files), monkeypatch, capsys)[1]


def test_quiet_silences_the_log_too(files, monkeypatch, capsys):
    """Such as that kernels are being compiled: a warning, no error."""
    log = logging.getLogger("gibbsite")
    for flags, expected in ((["--quiet"], False), ([], True), (["--json"], True)):
        once([*EVERY["evaluate"](files), *flags], monkeypatch, capsys)
        assert log.isEnabledFor(logging.WARNING) == expected
        assert log.isEnabledFor(logging.ERROR)


@pytest.mark.parametrize("flag", ["--json", "--quiet"])
def test_errors_are_told_on_stderr_alone(monkeypatch, capsys, flag):
    code, out, err = once(["fit", "digitz", flag], monkeypatch, capsys)
    assert (code, out) == (1, "")
    assert err.count("error: digitz") == 1


def test_no_bars_where_there_is_no_terminal(files, monkeypatch, capsys):
    for name in ("fit", "evaluate, bridge"):
        _, out, err = once(EVERY[name](files), monkeypatch, capsys)
        assert not {"\x1b", "\r"} & {*out, *err}
        assert not {"━", "╸", "%"} & {*err}


def test_transform_writes_the_hidden_means_in_order(files, table):
    path = files["folder"] / "f.npy"
    assert run("transform", files["model"], table, "-o", path).exit_code == 0
    rbm = gb.load(files["model"])
    rows = torch.from_numpy(np.load(table)).float()
    expected = rbm.hidden_mean(rows).detach().numpy()
    assert np.array_equal(np.load(path), expected)
    run("transform", files["model"], table, "-o", files["folder"] / "f.csv")
    assert np.allclose(np.loadtxt(files["folder"] / "f.csv", delimiter=","), expected, rtol=1e-7)


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_device_is_taken_by_every_command_that_computes(files, monkeypatch, capsys, device):
    for name in ("fit", "diagnose", "sample", "evaluate", "transform"):
        code, _, err = once([*EVERY[name](files), "--device", device], monkeypatch, capsys)
        assert code == 0, err


def test_ctrl_c_outside_training_is_exit_code_130(files, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    for place, name in (("gibbsite.datasets.load", "fit"), ("gibbsite.sample", "sample")):
        with monkeypatch.context() as patch:
            patch.setattr(place, interrupt)
            assert once(EVERY[name](files), patch, capsys)[0] == 130
    assert signal.SIGINT + 128 == 130


# data read as the run read them


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    for number, size in enumerate([(9, 12), (12, 9), (16, 16), (20, 8), (8, 8), (10, 10)]):
        pixels = np.random.default_rng(number).integers(0, 256, size).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_images_are_resized_as_in_the_run(tmp_path, photographs):
    folder = tmp_path / "run"
    run("fit", photographs, "--resize", "4x3", *FIT, "-o", folder)
    for place in (folder, folder / "model.safetensors"):
        out = tmp_path / f"{place.name}.npy"
        assert run("transform", place, photographs, "-o", out).exit_code == 0
        assert np.load(out).shape == (6, 3)
        assert run("evaluate", place, photographs).exit_code == 0
    for command in ("evaluate", "transform"):
        with pytest.raises(gb.ArgumentError, match=r"^--resize 2x2: the run used 4x3, "):
            run(command, folder, photographs, "--resize", "2x2")
    (folder / "run.json").unlink()
    with pytest.raises(gb.DataError, match=r"resize all to, .* or --resize HEIGHT"):
        run("evaluate", folder, photographs)
    assert run("evaluate", folder, photographs, "--resize", "4x3").exit_code == 0


def test_arrays_are_found_by_the_key_of_the_run(tmp_path):
    first, second = (np.eye(6)[order] for order in (slice(None), slice(None, None, -1)))
    np.savez(tmp_path / "a.npz", first=first, second=second)
    folder = tmp_path / "run"
    run("fit", tmp_path / "a.npz", "--key", "second", *FIT, "-o", folder)
    features = {}
    for name, options in {
        "as": [],
        "second": ["--key", "second"],
        "first": ["--key", "first"],
    }.items():
        out = tmp_path / f"{name}.npy"
        assert run("transform", folder, tmp_path / "a.npz", "-o", out, *options).exit_code == 0
        features[name] = np.load(out)
    assert np.array_equal(features["as"], features["second"])
    assert np.array_equal(features["first"], features["second"][::-1])
    assert run("evaluate", folder, tmp_path / "a.npz").exit_code == 0
    assert run("evaluate", folder, tmp_path / "a.npz", "--key", "first").exit_code == 0


# columns that do not vary


def test_a_constant_column_is_kept_and_said(tmp_path):
    table = np.column_stack([np.random.default_rng(0).normal(5, 2, 60), np.full(60, 7.0)])
    path = tmp_path / "table.csv"
    np.savetxt(path, table, delimiter=",", header="x,y", comments="")
    result = run("fit", path, *FIT, "-o", tmp_path / "run")
    assert result.exit_code == 0
    assert result.stderr.count("note: constant: column 2 (y) (counted from 1)") == 1
    rbm = gb.load(tmp_path / "run" / "model.safetensors")
    assert rbm.visible.sigma[1].item() == pytest.approx(1.0)
    assert rbm.visible.sigma[0].item() != pytest.approx(1.0)
    assert run("evaluate", tmp_path / "run", path).exit_code == 0
