"""Conditionals on the way from a base to the model, by sums over states of the path's energy."""

import itertools

import numpy as np
import pytest
import torch
from oracle import agree, bits
from scipy.special import logsumexp

import gibbsite as gb
from gibbsite.layers import tempered

BETAS = (0.0, 0.3, 1.0)


class TwoLayers:
    """Spins above binomial counts, both small, with a base; its energies by loops."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.w, self.b, self.c = rng.normal(size=(2, 3)), rng.normal(size=2), rng.normal(size=3)
        self.f, self.g = rng.normal(size=2), rng.normal(size=3)
        self.v = np.array(list(itertools.product([0.0, 1.0, 2.0], repeat=2)))
        self.h = 2 * bits(3) - 1
        self.rbm = gb.RBM(gb.Binomial(2, 2), gb.Spin(3)).double().requires_grad_(False)
        pairs = zip(
            (self.rbm.weight, self.rbm.visible.bias, self.rbm.hidden.bias),
            (self.w, self.b, self.c),
            strict=True,
        )
        for parameter, value in pairs:
            parameter.copy_(torch.from_numpy(value))
        self.inputs = torch.from_numpy(self.v @ self.w)
        self.base = torch.from_numpy(self.f), torch.from_numpy(self.g)

    def minus_energy(self, v: np.ndarray, h: np.ndarray, beta: float) -> float:
        """-E at beta; the logs of the binomial coefficients of 2 are 0, log 2, 0."""
        own = self.b @ v + np.log(2) * (v == 1).sum() + self.c @ h
        return own + beta * (v @ self.w @ h) + (1 - beta) * (v @ self.f + h @ self.g)

    def table(self, beta: float) -> np.ndarray:
        return np.array([[self.minus_energy(v, h, beta) for h in self.h] for v in self.v])


@pytest.fixture(scope="module")
def layers() -> TwoLayers:
    return TwoLayers()


@pytest.mark.parametrize("beta", BETAS)
def test_gibbsite_15_1_tempered_conditional(layers, beta):
    """Gibbsite (15.1): p(h | v) of every pair, from the table of energies."""
    table = layers.table(beta)
    expected = table - logsumexp(table, 1, keepdims=True)
    inputs = tempered(layers.inputs, beta, layers.base[1])
    agree(inputs, layers.g + beta * (layers.v @ layers.w - layers.g))
    found = layers.rbm.hidden.log_prob(torch.from_numpy(layers.h)[None], inputs[:, None])
    agree(found, expected)


@pytest.mark.parametrize("beta", BETAS)
def test_gibbsite_15_2_tempered_free_energy(layers, beta):
    """Gibbsite (15.2); at 0 the sum of both log-partitions, and the library's ratio on the way."""
    rbm, v = layers.rbm, torch.from_numpy(layers.v)
    inputs = tempered(layers.inputs, beta, layers.base[1])
    free = (
        rbm.visible.energy(v) - (1 - beta) * v @ layers.base[0] - rbm.hidden.log_partition(inputs)
    )
    agree(-free, logsumexp(layers.table(beta), 1))
    if beta == 0:
        known = rbm.visible.log_partition(layers.base[0]) + rbm.hidden.log_partition(layers.base[1])
        agree(known.item(), logsumexp(layers.table(0.0)))
