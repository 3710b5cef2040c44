"""Missing entries of rows, filled by chains that keep the others."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gibbsite import ops
from gibbsite.checks import as_tensor, check_counts, check_generator, check_memory
from gibbsite.model import RBM, check_usable
from gibbsite.sampling.conditionals import check_clamp
from gibbsite.sampling.run import Sampler, advance
from gibbsite.sampling.samples import (
    certificate_of,
    certified_sampler,
    clamped_sampler,
    start_for,
    steps_for,
)

CHAINS = 4
"""Chains of a row of which a mean is asked for."""

KEPT = 50
"""States of a chain, over the second half of its steps, that an average is taken over."""

BLOCK_BYTES = 2**27
"""Memory of the states of the chains that run at a time."""


class Imputation(NamedTuple):
    """Rows without gaps, and how sure their new entries are.

    Attributes:
        values: (rows, columns), or (draws, rows, columns), with the columns of the data given.
        spread: (rows, columns): of units whose states are categories or two the probability of the
            most probable one, of counts and real units the standard deviation. 1 and 0 of an entry
            that was there.
    """

    values: Tensor
    spread: Tensor


@torch.no_grad()
def impute(
    rbm: RBM,
    v: Tensor,
    *,
    draws: int | None = None,
    steps: int | None = None,
    sampler: Sampler | None = None,
    generator: torch.Generator | None = None,
) -> Imputation:
    r"""Fill the entries of rows v that are NaN, given the others of the row.

    Without `draws` they get the conditional mean of counts and real units, and the most probable
    state of binary, spin and categorical units. Means are averages of $E[v_i \mid h, v_c]$ over
    states of 4 chains a row in the second half of `steps` (Rao and Blackwell), up to 50 each. With
    `draws` each row gets so many completions, every one the last state of a chain of its own:
    independent draws of $p(v_f \mid v_c)$. Biased towards the start as long as half of the steps,
    for draws all, are short of the mixing time. Standard deviations are those of the states.

    Assumes that an entry is missing for no reason that has to do with its value, given the others
    (missing at random).

    Args:
        v: (rows, visible.width), or by unit where codes are data, as `values` then are. What is
            known must be states. A row that is all NaN gets what the model alone says.
        draws: completions of each row; default: means.
        steps: sampler steps, burn-in included. Default: of the model's certificate, else 1000.
        sampler: default: of the certificate, else `Gibbs()`; one with a field ``clamp``.

    Raises `DataError` for values that no unit can have. Source: Casella and Robert (1996),
    Rao-Blackwellisation of sampling schemes.

    >>> import torch, gibbsite as gb
    >>> rbm, g = gb.RBM(gb.Bernoulli(2), gb.Bernoulli(1)), torch.Generator().manual_seed(0)
    >>> with torch.no_grad():  # both units on, or neither
    ...     _ = rbm.weight.fill_(12.0)
    ...     _ = rbm.visible.bias.fill_(-6.0), rbm.hidden.bias.fill_(-6.0)
    >>> filled = gb.impute(rbm, [[1.0, torch.nan]], steps=100, generator=g)
    >>> filled.values.tolist(), round(filled.spread[0, 1].item(), 2)
    ([[1.0, 1.0]], 1.0)
    """
    if draws is not None:
        check_counts(draws=draws)
    if steps is not None:
        check_counts(steps=steps)
    check_generator(generator)
    check_usable(rbm)
    given = as_tensor(v, rbm.visible.like)
    rows = check_clamp(rbm, given)
    check_memory(f"{draws or 1} draws of {len(rows)} rows", draws or 1, *rows.shape)
    certificate = certificate_of(rbm)
    sampler = sampler or certified_sampler(certificate, rbm)
    steps = steps_for(certificate, sampler, steps, warn=True)
    chains = draws or CHAINS

    values, mean, deviation = rows.repeat(draws or 1, 1, 1), rows.clone(), torch.zeros_like(rows)
    holes = torch.isnan(rows).any(1).nonzero()[:, 0]
    size = chains * (rbm.visible.width + rbm.hidden.width) * rows.element_size()
    for block in torch.split(holes, max(1, BLOCK_BYTES // size)) if len(holes) else ():
        clamp = rows[block]
        start = start_for(certificate, rbm, chains * len(block), generator)
        held = clamped_sampler(sampler, clamp.repeat(chains, 1))
        with ops.fitting_threads(rbm.weight.numel() * len(start)):
            last, mean[block], deviation[block] = _run(rbm, held, clamp, start, steps, generator)
        if draws:
            values[:, block] = last
    state, probability = rbm.visible.guess(mean)
    if not draws:
        values = torch.where(torch.isnan(rows), state, rows)
    spread = torch.where(torch.isnan(probability), deviation, probability)
    return _as_given(rbm, given, values, spread)


def _run(
    rbm: RBM,
    sampler: Sampler,
    clamp: Tensor,
    start: Tensor,
    steps: int,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Last states of chains, (chains, rows, width), with means and standard deviations of rows."""
    kept = min(KEPT, steps - steps // 2)
    thin = (steps - steps // 2) // kept
    state = sampler.init(rbm, start, generator)
    state = advance(sampler, rbm, state, steps - kept * thin, generator)
    chains = len(start) // len(clamp)
    by_row = chains, *clamp.shape
    center = state.v.reshape(by_row)[0]
    mean, shift, square = (torch.zeros_like(clamp) for _ in range(3))
    for _ in range(kept):
        state = advance(sampler, rbm, state, thin, generator)
        inputs = rbm.visible_inputs(rbm.sample_hidden(state.v, generator))
        mean += rbm.visible.mean(inputs).reshape(by_row).sum(0)
        apart = state.v.reshape(by_row) - center
        shift += apart.sum(0)
        square += apart.square().sum(0)
    count = chains * kept
    deviation = (square / count - (shift / count).square()).clamp(min=0).sqrt()
    # of units that depend on each other the mean moves with the known ones, as a state does
    return state.v.reshape(by_row), rbm.visible.clamped(mean / count, clamp), deviation


def _as_given(rbm: RBM, given: Tensor, values: Tensor, spread: Tensor) -> Imputation:
    """The result by unit, if data were given so, as codes of categories."""
    visible = rbm.visible
    if given.shape[-1] == visible.width:
        return Imputation(values, spread)
    first = [visible.unit_columns(unit).start for unit in range(visible.n)]
    return Imputation(visible.by_unit(values), spread[:, first])
