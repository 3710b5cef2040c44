"""Schedules of the learning rate."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from gibbsite.checks import check_counts
from gibbsite.errors import ArgumentError


def polynomial_decay(optimizer: Optimizer, epochs: int, power: float = 1) -> LambdaLR:
    r"""Schedule of a learning rate that falls as a power of the epochs left.

    $$\eta_e = \eta_0\,(1-e/n)^{\text{power}},\qquad e = 0, 1, \dots, n-1$$

    for the epochs of a run of n, and the last of these after it: linear for a power of 1, which is
    what `fit` does by default, constant for 0. A power of 2 spends more of the run on small steps.

    Args:
        optimizer: the one whose rates fall.
        epochs: n, of the whole run.
        power: at least 0.

    Raises `ArgumentError` for fewer than 1 epoch or a power that is negative or not finite.

    >>> import torch
    >>> from gibbsite.training import polynomial_decay
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    >>> schedule = polynomial_decay(optimizer, epochs=4, power=2)
    >>> [round(0.1 * schedule.lr_lambdas[0](epoch), 5) for epoch in range(4)]
    [0.1, 0.05625, 0.025, 0.00625]
    """
    check_counts(epochs=epochs)
    if not 0 <= power < math.inf:
        raise ArgumentError(f"power={power}: expected a finite number of at least 0")
    return LambdaLR(optimizer, lambda epoch: (1 - min(epoch, epochs - 1) / epochs) ** power)


def set_rates(scheduler: LRScheduler) -> None:
    """Set the rates of the present epoch by a schedule that is a function of it.

    After a schedule of another length was put back its optimiser has the rates of that one. Other
    schedules, which change the rates step by step, are left as they are.
    """
    if not isinstance(scheduler, LambdaLR):
        return
    groups = scheduler.optimizer.param_groups
    parts = zip(groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    for group, rate, course in parts:
        group["lr"] = rate * course(scheduler.last_epoch)
    scheduler._last_lr = [group["lr"] for group in groups]
