"""Markdown tables from lines of JSON that defaults.py printed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

Line = dict[str, Any]

HEAD = ("data", "model", "mean", "worst seed", "best seed", "seeds", "hidden", "seconds", "trusted")


def page(lines: Iterable[Line], levels: Sequence[float]) -> str:
    """Tables of test log-likelihoods and, where models were measured in training, of seconds."""
    lines = list(lines)
    ends = [x for x in lines if len(x["marks"]) == 1]
    courses = [x for x in lines if len(x["marks"]) > 1]
    told = [*_ends(ends)] if ends else []
    return "\n".join([*told, *(_courses(courses, levels) if courses else [])])


def _ends(lines: list[Line]) -> Iterator[str]:
    """Nats a test row at the end of training, over seeds, the best model of each data set first."""
    yield from (_row(HEAD), _row(["---"] * len(HEAD)))
    for name in dict.fromkeys(x["data"] for x in lines):
        of_data = [x for x in lines if x["data"] == name]
        groups = [_group(of_data, "model", model) for model in _values(of_data, "model")]
        for group in sorted(groups, key=_mean, reverse=True):
            yield _row(_cells(group))
    yield ""


def _cells(group: list[Line]) -> Iterator[str]:
    yield from (group[0]["data"], group[0]["model"])
    nats = [_nats(x) for x in group]
    found = [x for x in nats if x is not None]
    if len(found) < len(nats):
        yield from ("none",) * 3
    else:
        yield from map(_short, (statistics.mean(found), min(found), max(found)))
    yield str(len(group))
    yield _ends_of([x["hidden"] for x in group if "hidden" in x])
    yield _ends_of([round(x["seconds"]) for x in group if "seconds" in x])
    yield f"{sum(x['verdict'] == 'trustworthy' for x in group)} of {len(group)}"


def _courses(lines: list[Line], levels: Sequence[float]) -> Iterator[str]:
    """Seconds of training until a model was first measured at each level, seed by seed."""
    head = ("data", "model", *(f"to {level:g}" for level in levels))
    yield from (_row(head), _row(["---"] * len(head)))
    for model in _values(lines, "model"):
        group = _group(lines, "model", model)
        seeds = [_group(group, "seed", seed) for seed in _values(group, "seed")]
        times = ([_reached(course, level) for course in seeds] for level in levels)
        yield _row([group[0]["data"], model, *(", ".join(x) for x in times)])
    yield ""


def _reached(course: list[Line], level: float) -> str:
    """Seconds to the level, with a question mark where log Z is not to be trusted."""
    for x in sorted((x for x in course if "seconds" in x), key=lambda x: x["seconds"]):
        nats = _nats(x)
        if nats is not None and nats >= level:
            return f"{x['seconds']:.0f}{'' if x['verdict'] == 'trustworthy' else '?'}"
    return f"not within {course[0]['marks'][-1]:g}"


def _short(nats: float) -> str:
    return f"{nats:.3f}" if abs(nats) < 1e5 else f"{nats:.0e}"


def _nats(line: Line) -> float | None:
    return None if line["test"] is None else line["test"]["log_likelihood"]


def _mean(group: list[Line]) -> float:
    """Mean over seeds; -inf where one has no likelihood."""
    nats = [_nats(x) for x in group]
    return statistics.fmean(-math.inf if x is None else x for x in nats)


def _values(lines: list[Line], name: str) -> list[Any]:
    return list(dict.fromkeys(x[name] for x in lines))


def _group(lines: list[Line], name: str, value: object) -> list[Line]:
    return [x for x in lines if x[name] == value]


def _ends_of(values: list[int]) -> str:
    low, high = (min(values), max(values)) if values else ("", "")
    return f"{low}" if low == high else f"{low} to {high}"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
