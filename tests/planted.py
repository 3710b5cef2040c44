"""Models built to fool estimates of log Z, each with its exact value in float64.

Each has data to give, or none, that may show one mode of several. `planted` yields them all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

import gibbsite as gb


class Planted(NamedTuple):
    """A model, the data an estimate is given (or None), and the exact log Z."""

    family: str
    rbm: gb.RBM
    data: Tensor | None
    log_z: float


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def enumerated(rbm: gb.RBM) -> float:
    return gb.exact.log_partition(_double(rbm)).item()


@torch.no_grad()
def exchangeable(rbm: gb.RBM) -> float:
    """log Z of a binary model whose visible units are all alike: a sum over how many are on."""
    n = rbm.visible.n
    ones = torch.arange(n + 1, dtype=torch.float64)
    states = (torch.arange(n) < ones[:, None]).double()
    ways = math.lgamma(n + 1) - torch.lgamma(ones + 1) - torch.lgamma(n - ones + 1)
    return torch.logsumexp(ways - _double(rbm).free_energy(states), 0).item()


def _double(rbm: gb.RBM) -> gb.RBM:
    twin = gb.RBM(*(_layer(layer) for layer in (rbm.visible, rbm.hidden))).double()
    twin.load_state_dict(rbm.double().state_dict())
    rbm.float()
    return twin


def _layer(layer: gb.layers.Layer) -> gb.layers.Layer:
    return type(layer)(layer.n)


def rows_of(state: Tensor, rows: int = 100) -> Tensor:
    return state.expand(rows, -1).clone()


@torch.no_grad()
def opposite_patterns(seed: int, depth: float) -> tuple[gb.RBM, Tensor]:
    """Two opposite patterns of equal mass, `depth` nats deep; and rows of one of them."""
    pattern = (torch.rand(20, generator=generator(seed)) < 0.5).float() * 2 - 1
    rbm = gb.RBM(gb.Bernoulli(20), gb.Bernoulli(4))
    rbm.weight.copy_(depth / 20 * pattern[:, None].expand(-1, 4))
    rbm.visible.bias.copy_(-0.5 * rbm.weight.sum(1))
    rbm.hidden.bias.copy_(-0.5 * rbm.weight.sum(0))
    return rbm, rows_of((pattern + 1) / 2)


@torch.no_grad()
def ferromagnet(weight: float, tilt: float = 0.04) -> gb.RBM:
    """100 x 24 units with equal weights: all off or all on, `tilt` towards on for each visible."""
    rbm = gb.RBM(gb.Bernoulli(100), gb.Bernoulli(24))
    rbm.weight.fill_(weight)
    rbm.visible.bias.fill_(-12 * weight + tilt)
    rbm.hidden.bias.fill_(-50 * weight)
    return rbm


@torch.no_grad()
def curie_weiss(n: int, coupling: float, tilt: float) -> gb.RBM:
    """n spins, each coupled to all with coupling / n, through one Gaussian hidden unit."""
    rbm = gb.RBM(gb.Bernoulli(n), gb.Gaussian(1))
    scale = 2 * math.sqrt(coupling / n)  # a spin is 2 v - 1
    rbm.weight.fill_(scale)
    rbm.visible.bias.fill_(2 * tilt)
    rbm.hidden.bias.fill_(-scale * n / 2)
    return rbm


@torch.no_grad()
def ising(side: int, coupling: float, tilt: float) -> gb.RBM:
    """A square lattice of spins with periodic ends, one hidden unit for each bond."""
    n = side * side
    sites = torch.arange(n).reshape(side, side)
    bonds = [
        (int(a), int(b))
        for d in (0, 1)
        for a, b in zip(sites.flatten(), sites.roll(-1, d).flatten(), strict=True)
    ]
    rbm = gb.RBM(gb.Bernoulli(n), gb.Bernoulli(len(bonds)))
    strength = 0.5 * math.acosh(math.exp(2 * coupling))  # log cosh(2 a) / 2 is the coupling
    for unit, bond in enumerate(bonds):
        for site in bond:
            rbm.weight[site, unit] += 4 * strength
            rbm.visible.bias[site] -= 2 * strength
            rbm.hidden.bias[unit] -= 2 * strength
    rbm.visible.bias += 2 * tilt
    return rbm


@torch.no_grad()
def hopfield(seed: int, patterns: int, strength: float) -> tuple[gb.RBM, Tensor]:
    """16 spins that remember patterns, a Gaussian hidden unit for each; and rows of the first."""
    spins = (torch.rand(16, patterns, generator=generator(seed)) < 0.5).float() * 2 - 1
    rbm = gb.RBM(gb.Bernoulli(16), gb.Gaussian(patterns))
    scale = 2 * math.sqrt(strength / 16)
    rbm.weight.copy_(scale * spins)
    rbm.visible.bias.zero_()
    rbm.hidden.bias.copy_(-0.5 * rbm.weight.sum(0))
    return rbm, rows_of((spins[:, 0] + 1) / 2)


@torch.no_grad()
def heavy_well(seed: int, depth: float, share: float, bits: int = 20) -> tuple[gb.RBM, Tensor]:
    """A narrow well, one pattern of bits, that holds `share` of the mass; and that pattern.

    Elsewhere the bits are nearly fair coins. A hidden unit sees the pattern only when all but a
    few bits fit, so chains from elsewhere seldom find it.
    """
    pattern = (torch.rand(bits, generator=generator(seed)) < 0.5).float()
    rbm = gb.RBM(gb.Bernoulli(bits), gb.Bernoulli(1))
    sign = 2 * pattern - 1
    rbm.weight[:, 0] = depth / 4 * sign
    inside = torch.nn.functional.softplus(depth / 4 * sign.double()).sum()
    outside = bits * math.log(2)
    rbm.hidden.bias.fill_(outside - inside.item() + math.log(share / (1 - share)))
    return rbm, rows_of(pattern)


@torch.no_grad()
def random_model(seed: int) -> tuple[gb.RBM, str]:
    """Odd seeds Gaussian; weights from weak to strong; biases that balance the weights or not."""
    g = generator(seed)
    n_visible, n_hidden = (int(torch.randint(4, 13, (), generator=g)) for _ in range(2))
    strength = (0.3, 1.0, 2.0, 4.0)[seed // 2 % 4]
    gaussian = seed % 2 == 1
    visible = gb.Gaussian(n_visible) if gaussian else gb.Bernoulli(n_visible)
    rbm = gb.RBM(visible, gb.Bernoulli(n_hidden))
    scale = strength * (0.5 if gaussian else 1.0) * 2 / math.sqrt(n_visible + n_hidden) * 2
    rbm.weight.copy_(scale * torch.randn(n_visible, n_hidden, generator=g))
    rbm.visible.bias.copy_(torch.randn(n_visible, generator=g))
    rbm.hidden.bias.copy_(torch.randn(n_hidden, generator=g))
    if seed // 8 % 2:  # modes of like mass: strongly multimodal when the weights are strong
        rbm.hidden.bias.copy_(-0.5 * rbm.weight.sum(0))
        rbm.visible.bias.copy_(-0.5 * rbm.weight.sum(1) * (not gaussian))
    return rbm, f"{'Gaussian' if gaussian else 'Bernoulli'}, strength {strength}"


@torch.no_grad()
def lost_well(seed: int, share: float) -> tuple[gb.RBM, Tensor]:
    """A `heavy_well` that no start leads to; and rows from outside.

    Twelve more hidden units are never on in the model, but are in starts, where they drown the one
    that points to the well.
    """
    well, _ = heavy_well(seed, 40.0, share, 60)
    g = generator(seed + 1000)
    rbm = gb.RBM(gb.Bernoulli(60), gb.Bernoulli(13))
    rbm.weight.copy_(torch.cat([well.weight, 20 * torch.randn(60, 12, generator=g)], 1))
    rbm.hidden.bias.fill_(-900.0)
    rbm.hidden.bias[0] = well.hidden.bias[0]
    return rbm, torch.bernoulli(torch.full((200, 60), 0.5), generator=g)


def unseen() -> Iterator[Planted]:
    """Wells that neither data nor starts lead to: no finite run can see them."""
    for share in (0.1, 0.5, 0.9):
        for seed in range(10):
            rbm, rows = lost_well(seed, share)
            yield Planted(f"unseen well of {share:.0%} of the mass", rbm, rows, enumerated(rbm))


def planted() -> Iterator[Planted]:
    """All families, from either side of what is planted and without data."""
    for family in (_patterns, _ferromagnets, _curie_weiss, _ising, _hopfield, _wells):
        yield from family()
    yield from random_models(range(160))


def _patterns() -> Iterator[Planted]:
    for depth in (20.0, 40.0, 80.0, 160.0):
        for seed in range(10):
            rbm, rows = opposite_patterns(seed, depth)
            log_z = enumerated(rbm)
            for data in (rows, 1 - rows, None):
                yield Planted("opposite patterns", rbm, data, log_z)


def _ferromagnets() -> Iterator[Planted]:
    for weight in (0.05, 0.09, 0.13, 0.14, 0.15, 0.16, 0.17):
        for tilt in (0.0, 0.04, -0.02):
            rbm = ferromagnet(weight, tilt)
            for data in (*_ends(100), None):
                yield Planted("ferromagnet", rbm, data, exchangeable(rbm))


def _curie_weiss() -> Iterator[Planted]:
    for n, coupling in ((16, 2.0), (60, 0.8), (60, 1.2), (60, 2.0), (100, 1.5), (100, 2.5)):
        for tilt in (0.0, 0.01, 0.03):
            rbm = curie_weiss(n, coupling, tilt)
            for data in (*_ends(n), None):
                yield Planted("Curie-Weiss", rbm, data, exchangeable(rbm))


def _ising() -> Iterator[Planted]:
    for coupling in (0.2, 0.44, 0.6, 0.8, 1.0):
        for tilt in (0.0, 0.03):
            rbm = ising(4, coupling, tilt)
            log_z = enumerated(rbm)
            for data in (*_ends(16), None):
                yield Planted("Ising 4 x 4", rbm, data, log_z)


def _hopfield() -> Iterator[Planted]:
    for patterns in (1, 2, 3):
        for strength in (0.5, 1.5, 3.0):
            for seed in range(3):
                rbm, rows = hopfield(seed, patterns, strength)
                log_z = enumerated(rbm)
                for data in (rows, None):
                    yield Planted("Hopfield", rbm, data, log_z)


def _wells() -> Iterator[Planted]:
    for depth in (16.0, 24.0, 40.0):
        for share in (0.1, 0.5, 0.9):
            for seed in range(3):
                rbm, rows = heavy_well(seed, depth, share)
                log_z = enumerated(rbm)
                yield Planted("heavy well, data inside", rbm, rows, log_z)
                mixed = gb.exact.sample(rbm, 200, generator(seed))
                yield Planted("heavy well, data in and out", rbm, mixed, log_z)


def random_models(seeds: range) -> Iterator[Planted]:
    """`random_model`, each with exact draws for data; every fourth without, too."""
    for seed in seeds:
        rbm, kind = random_model(seed)
        rows = gb.exact.sample(rbm, 200, generator(seed))
        kind = "strong Gaussian" if kind.endswith("Gaussian, strength 4.0") else "random"
        yield Planted(kind, rbm, rows, enumerated(rbm))
        if seed % 4 == 0:
            yield Planted("random, no data", rbm, None, enumerated(rbm))


def _ends(n: int) -> tuple[Tensor, Tensor]:
    """Rows with a unit in a hundred turned, near all off and near all on."""
    turned = (torch.rand(100, n, generator=generator(n)) < 0.01).float()
    return turned, 1 - turned
