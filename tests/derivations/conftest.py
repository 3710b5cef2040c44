"""The small models that every equation is checked on."""

import pytest
import torch
from oracle import Case, bernoulli_case, gaussian_case

import gibbsite as gb

SIGMA = {"shared": 0.7, "per-unit": [0.6, 1.3]}


@pytest.fixture(scope="session", params=[0, 1])
def bb(request) -> Case:
    """Bernoulli-Bernoulli."""
    return bernoulli_case(request.param)


@pytest.fixture(scope="session", params=SIGMA)
def gauss(request) -> Case:
    """Gaussian-Bernoulli: one sigma for all units, or one each."""
    return gaussian_case(SIGMA[request.param], learn_sigma=False)


@pytest.fixture(scope="session", params=SIGMA)
def learned(request) -> Case:
    """The same with sigma among the parameters."""
    return gaussian_case(SIGMA[request.param], learn_sigma=True)


@pytest.fixture(scope="session")
def ebm(bb) -> gb.EnergyBasedModel:
    """The same Bernoulli-Bernoulli model as nothing but an energy function."""

    def energy(v, h, t):
        coupling = ((v @ t["weight"]) * h).sum(-1)
        return -coupling - v @ t["visible.bias"] - h @ t["hidden.bias"]

    theta = {name: torch.from_numpy(value) for name, value in bb.theta.items()}
    return gb.EnergyBasedModel(energy, theta, torch.from_numpy(bb.v), torch.from_numpy(bb.h))
