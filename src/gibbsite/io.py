"""Model files: safetensors with a versioned header; written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes

from gibbsite.errors import DataError, ModelFileError, OutputError
from gibbsite.layers import LAYERS, Layer
from gibbsite.model import RBM

FORMAT_VERSION = 1
_KEY = "gibbsite"  # one metadata key: safetensors does not keep the order of several


def save(rbm: RBM, path: str | Path) -> None:
    """Write a model to a safetensors file, atomically: an old file survives a failed write.

    Tensors are named as in ``rbm.state_dict()``; the metadata key ``gibbsite`` holds JSON with the
    format version and each layer's type, size and options. Raises `OutputError`.

    >>> import gibbsite as gb, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> gb.save(gb.RBM(gb.Bernoulli(4), gb.Bernoulli(2)), path)
    >>> gb.load(path).weight.shape
    torch.Size([4, 2])
    """
    header = {
        "version": FORMAT_VERSION,
        "visible": _describe(rbm.visible),
        "hidden": _describe(rbm.hidden),
    }
    tensors = {name: value.cpu().contiguous() for name, value in rbm.state_dict().items()}
    content = to_bytes(tensors, {_KEY: json.dumps(header, sort_keys=True)})
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(content))


def load(path: str | Path) -> RBM:
    """Read a model that `save` wrote, onto the CPU, in the dtype it was saved in.

    Raises `DataError` if there is no such file and `ModelFileError` if it is damaged, not a
    Gibbsite model, or of a version that this one cannot read. Nothing in it is executed.
    """
    path = Path(path)
    try:
        there = path.is_file()
    except OSError as error:  # a name too long, a folder that may not be looked into
        raise DataError(f"{path}: {error.strerror}") from error
    if not there:
        raise DataError(f"{path}: no such model file")
    try:
        with safe_open(path, framework="pt") as file:
            header = _read_header(path, file.metadata())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        visible = _rebuild("visible", header, tensors)
        hidden = _rebuild("hidden", header, tensors)
        dtype = tensors["weight"].dtype
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"its weight is of {dtype}")
        rbm = RBM(visible, hidden).to(dtype)
        rbm.load_state_dict(tensors)
    except ModelFileError:
        raise
    except Exception as error:  # a header that lies makes safetensors and torch raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelFileError(
            f"{path} is damaged or not a Gibbsite model ({reason}); restore it from a copy"
        ) from error
    return rbm


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary file beside path, then put it in path's place."""
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; choose a folder that exists and "
            "that you may write to, with space left"
        ) from error
    finally:
        if temporary is not None:
            with suppress(OSError):  # gone, or as hard to remove as to write
                temporary.unlink()


def _describe(layer: Layer) -> dict[str, Any]:
    kind = next(name for name, cls in LAYERS.items() if cls is type(layer))
    return {"type": kind, "n": layer.n, "options": layer.options()}


def _read_header(path: Path, metadata: dict[str, str] | None) -> dict[str, Any]:
    if not metadata or _KEY not in metadata:
        raise ModelFileError(f"{path} is a safetensors file, but not one that Gibbsite wrote")
    header = json.loads(metadata[_KEY])
    version = header["version"]
    if version != FORMAT_VERSION:
        raise ModelFileError(
            f"{path} has model format version {version!r}; this Gibbsite reads version "
            f"{FORMAT_VERSION}. Install the version of Gibbsite that wrote it"
        )
    return dict(header)


def _rebuild(side: str, header: dict[str, Any], tensors: dict[str, Any]) -> Layer:
    description = header[side]
    kind, n = description["type"], description["n"]
    if kind not in LAYERS:
        raise ValueError(f"the {side} layer is of type {kind!r}; known: {', '.join(LAYERS)}")
    if tensors[f"{side}.bias"].shape != (n,):
        raise ValueError(f"the {side} layer says {n!r} units but its bias has another shape")
    prefix = f"{side}."
    shapes = {
        name.removeprefix(prefix): list(value.shape)
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
    return LAYERS[kind].skeleton(n, shapes, description["options"])
