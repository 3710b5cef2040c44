"""Held-out rows that steer training: the best model is kept, and a run that gets worse ends."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from gibbsite import exact
from gibbsite.checks import check_counts
from gibbsite.errors import ArgumentError
from gibbsite.likelihood.exchange import exchange_log_partition
from gibbsite.likelihood.monitors import negative_free_energies
from gibbsite.likelihood.trajectory import measure
from gibbsite.model import RBM
from gibbsite.precision import in_double
from gibbsite.sampling import LadderSampler, replicas_in
from gibbsite.training.history import Record
from gibbsite.training.monitor import CHEAP_STATES
from gibbsite.training.pseudo_course import CLEAR, PseudoCourse, restored

CHAINS, SUBSTEPS = 100, 25
"""Of the estimate of log Z, as `TrajectoryAIS` makes it in twice the time."""

SWEEPS = 200
"""Sweeps of the ladders of training, for theirs."""


class HeldOut:
    r"""Callback for `fit` that measures held-out rows, keeps the best model and ends a bad run.

    After some epochs the mean log-likelihood of the rows is found: exactly if the model has at
    most 2^16 states to sum over, else with log Z estimated as by `TrajectoryAIS`, and left out
    where that fails its checks. With a ladder sampler the ladders of training estimate it (as in
    `ExchangeLikelihood`). The last model that is not clearly worse than the best, by more than two
    standard errors, is kept. Training ends after `patience` figures in a row that are clearly
    worse.

    Where log Z fails its checks the pseudo-likelihood of at most 200 of the rows, which needs none,
    takes the place of the log-likelihood: it falls where a model learns its rows by heart. The
    free-energy gap is recorded too, but steers nothing: it grows long before the likelihood falls.

    Adds to the record of such epochs ``validation_log_likelihood`` and ``validation_stderr`` (of
    log Z), or ``validation_pseudo_likelihood`` and, with rows trained on, ``validation_gap``: mean
    F of the rows less that of as many trained on. `state_dict` is for checkpoints.

    Args:
        rbm: the model that is trained.
        rows: states held out, (rows, visible.width), which training does not see.
        train: states that it sees, for the gap.
        at: epochs after which they are measured; by default all.
        patience: measurements in a row that are worse than the best, after which training ends.
        model: gives the model to measure and to keep, such as that of `Averaged`; by default rbm.
        log_volume: that of a unit volume of the model's, taken off where log-densities are to be
            those of other units.
        sampler: that of the gradient estimator, if it has a ladder.
        generator: of the estimates.

    >>> import torch, gibbsite as gb
    >>> digits, g = gb.datasets.load("digits"), torch.Generator().manual_seed(0)
    >>> rbm = gb.RBM(gb.Bernoulli(64), gb.Bernoulli(8))
    >>> held_out = gb.training.HeldOut(rbm, digits.train[1200:], at=(2, 4))
    >>> history = gb.fit(rbm, digits.train[:1200], epochs=4, generator=g, callbacks=[held_out])
    >>> held_out.epochs, held_out.best_epoch
    ([2, 4], 4)
    """

    def __init__(
        self,
        rbm: RBM,
        rows: Tensor,
        *,
        train: Tensor | None = None,
        at: Collection[int] | None = None,
        patience: int = 2,
        model: Callable[[], RBM] | None = None,
        log_volume: float = 0.0,
        sampler: LadderSampler | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        check_counts(patience=patience)
        self.rbm, self.at, self.patience = rbm, at, patience
        self.sampler, self.generator, self.log_volume = sampler, generator, log_volume
        self.current: Callable[[], RBM] = (lambda: rbm) if model is None else model
        self.rows = rbm.visible.check_data(rows)
        train = None if train is None else rbm.visible.check_data(train)
        self.without = PseudoCourse(self.rows, train)
        """The course of the epochs for which there is no log Z."""
        self.epochs: list[int] = []
        """Epochs that were measured."""
        self.scores: list[float] = []
        """Mean log-likelihood of the rows after each of them, in nats."""
        self.stderrs: list[float] = []
        self.tried = 0
        """Last epoch after which the rows were to be measured."""
        self._state: Any = None
        self.best: dict[str, Tensor] = {}
        """Parameters of the best model; empty before the first measurement."""

    @property
    def best_index(self) -> int:
        """Number of the last measurement that is not clearly worse than the highest."""
        return len(self.scores) - 1 - self._worse()

    @property
    def best_epoch(self) -> int:
        """Epoch of the best model; 0 before the first measurement."""
        if self.without.epochs and not self.is_measured:
            return self.without.best_epoch
        return self.epochs[self.best_index] if self.epochs else 0

    @property
    def is_measured(self) -> bool:
        """True if the last measurement succeeded."""
        return bool(self.epochs) and self.epochs[-1] == self.tried

    @property
    def finished(self) -> bool:
        """True once patience has run out."""
        worse = self._worse() if self.is_measured else self.without.worse()
        return worse >= self.patience

    @property
    def model(self) -> RBM:
        """A new model with the best parameters, by pseudo-likelihood if the last has no log Z."""
        model = copy.deepcopy(self.current())
        best = self.best if self.is_measured else self.without.best
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(best.get(name, parameter))
        return model

    def verdict(self) -> str:
        """The course of the held-out rows in words, or "" with too few figures."""
        if not self.is_measured:
            return self.without.verdict()
        if len(self.scores) < 2:
            return ""
        if self._worse():
            return f"overfitting since epoch {self.best_epoch}"
        gain = self.scores[-1] - self.scores[-2]
        error = math.hypot(*self.stderrs[-2:])
        if self.best_epoch == self.epochs[-1] and gain > max(CLEAR * error, 0.02):
            return f"still improving, by {gain:.2f} nats from epoch {self.epochs[-2]}"
        return f"levelled off by epoch {self.best_epoch}"

    def after_update(self, rbm: RBM, update: Any) -> None:
        """Remember the replicas."""
        self._state = update.state

    @torch.no_grad()
    def __call__(self, rbm: RBM, record: Record) -> Record | None:
        if rbm is not self.rbm:
            raise ArgumentError("HeldOut is of another model; make it of the one that is trained")
        epoch = int(record["epoch"])
        if self.at is not None and epoch not in self.at:
            return None
        self.tried, model = epoch, self.current()
        log_z, stderr = self._log_partition(model)
        if not math.isfinite(log_z):
            return self.without.measure(model, epoch)
        score = negative_free_energies(model, self.rows).mean().item()
        score -= log_z + self.log_volume
        self.epochs.append(epoch)
        self.scores.append(score)
        self.stderrs.append(stderr)
        if not self._worse():
            self.best = {name: x.detach().clone() for name, x in model.named_parameters()}
        return {"validation_log_likelihood": score, "validation_stderr": stderr}

    def _log_partition(self, model: RBM) -> tuple[float, float]:
        """log Z and its standard error; nan where the estimate fails its checks."""
        if exact.is_enumerable(model, CHEAP_STATES):
            return exact.log_partition(in_double(model)).item(), 0.0
        replicas = replicas_in(self._state)
        if self.sampler is not None and replicas is not None:
            found = exchange_log_partition(
                self.sampler, model, replicas, SWEEPS, generator=self.generator
            )
            return found.value, math.hypot(found.stderr, found.drift / 2)
        measured = measure(model, self.rows, CHAINS, SUBSTEPS, self.generator)
        return (math.nan if measured.problems else measured.value), measured.stderr

    def _worse(self) -> int:
        """Number of the last measurements in a row that are clearly worse than the best."""
        highest = max(range(len(self.scores)), key=self.scores.__getitem__, default=0)
        pairs = zip(self.scores[::-1], self.stderrs[::-1], strict=True)
        for count, (score, stderr) in enumerate(pairs):
            error = math.hypot(stderr, self.stderrs[highest])
            if score >= self.scores[highest] - CLEAR * error:
                return count
        return 0

    def state_dict(self) -> dict[str, Any]:
        """The figures, the best parameters and the generator's state, for a checkpoint."""
        figures = {"epochs": self.epochs, "scores": self.scores, "stderrs": self.stderrs}
        source = {} if self.generator is None else {"generator": self.generator.get_state()}
        best = {"best": dict(self.best), "without": self.without.state_dict()}
        return {**copy.deepcopy(figures), "tried": self.tried, **best, **source}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave; `ValueError` if it is of another model."""
        epochs, scores, stderrs = (list(state[x]) for x in ("epochs", "scores", "stderrs"))
        if not len(epochs) == len(scores) == len(stderrs):
            raise ValueError("held-out figures of different lengths")
        model = self.current()
        self.best = restored(state["best"], dict(model.named_parameters()))
        self.without.load_state_dict(state["without"], model)
        if self.generator is not None:
            self.generator.set_state(state["generator"])
        self.tried, self.epochs = int(state["tried"]), [int(x) for x in epochs]
        self.scores, self.stderrs = [float(x) for x in scores], [float(x) for x in stderrs]
