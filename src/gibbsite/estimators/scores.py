"""Scores of rows: exact, estimated or pseudo log-likelihood."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gibbsite.likelihood.monitors import negative_free_energies, pseudo_log_likelihoods
from gibbsite.model import RBM
from gibbsite.rows import Rows

LIKELIHOODS = ("auto", "exact", "bridge", "ais", "pseudo")

BLOCK_BYTES = 2**24

SAMPLE_ROWS = 500
FEWEST_ROWS = 100
SAMPLE_NUMBERS = 2**20


class Sample(NamedTuple):
    """Some of the rows that a model was trained on, each of all of them as likely to be there.

    Estimates of log Z need them: no noise finds all that a model has learned.

    Attributes:
        rows: at most 500, fewer where they are wide: 2^20 numbers, but at least 100 rows. Or None.
        seen: how many rows there were.
    """

    rows: Tensor | None = None
    seen: int = 0

    def joined(self, rows: Rows, dtype: torch.dtype) -> Sample:
        """The sample of these rows too; the same for the same tables, whatever the seeds."""
        wanted = min(SAMPLE_ROWS, max(FEWEST_ROWS, SAMPLE_NUMBERS // rows.shape[1]))
        seen, random = self.seen + len(rows), np.random.default_rng(self.seen)
        drawn = random.choice(seen, min(wanted, seen), replace=False)
        new = torch.from_numpy(np.sort(drawn[drawn >= self.seen] - self.seen))
        if self.rows is None:
            return Sample(rows[new].to(dtype), seen)
        if not len(new):
            return Sample(self.rows, seen)
        old = torch.from_numpy(random.permutation(len(self.rows))[: len(drawn) - len(new)])
        return Sample(torch.cat([self.rows[old].to(dtype), rows[new].to(dtype)]), seen)


NONE = Sample()


@torch.no_grad()
def log_scores(rbm: RBM, rows: Rows, log_z: float) -> NDArray[np.float64]:
    """log p(v) = -F(v) - log Z of each row in nats, (rows,)."""
    return _by_blocks(rbm, rows, lambda v: negative_free_energies(rbm, v) - log_z)


@torch.no_grad()
def pseudo_scores(rbm: RBM, rows: Rows) -> NDArray[np.float64]:
    """The pseudo-log-likelihood of each row in nats, (rows,)."""
    return _by_blocks(rbm, rows, lambda v: pseudo_log_likelihoods(rbm, v))


def _by_blocks(rbm: RBM, rows: Rows, score: Callable[[Tensor], Tensor]) -> NDArray[np.float64]:
    """Scores of all rows, about `BLOCK_BYTES` at a time of what one row of each needs."""
    size = max(1, BLOCK_BYTES // (8 * (rbm.hidden.n + rbm.visible.n)))
    blocks = (rows[start : start + size] for start in range(0, len(rows), size))
    return np.concatenate([score(block).cpu().numpy() for block in blocks])


def fingerprint(rbm: RBM) -> bytes:
    """A digest of all parameters: another model, another digest."""
    digest = hashlib.blake2b(digest_size=16)
    for value in rbm.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())
    return digest.digest()
