"""The objects of a training run, made from its settings, and the run itself."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import gibbsite as gb
from gibbsite import datasets, exact, plots
from gibbsite.checks import check_memory
from gibbsite.cli.console import escape, print_error
from gibbsite.cli.data import MONITOR_ROWS, TRAJECTORY, absolute
from gibbsite.cli.figures import closing_figures
from gibbsite.cli.options import generator_of, parse_image
from gibbsite.cli.prepared import Prepared, make_hidden
from gibbsite.cli.progress import AsSaved, EpochBar, Every, busy
from gibbsite.cli.settings import Settings
from gibbsite.cli.start import sized_as
from gibbsite.cli.training_units import TrainingUnits
from gibbsite.errors import DivergenceError
from gibbsite.layers import Layer
from gibbsite.likelihood.monitors import as_states
from gibbsite.rows import Rows
from gibbsite.sampling import Sampler, trajectory_models
from gibbsite.training import (
    Held,
    HeldOut,
    History,
    Monitor,
    Scaling,
    SigmaFloor,
    by_layer_column,
    sigma_floor,
    sigma_groups,
    start_whitened,
)
from gibbsite.training.history import append
from gibbsite.training.monitor import CHEAP_STATES
from gibbsite.training.named import (
    GradientName,
    SamplerName,
    make_device,
    make_gradient,
    make_optimizer,
    make_sampler,
    make_schedule,
)
from gibbsite.training.recipe import SMALL_MODEL, base_rows
from gibbsite.training.run import Callback, Penalty, Projection
from gibbsite.training.trial import averaged, measured_epochs

FANTASY_STEPS = 1000
"""Steps of the chains that samples.png shows."""

MONITORED, MONITORED_LARGE, CHEAP_ROWS = 100, 6, 2_000
"""Times that the cheap figures are taken in a run, of small models and of large; rows for them."""

MEASURED_EVERY = 5
"""Epochs between estimates of log Z, which cost about as much as an epoch each."""


class Job:
    """The objects of a run, made from its settings: same settings, same objects."""

    def __init__(self, settings: Settings, data: Prepared | None = None) -> None:
        self.data = Prepared.of(settings) if data is None else data
        self.given = replace(settings, data=absolute(settings.data))
        self.pace = 1.0
        """Time of an update over what the recipe counts on."""
        self.tried: Mapping[str, Any] = {}
        """Figures of the trial that chose the settings."""
        device = make_device(settings.device)
        complete = sized_as(self.data.start, settings).completed(
            self.data.traits, population=self.data.population
        )
        self.settings = replace(complete, data=self.given.data, device=device.type)
        self.source = self.data.source.hold_out(complete.validation, generator_of(settings.seed))
        self._make_model(device)
        self._make_training()
        generator = generator_of(settings.seed)
        generator.set_state(self.data.generator)
        self.sets = _monitored(self.rbm, self.source, generator)
        self.held_out = self._steering()
        self.generator = generator if device.type == "cpu" else self._new_generator()

    def _make_model(self, device: torch.device) -> None:
        """Make the model, in the units of training, and its rows."""
        settings, source, start = self.settings, self.source, self.data.start
        width, visible = source.rows.shape[1], copy.deepcopy(self.data.visible)
        self.shape = parse_image(settings.image, width) or source.image_shape
        size = f"a model of {width} x {settings.hidden} units"
        check_memory(size, visible.width, settings.hidden)
        self.units = TrainingUnits.of(visible, source.rows, self.data.traits.whitened)
        self.rows, scaling = self.units.rows(source.rows), self.units.scaling
        self.note = "" if scaling is None else scaling.warning(source.columns)
        if start is None:
            self.rbm = gb.RBM(visible, self.make_hidden(settings.hidden)).to(device)
        else:
            self.rbm = self.units.convert(copy.deepcopy(start)).float().to(device)
        if settings.gradient == "exact":
            exact.check_enumerable(self.rbm)
        if self.data.traits.whitened and self.data.traits.bounded and start is None:
            constant = None if scaling is None else scaling.constant
            start_whitened(self.rbm, self._new_generator(), constant)

    def _make_training(self) -> None:
        """Make the gradient, the optimiser and what else an update takes."""
        settings, rbm, whitened = self.settings, self.rbm, self.data.traits.whitened
        rate = settings.learning_rate
        parameters = sigma_groups(rbm, rate) if whitened else list(rbm.parameters())
        self.optimizer = make_optimizer(settings.optimizer, parameters, rate, settings.momentum)
        self.scheduler = make_schedule(settings.schedule, self.optimizer, settings.epochs)
        decays = [p for p in (gb.L2(settings.l2), gb.L1(settings.l1)) if p.strength > 0]
        self.data_penalties = _hold_constant(rbm.visible, self.units.scaling)
        self.penalties: list[Penalty] = [*decays, *self.data_penalties]
        self.projections: list[Projection] = (
            [SigmaFloor(sigma_floor(self.rows))] if whitened else []
        )
        tempered = settings.sampler == SamplerName.tempering
        base = base_rows(rbm, Rows.of(self.rows)) if tempered else None
        self.sampler = make_sampler(settings.sampler, base)
        self.gradient = make_gradient(
            settings.gradient, settings.chains, settings.steps, settings.centered, self.sampler
        )
        self.averages = [averaged(rbm, settings, len(self.rows))] if settings.average else []

    def again(self, **changes: Any) -> Job:
        """A new job on the same data, with other settings of training."""
        return Job(replace(self.given, **changes), self.data)

    def run(self, folder: Path) -> tuple[History, dict[str, Any]]:
        """Train, or go on training, and fill the folder; the history and the closing figures."""
        settings, rbm = self.settings, self.rbm
        observers = self._observers()
        try:
            with EpochBar(settings.epochs, -(-len(self.rows) // settings.batch_size)) as progress:
                history = gb.fit(
                    rbm,
                    self.rows,
                    gradient=self.gradient,
                    optimizer=self.optimizer,
                    scheduler=self.scheduler,
                    epochs=settings.epochs,
                    batch_size=settings.batch_size,
                    penalties=self.penalties,
                    projections=self.projections,
                    callbacks=[
                        *self.averages,
                        *observers,
                        lambda rbm, record: append(folder / "history.jsonl", record),
                        progress,
                    ],
                    generator=self.generator,
                    checkpoints=self.checkpoints(folder),
                )
        except DivergenceError:
            gb.save(self.units.restore(rbm), folder / "model.safetensors")
            raise
        best = self._current() if self.held_out is None else self.held_out.model
        trained = self.units.restore(best)
        gb.save(trained, folder / "model.safetensors")
        models = [self.units.restore(model) for model in trajectory_models(rbm, history.state)]
        if models:
            gb.save_models(models, folder / TRAJECTORY)
        sampler = self._sampler(models)
        if history.interrupted:
            print_error(
                f"interrupted after {len(history)} of {settings.epochs} epochs; the model so far "
                f"is saved; `gibbsite resume {escape(str(folder))}` goes on; figures and pictures "
                "follow, unless interrupted again"
            )
        figures = closing_figures(
            trained, history, self.sets, settings.estimate(), self._new_generator(), sampler
        )
        figures |= self._course()
        with busy("drawing samples and pictures"):
            self._write_pictures(trained, history, folder, sampler)
        return history, figures

    def _steering(self) -> HeldOut | None:
        """The callback that steers by the rows held out; None if there are none."""
        if self.settings.validation == 0 or self.source.valid is None:
            return None
        return HeldOut(
            self.rbm,
            self.valid_states(),
            train=self._train_states(),
            at=measured_epochs(self.settings.epochs, self.settings.schedule),
            model=self._current,
            log_volume=self.units.log_volume,
            sampler=self._ladder(),
            generator=self._new_generator(),
        )

    def _course(self) -> Mapping[str, Any]:
        """Figures of the rows held out, or of those of the trial."""
        watch = self.held_out
        if watch is None or not watch.tried:
            return self.tried
        training = {"training": watch.verdict()}
        if not watch.is_measured:
            return training
        return {"validation_log_likelihood": watch.scores[watch.best_index], **training}

    def valid_states(self) -> Tensor:
        """The rows that steer training, as states in the units of training."""
        assert self.source.valid is not None, "only of a job that holds rows out"
        return self._as_trained(self.source.valid)

    def _train_states(self) -> Tensor:
        """As many of the rows trained on, as states in the units of training."""
        assert self.source.valid is not None, "only of a job that holds rows out"
        return self._as_trained(self.source.rows[: len(self.source.valid)])

    def _as_trained(self, rows: Tensor | Rows) -> Tensor:
        """Rows of the data as states in the units of training."""
        rows = Rows.of(self.units.rows(rows)).dense()
        generator = generator_of(self.settings.seed)
        return self.rbm.visible.observe(self.rbm.visible.check_data(rows).cpu(), generator)

    def make_hidden(self, n: int) -> Layer:
        """A hidden layer of so many units."""
        return make_hidden(self.settings, n)

    def _observers(self) -> list[Callback]:
        """Callbacks that measure the model in training."""
        monitor = AsSaved(Monitor(*(v[:CHEAP_ROWS] for v in self.sets.values())), self.saved)
        times = MONITORED if self.rbm.weight.numel() <= SMALL_MODEL else MONITORED_LARGE
        observers: list[Callback] = [Every(max(1, self.settings.epochs // times), monitor)]
        if self.held_out is not None:
            return [*observers, self.held_out]
        if not exact.is_enumerable(self.rbm, CHEAP_STATES):
            observers.append(self._likelihood())
        return observers

    def _likelihood(self) -> Callback:
        """The log-likelihood during training: by the ladders of training, if they are the model's.

        They are those of neither an average nor a model that is saved in other units.
        """
        watched, generator = list(self.sets.values())[-1], self._new_generator()
        every = max(MEASURED_EVERY, self.settings.epochs // 4)
        ladder = self._ladder()
        if ladder is not None and not self.averages:
            return gb.ExchangeLikelihood(watched, ladder, generator=generator, every=every)
        return Every(every, AsSaved(gb.TrajectoryAIS(watched, generator=generator), self.saved))

    def _ladder(self) -> Any:
        """The sampler of training if its ladders are of the model as it is saved, else None."""
        ladder = self.settings.gradient == GradientName.pcd and hasattr(self.sampler, "ladder")
        return self.sampler if ladder and not self.rbm.visible.has_units else None

    def saved(self, rbm: gb.RBM) -> gb.RBM:
        """The model to save: the average, if asked for, in the units of the data."""
        return self.units.restore(self._current())

    def _current(self) -> gb.RBM:
        """The model so far, in the units of training: the average, if asked for."""
        return self.averages[0].model if self.averages else self.rbm

    def checkpoints(self, folder: Path) -> gb.Checkpoints | None:
        """Checkpoints of the run in its folder; None if it makes none."""
        every = self.settings.checkpoint_every
        return gb.Checkpoints(folder / "checkpoints", every) if every else None

    def _new_generator(self) -> torch.Generator:
        """A generator of the seed of its own, so that its draws leave the rest of the run alone."""
        return generator_of(self.settings.seed, self.rbm.weight.device)

    def _sampler(self, models: list[gb.RBM]) -> Sampler | None:
        """The sampler for the trained model, as it was trained with; None for Gibbs."""
        if self.settings.sampler == SamplerName.tempering:
            return gb.Tempering(data=next(iter(self.sets.values())))
        return gb.Trajectory(models) if models else None

    def _write_pictures(
        self, rbm: gb.RBM, history: History, folder: Path, sampler: Sampler | None
    ) -> None:
        fantasies = gb.sample(
            rbm, plots.MAX_TILES, sampler=sampler, steps=FANTASY_STEPS, generator=self.generator
        )
        data = next(iter(self.sets.values()))
        data, fantasies = (rbm.visible.as_grey(rows.cpu()) for rows in (data, fantasies))
        plots.save(plots.filters(rbm, self.shape), folder / "filters.png")
        plots.save(plots.samples(data, fantasies, self.shape), folder / "samples.png")
        if len(history):
            plots.save(plots.learning_curves(history), folder / "learning_curves.png")


@torch.no_grad()
def _hold_constant(visible: Layer, units: Scaling | None) -> list[Penalty]:
    """Hold the learned sigma of constant columns, which training would take to 0."""
    if units is None or not bool(units.constant.any()):
        return []
    constant = by_layer_column(visible, units.constant, False)
    scales = visible.learned_scales().items()
    return [Held(f"visible.{name}", constant[columns]) for name, columns in scales]


def _monitored(
    rbm: gb.RBM, source: datasets.Dataset, generator: torch.Generator
) -> dict[str, Tensor]:
    """The first rows of each set as states, to measure the model on."""
    sets = {"train": source.rows, "test": source.test}
    return {name: _states(rbm, rows, generator) for name, rows in sets.items() if rows is not None}


def _states(rbm: gb.RBM, rows: Tensor | Rows, generator: torch.Generator) -> Tensor:
    """The first rows as states to measure a model on."""
    return rbm.visible.observe(as_states(rbm, rows[:MONITOR_ROWS]).cpu(), generator)
