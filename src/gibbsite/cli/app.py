"""The commands and their options."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.table import Table
from torch import Tensor

import gibbsite as gb
from gibbsite import datasets, exact, plots
from gibbsite.cli.job import (
    MONITOR_ROWS,
    Job,
    fresh,
    load_as_trained,
    parse_image,
    pick_device,
    start,
    take_up,
)
from gibbsite.cli.options import (
    given,
    idle_in_estimate,
    idle_in_training,
    option_named,
    refuse_both,
    tell_idle,
)
from gibbsite.cli.process import Ending, lost_output, steady_output
from gibbsite.cli.progress import EstimateBar
from gibbsite.cli.report import (
    Compared,
    as_record,
    complain,
    err,
    escape,
    out,
    print_evaluation,
    print_figures,
    print_json,
    print_plan,
    speak,
)
from gibbsite.cli.settings import Settings, check_budget, temperatures_for
from gibbsite.errors import ArgumentError, GibbsiteError, OutputError
from gibbsite.io import check_writable, model_file
from gibbsite.likelihood import baselines
from gibbsite.rows import Rows
from gibbsite.training.lock import locked

EXIT_CODES = (
    "Exit codes: 0 done; 1 an error, told in one sentence on stderr; 2 wrong usage; "
    "130 interrupted by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP, with the model and history so far "
    "written."
)

INTERRUPTED = 130
"""Exit code of a command that was interrupted, before `main` says by which signal."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog=EXIT_CODES,
)


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


class DeviceName(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


Device = Annotated[
    DeviceName, typer.Option(help="Where to compute; auto: cuda if there is one, else cpu.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors. Default: off.")]
KeyAsTrained = Annotated[
    str | None,
    typer.Option(
        help="Which array of an .npz or .h5 file. Default: as in the run of the model, else train, "
        "or the only one.",
        show_default=False,
    ),
]
ResizeAsTrained = Annotated[
    str | None,
    typer.Option(
        help="Bring the images of a folder to HEIGHTxWIDTH pixels. Default: as in the run of the "
        "model.",
        show_default=False,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object instead. Default: off.")
]


def main() -> None:
    """Entry point: Gibbsite's own errors become one line on stderr and exit code 1."""
    with steady_output(), Ending() as ending:
        code = _run()
        if code == INTERRUPTED:
            code = ending.code
            if ending.number != signal.SIGINT:
                complain(f"ended by {signal.Signals(ending.number).name}")
        if (lost := lost_output()) is not None and code == 0:
            code = _fail(f"cannot write to standard output: {lost.strerror}")
    sys.exit(code)


def _run() -> int:
    """Exit code of the command."""
    try:
        app()
    except SystemExit as stop:
        return int(stop.code or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (GibbsiteError, OSError) as error:
        return _fail(str(error))
    except OverflowError:
        return _fail("a number is too large to compute with")
    except (MemoryError, RuntimeError) as error:  # torch tells of memory by a RuntimeError
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        return _fail("out of memory; use fewer units, rows or chains")
    return 0


def _fail(message: str) -> int:
    message = option_named(message, typer.main.get_command(app))
    complain(f"[bold red]error:[/] {escape(message)}")
    return 1


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"gibbsite {gb.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Say which this is, and end."
        ),
    ] = False,
) -> None:
    """Restricted Boltzmann machines: train one, sample it, look inside it."""


