"""The one file that a command writes: checked before the work is done, written after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from gibbsite import datasets, plots
from gibbsite.cli.console import escape, out, print_json
from gibbsite.cli.options import parse_image
from gibbsite.errors import ArgumentError, OutputError
from gibbsite.io import check_writable


def check_free(path: Path) -> None:
    """Raise `OutputError` for a path that exists or cannot be written to."""
    if path.exists():
        raise OutputError(f"{path} exists already; name another file or remove it")
    check_writable(path)


def row_writer(
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


def print_file(path: Path, rows: int, columns: int, what: str, as_json: bool) -> None:
    """Print what was written where."""
    if as_json:
        print_json({"file": str(path), "rows": rows, "columns": columns})
    out.print(f"{rows} {what} of {columns} units in {escape(str(path))}", soft_wrap=True)
