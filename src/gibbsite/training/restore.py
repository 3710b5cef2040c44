"""Comparison of a checkpoint with the run that goes on from it.

All functions raise `ValueError` where the two do not go together. Nothing that was read from a file
is used before.
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


def check_same(what: str, here: Tensor, there: Any, finite: bool = True) -> Tensor:
    """Return `there`, checked to be a tensor of shape and dtype of `here` with finite entries."""
    found = (tuple(there.shape), there.dtype) if isinstance(there, Tensor) else type(there)
    expected = (tuple(here.shape), here.dtype)
    if found != expected:
        raise ValueError(f"{what}: {found} there, {expected} here")
    if finite and not bool(torch.isfinite(there).all()):
        raise ValueError(f"{what} is not finite")
    return there  # type: ignore[no-any-return]  # a tensor, by now


def gradient_state(template: Any, tree: Any, device: torch.device) -> Any:
    """State of an estimator, in the structure of the template that its `init` made.

    A None of the template may have become a tensor, a mapping or list may have grown.
    """
    match template, tree:
        case Tensor(), _:
            check_same("what the gradient estimator carries", template, tree, finite=False)
            if bool(torch.isnan(tree).any()) and not bool(torch.isnan(template).any()):
                raise ValueError("what the gradient estimator carries holds NaN")
        case None, None | Tensor():
            pass
        case None, _:
            raise ValueError("its gradient estimator carries more")
        case tuple(), list() if len(tree) == len(template):
            pairs = zip(template, tree, strict=True)
            parts = [gradient_state(*pair, device) for pair in pairs]
            named = hasattr(template, "_fields")
            return type(template)(*parts) if named else type(template)(parts)
        case (Mapping(), Mapping()) | (list(), list()) | (str(), str()):
            pass
        case ((bool() | int() | float()), (bool() | int() | float())):
            pass
        case _:
            raise ValueError("its gradient estimator carries other things")
    return _moved(tree, device)


def check_state(state: Any, rbm: RBM) -> None:
    """Let every part of an estimator's state that has a method ``check(rbm)`` check itself."""
    if callable(check := getattr(state, "check", None)):
        check(rbm)
    parts = state.values() if isinstance(state, Mapping) else state
    if isinstance(state, Mapping | list | tuple):
        for part in parts:
            check_state(part, rbm)


def optimizer_state(optimizer: Optimizer, rbm: RBM, kept: Mapping[str, Any]) -> dict[str, Any]:
    """An optimiser's state with groups like its own, and tensors like those that a step makes."""
    groups = optimizer.state_dict()["param_groups"]
    if len(groups) != len(kept["param_groups"]):
        raise ValueError("its optimizer has other groups of parameters")
    made = _after_a_step(optimizer, rbm)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {}
    for index, entries in kept["state"].items():
        parameter, template = parameters[index], made.get(index, {})
        if missing := template.keys() - entries.keys():
            raise ValueError(f"its optimizer has no {min(missing)} of parameter {index}")
        state[index] = {
            name: _entry(f"the optimizer's {name}", template.get(name), value, parameter)
            for name, value in entries.items()
        }
    pairs = zip(groups, kept["param_groups"], strict=True)
    groups = [_group(type(optimizer), here, there) for here, there in pairs]
    return {"state": state, "param_groups": groups}


def scheduler_state(scheduler: Any, here: Mapping[str, Any], there: Mapping[str, Any]) -> Any:
    """A schedule's state with values of the kinds that it has now."""
    for name in there.keys() - here.keys():
        if hasattr(type(scheduler), name):
            raise ValueError(f"its scheduler's {name} is no value")
    if missing := here.keys() - there.keys():
        raise ValueError(f"its scheduler has no {min(missing)}")
    known = {name: same_kind(f"scheduler, {name}", here[name], there[name]) for name in here}
    return {**there, **known}


def check_goes_on(
    optimizer: Optimizer, state: dict[str, Any], rbm: RBM, model: RBM, rows: Tensor
) -> None:
    """Check that a model, and the same a step along zeros later, are of use to training.

    `state` is the optimiser's by then; `rbm` is the model whose parameters it holds here.
    """
    _check_of_use("its model", model, rows)
    trial, moved = copy.deepcopy((optimizer, rbm))  # together, so that the one holds the other's
    for parameter, there in zip(moved.parameters(), model.parameters(), strict=True):
        parameter.detach().copy_(there)
    trial.load_state_dict(copy.deepcopy(state))  # which a step changes in place
    _step_along_zeros(trial, moved)
    _check_of_use("a step of its optimizer", moved, rows)


