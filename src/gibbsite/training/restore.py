"""Checks of a checkpoint against the run that is to go on from it.

`current` is of the run, `stored` of the checkpoint. Where they do not fit, functions raise
`ValueError`. Nothing that was read from a file is used before its check.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gibbsite.model import RBM, fault, imprecision

LIMIT = 2.0**53
"""Integers up to here are exact in float64; no count of a run is larger."""


def check_same(what: str, current: Tensor, stored: Any, finite: bool = True) -> Tensor:
    """Return `stored`, checked to be a finite tensor of the shape and dtype of `current`."""
    kind = (tuple(stored.shape), stored.dtype) if isinstance(stored, Tensor) else type(stored)
    expected = (tuple(current.shape), current.dtype)
    if kind != expected:
        raise ValueError(f"{what}: {kind} there, {expected} here")
    if finite and not bool(torch.isfinite(stored).all()):
        raise ValueError(f"{what} is not finite")
    return stored  # type: ignore[no-any-return]  # a tensor, by now


def gradient_state(template: Any, stored: Any, device: torch.device) -> Any:
    """State of an estimator on a device, in the structure of the template that its `init` made.

    A None of the template may have become a tensor; a mapping or list may have grown.
    """
    match template, stored:
        case Tensor(), _:
            check_same("what the gradient estimator carries", template, stored, finite=False)
            if bool(torch.isnan(stored).any()) and not bool(torch.isnan(template).any()):
                raise ValueError("what the gradient estimator carries holds NaN")
        case None, None | Tensor():
            pass
        case None, _:
            raise ValueError("its gradient estimator carries more")
        case tuple(), list() if len(stored) == len(template):
            pairs = zip(template, stored, strict=True)
            parts = [gradient_state(*pair, device) for pair in pairs]
            named = hasattr(template, "_fields")
            return type(template)(*parts) if named else type(template)(parts)
        case (Mapping(), Mapping()) | (list(), list()) | (str(), str()):
            pass
        case ((bool() | int() | float()), (bool() | int() | float())):
            pass
        case _:
            raise ValueError("its gradient estimator carries other things")
    return _to_device(stored, device)


def _to_device(tree: Any, device: torch.device) -> Any:
    if isinstance(tree, Tensor):
        return tree.to(device)
    if isinstance(tree, Mapping):
        return {name: _to_device(value, device) for name, value in tree.items()}
    return [_to_device(value, device) for value in tree] if isinstance(tree, list) else tree


def check_state(state: Any, rbm: RBM) -> None:
    """Let every part of an estimator's state that has a method ``check(rbm)`` check itself."""
    if callable(check := getattr(state, "check", None)):
        check(rbm)
    if isinstance(state, Mapping | list | tuple):
        for part in state.values() if isinstance(state, Mapping) else state:
            check_state(part, rbm)


