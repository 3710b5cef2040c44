"""From hyperparameters to `gibbsite.fit`, and what is kept between calls of `partial_fit`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gibbsite.estimators.scores import NONE, Sample
from gibbsite.estimators.tables import Units
from gibbsite.gradients import Gradient
from gibbsite.likelihood import LogPartition, pseudo_likelihood
from gibbsite.model import RBM
from gibbsite.rows import Rows
from gibbsite.training import History, fit
from gibbsite.training.fit import linear_decay
from gibbsite.training.history import Record
from gibbsite.training.monitor import ROWS
from gibbsite.training.named import make_optimizer
from gibbsite.training.run import Callback, Penalty
from gibbsite.training.units import mute_units_warning


class Plan(NamedTuple):
    """Objects and numbers that the hyperparameters of an estimator come to."""

    gradient: Gradient
    penalties: list[Penalty]
    learning_rate: float
    momentum: float
    batch_size: int
    device: torch.device


@dataclass
class Training:
    """A model in training with all that goes from one call to the next; on the CPU between calls.

    Attributes:
        rbm: the model, in the units it is trained in.
        units: those units.
        random: where the seeds of the torch generators come from; numpy's, as those do not pickle.
        held: penalties that belong to the data, not to the hyperparameters.
        gradient, state: the estimator last used and what it carries, persistent chains above all.
        momentum: the optimiser's buffers by parameter name.
        dtype: what training is in; the model has that of the data between calls. Gradients from
            samples are noisier than the rounding of float32.
        history: of the last call.
        sample: some of the rows trained on, in the units of the data's model.
        log_z: what was last found for log Z, and the question to which it is the answer.
    """

    rbm: RBM
    units: Units
    random: np.random.RandomState
    held: list[Penalty] = field(default_factory=list)
    gradient: Gradient | None = None
    state: Any = None
    momentum: dict[str, Tensor] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    history: History = field(default_factory=History)
    sample: Sample = NONE
    log_z: tuple[object, LogPartition] | None = None

    def generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        """A fresh generator on the device, seeded from `random`."""
        return torch.Generator(device).manual_seed(int(self.random.randint(2**31 - 1)))

    @property
    def hidden_chains(self) -> Tensor | None:
        """Hidden states of the persistent chains; None for gradients that have none."""
        chains = getattr(self.state, "inner", self.state)  # Centered wraps another state
        return getattr(chains, "h", None)

    def advance(
        self,
        rows: Rows,
        plan: Plan,
        epochs: int,
        falling: bool,
        report: Callback | None = None,
        weights: Tensor | None = None,
    ) -> None:
        """Train for so many epochs more, going on from the chains and the momentum there are."""
        dtype = self.rbm.weight.dtype
        rbm = self.rbm.to(plan.device, self.dtype)
        mute_units_warning(rbm)  # standardised, or not because `standardize` says so
        carried = self.state if plan.gradient == self.gradient else None
        optimizer = self._optimizer(plan)
        try:
            self.history = fit(
                rbm,
                rows,
                gradient=plan.gradient,
                optimizer=optimizer,
                scheduler=linear_decay(optimizer, epochs) if falling else None,
                epochs=epochs,
                batch_size=plan.batch_size,
                penalties=[*plan.penalties, *self.held],
                callbacks=[] if report is None else [report],
                generator=self.generator(plan.device),
                state=moved(carried, plan.device),
            )
        finally:
            rbm.zero_grad(set_to_none=True)
            rbm.to("cpu", dtype)
        self.gradient, self.state = plan.gradient, moved(self.history.state, "cpu")
        self.momentum = {
            name: optimizer.state[parameter]["momentum_buffer"].cpu()
            for name, parameter in rbm.named_parameters()
            if optimizer.state[parameter].get("momentum_buffer") is not None
        }

    def _optimizer(self, plan: Plan) -> torch.optim.Optimizer:
        optimizer = make_optimizer("sgd", self.rbm, plan.learning_rate, plan.momentum)
        for name, parameter in self.rbm.named_parameters():
            if name in self.momentum:
                optimizer.state[parameter]["momentum_buffer"] = self.momentum[name].to(parameter)
        return optimizer


@dataclass
class Report:
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


def moved(state: Any, device: torch.device | str) -> Any:
    """State of a gradient estimator, with its tensors on the device."""
    if isinstance(state, Tensor):
        return state.to(device)
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        return type(state)(*(moved(part, device) for part in state))
    return state
