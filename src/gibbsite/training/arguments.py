"""Checks of the arguments of `fit`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gibbsite.errors import ArgumentError, DataError, EntryError
from gibbsite.layers import Layer
from gibbsite.layers.missing import check_observed
from gibbsite.model import RBM
from gibbsite.rows import Rows
from gibbsite.training.checkpoint import Checkpoints


def check_kinds(
    gradient: object, optimizer: object, scheduler: object, checkpoints: object
) -> None:
    """Raise `ArgumentError` for an argument that is a class, a name or of another wrong kind."""
    sgd = "torch.optim.SGD(rbm.parameters(), lr=0.05)"
    folder = str(checkpoints) if isinstance(checkpoints, str | Path) else "folder"
    is_estimator = gradient is None or (hasattr(gradient, "init") and hasattr(gradient, "step"))
    is_optimizer = isinstance(optimizer, Optimizer | None)
    is_schedule = scheduler is None or hasattr(scheduler, "step")
    is_folder = isinstance(checkpoints, Checkpoints | None)
    for name, value, fits, expected in (
        ("gradient", gradient, is_estimator, "an estimator such as gb.PCD()"),
        ("optimizer", optimizer, is_optimizer, f"one of the model's parameters, {sgd}"),
        ("scheduler", scheduler, is_schedule, "a torch schedule made with the optimizer"),
        ("checkpoints", checkpoints, is_folder, f"gb.Checkpoints({folder!r})"),
    ):
        if isinstance(value, type):
            raise ArgumentError(f"{name} is the class {value.__name__}; pass {expected}")
        if not fits:
            raise ArgumentError(f"{name}={value!r}: expected {expected}")


def functions(name: str, values: object) -> list[Any]:
    """The values as a list; `ArgumentError` unless they are functions."""
    if not isinstance(values, Iterable) or isinstance(values, str):
        raise ArgumentError(f"{name}={values!r}: expected a list of functions")
    functions = list(values)
    for value in functions:
        if not callable(value) or isinstance(value, type):
            raise ArgumentError(f"{value!r} among {name}: expected a function")
    return functions


def check_optimizer(rbm: RBM, optimizer: Optimizer, scheduler: LRScheduler | None) -> None:
    """Raise `ArgumentError` for an optimiser or schedule that trains nothing or fails later."""
    groups = optimizer.param_groups
    held = {id(parameter) for group in groups for parameter in group["params"]}
    if held.isdisjoint(map(id, rbm.parameters())):
        raise ArgumentError("optimizer holds none of the model's parameters; give it those")
    largest = torch.finfo(rbm.weight.dtype).max
    for rate in (float(group.get("lr", 0.0)) for group in groups):
        if not abs(rate) <= largest:
            raise ArgumentError(f"a learning rate of {rate:g} is no {rbm.weight.dtype}; lower it")
    for part, method in ((optimizer, "closure"), (scheduler, "metrics")):
        needed = inspect.signature(part.step).parameters.get(method) if part else None
        if needed is not None and needed.default is inspect.Parameter.empty:
            raise ArgumentError(
                f"{type(part).__name__} needs a {method} at every step, which fit does not give it"
            )


def check_rows(rbm: RBM, data: Tensor | Rows) -> tuple[Rows, bool]:
    """The data as `Rows`, and whether entries are missing.

    `DataError` unless every row fits the visible units, as far as it is observed.
    """
    if not isinstance(data, Rows):
        values, holes = _checked(rbm.visible, data)
        return Rows.of(values.detach()), holes
    if rbm.visible.checks_extremes:
        with suppress(DataError):
            for block in data.column_extremes():
                rbm.visible.check_data(block)
            return data, False
    start, holes = 0, False
    for block in data.blocks(rbm.visible.width):  # which says where
        try:
            holes |= _checked(rbm.visible, block)[1]
        except EntryError as error:
            raise error.shifted(start) from error
        start += len(block)
    return data, holes


def _checked(visible: Layer, data: Tensor) -> tuple[Tensor, bool]:
    """Rows as a tensor, and whether entries are missing, which complete data need not be asked."""
    try:
        return visible.check_data(data), False
    except EntryError:
        return check_observed(visible, data), True
