"""The `gibbsite` command: builds the same objects as a Python user would.

Exit codes: 0 done; 1 a Gibbsite error, told in one sentence; 2 wrong usage; 130 interrupted by
Ctrl-C, with the model and history so far written.
"""

from __future__ import annotations

import inspect
import json
import math
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

import gibbsite as gb
from gibbsite import datasets, exact, plots
from gibbsite.checks import check_counts
from gibbsite.errors import ArgumentError, DivergenceError, GibbsiteError, OutputError
from gibbsite.gradients import Gradient
from gibbsite.layers import LAYERS, Layer
from gibbsite.likelihood import temperatures_within
from gibbsite.likelihood.monitors import negative_free_energies
from gibbsite.likelihood.weights import log_mean_exp
from gibbsite.training import History, Monitor, column_scales, to_data_units
from gibbsite.training.fit import Callback
from gibbsite.training.history import Record, append
from gibbsite.training.monitor import CHEAP_STATES

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Restricted Boltzmann machines: train one, sample it, look inside it.",
)
out = Console()
err = Console(stderr=True)

MONITOR_ROWS = 10_000


class GradientName(StrEnum):
    pcd = "pcd"
    cd = "cd"
    mean_field = "mean-field"
    exact = "exact"


class OptimizerName(StrEnum):
    sgd = "sgd"
    adam = "adam"


class MethodName(StrEnum):
    auto = "auto"
    exact = "exact"
    ais = "ais"
    reverse_ais = "reverse-ais"
    bridge = "bridge"


class VisibleName(StrEnum):
    auto = "auto"
    bernoulli = "bernoulli"
    gaussian = "gaussian"


@dataclass(frozen=True)
class Recipe:
    """Settings that a data set changes; an option given on the command line wins."""

    hidden: int = 64
    epochs: int = 30
    batch_size: int = 100
    learning_rate: float = 0.05
    momentum: float = 0.5

    def but(self, **given: float | None) -> Recipe:
        """The recipe with what the command line gives; counts must be whole and positive."""
        recipe = replace(self, **{name: x for name, x in given.items() if x is not None})  # type: ignore[arg-type]
        check_counts(hidden=recipe.hidden, epochs=recipe.epochs, batch_size=recipe.batch_size)
        if not 0 < recipe.learning_rate < math.inf:
            raise ArgumentError(
                f"--learning-rate {recipe.learning_rate}: expected a number above 0"
            )
        if not 0 <= recipe.momentum < 1:
            raise ArgumentError(f"--momentum {recipe.momentum}: expected 0 up to less than 1")
        return recipe

    def decay(self, epoch: int) -> float:
        """The learning rate's factor after so many epochs: falls linearly towards 0."""
        return 1 - min(epoch, self.epochs - 1) / self.epochs


RECIPES = {
    "digits": Recipe(hidden=16, epochs=150, batch_size=50, learning_rate=0.2),
    "bars-and-stripes": Recipe(hidden=16, epochs=2000, learning_rate=0.1),
    "patches": Recipe(hidden=16, epochs=20, learning_rate=0.02),
    "mnist": Recipe(hidden=500, epochs=10),
}
# without sampling noise, a full-batch step can be ten times as long
EXACT_RECIPE = Recipe(hidden=16, epochs=3000, learning_rate=1.0, momentum=0.9)


def main() -> None:
    """Entry point: Gibbsite's own errors become one line on stderr and exit code 1."""
    try:
        app()
    except GibbsiteError as error:
        err.print(f"[bold red]error:[/] {_escape(str(error))}", soft_wrap=True)
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:  # torch tells of memory by a RuntimeError
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        err.print("[bold red]error:[/] out of memory; use fewer units, rows or chains")
        sys.exit(1)


