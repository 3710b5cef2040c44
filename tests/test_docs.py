"""README and docs are true: their code runs, their commands run, their stated output comes out.

The blocks of a page run in order, in one namespace and one temporary folder. A ``text`` block is
the output of the block before it. Lines of ``sh`` blocks that call `gibbsite` go through its entry
point; the tables below name every line that is shortened or only parsed, and why.
"""

import contextlib
import gzip
import inspect
import io
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import gibbsite as gb
from gibbsite import plots
from gibbsite.cli import app, console, main
from gibbsite.cli.progress import EpochBar
from gibbsite.cli.settings import EXACT_RECIPE, Settings

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
BLOCK = re.compile(r"^```(.*?)\n(.*?)^```$", re.M | re.S)
NUMBER = r"-?\d+(?:\.\d+)?"
FRAME = re.compile("[\u2500-\u257f]")  # the lines of a table, whose cells wrap

SHORT = ["--epochs", "1", "--hidden", "4"]
SHORTENED = {
    "README.md: gibbsite fit digits": ["--epochs", "2"],  # the quickstart runs it whole
    "gibbsite fit bars-and-stripes --exact": ["--epochs", "20"],  # 3,000 epochs, ten seconds
    "gibbsite fit patches": SHORT,  # minutes
    "gibbsite fit table.csv": SHORT,
    "gibbsite fit rows.npy": SHORT,
    "gibbsite fit rows.npz --key spikes": SHORT,
    "gibbsite fit rows.h5 --key spikes": SHORT,
    "gibbsite fit table.parquet": SHORT,
    "gibbsite fit train-images-idx3-ubyte.gz": SHORT,
    "gibbsite fit photographs --resize 16x16": SHORT,
    "gibbsite fit digits --from runs/digits-1": ["--epochs", "1"],
    "gibbsite fit --config runs/stopped/run.json": ["--epochs", "2"],
    "gibbsite fit --config runs/stopped/run.json --seed 1 --hidden 12": ["--epochs", "2"],
    "gibbsite fit digits --hidden 24 --epochs 60 -o runs/24": [
        "--budget",
        "2.5",
    ],
}
"""Lines that run with these options added, and draw no pictures: that takes the longest."""

PARSED = {
    "gibbsite fit mnist": "needs a download of 11 MB, then many minutes",
    "gibbsite fit mnist --budget 10m": "the same",
    "gibbsite fit codes.npy --visible categorical": "a file of the reader's",
    "gibbsite fit digits --hidden 16,64 --seed 0-4": "ten runs; tests/cli has shorter ones",
    "gibbsite fit digits --hidden 16,64,256 --seed 0-4 -o runs/sizes": "fifteen runs",
    "gibbsite compare runs/sizes": "the table of those",
    "gibbsite resume runs/stopped --budget 10m": "ten minutes",
}
"""Lines of which only the options are checked, and why."""

STOPPED = {"gibbsite fit digits --epochs 40 -o runs/stopped": 11}
"""Lines during which Ctrl-C is pressed, and in which epoch."""

EXITS = {"gibbsite fit digits --epochs 40 -o runs/stopped": 130, "gibbsite fit tabel.csv": 1}
"""Exit codes other than 0."""

ELSEWHERE = {"python", "python3", "pip"}
"""Programs of which the lines do not run here; .ci/run runs the README's own in a fresh copy."""

