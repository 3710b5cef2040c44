"""Views of modules in float64."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def in_double(module: M) -> M:
    """A view of the module to compute with in float64; the module itself if it is in float64.

    Results are differentiable in the parameters of the module. The view has their present values,
    and is not for training.
    """
    if all(tensor.dtype == torch.float64 for tensor in _floats(module)):
        return module
    wide = copy.copy(module)
    vars(wide).update({name: _widened(value) for name, value in vars(module).items()})
    return wide


def _floats(module: nn.Module) -> list[Tensor]:
    tensors = [*module.parameters(), *module.buffers(), *vars(module).values()]
    return [x for x in tensors if isinstance(x, Tensor) and x.is_floating_point()]


def _widened(value: Any) -> Any:
    """Tensors in float64, modules by `in_double`, dicts of either likewise; all else as it is."""
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, nn.Module):
        return in_double(value)
    if isinstance(value, dict):
        return {name: _widened(part) for name, part in value.items()}
    return value
