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
    """Squared distance, and its value without each of the chains, (chains,), for its error."""

    value: float
    without: Tensor

    @property
    def stderr(self) -> float:
        """Jackknife standard error over the chains."""
        return jackknife(self.without)


def jackknife(without: Tensor) -> float:
    """Standard error of a statistic from its values with each draw left out, (draws,)."""
    return math.sqrt((len(without) - 1) * without.var(correction=0).item())


def moment_discrepancy(features: Features, v: Tensor) -> Discrepancy:
    """Unbiased squared distance in feature space of the rows of v, 3 or more, and the reference.

    The U-statistic of Gretton et al. (2012), "A kernel two-sample test", JMLR 13, lemma 6: of
    mean 0 if both are draws of one distribution, so it may be negative.
    """
    sample, reference = features(v), features.reference
    own, cross, theirs = (
        kernel(sample, sample).fill_diagonal_(0),
        kernel(sample, reference).mean(1),
        kernel(reference, reference).fill_diagonal_(0),
    )
    n, m = len(v), len(theirs)
    constant = theirs.sum() / (m * (m - 1))
    value = own.sum() / (n * (n - 1)) - 2 * cross.mean() + constant
    left = own.sum() - 2 * own.sum(1)
    without = left / ((n - 1) * (n - 2)) - 2 * (cross.sum() - cross) / (n - 1) + constant
    return Discrepancy(value.item(), without.cpu())


def best_step(steps: Sequence[int], course: Sequence[Discrepancy]) -> int | None:
    """Steps of fresh chains at which they are nearest to the reference, if then they leave it.

    The discrepancy must have risen since by `ERRORS` standard errors (jackknife of the difference,
    as the chains are the same), by `LEAST_RISE`, and to twice its least value. Then the model was
    trained out of equilibrium: only its transient looks like the data. Sources: Decelle,
    Furtlehner, Seoane (2021), "Equilibrium and non-equilibrium regimes in the learning of RBMs",
    NeurIPS; Agoritsas et al. (2023), "Explaining the effects of non-convergent sampling in the
    training of energy-based models", ICML.
    """
    least, last = min(course, key=lambda found: found.value), course[-1]
    rise = last.value - least.value
    certain = rise > ERRORS * jackknife(last.without - least.without)
    if certain and rise > LEAST_RISE and last.value > 2 * least.value:
        return steps[course.index(least)]
    return None
