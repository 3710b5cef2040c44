"""Are models of other packages read rightly? Their own free energies beside ours."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import peers
import torch
from sklearn.neural_network import BernoulliRBM
from torch import Tensor

import gibbsite as gb

VISIBLE, HIDDEN = 8, 5

Pair = tuple[Callable[[Tensor], Tensor], gb.RBM]
"""A package's free energy of states, and its model as it was read."""


def differences() -> Iterator[tuple[str, float]]:
    """For each kind of model the largest difference of log p(v), there and here, in nats.

    One random model of 8 by 5 units each. Binary ones by enumeration of their states; of real ones,
    differences of free energies between 1,000 rows, as normalisation is the same for all rows.
    """
    states = torch.tensor(list(itertools.product([0.0, 1.0], repeat=VISIBLE)))
    for name, make in {"scikit-learn": scikit_learn, "rbms": rbms, "learnergy": learnergy}.items():
        free_energy, rbm = make(torch.Generator().manual_seed(0))
        theirs = (-free_energy(states)).double().log_softmax(0)
        yield name, _largest(theirs - gb.exact.log_likelihood(rbm.double(), states.double()))
    rows = 2 + 3 * torch.randn(1000, VISIBLE, generator=torch.Generator().manual_seed(1))
    for name, make in {"GaussianRBM": gaussian, "VarianceGaussianRBM": variance}.items():
        free_energy, rbm = make(torch.Generator().manual_seed(0))
        gap = free_energy(rows) - rbm.double().free_energy(rows.double())
        yield f"learnergy {name}", _largest(gap - gap[0])


def _largest(gaps: Tensor) -> float:
    return gaps.abs().max().item()


def _parameters(generator: torch.Generator) -> list[Tensor]:
    shapes = ((VISIBLE, HIDDEN), (VISIBLE,), (HIDDEN,))
    return [torch.randn(shape, generator=generator) for shape in shapes]


def scikit_learn(generator: torch.Generator) -> Pair:
    weight, visible_bias, hidden_bias = (x.numpy() for x in _parameters(generator))
    model = BernoulliRBM(HIDDEN)
    model.components_ = np.asarray(weight.T, order="F")
    model.intercept_visible_, model.intercept_hidden_ = visible_bias, hidden_bias
    return lambda v: torch.from_numpy(model._free_energy(v.numpy())), peers.from_scikit_learn(model)


def rbms(generator: torch.Generator) -> Pair:
    from rbms.bernoulli_bernoulli.classes import BBRBM

    model = BBRBM(*_parameters(generator))
    return model.compute_energy_visibles, peers.from_rbms(*model.parameters())


def learnergy(generator: torch.Generator) -> Pair:
    from learnergy.models.bernoulli import RBM

    model = RBM(VISIBLE, HIDDEN)
    _fill(model, generator)
    return model.energy, peers.from_learnergy(model)


def gaussian(generator: torch.Generator) -> Pair:
    from learnergy.models.gaussian import GaussianRBM

    model = GaussianRBM(VISIBLE, HIDDEN)
    _fill(model, generator)
    shift, scale = _units(generator)
    rbm = peers.from_learnergy_gaussian(model, shift, scale)
    return lambda v: model.energy((v - shift) / scale), rbm


def variance(generator: torch.Generator) -> Pair:
    from learnergy.models.gaussian import VarianceGaussianRBM

    model = VarianceGaussianRBM(VISIBLE, HIDDEN)
    _fill(model, generator)
    with torch.no_grad():
        model.sigma.copy_(0.5 + torch.rand(VISIBLE, generator=generator))
    shift, scale = _units(generator)
    rbm = peers.from_learnergy_variance(model, shift, scale)
    return lambda v: model.energy((v - shift) / scale), rbm


@torch.no_grad()
def _fill(model: torch.nn.Module, generator: torch.Generator) -> None:
    for parameter, value in zip((model.W, model.a, model.b), _parameters(generator), strict=True):
        parameter.copy_(value)


def _units(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A mean and a standard deviation for each column."""
    shift = torch.randn(VISIBLE, generator=generator)
    return shift, 0.5 + 2 * torch.rand(VISIBLE, generator=generator)
