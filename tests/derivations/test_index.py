"""The document and the tests name each other: no equation, test or section is missing."""

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DOCUMENT = (HERE.parents[1] / "docs" / "derivations.md").read_text(encoding="utf-8")
INDEX = DOCUMENT[DOCUMENT.index("\n## 17. Index") :]

CHENG = ["(1.1)", *(f"(2.{n})" for n in range(1, 20)), *(f"(3.{n})" for n in range(1, 20))]
PENCIL = [f"({n})" for n in range(1, 38)]
BERNOULLI = ["sigm1", "sigm2", "Pvh", "Z_theta", "Pv", "Ph", "Ln", "gradient", "wij", "bj", "ai"]
BERNOULLI += ["result"]
GIBBSITE = [
    *(f"(12.{n})" for n in range(1, 18)),
    *(f"(13.{n})" for n in range(1, 6)),
    *(f"(14.{n})" for n in range(1, 5)),
    *(f"(15.{n})" for n in range(1, 3)),
]
EBM_SECTIONS = ["§1", "§2.1", "§3", "§3.1", "§3.2"]


def docstrings() -> dict[str, str]:
    """Every test function of this folder with its docstring."""
    found = {}
    for path in HERE.glob("test_*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert node.name not in found, f"two tests are called {node.name}"
                found[node.name] = ast.get_docstring(node) or ""
    return found


def rows() -> list[tuple[str, str, str, list[str]]]:
    """(source, equation, anchor, tests) of every line of the index."""
    pattern = r"^\| (\w+) \| (.+?) \| \[\d+\]\(#(.+?)\) \| (.+?) \|$"
    return [
        (source, label, anchor, re.findall(r"`(test_\w+)`", tests))
        for source, label, anchor, tests in re.findall(pattern, INDEX, re.MULTILINE)
    ]


def anchors() -> set[str]:
    """Anchors as GitHub makes them of the headings."""
    headings = re.findall(r"^#+ (.+)$", DOCUMENT, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def formulas() -> list[str]:
    """Everything between dollar signs."""
    block = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
    return block.findall(DOCUMENT) + re.findall(r"\$([^$]+)\$", block.sub("", DOCUMENT))


@pytest.mark.parametrize(
    ("source", "labels"),
    [("Cheng", CHENG), ("Pencil", PENCIL), ("Bernoulli", BERNOULLI), ("Gibbsite", GIBBSITE)],
)
def test_index_names_every_equation(source, labels):
    """Each once and in the order of the text; and the derivation itself names it too."""
    assert [label for name, label, *_ in rows() if name == source] == labels
    derivation = DOCUMENT[: DOCUMENT.index("\n## 16. ")]
    assert all(re.search(re.escape(label) + r"(?!\w)", derivation) for label in labels)


def test_index_names_every_section_of_the_unnumbered_texts():
    """Energy-Based Models by section; the notes have no sections."""
    listed = [label.split()[0] for name, label, *_ in rows() if name == "EBM"]
    assert sorted(set(listed)) == EBM_SECTIONS
    assert sum(name == "Notes" for name, *_ in rows()) == 12


def test_index_and_docstrings_agree():
    """An equation's tests name it, with its source, in their docstrings; and every row has one."""
    known = docstrings()
    for source, label, anchor, tests in rows():
        assert tests, (source, label)
        assert anchor in anchors(), anchor
        for test in tests:
            text = known[test]
            wanted = f"{source} {label}" if label[0] != "(" else label
            assert source in text, (test, source)
            assert wanted in text, (test, wanted)


def test_every_test_is_in_the_document():
    """And every test that the document names exists."""
    assert set(re.findall(r"`(test_\w+)`", DOCUMENT)) == set(docstrings())


def test_every_test_has_a_docstring():
    """So that its equation can be found from it."""
    assert all(docstrings().values())


def test_document_is_mathematics_that_github_renders():
    """Blocks of one line; nothing in a formula that Markdown would take for its own."""
    lines = DOCUMENT.splitlines()
    marks = [number for number, line in enumerate(lines) if "$$" in line]
    for opening, closing in zip(marks[::2], marks[1::2], strict=True):
        assert lines[opening : closing + 1 : 2] == ["$$", "$$"]
        assert lines[opening - 1] == lines[closing + 1] == ""
        assert not re.match(r"\s*([-+#=>]\s|\d+[.)])", lines[opening + 1])
    for formula in formulas():
        eaten = re.search(r"\\[\\,;:!{}_*#]|[*<>]|[})\]]_|operatorname", formula)
        assert eaten is None, (formula, eaten)
        assert formula.count("{") == formula.count("}"), formula
    for line in lines:
        parts = line.split("$") if line != "$$" else [""]
        assert len(parts) % 2 == 1, line
        assert all(inner == inner.strip() != "" for inner in parts[1::2]), line
        # an opening dollar after a letter, or a closing one before it, is no formula to GitHub
        assert not any(before[-1:].isalnum() for before in parts[:-1:2]), line
        assert not any(after[:1].isalnum() for after in parts[2::2]), line
