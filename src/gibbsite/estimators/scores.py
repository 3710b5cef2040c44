"""How well a model explains each row: exact, estimated or pseudo log-likelihood."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gibbsite import exact
from gibbsite.estimators.training import check_choice
from gibbsite.likelihood import log_partition
from gibbsite.likelihood.monitors import negative_free_energies, pseudo_log_likelihoods
from gibbsite.model import RBM
from gibbsite.rows import Rows

EXACT_STATES = 2**20
"""With at most so many states on one side, "auto" sums over them."""

BLOCK_BYTES = 2**24


@torch.no_grad()
def log_scores(rbm: RBM, rows: Rows, likelihood: str) -> NDArray[np.float64]:
    """log p(v) of each row in nats, or its pseudo-log-likelihood, (rows,); deterministic."""
    check_choice("likelihood", likelihood, "auto", "exact", "pseudo", "ais")
    if likelihood == "auto":
        likelihood = "exact" if exact.is_enumerable(rbm, EXACT_STATES) else "pseudo"
    if likelihood == "pseudo":
        return _by_blocks(rbm, rows, lambda v: pseudo_log_likelihoods(rbm, v))
    fixed = torch.Generator(rbm.weight.device).manual_seed(0)
    log_z = log_partition(rbm, likelihood, generator=fixed).value
    return _by_blocks(rbm, rows, lambda v: negative_free_energies(rbm, v) - log_z)


def _by_blocks(rbm: RBM, rows: Rows, score: Callable[[Tensor], Tensor]) -> NDArray[np.float64]:
    """Scores of all rows, about `BLOCK_BYTES` at a time of what one row of each needs."""
    size = max(1, BLOCK_BYTES // (8 * (rbm.hidden.n + rbm.visible.n)))
    blocks = (rows[start : start + size] for start in range(0, len(rows), size))
    return np.concatenate([score(block).cpu().numpy() for block in blocks])
