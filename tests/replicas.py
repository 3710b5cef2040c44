"""Replicas that start exactly: on every rung independent draws of its own distribution.

Written apart from the library for units of finitely many states with the energy -b.x: sums over all
pairs of states, in NumPy. A rung is a model whose weight is multiplied by beta and whose biases are
shifted by (1 - beta) times a base (f, g).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from discrete import one_hot, spins
from montecarlo import assert_mean, tv_floor
from oracle import bits
from scipy.special import logsumexp

import gibbsite as gb
from gibbsite.sampling.ladder import Ladder, Passages, Replicas, exchange_and_move

NAN = float("nan")
CHAINS = 20_000

Base = tuple[torch.Tensor, torch.Tensor]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def randomized(rbm: gb.RBM, seed: int, scale: float = 1.0) -> gb.RBM:
    """The model in float64, its weight and biases drawn from N(0, scale^2)."""
    rbm, g = rbm.double().requires_grad_(False), generator(seed)
    for name, parameter in rbm.named_parameters():
        if name.endswith(("weight", "bias")):
            parameter.copy_(scale * torch.randn(parameter.shape, generator=g, dtype=torch.float64))
    return rbm


def bias(layer: gb.layers.Layer) -> np.ndarray:
    """The biases of a layer, or of the parts of one, in the order of its columns."""
    named = layer.named_parameters()
    return np.concatenate([p.detach().double().numpy() for n, p in named if n.endswith("bias")])


@dataclass(frozen=True)
class Finite:
    """Layers and all of their states, one row each."""

    visible: gb.layers.Layer
    hidden: gb.layers.Layer
    v: np.ndarray
    h: np.ndarray

    def model(self, seed: int, scale: float = 1.0) -> gb.RBM:
        return randomized(gb.RBM(*copy.deepcopy((self.visible, self.hidden))), seed, scale)

    def log_mass(self, rbm: gb.RBM, beta: float = 1.0, base: Base | None = None) -> np.ndarray:
        """log p*(v), unnormalised, of every v."""
        f, g = (0.0, 0.0) if base is None else (x.double().numpy() for x in base)
        b, c = bias(rbm.visible) + (1 - beta) * f, bias(rbm.hidden) + (1 - beta) * g
        coupling = beta * self.v @ rbm.weight.detach().double().numpy() @ self.h.T
        return logsumexp((self.v @ b)[:, None] + self.h @ c + coupling, axis=1)

    def p(self, log_mass: np.ndarray, clamp: torch.Tensor | None = None) -> np.ndarray:
        """p(v) of every v, given the entries of a clamp, (visible.width,), that are not NaN."""
        p = np.exp(log_mass - logsumexp(log_mass))
        if clamp is not None:
            known = ~np.isnan(clamp.numpy())
            p = p * (self.v[:, known] == clamp.numpy()[known]).all(1)
        return p / p.sum()

    def draws(self, p: np.ndarray, n: int, g: torch.Generator) -> torch.Tensor:
        index = torch.multinomial(torch.from_numpy(p), n, True, generator=g)
        return torch.from_numpy(self.v)[index]

    def far(self, v: torch.Tensor, p: np.ndarray) -> float:
        """Total variation of rows from p, over its floor: below 1 for draws of p."""
        code = np.random.default_rng(0).normal(size=self.v.shape[1])
        order = np.argsort(self.v @ code)
        place = order[np.searchsorted((self.v @ code)[order] - 1e-9, v.double().numpy() @ code) - 1]
        assert (self.v[place] == v.numpy()).all(), "no state"
        found = 0.5 * np.abs(np.bincount(place, minlength=len(p)) / len(v) - p).sum()
        return float(found / tv_floor(p, len(v)))


def _mixed() -> Finite:
    visible = gb.Mixed(gb.Bernoulli(2), gb.Categorical(1, 3))
    hidden = gb.Mixed(gb.Spin(2), gb.Bernoulli(1))
    return Finite(
        visible, hidden, _side_by_side(bits(2), np.eye(3)), _side_by_side(spins(2), bits(1))
    )


def _side_by_side(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.hstack([np.repeat(a, len(b), 0), np.tile(b, (len(a), 1))])


FINITE = {
    "bernoulli": Finite(gb.Bernoulli(4), gb.Bernoulli(3), bits(4), bits(3)),
    "spin": Finite(gb.Spin(4), gb.Spin(3), spins(4), spins(3)),
    "categorical": Finite(
        gb.Categorical([3, 2, 2]), gb.Categorical([3, 2]), one_hot([3, 2, 2]), one_hot([3, 2])
    ),
    "mixed": _mixed(),
}


def base_of(rbm: gb.RBM, seed: int) -> Base:
    """A base at random."""
    g = generator(seed)
    return tuple(torch.randn(n, generator=g, dtype=torch.float64) for n in rbm.weight.shape)


def tempered(rbm: gb.RBM, base: Base, beta: float) -> gb.RBM:
    """The model whose p(v) is that of a rung, of units of any type."""
    rung = copy.deepcopy(rbm)
    rung.weight.mul_(beta)
    for layer, inputs in zip((rung.visible, rung.hidden), base, strict=True):
        layer.shift_((1 - beta) * inputs)
    return rung


def started(rows: Sequence[torch.Tensor]) -> Replicas:
    """Replicas with these rows on the rungs, first to last."""
    return Replicas(list(rows[:-1]), rows[-1], Passages.none(rows[-1], len(rows)))


def stepped(
    ladder: Ladder, rows: Sequence[torch.Tensor], steps: int, seed: int = 1
) -> list[torch.Tensor]:
    """Rows of every rung after so many exchanges and sweeps."""
    replicas, g = started(rows), generator(seed)
    for _ in range(steps):
        replicas, _ = exchange_and_move(ladder, replicas, g)
    return [*replicas.below, replicas.v]


def assert_alike(rbm: gb.RBM, v: torch.Tensor, exact: torch.Tensor) -> None:
    """Fail unless moments of rows agree with those of as many exact draws, independent of them."""

    def functions(x: torch.Tensor) -> np.ndarray:
        products = (x[:, :, None] * x[:, None]).flatten(1)
        return torch.cat([x, products, rbm.hidden_mean(x), torch.cos(x)], 1).numpy()

    difference = functions(v) - functions(exact)
    assert_mean(difference, np.zeros(difference.shape[1]))


def rejection(low: np.ndarray, high: np.ndarray) -> float:
    """Exact rejection rate between rungs with these log p*(v), a sum over all pairs of states."""
    p, q = (np.exp(x - np.logaddexp.reduce(x)) for x in (low, high))
    gain = high - low
    return float(1 - p @ np.minimum(1, np.exp(gain[:, None] - gain)) @ q)


TWO_MODES = Finite(gb.Bernoulli(8), gb.Bernoulli(3), bits(8), bits(3))


def two_modes(depth: float = 1.5) -> gb.RBM:
    """8 binary units with two opposite patterns."""
    rbm = gb.RBM(gb.Bernoulli(8), gb.Bernoulli(3)).double().requires_grad_(False)
    pattern = torch.tensor([1, -1, 1, 1, -1, -1, 1, -1]).double()
    rbm.weight.copy_(depth * pattern[:, None].expand(-1, 3))
    rbm.visible.bias.copy_(-0.5 * rbm.weight.sum(1))
    rbm.hidden.bias.copy_(-0.5 * rbm.weight.sum(0))
    return rbm
