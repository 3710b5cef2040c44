"""Gradients, optimisers and devices by name, for command options and hyperparameters."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import torch

from gibbsite.errors import ArgumentError
from gibbsite.gradients import CD, PCD, Centered, ExactGradient, Gradient, MeanField
from gibbsite.model import RBM
from gibbsite.training.sgd import SGD


class GradientName(StrEnum):
    """Names of gradient estimators."""

    pcd = "pcd"
    cd = "cd"
    mean_field = "mean-field"
    exact = "exact"


class OptimizerName(StrEnum):
    """Names of optimisers."""

    sgd = "sgd"
    adam = "adam"


class DeviceName(StrEnum):
    """Names of devices; auto is CUDA where there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def check_choice(argument: str, value: object, *choices: str) -> None:
    """Raise `ArgumentError` unless the value is one of the choices."""
    if value not in choices:
        expected = f"expected one of {', '.join(choices)}"
        raise ArgumentError(f"{argument}={value!r}: {expected}")


def make_gradient(name: str, chains: int, steps: int, centered: bool) -> Gradient:
    """The gradient estimator of that name; chains are those of pcd, and exact takes no steps."""
    check_choice("gradient", name, *GradientName)
    makers: dict[str, Callable[[], Gradient]] = {
        GradientName.pcd: lambda: PCD(chains, steps),
        GradientName.cd: lambda: CD(steps),
        GradientName.mean_field: lambda: MeanField(steps),
        GradientName.exact: ExactGradient,
    }
    gradient = makers[name]()
    return Centered(gradient) if centered else gradient


def make_optimizer(
    name: str, rbm: RBM, learning_rate: float, momentum: float
) -> torch.optim.Optimizer:
    """The optimiser of that name for the parameters of rbm; momentum is that of sgd."""
    check_choice("optimizer", name, *OptimizerName)
    if name == OptimizerName.adam:
        return torch.optim.Adam(rbm.parameters(), lr=learning_rate)
    return SGD(rbm.parameters(), learning_rate, momentum)


def make_device(name: str) -> torch.device:
    """The device of that name."""
    check_choice("device", name, *DeviceName)
    available = torch.cuda.is_available()
    if name == DeviceName.cuda and not available:
        raise ArgumentError("device='cuda': this machine has no CUDA device; use cpu or auto")
    return torch.device("cuda" if available and name != DeviceName.cpu else "cpu")