def optimizer_state(optimizer: Optimizer, rbm: RBM, stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored state with groups like the optimiser's, and tensors like those that a step makes."""
    groups = optimizer.state_dict()["param_groups"]
    if len(groups) != len(stored["param_groups"]):
        raise ValueError("its optimizer has other groups of parameters")
    trial, _ = _copy_and_step(optimizer, rbm)
    templates = trial.state_dict()["state"]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {}
    for index, entries in stored["state"].items():
        parameter, template = parameters[index], templates.get(index, {})
        if missing := template.keys() - entries.keys():
            raise ValueError(f"its optimizer has no {min(missing)} of parameter {index}")
        state[index] = {
            name: _entry(f"the optimizer's {name}", template.get(name), value, parameter)
            for name, value in entries.items()
        }
    pairs = zip(groups, stored["param_groups"], strict=True)
    return {"state": state, "param_groups": [_group(type(optimizer), *pair) for pair in pairs]}


def _entry(what: str, template: Any, value: Any, parameter: Tensor) -> Any:
    """One entry of an optimiser's state, checked; by shape if a first step does not make it."""
    if template is not None:
        return same_kind(what, template, value)
    if isinstance(value, Tensor):
        check_same(what, parameter if value.numel() > 1 else value, value)
    return value


def _group(
    kind: type[Optimizer], current: dict[str, Any], stored: Mapping[str, Any]
) -> dict[str, Any]:
    """Options of a group of parameters; those that a later version of torch added may be missing.

    The constructor of the torch class has the last word on their values.
    """
    if current["params"] != stored["params"] or stored.keys() - current.keys():
        raise ValueError("its optimizer has other groups of parameters")
    missing = current.keys() - stored.keys()
    if any(not (current[name] is None or isinstance(current[name], bool)) for name in missing):
        raise ValueError(f"its optimizer has no {min(missing)}")
    options = {
        name: same_kind(f"optimizer, {name}", current[name], stored[name]) for name in stored
    }
    base = next(base for base in kind.__mro__ if base.__module__.startswith("torch.optim"))
    if base is not Optimizer:
        accepted = set(inspect.signature(base).parameters) - {"params"}
        base([torch.zeros(1)], **{name: options[name] for name in accepted & options.keys()})
    return {**current, **options}


def scheduler_state(scheduler: Any, current: Mapping[str, Any], stored: Mapping[str, Any]) -> Any:
    """A stored state of a schedule, with values of the kinds that it has now."""
    for name in stored.keys() - current.keys():
        if hasattr(type(scheduler), name):
            raise ValueError(f"its scheduler's {name} is no value")
    if missing := current.keys() - stored.keys():
        raise ValueError(f"its scheduler has no {min(missing)}")
    kinds = {name: same_kind(f"scheduler, {name}", current[name], stored[name]) for name in current}
    return {**stored, **kinds}


def same_kind(what: str, current: Any, stored: Any) -> Any:
    """Return the plain value `stored`, checked to be finite and of the structure of `current`.

    Where the current number is at least 0, as rates and counts are, so must be the stored one.
    """
    match current, stored:
        case Tensor(), _:
            check_same(what, current, stored)
            if current.ndim > 0 or current < 0 or stored >= 0:
                return stored
        case (None, None) | (str(), str()) | ((None | bool()), bool()):
            return stored
        case ((None | int() | float()), (int() | float())):
            least = 0 if isinstance(current, int | float) and current >= 0 else -LIMIT
            if not isinstance(stored, bool) and least <= stored <= LIMIT:
                return stored
        case ((list() | tuple()), list()) if len(current) == len(stored):
            pairs = zip(current, stored, strict=True)
            return type(current)(same_kind(what, *pair) for pair in pairs)
        case Mapping(), Mapping() if current.keys() == stored.keys():
            values = {
                name: same_kind(f"{what}, {name}", value, stored[name])
                for name, value in current.items()
            }
            return type(current)(values)  # type: ignore[call-arg]
    raise ValueError(f"{what}: {stored!r:.80} there, {current!r:.80} here")


def check_usable_after_step(
    optimizer: Optimizer, state: dict[str, Any], rbm: RBM, model: RBM, rows: Tensor
) -> None:
    """Check that training can go on from a stored model, and from one step later.

    The step is along gradients of 0, by a copy of the optimiser with the stored `state`; `rbm` is
    the model whose parameters the optimiser holds now.
    """
    _check_usable("its model", model, rows)
    _, stepped = _copy_and_step(optimizer, rbm, model, state)
    _check_usable("a step of its optimizer", stepped, rows)


def _copy_and_step(
    optimizer: Optimizer,
    rbm: RBM,
    stored_model: RBM | None = None,
    stored_state: dict[str, Any] | None = None,
) -> tuple[Optimizer, RBM]:
    """Copies of an optimiser and its model, with stored values if given, after a step along 0."""
    trial, model = copy.deepcopy((optimizer, rbm))  # in one call, so that one holds the other's
    if stored_model is not None and stored_state is not None:
        for parameter, stored in zip(model.parameters(), stored_model.parameters(), strict=True):
            parameter.detach().copy_(stored)
        trial.load_state_dict(copy.deepcopy(stored_state))  # which a step changes in place
    for group in trial.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    trial.step()
    return trial, model


def _check_usable(what: str, rbm: RBM, rows: Tensor) -> None:
    """Raise `ValueError` unless training can go on from a model."""
    alone = rbm.visible.mean(rbm.visible.zero_inputs(1))
    problem = fault(rbm) or imprecision(rbm, rows) or imprecision(rbm, alone)
    for name, parameter in rbm.named_parameters():  # large ones that these rows may not reveal
        largest = parameter.abs().max().item()
        too_large = largest * torch.finfo(rbm.weight.dtype).eps >= 1
        if too_large and not name.startswith("visible."):
            problem = problem or f"{name} holds {largest:.0e}"
    if problem:
        raise ValueError(f"{what}: {problem}")
