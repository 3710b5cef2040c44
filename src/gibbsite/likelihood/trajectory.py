"""Trajectory AIS: the likelihood during training, at small cost."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gibbsite.checks import check_counts, check_memory
from gibbsite.likelihood.annealing import Path, anneal, uniform_schedule
from gibbsite.likelihood.monitors import negative_free_energies
from gibbsite.likelihood.weights import importance_estimate
from gibbsite.model import RBM

START_TEMPERATURES = 100


@dataclass
class TrajectoryAIS:
    r"""Callback for `fit`: log-likelihood of data by annealing along the models of training.

    The ladder is the sequence of models itself: `chains` weighted chains follow them from epoch to
    epoch, through `substeps` interpolated models each time, and are resampled when their
    effective number falls below half. One epoch costs 2 substeps evaluations of F and as many
    Gibbs steps on `chains` rows. log Z is too low on average, so the likelihood is too high,
    the more the further the chains lag behind; ``ais_ess`` below chains/10 is a warning.
    Grey data are drawn once. Source: Desjardins, Courville, Bengio (2011), On tracking the
    partition function; the weights are those of Neal (2001).

    Adds to the record: ``ais_log_likelihood``, ``ais_stderr`` (of log Z, as if the stretches
    between resamplings were independent) and ``ais_ess`` (since the last resampling).

    >>> import torch, gibbsite as gb
    >>> digits, g = gb.datasets.load("digits"), torch.Generator().manual_seed(0)
    >>> tracker = gb.TrajectoryAIS(digits.test, generator=torch.Generator().manual_seed(1))
    >>> history = gb.fit(gb.RBM(gb.Bernoulli(64), gb.Bernoulli(8)), digits.train, epochs=2,
    ...                  generator=g, callbacks=[tracker])
    >>> len(history.column("ais_log_likelihood"))
    2
    """

    data: Tensor
    chains: int = 100
    substeps: int = 50
    generator: torch.Generator | None = None
    _walk: _Walk | None = field(default=None, init=False, repr=False)

    @torch.no_grad()
    def __call__(self, rbm: RBM, record: dict[str, float]) -> dict[str, float]:
        if self._walk is None:
            check_counts(chains=self.chains, substeps=self.substeps)
            check_memory(f"{self.chains} chains", self.chains, sum(rbm.weight.shape))
            self.data = rbm.visible.observe(rbm.visible.check_data(self.data), self.generator)
            self._walk = _begin(rbm, self.data, self.chains, self.generator)
        else:
            _follow(self._walk, rbm, self.substeps, self.generator)
        estimate = importance_estimate(self._walk.log_weights)
        log_z = self._walk.log_z + estimate.value
        return {
            "ais_log_likelihood": negative_free_energies(rbm, self.data).mean().item() - log_z,
            "ais_stderr": math.hypot(self._walk.stderr, estimate.stderr),
            "ais_ess": estimate.ess,
        }


@dataclass
class _Walk:
    """The model last visited, the chains there, their weights since log_z (stderr) was banked."""

    model: RBM
    v: Tensor
    log_weights: Tensor
    log_z: float
    stderr: float = 0.0


def _begin(rbm: RBM, data: Tensor, chains: int, generator: torch.Generator | None) -> _Walk:
    """Anneal from independent units to the first model seen."""
    path = Path.fit(rbm, data, generator)
    run = anneal(
        path, uniform_schedule(START_TEMPERATURES), path.start(chains, generator), generator
    )
    v = rbm.sample_visible(rbm.sample_hidden(run.v, generator), generator)
    return _Walk(copy.deepcopy(rbm), v, run.log_weights, path.log_partition_at_zero())


def _follow(walk: _Walk, rbm: RBM, substeps: int, generator: torch.Generator | None) -> None:
    """Weigh, then move, from the last model to this one through interpolated parameters."""
    model, target = copy.deepcopy(walk.model), dict(rbm.named_parameters())
    for step in range(1, substeps + 1):
        before = model.free_energy(walk.v)
        for name, parameter in model.named_parameters():
            parameter.lerp_(target[name], 1 / (substeps - step + 1))
        walk.log_weights += (before - model.free_energy(walk.v)).double()
        if importance_estimate(walk.log_weights).ess < len(walk.v) / 2:
            _resample(walk, generator)
        walk.v = model.sample_visible(model.sample_hidden(walk.v, generator), generator)
    walk.model = model


def _resample(walk: _Walk, generator: torch.Generator | None) -> None:
    """Bank the mean weight in log_z; chains survive in proportion to their weights (systematic)."""
    n = len(walk.v)
    banked = importance_estimate(walk.log_weights)
    walk.log_z += banked.value
    walk.stderr = math.hypot(walk.stderr, banked.stderr)
    offset = torch.rand((), generator=generator, dtype=torch.float64).item()
    marks = (torch.arange(n, dtype=torch.float64) + offset) / n
    survivors = torch.searchsorted(torch.softmax(walk.log_weights, 0).cumsum(0), marks)
    walk.v = walk.v[survivors.clamp(max=n - 1)]
    walk.log_weights = torch.zeros_like(walk.log_weights)
