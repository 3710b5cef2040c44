"""Log-likelihood of some entries of rows given others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from gibbsite.checks import check_counts, check_generator
from gibbsite.errors import ArgumentError, DataError
from gibbsite.likelihood.evaluate import Evaluation
from gibbsite.likelihood.marginals import Marginal, marginals
from gibbsite.likelihood.partition import METHODS, LogPartition, log_partition
from gibbsite.likelihood.rounding import rounding_problems
from gibbsite.model import RBM, check_usable
from gibbsite.precision import in_double
from gibbsite.sampling import Sampler, check_clamp


@torch.no_grad()
def conditional_log_likelihood(
    rbm: RBM,
    v: Tensor,
    *,
    given: Tensor,
    method: str = "auto",
    chains: int = 100,
    temperatures: int | Tensor = 1000,
    sampler: Sampler | None = None,
    generator: torch.Generator | None = None,
) -> Evaluation:
    r"""Mean over rows of log p(v_a | v_b), the entries asked for given those that are known.

    $$\log p(v_a \mid v_b) = \log\sum_{u} e^{-F(v_a, v_b, u)} - \log\sum_{a, u} e^{-F(a, v_b, u)}$$

    with $v_b$ where `given` is true, $v_a$ elsewhere, and u what is NaN in v, wherever that is:
    missing entries are marginalised, and a row in which nothing is left to ask for scores 0.
    In nats; of real units the density.

    With ``auto`` a sum is exact where at most one unit is summed over (softmax over its states, or
    quadrature), or where the units summed over, or the hidden ones, have at most 2^20 states; rows
    that share a mask are summed together. Otherwise each distinct row of known values has an
    estimate of its own by ``bridge``, at the price of `log_partition` a row, of which the further
    arguments, and the bias of each method, are.

    The result is that of `evaluate`. `rows` are the values of single rows, each with its own
    estimate. `stderr` is that of their mean; `lower` and `upper` are the means of the ends of the
    rows' own 95% intervals, hence wider than the errors of many rows are together.
    `log_partition` is of the mean of -log p(v_a | v_b), the log of the ratio of both sums.

    Args:
        v: (rows, visible.width), or by unit; states, NaN where missing.
        given: bool, true where v is known, of the shape of v or one row for all; by column or by
            unit.

    >>> import torch, gibbsite as gb
    >>> rbm = gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2))
    >>> known = torch.tensor([True, False, False])
    >>> result = gb.conditional_log_likelihood(rbm, torch.ones(5, 3), given=known)
    >>> round(result.log_likelihood, 4), result.method  # -2 log 2
    (-1.3863, 'exact')
    """
    _check_options(method, chains, generator)
    check_usable(rbm)
    v = check_clamp(in_double(rbm), v)
    missing, known = torch.isnan(v), _mask(rbm, given, v)
    asked = (~known & ~missing).any(1).nonzero()[:, 0]
    both, alone = v[asked], torch.where(known, v, torch.nan)[asked]
    estimate = partial(
        log_partition,
        method="bridge" if method == "auto" else method,
        chains=chains,
        temperatures=temperatures,
        sampler=sampler,
        generator=generator,
    )
    above, below = (marginals(rbm, x, method, estimate) for x in (both, alone))
    return _result(rbm, len(v), asked, above, below)


def _check_options(method: str, chains: int, generator: torch.Generator | None) -> None:
    if method not in METHODS:
        raise ArgumentError(f"method={method!r}: expected one of {', '.join(METHODS)}")
    check_counts(2, chains=chains)
    check_generator(generator)


def _mask(rbm: RBM, given: Tensor, v: Tensor) -> Tensor:
    """The mask by column for each row, else `DataError`."""
    mask = torch.as_tensor(given, device=v.device)
    if mask.dtype is not torch.bool:
        raise DataError(f"given of {mask.dtype}: expected bool, true where v is known")
    visible = rbm.visible
    if mask.ndim > 0 and mask.shape[-1] == visible.n < visible.width:
        columns = range(visible.width)
        sizes = [len(columns[visible.unit_columns(unit)]) for unit in range(visible.n)]
        mask = mask.repeat_interleave(torch.tensor(sizes, device=v.device), -1)
    if mask.shape not in (v.shape, v.shape[1:]):
        raise DataError(
            f"given of shape {tuple(mask.shape)}: expected {tuple(v.shape)}, or "
            f"({visible.width},) for all rows alike"
        )
    mask = mask.expand_as(v)
    for unit in range(visible.n if visible.width > visible.n else 0):
        own = mask[:, visible.unit_columns(unit)]
        if bool((own != own[:, :1]).any()):
            raise DataError(f"unit {unit + 1} is given in some of its columns only; give all")
    return mask


class _Ends:
    """Values and bounds of a list of marginals, row by row."""

    def __init__(self, n: int, parts: list[Marginal], like: Tensor) -> None:
        names = ("value", "lower", "upper", "forward", "reverse")
        self.ends = {name: like.new_zeros(n, dtype=torch.float64) for name in names}
        for part in parts:
            for name, end in self.ends.items():
                end[part.rows] = part.values + _end(part.estimate, name)

    def __getitem__(self, name: str) -> Tensor:
        return self.ends[name]


def _end(estimate: LogPartition | None, name: str) -> float:
    """A bound of an estimate; 0 if exact, NaN for a direction that was not run."""
    if estimate is None:
        return 0.0
    end = getattr(estimate, name)
    if name in ("forward", "reverse"):
        return math.nan if end is None else end.value
    return float(end)


def _result(
    rbm: RBM, n: int, asked: Tensor, above: list[Marginal], below: list[Marginal]
) -> Evaluation:
    """log p of n rows, 0 but for those asked for, as the difference of both lists."""
    estimates = [part for part in (*above, *below) if part.estimate is not None]
    over, under = (_Ends(len(asked), parts, rbm.weight) for parts in (above, below))

    def mean(upper: str, lower: str) -> float:
        return float((over[upper] - under[lower]).sum()) / n

    rows = over["value"].new_zeros(n)
    rows[asked] = over["value"] - under["value"]
    value = float(rows.mean())
    stderr = math.hypot(*(x.estimate.stderr * len(x.rows) / n for x in estimates if x.estimate))
    lower, upper = mean("lower", "upper"), mean("upper", "lower")
    problems = (*rounding_problems(rbm), *_problems(asked, estimates))
    method = next((x.estimate.method for x in estimates if x.estimate), "exact")
    ess = min((x.estimate.ess for x in estimates if x.estimate), default=math.inf)
    ratio = LogPartition(-value, stderr, -upper, -lower, ess, method, problems=problems)
    bounds = (mean("forward", "reverse"), mean("reverse", "forward")) if estimates else ()
    conservative, optimistic = (None if math.isnan(x) else x for x in bounds or (math.nan,) * 2)
    return Evaluation(
        log_likelihood=value,
        stderr=stderr,
        lower=lower,
        upper=upper,
        method=method,
        warnings=problems,
        rows=rows,
        rows_stderr=float(rows.std()) / math.sqrt(n) if n > 1 else math.inf,
        conservative=conservative,
        optimistic=optimistic,
        log_partition=ratio,
    )


def _problems(asked: Tensor, estimates: list[Marginal]) -> Iterator[str]:
    """The failed checks of the first row that has any, and how many more rows there are."""
    failed = [x for x in estimates if x.estimate is not None and x.estimate.problems]
    if failed and failed[0].estimate is not None:
        first = int(asked[failed[0].rows[0]])
        yield from (f"row {first + 1}: {problem}" for problem in failed[0].estimate.problems)
    total = len({int(row) for x in failed for row in x.rows})
    if total > 1:
        yield f"{total - 1} more of the rows failed a check"
