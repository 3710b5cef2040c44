"""The commands that write rows: `sample` draws them from a model, `transform` their features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import typer
from torch import Tensor

import gibbsite as gb
from gibbsite import datasets, plots
from gibbsite.cli import arguments as arg
from gibbsite.cli.console import escape, out, print_json, print_note, set_verbosity
from gibbsite.cli.data import load_as_trained
from gibbsite.cli.options import check_free, generator_of, note_unused, parse_image
from gibbsite.errors import ArgumentError
from gibbsite.rows import Rows
from gibbsite.training.named import DeviceName, make_device


def sample(
    context: typer.Context,
    model: arg.Model,
    n: arg.Samples = 100,
    steps: arg.GibbsSteps = 1000,
    output: arg.SampleOutput = Path("samples.npy"),
    image: arg.SampleImage = None,
    seed: arg.SampleSeed = 0,
    device: arg.Device = DeviceName.auto,
    quiet: arg.Quiet = False,
    as_json: arg.AsJson = False,
) -> None:
    """Draw samples from a model by Gibbs sampling, each from a chain of its own."""
    set_verbosity(quiet, as_json)
    rbm = gb.load(model).to(make_device(device))
    write = _row_writer(output, rbm.visible.n, (".npy", ".csv", ".png"), image)
    picture = output.suffix == ".png"
    note_unused(context, [(not picture, "image", f"{output} is no picture")])
    if picture and n > plots.MAX_TILES:
        print_note(f"a picture holds {plots.MAX_TILES} samples at most; .npy and .csv all {n}")
        n = plots.MAX_TILES
    rows = gb.sample(rbm, n, steps=steps, generator=generator_of(seed, rbm.weight.device))
    write(rows.cpu())
    _print_file(output, n, rbm.visible.n, "samples", as_json)


def transform(
    model: arg.Model,
    data: arg.TransformedData,
    output: arg.FeatureOutput = Path("features.npy"),
    test: arg.Test = False,
    key: arg.KeyAsTrained = None,
    resize: arg.ResizeAsTrained = None,
    device: arg.Device = DeviceName.auto,
    quiet: arg.Quiet = False,
    as_json: arg.AsJson = False,
) -> None:
    """Write the features of data: the mean of h given each row, in the order of the rows."""
    set_verbosity(quiet, as_json)
    rbm = gb.load(model).to(make_device(device))
    write = _row_writer(output, rbm.hidden.n, (".npy", ".csv"))
    source = load_as_trained(model, data, key, resize)
    rows = source.test if test else source.rows
    if rows is None:
        raise ArgumentError(f"--test: {data} has no test set")
    blocks = rows.blocks() if isinstance(rows, Rows) else torch.split(rows, 10_000)
    with torch.no_grad():
        features = torch.cat([rbm.hidden_mean(rbm.visible.check_data(block)) for block in blocks])
    write(features)
    _print_file(output, len(features), rbm.hidden.n, "features", as_json)


def _row_writer(
    path: Path, columns: int, endings: Sequence[str], image: str | None = None
) -> Callable[[Tensor], None]:
    """The function that writes rows into the file, whose name must have one of the endings."""
    check_free(path)
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


def _print_file(path: Path, rows: int, columns: int, what: str, as_json: bool) -> None:
    """Print what was written where."""
    if as_json:
        print_json({"file": str(path), "rows": rows, "columns": columns})
    out.print(f"{rows} {what} of {columns} units in {escape(str(path))}", soft_wrap=True)
