"""REFERENCE.md from lines of JSON that reference.py printed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

HEAD = """\
# Reference figures

What a restricted Boltzmann machine reaches on public data, by this library, so that others can
check and beat it. Mean log-likelihood in nats a row of rows never trained on, and of (up to
10,000) rows trained on; in brackets the 95% interval, from the error of log Z alone. Conservative
and optimistic are annealing from the model and towards it; where both agree, log Z is known. One
command makes a row, in this folder:

`GIBBSITE_DATA=... python reference.py ROW --seed 0`

and `python reference.py --table results.jsonl` makes this page. Recipes are chosen by validation
rows alone (`--part valid`): those that came with the data, or a part of the training rows. Seconds
are those of the processor for training, all threads together. tau, the autocorrelation time, and
split R-hat are of the free energy of plain Gibbs chains, in sweeps: a large tau, or an R-hat above
1.05, says that plain chains do not mix, and that training or log Z took replica exchange.
"""

COLUMNS = (
    "row",
    "seed",
    "hidden",
    "test",
    "conservative, optimistic",
    "train",
    "seconds",
    "tau",
    "split R-hat",
)


def page(results: list[dict[str, Any]]) -> str:
    """The page, of all results that were measured on test rows."""
    results = [x for x in results if "test" in x]
    return "\n".join([HEAD, *_table(results), *_published(results), *_details(results)])


def _table(results: list[dict[str, Any]]) -> Iterator[str]:
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "| " + " | ".join("---" for _ in COLUMNS) + " |"
    for x in results:
        test, mixing = x["test"], x["mixing"]
        cells = (
            x["row"],
            x["seed"],
            x["sizes"]["hidden"],
            _interval(test),
            _bounds(test),
            f"{x['train']['log_likelihood']:.3f}",
            f"{x['training_seconds']:.0f}",
            f"{mixing['tau']:.0f}",
            f"{mixing['split_r_hat']:.3f}",
        )
        yield "| " + " | ".join(map(str, cells)) + " |"
    yield ""


def _interval(nats: dict[str, float]) -> str:
    if nats["stderr"] == 0:
        return f"**{nats['log_likelihood']:.3f}** (exact)"
    return f"**{nats['log_likelihood']:.3f}** [{nats['lower']:.3f}, {nats['upper']:.3f}]"


def _bounds(nats: dict[str, float | None]) -> str:
    both = nats["conservative"], nats["optimistic"]
    return ", ".join("" if x is None else f"{x:.3f}" for x in both) if any(both) else ""


def _published(results: list[dict[str, Any]]) -> Iterator[str]:
    """The first of our seeds beside figures published elsewhere."""
    yield "## Beside published figures\n"
    yield "Only figures whose source we name; none are shown where we have not seen it.\n"
    yield "| row | model | test nats | source |"
    yield "| --- | --- | --- | --- |"
    best: dict[str, dict[str, Any]] = {}
    for x in results:
        if x["published"]:
            kept = best.setdefault(x["row"], x)
            if x["seed"] < kept["seed"]:
                best[x["row"]] = x
    for name, x in best.items():
        ours = f"{x['test']['log_likelihood']:.2f}"
        yield f"| {name} | this library | {ours} | above, seed {x['seed']} |"
        for model, nats, source in x["published"]:
            yield f"| | {model} | {nats:.2f} | {source} |"
    yield ""


def _details(results: list[dict[str, Any]]) -> Iterator[str]:
    """Recipe, data and verdict of each row."""
    yield "## Recipes and data\n"
    for name in dict.fromkeys(x["row"] for x in results):
        same = [x for x in results if x["row"] == name]
        first = same[0]
        sizes = ", ".join(f"{n:,} {what}" for what, n in first["sizes"].items())
        yield f"**{name}**: {first['recipe']}. {sizes}. Binarisation: {first['binarisation']}."
        for x in same:
            yield (
                f"Seed {x['seed']}: log Z by {x['method']}, {x['verdict']}; "
                f"sha256 of the rows {x['sha256'][:12]}; {x['threads']} thread."
            )
        yield ""
