"""Samples of a model, by the sampler and for the steps that its certificate asks for."""

from __future__ import annotations

import logging
from dataclasses import is_dataclass, replace

import torch
from torch import Tensor

from gibbsite import ops
from gibbsite.checks import check_counts, check_generator, check_memory
from gibbsite.diagnosis import OUT_OF_EQUILIBRIUM, Diagnosis
from gibbsite.errors import ArgumentError
from gibbsite.model import RBM, check_usable
from gibbsite.sampling.gibbs import Gibbs
from gibbsite.sampling.run import Sampler, advance, overdispersed_start, random_start
from gibbsite.sampling.tempering import Tempering

STEPS = 1000
"""Steps of a model without a certificate."""

_log = logging.getLogger("gibbsite")


@torch.no_grad()
def sample(
    rbm: RBM,
    n: int,
    *,
    sampler: Sampler | None = None,
    steps: int | None = None,
    thin: int = 1,
    start: Tensor | None = None,
    clamp: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """n visible states from Markov chains, (n, visible.width).

    Without `start`, n chains start at `overdispersed_start`, run `steps` steps and give one state
    each: independent draws, as close to p(v) as `steps` allows. With `start`,
    (chains, visible.width), that many chains burn in for `steps` steps and then give their states
    every `thin` steps until there are n; these are correlated within a chain, and row r comes from
    chain r mod chains.
    Biased towards the start as long as `steps` is short of the mixing time.

    A model with a certificate (``rbm.certificate``, by `diagnose`) is sampled as that says, unless
    told otherwise; where it asks for more steps, the logger "gibbsite" warns. One trained out of
    equilibrium starts from `random_start`.

    Args:
        sampler: default: of the certificate, else `Gibbs()`.
        steps: burn-in, in sampler steps; 0 returns the start. Default: of the certificate, else
            1000.
        thin: sampler steps between states kept of one chain.
        clamp: (chains, visible.width), NaN where a unit is free, values that are held elsewhere:
            the draws are of p(v) given these. One row is for all chains. For samplers that have a
            field ``clamp``, as all of Gibbsite's do.

    >>> import torch, gibbsite as gb
    >>> rbm, g = gb.RBM(gb.Bernoulli(4), gb.Bernoulli(2)), torch.Generator().manual_seed(0)
    >>> gb.sample(rbm, 20, steps=10, generator=g).shape
    torch.Size([20, 4])
    """
    check_counts(n=n, thin=thin)
    check_generator(generator)
    check_usable(rbm)
    check_memory(f"{n} samples of {rbm.visible.n} units", n, rbm.visible.width)
    if steps is not None:
        check_counts(minimum=0, steps=steps)
    certificate = certificate_of(rbm)
    sampler = sampler or certified_sampler(certificate, rbm)
    steps = steps_for(certificate, sampler, steps, warn=start is None)
    sampler = clamped_sampler(sampler, clamp)
    v = (
        start_for(certificate, rbm, n, generator)
        if start is None
        else rbm.visible.check_data(start)
    )
    kept = v.new_empty(n, rbm.visible.width)
    with ops.fitting_threads(rbm.weight.numel() * len(v)):
        state = sampler.init(rbm, v, generator)
        done = 0
        while done < n:
            state = advance(sampler, rbm, state, thin if done else steps, generator)
            part = state.v[: n - done]
            kept[done : done + len(part)] = part
            done += len(part)
    return kept


def clamped_sampler(sampler: Sampler, clamp: Tensor | None) -> Sampler:
    """The sampler with units clamped, if any; `ArgumentError` if it has no field for them."""
    if clamp is None:
        return sampler
    if not (is_dataclass(sampler) and hasattr(sampler, "clamp")):
        raise ArgumentError(f"{sampler!r} has no field clamp; use gb.Gibbs() or gb.Tempering()")
    clamped: Sampler = replace(sampler, clamp=clamp)
    return clamped


def certificate_of(rbm: RBM) -> Diagnosis | None:
    """The model's certificate, if it has one that fits its parameters."""
    certificate: Diagnosis | None = rbm.certificate
    return certificate if certificate is not None and certificate.fits(rbm) else None


def certified_sampler(certificate: Diagnosis | None, rbm: RBM) -> Sampler:
    """The sampler that a certificate names, with its ladder; `Gibbs` without one."""
    if certificate is None or certificate.sampler != Tempering.__name__ or not certificate.betas:
        return Gibbs()
    visible, hidden = (rbm.weight.new_tensor(x) for x in certificate.means)
    return Tempering(betas=certificate.betas, means=(visible, hidden))


def start_for(
    certificate: Diagnosis | None, rbm: RBM, n: int, generator: torch.Generator | None
) -> Tensor:
    """States to start n chains from, by the model's certificate."""
    if certificate is not None and certificate.kind == OUT_OF_EQUILIBRIUM:
        return random_start(rbm, n, generator)
    return overdispersed_start(rbm, n, generator)


def steps_for(
    certificate: Diagnosis | None, sampler: Sampler, steps: int | None, warn: bool
) -> int:
    """The steps given or asked for; logs a warning if these are more, or if nobody can tell."""
    if certificate is None:
        return STEPS if steps is None else steps
    named, asked = type(sampler).__name__ == certificate.sampler, certificate.steps
    chosen = (asked if named and asked else STEPS) if steps is None else steps
    if warn and (asked is None or not named or chosen < asked):
        _log.warning(
            f"{chosen} steps of {type(sampler).__name__}, but the model's certificate says: "
            f"{certificate.verdict}"
        )
    return chosen