@app.command()
def fit(
    context: typer.Context,
    data: Annotated[
        str | None,
        typer.Argument(
            help="A data set's name (see `gibbsite datasets`), a .npy, .npz, .csv, .tsv, .parquet, "
            ".h5 or IDX file, or a folder of images. With --config: as there.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Run folder to make; must not exist yet. Default: runs/DATA-1, -2 and so on.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="The run.json of another run: its settings, but for options given here. "
            "Default: none.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="Which array of an .npz or .h5 file. Default: train and test, or the only one.",
            show_default=False,
        ),
    ] = None,
    resize: Annotated[
        str | None,
        typer.Option(
            help="Bring the images of a folder to HEIGHTxWIDTH pixels. Default: they must have one "
            "size.",
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
    device: Device = DeviceName.auto,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            help="Epochs between checkpoints, from which `gibbsite resume` goes on; 0: none. "
            "Default: 20 in a run.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a model; write it, its history and pictures into one run folder."""
    speak(quiet, as_json)
    job, folder = start(_settings(config, given(context)), output)
    print_plan(job)
    tell_idle(context, idle_in_training(job))
    if config is not None and job.fingerprint != Settings.read(config)[1]:
        err.print(f"note: the data are not those of {escape(str(config))}", soft_wrap=True)
    with locked(folder):
        _finish(job, folder, as_json)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="The folder of the run.", show_default=False)],
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that was stopped or killed, from its last checkpoint, to its end.

    The model becomes what it would have been without the stop, bit for bit.
    """
    speak(quiet, as_json)
    Settings.read(run / "run.json")  # a folder that holds no run is told before it is locked
    with locked(run):
        job, epoch = take_up(run)
        print_plan(job)
        out.print(f"going on after epoch {epoch}" if epoch else "no checkpoint yet: from the start")
        _finish(job, run, as_json)


def _settings(config: Path | None, given: dict[str, Any]) -> Settings:
    """Settings from a run.json, if any, and the options given."""
    if given.pop("exact_gradient", False) and given.setdefault("gradient", "exact") != "exact":
        raise typer.BadParameter(f"--exact and --gradient {given['gradient']} exclude each other")
    for name in ("context", "output", "config", "quiet", "as_json"):
        given.pop(name, None)
    given = {name: getattr(value, "value", value) for name, value in given.items()}
    if config is not None:
        return Settings.read(config)[0].but(given)
    if given.get("data") is None:
        raise typer.BadParameter("name a data set or file, or give --config run.json")
    return Settings(**given)


def _finish(job: Job, folder: Path, as_json: bool) -> None:
    """Run the job to its end and say what came of it."""
    history, figures = job.run(folder)
    if as_json:
        print_json({"folder": str(folder), "interrupted": history.interrupted, **figures})
    print_figures(figures)
    out.print(f"run folder: {escape(str(folder))}", soft_wrap=True)
    if history.interrupted:
        raise typer.Exit(INTERRUPTED)


@app.command()
def sample(
    context: typer.Context,
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
    device: Device = DeviceName.auto,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Draw samples from a model by Gibbs sampling, each from a chain of its own."""
    speak(quiet, as_json)
    rbm = gb.load(model).to(pick_device(device.value))
    write = _row_writer(output, rbm.visible.n, image, (".npy", ".csv", ".png"))
    picture = output.suffix == ".png"
    tell_idle(context, [(not picture, "image", f"{output} is no picture")])
    if picture and n > plots.MAX_TILES:
        err.print(f"note: a picture holds {plots.MAX_TILES} samples at most; .npy and .csv all {n}")
        n = plots.MAX_TILES
    rows = gb.sample(rbm, n, steps=steps, generator=fresh(seed, rbm.weight.device))
    write(rows.cpu())
    _report_file(output, n, rbm.visible.n, "samples", as_json)


@app.command()
def evaluate(
    context: typer.Context,
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
        int, typer.Option(help="Steps of each path; twice as many Gibbs steps make its start.")
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
    key: KeyAsTrained = None,
    resize: ResizeAsTrained = None,
    seed: Annotated[int, typer.Option(help="Seed of the chains and of binarisation.")] = 0,
    device: Device = DeviceName.auto,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Say how likely data are under a model, with error bars and whether to believe them."""
    refuse_both(context, "budget", "temperatures", "--budget sets --temperatures; give only one")
    speak(quiet, as_json)
    rbm = gb.load(model).to(pick_device(device.value))
    source = load_as_trained(model, data, key, resize)
    rows = source.train if source.test is None else source.test
    if picture is not None:
        _check_free(picture)
    summed = method is MethodName.exact or (method is MethodName.auto and exact.is_small(rbm))
    tell_idle(context, idle_in_estimate(summed))
    if budget is not None:
        check_budget(budget, 0)
    if budget is not None and not summed:
        temperatures = temperatures_for(rbm, budget, chains)
    generator = fresh(seed, rbm.weight.device)
    v = rbm.visible.observe(rbm.visible.check_data(rows), generator)
    try:
        with EstimateBar(temperatures) as bar:
            result = gb.evaluate(
                rbm,
                v,
                method.value,
                chains=chains,
                temperatures=temperatures,
                generator=generator,
                progress=bar.show,
            )
    except KeyboardInterrupt:
        complain("interrupted before there was any estimate")
        raise typer.Exit(INTERRUPTED) from None
    gap, train = None, v
    if source.test is not None:
        train = rbm.visible.check_data(source.rows[:MONITOR_ROWS])
        train = rbm.visible.observe(train, generator)
        gap = gb.free_energy_gap(rbm, train, v)
    kind = "train" if source.test is None else "test"
    compared = Compared(result, kind, baselines(rbm, v, train[:MONITOR_ROWS]), gap)
    if picture is not None and not summed:
        plots.save(plots.annealing(result.log_partition), picture)
    if as_json:
        print_json(as_record(compared))
    print_evaluation(compared)


@app.command()
def transform(
    model: Annotated[Path, typer.Argument(help="A model file or run folder.", show_default=False)],
    data: Annotated[
        str, typer.Argument(help="A data set's name, file or folder.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to make: .npy or .csv.")
    ] = Path("features.npy"),
    test: Annotated[
        bool, typer.Option(help="Take the test set rather than the rows trained on.")
    ] = False,
    key: KeyAsTrained = None,
    resize: ResizeAsTrained = None,
    device: Device = DeviceName.auto,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write the features of data: the mean of h given each row, in the order of the rows."""
    speak(quiet, as_json)
    rbm = gb.load(model).to(pick_device(device.value))
    write = _row_writer(output, rbm.hidden.n, None, (".npy", ".csv"))
    source = load_as_trained(model, data, key, resize)
    rows = source.test if test else source.rows
    if rows is None:
        raise ArgumentError(f"--test: {data} has no test set")
    blocks = rows.blocks() if isinstance(rows, Rows) else torch.split(rows, 10_000)
    with torch.no_grad():
        features = torch.cat([rbm.hidden_mean(rbm.visible.check_data(block)) for block in blocks])
    write(features)
    _report_file(output, len(features), rbm.hidden.n, "features", as_json)


@app.command()
def info(
    model: Annotated[Path, typer.Argument(help="A model file or run folder.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Say what a model file holds."""
    speak(as_json=as_json)
    path = model_file(model)
    record = _inspect(gb.load(path))
    if as_json:
        print_json(record)
        return
    table = Table(title=escape(str(path)), show_header=False)
    for name in ("visible", "hidden", "dtype"):
        table.add_row(name, str(record[name]))
    table.add_row("parameters", f"{record['parameters']:,}")
    for name, entry in record["tensors"].items():
        shape = " x ".join(map(str, entry["shape"]))
        table.add_row(
            name, f"{shape}: {entry['min']:.4g} to {entry['max']:.4g}, mean {entry['mean']:.4g}"
        )
    log_z = record["log_partition"]
    known = f"{log_z:.6g} nats (exact)" if log_z is not None else None
    table.add_row("log Z", known or "not shown: more than 2^20 states on the smaller side")
    out.print(table)


@app.command("datasets")
def list_datasets(as_json: AsJson = False) -> None:
    """List the data sets that have a name."""
    speak(as_json=as_json)
    docs = {name: make.__doc__ or "" for name, make in datasets.NAMES.items()}
    known = {name: doc.partition("\n")[0] for name, doc in docs.items()}  # none with python -OO
    if as_json:
        print_json(known)
        return
    table = Table("name", "what it is")
    for name, description in known.items():
        table.add_row(name, description)
    out.print(table)


def _inspect(rbm: gb.RBM) -> dict[str, Any]:
    log_z = None
    if exact.is_small(rbm):
        log_z = gb.log_partition(rbm, "exact").value
    return {
        "visible": rbm.visible.describe(),
        "hidden": rbm.hidden.describe(),
        "parameters": sum(p.numel() for p in rbm.parameters()),
        "dtype": str(rbm.weight.dtype).removeprefix("torch."),
        "tensors": {
            name: {
                "shape": list(value.shape),
                "min": value.min().item(),
                "max": value.max().item(),
                "mean": value.mean().item(),
            }
            for name, value in rbm.state_dict().items()
        },
        "log_partition": log_z,
    }


def _row_writer(
    path: Path, columns: int, image: str | None, endings: Sequence[str]
) -> Callable[[Tensor], None]:
    """Check the output before the work is done; returns what writes it."""
    _check_free(path)
    shape = parse_image(image, columns)
    side = round(columns**0.5)
    if shape is None and side * side == columns:
        shape = (side, side)
    writers: dict[str, Callable[[Tensor], None]] = {
        ".npy": lambda rows: datasets.write_npy(rows, path),
        ".csv": lambda rows: datasets.write_csv(rows, path),
        ".png": lambda rows: plots.save(plots.images(rows, shape), path),
    }
    if path.suffix not in endings:
        raise ArgumentError(f"--output {path}: expected a name that ends in {', '.join(endings)}")
    return writers[path.suffix]


def _check_free(path: Path) -> None:
    if path.exists():
        raise OutputError(f"{path} exists already; name another file or remove it")
    check_writable(path)


def _report_file(path: Path, rows: int, columns: int, what: str, as_json: bool) -> None:
    if as_json:
        print_json({"file": str(path), "rows": rows, "columns": columns})
    out.print(f"{rows} {what} of {columns} units in {escape(str(path))}", soft_wrap=True)
