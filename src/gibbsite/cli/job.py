"""A training run from its settings to its folder, started or taken up again."""

from __future__ import annotations

import hashlib
import inspect
import json
import platform
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import gibbsite as gb
from gibbsite import datasets, exact, ops, plots
from gibbsite.checks import check_memory
from gibbsite.cli.progress import EpochBar, EstimateBar, InDataUnits, Restore, Ticking, busy
from gibbsite.cli.report import complain, err, escape
from gibbsite.cli.settings import FORMAT_VERSION, Complete, Settings, temperatures_for
from gibbsite.errors import ArgumentError, DataError, DivergenceError, OutputError
from gibbsite.gradients import Gradient
from gibbsite.io import write_atomically
from gibbsite.layers import LAYERS, Layer
from gibbsite.likelihood.baselines import baselines, shortfalls
from gibbsite.likelihood.monitors import negative_free_energies
from gibbsite.rows import BLOCK_BYTES, Rows
from gibbsite.training import SGD, Held, History, Monitor, Scaling, scaling, to_data_units
from gibbsite.training.checkpoint import history_of
from gibbsite.training.fit import Callback, Penalty, linear_decay
from gibbsite.training.history import append
from gibbsite.training.monitor import CHEAP_STATES

MONITOR_ROWS = 10_000
CHEAP_ROWS = 200
HALF_WRITTEN = (".run.json.*", ".history.jsonl.*", ".model.safetensors.*", ".*.png.*")
"""What a run that was killed while it wrote a file leaves behind."""

MEASURED_EVERY = 5
"""Epochs between two estimates of log Z, each of which costs about as much as an epoch."""


