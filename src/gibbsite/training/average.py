"""Averages of the parameters along training."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gibbsite.checks import check_counts
from gibbsite.errors import ArgumentError
from gibbsite.model import RBM
from gibbsite.training.history import Record
from gibbsite.training.restore import LIMIT, check_same

if TYPE_CHECKING:
    from gibbsite.training.fit import Update


class Averaged:
    r"""Callback for `fit` that averages the parameters of the model it trains.

    With $t$ updates after `start`, and a horizon of $H$ updates,

    $$\bar\theta_t = \frac{\sum_{i\le t} d^{\,t-i}\,\theta_i}{\sum_{i\le t} d^{\,t-i}},\qquad
      d = 1 - 1/H,$$

    an exponential average without bias towards the start; for an infinite horizon, the default,
    the plain average from `start` on. Steps of a constant or slowly falling learning rate leave the
    parameters scattered around the optimum, and their average lies nearer to it; far from the
    optimum it only lags behind by about $H$ updates.
    Sources: Ruppert (1988), Polyak, Juditsky (1992), Acceleration of stochastic approximation by
    averaging (plain); Kingma, Ba (2015), Adam, section 7.2 (exponential).

    The parameters are looked at after every `every` updates, and then count for the $m$ updates
    since, with the weight $1+d+\dots+d^{m-1}$; where updates are fused, only those after many are
    seen. Sums are in float64. A checkpoint keeps them, so that a run that goes on gives the
    same average, bit for bit.

    Args:
        rbm: the model that is trained.
        horizon: in updates, at least 1; of N rows in minibatches of B, an epoch has N/B.
        start: number of updates that come before the first one that counts.
        every: updates from one look to the next.

    Raises `ArgumentError` for counts out of their range, or when another model is trained.

    >>> import torch, gibbsite as gb
    >>> data = gb.datasets.load("bars-and-stripes").train
    >>> rbm = gb.RBM(gb.Bernoulli(9), gb.Bernoulli(4))
    >>> average = gb.Averaged(rbm, horizon=50)
    >>> g = torch.Generator().manual_seed(0)
    >>> history = gb.fit(rbm, data, epochs=100, callbacks=[average], generator=g)
    >>> bool(gb.exact.log_likelihood(average.model, data).mean() > -7)
    True
    """

    def __init__(
        self, rbm: RBM, *, horizon: float = math.inf, start: int = 0, every: int = 10
    ) -> None:
        check_counts(every=every)
        check_counts(minimum=0, start=start)
        if not horizon >= 1:
            raise ArgumentError(f"horizon={horizon}: expected a number of updates of at least 1")
        self.rbm, self.horizon, self.start, self.every = rbm, horizon, start, every
        self.updates = 0
        """Number of updates so far, in all calls of `fit`."""
        self.counted = start
        """Number of those updates up to the last look."""
        self.mean: dict[str, Tensor] = {}
        """Average by name, float64; empty as long as no update counts."""

    @property
    def model(self) -> RBM:
        """A new model with the average parameters; those of now as long as no update counts."""
        model = copy.deepcopy(self.rbm)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(self.mean.get(name, parameter))
        return model

    @torch.no_grad()
    def after_update(self, rbm: RBM, update: Update) -> None:
        """Count the parameters of now, if it is time, for the updates since they were last."""
        if rbm is not self.rbm:
            raise ArgumentError("Averaged is of another model; make it of the one that is trained")
        self.updates += 1
        if self.updates < self.counted + (self.every if self.mean else 1):
            return
        share = self._share()
        for name, parameter in rbm.named_parameters():
            if name in self.mean:
                self.mean[name].lerp_(parameter.double(), share)
            else:
                self.mean[name] = parameter.double().clone()
        self.counted = self.updates

    def __call__(self, rbm: RBM, record: Record) -> None:
        """Nothing is left to do after an epoch."""

    def _share(self) -> float:
        """Weight of the updates since the last look among all that count."""
        new, total = self.updates - self.counted, self.updates - self.start
        if self.horizon == math.inf:
            return new / total
        decay = math.log1p(-1 / self.horizon) if self.horizon > 1 else -math.inf
        return math.expm1(new * decay) / math.expm1(total * decay)

    def state_dict(self) -> dict[str, Any]:
        """The average and the counts of updates, for a checkpoint."""
        return {"updates": self.updates, "counted": self.counted, "mean": dict(self.mean)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave; `ValueError` if it is of another model."""
        updates, counted, mean = (state[name] for name in ("updates", "counted", "mean"))
        counts = isinstance(updates, int) and isinstance(counted, int)
        if not (counts and 0 <= updates <= LIMIT and self.start <= counted <= LIMIT):
            raise ValueError(f"an average of {counted!r:.80} of {updates!r:.80} updates")
        parameters = {name: x.detach().double() for name, x in self.rbm.named_parameters()}
        if mean and mean.keys() != parameters.keys():
            raise ValueError(f"an average of {sorted(mean)}")
        self.mean = {
            name: check_same(f"the average {name}", x, mean[name].to(x.device)).clone()
            for name, x in parameters.items()
            if mean
        }
        self.updates, self.counted = updates, counted
