"""Distance between samples by their moments, and whether it falls and rises along chains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gibbsite.model import RBM

ERRORS = 4.0
"""Standard errors by which the discrepancy must have risen."""

LEAST_RISE = 0.02
"""Least rise that counts, as a share of the reference's variance: models never fit exactly."""


class Features:
    r"""Feature map whose inner products compare first and second moments and free energies.

    With x the statistic s(v) less the reference's means, over the root of its total variance, and
    u the share of reference rows of a lower free energy, less 1/2:

    $$k(v, v') = x\cdot x' + (x\cdot x')^2 + u\,u'$$

    so that the squared distance of two samples in feature space is that of their means plus that of
    their second moments plus that of their mean ranks. A rank is bounded, where a free energy far
    from the reference would drown the rest.
    """

    def __init__(self, rbm: RBM, reference: Tensor) -> None:
        self.rbm = rbm
        statistic = rbm.visible.statistic(reference).double()
        self.centre = statistic.mean(0)
        self.scale = statistic.var(0, correction=0).sum().sqrt().clamp(min=1e-12)
        self.energies = rbm.free_energy(reference).sort().values
        self.reference = self(reference)

    def __call__(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """x, (rows, width), and u, (rows,), of visible states."""
        x = (self.rbm.visible.statistic(v).double() - self.centre) / self.scale
        energies, n = self.rbm.free_energy(v), len(self.energies)
        lower = torch.searchsorted(self.energies, energies)
        upper = torch.searchsorted(self.energies, energies, right=True)
        return x, (lower + upper).double() / (2 * n) - 0.5  # ties count half


def kernel(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
    """k of all pairs of two samples' features, (rows of a, rows of b)."""
    products = a[0] @ b[0].T
    return products + products**2 + a[1][:, None] * b[1]


class Discrepancy(NamedTuple):
    """Squared distance of a sample from the reference, and its standard error over the chains."""

    value: float
    stderr: float


def moment_discrepancy(features: Features, v: Tensor) -> Discrepancy:
    """Unbiased squared distance in feature space of chains and the reference.

    The U-statistic of Gretton et al. (2012), "A kernel two-sample test", JMLR 13, lemma 6, of the
    means over each chain's records: of mean 0 if both are draws of one distribution, so it may be
    negative. Its error is a jackknife over the chains, given the reference.

    Args:
        v: (records, chains, width), at least 3 chains.
    """
    records, n = v.shape[:2]
    sample, reference = features(v.flatten(0, 1)), features.reference
    pairs = kernel(sample, sample).reshape(records, n, records, n).mean((0, 2)).fill_diagonal_(0)
    cross = kernel(sample, reference).mean(1).reshape(records, n).mean(0)
    theirs, m = kernel(reference, reference).fill_diagonal_(0).sum(), len(features.energies)
    constant = theirs / (m * (m - 1))
    value = pairs.sum() / (n * (n - 1)) - 2 * cross.mean() + constant
    left = pairs.sum() - 2 * pairs.sum(1)
    without = left / ((n - 1) * (n - 2)) - 2 * (cross.sum() - cross) / (n - 1) + constant
    return Discrepancy(value.item(), math.sqrt((n - 1) * without.var(correction=0).item()))


def best_step(steps: Sequence[int], course: Sequence[Discrepancy]) -> int | None:
    """Steps of fresh chains at which they are nearest to the reference, if then they leave it.

    The discrepancy must have risen since by `ERRORS` standard errors of the difference, by
    `LEAST_RISE`, and to twice its least value. Then the model was trained out of equilibrium: only
    its transient looks like the data. Sources: Decelle, Furtlehner, Seoane (2021), "Equilibrium and
    non-equilibrium regimes in the learning of RBMs", NeurIPS; Agoritsas et al. (2023), "Explaining
    the effects of non-convergent sampling in the training of energy-based models", ICML.
    """
    last = course[-1]
    least = min(course, key=lambda found: found.value + 2 * found.stderr)  # for sure, not by luck
    rise = last.value - least.value
    certain = rise > ERRORS * math.hypot(last.stderr, least.stderr)
    if certain and rise > LEAST_RISE and last.value > 2 * least.value:
        return steps[course.index(least)]
    return None
