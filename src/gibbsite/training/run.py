"""The parts of a training run, and the state of it that a checkpoint keeps."""

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
from gibbsite.training.restore import (
    LIMIT,
    check_goes_on,
    check_same,
    check_state,
    gradient_state,
    optimizer_state,
    scheduler_state,
)

Penalty = Callable[[RBM, dict[str, Tensor]], None]
Projection = Callable[[RBM], None]
Callback = Callable[[RBM, Record], Mapping[str, float] | None]

PRECISION_ROWS = 10
"""Rows whose free energies are looked at after each epoch."""

FIGURES = ("epoch", "updates", "seconds", "learning_rate", "gradient_norm", "weight_norm")
"""Figures that every record of a history has."""


@dataclass
class Run:
    """All that a training run is made of, and what it carries from one update to the next."""

    rbm: RBM
    rows: Rows
    weights: Tensor | None
    """One a row, with mean 1, (rows,); None for ones."""
    batch_size: int
    gradient: Gradient
    optimizer: Optimizer
    scheduler: LRScheduler | None
    penalties: Sequence[Penalty]
    projections: Sequence[Projection]
    callbacks: Sequence[Any]
    """Those with a `state_dict` go on where they were."""
    generator: torch.Generator | None
    state: Any
    """State of the gradient estimator."""
    history: History = field(default_factory=History)

    def work(self) -> int:
        """Multiply-adds of the largest matrix product of an update."""
        chains = max((len(x) for x in _tensors(self.state) if x.ndim == 2), default=0)
        return self.rbm.weight.numel() * max(self.batch_size, chains)

    def updates(self) -> int:
        """Number of updates at the end of the last epoch."""
        return int(self.history.records[-1]["updates"]) if len(self.history) else 0

    def carried(self) -> dict[str, Any]:
        """The state as trees of tensors and plain values, for `restore`."""
        scheduler = self.scheduler
        return {
            "kinds": self._kinds(),
            "parameters": dict(self.rbm.named_parameters()),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if scheduler is None else _plain(scheduler.state_dict()),
            "gradient": self.state,
            "generators": [generator.get_state() for generator in self._generators()],
            "history": self.history.records,
            "callbacks": [
                [type(callback).__name__, callback.state_dict()] for callback in self._stateful()
            ],
        }

    @torch.no_grad()
    def restore(self, kept: Mapping[str, Any]) -> None:
        """Put the state from `carried` back; `ModelFileError` if it is of another run.

        All of it is checked, against what the run has here and some rows of its data, before any
        of it is used.
        """
        records = history_of(kept)
        try:
            for name, here in self._kinds().items():
                if kept["kinds"][name] != here:
                    raise ValueError(f"{name}: {kept['kinds'][name]} there, {here} here")
            state = gradient_state(self.state, kept["gradient"], self.rbm.weight.device)
            model = self._model_there(kept["parameters"])
            check_state(state, model)
            optimizer = optimizer_state(self.optimizer, self.rbm, kept["optimizer"])
            check_goes_on(self.optimizer, optimizer, self.rbm, model, self.rows[:PRECISION_ROWS])
            schedule = self._schedule_there(kept["scheduler"])
            drawn = self._generators_there(kept["generators"])
            self._restore_callbacks(kept.get("callbacks", []))

            for generator, there in zip(self._generators(), drawn, strict=True):
                generator.set_state(there)
            self.optimizer.load_state_dict(optimizer)
            if self.scheduler is not None:
                self.scheduler.load_state_dict(schedule)
        except Exception as error:  # the parts of another run do not fit in all sorts of ways
            raise ModelFileError(
                f"the checkpoint is of another run ({error}); use the model, data, gradient, "
                "optimizer and scheduler that it was made with, or another folder"
            ) from error
        for parameter, there in zip(self.rbm.parameters(), model.parameters(), strict=True):
            parameter.copy_(there)
        self.history.records.extend(records)
        self.state = state

    def _model_there(self, parameters: Mapping[str, Any]) -> RBM:
        """A copy of the model with those parameters."""
        model = copy.deepcopy(self.rbm)
        for name, parameter in model.named_parameters():
            parameter.copy_(check_same(name, parameter, parameters[name]))
        return model

    def _schedule_there(self, kept: Any) -> dict[str, Any]:
        if self.scheduler is None:
            return {}
        here = self.scheduler.state_dict()
        return {**here, **scheduler_state(self.scheduler, _plain(here), kept)}

    def _generators_there(self, kept: list[Any]) -> list[Tensor]:
        pairs = zip(self._generators(), kept, strict=True)
        return [check_same("generator", here.get_state(), there) for here, there in pairs]

    def _stateful(self) -> list[Any]:
        both = "state_dict", "load_state_dict"
        return [c for c in self.callbacks if all(hasattr(c, name) for name in both)]

    def _restore_callbacks(self, kept: Any) -> None:
        """Give each callback the next state of its kind; those that find none start afresh."""
        left = [(kind, state) for kind, state in kept]
        for callback in self._stateful():
            kind = type(callback).__name__
            found = next((pair for pair in left if pair[0] == kind), None)
            if found is None:
                continue
            left = [pair for pair in left if pair is not found]
            if not isinstance(found[1], dict):
                raise ValueError(f"the state of {kind} is none")
            callback.load_state_dict(found[1])

    def _kinds(self) -> dict[str, Any]:
        """Shapes and types that must be the same in the run that goes on."""
        return {
            "data": list(self.rows.shape),
            "model": {name: list(value.shape) for name, value in self.rbm.named_parameters()},
            "optimizer": type(self.optimizer).__name__,
            "scheduler": type(self.scheduler).__name__,
        }

    def _generators(self) -> list[torch.Generator]:
        """Generators that the run draws from."""
        if self.generator is not None:
            return [self.generator]
        device = self.rbm.weight.device
        cuda = [torch.cuda.default_generators[device.index or 0]] if device.type == "cuda" else []
        return [torch.default_generator, *cuda]


def _tensors(tree: Any) -> Iterator[Tensor]:
    """All tensors of an estimator's state."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping | list | tuple):
        for part in tree.values() if isinstance(tree, Mapping) else tree:
            yield from _tensors(part)


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """A schedule's state without its functions, which the caller makes anew."""
    return {name: value for name, value in state.items() if not name.endswith("lambdas")}


def history_of(kept: Mapping[str, Any]) -> list[Record]:
    """The records of a checkpoint, checked to be those of epochs 1, 2, ... with all figures."""
    try:
        records = [dict(record) for record in kept["history"]]
        for epoch, record in enumerate(records, 1):
            figures = [record[name] for name in FIGURES]
            if not all(isinstance(value, int | float) for value in figures):
                raise ValueError(f"not numbers in epoch {epoch}")
            counts, norms = figures[:3], figures[4:]
            possible = all(0 <= x <= LIMIT for x in counts) and all(x >= 0 for x in norms)
            if record["epoch"] != epoch or not possible:
                raise ValueError(f"impossible numbers in epoch {epoch}")
    except Exception as error:  # what is no list of records fails in all sorts of ways
        raise ModelFileError(f"the checkpoint's history is none ({error})") from error
    return records
