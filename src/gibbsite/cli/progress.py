"""Progress: live bars on a terminal, a few lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from rich.console import RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from torch import Tensor

import gibbsite as gb
from gibbsite.cli.console import err
from gibbsite.likelihood.weights import log_mean_exp
from gibbsite.training.fit import Update
from gibbsite.training.history import Record
from gibbsite.training.run import Callback

Restore = Callable[[gb.RBM], gb.RBM]


class Speed(ProgressColumn):
    """Column with the steps a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


class WithFigures(Progress):
    """Progress bars with a line of text below, which is not cut on a narrow terminal."""

    figures = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield Text(self.figures)


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Context that shows what is being done: with a spinner on a terminal, else in a line."""
    if not err.is_terminal:
        err.print(what, highlight=False)
        yield
        return
    with err.status(what):
        yield


@dataclass(frozen=True)
class AsSaved:
    """Callback that gives another the model as it would be saved; all else is the other's."""

    observe: Callback
    saved: Restore

    def __call__(self, rbm: gb.RBM, record: Record) -> Mapping[str, float] | None:
        return self.observe(self.saved(rbm), record)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.observe, name)


@dataclass(frozen=True)
class Every:
    """Callback that calls another after every so many epochs."""

    epochs: int
    observe: Callback

    def __call__(self, rbm: gb.RBM, record: Record) -> Mapping[str, float] | None:
        return None if record["epoch"] % self.epochs else self.observe(rbm, record)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.observe, name)


class Bar:
    """Base class: a context in which a live bar is shown."""

    bar: Progress

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()


class EpochBar(Bar):
    """A live bar on a terminal; elsewhere a line for each tenth of the epochs."""

    bar: WithFigures

    def __init__(self, epochs: int, updates: int) -> None:
        self.epochs = epochs
        self.begun = False
        self.figures: dict[str, float] = {}
        """The last of each figure, as some are not taken in every epoch."""
        self.bar = WithFigures(
            TextColumn("epoch"),
            TextColumn("{task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("updates"),
            Speed(),
            TimeRemainingColumn(),
            console=err,
            disable=not err.is_terminal,
        )
        self.task = self.bar.add_task("", total=epochs * updates, epoch=f"1/{epochs}")

    def after_update(self, rbm: gb.RBM, update: Update) -> None:
        """Move the bar on."""
        if self.begun:
            self.bar.update(self.task, completed=update.number)
        else:  # what was done before a stop is no speed
            self.bar.reset(self.task, completed=update.number)
        self.begun = True

    def __call__(self, rbm: gb.RBM, record: Record) -> None:
        """Show the figures of an epoch."""
        epoch = int(record["epoch"])
        self.figures |= record
        text = summary(self.figures)
        self.bar.update(self.task, epoch=f"{min(epoch + 1, self.epochs)}/{self.epochs}")
        self.bar.figures = text
        if not err.is_terminal and epoch * 10 // self.epochs > (epoch - 1) * 10 // self.epochs:
            err.print(f"epoch {epoch}/{self.epochs}  {text}", highlight=False)


class EstimateBar(Bar):
    """A live bar with the running log mean weight, on a terminal only."""

    def __init__(self, temperatures: int) -> None:
        self.bar = Progress(
            TextColumn("{task.fields[phase]}"),
            BarColumn(),
            MofNCompleteColumn(),
            Speed(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figure]}"),
            console=err,
            disable=not err.is_terminal,
        )
        self.total = temperatures
        self.task = self.bar.add_task("", total=temperatures, figure="", phase="starting")

    def show(self, log_weights: Tensor) -> None:
        if self.bar.disable:
            return
        bar = self.bar.tasks[0]
        if bar.finished:  # the other direction starts
            self.bar.reset(self.task, total=self.total)
        figure = f"log mean weight {log_mean_exp(log_weights):.3f}"
        self.bar.update(self.task, advance=1, figure=figure, phase="annealing")
        if bar.finished:  # no more steps, or none until the other direction's chains are ready
            self.bar.update(self.task, phase="finishing")


def summary(record: Mapping[str, float]) -> str:
    """The main figures of an epoch, for a line."""
    labels = {
        "learning_rate": "rate",
        "train_log_likelihood": "train",
        "test_log_likelihood": "test",
        "validation_log_likelihood": "held out",
        "free_energy_gap": "gap",
    }
    parts = [f"{label} {_figure(record[name])}" for name, label in labels.items() if name in record]
    for kind in ("ais", "exchange"):
        if f"{kind}_log_likelihood" in record:  # of ais only where its checks hold
            value, error = record[f"{kind}_log_likelihood"], record[f"{kind}_stderr"]
            parts.append(f"test about {value:.1f} ± {2 * error:.1f}")
    if "train_log_likelihood" not in record and "pseudo_likelihood" in record:
        parts.append(f"pseudo-likelihood {record['pseudo_likelihood']:.3f}")
    return "  ".join(parts) + (" nats" if len(parts) > 1 else "")


def _figure(value: float) -> str:
    """A figure to three places, or, where it is small, to three digits."""
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.3f}"
