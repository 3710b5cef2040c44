"""Options on the command line: checks, parsing, notes on those without effect, names in errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import typer

from gibbsite.cli.console import print_note
from gibbsite.errors import ArgumentError, OutputError
from gibbsite.io import check_writable
from gibbsite.plots import ImageShape

Rule = tuple[bool, str, str]
"""A condition, names of options with spaces between, and why they then change nothing."""


def given_options(context: typer.Context) -> dict[str, Any]:
    """Options and arguments given on the command line, without defaults."""
    return {
        name: value
        for name, value in context.params.items()
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }


def as_arguments(command: Any, values: Mapping[str, Any]) -> list[str]:
    """The words of a command line that give a command these values."""
    words, arguments = [], []
    options = {option.name: option for option in command.params}
    for name, value in values.items():
        option = options[name]
        if option.param_type_name == "argument":
            arguments.append(str(value))
        elif isinstance(value, bool):
            words.append(max(option.opts if value else option.secondary_opts, key=len))
        else:
            words.append(f"{max(option.opts, key=len)}={value}")
    return [*words, *(["--", *arguments] if arguments else [])]


def refuse_both(context: typer.Context, one: str, other: str, reason: str) -> None:
    """Raise `typer.BadParameter` if both options are given."""
    if {one, other} <= given_options(context).keys():
        raise typer.BadParameter(reason)


def note_unused(context: typer.Context, rules: Iterable[Rule]) -> None:
    """Print a note for each option given that changes nothing."""
    given = given_options(context)
    options = {option.name: option for option in context.command.params}
    for holds, names, reason in rules:
        for name in set(names.split()) & given.keys() if holds else ():
            option = options[name]
            off = option.secondary_opts if given[name] is False else []
            print_note(f"{max(off or option.opts, key=len)} changes nothing: {reason}")


def option_named(message: str, command: Any) -> str:
    """A message of the library, ``name='value': ...``, with the option ``--name`` in its place."""
    match = re.match(r"(\w+)(?:(=)(?:'([^']*)'(?=: ))?|(?=: expected))", message)
    options = (option for part in command.commands.values() for option in part.params)
    names = {option.name: max(option.opts, key=len) for option in options}
    if match is None or match[1] not in names:
        return message
    space = " " if match[2] else ""
    return f"{names[match[1]]}{space}{match[3] or ''}{message[match.end() :]}"


def check_free(path: Path) -> None:
    """Raise `OutputError` for a path that exists or cannot be written to."""
    if path.exists():
        raise OutputError(f"{path} exists already; name another file or remove it")
    check_writable(path)


def parse_size(option: str, text: str | None) -> ImageShape | None:
    """(height, width) of HEIGHTxWIDTH."""
    if text is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,8})x([1-9][0-9]{0,8})", text.lower())
    if match is None:
        raise ArgumentError(f"{option} {text:.40}: expected HEIGHTxWIDTH in pixels, such as 28x28")
    return int(match[1]), int(match[2])


UNITS_OF_TIME = {"": 1, "s": 1, "m": 60, "h": 3600}


def parse_seconds(text: str) -> float:
    """Seconds of a time such as 90, 90s, 10m or 1h."""
    text = text.strip().lower()
    number = text[:-1] if text[-1:] in ("s", "m", "h") else text
    try:
        return float(number) * UNITS_OF_TIME[text[len(number) :]]
    except (KeyError, ValueError):
        raise ArgumentError(f"--budget {text:.40}: expected a time such as 90, 10m or 1h") from None


def parse_image(text: str | None, n: int) -> ImageShape | None:
    """(height, width) of HEIGHTxWIDTH, with a product of n."""
    shape = parse_size("--image", text)
    if shape is not None and shape[0] * shape[1] != n:
        raise ArgumentError(f"--image {text}: expected HEIGHTxWIDTH with a product of {n}")
    return shape


def generator_of(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A new generator of that seed."""
    if not 0 <= seed < 2**63:
        raise ArgumentError(f"--seed {seed}: expected a whole number from 0 to 2^63 - 1")
    return torch.Generator(device).manual_seed(seed)
