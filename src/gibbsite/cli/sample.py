"""The command `sample`: rows drawn from a model."""

from __future__ import annotations

from pathlib import Path

import typer

import gibbsite as gb
from gibbsite import plots
from gibbsite.cli import arguments as arg
from gibbsite.cli.console import print_note, set_verbosity
from gibbsite.cli.options import generator_of, note_unused
from gibbsite.cli.output import print_file, row_writer
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
    write = row_writer(output, rbm.visible.n, (".npy", ".csv", ".png"), image)
    picture = output.suffix == ".png"
    note_unused(context, [(not picture, "image", f"{output} is no picture")])
    if picture and n > plots.MAX_TILES:
        print_note(f"a picture holds {plots.MAX_TILES} samples at most; .npy and .csv all {n}")
        n = plots.MAX_TILES
    rows = gb.sample(rbm, n, steps=steps, generator=generator_of(seed, rbm.weight.device))
    write(rows.cpu())
    print_file(output, n, rbm.visible.n, "samples", as_json)
