"""Shares of the modes that chains visit, and their distance beside the noise of counting."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

PERMUTATIONS = 999


class Occupancy(NamedTuple):
    """Total variation between two groups of chains' shares of modes.

    Attributes:
        distance: half the summed absolute difference of the shares, 0 to 1.
        noise, limit: mean and 99.9th percentile of the distance if all chains were alike.
    """

    distance: float
    noise: float
    limit: float


def k_means(
    rows: Tensor, clusters: int, generator: torch.Generator | None = None, rounds: int = 20
) -> Tensor:
    """Centres of clusters of the rows, (clusters, width), by Lloyd's rounds from spread rows.

    Starts: Arthur and Vassilvitskii (2007), "k-means++", algorithm 1b. Fewer clusters where there
    are fewer distinct rows.

    >>> import torch
    >>> rows = torch.tensor([[0.0], [0.2], [5.0], [5.2]])
    >>> k_means(rows, 2, torch.Generator().manual_seed(0)).flatten().sort().values
    tensor([0.1000, 5.1000])
    """
    index = torch.randint(len(rows), (1,), generator=generator, device=rows.device)
    centres = rows[index]
    while len(centres) < clusters:
        distance = torch.cdist(rows, centres).amin(1).square()
        if not bool(distance.sum() > 0):
            break
        chosen = torch.multinomial(distance, 1, generator=generator)
        centres = torch.cat([centres, rows[chosen]])
    for _ in range(rounds):
        nearest = torch.cdist(rows, centres).argmin(1)
        counts = nearest.bincount(minlength=len(centres))[:, None]
        sums = torch.zeros_like(centres).index_add_(0, nearest, rows)
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    return centres


def compare_occupancy(
    shares: Tensor, reference: Tensor, generator: torch.Generator | None = None
) -> Occupancy:
    """Distance between the mean shares of the reference chains and of the others.

    Chains are independent, steps of one are not: so whole chains are permuted between the groups,
    which is exact whatever their autocorrelation.

    Args:
        shares: of its time that each chain spends in each cluster, (chains, clusters).
        reference: True for the reference chains, (chains,).
    """
    shares, reference = shares.double().cpu(), reference.cpu()
    seed = torch.randint(2**31, (1,), generator=generator, device=_device(generator))
    own = torch.Generator().manual_seed(int(seed))
    orders = torch.rand(PERMUTATIONS, len(shares), generator=own).argsort(1)
    groups = torch.cat([reference[None], reference[orders]]).double()
    ours = groups @ shares / reference.sum()
    theirs = (1 - groups) @ shares / (~reference).sum()
    distances = 0.5 * (ours - theirs).abs().sum(1)
    limit = distances[1:].quantile(0.999)
    return Occupancy(distances[0].item(), distances[1:].mean().item(), limit.item())


def _device(generator: torch.Generator | None) -> torch.device:
    return torch.device("cpu") if generator is None else generator.device
