"""Training by `gibbsite.fit`, and its state between calls of `partial_fit`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gibbsite.estimators.scores import Sample
from gibbsite.estimators.settings import Settings
from gibbsite.estimators.tables import Units
from gibbsite.gradients import Gradient
from gibbsite.likelihood import LogPartition, pseudo_likelihood
from gibbsite.model import RBM
from gibbsite.rows import Rows
from gibbsite.sampling import Sampler
from gibbsite.training import History, fit, sigma_groups
from gibbsite.training.history import Record
from gibbsite.training.monitor import ROWS
from gibbsite.training.named import make_optimizer, make_schedule
from gibbsite.training.run import Penalty, Projection
from gibbsite.training.trial import averaged
from gibbsite.training.units import mute_units_warning


class Plan(NamedTuple):
    """Settings of one call.

    Attributes:
        average: horizon of the average of the parameters, in epochs; 0 for none.
    """

    epochs: int
    schedule: str
    gradient: Gradient
    penalties: list[Penalty]
    learning_rate: float
    momentum: float
    batch_size: int
    average: float
    device: torch.device


@dataclass
class Training:
    """A model in training and its state, which lies on the CPU between calls.

    Attributes:
        rbm: the model, in the units it is trained in.
        averaged: that with the average of the parameters over the last call; None without one.
        units: those units.
        random: source of seeds for torch generators; numpy's, as those do not pickle.
        data_penalties: penalties that the data ask for, not the hyperparameters.
        projections: of `gibbsite.fit`, that the data ask for.
        settings: hyperparameters with nothing left to choose; empty before there are any.
        sampler: of the chains, where settings choose it.
        gradient, state: the gradient estimator last used and its state, such as its chains.
        momentum: buffers of the optimiser by parameter name.
        dtype: precision of training; between calls the model has that of the data. Gradients from
            samples are noisier than the rounding of float32.
        history: of the last call.
        sample: some of the rows trained on, in the units of the fitted model.
        log_z: cached log Z, behind a key that says of what and how.
    """

    rbm: RBM
    units: Units
    random: np.random.RandomState
    data_penalties: list[Penalty] = field(default_factory=list)
    gradient: Gradient | None = None
    state: Any = None
    momentum: dict[str, Tensor] = field(default_factory=dict)
    projections: list[Projection] = field(default_factory=list)
    dtype: torch.dtype = torch.float32
    history: History = field(default_factory=History)
    sample: Sample = field(default_factory=Sample)
    log_z: tuple[object, LogPartition] | None = None
    averaged: RBM | None = None
    settings: Settings = field(default_factory=dict)
    sampler: Sampler | None = None

    @property
    def model(self) -> RBM:
        """The model to use, in the units it is trained in."""
        return self.rbm if self.averaged is None else self.averaged

    def generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        """A new generator on the device, seeded from `random`."""
        return torch.Generator(device).manual_seed(int(self.random.randint(2**31 - 1)))

    @property
    def hidden_chains(self) -> Tensor | None:
        """Hidden states of the persistent chains; None for gradients that have none."""
        chains = getattr(self.state, "inner", self.state)  # Centered wraps another state
        return getattr(chains, "h", None)

    def advance(self, rows: Rows, weights: Tensor | None, plan: Plan, name: str | None) -> None:
        """Train on from the present chains and momentum; print an epoch a line if given a name."""
        dtype = self.rbm.weight.dtype
        rbm = self.rbm.to(plan.device, self.dtype)
        mute_units_warning(rbm)  # standardised, or not because `standardize` says so
        state = self.state if plan.gradient == self.gradient else None
        optimizer = self._optimizer(plan)
        averages = [averaged(rbm, plan, len(rows))] if plan.average else []
        printed = [] if name is None else [PrintedEpoch(name, rows)]
        try:
            self.history = fit(
                rbm,
                rows,
                weights=weights,
                gradient=plan.gradient,
                optimizer=optimizer,
                scheduler=make_schedule(plan.schedule, optimizer, plan.epochs),
                epochs=plan.epochs,
                batch_size=plan.batch_size,
                penalties=[*plan.penalties, *self.data_penalties],
                projections=self.projections,
                callbacks=[*averages, *printed],
                generator=self.generator(plan.device),
                state=to_device(state, plan.device),
            )
        finally:
            rbm.zero_grad(set_to_none=True)
            self.averaged = averages[0].model.to("cpu", dtype) if averages else None
            rbm.to("cpu", dtype)
        self.gradient, self.state = plan.gradient, to_device(self.history.state, "cpu")
        self.momentum = {
            name: optimizer.state[parameter]["momentum_buffer"].cpu()
            for name, parameter in rbm.named_parameters()
            if optimizer.state[parameter].get("momentum_buffer") is not None
        }

    def _optimizer(self, plan: Plan) -> torch.optim.Optimizer:
        white = self.units.whitening is not None
        rate, parameters = plan.learning_rate, list(self.rbm.parameters())
        groups = sigma_groups(self.rbm, rate) if white else parameters
        optimizer = make_optimizer("sgd", groups, rate, plan.momentum)
        for name, parameter in self.rbm.named_parameters():
            if name in self.momentum:
                optimizer.state[parameter]["momentum_buffer"] = self.momentum[name].to(parameter)
        return optimizer


@dataclass
class PrintedEpoch:
    """Callback that prints a line an epoch, as scikit-learn's estimator does."""

    name: str
    rows: Rows
    last: float = 0.0

    def __call__(self, rbm: RBM, record: Record) -> Mapping[str, float]:
        score = pseudo_likelihood(rbm, self.rows[:ROWS])
        took, self.last = record["seconds"] - self.last, record["seconds"]
        print(
            f"[{self.name}] Iteration {record['epoch']:.0f}, pseudo-likelihood = {score:.2f}, "
            f"time = {took:.2f}s"
        )
        return {"pseudo_likelihood": score}


def to_device(state: Any, device: torch.device | str) -> Any:
    """State of a gradient estimator, with its tensors on the device."""
    if isinstance(state, Tensor):
        return state.to(device)
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        return type(state)(*(to_device(part, device) for part in state))
    if isinstance(state, list):
        return [to_device(part, device) for part in state]
    return state
