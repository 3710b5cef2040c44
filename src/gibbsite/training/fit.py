"""The training loop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gibbsite import ops
from gibbsite.checks import check_counts, check_generator
from gibbsite.errors import ArgumentError, DivergenceError, RateError
from gibbsite.gradients import Batch, Gradient, Info, marginalised
from gibbsite.gradients.base import layer_gradients
from gibbsite.layers import fast
from gibbsite.model import RBM, check_usable, fault, imprecision
from gibbsite.rows import Rows
from gibbsite.training.arguments import check_kinds, check_optimizer, check_rows, functions
from gibbsite.training.checkpoint import Checkpoints
from gibbsite.training.fused import SMALL
from gibbsite.training.fused_holes import fused_updates
from gibbsite.training.history import History, Record
from gibbsite.training.holes import Holes
from gibbsite.training.initialize import row_weights, start
from gibbsite.training.penalties import L2
from gibbsite.training.recipe import recipe_for
from gibbsite.training.restarts import with_restarts
from gibbsite.training.run import PRECISION_ROWS, Callback, Penalty, Projection, Run
from gibbsite.training.schedules import polynomial_decay
from gibbsite.training.sgd import SGD
from gibbsite.training.traits import Traits
from gibbsite.training.units import units_far_from_standard, warn_of_units

NON_FINITE = "became non-finite"


class Update(NamedTuple):
    """Report of one update to callbacks.

    Attributes:
        number: of updates so far, this one included, over all epochs.
        gradient_norm: norm of the gradient, penalties included.
        info: `Info` of the gradient estimator; None for fused updates.
        state: of the gradient estimator, after the update; of fused ones after the last of many.
    """

    number: int
    gradient_norm: float
    info: Info | None
    state: Any


def fit(
    rbm: RBM,
    data: Tensor | Rows,
    *,
    weights: Tensor | None = None,
    gradient: Gradient | None = None,
    optimizer: Optimizer | None = None,
    scheduler: LRScheduler | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    penalties: Sequence[Penalty] | None = None,
    projections: Sequence[Projection] = (),
    callbacks: Sequence[Callback] = (),
    generator: torch.Generator | None = None,
    checkpoints: Checkpoints | None = None,
    state: Any = None,
) -> History:
    r"""Train a model in place by stochastic gradient ascent of the mean log-likelihood.

    $$\theta \leftarrow \theta + \eta\,\bigl(-\langle\partial_\theta E\rangle_\text{data}
      + \langle\partial_\theta E\rangle_\text{model}\bigr)$$

    What is not given is chosen from the data, for about 36 s of training at most: see `recipe_for`.
    A model whose weights are all zero is initialised from the data first (see `initialize`);
    otherwise training goes on from where it is. Each epoch visits every row once, in an order drawn
    from `generator`. Values strictly between 0 and 1 for Bernoulli units are probabilities of a
    one, drawn anew at each visit. A sigma that n units share, whose gradient is a sum over them,
    steps along the mean, 1/n of it. With the same generator state the result is the same.

    Args:
        data: (rows, visible.width), a tensor or array, or `Rows` (bytes, sparse or on disk). NaN is
            a missing entry, in all columns of a unit, and is averaged over (`Marginalised`): what
            is maximised is the mean of log p(v_observed).
        weights: one a row, (rows,), finite and not negative; what is maximised is then the weighted
            mean. Only their ratios count. None for equal ones.
        gradient: estimator; by default centred `PCD`, by replica exchange where columns nearly
            determine one another.
        optimizer: any torch optimiser over ``rbm.parameters()``. It receives the gradient of the
            negative log-likelihood or, with ``maximize=True``, of the log-likelihood. Default: SGD
            at the recipe's learning rate, which falls quadratically, epoch by epoch, towards 0 at
            the end. A run that diverges then starts again at a quarter of the rate, up to four
            times; the logger "gibbsite" says so.
        scheduler: torch learning-rate schedule of that optimizer, stepped after each epoch, such as
            `polynomial_decay`.
        epochs: passes over the data.
        batch_size: rows an update; a shorter last batch is used too, with its own mean.
        penalties: called in turn as ``penalty(rbm, gradient)`` to change the gradient (`L2`, `L1`).
            Default: the recipe's weight decay if it chooses gradient and optimizer too, else none.
        projections: called in turn as ``projection(rbm)`` after each update, without autograd, to
            move the parameters, in place, back to where they may be.
        callbacks: called as ``callback(rbm, record)`` after each epoch; the figures that they
            return join the record. One with a method ``after_update(rbm, update)`` is called after
            updates too (`Update`): after each if its attribute ``every_update`` is true, else
            after many at once where updates are fused. Callbacks observe; they do not change the
            model. One with `state_dict()` and `load_state_dict(state)`, of tensors and plain
            values, is part of the checkpoint. One whose attribute ``finished`` becomes true ends
            training after that epoch.
        checkpoints: folder for the run's state, from which it goes on if there is one.
        state: of the gradient estimator, ``history.state`` of an earlier call, whose chains go on.

    Returns:
        History with one record an epoch: epoch, updates so far, learning_rate, gradient_norm (mean
        over updates), weight_norm, seconds, and what callbacks returned; ``state`` is the gradient
        estimator's. Ctrl-C ends training and returns the epochs completed, with ``interrupted``
        set; the model stays as it is.

    Raises:
        DataError: data of the wrong width, infinite, or not fit for the visible units.
            Columns of Gaussian units far from mean 0 and standard deviation 1 only bring a warning
            by the logger "gibbsite": see `to_standard_units`.
        DivergenceError: an update became non-finite, a log-partition nan, or free energies of the
            data too large for the dtype to resolve a nat. The model is put back to the end of the
            last epoch, and the error carries the step and the history.
        OutputError: another run keeps its state in that folder, or nothing can be written there.
        ModelFileError: every checkpoint is damaged, or they are of another model.

    >>> import torch, gibbsite as gb
    >>> data = gb.datasets.load("digits").train
    >>> rbm = gb.RBM(gb.Bernoulli(64), gb.Bernoulli(16))
    >>> history = gb.fit(rbm, data, epochs=2, generator=torch.Generator().manual_seed(0))
    >>> len(history)
    2
    """
    given = {"epochs": epochs, "batch_size": batch_size}
    check_counts(**{name: count for name, count in given.items() if count is not None})
    check_generator(generator)
    check_usable(rbm)
    check_kinds(gradient, optimizer, scheduler, checkpoints)
    callbacks = functions("callbacks", callbacks)
    penalties = None if penalties is None else functions("penalties", penalties)
    projections = functions("projections", projections)
    rows, missing = check_rows(rbm, data)
    holes = Holes.of(rbm.visible, rows) if missing else None
    complete = rows if holes is None else holes.filled
    weights = None if weights is None else row_weights(weights, len(rows), rbm.weight)
    warn_of_units(rbm, data if holes is None else complete)
    if optimizer is None and scheduler is not None:
        raise ArgumentError("scheduler without optimizer: pass the optimizer it schedules too")
    stored = None if checkpoints is None else checkpoints.read()
    if stored is None and not bool(rbm.weight.any()):
        start(rbm, rows, weights, generator)
    rate = None
    if gradient is None or optimizer is None or epochs is None or batch_size is None:
        traits = Traits.of(rbm.visible, complete, rbm.hidden)._replace(rows=len(rows))
        recipe = recipe_for(traits, {"hidden": rbm.hidden.n, **given})
        epochs, batch_size = recipe.epochs, recipe.batch_size
        if gradient is None and optimizer is None and penalties is None:
            penalties = [L2(recipe.l2)]
        gradient = recipe.gradient(rbm, complete)[0] if gradient is None else gradient
        if optimizer is None:
            rate = recipe.learning_rate
            optimizer, scheduler = sgd_with_decay(rbm, rate, epochs)
    check_optimizer(rbm, optimizer, scheduler)
    gradient, state = marginalised(gradient, rbm, rows if missing else None, state, generator)
    run = Run(rbm, rows, weights, batch_size, gradient, optimizer, scheduler, penalties or [],
              projections, callbacks, generator, state, holes=holes)  # fmt: skip
    if stored is not None:
        run.restore(stored)
    rbm.certificate = None  # of the parameters that now change
    with nullcontext() if checkpoints is None else checkpoints.held():
        if rate is None:
            return _trained(run, epochs, checkpoints)
        return _trained_at_some_rate(run, epochs, checkpoints, rate)


def sgd_with_decay(rbm: RBM, rate: float, epochs: int) -> tuple[Optimizer, LRScheduler]:
    """The optimiser and the schedule of the default: SGD at a rate that falls quadratically."""
    optimizer = SGD(rbm.parameters(), lr=rate)
    return optimizer, polynomial_decay(optimizer, epochs, 2)


def _trained(run: Run, epochs: int, checkpoints: Checkpoints | None) -> History:
    """Train to the end, or until Ctrl-C; the history."""
    try:
        _epochs(run, epochs, checkpoints)
    except KeyboardInterrupt:
        run.history.interrupted = True
    run.history.state = run.state
    return run.history


def _trained_at_some_rate(
    run: Run, epochs: int, checkpoints: Checkpoints | None, rate: float
) -> History:
    """`_trained`, from the start again at a quarter of the rate for as long as it diverges."""
    parameters = [x.detach().clone() for x in run.rbm.parameters()]
    state, watching = copy.deepcopy(run.state), copy.deepcopy(run.callback_states())

    @torch.no_grad()
    def from_start(lower: float) -> Run:
        optimizer, scheduler = sgd_with_decay(run.rbm, lower, epochs)
        run.restore_callbacks(copy.deepcopy(watching))
        for parameter, value in zip(run.rbm.parameters(), parameters, strict=True):
            parameter.copy_(value)
        return replace(run, optimizer=optimizer, scheduler=scheduler, history=History(),
                       state=copy.deepcopy(state))  # fmt: skip

    def train(now: float) -> History:
        return _trained(run if now == rate else from_start(now), epochs, checkpoints)

    return with_restarts(train, rate)


def _epochs(run: Run, epochs: int, checkpoints: Checkpoints | None) -> None:
    """Train for the epochs that are left, with a record and perhaps a checkpoint after each."""
    rbm, history = run.rbm, run.history
    started = time.perf_counter() - (history.records[-1]["seconds"] if len(history) else 0)
    for epoch in range(len(history) + 1, epochs + 1):
        if _finished(run):  # before the stop that this run goes on after
            break
        updates, norm = _epoch(run)
        record: Record = {
            "epoch": epoch,
            "updates": updates,
            "learning_rate": float(run.optimizer.param_groups[0]["lr"]),
            "gradient_norm": norm,
            "weight_norm": rbm.weight.detach().norm().item(),
            "seconds": time.perf_counter() - started,
        }
        for callback in run.callbacks:
            record |= callback(rbm, record) or {}
        history.records.append(record)
        if run.scheduler is not None:
            run.scheduler.step()
        last = epoch == epochs or _finished(run)
        if checkpoints is not None and (epoch % checkpoints.every == 0 or last):
            checkpoints.write(epoch, run.carried())


def _finished(run: Run) -> bool:
    """True if a callback ends the run."""
    return any(getattr(callback, "finished", False) for callback in run.callbacks)


def _epoch(run: Run) -> tuple[int, float]:
    """Run one pass over the rows: number of updates so far, mean gradient norm of this pass.

    Raises `DivergenceError` if the model cannot be used any more.
    """
    before = {name: value.detach().clone() for name, value in run.rbm.named_parameters()}
    updates, norms = run.updates(), []
    watching = [c for c in run.callbacks if hasattr(c, "after_update")]
    try:
        with ops.fitting_threads(run.work()):
            for norm, info in _updates(run):
                updates += 1
                norms.append(norm)
                if not norm < math.inf:
                    _diverged(run, before, updates, NON_FINITE)
                for callback in watching:
                    callback.after_update(run.rbm, Update(updates, norm, info, run.state))
    except RateError as error:
        _diverged(run, before, updates + 1, f"stopped ({error})")
    except KeyboardInterrupt:
        if fault(run.rbm):
            _diverged(run, before, updates, NON_FINITE)
        raise
    if problem := fault(run.rbm):
        _diverged(run, before, updates, f"{NON_FINITE} ({problem})")
    if problem := imprecision(run.rbm, run.complete_rows[:PRECISION_ROWS]):
        _diverged(run, before, updates, f"reached {problem},")
    return updates, sum(norms) / len(norms)


def _updates(run: Run) -> Iterator[tuple[float, Info | None]]:
    """Run the updates of an epoch, in random order; yield the norm and info of each gradient."""
    rbm, rows, generator = run.rbm, run.rows, run.generator
    device = rbm.weight.device if generator is None else generator.device
    order = torch.randperm(len(rows), generator=generator, device=device).to(rows.device)
    fused = fused_updates(run) if run.work() < SMALL else None
    while len(order):
        if fused is not None and fused.can_run(run.state):
            index, order = order.tensor_split([fused.rows_per_call(run.batch_size)])
            norms, run.state = fused.visit(rows, index, run.batch_size, run.state, generator)
            yield from ((norm, None) for norm in norms)
        else:
            index, order = order.tensor_split([run.batch_size])
            yield _update(run, index)


def _update(run: Run, index: Tensor) -> tuple[float, Info]:
    """Make one update by the rows of that index; returns the norm and info of the gradient."""
    rbm, observed = run.rbm, None
    with torch.no_grad():  # but not around what users bring, who may want autograd
        if run.holes is None:
            v = fast(rbm.visible).minibatch(run.rows, index, run.generator)
        else:
            v, observed = run.holes.minibatch(rbm.visible, run.rows, index, run.generator)
    weights = None if run.weights is None else run.weights[index.to(run.weights.device)]
    batch = Batch(v, weights, observed, index)
    gradient, run.state, info = run.gradient.step(rbm, batch, run.state, run.generator)
    for penalty in run.penalties:
        penalty(rbm, gradient)
    for layer, own in layer_gradients(rbm, gradient):
        layer.precondition_(own)
    norm = _step(rbm, run.optimizer, gradient)
    with torch.no_grad():
        for projection in run.projections:
            projection(rbm)
    return norm, info


@torch.no_grad()
def _step(rbm: RBM, optimizer: Optimizer, gradient: Mapping[str, Tensor]) -> float:
    """Make an optimiser step uphill, unless the gradient is not finite; returns its norm.

    The gradient's tensors become those of the parameters, negated for an optimiser that descends.
    """
    parameters = dict(rbm.named_parameters())
    norm = math.sqrt(ops.kernels_for(rbm.weight).square_sum(gradient.values()))
    if norm < math.inf:
        ascending = [group["params"] for group in optimizer.param_groups if group.get("maximize")]
        ascending_ids = {id(parameter) for group in ascending for parameter in group}
        for name, parameter in parameters.items():
            ascends = id(parameter) in ascending_ids
            parameter.grad = gradient[name] if ascends else gradient[name].neg_()
        optimizer.step()
    for parameter in parameters.values():
        parameter.grad = None
    return norm


def _diverged(run: Run, before: Mapping[str, Tensor], step: int, what: str) -> NoReturn:
    """Put the parameters of the last epoch back and raise `DivergenceError`."""
    with torch.no_grad():
        for name, parameter in run.rbm.named_parameters():
            parameter.copy_(before[name])
    rate = run.optimizer.param_groups[0]["lr"]
    units = units_far_from_standard(run.rbm, run.complete_rows)
    first = f"Standardise the data ({units}) or lower" if units else "Lower"
    raise DivergenceError(
        f"training {what} at update {step}; the model is as it was after "
        f"{len(run.history)} epochs. {first} the learning rate (now {rate:g})",
        step,
        run.history,
    )
