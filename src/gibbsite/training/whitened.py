"""Training on whitened rows: where it starts, and how small sigma may become."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from gibbsite.checks import check_generator
from gibbsite.model import RBM

START_SIGMA = 0.7
"""Standard deviation given h at the start: below 1, so that hidden units have some to explain."""

START_SHARE = 0.05
"""Share of the time that a hidden unit is on at the start."""

SIGMA_RATE = 0.1
"""Learning rate of log sigma, over that of the other parameters."""


def sigma_floor(rows: int) -> float:
    """Least sigma for whitened rows of that number: 0.9 up to 500, 0.3 from 125,000 on.

    A sigma of s makes a row d deviations out, such as no training row is, less likely than one
    Gaussian does by up to (1/s^2 - 1) d^2/2 nats. In a small table one such row in the test part
    outweighs what all others gain: 15 nats a row in one of five splits of breast_cancer without
    a floor, none with 0.9.

    >>> from gibbsite.training import sigma_floor
    >>> [round(sigma_floor(rows), 2) for rows in (100, 500, 5000, 20000, 10**6)]
    [0.9, 0.9, 0.65, 0.5, 0.3]
    """
    return min(max(0.9 - 0.25 * math.log10(rows / 500), 0.3), 0.9)


@torch.no_grad()
def start_whitened(rbm: RBM, generator: torch.Generator | None = None) -> None:
    r"""Start from weights that point anywhere at random, for rows of covariance I.

    Such rows have no correlation that could make weights near 0 grow, so these start large: each
    hidden unit has a weight vector $w_j$ of length 1 and the bias
    $c_j = \operatorname{logit} 0.05 - \lVert w_j\rVert^2/2$, with which it is on for one row in
    twenty; visible means are 0. Learned sigmas start at 0.7, to be raised by a `SigmaFloor`, and
    hidden units find the directions in which rows have heavy tails.

    Source: the biases as in Melchior, Wang, Wiskott (2017), section 3.

    >>> import torch, gibbsite as gb
    >>> from gibbsite.training import start_whitened
    >>> rbm = gb.RBM(gb.Gaussian(3, torch.ones(3), learn_sigma=True), gb.Bernoulli(5))
    >>> start_whitened(rbm, torch.Generator().manual_seed(0))
    >>> rbm.weight.norm(dim=0)
    tensor([1., 1., 1., 1., 1.], grad_fn=<LinalgVectorNormBackward0>)
    """
    check_generator(generator)
    like = rbm.weight
    noise = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
    weight = noise / torch.linalg.vector_norm(noise, dim=0)
    rbm.weight.copy_(weight)
    for name in rbm.visible.learned_scales():
        rbm.visible.get_parameter(name).fill_(math.log(START_SIGMA))
    rbm.visible.zero_biases()
    rbm.visible.shift_(-START_SHARE * weight.sum(1))
    rbm.hidden.zero_biases()
    share = math.log(START_SHARE / (1 - START_SHARE))
    rbm.hidden.shift_(share - 0.5 * (weight**2).sum(0))


@dataclass(frozen=True)
class SigmaFloor:
    """Projection that keeps learned sigmas of the visible units at a least value or above.

    Without it the sigma of a column of few different values runs to 0, where its density is
    infinite and chains freeze.

    Args:
        least: the least sigma, in units of training; for whitened rows see `sigma_floor`.

    >>> import gibbsite as gb
    >>> from gibbsite.training import SigmaFloor
    >>> rbm = gb.RBM(gb.Gaussian(2, [0.01, 1.0], learn_sigma=True), gb.Bernoulli(1))
    >>> SigmaFloor(0.2)(rbm)
    >>> rbm.visible.sigma.detach()
    tensor([0.2000, 1.0000])
    """

    least: float

    @torch.no_grad()
    def __call__(self, rbm: RBM) -> None:
        for name in rbm.visible.learned_scales():
            rbm.visible.get_parameter(name).clamp_(min=math.log(self.least))


def sigma_groups(rbm: RBM, rate: float) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser, in which log sigma learns at a tenth of the rate.

    A single row that lies 15 deviations out moves log sigma of its column by hundreds of times as
    much as any other does.
    Source: Cho, Ilin, Raiko (2011), Improved learning of Gaussian-Bernoulli RBMs, section 3.2.

    >>> import torch, gibbsite as gb
    >>> from gibbsite.training import sigma_groups
    >>> rbm = gb.RBM(gb.Gaussian(2, [1.0, 1.0], learn_sigma=True), gb.Bernoulli(3))
    >>> optimizer = torch.optim.SGD(sigma_groups(rbm, 0.1), momentum=0.5)
    >>> [round(group["lr"], 3) for group in optimizer.param_groups]
    [0.1, 0.01]
    """
    scales = {id(rbm.visible.get_parameter(name)) for name in rbm.visible.learned_scales()}
    slow = [parameter for parameter in rbm.parameters() if id(parameter) in scales]
    others = [parameter for parameter in rbm.parameters() if id(parameter) not in scales]
    groups = [{"params": others, "lr": rate}, {"params": slow, "lr": SIGMA_RATE * rate}]
    return [group for group in groups if group["params"]]