LOOSE = {
    r"s of training": (np.inf, 0),  # depends on the machine
    r"log Z": (0, 0.2),  # of the model, not of the data: differs between runs as good
    r"standard error|sample size": (0.03, 0.3),
    r"gap": (0.3, 0),
}
"""Lines of output whose numbers may be further off than most: absolutely, relatively."""


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command of a shell block; `&&` joins two."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        while "&&" in words:
            cut = words.index("&&")
            yield words[:cut]
            words = words[cut + 1 :]
        if words:
            yield words


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in, but for the files that the pages call the reader's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console.out, "width", 80)  # whatever terminal the tests run in
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (50, 16)).astype(np.float32)
    grey = rng.integers(0, 256, (12, 20, 20)).astype(np.uint8)
    header = ",".join(f"column{i}" for i in range(16))
    np.savetxt("table.csv", bits, "%d", ",", header=header, comments="")
    np.save("rows.npy", bits)
    np.savez("rows.npz", spikes=bits, times=np.arange(50.0)[:, None])
    idx = bytes([0, 0, 8, 3]) + np.array(grey.shape, ">u4").tobytes() + grey.tobytes()
    Path("train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx))
    _write_others(bits, grey, header.split(","))
    return tmp_path


def _write_others(bits: np.ndarray, grey: np.ndarray, names: list[str]) -> None:
    import h5py
    import pyarrow
    import pyarrow.parquet
    from PIL import Image

    with h5py.File("rows.h5", "w") as file:
        file["spikes"], file["times"] = bits, np.arange(50.0)[:, None]
    columns = dict(zip(names, bits.T, strict=True))
    pyarrow.parquet.write_table(pyarrow.table(columns), "table.parquet")
    Path("photographs").mkdir()
    for number, image in enumerate(grey):
        Image.fromarray(image).save(f"photographs/{number:02}.png")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_runs_and_prints_what_the_page_says(page, folder, monkeypatch, capsys):
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    for language, text in blocks(page):
        if language == "text":
            check_output(printed, text)
        elif language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as stream:
                exec(compile(text, name(page), "exec"), namespace)
            printed = stream.getvalue()
        elif language == "sh":
            printed = "".join(
                run_line(page, words, monkeypatch, capsys) for words in commands(text)
            )
        else:
            pytest.fail(f"a block of {language or 'no language'} in {name(page)}: nothing tests it")


def run_line(page: Path, words: list[str], monkeypatch, capsys) -> str:
    """What a line prints; on standard error, if it ends with an error."""
    program = Path(words[0]).name
    if program != "gibbsite":
        assert program in ELSEWHERE, f"{' '.join(words)}: say in ELSEWHERE who runs it"
        return ""
    line = " ".join(["gibbsite", *words[1:]])
    if line in PARSED:
        parse(words[1:])
        return ""
    more = SHORTENED.get(f"{name(page)}: {line}", SHORTENED.get(line, []))
    monkeypatch.setattr(sys, "argv", ["gibbsite", *words[1:], *more])
    capsys.readouterr()
    with monkeypatch.context() as patch:
        if more:
            patch.setattr(plots, "save", lambda figure, path: None)
        if line in STOPPED:
            press_ctrl_c(STOPPED[line], patch)
        with pytest.raises(SystemExit) as exit_:
            main()
    stdout, stderr = capsys.readouterr()
    assert (exit_.value.code or 0) == EXITS.get(line, 0), (line, stderr)
    return stderr if EXITS.get(line) == 1 else stdout


def parse(words: list[str]) -> None:
    """Raise unless these are a command's options, of the right kinds."""
    group = typer.main.get_command(app)
    command = group.commands[words[0]]  # type: ignore[attr-defined]
    command.make_context(words[0], list(words[1:]))


def press_ctrl_c(epoch: int, patch) -> None:
    shown = EpochBar.__call__

    def show(self, rbm, record):
        if record["epoch"] == epoch:
            raise KeyboardInterrupt
        shown(self, rbm, record)

    patch.setattr(EpochBar, "__call__", show)


def check_output(printed: str, said: str) -> None:
    """The same words; numbers as near as another processor or seed would bring them."""
    # a draw decided by the last digit of a sum differs between processors, and so does what follows
    found, expected = plain(printed), plain(said)
    assert re.sub(NUMBER, "#", "\n".join(found)) == re.sub(NUMBER, "#", "\n".join(expected))
    for line, wanted in zip(found, expected, strict=True):
        off, share = next(
            (x for words, x in LOOSE.items() if re.search(words, wanted)), (0.03, 0.03)
        )
        for x, y in zip(re.findall(NUMBER, line), re.findall(NUMBER, wanted), strict=True):
            if "." not in y and off < np.inf:
                assert x == y, (line, wanted)
            else:
                assert abs(float(x) - float(y)) <= off + share * abs(float(y)), (line, wanted)


def plain(text: str) -> list[str]:
    """Lines without frames and without spaces that only align."""
    lines = (" ".join(FRAME.sub(" ", line).split()) for line in text.splitlines())
    return [line for line in lines if line]


def test_the_comparison_of_output_notices_what_is_wrong():
    said = "test log-likelihood: -19.9 nats\nrows: 360\nlog Z: 56.0\n"
    check_output(said.replace("-19.9", "-20.2").replace("56.0", "60.1"), said)
    for wrong in ("-21.9", "19.9"):
        with pytest.raises(AssertionError):
            check_output(said.replace("-19.9", wrong), said)
    for old, new in (("360", "361"), ("nats", "bits"), ("56.0", "86.0"), ("rows", "\nrows")):
        with pytest.raises(AssertionError):
            check_output(said.replace(old, new) + ("x" if "\n" in new else ""), said)


def test_every_special_line_is_in_a_page():
    """No line is excused that nobody reads any more."""
    lines = {
        prefix + " ".join(["gibbsite", *words[1:]])
        for page in PAGES
        for language, text in blocks(page)
        if language == "sh"
        for words in commands(text)
        for prefix in ("", f"{name(page)}: ")
    }
    assert {*SHORTENED, *PARSED, *STOPPED, *EXITS} <= lines


def test_every_name_in_the_documents_exists():
    for page in PAGES:
        for dotted in re.findall(r"\bgb\.([A-Za-z_][A-Za-z_0-9.]*)", page.read_text("utf-8")):
            value = gb
            for part in dotted.rstrip(".").split("."):
                assert hasattr(value, part), f"{name(page)}: gb.{dotted}"
                value = getattr(value, part)


def test_every_option_in_the_documents_exists():
    group = typer.main.get_command(app)
    known = {"--help", "--strict"} | {
        option
        for command in group.commands.values()  # type: ignore[attr-defined]
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    for page in PAGES:
        for option in re.findall(r"`(--[a-z][\w-]*)", page.read_text("utf-8")):
            assert option in known, f"{name(page)}: {option}"


def test_the_settings_page_states_the_defaults_of_the_code():
    """Each row of its table: an option, an argument of gb.fit, one of the estimators."""
    text = (ROOT / "docs" / "settings.md").read_text("utf-8")
    table = text[text.index("| setting | `gibbsite fit` |") :].split("\n\n")[0].splitlines()[2:]
    ours = {field.name: field.default for field in fields(Settings)}
    sources = {
        "gb.fit": {k: p.default for k, p in inspect.signature(gb.fit).parameters.items()},
        "BernoulliRBM": gb.BernoulliRBM().get_params(),
        "GaussianRBM": gb.GaussianRBM().get_params(),
        "Gaussian": {k: p.default for k, p in inspect.signature(gb.Gaussian).parameters.items()},
    }
    words = {True: "on", False: "off"}
    checked = 0
    for row in table:
        for option, value in re.findall(r"`--([a-z0-9-]+)` ([\w.-]+)", row):
            if option != "exact":
                default = ours[option.replace("-", "_")]
                assert value == (words[default] if isinstance(default, bool) else str(default))
                checked += 1
        for value in re.findall(r"`--exact` ([\d.]+\d)", row):
            option = re.findall(r"`--([a-z0-9-]+)`", row)[0].replace("-", "_")
            assert value == str(EXACT_RECIPE[option]), option
            checked += 1
        for source, argument, value in re.findall(r"(\w[\w.]*) `(\w+)=([^`]+)`", row):
            assert value == repr(sources[source][argument]), (source, argument, value)
            checked += 1
    assert checked == 36


def test_the_likelihood_page_gives_the_coverage_that_was_measured():
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text("utf-8")
    page = " ".join((ROOT / "docs" / "likelihood.md").read_text("utf-8").split())
    rows = re.findall(r"^\| (ais|reverse-ais|bridge) \|(.*)\|$", results, re.M)[:3]
    shares = [(method, re.findall(r"(\d\.\d+) \(", cells)) for method, cells in rows]
    weakest = [f"{round(100 * float(found[-1]))}% (`{method}`)" for method, found in shares]
    assert "in {}, {} and {} of the cases".format(*weakest) in page
    overall = [round(100 * float(x)) for _, found in shares for x in found[:-1]]
    assert f"it was {min(overall)}% to {max(overall)}%" in page


def test_every_public_name_is_in_the_api():
    headings = {
        heading
        for page in ROOT.glob("docs/api/*.md")
        for heading in re.findall(r"heading: gb\.([\w.]+)", page.read_text("utf-8"))
    }
    whole = {"datasets", "exact", "testing"}  # modules, whose names are listed one by one
    assert set(gb.__all__) - whole <= headings
    assert {heading.split(".")[0] for heading in headings} <= set(gb.__all__)


def test_every_link_and_picture_in_the_documents_exists():
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{name(document)}: {target}"


def test_the_version_is_the_same_everywhere():
    assert f"version: {gb.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"Version {gb.__version__}" in (ROOT / "README.md").read_text()
    assert f"## {gb.__version__}" in (ROOT / "CHANGELOG.md").read_text()
