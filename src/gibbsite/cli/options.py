"""Options as a user gave them: those that change nothing are told, and errors speak their names."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer

from gibbsite import exact
from gibbsite.cli.report import err, escape

if TYPE_CHECKING:
    from gibbsite.cli.job import Job

Rule = tuple[bool, str, str]
"""Whether it holds, names of options with spaces between, and why they then change nothing."""


def given(context: typer.Context) -> dict[str, Any]:
    """Options and arguments that stand on the command line."""
    return {
        name: value
        for name, value in context.params.items()
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }


def refuse_both(context: typer.Context, one: str, other: str, reason: str) -> None:
    """Wrong usage if both options stand on the command line."""
    if {one, other} <= given(context).keys():
        raise typer.BadParameter(reason)


def tell_idle(context: typer.Context, rules: Iterable[Rule]) -> None:
    """A sentence for each option on the command line that changes nothing."""
    asked, options = given(context), {option.name: option for option in context.command.params}
    for holds, names, reason in rules:
        for name in set(names.split()) & asked.keys() if holds else ():
            option = options[name]
            off = option.secondary_opts if asked[name] is False else []
            written = max(off or option.opts, key=len)
            err.print(f"note: {written} changes nothing: {escape(reason)}", soft_wrap=True)


def idle_in_training(job: Job) -> Iterable[Rule]:
    """What does not matter to a run."""
    settings, visible = job.settings, job.rbm.visible
    known = inspect.signature(type(visible)).parameters
    yield from (
        (name not in known, name, f"{visible.describe()} units have none")
        for name in ("sigma", "learn_sigma")
    )
    gradient = f"the gradient is {settings.gradient}"
    yield settings.gradient != "pcd", "chains", f"they are those of pcd, and {gradient}"
    yield settings.gradient == "exact", "steps", f"{gradient}, which takes none"
    yield settings.optimizer != "sgd", "momentum", f"the optimiser is {settings.optimizer}"
    yield not job.splits, "test_fraction", "the data say what is held out"
    enumerable = exact.is_small(job.rbm)
    yield enumerable, "budget", "the log-likelihood of this model is exact"


def idle_in_estimate(summed: bool) -> Iterable[Rule]:
    """What does not matter to an evaluation, if log Z is summed exactly."""
    names = "chains temperatures budget picture"
    yield summed, names, "log Z is exact here; --method bridge estimates it"


def option_named(message: str, command: Any) -> str:
    """The library's ``name=value: expected ...`` in the words of the command's options."""
    name, equals, rest = message.partition("=")
    options = (option for part in command.commands.values() for option in part.params)
    written = {option.name: max(option.opts, key=len) for option in options}
    return f"{written[name]} {rest}" if equals and name in written else message