def same_kind(what: str, here: Any, there: Any) -> Any:
    """Return the plain value `there`, checked to be finite and of the same structure as `here`.

    Numbers that are at least 0 here, as rates and counts are, must be so there.
    """
    match here, there:
        case Tensor(), _:
            check_same(what, here, there)
            if here.ndim > 0 or here < 0 or there >= 0:
                return there
        case (None, None) | (str(), str()) | ((None | bool()), bool()):
            return there
        case ((None | int() | float()), (int() | float())):
            least = 0 if isinstance(here, int | float) and here >= 0 else -LIMIT
            if not isinstance(there, bool) and least <= there <= LIMIT:
                return there
        case ((list() | tuple()), list()) if len(here) == len(there):
            pairs = zip(here, there, strict=True)
            return type(here)(same_kind(what, *pair) for pair in pairs)
        case Mapping(), Mapping() if here.keys() == there.keys():
            values = {name: same_kind(f"{what}, {name}", here[name], there[name]) for name in here}
            return type(here)(values)  # type: ignore[call-arg]
    raise ValueError(f"{what}: {there!r:.80} there, {here!r:.80} here")


def _after_a_step(optimizer: Optimizer, rbm: RBM) -> dict[int, dict[str, Any]]:
    """State that a copy of the optimiser has for each parameter after a step along zeros."""
    trial, model = copy.deepcopy((optimizer, rbm))
    _step_along_zeros(trial, model)
    made: dict[int, dict[str, Any]] = trial.state_dict()["state"]
    return made


def _step_along_zeros(optimizer: Optimizer, rbm: RBM) -> None:
    """Step as training does where every gradient vanishes."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
    for parameter in rbm.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()


def _check_of_use(what: str, rbm: RBM, rows: Tensor) -> None:
    """Raise `ValueError` unless training goes on from a model that it has arrived at."""
    alone = rbm.visible.mean(rbm.visible.zero_inputs(1))
    found = fault(rbm) or imprecision(rbm, rows) or imprecision(rbm, alone)
    for name, parameter in rbm.named_parameters():  # of which those rows may not reveal all
        largest = parameter.abs().max().item()
        ours = name.startswith("visible.")
        if not ours and largest * torch.finfo(rbm.weight.dtype).eps >= 1:
            found = found or f"{name} holds {largest:.0e}"
    if found:
        raise ValueError(f"{what}: {found}")


def _entry(what: str, template: Any, value: Any, parameter: Tensor) -> Any:
    """One entry of an optimiser's state, checked; by shape if a first step does not make it."""
    if template is not None:
        return same_kind(what, template, value)
    if isinstance(value, Tensor) and value.numel() > 1:
        return check_same(what, parameter, value)
    return check_same(what, value, value) if isinstance(value, Tensor) else value


def _group(kind: type[Optimizer], here: dict[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a group of parameters; those that a later version added may be missing."""
    if here["params"] != there["params"] or there.keys() - here.keys():
        raise ValueError("its optimizer has other groups of parameters")
    missing = here.keys() - there.keys()
    if any(not (here[name] is None or isinstance(here[name], bool)) for name in missing):
        raise ValueError(f"its optimizer has no {min(missing)}")
    kinds = {name: same_kind(f"optimizer, {name}", here[name], there[name]) for name in there}
    _check_options(kind, kinds)
    return {**here, **kinds}


def _check_options(kind: type[Optimizer], options: Mapping[str, Any]) -> None:
    """Let torch's constructor of such an optimiser, if there is one, refuse what it would."""
    kind = next(base for base in kind.__mro__ if base.__module__.startswith("torch.optim"))
    taken = set(inspect.signature(kind).parameters) - {"params"}
    if kind is not Optimizer:
        kind([torch.zeros(1)], **{name: options[name] for name in taken & options.keys()})


def _moved(tree: Any, device: torch.device) -> Any:
    """A tree with its tensors on a device."""
    if isinstance(tree, Tensor):
        return tree.to(device)
    if isinstance(tree, Mapping):
        return {name: _moved(value, device) for name, value in tree.items()}
    return [_moved(value, device) for value in tree] if isinstance(tree, list) else tree
