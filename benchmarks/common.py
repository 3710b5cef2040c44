"""Shared by the benchmarks: a schedule, and how a distribution over seeds is told."""

from __future__ import annotations

import statistics

import torch
from torch.optim.lr_scheduler import LambdaLR

import gibbsite as gb


def decaying_sgd(
    rbm: gb.RBM, rate: float, momentum: float, epochs: int
) -> tuple[torch.optim.SGD, LambdaLR]:
    """SGD whose learning rate falls linearly, epoch by epoch."""
    optimizer = torch.optim.SGD(rbm.parameters(), lr=rate, momentum=momentum)
    return optimizer, LambdaLR(optimizer, lambda epoch: 1 - min(epoch, epochs - 1) / epochs)


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
