"""Options as a user gave them: checked, read, noted where they change nothing, named in errors."""

from __future__ import annotations

import re
from collections.abc import Iterable
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
    """Options and arguments that stand on the command line."""
    return {
        name: value
        for name, value in context.params.items()
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }


def refuse_both(context: typer.Context, one: str, other: str, reason: str) -> None:
    """Wrong usage if both options stand on the command line."""
    if {one, other} <= given_options(context).keys():
        raise typer.BadParameter(reason)


def note_unused(context: typer.Context, rules: Iterable[Rule]) -> None:
    """A note for each option on the command line that changes nothing."""
    given = given_options(context)
    options = {option.name: option for option in context.command.params}
    for holds, names, reason in rules:
        for name in set(names.split()) & given.keys() if holds else ():
            option = options[name]
            off = option.secondary_opts if given[name] is False else []
            print_note(f"{max(off or option.opts, key=len)} changes nothing: {reason}")


def option_named(message: str, command: Any) -> str:
    """The library's ``name='value': ...`` or ``name: expected ...`` with ``--name`` instead."""
    match = re.match(r"(\w+)(?:(=)(?:'([^']*)'(?=: ))?|(?=: expected))", message)
    options = (option for part in command.commands.values() for option in part.params)
    written = {option.name: max(option.opts, key=len) for option in options}
    if match is None or match[1] not in written:
        return message
    space = " " if match[2] else ""
    return f"{written[match[1]]}{space}{match[3] or ''}{message[match.end() :]}"


def check_free(path: Path) -> None:
    """Raise `OutputError` for a path that exists or cannot be written to."""
    if path.exists():
        raise OutputError(f"{path} exists already; name another file or remove it")
    check_writable(path)


def parse_size(option: str, text: str | None) -> ImageShape | None:
    """HEIGHTxWIDTH as numbers."""
    if text is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,8})x([1-9][0-9]{0,8})", text.lower())
    if match is None:
        raise ArgumentError(f"{option} {text:.40}: expected HEIGHTxWIDTH in pixels, such as 28x28")
    return int(match[1]), int(match[2])


def parse_image(text: str | None, n: int) -> ImageShape | None:
    """HEIGHTxWIDTH that n units fill."""
    shape = parse_size("--image", text)
    if shape is not None and shape[0] * shape[1] != n:
        raise ArgumentError(f"--image {text}: expected HEIGHTxWIDTH with a product of {n}")
    return shape


def generator_of(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A new generator of that seed."""
    if not 0 <= seed < 2**63:
        raise ArgumentError(f"--seed {seed}: expected a whole number from 0 to 2^63 - 1")
    return torch.Generator(device).manual_seed(seed)
