"""Griffe extension: makes of our docstrings what Markdown and Griffe's Google parser expect."""

import re
from typing import Any

from griffe import Extension, Object

DOCTEST = re.compile(r"^>>> .*(?:\n.*\S.*)*", re.M)
"""Bare doctest lines, which Markdown would take for quotations."""

SEVERAL = re.compile(r"^ {4}(\w+(?:,\s+\w+)+)(: .*(?:\n {8}.*)*)", re.M)
"""An entry of a section that describes several names at once: ``l1, l2: strengths of ...``."""


class HouseStyle(Extension):
    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            text = SEVERAL.sub(_one_each, obj.docstring.value)
            obj.docstring.value = DOCTEST.sub(_fenced, text)


def _one_each(match: re.Match[str]) -> str:
    return "\n".join(f"    {name}{match[2]}" for name in re.split(r",\s+", match[1]))


def _fenced(match: re.Match[str]) -> str:
    return f"Example:\n\n```pycon\n{match[0]}\n```"
