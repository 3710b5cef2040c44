"""Shared by the benchmarks: a schedule, and how a distribution over seeds is told."""

from __future__ import annotations

import statistics

import torch
from torch.optim.lr_scheduler import LRScheduler

import gibbsite as gb
from gibbsite.training import polynomial_decay


def decaying_sgd(
    rbm: gb.RBM, rate: float, momentum: float, epochs: int
) -> tuple[torch.optim.SGD, LRScheduler]:
    """SGD whose learning rate falls linearly, epoch by epoch."""
    optimizer = torch.optim.SGD(rbm.parameters(), lr=rate, momentum=momentum)
    return optimizer, polynomial_decay(optimizer, epochs)


def train(
    rbm: gb.RBM,
    data: torch.Tensor,
    gradient: gb.Centered,
    rate: tuple[float, float],
    epochs: int,
    batch_size: int,
    seed: int,
) -> gb.RBM:
    """`rbm` after training with `decaying_sgd`; `rate` is the learning rate and the momentum."""
    optimizer, scheduler = decaying_sgd(rbm, *rate, epochs)
    gb.fit(
        rbm,
        data,
        gradient=gradient,
        optimizer=optimizer,
        scheduler=scheduler,
        epochs=epochs,
        batch_size=batch_size,
        generator=torch.Generator().manual_seed(seed),
    )
    return rbm


@torch.no_grad()
def mean_log_likelihood(rbm: gb.RBM, v: torch.Tensor) -> float:
    """Exact, in float64, in nats."""
    return gb.exact.log_likelihood(rbm.double(), v.double()).mean().item()


def describe(values: list[float]) -> str:
    """Minimum, median, maximum and mean with its standard deviation over seeds."""
    spread = statistics.stdev(values) if len(values) > 1 else float("nan")
    return (
        f"min {min(values):.4f}  median {statistics.median(values):.4f}  max {max(values):.4f}  "
        f"mean {statistics.mean(values):.4f} sd {spread:.4f}  n={len(values)}"
    )