@app.command()
def fit(
    data: Annotated[
        str,
        typer.Argument(
            help="A data set's name (see `gibbsite datasets`) or a .npy, .npz, .csv, .tsv or IDX "
            "file.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Run folder to make; must not exist yet. Default: runs/DATA-1, -2 and so on.",
            show_default=False,
        ),
    ] = None,
    hidden: Annotated[
        int | None,
        typer.Option(
            help="How many hidden units. Default: 16 for digits, bars-and-stripes, patches and "
            "--exact; mnist 500; files 64.",
            show_default=False,
        ),
    ] = None,
    visible: Annotated[
        VisibleName,
        typer.Option(
            help="Visible units. auto: as the data set says; for files bernoulli if all values lie "
            "in [0, 1], else gaussian."
        ),
    ] = VisibleName.auto,
    sigma: Annotated[
        float,
        typer.Option(
            help="Gaussian units: standard deviation to start from, in standard deviations of each "
            "column."
        ),
    ] = 1.0,
    learn_sigma: Annotated[
        bool, typer.Option(help="Gaussian units: train sigma, one for each unit.")
    ] = True,
    gradient: Annotated[
        GradientName,
        typer.Option(
            help="Estimate of the model's phase: pcd and cd sample, mean-field does not, exact "
            "enumerates."
        ),
    ] = GradientName.pcd,
    exact_gradient: Annotated[
        bool,
        typer.Option("--exact", help="Short for --gradient exact, on full batches. Default: off."),
    ] = False,
    centered: Annotated[
        bool, typer.Option(help="Centre the gradient: faster, steadier, the same fixed points.")
    ] = True,
    steps: Annotated[int, typer.Option(help="Gibbs (or mean-field) steps an update.")] = 1,
    chains: Annotated[int, typer.Option(help="Persistent chains of pcd.")] = 100,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Passes over the data. Default: digits 150, bars-and-stripes 2000, patches 20, "
            "mnist 10, files 30; --exact 3000.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Rows an update. Default: digits 50, others 100; --exact all.",
            show_default=False,
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Step size at the start, in parameter units per nat; falls linearly to 0. "
            "Default: digits 0.2, bars-and-stripes 0.1, patches 0.02, others 0.05; --exact 1.0.",
            show_default=False,
        ),
    ] = None,
    momentum: Annotated[
        float | None,
        typer.Option(
            help="Momentum of sgd, 0 up to less than 1. Default: 0.5; --exact 0.9.",
            show_default=False,
        ),
    ] = None,
    optimizer: Annotated[
        OptimizerName, typer.Option(help="Torch optimiser; adam wants rates near 0.001.")
    ] = OptimizerName.sgd,
    l2: Annotated[float, typer.Option(help="Weight decay: l2/2 |W|^2 nats.")] = 0.0,
    l1: Annotated[float, typer.Option(help="Sparsity: l1 |W|_1 nats.")] = 0.0,
    budget: Annotated[
        float,
        typer.Option(
            help="Seconds, about, for the log-likelihood at the end where it is not exact; 0: none."
        ),
    ] = 20.0,
    test_fraction: Annotated[
        float,
        typer.Option(help="Share of rows held out for testing, where the data bring no test set."),
    ] = 0.2,
    image: Annotated[
        str | None,
        typer.Option(
            help="Image size of a row, HEIGHTxWIDTH in pixels, for the pictures. "
            "Default: as the data say.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Seed of everything random: same seed, same model.")
    ] = 0,
) -> None:
    """Train a model; write it, its history and pictures into one run folder."""
    generator = _fresh(seed)
    source = datasets.load(data)
    source = source.split(test_fraction if data not in datasets.NAMES else 0.0, generator)
    width = source.train.shape[1]
    shape = _parse_image(image, width) or source.image_shape
    method = "exact" if exact_gradient else gradient.value
    full_batches = replace(EXACT_RECIPE, batch_size=len(source.train))
    recipe = (full_batches if method == "exact" else RECIPES.get(data, Recipe())).but(
        hidden=hidden,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        momentum=momentum,
    )
    kind = source.visible if visible is VisibleName.auto else visible.value
    rbm = gb.RBM(_make_visible(kind, width, sigma, learn_sigma), gb.Bernoulli(recipe.hidden))
    if method == "exact":
        exact.check_enumerable(rbm)
    estimator = _make_gradient(method, centered, steps, chains)
    optimize = _make_optimizer(rbm, optimizer.value, recipe)
    penalties: list[gb.L1 | gb.L2] = [gb.L2(l2), gb.L1(l1)]
    train, restore = _to_training_units(rbm, source.train)
    shown = [
        rbm.visible.observe(rbm.visible.check_data(rows), generator)
        for rows in (source.train, source.test)
        if rows is not None
    ]
    watched = [rows[:MONITOR_ROWS] for rows in shown]
    observers: list[Callback] = [Monitor(*watched)]
    if not exact.is_enumerable(rbm, CHEAP_STATES):
        observers.append(gb.TrajectoryAIS(watched[-1], generator=_fresh(seed)))

    folder = _make_folder(output, source.name)
    _print_plan(source, rbm, method, recipe.epochs)
    try:
        with _Progress(recipe.epochs, -(-len(train) // recipe.batch_size)) as progress:
            history = gb.fit(
                rbm,
                train,
                gradient=_Ticking(estimator, progress.tick),
                optimizer=optimize,
                scheduler=LambdaLR(optimize, recipe.decay),
                epochs=recipe.epochs,
                batch_size=recipe.batch_size,
                penalties=[penalty for penalty in penalties if penalty.strength > 0],
                callbacks=[
                    *(_in_data_units(observe, restore) for observe in observers),
                    lambda rbm, record: append(folder / "history.jsonl", record),
                    progress.show,
                ],
                generator=generator,
            )
    except DivergenceError:
        gb.save(restore(rbm), folder / "model.safetensors")
        raise
    except Exception:
        with suppress(OSError):  # an empty folder tells nothing; one with files stays
            folder.rmdir()
        raise
    rbm = restore(rbm)
    gb.save(rbm, folder / "model.safetensors")
    _print_result(rbm, history, dict(zip(("train", "test"), shown, strict=False)), budget, seed)
    _write_pictures(folder, rbm, history, shown[0], shape, generator)
    out.print(f"run folder: {_escape(str(folder))}", soft_wrap=True)
    if history.interrupted:
        err.print(
            f"interrupted after {len(history)} of {recipe.epochs} epochs; the model so far is saved"
        )
        raise typer.Exit(130)


@app.command()
def sample(
    model: Annotated[Path, typer.Argument(help="A model file or run folder.", show_default=False)],
    n: Annotated[int, typer.Option("-n", help="Samples to draw, one row each.")] = 100,
    steps: Annotated[
        int, typer.Option(help="Gibbs steps of each chain from its random start.")
    ] = 1000,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="File to make: .npy, .csv, or .png for a picture."),
    ] = Path("samples.npy"),
    image: Annotated[
        str | None,
        typer.Option(
            help="Image size of a row for .png, HEIGHTxWIDTH in pixels. Default: square if it "
            "fits, else one line a row.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the chains.")] = 0,
) -> None:
    """Draw samples from a model by Gibbs sampling, each from a chain of its own."""
    rbm = gb.load(_model_file(model))
    write = _sample_writer(output, rbm, image)
    generator = _fresh(seed)
    rows = gb.sample(rbm, n, steps=steps, generator=generator)
    write(rows)
    out.print(f"{n} samples of {rbm.visible.n} units in {_escape(str(output))}", soft_wrap=True)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A model file or run folder.", show_default=False)],
    data: Annotated[
        str,
        typer.Argument(
            help="A data set's name or file; its test set if it has one.", show_default=False
        ),
    ],
    method: Annotated[
        MethodName,
        typer.Option(
            help="How to find log Z. auto: exact up to 2^20 states, else bridge; bridge: annealing "
            "in both directions; ais and reverse-ais: in one."
        ),
    ] = MethodName.auto,
    chains: Annotated[int, typer.Option(help="Independent annealing paths each way.")] = 100,
    temperatures: Annotated[
        int, typer.Option(help="Steps of each path; also Gibbs steps of the reverse start.")
    ] = 3000,
    budget: Annotated[
        float | None,
        typer.Option(
            help="Seconds to spend, about: sets --temperatures by a measured step. Default: none.",
            show_default=False,
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="PNG file to make: the weights and the way of each direction. Default: none.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the chains and of binarisation.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead. Default: off.")
    ] = False,
) -> None:
    """Say how likely data are under a model, with error bars and whether to believe them."""
    rbm = gb.load(_model_file(model))
    source = datasets.load(data)
    rows = source.train if source.test is None else source.test
    if picture is not None and picture.exists():
        raise OutputError(f"{picture} exists already; name another file or remove it")
    if budget is not None:
        temperatures = temperatures_within(rbm, budget, chains)
    with _Estimate(temperatures) as bar:
        result = gb.evaluate(
            rbm,
            rows,
            method.value,
            chains=chains,
            temperatures=temperatures,
            generator=_fresh(seed),
            progress=bar.show,
        )
    if picture is not None:
        plots.save(plots.annealing(result.log_partition), picture)
    if as_json:
        print(json.dumps(_as_record(result, len(rows))))
    else:
        _print_evaluation(result, len(rows), "train" if source.test is None else "test")