class Job:
    """All the objects of a run, made from its settings: same settings, same objects."""

    def __init__(self, settings: Settings) -> None:
        generator = fresh(settings.seed)
        source = datasets.load(
            settings.data, key=settings.key, resize=parse_size("--resize", settings.resize)
        )
        named = settings.data in datasets.NAMES
        self.splits = not named and source.test is None
        if settings.visible in LAYERS:  # rows are still those of the file
            visible = _make_visible(settings.visible, source.rows.shape[1], settings)
            source.check(visible, settings.data)
        source = source.split(0.0 if named else settings.test_fraction, generator)
        self.source, self.fingerprint = source, fingerprint(source)
        device = pick_device(settings.device)
        self.settings = whole = replace(
            settings.completed(len(source.rows)), data=_lasting(settings.data), device=device.type
        )
        width = source.rows.shape[1]
        self.shape = parse_image(whole.image, width) or source.image_shape
        kind = source.visible if whole.visible == "auto" else whole.visible
        visible = _make_visible(kind, width, whole)
        check_memory(f"a model of {width} x {whole.hidden} units", width, whole.hidden)
        self.rbm = gb.RBM(visible, gb.Bernoulli(whole.hidden)).to(device)
        if whole.gradient == "exact":
            exact.check_enumerable(self.rbm)
        self.gradient = _make_gradient(whole)
        self.optimizer = _make_optimizer(self.rbm, whole)
        penalties = [p for p in (gb.L2(whole.l2), gb.L1(whole.l1)) if p.strength > 0]
        self.rows, self.restore, constant = _to_training_units(self.rbm, source.rows)
        self.note = "" if constant is None else constant.told(source.columns)
        self.penalties: list[Penalty] = [*penalties, *_held(self.rbm, constant)]
        self.sets = _shown(self.rbm, source, generator)
        self.generator = (
            generator
            if self.rbm.weight.device.type == "cpu"
            else fresh(settings.seed, self.rbm.weight.device)
        )

    def run(self, folder: Path) -> tuple[History, dict[str, Any]]:
        """Train, or go on training, and fill the folder; the history and the closing figures."""
        settings, rbm = self.settings, self.rbm
        observers: list[Callback] = [Monitor(*self.sets.values())]
        if not exact.is_enumerable(rbm, CHEAP_STATES):
            watched = list(self.sets.values())[-1]
            every = max(MEASURED_EVERY, settings.epochs // 20)
            observers.append(gb.TrajectoryAIS(watched, generator=self._aside(), every=every))
        try:
            with EpochBar(settings.epochs, -(-len(self.rows) // settings.batch_size)) as progress:
                history = gb.fit(
                    rbm,
                    self.rows,
                    gradient=Ticking(ops.reusing(self.gradient), progress.tick),
                    optimizer=self.optimizer,
                    scheduler=linear_decay(self.optimizer, settings.epochs),
                    epochs=settings.epochs,
                    batch_size=settings.batch_size,
                    penalties=self.penalties,
                    callbacks=[
                        *(InDataUnits(observe, self.restore) for observe in observers),
                        lambda rbm, record: append(folder / "history.jsonl", record),
                        progress.show,
                    ],
                    generator=self.generator,
                    checkpoints=checkpoints(folder, settings),
                )
        except DivergenceError:
            gb.save(self.restore(rbm), folder / "model.safetensors")
            raise
        trained = self.restore(rbm)
        gb.save(trained, folder / "model.safetensors")
        if history.interrupted:
            complain(
                f"interrupted after {len(history)} of {settings.epochs} epochs; the model so far "
                f"is saved; `gibbsite resume {escape(str(folder))}` goes on; figures and pictures "
                "follow, unless interrupted again"
            )
        figures = closing_figures(trained, history, self.sets, settings, self._aside())
        with busy("drawing samples and pictures"):
            self._write_pictures(trained, history, folder)
        return history, figures

    def _aside(self) -> torch.Generator:
        """A generator for what must not change the run."""
        return fresh(self.settings.seed, self.rbm.weight.device)

    def _write_pictures(self, rbm: gb.RBM, history: History, folder: Path) -> None:
        fantasies = gb.sample(rbm, plots.MAX_TILES, steps=1000, generator=self.generator)
        data = next(iter(self.sets.values()))
        plots.save(plots.filters(rbm, self.shape), folder / "filters.png")
        plots.save(plots.samples(data, fantasies, self.shape), folder / "samples.png")
        if len(history):
            plots.save(plots.learning_curves(history), folder / "learning_curves.png")


def load_as_trained(
    model: Path, data: str, key: str | None = None, resize: str | None = None
) -> datasets.Dataset:
    """Data read as those of the model's run were, unless options say otherwise."""
    named = data in datasets.NAMES
    keyed = not named and Path(data).suffix.lower() in datasets.KEYED
    folder = not named and Path(data).is_dir()
    record = (model if model.is_dir() else model.parent) / "run.json"
    if ((keyed and key is None) or (folder and resize is None)) and record.is_file():
        settings = Settings.read(record)[0]
        key = settings.key if keyed and key is None else key
        resize = settings.resize if folder and resize is None else resize
    return datasets.load(data, key=key, resize=parse_size("--resize", resize))


# the folder


def make_folder(output: Path | None, name: str) -> Path:
    """A new, empty run folder; an existing one is never written to."""
    numbered = (Path("runs") / f"{name}-{number}" for number in range(1, sys.maxsize))
    folder = output or next(path for path in numbered if not path.exists())
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise OutputError(f"{folder} exists already; name another folder or remove it") from error
    except OSError as error:
        raise OutputError(
            f"cannot make the run folder {folder}: {error.strerror}; choose another place"
        ) from error
    return folder


def write_record(job: Job, folder: Path) -> None:
    """run.json: every setting, and enough to say whether a repetition is one."""
    record = {
        "format": FORMAT_VERSION,
        "command": ["gibbsite", *sys.argv[1:]],
        "settings": job.settings.as_record(),
        "data": {
            "description": job.source.description,
            "rows": len(job.source.rows),
            "columns": job.source.rows.shape[1],
            "sha256": job.fingerprint,
        },
        "versions": {
            "gibbsite": gb.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    text = json.dumps(record, indent=2) + "\n"
    write_atomically(folder / "run.json", lambda path: path.write_text(text, encoding="utf-8"))


def start(settings: Settings, output: Path | None) -> tuple[Job, Path]:
    """A job and its new folder."""
    job = Job(settings)
    folder = make_folder(output, job.source.name)
    try:
        write_record(job, folder)
        job.gradient.init(job.rbm, fresh(0))  # what does not fit in memory fails here
    except Exception:
        with suppress(OSError):
            (folder / "run.json").unlink(missing_ok=True)
            folder.rmdir()
        raise
    return job, folder


def take_up(folder: Path) -> tuple[Job, int]:
    """The job of a folder, its history cut back to the last checkpoint, and that one's epoch."""
    settings, expected = Settings.read(folder / "run.json")
    job = Job(settings)
    if job.fingerprint != expected:
        raise DataError(f"{settings.data} is not what it was when {folder} was begun; restore it")
    kept = checkpoints(folder, job.settings)
    state = None if kept is None else kept.read()
    records = [] if state is None else history_of(state)

    def rewrite(path: Path) -> None:
        for record in records:
            append(path, record)

    write_atomically(folder / "history.jsonl", rewrite)
    for left in (path for pattern in HALF_WRITTEN for path in folder.glob(pattern)):
        left.unlink(missing_ok=True)
    return job, len(records)


def checkpoints(folder: Path, settings: Complete) -> gb.Checkpoints | None:
    """Where the run keeps its state; None if it keeps none."""
    if not settings.checkpoint_every:
        return None
    return gb.Checkpoints(folder / "checkpoints", settings.checkpoint_every)


def fingerprint(source: datasets.Dataset) -> str:
    """sha256 of the data: every number of them, on disk or not."""
    digest = hashlib.sha256(f"{tuple(source.rows.shape)}".encode())
    for part in (source.rows, source.test):
        for block in () if part is None else _stored(part):
            digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()


def _stored(rows: Tensor | Rows) -> Iterator[np.ndarray]:
    """The numbers as they are kept, in the order they are kept in, a part at a time."""
    if isinstance(rows, Rows):
        yield from rows.stored()
        return
    table = rows.numpy()
    step = max(1, BLOCK_BYTES // (table.shape[1] * table.itemsize))
    yield from (table[start : start + step] for start in range(0, len(table), step))


def _lasting(data: str) -> str:
    """A path that means the same file from every folder; a name as it is."""
    return data if data in datasets.NAMES else str(Path(data).absolute())


# the objects


def fresh(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of that seed."""
    if not 0 <= seed < 2**63:
        raise ArgumentError(f"--seed {seed}: expected a whole number from 0 to 2^63 - 1")
    return torch.Generator(device).manual_seed(seed)


def pick_device(name: str) -> torch.device:
    """cpu, or cuda where there is one; auto takes the better."""
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ArgumentError("--device cuda: this machine has no CUDA device; use cpu or auto")
    if name not in ("auto", "cpu", "cuda"):
        raise ArgumentError(f"--device {name}: expected auto, cpu or cuda")
    return torch.device("cuda" if name != "cpu" and there else "cpu")


def parse_size(option: str, text: str | None) -> plots.ImageShape | None:
    """HEIGHTxWIDTH as numbers."""
    if text is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,8})x([1-9][0-9]{0,8})", text.lower())
    if match is None:
        raise ArgumentError(f"{option} {text:.40}: expected HEIGHTxWIDTH in pixels, such as 28x28")
    return int(match[1]), int(match[2])


def parse_image(text: str | None, n: int) -> plots.ImageShape | None:
    """HEIGHTxWIDTH that n units fill."""
    shape = parse_size("--image", text)
    if shape is not None and shape[0] * shape[1] != n:
        raise ArgumentError(f"--image {text}: expected HEIGHTxWIDTH with a product of {n}")
    return shape


def _make_visible(kind: str, n: int, settings: Settings) -> Layer:
    """A visible layer; of the options it gets those that its kind of unit has."""
    if kind not in LAYERS:
        raise ArgumentError(f"--visible {kind}: expected auto, {', '.join(LAYERS)}")
    options: dict[str, Any] = {"sigma": [settings.sigma] * n, "learn_sigma": settings.learn_sigma}
    known = inspect.signature(LAYERS[kind]).parameters
    return LAYERS[kind](n, **{name: options[name] for name in options if name in known})


def _make_gradient(settings: Complete) -> Gradient:
    makers: dict[str, Callable[[], Gradient]] = {
        "pcd": lambda: gb.PCD(settings.chains, settings.steps),
        "cd": lambda: gb.CD(settings.steps),
        "mean-field": lambda: gb.MeanField(settings.steps),
        "exact": gb.ExactGradient,
    }
    if settings.gradient not in makers:
        raise ArgumentError(f"--gradient {settings.gradient}: expected {', '.join(makers)}")
    gradient = makers[settings.gradient]()
    return gb.Centered(gradient) if settings.centered else gradient


def _make_optimizer(rbm: gb.RBM, settings: Complete) -> torch.optim.Optimizer:
    rate = settings.learning_rate
    if settings.optimizer == "adam":
        return torch.optim.Adam(rbm.parameters(), lr=rate)
    if settings.optimizer == "sgd":
        return SGD(rbm.parameters(), rate, settings.momentum)
    raise ArgumentError(f"--optimizer {settings.optimizer}: expected sgd or adam")


def _to_training_units(
    rbm: gb.RBM, rows: Tensor | Rows
) -> tuple[Tensor | Rows, Restore, Scaling | None]:
    """Rows to train on, what brings the model back to the data's units, and how those differ."""
    if not isinstance(rows, Rows):
        rows = rbm.visible.check_data(rows)
    if not rbm.visible.has_units:
        return rows, lambda rbm: rbm, None
    found = scaling(rows)
    shift, scale = found.shift.float(), found.scale.float()
    inverse = 1 / scale
    there = (x.to(rbm.weight.device) for x in (shift, scale))
    back = dict(zip(("shift", "scale"), there, strict=True))
    if isinstance(rows, Rows):
        return rows.affine(inverse, -shift * inverse), lambda rbm: to_data_units(rbm, **back), found
    return (rows - shift) / scale, lambda rbm: to_data_units(rbm, **back), found


def _held(rbm: gb.RBM, units: Scaling | None) -> list[Penalty]:
    """What keeps the learned sigma of constant columns, which training would take to 0."""
    name = "visible.log_sigma"
    if units is None or name not in dict(rbm.named_parameters()) or not bool(units.constant.any()):
        return []
    return [Held(name, units.constant)]


def _shown(rbm: gb.RBM, source: datasets.Dataset, generator: torch.Generator) -> dict[str, Tensor]:
    """Some rows of each set as states, to measure the model on."""
    sets = {"train": source.rows, "test": source.test}
    return {
        name: rbm.visible.observe(rbm.visible.check_data(rows[:MONITOR_ROWS]).cpu(), generator)
        for name, rows in sets.items()
        if rows is not None
    }


# the closing figures


def closing_figures(
    rbm: gb.RBM,
    history: History,
    sets: dict[str, Tensor],
    settings: Complete,
    generator: torch.Generator,
) -> dict[str, Any]:
    """What is printed at the end of a run, as a JSON object."""
    scores = {name: negative_free_energies(rbm, v).mean().item() for name, v in sets.items()}
    figures: dict[str, Any] = {
        "sets": {
            name: {
                "rows": len(v),
                "pseudo_likelihood": gb.pseudo_likelihood(rbm, v[:CHEAP_ROWS]),
                "reconstruction_error": gb.reconstruction_error(rbm, v[:CHEAP_ROWS]),
            }
            for name, v in sets.items()
        },
        "method": {},
        "verdict": "no log-likelihood: too many states to enumerate, and no budget to estimate it",
    }
    log_z = _log_partition(rbm, next(iter(sets.values())), settings.budget, generator)
    if log_z is not None:
        size = "" if log_z.forward is None else f", {len(log_z.forward.run.betas):,} temperatures"
        figures["method"]["log_likelihood"] = log_z.method + size
        figures["verdict"] = f"log-likelihood: {log_z.verdict}"
        figures["log_partition"] = log_z.value
        for name, score in scores.items():
            entry, value = figures["sets"][name], score - log_z.value
            entry["log_likelihood"] = value
            entry["baselines"] = baselines(rbm, sets[name], sets["train"])
            figures["warnings"] = shortfalls(value, entry["baselines"], name)  # of the last set
            if log_z.stderr > 0:
                entry["interval"] = [score - log_z.upper, score - log_z.lower]
    if "test" in scores:
        figures["free_energy_gap"] = scores["train"] - scores["test"]
    if len(history):
        figures |= {"epochs": len(history), "seconds": history.records[-1]["seconds"]}
    return figures


def _log_partition(
    rbm: gb.RBM, data: Tensor, budget: float, generator: torch.Generator
) -> gb.LogPartition | None:
    """log Z exactly, or within a budget of seconds, or not at all."""
    if exact.is_small(rbm):
        return gb.log_partition(rbm, "exact")
    if budget <= 0:
        return None
    if not err.is_terminal:
        err.print(f"estimating log Z, for about {budget:g} s", highlight=False)
    temperatures = temperatures_for(rbm, budget)
    with EstimateBar(temperatures) as bar:
        return gb.log_partition(
            rbm,
            "bridge",
            data=data,
            temperatures=temperatures,
            generator=generator,
            progress=bar.show,
        )
