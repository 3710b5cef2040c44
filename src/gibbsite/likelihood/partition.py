"""log Z by enumeration, or by annealing in one direction or both, with its error and checks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from numbers import Real
from typing import NamedTuple

import torch
from torch import Tensor

from gibbsite import exact
from gibbsite.checks import check_counts, check_generator, check_memory
from gibbsite.errors import ArgumentError, NonFiniteWeightError
from gibbsite.likelihood.annealing import (
    PILOT_TEMPERATURES,
    AnnealedRun,
    Walk,
    adapted_schedule,
    anneal,
    check_schedule,
    pilot_steps,
    uniform_schedule,
)
from gibbsite.likelihood.equilibrium import Equilibrium, equilibrium_draws
from gibbsite.likelihood.monitors import as_states
from gibbsite.likelihood.rounding import precise_enough, rounding_problems
from gibbsite.likelihood.weights import (
    Estimate,
    bennett_estimate,
    bootstrap_stderr,
    importance_estimate,
    student_95,
    unseen_95,
)
from gibbsite.model import RBM, check_usable
from gibbsite.precision import in_double
from gibbsite.sampling import PILOT_STEPS, Path, Sampler

METHODS = ("auto", "exact", "ais", "reverse-ais", "bridge")

EQUILIBRIUM_STEPS = 2
"""Gibbs steps for each temperature, where reverse AIS has to start from long chains."""

MIN_ESS = 10.0

ONE_SIDED = (
    "one-sided: annealing in one direction cannot notice what it misses; confirm it with "
    "method='bridge'"
)


class Direction(NamedTuple):
    """log Z from annealing in one direction, in nats.

    Attributes:
        value, stderr: the estimate and its delta-method standard error.
        bootstrap: standard error by resampling the chains; far from stderr, neither can be trusted.
        ess: effective sample size of the weights.
        spread: standard deviation of the log weights.
        run: the log weights and how they came about.
    """

    value: float
    stderr: float
    bootstrap: float
    ess: float
    spread: float
    run: AnnealedRun


class LogPartition(NamedTuple):
    """An estimate of log Z, in nats.

    Attributes:
        value: the point estimate.
        stderr: its standard error; 0 if exact.
        lower, upper: 95% interval, by Student's t with ess - 1 degrees of freedom; `upper` also
            allows for as much mass as may have stayed unseen by so many draws.
        ess: effective number of independent paths; infinite if exact.
        method: how it was made.
        forward: log Z from forward AIS, too low on average: an optimistic likelihood. Or None.
        reverse: log Z from reverse AIS, too high on average if its start was at equilibrium: a
            conservative likelihood. Or None.
        problems: the checks that failed, each with its remedy; empty if none did.
    """

    value: float
    stderr: float
    lower: float
    upper: float
    ess: float
    method: str
    forward: Direction | None = None
    reverse: Direction | None = None
    problems: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """``trustworthy``, or the checks that failed."""
        return "; ".join(self.problems) or "trustworthy"


@torch.no_grad()
def log_partition(
    rbm: RBM,
    method: str = "auto",
    *,
    data: Tensor | None = None,
    chains: int = 100,
    temperatures: int | Tensor = 1000,
    sampler: Sampler | None = None,
    generator: torch.Generator | None = None,
    progress: Callable[[Tensor], None] | None = None,
) -> LogPartition:
    r"""log Z in nats, with a standard error and checks on whether to believe it.

    - ``exact`` sums over the smaller side; ``auto`` does so up to 2^20 states, else ``bridge``.
    - ``ais`` anneals from independent units to the model; log Z is too low on average (Jensen).
    - ``reverse-ais`` anneals from the model back; too high on average, if it starts at equilibrium:
      from exact draws up to 2^20 states, else from long chains whose equilibrium is tested
      (`gb.likelihood.equilibrium_draws`).
    - ``bridge`` runs both and combines them by Bennett's acceptance ratio. Only it is ever called
      trustworthy: what one direction misses, the other has to confirm.

    Args:
        data: (rows, n_visible); the base distribution gets their means and half of the reverse
            chains start there. Without data, short runs of the model give the means.
        chains: independent paths in each direction, at least 2.
        temperatures: steps of a schedule adapted by a pilot run, at least 2, or the betas
            themselves, rising from 0 to 1. Equilibrium chains run for twice as many Gibbs steps.
        sampler: of the equilibrium chains; default `Gibbs()`.
        progress: called with the log weights so far after each temperature.

    An interruption (Ctrl-C) after the pilot runs gives the estimate so far: the forward run takes
    a short cut to the end, a reverse run is left out, and the verdict says so.

    Sources: Neal (2001); Salakhutdinov and Murray (2008); Burda, Grosse, Salakhutdinov (2015) for
    the reverse direction; Bennett (1976).

    >>> import gibbsite as gb
    >>> result = gb.log_partition(gb.RBM(gb.Bernoulli(4), gb.Bernoulli(2)))
    >>> round(result.value, 4), result.method, result.verdict  # 6 log 2
    (4.1589, 'exact', 'trustworthy')
    """
    if method not in METHODS:
        raise ArgumentError(f"method={method!r}: expected one of {', '.join(METHODS)}")
    check_counts(2, chains=chains)
    check_generator(generator)
    check_memory(f"{chains} chains", chains, sum(rbm.weight.shape))
    if isinstance(temperatures, Tensor):
        temperatures = check_schedule(temperatures)
    else:
        check_counts(2, temperatures=temperatures)
        check_memory(f"{temperatures} temperatures", 2, temperatures)
    if data is not None:
        data = as_states(rbm, data)
    _check_finite(**dict(rbm.named_parameters()))
    check_usable(rbm)
    rbm = precise_enough(rbm)
    if method == "auto":
        method = "exact" if exact.is_small(rbm) else "bridge"
    if method == "exact":
        log_z = exact.log_partition(in_double(rbm))
        _check_finite(**{"log Z": log_z})
        value = log_z.item()
        doubts = tuple(rounding_problems(rbm))
        return LogPartition(value, 0.0, value, value, math.inf, method, problems=doubts)

    path = Path.fit(rbm, data, generator)
    if isinstance(temperatures, Tensor):
        betas = temperatures
    else:
        betas = adapted_schedule(path, temperatures, generator)
    log_z0 = path.log_partition_at_zero()
    forward = reverse = start = None
    problems: list[str] = []
    if method != "reverse-ais":
        walk = Walk(path, betas, path.start(chains, generator))
        run, problems = _finish(walk, generator, progress)
        forward = _direction(log_z0, 1, run)
    if method != "ais" and not problems:
        try:
            steps = EQUILIBRIUM_STEPS * (len(betas) - 1)
            start = equilibrium_draws(rbm, chains, steps, data, generator, sampler)
            run = anneal(path, betas.flip(0), start.v, generator, progress)
            reverse = _direction(log_z0, -1, run)
        except KeyboardInterrupt:
            if forward is None:
                raise
            problems = ["interrupted before the reverse run was done; let it finish"]
    problems = [*problems, *rounding_problems(rbm)]
    return _combine(method, log_z0, forward, reverse, start, problems)


def _finish(
    walk: Walk, generator: torch.Generator | None, progress: Callable[[Tensor], None] | None
) -> tuple[AnnealedRun, list[str]]:
    """Finish the walk; if interrupted, by a short cut that is returned as a problem."""
    try:
        return walk.finish(generator, progress), []
    except KeyboardInterrupt:
        steps, temperatures = walk.steps, len(walk.schedule) - 1
        walk.shorten()
        left = len(walk.schedule) - 1 - steps
        return walk.finish(generator), [
            f"interrupted after {steps} of {temperatures} temperatures, the rest passed in {left}; "
            "let it finish"
        ]


def _check_finite(**values: Tensor) -> None:
    """Raise `NonFiniteWeightError` if a named tensor holds NaN or infinity."""
    for name, value in values.items():
        if not bool(torch.isfinite(value).all()):
            raise NonFiniteWeightError(
                f"{name} is not finite in {value.dtype}; train with a smaller learning rate"
            )


def _direction(log_z0: float, sign: int, run: AnnealedRun) -> Direction:
    """log Z of the model from a run upwards from beta 0 (sign 1) or down to it (sign -1)."""
    ratio, spread = importance_estimate(run.log_weights), run.log_weights.std(correction=0).item()
    generator = torch.Generator().manual_seed(0)  # the bootstrap need not vary by run
    bootstrap = bootstrap_stderr(run.log_weights, generator=generator)
    value = log_z0 + sign * ratio.value
    return Direction(value, ratio.stderr, bootstrap, ratio.ess, spread, run)


@torch.no_grad()
def temperatures_within(rbm: RBM, seconds: float, chains: int = 100) -> int:
    """Temperatures for which ``method="bridge"`` takes about so many seconds; at least 10.

    By the time of a short forward run, as a reverse temperature and a step of the equilibrium
    chains cost as much as a forward one. Not reproducible: keep the result if that matters.
    """
    if not isinstance(seconds, Real) or not 0 < seconds < math.inf:
        raise ArgumentError(f"seconds={seconds!r}: expected a number above 0")
    check_counts(chains=chains)
    check_memory(f"{chains} chains", chains, sum(rbm.weight.shape))
    generator = torch.Generator(rbm.weight.device).manual_seed(0)  # leave the global one alone
    path = Path.unweighted(rbm)
    steps, v = 50, path.start(chains, generator)
    anneal(path, uniform_schedule(steps), v, generator)  # the first steps of a process are slower
    started = time.perf_counter()
    anneal(path, uniform_schedule(steps), v, generator)
    step = (time.perf_counter() - started) / steps
    left = seconds / step - PILOT_TEMPERATURES - PILOT_STEPS
    each = 2 + EQUILIBRIUM_STEPS
    temperatures = int(left / each)
    return max(10, temperatures - -(-pilot_steps(temperatures) // each))


def _combine(
    method: str,
    log_z0: float,
    forward: Direction | None,
    reverse: Direction | None,
    start: Equilibrium | None,
    problems: list[str],
) -> LogPartition:
    """The result of one direction or of both, whose bridge is the estimate."""
    one = forward or reverse
    assert one is not None
    estimate = Estimate(one.value, one.stderr, one.ess)
    if forward is not None and reverse is not None:
        bridge = bennett_estimate(forward.run.log_weights, reverse.run.log_weights)
        estimate = bridge._replace(value=log_z0 + bridge.value)
    independent, floor = float(len(one.run.log_weights)), -math.inf
    if start is not None:
        independent, floor = start.independent, start.floor
        problems = [*problems, *start.problems]
    reach = student_95(estimate.ess - 1) * estimate.stderr
    return LogPartition(
        estimate.value,
        estimate.stderr,
        estimate.value - reach,
        max(estimate.value + reach + unseen_95(independent), floor),
        estimate.ess,
        method,
        forward,
        reverse,
        (*problems, *_problems(estimate, forward, reverse, floor)),
    )


def _problems(
    estimate: Estimate, forward: Direction | None, reverse: Direction | None, floor: float
) -> Iterator[str]:
    """The checks of the weights that failed; floor is a lower bound of log Z."""
    for name, direction in (("forward", forward), ("reverse", reverse)):
        if direction is not None and direction.ess < MIN_ESS:
            yield (
                f"{name} weights have an effective sample size of {direction.ess:.1f} < "
                f"{MIN_ESS:.0f}; use more temperatures or chains"
            )
    if forward is None or reverse is None:
        yield ONE_SIDED
    else:
        gap = reverse.value - forward.value
        bars = 3 * math.hypot(forward.stderr, reverse.stderr)
        if not abs(gap) <= bars:
            yield (
                f"forward and reverse disagree by {gap:.3f} nats, beyond three standard errors "
                f"({bars:.3f}): one of them misses part of the distribution; use more temperatures"
            )
    if not floor <= estimate.value + 3 * estimate.stderr:
        yield (
            f"the states that chains visited add up to log Z >= {floor:.3f}, more than three "
            "standard errors above the estimate, which misses part of the distribution; use more "
            "temperatures"
        )
