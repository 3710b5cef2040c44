"""The README is true: its Python example runs and prints what it says."""

import contextlib
import io
import re
from pathlib import Path

import pytest

import gibbsite as gb

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
NUMBER = r"-?\d+(?:\.\d+)?"


def test_the_example_prints_what_the_readme_says():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    (expected,) = re.findall(r"```text\n(.*?)```", README, re.S)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    assert re.sub(NUMBER, "#", printed.getvalue()) == re.sub(NUMBER, "#", expected)
    # a draw decided by the last digit of a sum differs between processors, and so does what follows
    found, said = (
        [float(x) for x in re.findall(NUMBER, text)] for text in (printed.getvalue(), expected)
    )
    assert found[:1] == pytest.approx(said[:1], abs=0.5)
    assert found[2:] == pytest.approx(said[2:], abs=0.03)


def test_every_name_in_the_readme_exists():
    for name in re.findall(r"gb\.([A-Za-z_.]+)", README):
        value = gb
        for part in name.strip(".").split("."):
            value = getattr(value, part)


def test_every_link_and_picture_in_the_documents_exists():
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_version_is_the_same_everywhere():
    assert f"version: {gb.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"Version {gb.__version__}" in README
    assert f"## {gb.__version__}" in (ROOT / "CHANGELOG.md").read_text()