@app.command()
def info(
    model: Annotated[Path, typer.Argument(help="A model file or run folder.", show_default=False)],
) -> None:
    """Say what a model file holds."""
    path = _model_file(model)
    rbm = gb.load(path)
    table = Table(title=_escape(str(path)), show_header=False)
    table.add_row("visible", rbm.visible.describe())
    table.add_row("hidden", rbm.hidden.describe())
    table.add_row("parameters", f"{sum(p.numel() for p in rbm.parameters()):,}")
    table.add_row("dtype", str(rbm.weight.dtype).removeprefix("torch."))
    for name, value in rbm.state_dict().items():
        low, mean, high = value.min().item(), value.mean().item(), value.max().item()
        shape = " x ".join(map(str, value.shape))
        table.add_row(name, f"{shape}: {low:.4g} to {high:.4g}, mean {mean:.4g}")
    if exact.is_enumerable(rbm, 2**20):
        with torch.no_grad():
            table.add_row("log Z", f"{exact.log_partition(rbm).item():.6g} nats (exact)")
    else:
        table.add_row("log Z", "not shown: more than 2^20 states on the smaller side")
    out.print(table)


@app.command("datasets")
def list_datasets() -> None:
    """List the data sets that have a name."""
    table = Table("name", "what it is")
    for name, make in datasets.NAMES.items():
        table.add_row(name, (make.__doc__ or "").splitlines()[0])
    out.print(table)


