"""Log-likelihood of data under a model, with bounds and a verdict."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gibbsite.checks import check_generator
from gibbsite.errors import DataError
from gibbsite.layers.missing import hot_deck
from gibbsite.likelihood.holes import Sums, as_observed, observed_sums
from gibbsite.likelihood.monitors import negative_free_energies
from gibbsite.likelihood.partition import LogPartition, log_partition
from gibbsite.model import RBM
from gibbsite.sampling import Sampler


class Evaluation(NamedTuple):
    """Mean log-likelihood of data, in nats a row (for Gaussian units: of the density).

    Attributes:
        log_likelihood: mean of log p(v) over the rows.
        stderr: its standard error, from log Z and annealed sums over missing entries; 0 if exact.
        lower, upper: 95% interval from these alone; `lower` is -inf where reverse AIS did not start
            at equilibrium.
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
        return "; ".join(self.warnings) or "trustworthy"


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

    NaN in all columns of a unit is a missing entry; that row then counts by log p(v_observed), 0 if
    all are missing. The sum over what is missing is exact where it, or the hidden units, have few
    states. Else it is annealed, which is too low on average; the interval allows for its error,
    too, and a warning tells of a bias of over 0.05 nats a row.

    >>> import torch, gibbsite as gb
    >>> result = gb.evaluate(gb.RBM(gb.Bernoulli(2), gb.Bernoulli(2)), torch.ones(3, 2))
    >>> round(result.log_likelihood, 4), result.verdict  # -2 log 2
    (-1.3863, 'trustworthy')
    """
    check_generator(generator)
    v, full = _states(rbm, data, generator)
    log_z = log_partition(
        rbm,
        method,
        data=full,
        chains=chains,
        temperatures=temperatures,
        sampler=sampler,
        generator=generator,
        progress=progress,
    )
    if v is full:
        scores = negative_free_energies(rbm, v)
        sums = Sums(scores, torch.zeros_like(scores), torch.zeros_like(scores))
    else:
        sums = observed_sums(rbm, v, method == "exact", generator)
    for row in (~torch.isfinite(sums.values)).nonzero()[:1, 0].tolist():
        raise DataError(
            f"the free energy of row {row + 1} (counted from 1) is {-sums.values[row].item()}: its "
            "values are too large; rescale the data"
        )
    return _evaluation(sums, torch.isnan(v).all(1), log_z)


def _states(rbm: RBM, data: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Data as states, NaN where missing, and with what is missing filled in from other rows."""
    x = as_observed(rbm, data)
    missing = torch.isnan(x)
    if not bool(missing.any()):
        v = rbm.visible.observe(x, generator)
        return v, v
    full = rbm.visible.observe(hot_deck(rbm.visible, x), generator)
    return full.masked_fill(missing, math.nan), full


def _evaluation(sums: Sums, empty: Tensor, log_z: LogPartition) -> Evaluation:
    """The result, whose interval allows for the errors of both log Z and the sums.

    Rows that are `empty`, all of whose entries are missing, have a log-likelihood of 0.
    """
    rows = (sums.values - log_z.value).masked_fill(empty, 0.0)
    error, bias = (x.masked_fill(empty, 0.0) for x in (sums.errors, sums.biases))
    mean, share = rows.mean().item(), 1 - empty.double().mean().item()
    spread, n = float(error.norm()) / len(rows), len(rows)
    forward = None if bool(error.any()) else log_z.forward  # which sums too low spoil

    def by(log_partition: float) -> float:
        return mean + share * (log_z.value - log_partition)

    return Evaluation(
        log_likelihood=mean,
        stderr=math.hypot(share * log_z.stderr, spread),
        lower=by(log_z.upper) - 2 * spread,
        upper=by(log_z.lower) + 2 * spread + bias.mean().item(),
        method=log_z.method,
        warnings=(*log_z.problems, *sums.problems()),
        rows=rows,
        rows_stderr=rows.std().item() / math.sqrt(n) if n > 1 else math.inf,
        conservative=None if log_z.reverse is None else by(log_z.reverse.value),
        optimistic=None if forward is None else by(forward.value),
        log_partition=log_z,
    )
