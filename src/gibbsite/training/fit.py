"""The training loop."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from gibbsite import ops
from gibbsite.checks import check_counts, check_generator
from gibbsite.errors import ArgumentError, DataError, DivergenceError, EntryError
from gibbsite.gradients import PCD, Centered, Gradient
from gibbsite.model import RBM, check_usable, fault, imprecision
from gibbsite.rows import Rows, picked
from gibbsite.training.checkpoint import Checkpoints, Run
from gibbsite.training.history import History, Record
from gibbsite.training.initialize import initialize
from gibbsite.training.sgd import SGD
from gibbsite.training.units import tell_of_units, units_far_from_standard
from gibbsite.training.whole import SMALL, whole

Penalty = Callable[[RBM, dict[str, Tensor]], None]
Callback = Callable[[RBM, Record], Mapping[str, float] | None]

LEARNING_RATE = 0.05
MOMENTUM = 0.5

PRECISION_ROWS = 10
"""Rows whose free energies are looked at after each epoch."""

NON_FINITE = "became non-finite"


def fit(
    rbm: RBM,
    data: Tensor | Rows,
    *,
    gradient: Gradient | None = None,
    optimizer: Optimizer | None = None,
    scheduler: LRScheduler | None = None,
    epochs: int = 10,
    batch_size: int = 100,
    penalties: Sequence[Penalty] = (),
    callbacks: Sequence[Callback] = (),
    generator: torch.Generator | None = None,
    checkpoints: Checkpoints | None = None,
) -> History:
    r"""Train a model in place by stochastic gradient ascent of the mean log-likelihood.

    $$\theta \leftarrow \theta + \eta\,\bigl(-\langle\partial_\theta E\rangle_\text{data}
      + \langle\partial_\theta E\rangle_\text{model}\bigr)$$

    A model whose weights are all zero is initialised from the data first (see `initialize`);
    otherwise training goes on from where it is. Each epoch visits every row once, in an order drawn
    from `generator`. Values strictly between 0 and 1 for Bernoulli units are probabilities of a
    one, drawn anew at each visit. A sigma that n units share, whose gradient is a sum over them,
    steps along the mean, 1/n of it. With the same generator state the result is the same.

    Args:
        data: (rows, n_visible), as a tensor or array, or as `Rows` (bytes, sparse or on disk).
        gradient: estimator; default ``Centered(PCD())``.
        optimizer: any torch optimiser over ``rbm.parameters()``. It receives the gradient of the
            negative log-likelihood or, with ``maximize=True``, of the log-likelihood. Default: SGD
            with momentum 0.5 and learning rate 0.05 that falls linearly, epoch by epoch, towards 0
            at the end.
        scheduler: torch learning-rate schedule of that optimizer, stepped after each epoch.
        epochs: passes over the data.
        batch_size: rows an update; a shorter last batch is used too, with its own mean.
        penalties: called in turn as ``penalty(rbm, gradient)`` to change the gradient (`L2`, `L1`).
            The tensors in it are overwritten by the next update: clone what is to be kept.
        callbacks: called as ``callback(rbm, record)`` after each epoch; the figures that they
            return join the record. They observe; they do not change the model. One that has
            `state_dict()` and `load_state_dict(state)`, of tensors and plain values, goes on with
            the checkpoint.
        checkpoints: folder for the run's state, from which it goes on if there is one.

    Returns:
        History with one record an epoch: epoch, updates so far, learning_rate, gradient_norm (mean
        over updates), weight_norm, seconds, and what callbacks returned. Ctrl-C ends training and
        returns the epochs completed, with ``interrupted`` set; the model stays as it is.

    Raises:
        DataError: data of the wrong width, not finite, or not fit for the visible units.
            Columns of Gaussian units far from mean 0 and standard deviation 1 only bring a warning
            by the logger "gibbsite": see `to_standard_units`.
        DivergenceError: an update became non-finite, or free energies of the data too large for
            the dtype to resolve a nat. The model is put back to the end of the last epoch, and the
            error carries the step and the history.
        OutputError: another run keeps its state in that folder, or nothing can be written there.
        ModelFileError: every checkpoint is damaged, or they are of another model.

    >>> import torch, gibbsite as gb
    >>> data = gb.datasets.load("digits").train
    >>> rbm = gb.RBM(gb.Bernoulli(64), gb.Bernoulli(16))
    >>> history = gb.fit(rbm, data, epochs=2, generator=torch.Generator().manual_seed(0))
    >>> len(history)
    2
    """
    check_counts(epochs=epochs, batch_size=batch_size)
    check_generator(generator)
    check_usable(rbm)
    gradient = Centered(PCD()) if gradient is None else gradient
    _check_kinds(gradient, optimizer, scheduler, checkpoints)
    penalties, callbacks = _functions("penalties", penalties), _functions("callbacks", callbacks)
    rows = _check_rows(rbm, data)
    tell_of_units(rbm, data)
    if optimizer is None:
        if scheduler is not None:
            raise ArgumentError("scheduler without optimizer: pass the optimizer it schedules too")
        optimizer, scheduler = _default_optimizer(rbm, epochs)
    _check_optimizer(rbm, optimizer, scheduler)
    kept = checkpoints.read() if checkpoints is not None else None
    if kept is None and not bool(rbm.weight.any()):
        initialize(rbm, rows.spread() if isinstance(rows, Rows) else rows, generator)
    gradient, penalties = ops.reusing(gradient), list(map(ops.reusing, penalties))
    start = gradient.init(rbm, generator)
    run = Run(rbm, tuple(rows.shape), optimizer, scheduler, generator, start, History(), callbacks)
    if kept is not None:
        run.restore(kept, rows[:PRECISION_ROWS])
    history = run.history
    started = time.perf_counter() - (history.records[-1]["seconds"] if len(history) else 0)
    with nullcontext() if checkpoints is None else checkpoints.held():
        try:
            for epoch in range(len(history) + 1, epochs + 1):
                updates, norm = _epoch(run, rows, gradient, penalties, batch_size)
                record: Record = {
                    "epoch": epoch,
                    "updates": updates,
                    "learning_rate": float(optimizer.param_groups[0]["lr"]),
                    "gradient_norm": norm,
                    "weight_norm": rbm.weight.detach().norm().item(),
                    "seconds": time.perf_counter() - started,
                }
                for callback in callbacks:
                    record |= callback(rbm, record) or {}
                history.records.append(record)
                if scheduler is not None:
                    scheduler.step()
                if checkpoints is not None and (epoch % checkpoints.every == 0 or epoch == epochs):
                    checkpoints.write(epoch, run.carried())
        except KeyboardInterrupt:
            history.interrupted = True
    return history


def _default_optimizer(rbm: RBM, epochs: int) -> tuple[Optimizer, LRScheduler]:
    optimizer = SGD(rbm.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    return optimizer, linear_decay(optimizer, epochs)


def linear_decay(optimizer: Optimizer, epochs: int) -> LRScheduler:
    """Schedule by which the learning rate falls linearly, by epoch, to 1/epochs of its start."""
    return LambdaLR(optimizer, lambda epoch: 1 - min(epoch, epochs - 1) / epochs)


def _check_kinds(
    gradient: object, optimizer: object, scheduler: object, checkpoints: object
) -> None:
    """Raise `ArgumentError` for an argument that is a class, a name or of another wrong kind."""
    estimates = hasattr(gradient, "init") and hasattr(gradient, "step")
    slots = {
        "gradient": (gradient, estimates, "an estimator such as gb.PCD()"),
        "optimizer": (
            optimizer,
            optimizer is None or isinstance(optimizer, Optimizer),
            "one made with the model's parameters, torch.optim.SGD(rbm.parameters(), lr=0.05)",
        ),
        "scheduler": (
            scheduler,
            scheduler is None or hasattr(scheduler, "step"),
            "a torch schedule made with the optimizer",
        ),
        "checkpoints": (
            checkpoints,
            checkpoints is None or isinstance(checkpoints, Checkpoints),
            f"gb.Checkpoints({_folder_meant(checkpoints)!r})",
        ),
    }
    for name, (value, good, expected) in slots.items():
        if isinstance(value, type):
            raise ArgumentError(f"{name} is the class {value.__name__}; pass {expected}")
        if not good:
            raise ArgumentError(f"{name}={value!r}: expected {expected}")


def _folder_meant(checkpoints: object) -> str:
    """The folder that stands in the place of checkpoints, or an example of one."""
    return str(checkpoints) if isinstance(checkpoints, str | Path) else "folder"


def _functions(name: str, given: object) -> list[Any]:
    """The functions in a list of them, else `ArgumentError`."""
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise ArgumentError(f"{name}={given!r}: expected a list of functions")
    functions = list(given)
    for value in functions:
        if not callable(value) or isinstance(value, type):
            raise ArgumentError(f"{value!r} among {name}: expected a function")
    return functions


def _check_optimizer(rbm: RBM, optimizer: Optimizer, scheduler: LRScheduler | None) -> None:
    """Refuse an optimiser or schedule that would train nothing or fail in mid-training."""
    groups = optimizer.param_groups
    ours = {id(parameter) for parameter in rbm.parameters()}
    if not ours & {id(parameter) for group in groups for parameter in group["params"]}:
        raise ArgumentError("optimizer holds none of the model's parameters; give it those")
    largest = torch.finfo(rbm.weight.dtype).max
    for rate in (float(group.get("lr", 0.0)) for group in groups):
        if not abs(rate) <= largest:
            raise ArgumentError(f"a learning rate of {rate:g} is no {rbm.weight.dtype}; lower it")
    for part, method in ((optimizer, "closure"), (scheduler, "metrics")):
        needed = inspect.signature(part.step).parameters.get(method) if part else None
        if needed is not None and needed.default is inspect.Parameter.empty:
            raise ArgumentError(
                f"{type(part).__name__} needs a {method} at every step, which fit does not give it"
            )


def _check_rows(rbm: RBM, data: Tensor | Rows) -> Tensor | Rows:
    """Return the data, every row checked to fit the visible units; else raise `DataError`."""
    if not isinstance(data, Rows):
        return rbm.visible.check_data(data).detach()
    try:
        for block in data.bounds():
            rbm.visible.check_data(block)
    except DataError:
        start = 0
        for block in data.blocks():  # which says where
            try:
                rbm.visible.check_data(block)
            except EntryError as error:
                raise error.moved(start) from error
            start += len(block)
        raise
    return data


def _epoch(
    run: Run,
    rows: Tensor | Rows,
    gradient: Gradient,
    penalties: Sequence[Penalty],
    batch_size: int,
) -> tuple[int, float]:
    """One pass over the rows: the number of updates so far, and the mean norm of this pass.

    Raises `DivergenceError` if the model comes to be of no use.
    """
    good = {name: value.detach().clone() for name, value in run.rbm.named_parameters()}
    step = int(run.history.records[-1]["updates"]) if len(run.history) else 0
    norms = []
    work = run.rbm.weight.numel() * max(batch_size, run.chains())
    try:
        with ops.fitting_threads(work):
            for norm in _updates(run, rows, gradient, penalties, batch_size, work):
                step += 1
                norms.append(norm)
                if not norm < float("inf"):
                    _diverged(run, rows, good, step, NON_FINITE)
    except KeyboardInterrupt:
        if fault(run.rbm):
            _diverged(run, rows, good, step, NON_FINITE)
        raise
    _check_progress(run, rows, good, step)
    return step, sum(norms) / len(norms)


def _updates(
    run: Run,
    rows: Tensor | Rows,
    gradient: Gradient,
    penalties: Sequence[Penalty],
    batch_size: int,
    work: int,
) -> Iterator[float]:
    """Run the updates of an epoch, rows in random order; yields the norm of each gradient."""
    rbm, generator, optimizer = run.rbm, run.generator, run.optimizer
    source = rbm.weight.device if generator is None else generator.device
    order = torch.randperm(len(rows), generator=generator, device=source)
    order = order.to(rows.device if isinstance(rows, Tensor) else "cpu")
    if isinstance(rows, Rows):
        rows, order = rows.listed(order)
    parameters, workspace = dict(rbm.named_parameters()), ops.workspace_of(gradient)
    together = whole(rbm, gradient, optimizer, penalties) if work < SMALL else None
    while len(order):
        if together is not None and together.takes(run.state):
            chosen, order = order.tensor_split([together.rows(batch_size)])
            data = rbm.visible.coerce(picked(rows, chosen, None))
            norms, run.state = together(data, batch_size, run.state, generator)
            yield from norms
        else:
            chosen, order = order.tensor_split([batch_size])
            room = workspace.table("batch", rbm.weight, len(chosen), rbm.visible.n)
            batch = rbm.visible.take(rows, chosen, generator, room)
            ascent, run.state = gradient.step(rbm, batch, run.state, generator)
            for penalty in penalties:
                penalty(rbm, ascent)
            _precondition(rbm, ascent)
            norm = _apply(parameters, optimizer, ascent)
            del ascent, batch  # not to be held, if not in a workspace, while the next are made
            yield norm


def _precondition(rbm: RBM, ascent: Mapping[str, Tensor]) -> None:
    """Let each layer scale the gradient of its own parameters, in place."""
    for side, layer in (("visible.", rbm.visible), ("hidden.", rbm.hidden)):
        names = [name for name in ascent if name.startswith(side)]
        layer.precondition_({name.removeprefix(side): ascent[name] for name in names})


def _apply(
    parameters: Mapping[str, Parameter], optimizer: Optimizer, ascent: Mapping[str, Tensor]
) -> float:
    """One optimiser step uphill, unless the gradient is not finite; returns its norm.

    The gradient's tensors become those of the parameters, negated for an optimiser that descends.
    """
    norm = math.sqrt(ops.square_sum(ascent.values()))
    if norm < float("inf"):
        uphill = [group["params"] for group in optimizer.param_groups if group.get("maximize")]
        rising = {id(parameter) for group in uphill for parameter in group}
        for name, parameter in parameters.items():
            rises = id(parameter) in rising
            parameter.grad = ascent[name] if rises else ascent[name].neg_()
        optimizer.step()
    for parameter in parameters.values():
        parameter.grad = None
    return norm


@torch.no_grad()
def _check_progress(run: Run, rows: Tensor | Rows, good: Mapping[str, Tensor], step: int) -> None:
    """Raise `DivergenceError` if the model after an epoch cannot be used.

    Either a parameter is not finite, or free energies of the data are too large (`imprecision`).
    """
    if found := fault(run.rbm):
        _diverged(run, rows, good, step, f"{NON_FINITE} ({found})")
    if found := imprecision(run.rbm, rows[:PRECISION_ROWS]):
        _diverged(run, rows, good, step, f"reached {found},")


def _diverged(
    run: Run, rows: Tensor | Rows, good: Mapping[str, Tensor], step: int, what: str
) -> NoReturn:
    """Put the last good parameters back and raise `DivergenceError`."""
    with torch.no_grad():
        for name, parameter in run.rbm.named_parameters():
            parameter.copy_(good[name])
    rate = run.optimizer.param_groups[0]["lr"]
    units = units_far_from_standard(run.rbm, rows)
    first = f"Standardise the data ({units}) or lower" if units else "Lower"
    raise DivergenceError(
        f"training {what} at update {step}; the model is as it was after "
        f"{len(run.history)} epochs. {first} the learning rate (now {rate:g})",
        step,
        run.history,
    )
