"""Scores of rows: blocks of bounded memory, and rows kept to estimate log Z from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gibbsite.model import RBM
from gibbsite.rows import Rows

LIKELIHOODS = ("auto", "exact", "bridge", "ais", "pseudo")

BLOCK_BYTES = 2**24

SAMPLE_ROWS = 500
FEWEST_ROWS = 100
SAMPLE_ENTRIES = 2**20


class Sample(NamedTuple):
    """Uniform random sample of the rows that a model was trained on.

    Estimates of log Z start from them: no noise finds every mode that a model has learned.

    Attributes:
        rows: at most 500, fewer if wide: 2^20 entries, but at least 100 rows; None before any.
        seen: number of rows sampled from.
    """

    rows: Tensor | None = None
    seen: int = 0

    def extended(self, rows: Rows, dtype: torch.dtype) -> Sample:
        """The sample of these rows too; the same for the same data, whatever the seeds."""
        size = min(SAMPLE_ROWS, max(FEWEST_ROWS, SAMPLE_ENTRIES // rows.shape[1]))
        seen, random = self.seen + len(rows), np.random.default_rng(self.seen)
        chosen = random.choice(seen, min(size, seen), replace=False)
        new = torch.from_numpy(np.sort(chosen[chosen >= self.seen] - self.seen))
        if self.rows is None:
            return Sample(rows[new].to(dtype), seen)
        if not len(new):
            return Sample(self.rows, seen)
        old = torch.from_numpy(random.permutation(len(self.rows))[: len(chosen) - len(new)])
        return Sample(torch.cat([self.rows[old].to(dtype), rows[new].to(dtype)]), seen)


@torch.no_grad()
def scores(rbm: RBM, rows: Rows, score: Callable[[RBM, Tensor], Tensor]) -> NDArray[np.float64]:
    """Score of each row, (rows,), in blocks of which the states of v and h fill `BLOCK_BYTES`."""
    size = max(1, BLOCK_BYTES // (8 * (rbm.hidden.n + rbm.visible.n)))
    blocks = (rows[start : start + size] for start in range(0, len(rows), size))
    return np.concatenate([score(rbm, block).cpu().numpy() for block in blocks])


def fingerprint(rbm: RBM) -> bytes:
    """Digest of all parameters."""
    digest = hashlib.blake2b(digest_size=16)
    for value in rbm.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())
    return digest.digest()