# the objects of a run


def _make_visible(kind: str, n: int, sigma: float, learn_sigma: bool) -> Layer:
    """A visible layer; of the options it gets those that its kind of unit has."""
    if not 0 < sigma < math.inf:
        raise ArgumentError(f"--sigma {sigma}: expected a number above 0")
    options: dict[str, Any] = {"sigma": [sigma] * n, "learn_sigma": learn_sigma}
    known = inspect.signature(LAYERS[kind]).parameters
    return LAYERS[kind](n, **{name: options[name] for name in options if name in known})


def _to_training_units(rbm: gb.RBM, data: Tensor) -> tuple[Tensor, Callable[[gb.RBM], gb.RBM]]:
    """Data to train on, and what brings the model back to the units of the data."""
    data = rbm.visible.check_data(data)
    if not rbm.visible.has_units:
        return data, lambda rbm: rbm
    shift, scale = column_scales(data)
    return (data - shift) / scale, lambda rbm: to_data_units(rbm, shift, scale)


def _fresh(seed: int) -> torch.Generator:
    if not 0 <= seed < 2**63:
        raise ArgumentError(f"--seed {seed}: expected a whole number from 0 to 2^63 - 1")
    return torch.Generator().manual_seed(seed)


def _in_data_units(observe: Callback, restore: Callable[[gb.RBM], gb.RBM]) -> Callback:
    return lambda rbm, record: observe(restore(rbm), record)


def _make_gradient(name: str, centered: bool, steps: int, chains: int) -> Gradient:
    makers: dict[str, Callable[[], Gradient]] = {
        "pcd": lambda: gb.PCD(chains, steps),
        "cd": lambda: gb.CD(steps),
        "mean-field": lambda: gb.MeanField(steps),
        "exact": gb.ExactGradient,
    }
    gradient = makers[name]()
    return gb.Centered(gradient) if centered else gradient


def _make_optimizer(rbm: gb.RBM, name: str, recipe: Recipe) -> torch.optim.Optimizer:
    if name == "adam":
        return torch.optim.Adam(rbm.parameters(), lr=recipe.learning_rate)
    return torch.optim.SGD(rbm.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum)


def _parse_image(text: str | None, n: int) -> plots.ImageShape | None:
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()) or int(height) * int(width) != n:
        raise ArgumentError(f"--image {text}: expected HEIGHTxWIDTH with a product of {n}")
    return int(height), int(width)


# progress


@dataclass(frozen=True)
class _Ticking:
    """A gradient estimator that says when it has made a step."""

    gradient: Gradient
    tick: Callable[[], None]

    def init(self, rbm: gb.RBM, generator: torch.Generator | None = None) -> Any:
        return self.gradient.init(rbm, generator)

    def step(
        self, rbm: gb.RBM, v: Tensor, state: Any, generator: torch.Generator | None = None
    ) -> tuple[dict[str, Tensor], Any]:
        self.tick()
        return self.gradient.step(rbm, v, state, generator)


