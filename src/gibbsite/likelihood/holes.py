r"""log p(v_observed) of rows with missing entries: exact where possible, else by annealing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gibbsite import observed
from gibbsite.errors import EntryError
from gibbsite.exact import EXACT_STATES
from gibbsite.layers import fast
from gibbsite.layers.missing import check_observed, log_partition_given, moments_given
from gibbsite.likelihood.monitors import as_states, negative_free_energies
from gibbsite.model import RBM
from gibbsite.precision import in_double
from gibbsite.sampling import Conditionals

MOST_TERMS = 2**31
"""Entries of all states that are summed over, for all rows, up to which sums are exact."""

CHAINS, TEMPERATURES, MEAN_FIELD_STEPS = 20, 100, 10
"""Annealed paths of each row, their steps, and those to the independent units they start from."""

CHAINS_AT_ONCE = 2000

MOST_BIAS = 0.05
"""Nats a row from which the bias of the logarithm of a mean weight is a warning."""


class Sums(NamedTuple):
    """log p*(v_observed) = log p + log Z of rows, (rows,), float64.

    Attributes:
        values: nats; annealed ones are too low on average.
        errors: their standard errors; 0 if exact.
        biases: about how much too low they are on average; 0 if exact.
    """

    values: Tensor
    errors: Tensor
    biases: Tensor

    def problems(self) -> Iterator[str]:
        """Checks that failed, each with its remedy."""
        if float(self.biases.mean()) > MOST_BIAS:
            yield (
                f"the sums over missing entries are about {float(self.biases.mean()):.2g} nats a "
                "row too low, as their annealed weights vary much; use a model whose hidden units "
                "can be enumerated, or rows with fewer missing entries"
            )


def as_observed(rbm: RBM, data: Any) -> Tensor:
    """`as_states`, with NaN in all columns of a unit where its entry is missing."""
    try:
        return as_states(rbm, data)
    except EntryError:
        visible = in_double(rbm.visible) if rbm.visible.has_units else rbm.visible
        return check_observed(visible, data)


@torch.no_grad()
def observed_sums(
    rbm: RBM, v: Tensor, exactly: bool = False, generator: torch.Generator | None = None
) -> Sums:
    """log p*(v_observed) of each row; `TooLargeError` if it cannot be summed `exactly`.

    Otherwise rows of over 2^20 states to sum over are annealed, and all such if that is too much.
    """
    incomplete = torch.isnan(v).any(1)
    values = v.new_zeros(len(v), dtype=torch.float64)
    values[~incomplete] = negative_free_energies(rbm, v[~incomplete]) if (~incomplete).any() else 0
    sums = Sums(values, torch.zeros_like(values), torch.zeros_like(values))
    holes = incomplete.nonzero()[:, 0]
    states = observed.states_to_sum(rbm, v[holes])
    small = states <= (math.inf if exactly else EXACT_STATES)
    if not exactly and float((states * small).sum()) * sum(rbm.weight.shape) > MOST_TERMS:
        small &= states * sum(rbm.weight.shape) * len(holes) <= MOST_TERMS
    summed, annealed = holes[small], holes[~small]
    if len(summed):
        wide = in_double(rbm)
        values[summed] = observed.log_sums(wide, v[summed].double())
    for rows in torch.split(annealed, CHAINS_AT_ONCE // CHAINS) if len(annealed) else ():
        for mine, theirs in zip(
            sums, _annealed(rbm, v[rows].to(rbm.weight), generator), strict=True
        ):
            mine[rows] = theirs
    return sums


def _annealed(rbm: RBM, v: Tensor, generator: torch.Generator | None) -> Sums:
    r"""Annealed importance sampling of what is missing, a few paths a row.

    From independent units with inputs f and g, the mean field of each row, to the model,

    $$\log p^*_\beta(v) = -E_v(v) + (1-\beta)\,s(v)\cdot f + \log Z_h(g + \beta(s(v)W - g)),$$

    with the hidden log-partition log Z_h; the sum over what is missing is known at $\beta=0$.
    Source: Neal (2001), Annealed importance sampling.
    """
    wide, visible, hidden = in_double(rbm), fast(rbm.visible), fast(rbm.hidden)
    f, g = _mean_field(rbm, v)
    start = log_partition_given(wide.visible, v.double(), f.double()).diagonal()
    start = start + wide.hidden.log_partition(g.double())
    v, f, g = (x.repeat_interleave(CHAINS, 0) for x in (v, f, g))
    model, log_weights = Conditionals(rbm, clamp=v), v.new_zeros(len(v), dtype=torch.float64)
    x = model.clamped(visible.sample(f.clone(), generator))
    betas = torch.linspace(0, 1, TEMPERATURES + 1, dtype=torch.float64).tolist()
    for old, new in itertools.pairwise(betas):
        inputs = model.hidden_inputs(x)
        after, before = (
            wide.hidden.log_partition(torch.lerp(g, inputs, t).double()) for t in (new, old)
        )
        log_weights += after - before - (new - old) * (rbm.visible.statistic(x) * f).sum(1)
        h = hidden.sample(torch.lerp(g, inputs, new), generator)
        x = visible.sample(torch.lerp(f, model.visible_inputs(h), new), generator)
        x = model.clamped(x)
    log_weights = log_weights.reshape(-1, CHAINS)
    values = torch.logsumexp(log_weights, 1) - math.log(CHAINS)
    relative = torch.exp(log_weights - values[:, None]).var(1) / CHAINS
    return Sums(start + values, relative.sqrt(), relative / 2)


def _mean_field(rbm: RBM, v: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs f and g of independent units near p(v_missing, h | v_observed), row by row."""
    f = torch.zeros_like(v)
    for _ in range(MEAN_FIELD_STEPS):
        g = rbm.hidden_inputs(moments_given(rbm.visible, v, f).mean)
        f = rbm.visible_inputs(rbm.hidden.mean(g))
    return f, g
