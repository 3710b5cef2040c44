"""Training on whitened rows: where it starts, and how small sigma may become."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gibbsite.checks import check_generator
from gibbsite.model import RBM
from gibbsite.rows import Rows

START_SIGMA = 0.7
"""Standard deviation given h at the start: below 1, so that hidden units have some to explain."""

START_SHARE = 0.05
"""Share of the time that a hidden unit is on at the start."""

SIGMA_RATE = 0.1
"""Learning rate of log sigma, over that of the other parameters."""


TOLERATED = 0.25
"""Nats a row that the farthest row may cost beside one Gaussian."""


@torch.no_grad()
def sigma_floor(rows: Tensor | Rows) -> float:
    r"""Least sigma that whitened rows can bear, at most 0.95 and at least 0.2.

    $$s = \Bigl(1 + \frac{2BN}{\max_i D_i}\Bigr)^{-1/2},\qquad
      D_i = \frac{\lvert u_i\rvert^2}{1-\lvert u_i\rvert^2/N}$$

    A sigma of s makes a row at a squared distance D, such as training has none, less likely than
    one Gaussian does by up to $(s^{-2}-1)D/2$ nats. $D_i$ is about what row i has from the
    Gaussian of the N - 1 others; one in N rows may be that far out, and is allowed to cost
    B = 1/4 nat a row. So heavy tails ask for a sigma near 1, and clusters may have smaller ones.

    >>> import torch
    >>> from gibbsite.training import sigma_floor
    >>> u = torch.randn(1000, 5, generator=torch.Generator().manual_seed(0))
    >>> round(sigma_floor(u), 1), round(sigma_floor(torch.cat([u, 20 * u[:1]])), 1)
    (0.2, 0.9)
    """
    n, largest = len(rows), 0.0
    for block in Rows.of(rows).blocks():
        largest = max(largest, float((block.double() ** 2).sum(1).max()))
    distance = largest / max(1 - largest / n, 1 / n)
    bound = 1 / math.sqrt(1 + 2 * TOLERATED * n / max(distance, 1e-300))
    return min(max(bound, 0.2), 0.95)


@torch.no_grad()
def start_whitened(
    rbm: RBM, generator: torch.Generator | None = None, constant: Tensor | None = None
) -> None:
    r"""Start from weights that point anywhere at random, for rows of covariance I.

    Such rows have no correlation that could make weights near 0 grow, so these start large: each
    hidden unit has a weight vector $w_j$ of length 1 and the bias
    $c_j = \operatorname{logit} 0.05 - \lVert w_j\rVert^2/2$, with which it is on for one row in
    twenty; visible means are 0. Learned sigmas start at 0.7, to be raised by a `SigmaFloor`, and
    hidden units find the directions in which rows have heavy tails. Those of `constant` columns,
    bool (n,), which are only shifted, start at 1.

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
        log_sigma = rbm.visible.get_parameter(name)
        log_sigma.fill_(math.log(START_SIGMA))
        if constant is not None:
            log_sigma.masked_fill_(constant.to(log_sigma.device), 0.0)
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