class _Progress:
    """A live bar on a terminal; elsewhere a line for each tenth of the epochs."""

    def __init__(self, epochs: int, updates: int) -> None:
        self.epochs = epochs
        self.bar = Progress(
            TextColumn("epoch"),
            TextColumn("{task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("updates"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=err,
            disable=not err.is_terminal,
        )
        self.task = self.bar.add_task("", total=epochs * updates, epoch=f"1/{epochs}", figures="")

    def __enter__(self) -> _Progress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def tick(self) -> None:
        self.bar.advance(self.task)

    def show(self, rbm: gb.RBM, record: Record) -> None:
        epoch = int(record["epoch"])
        figures = _figures(record)
        self.bar.update(self.task, epoch=f"{min(epoch + 1, self.epochs)}/{self.epochs}")
        self.bar.update(self.task, figures=figures)
        if not err.is_terminal and epoch * 10 // self.epochs > (epoch - 1) * 10 // self.epochs:
            err.print(f"epoch {epoch}/{self.epochs}  {figures}", highlight=False)


class _Estimate:
    """A live bar with the running log mean weight, on a terminal only."""

    def __init__(self, temperatures: int) -> None:
        self.bar = Progress(
            TextColumn("annealing"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figure]}"),
            console=err,
            disable=not err.is_terminal,
        )
        self.total = temperatures
        self.task = self.bar.add_task("", total=temperatures, figure="")

    def __enter__(self) -> _Estimate:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def show(self, log_weights: Tensor) -> None:
        if self.bar.disable:
            return
        if self.bar.tasks[0].finished:  # the way back starts
            self.bar.reset(self.task, total=self.total)
        figure = f"log mean weight {log_mean_exp(log_weights):.3f}"
        self.bar.update(self.task, advance=1, figure=figure)


def _figures(record: Mapping[str, float]) -> str:
    """The two or three figures worth a glance."""
    names = {
        "train_log_likelihood": "train",
        "test_log_likelihood": "test",
        "ais_log_likelihood": "test about",
        "free_energy_gap": "gap",
    }
    parts = [f"{short} {record[name]:.3f}" for name, short in names.items() if name in record]
    if "train_log_likelihood" not in record:
        parts.append(f"pseudo-likelihood {record['pseudo_likelihood']:.3f}")
    return "  ".join(parts) + " nats"


# the run folder


def _make_folder(output: Path | None, name: str) -> Path:
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


def _write_pictures(
    folder: Path,
    rbm: gb.RBM,
    history: History,
    data: Tensor,
    shape: plots.ImageShape | None,
    generator: torch.Generator,
) -> None:
    fantasies = gb.sample(rbm, plots.MAX_TILES, steps=1000, generator=generator)
    plots.save(plots.filters(rbm, shape), folder / "filters.png")
    plots.save(plots.samples(data, fantasies, shape), folder / "samples.png")
    if len(history):
        plots.save(plots.learning_curves(history), folder / "learning_curves.png")


def _model_file(path: Path) -> Path:
    return path / "model.safetensors" if path.is_dir() else path


def _sample_writer(path: Path, rbm: gb.RBM, image: str | None) -> Callable[[Tensor], None]:
    """Check the output before the chains run; returns what writes it."""
    if path.exists():
        raise OutputError(f"{path} exists already; name another file or remove it")
    shape = _parse_image(image, rbm.visible.n)
    side = round(rbm.visible.n**0.5)
    if shape is None and side * side == rbm.visible.n:
        shape = (side, side)
    writers: dict[str, Callable[[Tensor], None]] = {
        ".npy": lambda rows: datasets.write_npy(rows, path),
        ".csv": lambda rows: datasets.write_csv(rows, path),
        ".png": lambda rows: plots.save(plots.images(rows, shape), path),
    }
    if path.suffix not in writers:
        raise ArgumentError(f"--output {path}: expected a name that ends in {', '.join(writers)}")
    return writers[path.suffix]


# words


def _print_plan(source: datasets.Dataset, rbm: gb.RBM, method: str, epochs: int) -> None:
    held_out = 0 if source.test is None else len(source.test)
    out.print(
        f"{_escape(source.description)}: "
        f"{len(source.train):,} rows to train on, {held_out:,} held out\n"
        f"{rbm.visible.describe()} visible, {rbm.hidden.describe()} hidden; {method} gradient, "
        f"{epochs} epochs",
        soft_wrap=True,
        highlight=False,
    )


