"""Gradients, optimisers, schedules and devices by name, for command options and hyperparameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from gibbsite.errors import ArgumentError
from gibbsite.gradients import CD, FPCD, PCD, Centered, ExactGradient, Gradient, MeanField, NoiseCD
from gibbsite.sampling import Gibbs, Sampler, Tempering, Trajectory
from gibbsite.training.schedules import polynomial_decay
from gibbsite.training.sgd import SGD


class GradientName(StrEnum):
    """Names of gradient estimators."""

    pcd = "pcd"
    fpcd = "fpcd"
    cd = "cd"
    noise_cd = "noise-cd"
    mean_field = "mean-field"
    exact = "exact"


class SamplerName(StrEnum):
    """Names of samplers."""

    gibbs = "gibbs"
    tempering = "tempering"
    trajectory = "trajectory"


class OptimizerName(StrEnum):
    """Names of optimisers."""

    sgd = "sgd"
    adam = "adam"


class ScheduleName(StrEnum):
    """Names of schedules of the learning rate."""

    linear = "linear"
    quadratic = "quadratic"
    constant = "constant"


class DeviceName(StrEnum):
    """Names of devices; auto is CUDA where there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


POWERS: dict[str, int] = {
    ScheduleName.linear: 1,
    ScheduleName.quadratic: 2,
    ScheduleName.constant: 0,
}
"""Powers of the share of epochs left that the learning rate follows."""

CHAINED = (GradientName.pcd, GradientName.fpcd, GradientName.noise_cd)
"""Gradients with a number of chains of their own."""


def check_choice(argument: str, value: object, *choices: str) -> None:
    """Raise `ArgumentError` unless the value is one of the choices."""
    if value not in choices:
        expected = f"expected one of {', '.join(choices)}"
        raise ArgumentError(f"{argument}={value!r}: {expected}")


def make_sampler(name: str, data: Tensor | None = None) -> Sampler:
    """The sampler of that name, with a ladder by need; data are for the base of tempering."""
    check_choice("sampler", name, *SamplerName)
    if name == SamplerName.tempering:
        return Tempering(data=data)
    return Trajectory() if name == SamplerName.trajectory else Gibbs()


def make_gradient(
    name: str, chains: int, steps: int, centered: bool, sampler: Sampler | None = None
) -> Gradient:
    """The gradient estimator of that name; chains count for `CHAINED`, steps not for exact.

    The sampler is that of pcd and fpcd, by default Gibbs.
    """
    check_choice("gradient", name, *GradientName)
    moves = sampler or Gibbs()
    makers: dict[str, Callable[[], Gradient]] = {
        GradientName.pcd: lambda: PCD(chains, steps, moves),
        GradientName.fpcd: lambda: FPCD(chains, steps, sampler=moves),
        GradientName.cd: lambda: CD(steps),
        GradientName.noise_cd: lambda: NoiseCD(chains, steps),
        GradientName.mean_field: lambda: MeanField(steps),
        GradientName.exact: ExactGradient,
    }
    gradient = makers[name]()
    return Centered(gradient) if centered else gradient


def make_optimizer(
    name: str, parameters: Iterable[Any], learning_rate: float, momentum: float
) -> torch.optim.Optimizer:
    """The optimiser of that name for parameters, or groups of them; momentum is that of sgd."""
    check_choice("optimizer", name, *OptimizerName)
    if name == OptimizerName.adam:
        return torch.optim.Adam(parameters, lr=learning_rate)
    return SGD(parameters, learning_rate, momentum)


def make_schedule(name: str, optimizer: torch.optim.Optimizer, epochs: int) -> LRScheduler | None:
    """The schedule of that name, over so many epochs; None for a constant rate."""
    check_choice("schedule", name, *ScheduleName)
    if name == ScheduleName.constant:
        return None
    return polynomial_decay(optimizer, epochs, POWERS[name])


def make_device(name: str) -> torch.device:
    """The device of that name."""
    check_choice("device", name, *DeviceName)
    available = torch.cuda.is_available()
    if name == DeviceName.cuda and not available:
        raise ArgumentError("device='cuda': this machine has no CUDA device; use cpu or auto")
    return torch.device("cuda" if available and name != DeviceName.cpu else "cpu")
