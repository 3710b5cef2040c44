r"""Annealed importance sampling: weighted chains along a path of distributions.

The path leads from independent units, whose Z is known, to the model:

$$E_\beta(v,h) = E_v(v) + E_h(h) - \beta\,s(v)^T W s(h) - (1-\beta)\,[s(v)\cdot f + s(h)\cdot g]$$

the geometric path between both ends. Each point is an RBM with scaled and shifted inputs, so one
step costs two matrix products whatever the layers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from gibbsite import ops
from gibbsite.checks import check_counts, check_memory
from gibbsite.errors import ArgumentError, NonFiniteWeightError
from gibbsite.sampling import PILOT_CHAINS, Path

PILOT_TEMPERATURES = 200
PILOT_PARTS = 50
SHORT_CUT_STEPS = 50


class AnnealedRun(NamedTuple):
    """Result of a walk, all float64.

    Attributes:
        log_weights: (chains,).
        increments: variance over chains of the log weight gained at each step, (temperatures,).
        variances: variance over chains of the log weight after each step, (temperatures,).
        profile: mean log weight after each step, (temperatures,).
        betas: beta that each step led to, (temperatures,).
        v: states of the chains, (chains, n_visible), before a move at the last beta.
    """

    log_weights: Tensor
    increments: Tensor
    variances: Tensor
    profile: Tensor
    betas: Tensor
    v: Tensor

    def __repr__(self) -> str:
        return f"<{len(self.log_weights)} chains, {len(self.betas)} temperatures>"


class Walk:
    """Chains that move along betas, each with its weight; `anneal` runs one to the end.

    A step counts once it is complete: after an interruption within one, `finish` goes on from the
    last.
    """

    def __init__(self, path: Path, betas: Tensor, v: Tensor) -> None:
        self.path = path
        self.schedule: list[float] = betas.tolist()
        # increments and log weights of even and of odd steps, so that one never spoils the last
        self._weights = v.new_zeros(2, 2, len(v), dtype=torch.float64)
        self.reached = (0, v, self._weights[1, 1])
        self._moments = v.new_zeros(2, 2, len(betas) - 1, dtype=torch.float64)
        self._inputs = v.new_empty(len(v), path.rbm.hidden.width)
        self._moved = torch.empty_like(v), torch.empty_like(v)

    @property
    def steps(self) -> int:
        """Number of steps taken."""
        return self.reached[0]

    @torch.no_grad()
    def finish(
        self,
        generator: torch.Generator | None = None,
        progress: Callable[[Tensor], None] | None = None,
    ) -> AnnealedRun:
        """Take the remaining steps."""
        with ops.fitting_threads(self.path.rbm.weight.numel() * len(self.reached[1])):
            while self.steps < len(self.schedule) - 1:
                self._step(generator)
                if progress is not None:
                    progress(self.reached[2].clone())  # which the caller may keep
        _, v, log_weights = self.reached
        if not bool(torch.isfinite(log_weights).all()):
            raise NonFiniteWeightError(
                "annealing gave weights that are not finite: the model's parameters are too large "
                f"for {v.dtype}; use rbm.double(), or train with a smaller learning rate"
            )
        betas = torch.tensor(self.schedule[1:], dtype=torch.float64)
        (increments, variances), (_, profile) = self._moments[:, :, : self.steps].cpu()
        return AnnealedRun(log_weights, increments, variances, profile, betas, v)

    def shorten(self, steps: int = SHORT_CUT_STEPS) -> None:
        """Thin the remaining betas to at most so many, the last among them."""
        done, remaining = self.schedule[: self.steps + 1], self.schedule[self.steps + 1 :]
        stride = -(-len(remaining) // steps) or 1
        self.schedule = done + remaining[::-1][::stride][::-1]

    def _step(self, generator: torch.Generator | None) -> None:
        k, v, log_weights = self.reached
        old, new = self.schedule[k : k + 2]
        increment, new_log_weights = weights = self._weights[k % 2]
        model = self.path.conditionals
        model.hidden_inputs(v, self._inputs)
        self.path.log_ratio(v, self._inputs, old, new, increment)
        torch.add(log_weights, increment, out=new_log_weights)
        variances, means = self._moments[:, :, k]
        torch.var(weights, 1, correction=int(len(v) > 1), out=variances)
        torch.mean(weights, 1, out=means)
        if k < len(self.schedule) - 2:  # the last move would change no weight
            h = model.draw_hidden(self._inputs, generator, new)
            v = model.draw_visible(model.visible_inputs(h, self._moved[k % 2]), generator, new)
        self.reached = (k + 1, v, new_log_weights)


def anneal(
    path: Path,
    betas: Tensor,
    v: Tensor,
    generator: torch.Generator | None = None,
    progress: Callable[[Tensor], None] | None = None,
) -> AnnealedRun:
    r"""Walk v along betas, weighing before each move.

    For each neighbouring pair the weight $p^*_{\beta'}(v)/p^*_\beta(v)$ is taken at the old v;
    then v moves by a sweep that leaves $p_{\beta'}$ invariant. If v starts at the first
    distribution, the mean weight is $Z_\text{last}/Z_\text{first}$: forwards with rising betas,
    in reverse with falling ones. Source: Neal (2001), Annealed importance sampling.

    Args:
        progress: called with the log weights so far after each temperature.
    """
    return Walk(path, betas, v).finish(generator, progress)


def uniform_schedule(temperatures: int) -> Tensor:
    """betas from 0 to 1 in equal steps; `temperatures` of them after 0."""
    check_counts(temperatures=temperatures)
    check_memory(f"{temperatures} temperatures", 2, temperatures)
    return torch.linspace(0, 1, temperatures + 1, dtype=torch.float64)


def salakhutdinov_murray_schedule() -> Tensor:
    """500 betas up to 0.5, 4,000 up to 0.9 and 10,000 up to 1: Salakhutdinov and Murray (2008)."""
    parts = [(0.0, 0.5, 500), (0.5, 0.9, 4000), (0.9, 1.0, 10000)]
    pieces = [torch.linspace(a, b, n + 1, dtype=torch.float64)[1:] for a, b, n in parts]
    return pad(torch.cat(pieces), (1, 0))


@torch.no_grad()
def overlap_schedule(
    path: Path,
    temperatures: int,
    generator: torch.Generator | None = None,
    *,
    chains: int = PILOT_CHAINS,
    steps: int = PILOT_TEMPERATURES,
) -> Tensor:
    """betas spaced so that neighbouring distributions overlap equally.

    Each step adds the same standard deviation of log weight, the smaller the more `temperatures`
    there are. A pilot run of `chains` over equal `steps` measures that deviation as a function of
    beta; its integral, cut into equal parts, is the schedule (constant thermodynamic speed: Gelman
    and Meng 1998).
    """
    check_counts(temperatures=temperatures)
    pilot = uniform_schedule(steps)
    run = anneal(path, pilot, path.start(chains, generator), generator)
    return respaced(pilot, run.increments.sqrt(), temperatures)


@torch.no_grad()
def adapted_schedule(
    path: Path, temperatures: int, generator: torch.Generator | None = None
) -> Tensor:
    r"""betas spaced so that the log weights of a run vary as little as so many steps allow.

    Where chains mix slowly the deviations of successive steps add up, so overlap alone is not
    enough. A pilot run along an `overlap_schedule`, in up to 50 parts, measures by how much part i
    raises the variance of the log weights, $\Delta_i$ in $s_i$ steps; as that falls like $1/s_i$,
    the sum is least for steps in proportion to $\sqrt{\Delta_i s_i}$ (least dissipation: Sivak and
    Crooks 2012). A part counts at least the sum of its steps' own variances, to keep the overlap.
    """
    check_counts(temperatures=temperatures)
    steps = pilot_steps(temperatures)
    pilot = overlap_schedule(path, steps, generator)
    run = anneal(path, pilot, path.start(PILOT_CHAINS, generator), generator)
    ends = torch.linspace(0, steps, min(steps, PILOT_PARTS) + 1).round().long()
    rise, own = (
        pad(variance, (1, 0))[ends].diff() for variance in (run.variances, run.increments.cumsum(0))
    )
    difficulty = torch.maximum(rise, own) * ends.diff()
    return respaced(pilot[ends], difficulty.sqrt(), temperatures)


def pilot_steps(temperatures: int) -> int:
    """Steps of the pilot run of `adapted_schedule`."""
    return max(100, min(1000, temperatures // 4))


def respaced(betas: Tensor, lengths: Tensor, temperatures: int) -> Tensor:
    """betas of a new schedule with steps of equal length, given the length of each old step."""
    lengths = lengths + 0.05 * lengths.mean() + 1e-12  # a pilot may miss a barrier: no step is free
    total = pad(lengths.cumsum(0), (1, 0))
    targets = torch.linspace(0, 1, temperatures + 1, dtype=torch.float64) * total[-1]
    right = torch.searchsorted(total, targets).clamp(1, len(total) - 1)
    fraction = (targets - total[right - 1]) / (total[right] - total[right - 1])
    new = betas[right - 1] + fraction * (betas[right] - betas[right - 1])
    new[0], new[-1] = 0.0, 1.0
    return new


def check_schedule(betas: Tensor) -> Tensor:
    """betas as float64; `ArgumentError` unless they rise from 0 to 1 in two steps or more."""
    betas = torch.as_tensor(betas, dtype=torch.float64)
    if betas.ndim != 1 or len(betas) < 3:
        raise ArgumentError(
            f"a schedule of shape {tuple(betas.shape)}: expected one row of at least 3 betas, "
            "0 and 1 included"
        )
    if betas[0] != 0 or betas[-1] != 1:
        raise ArgumentError(
            f"a schedule from {betas[0]:g} to {betas[-1]:g}: expected from 0 to 1, both included"
        )
    for step, (old, new) in enumerate(itertools.pairwise(betas.tolist())):
        if not old < new:
            raise ArgumentError(
                f"a schedule that goes from {old:g} to {new:g} at entry {step + 1}: expected "
                "betas that rise at every step"
            )
    return betas
