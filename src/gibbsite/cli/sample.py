"""The commands that write rows: `sample` draws them from a model, `transform` their features."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
import typer
from torch import Tensor

import gibbsite as gb
from gibbsite import datasets, plots
from gibbsite.cli import arguments as arg
from gibbsite.cli.console import escape, out, print_json, print_note, set_verbosity
from gibbsite.cli.data import known_categories, load_as_trained, run_record
from gibbsite.cli.options import check_free, generator_of, note_unused, parse_image
from gibbsite.cli.samplers import sampler_of
from gibbsite.cli.settings import Columns
from gibbsite.errors import ArgumentError
from gibbsite.layers import Layer
from gibbsite.rows import Rows
from gibbsite.training.named import DeviceName, make_device

RowWriter = Callable[[Tensor], None]


def sample(
    context: typer.Context,
    model: arg.Model,
    n: arg.Samples = 100,
    sampler: arg.ModelSampler = arg.ModelSamplerName.auto,
    steps: arg.ChainSteps = None,
    output: arg.SampleOutput = Path("samples.npy"),
    image: arg.SampleImage = None,
    seed: arg.SampleSeed = 0,
    device: arg.Device = DeviceName.auto,
    quiet: arg.Quiet = False,
    as_json: arg.AsJson = False,
) -> None:
    """Draw samples from a model, each from a chain of its own, as its certificate says.

    Without a certificate (`gibbsite diagnose`) by the trajectory of its training, if that was kept,
    else by Gibbs sampling.
    """
    set_verbosity(quiet, as_json)
    rbm = gb.load(model).to(make_device(device))
    columns = rbm.visible.n
    writers = {
        ".npy": lambda rows: datasets.write_npy(rbm.visible.by_unit(rows), output),
        ".csv": lambda rows: _write_csv(rbm.visible.by_unit(rows), output, model),
        ".png": _picture_writer(rbm.visible, output, image),
    }
    write = _row_writer(output, writers)
    picture = output.suffix == ".png"
    note_unused(context, [(not picture, "image", f"{output} is no picture")])
    if picture and n > plots.MAX_TILES:
        print_note(f"a picture holds {plots.MAX_TILES} samples at most; .npy and .csv all {n}")
        n = plots.MAX_TILES
    rows = gb.sample(
        rbm,
        n,
        sampler=sampler_of(model, rbm, sampler),
        steps=steps,
        generator=generator_of(seed, rbm.weight.device),
    )
    write(rows.cpu())
    _print_file(output, n, columns, "samples", as_json)


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
    writers = {
        ".npy": lambda rows: datasets.write_npy(rows, output),
        ".csv": lambda rows: datasets.write_csv(rows, output),
    }
    write = _row_writer(output, writers)
    source = load_as_trained(model, rbm.visible, data, key, resize)
    rows = source.test if test else source.rows
    if rows is None:
        raise ArgumentError(f"--test: {data} has no test set")
    blocks = Rows.of(rows).blocks(max(rbm.visible.width, rbm.hidden.width))
    with torch.no_grad():
        features = torch.cat([rbm.hidden_mean(rbm.visible.check_data(block)) for block in blocks])
    write(features)
    _print_file(output, len(features), features.shape[1], "features", as_json)


def _row_writer(path: Path, writers: dict[str, RowWriter]) -> RowWriter:
    """The function that writes rows into the file, by the ending of its name."""
    check_free(path)
    if path.suffix not in writers:
        endings = ", ".join(writers)
        raise ArgumentError(f"--output {path}: expected a name that ends in {endings}")
    return writers[path.suffix]


def _picture_writer(visible: Layer, path: Path, image: str | None) -> RowWriter:
    """The function that draws rows as images of that size, or of a square one if that fits."""
    side = math.isqrt(visible.n)
    square = (side, side) if side * side == visible.n else None
    shape = parse_image(image, visible.n) or square
    return lambda rows: plots.save(plots.images(visible.as_grey(rows), shape), path)


def _write_csv(rows: Tensor, path: Path, model: Path) -> None:
    """Write rows as numbers, or with the words that the model's run knows, below their names."""
    categories = known_categories(model, rows.shape[1])
    names = Columns.read(run_record(model)).names if any(categories) else None
    datasets.write_csv(rows, path, categories, names)


def _print_file(path: Path, rows: int, columns: int, what: str, as_json: bool) -> None:
    """Print the name and size of the file written."""
    if as_json:
        print_json({"file": str(path), "rows": rows, "columns": columns})
    out.print(f"{rows} {what} of {columns} units in {escape(str(path))}", soft_wrap=True)
