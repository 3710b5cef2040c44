"""Log-likelihood of data under a model, with bounds and a verdict."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gibbsite.checks import check_generator
from gibbsite.errors import DataError
from gibbsite.likelihood.monitors import as_states, negative_free_energies
from gibbsite.likelihood.partition import LogPartition, log_partition
from gibbsite.model import RBM
from gibbsite.sampling import Sampler


class Evaluation(NamedTuple):
    """Mean log-likelihood of data, in nats a row (for Gaussian units: of the density).

    Attributes:
        log_likelihood: mean of log p(v) over the rows.
        stderr: its standard error from log Z alone; 0 if exact.
        lower, upper: 95% interval from log Z alone.
        method: of log Z.
        warnings: the checks of log Z that failed; empty if none did.
        rows: log p(v) of each row, (rows,); all share the error of log Z.
        rows_stderr: standard error of the mean over rows, as a sample of the population.
        conservative: by reverse AIS, too low on average if its start was at equilibrium; or None.
        optimistic: by forward AIS, too high on average; or None.
        log_partition: the full result for log Z.
    """

    log_likelihood: float
    stderr: float
    lower: float
    upper: float
    method: str
    warnings: tuple[str, ...]
    rows: Tensor
    rows_stderr: float
    conservative: float | None
    optimistic: float | None
    log_partition: LogPartition

    def __repr__(self) -> str:
        shown = self._asdict() | {"rows": f"<{len(self.rows)} rows>"}
        parts = (f"{k}={x if k == 'rows' else repr(x)}" for k, x in shown.items())
        return f"Evaluation({', '.join(parts)})"

    @property
    def verdict(self) -> str:
        """``trustworthy``, or the checks that failed and what to increase."""
        return self.log_partition.verdict


@torch.no_grad()
def evaluate(
    rbm: RBM,
    data: Tensor,
    method: str = "auto",
    *,
    chains: int = 100,
    temperatures: int | Tensor = 1000,
    sampler: Sampler | None = None,
    generator: torch.Generator | None = None,
    progress: Callable[[Tensor], None] | None = None,
) -> Evaluation:
    """Mean log-likelihood of the rows of data: -mean F(v) - log Z, with the error of log Z.

    The arguments, and the bias of each method, are those of `log_partition`. Values strictly
    between 0 and 1 for Bernoulli units are drawn once, with `generator`.

    >>> import torch, gibbsite as gb
    >>> result = gb.evaluate(gb.RBM(gb.Bernoulli(2), gb.Bernoulli(2)), torch.ones(3, 2))
    >>> round(result.log_likelihood, 4), result.verdict  # -2 log 2
    (-1.3863, 'trustworthy')
    """
    check_generator(generator)
    v = rbm.visible.observe(as_states(rbm, data), generator)
    log_z = log_partition(
        rbm,
        method,
        data=v,
        chains=chains,
        temperatures=temperatures,
        sampler=sampler,
        generator=generator,
        progress=progress,
    )
    scores = negative_free_energies(rbm, v)
    for row in (~torch.isfinite(scores)).nonzero()[:1, 0].tolist():
        raise DataError(
            f"the free energy of row {row + 1} (counted from 1) is {-scores[row].item()}: its "
            "values are too large; rescale the data"
        )
    mean = scores.mean().item()
    return Evaluation(
        log_likelihood=mean - log_z.value,
        stderr=log_z.stderr,
        lower=mean - log_z.upper,
        upper=mean - log_z.lower,
        method=log_z.method,
        warnings=log_z.problems,
        rows=scores - log_z.value,
        rows_stderr=scores.std().item() / math.sqrt(len(v)) if len(v) > 1 else math.inf,
        conservative=None if log_z.reverse is None else mean - log_z.reverse.value,
        optimistic=None if log_z.forward is None else mean - log_z.forward.value,
        log_partition=log_z,
    )
