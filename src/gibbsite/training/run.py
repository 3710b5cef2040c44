"""A training run: its parts, and its state as a checkpoint keeps it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gibbsite.errors import ModelFileError
from gibbsite.gradients import Gradient
from gibbsite.model import RBM
from gibbsite.rows import Rows
from gibbsite.training.history import History, Record
from gibbsite.training.holes import Holes
from gibbsite.training.restore import (
    LIMIT,
    check_same,
    check_state,
    check_usable_after_step,
    gradient_state,
    optimizer_state,
    scheduler_state,
)
from gibbsite.training.schedules import set_rates

Penalty = Callable[[RBM, dict[str, Tensor]], None]
Projection = Callable[[RBM], None]
Callback = Callable[[RBM, Record], Mapping[str, float] | None]

PRECISION_ROWS = 10
"""Rows whose free energies are checked after each epoch."""

FIGURES = ("epoch", "updates", "seconds", "learning_rate", "gradient_norm", "weight_norm")
"""Figures that every record of a history has."""


@dataclass
class Run:
    """The arguments of a training run, and its state between updates."""

    rbm: RBM
    rows: Rows
    weights: Tensor | None
    """(rows,), with mean 1; None for ones."""
    batch_size: int
    gradient: Gradient
    optimizer: Optimizer
    scheduler: LRScheduler | None
    penalties: Sequence[Penalty]
    projections: Sequence[Projection]
    callbacks: Sequence[Any]
    """Those with `state_dict` and `load_state_dict` are part of a checkpoint."""
    generator: torch.Generator | None
    state: Any
    """State of the gradient estimator."""
    history: History = field(default_factory=History)
    holes: Holes | None = None
    """Of rows with missing entries."""

    @property
    def complete_rows(self) -> Rows:
        """Rows without missing entries: all of them, or some that were filled in."""
        return self.rows if self.holes is None else self.holes.filled

    def work(self) -> int:
        """Multiply-adds of the largest matrix product of an update."""
        chains = max(_rows_moved(self.state), default=0)
        return self.rbm.weight.numel() * max(self.batch_size, chains)

    def updates(self) -> int:
        """Number of updates at the end of the last epoch."""
        return int(self.history.records[-1]["updates"]) if len(self.history) else 0

    def carried(self) -> dict[str, Any]:
        """The state as a tree of tensors and plain values, for `restore`."""
        scheduler = self.scheduler
        return {
            "kinds": self._kinds(),
            "parameters": dict(self.rbm.named_parameters()),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if scheduler is None else _plain(scheduler.state_dict()),
            "gradient": self.state,
            "generators": [generator.get_state() for generator in self._generators()],
            "history": self.history.records,
            "callbacks": self.callback_states(),
        }

    @torch.no_grad()
    def restore(self, stored: Mapping[str, Any]) -> None:
        """Put a state from `carried` back; `ModelFileError` if it is of another run.

        All of it is checked, against the state of this run and some rows of its data, before any
        of it is used.
        """
        records = history_of(stored)
        try:
            for name, current in self._kinds().items():
                if stored["kinds"][name] != current:
                    raise ValueError(f"{name}: {stored['kinds'][name]} there, {current} here")
            state = gradient_state(self.state, stored["gradient"], self.rbm.weight.device)
            model = copy.deepcopy(self.rbm)
            for name, parameter in model.named_parameters():
                parameter.copy_(check_same(name, parameter, stored["parameters"][name]))
            check_state(state, model)
            optimizer = optimizer_state(self.optimizer, self.rbm, stored["optimizer"])
            rows = self.complete_rows[:PRECISION_ROWS]
            check_usable_after_step(self.optimizer, optimizer, self.rbm, model, rows)
            schedule = self._schedule(stored["scheduler"])
            pairs = list(zip(self._generators(), stored["generators"], strict=True))
            for generator, generator_state in pairs:
                check_same("generator", generator.get_state(), generator_state)
            self.restore_callbacks(stored.get("callbacks", []))

            for generator, generator_state in pairs:
                generator.set_state(generator_state)
            self.optimizer.load_state_dict(optimizer)
            if self.scheduler is not None:
                self.scheduler.load_state_dict(schedule)
                set_rates(self.scheduler)
        except Exception as error:  # the state of another run may raise anything
            raise ModelFileError(
                f"the checkpoint is of another run ({error}); use the model, data, gradient, "
                "optimizer and scheduler that it was made with, or another folder"
            ) from error
        for parameter, value in zip(self.rbm.parameters(), model.parameters(), strict=True):
            parameter.copy_(value)
        self.history.records.extend(records)
        self.state = state

    def callback_states(self) -> list[Any]:
        """Type and state of each callback that has one."""
        return [[type(callback).__name__, callback.state_dict()] for callback in self._stateful()]

    def _schedule(self, stored: Any) -> dict[str, Any]:
        """The checked state of the schedule, with the functions that only this run has."""
        if self.scheduler is None:
            return {}
        current = self.scheduler.state_dict()
        return {**current, **scheduler_state(self.scheduler, _plain(current), stored)}

    def _stateful(self) -> list[Any]:
        """The callbacks that a checkpoint keeps the state of."""
        both = "state_dict", "load_state_dict"
        return [c for c in self.callbacks if all(hasattr(c, name) for name in both)]

    def restore_callbacks(self, stored: Any) -> None:
        """Give each callback the next state of its type; without one it starts afresh."""
        states: dict[str, list[Any]] = {}
        for kind, state in stored:
            states.setdefault(kind, []).append(state)
        for callback in self._stateful():
            kind = type(callback).__name__
            if states.get(kind):
                state = states[kind].pop(0)
                if not isinstance(state, dict):
                    raise ValueError(f"the state of {kind} is none")
                callback.load_state_dict(state)

    def _kinds(self) -> dict[str, Any]:
        """Shapes and types that a run which goes on must have in common."""
        return {
            "data": list(self.rows.shape),
            "model": {name: list(value.shape) for name, value in self.rbm.named_parameters()},
            "optimizer": type(self.optimizer).__name__,
            "scheduler": type(self.scheduler).__name__,
        }

    def _generators(self) -> list[torch.Generator]:
        """The generators that the run may draw from."""
        if self.generator is not None:
            return [self.generator]
        device = self.rbm.weight.device
        cuda = [torch.cuda.default_generators[device.index or 0]] if device.type == "cuda" else []
        return [torch.default_generator, *cuda]


def _rows_moved(state: Any) -> Iterator[int]:
    """Numbers of rows that chains in a gradient estimator's state move, on all rungs of ladders."""
    if isinstance(v := getattr(state, "v", None), Tensor):
        yield len(v) * (1 + len(getattr(state, "below", ())))
    elif isinstance(state, Mapping | list | tuple):
        for part in state.values() if isinstance(state, Mapping) else state:
            yield from _rows_moved(part)


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """A schedule's state without its functions, which a checkpoint cannot keep."""
    return {name: value for name, value in state.items() if not name.endswith("lambdas")}


def history_of(stored: Mapping[str, Any]) -> list[Record]:
    """The records of a checkpoint, checked to be those of epochs 1, 2, ... with all figures."""
    try:
        records = [dict(record) for record in stored["history"]]
        for epoch, record in enumerate(records, 1):
            figures = [record[name] for name in FIGURES]
            if not all(isinstance(value, int | float) for value in figures):
                raise ValueError(f"figures that are not numeric in epoch {epoch}")
            counts, norms = figures[:3], figures[4:]
            possible = all(0 <= x <= LIMIT for x in counts) and all(x >= 0 for x in norms)
            if record["epoch"] != epoch or not possible:
                raise ValueError(f"impossible figures in epoch {epoch}")
    except Exception as error:  # anything but a list of records may raise anything
        raise ModelFileError(f"the checkpoint's history is none ({error})") from error
    return records