def _print_result(
    rbm: gb.RBM, history: History, sets: dict[str, Tensor], budget: float, seed: int
) -> None:
    table = Table("", *sets)
    if exact.is_enumerable(rbm, 2**20):
        with torch.no_grad():
            log_z = exact.log_partition(rbm)
            values = [
                f"{(negative_free_energies(rbm, v).mean() - log_z).item():.4f}"
                for v in sets.values()
            ]
        table.add_row("mean log-likelihood, nats (exact)", *values)
        verdict = ""
    elif budget > 0:
        verdict = _add_estimate(table, rbm, sets, budget, seed)
    else:
        verdict = "no log-likelihood: too many states to enumerate, and no budget to estimate it"
    rows = {name: v[:200] for name, v in sets.items()}
    table.add_row(
        "pseudo-likelihood, nats (200 rows)",
        *(f"{gb.pseudo_likelihood(rbm, v):.4f}" for v in rows.values()),
    )
    table.add_row(
        "reconstruction error (200 rows)",
        *(f"{gb.reconstruction_error(rbm, v):.5f}" for v in rows.values()),
    )
    out.print(table)
    if verdict:
        out.print(_escape(verdict), soft_wrap=True, highlight=False)
    if "test" in sets:
        gap = gb.free_energy_gap(rbm, sets["train"], sets["test"])
        out.print(f"train - test log-likelihood (free-energy gap, exact): {gap:.4f} nats")
    if history.records:
        out.print(f"{history.records[-1]['seconds']:.1f} s of training and monitoring")


def _add_estimate(
    table: Table, rbm: gb.RBM, sets: dict[str, Tensor], budget: float, seed: int
) -> str:
    """Rows for an annealed log-likelihood; returns what to think of it."""
    generator, data = _fresh(seed), next(iter(sets.values()))
    temperatures = temperatures_within(rbm, budget)
    log_z = gb.log_partition(
        rbm, "bridge", data=data, temperatures=temperatures, generator=generator
    )
    with torch.no_grad():
        scores = {name: negative_free_energies(rbm, v).mean().item() for name, v in sets.items()}
    means = (f"{score - log_z.value:.2f}" for score in scores.values())
    limits = (
        f"{score - log_z.upper:.2f} to {score - log_z.lower:.2f}" for score in scores.values()
    )
    table.add_row(f"mean log-likelihood, nats (bridge, {temperatures:,} temperatures)", *means)
    table.add_row("    95% interval, from log Z", *limits)
    return f"log-likelihood: {log_z.verdict}"


def _as_record(result: gb.Evaluation, rows: int) -> dict[str, Any]:
    """An evaluation as JSON has it: no NaN, no infinity."""
    log_z = result.log_partition
    record = {
        "rows": rows,
        "log_likelihood": result.log_likelihood,
        "stderr": result.stderr,
        "lower": result.lower,
        "upper": result.upper,
        "conservative": result.conservative,
        "optimistic": result.optimistic,
        "rows_stderr": result.rows_stderr,
        "method": result.method,
        "log_partition": log_z.value,
        "ess": log_z.ess,
        "verdict": result.verdict,
        "warnings": list(result.warnings),
    }
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in record.items()
    }


def _print_evaluation(result: gb.Evaluation, rows: int, kind: str) -> None:
    table = Table(title=f"log-likelihood of {rows:,} {kind} rows, nats a row", show_header=False)
    table.add_row("mean", f"{result.log_likelihood:.4f}")
    table.add_row("method", result.method)
    if result.method != "exact":
        table.add_row("95% interval, from log Z", f"{result.lower:.4f} to {result.upper:.4f}")
        table.add_row("standard error, from log Z", f"{result.stderr:.4f}")
        table.add_row("temperatures, paths each way", _size(result.log_partition))
        table.add_row("effective sample size", f"{result.log_partition.ess:.1f}")
    if result.conservative is not None:
        table.add_row("conservative (reverse AIS)", f"{result.conservative:.4f}")
    if result.optimistic is not None:
        table.add_row("optimistic (forward AIS)", f"{result.optimistic:.4f}")
    table.add_row("standard error, over rows", f"{result.rows_stderr:.4f}")
    table.add_row("log Z", f"{result.log_partition.value:.4f}")
    out.print(table)
    out.print(f"verdict: {_escape(result.verdict)}", soft_wrap=True, highlight=False)


def _size(result: gb.LogPartition) -> str:
    direction = result.forward or result.reverse
    assert direction is not None
    return f"{len(direction.run.betas):,}, {len(direction.run.log_weights):,}"


def _escape(text: str) -> str:
    return text.replace("[", "\\[")
