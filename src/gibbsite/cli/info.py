"""The commands `info` and `datasets`: the content of a model file, data sets by name."""

from __future__ import annotations

from typing import Any

from rich.table import Table

import gibbsite as gb
from gibbsite import datasets, exact
from gibbsite.cli import arguments as arg
from gibbsite.cli.console import escape, out, print_json, set_verbosity
from gibbsite.io import model_file

NO_CERTIFICATE = "none; gibbsite diagnose makes one"


def info(model: arg.Model, as_json: arg.AsJson = False) -> None:
    """Say what a model file holds."""
    set_verbosity(as_json=as_json)
    path = model_file(model)
    record = _inspect(gb.load(path))
    if as_json:
        print_json(record)
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
    table.add_row(
        "certificate",
        escape(record["certificate"]["verdict"] if record["certificate"] else NO_CERTIFICATE),
    )
    out.print(table)


def _inspect(rbm: gb.RBM) -> dict[str, Any]:
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
        "certificate": rbm.certificate and rbm.certificate.as_record(),
        "log_partition": gb.log_partition(rbm, "exact").value if exact.is_small(rbm) else None,
    }


def list_datasets(as_json: arg.AsJson = False) -> None:
    """List the data sets that have a name."""
    set_verbosity(as_json=as_json)
    if as_json:
        print_json(datasets.DESCRIPTIONS)
    table = Table("name", "what it is")
    for name, description in datasets.DESCRIPTIONS.items():
        table.add_row(name, description)
    out.print(table)
