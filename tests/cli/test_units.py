"""Every unit type through the command: fit, info, evaluate, sample and resume."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import gibbsite as gb
from gibbsite.cli import app
from gibbsite.layers import kind_of

QUICK = ("--hidden", "2", "--epochs", "2", "--budget", "0")
ROWS = 60


def run(*args):
    """Run in this process; Gibbsite errors come out as exceptions."""
    result = CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)
    assert result.exit_code == 0
    return result


def values(kind: str) -> np.ndarray:
    """A small table of that kind of data, 4 columns."""
    rng = np.random.default_rng(0)
    return {
        "bernoulli": lambda: rng.integers(0, 2, (ROWS, 4)),
        "binomial": lambda: rng.binomial(6, 0.4, (ROWS, 4)).astype(np.uint8),
        "categorical": lambda: rng.integers(0, [3, 4, 2, 5], (ROWS, 4)).astype(np.uint8),
        "drelu": lambda: rng.normal(size=(ROWS, 4)),
        "gaussian": lambda: rng.normal([100, -3, 0, 1], [5, 0.1, 1, 2], (ROWS, 4)),
        "poisson": lambda: rng.poisson(2, (ROWS, 4)).astype(np.uint8),
        "relu": lambda: abs(rng.normal(size=(ROWS, 4))),
        "spin": lambda: rng.choice([-1, 1], (ROWS, 4)),
        "truncated-exponential": lambda: rng.random((ROWS, 4)),
    }[kind]()


KINDS = ["bernoulli", "binomial", "categorical", "drelu", "gaussian", "poisson", "relu", "spin",
         "truncated-exponential"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_visible_unit(tmp_path, kind):
    data = values(kind)
    np.save(tmp_path / "a.npy", data)
    np.savetxt(tmp_path / "a.csv", data, delimiter=",", fmt="%.9g")
    folder = tmp_path / "run"
    run("fit", tmp_path / "a.npy", "--visible", kind, *QUICK, "--image", "2x2", "-o", folder)
    assert (folder / "filters.png").read_bytes().startswith(b"\x89PNG")
    rbm = gb.load(folder)
    assert kind_of(rbm.visible) == kind
    shown = json.loads(run("info", folder, "--json").stdout)
    assert shown["visible"] == rbm.visible.describe()
    by_file = [run("evaluate", folder, tmp_path / f"a.{end}", "--json") for end in ("npy", "csv")]
    one, other = (json.loads(result.stdout)["log_likelihood"] for result in by_file)
    expected = gb.evaluate(rbm, torch.tensor(data)).log_likelihood
    assert one == pytest.approx(expected, abs=1e-4)
    assert other == pytest.approx(expected, abs=1e-4)
    for end in ("npy", "csv"):
        run("sample", folder, "-n", 5, "--steps", 3, "-o", tmp_path / f"s.{end}")
    drawn = np.load(tmp_path / "s.npy")
    assert drawn.shape == (5, 4)
    rbm.visible.check_data(torch.tensor(drawn))
    assert np.allclose(np.loadtxt(tmp_path / "s.csv", delimiter=","), drawn, rtol=1e-6)
    run("resume", folder)
    assert torch.equal(gb.load(folder).weight, rbm.weight)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_hidden_unit(tmp_path, kind):
    np.save(tmp_path / "a.npy", values("bernoulli"))
    run("fit", tmp_path / "a.npy", "--hidden-type", kind, *QUICK, "-o", tmp_path / "run")
    hidden = gb.load(tmp_path / "run").hidden
    assert kind_of(hidden) == kind
    assert hidden.n == 2


@pytest.mark.parametrize("kind", ["relu", "gaussian"])
def test_without_a_pseudo_likelihood_the_other_figures_remain(tmp_path, kind):
    np.save(tmp_path / "a.npy", values("gaussian"))
    run("fit", tmp_path / "a.npy", "--hidden-type", kind, *QUICK, "-o", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "history.jsonl").read_text().splitlines()[-1])
    assert "reconstruction_error" in record
    assert "pseudo_likelihood" not in record


@pytest.fixture
def words(tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"{rng.choice(['red', 'blue'])},{rng.choice(['s', 'm', '?'])}" for _ in range(ROWS)]
    path = tmp_path / "words.csv"
    path.write_text("\n".join(["colour,size", *lines]) + "\n")
    return path


def test_words_come_back_from_samples(tmp_path, words):
    folder = tmp_path / "run"
    run("fit", words, *QUICK, "-o", folder)
    assert gb.load(folder).visible.sizes == [2, 3]
    run("sample", folder, "-n", 20, "--steps", 3, "-o", tmp_path / "s.csv")
    run("sample", folder, "-n", 20, "--steps", 3, "-o", tmp_path / "s.npy")
    header, *lines = (tmp_path / "s.csv").read_text().splitlines()
    assert header == "colour,size"
    labels = ["blue", "red"], ["?", "m", "s"]
    codes = np.load(tmp_path / "s.npy").astype(int)
    assert lines == [f"{labels[0][a]},{labels[1][b]}" for a, b in codes]
    run("evaluate", folder, tmp_path / "s.csv")
    run("resume", folder)


def test_a_word_that_the_run_does_not_know_is_named(tmp_path, words):
    run("fit", words, *QUICK, "-o", tmp_path / "run")
    other = tmp_path / "new.csv"
    other.write_text("colour,size\nred,s\ngreen,m\n")
    message = r"line 3, column 1 \(colour\): 'green', a category that is not known \(blue, red\)"
    with pytest.raises(gb.DataError, match=message):
        run("evaluate", tmp_path / "run", other)
    (tmp_path / "run" / "model.safetensors").rename(tmp_path / "alone.safetensors")
    with pytest.raises(gb.DataError, match="in the folder of its run"):
        run("evaluate", tmp_path / "alone.safetensors", words)


def test_a_run_json_with_damaged_categories_is_refused(tmp_path, words):
    folder = tmp_path / "run"
    run("fit", words, *QUICK, "-o", folder)
    record = json.loads((folder / "run.json").read_text())
    record["data"]["categories"] = [[1, 2], None]
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(gb.DataError, match=r"run\.json holds no columns that can be used"):
        run("sample", folder, "-o", tmp_path / "s.csv")


def test_a_typed_table_by_column(tmp_path):
    rng = np.random.default_rng(0)
    lines = [
        f"{rng.integers(2)},{rng.normal(1000, 3):.3f},7.5,{rng.choice(['a', 'b', 'c'])},"
        f"{rng.poisson(3)}"
        for _ in range(ROWS)
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    kinds = "bernoulli:1,gaussian:2,categorical:1,poisson:1"
    folder = tmp_path / "run"
    run("fit", tmp_path / "t.csv", "--visible", kinds, *QUICK, "-o", folder)
    rbm = gb.load(folder)
    assert kind_of(rbm.visible) == kinds
    gaussian = rbm.visible.parts()[1]
    assert gaussian.bias[0].item() == pytest.approx(1000, abs=3)  # in the units of the data
    assert gaussian.sigma[1].item() == 1.0  # of a constant column, held
    run("evaluate", folder, tmp_path / "t.csv")
    run("sample", folder, "-n", 4, "--steps", 2, "-o", tmp_path / "s.csv")
    row = (tmp_path / "s.csv").read_text().splitlines()[0].split(",")
    assert row[0] in "01"
    assert row[3] in "abc"
    assert row[4].isdecimal()


@pytest.mark.parametrize(
    ("kind", "rows", "message"),
    [
        ("poisson", [[1, 2], [3, -1]], "row 2, column 2: -1; Poisson units count"),
        ("spin", [[1, -1], [0.5, -1]], r"row 2, column 1: 0\.5; Spin units"),
        ("categorical", [[1, 0], [0.5, 1]], r"row 2, column 1: 0\.5; this unit takes codes"),
        ("bernoulli,gaussian:3", [[1, 0]], "that is 4 in all, expected 2"),
        ("mixed", [[1, 0]], "visible='mixed': expected auto, bernoulli, "),
    ],
)
def test_data_of_another_kind_are_named_and_nothing_is_written(tmp_path, kind, rows, message):
    np.save(tmp_path / "a.npy", np.array(rows, float))
    with pytest.raises(gb.GibbsiteError, match=message):
        run("fit", tmp_path / "a.npy", "--visible", kind, *QUICK, "-o", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_code_beyond_those_trained_on_is_named(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[0, 1], [2, 0]] * 5))
    np.save(tmp_path / "b.npy", np.array([[0, 1], [4, 0]]))
    run("fit", tmp_path / "a.npy", "--visible", "categorical", *QUICK, "-o", tmp_path / "run")
    with pytest.raises(gb.DataError, match="row 2, column 1: 4; this unit takes codes from 0 to 2"):
        run("evaluate", tmp_path / "run", tmp_path / "b.npy")
