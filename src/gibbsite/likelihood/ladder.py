"""Replica exchange between temperatures of an annealing path: log Z, with evidence of mixing.

A rung is one beta of the path; a ladder has one chain, a row of v, on each rung.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gibbsite import ops
from gibbsite.likelihood.weights import balance_point
from gibbsite.sampling import Path

KEPT_EVERY = 10
"""Sweeps between the rows of the last rung that are recorded."""


class Sweeps(NamedTuple):
    """Record of the sweeps of a set of ladders.

    Attributes:
        up: log p*(v), unnormalised, at the rung above less that at its own, of each row but those
            on the last rung, (sweeps, rungs - 1, ladders), float64.
        down: log p*(v) at its own rung less that at the rung below, of each row but those on the
            first, of the same shape.
        trips: passages from the first rung to the last, (ladders,).
        last: rows on the last rung at every tenth sweep, (sweeps / 10, ladders, n_visible).
    """

    up: Tensor
    down: Tensor
    trips: Tensor
    last: Tensor


class Ladder:
    """Independent ladders along a path, from v, (rungs, ladders, n_visible)."""

    def __init__(self, path: Path, betas: Tensor, v: Tensor) -> None:
        self.path, self.rungs, self.ladders = path, len(betas), v.shape[1]
        self.v = v.reshape(-1, v.shape[2])
        steps = betas.to(v.dtype)
        above, below = torch.cat([steps[1:], steps[-1:]]), torch.cat([steps[:1], steps[:-1]])
        self.here, self.above, self.below = (
            beta.repeat_interleave(self.ladders)[:, None].to(v.device)
            for beta in (steps, above, below)
        )
        self.from_base = torch.zeros(self.rungs, self.ladders, dtype=torch.bool, device=v.device)

    @torch.no_grad()
    def run(self, sweeps: int, generator: torch.Generator | None) -> Sweeps:
        """Sweep so many times: exchange rows between rungs, then move each by a Gibbs step."""
        ups, downs, last = [], [], []
        trips = torch.zeros(self.ladders, dtype=torch.long, device=self.v.device)
        with ops.fitting_threads(self.path.rbm.weight.numel() * len(self.v)):
            for sweep in range(sweeps):
                inputs = self.path.conditionals.hidden_inputs(self.v)
                up, down = self._changes(inputs)
                ups.append(up)
                downs.append(down)
                order = self._exchange(up - down, sweep % 2, generator)
                self.from_base = self.from_base.reshape(-1)[order].view(self.rungs, -1)
                trips += self.from_base[-1]
                self.from_base[-1], self.from_base[0] = False, True
                self.v = self._moved(inputs[order], generator)
                if sweep % KEPT_EVERY == 0:
                    last.append(self.v[-self.ladders :])
        return Sweeps(torch.stack(ups), torch.stack(downs), trips, torch.stack(last))

    def _changes(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """log p* of each row at the rung above less at its own, and at its own less below."""
        hidden, base = self.path.rbm.hidden, self.path.hidden_inputs
        here, above, below = (
            hidden.log_partition(torch.lerp(base, inputs, beta)).double()
            for beta in (self.here, self.above, self.below)
        )
        linear = (self.v @ self.path.slope).double()
        up = above - here - (self.above - self.here)[:, 0] * linear
        down = here - below - (self.here - self.below)[:, 0] * linear
        shape = self.rungs, self.ladders
        return up.view(shape)[:-1], down.view(shape)[1:]

    def _exchange(self, gain: Tensor, first: int, generator: torch.Generator | None) -> Tensor:
        """Index of the row that each gets when rungs `first` + 0 and 1, 2 and 3, ... exchange."""
        order = torch.arange(len(self.v), device=self.v.device).view(self.rungs, -1)
        lower = torch.arange(first, self.rungs - 1, 2, device=self.v.device)
        gain = gain[lower]
        accepted = torch.rand(gain.shape, generator=generator, device=gain.device).log() < gain
        low, high = order[lower], order[lower + 1]
        order[lower] = torch.where(accepted, high, low)
        order[lower + 1] = torch.where(accepted, low, high)
        return order.view(-1)

    def _moved(self, inputs: Tensor, generator: torch.Generator | None) -> Tensor:
        """v after a Gibbs sweep of every row at its own rung; independent draws on the first."""
        model = self.path.conditionals
        h = model.draw_hidden(inputs, generator, self.here)
        return model.draw_visible(model.visible_inputs(h), generator, self.here)


class LadderEstimate(NamedTuple):
    """log Z at the last rung less log Z at the first, in nats, with differences between parts."""

    value: float
    stderr: float
    """From the spread between ladders, which are independent."""
    drift: float
    """Second half of the sweeps less the first."""
    by_start: float
    """First half of the ladders less the second."""


def ladder_estimate(record: Sweeps) -> LadderEstimate:
    """Bennett's acceptance ratio between neighbouring rungs, summed over the rungs."""
    sweeps, _, ladders = record.up.shape

    def total(times: slice, which: slice) -> float:
        return float(_bennett(record.up[times, :, which], record.down[times, :, which]).sum())

    every, half, middle = slice(None), sweeps // 2, ladders // 2
    steps = _bennett(record.up, record.down)
    # the influence of each ladder on the value, by the derivative of Bennett's equation
    above = torch.sigmoid(steps[:, None] - record.up)
    below = torch.sigmoid(record.down - steps[:, None])
    information = (above * (1 - above)).sum((0, 2)) + (below * (1 - below)).sum((0, 2))
    influence = ((below - above).sum(0) / information.clamp(min=1e-300)[:, None]).sum(0)
    return LadderEstimate(
        float(steps.sum()),
        math.sqrt(float((influence**2).sum()) * ladders / (ladders - 1)),
        total(slice(half, None), every) - total(slice(half), every),
        total(every, slice(middle)) - total(every, slice(middle, None)),
    )


def _bennett(up: Tensor, down: Tensor) -> Tensor:
    """log Z of each rung but the first less that of the rung below, (rungs - 1,)."""
    return balance_point(*(x.transpose(0, 1).flatten(1) for x in (up, down)))
