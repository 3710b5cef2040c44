"""The command `transform`: the features of data."""

from __future__ import annotations

from pathlib import Path

import torch

import gibbsite as gb
from gibbsite.cli import arguments as arg
from gibbsite.cli.console import set_verbosity
from gibbsite.cli.data import load_as_trained
from gibbsite.cli.output import print_file, row_writer
from gibbsite.errors import ArgumentError
from gibbsite.rows import Rows
from gibbsite.training.named import DeviceName, make_device


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
    write = row_writer(output, rbm.hidden.n, (".npy", ".csv"))
    source = load_as_trained(model, data, key, resize)
    rows = source.test if test else source.rows
    if rows is None:
        raise ArgumentError(f"--test: {data} has no test set")
    blocks = rows.blocks() if isinstance(rows, Rows) else torch.split(rows, 10_000)
    with torch.no_grad():
        features = torch.cat([rbm.hidden_mean(rbm.visible.check_data(block)) for block in blocks])
    write(features)
    print_file(output, len(features), rbm.hidden.n, "features", as_json)
