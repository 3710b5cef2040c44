"""Model files: safetensors with a versioned header; written whole or not at all."""

from __future__ import annotations

import json
import logging
import math
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from gibbsite.checks import check_memory
from gibbsite.diagnosis import Diagnosis
from gibbsite.errors import ArgumentError, DataError, ModelFileError, OutputError
from gibbsite.layers import Layer, layer_type, name_of
from gibbsite.model import RBM, check_usable, fault

FORMAT_VERSION = 1
_log = logging.getLogger("gibbsite")
_KEY = "gibbsite"  # one metadata key: safetensors does not keep the order of several


def save(rbm: RBM | Any, path: str | Path) -> None:
    """Write a model to a safetensors file, atomically: an old file survives a failed write.

    Of an estimator its model ``rbm_`` is written, which keeps the columns of a `TableRBM`.

    Tensors are named as in ``rbm.state_dict()``; the metadata key ``gibbsite`` holds JSON with the
    format version, each layer's type, size and options, ``rbm.certificate`` if it fits the
    parameters, and ``rbm.schema``. Raises `OutputError`, and `ArgumentError` for a model with
    parameters that are not finite, which `load` would refuse, or with a layer of one's own that has
    no name yet (`register_layer`).

    >>> import gibbsite as gb, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> gb.save(gb.RBM(gb.Bernoulli(4), gb.Bernoulli(2)), path)
    >>> gb.load(path).weight.shape
    torch.Size([4, 2])
    """
    rbm = getattr(rbm, "rbm_", rbm)
    check_usable(rbm)
    header = {
        "version": FORMAT_VERSION,
        "visible": _describe(rbm.visible),
        "hidden": _describe(rbm.hidden),
        **_certificate_record(rbm),
        **({} if rbm.schema is None else {"schema": rbm.schema}),
    }
    tensors = {name: value.cpu().contiguous() for name, value in rbm.state_dict().items()}
    content = to_bytes(tensors, {_KEY: json.dumps(header, sort_keys=True)})
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(content))


def load(path: str | Path) -> RBM:
    """Read a model that `save` wrote, onto the CPU, in the dtype it was saved in.

    ``path`` may be the folder of a run, which holds its model as ``model.safetensors``. Raises
    `DataError` if there is no such file or it may not be read, and `ModelFileError` if it is
    damaged, not a Gibbsite model, of a version that this one cannot read, or holds a parameter that
    no model can have, such as NaN. Nothing in it is executed.
    """
    path = model_file(Path(path))
    kind, remedy = "not a Gibbsite model", "restore it from a copy"
    metadata, tensors = read_tensors(path, kind, remedy)
    with refusing(path, kind, remedy):
        header = _read_header(path, metadata)
        rbm = _assemble(header, tensors)
        rbm.certificate = _read_certificate(path, header, rbm)
        rbm.schema = _read_schema(header)
    return rbm


def save_models(models: Sequence[RBM], path: str | Path) -> None:
    """Write models of one kind and shape, such as those of a `Trajectory`, to one file.

    A safetensors file as of `save`, where every tensor has one axis more in front, the models'.
    Raises `ArgumentError` for models that differ in their layers, and as `save`.

    >>> import gibbsite as gb, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "trajectory.safetensors"
    >>> gb.save_models([gb.RBM(gb.Bernoulli(4), gb.Bernoulli(2)) for _ in range(3)], path)
    >>> len(gb.load_models(path))
    3
    """
    if not models:
        raise ArgumentError("no models to write")
    for rbm in models:
        check_usable(rbm)
    first, *others = [[_describe(rbm.visible), _describe(rbm.hidden)] for rbm in models]
    if any(layers != first for layers in others):
        raise ArgumentError("models with different layers; write each by save")
    header = {"version": FORMAT_VERSION, "visible": first[0], "hidden": first[1]}
    states = [rbm.state_dict() for rbm in models]
    tensors = {name: torch.stack([state[name].cpu() for state in states]) for name in states[0]}
    content = to_bytes(tensors, {_KEY: json.dumps(header | {"models": len(models)})})
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(content))


def load_models(path: str | Path) -> list[RBM]:
    """Read the models that `save_models` wrote; errors are those of `load`."""
    path = Path(path)
    kind, remedy = "no file of several models", "restore it from a copy"
    metadata, tensors = read_tensors(path, kind, remedy)
    with refusing(path, kind, remedy):
        header = _read_header(path, metadata)
        counts = {len(value) for value in tensors.values()}
        if counts != {header["models"]}:
            raise ValueError(f"tensors of {sorted(counts)} models, {header['models']!r} said")
        return [
            _assemble(header, {name: value[index] for name, value in tensors.items()})
            for index in range(header["models"])
        ]


def model_file(path: Path) -> Path:
    """Path of the model in a run folder; any other path unchanged."""
    try:
        return path / "model.safetensors" if path.is_dir() else path
    except OSError as error:  # a name too long, a folder that may not be looked into
        raise DataError(f"{path}: {error.strerror}") from error


def read_tensors(
    path: Path, kind: str, remedy: str = ""
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file, checked against its length.

    Raises `DataError` if it cannot be read and `ModelFileError` if it is damaged, with a message
    that ends in `kind`, another reason for the failure, and `remedy`.
    """
    try:
        if not path.is_file():  # to open a pipe would wait for a writer
            raise DataError(f"{path}: no such model file")
        check_memory(str(path), path.stat().st_size // 4)
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    with refusing(path, kind, remedy):
        tensors = from_bytes(content)  # refuses a header that does not fit the bytes
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
    return dict(metadata), tensors


@contextmanager
def refusing(path: Path, kind: str, remedy: str = "") -> Iterator[None]:
    """Turn any error that a forged or damaged file causes into `ModelFileError`."""
    try:
        yield
    except ModelFileError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        hint = remedy and f"; {remedy}"
        raise ModelFileError(f"{path} is damaged or {kind} ({reason}){hint}") from error


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary file beside path, then replace path by it.

    Of a symbolic link the file that it points to is replaced. Raises `OutputError`, also for
    devices and pipes, which have no content to replace.
    """
    temporary: Path | None = None
    try:
        target = _target(path)
        temporary = _temporary(target)
        write(temporary)
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        if temporary is not None:
            with suppress(OSError):  # gone, or as hard to remove as to write
                temporary.unlink()


def check_writable(path: Path) -> None:
    """Raise `OutputError` if `write_atomically` could not make that file."""
    try:
        _temporary(_target(path)).unlink()
    except OSError as error:
        raise _cannot_write(path, error) from error


def _target(path: Path) -> Path:
    """Path with links followed; `OutputError` if it exists and is no regular file."""
    target = Path(os.path.realpath(path))
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(target.lstat().st_mode):
            raise OutputError(f"cannot write {path}: it is there and no file; name another place")
    return target


def _temporary(target: Path) -> Path:
    """A new, empty file beside the target."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    return Path(name)


def _cannot_write(path: Path, error: OSError) -> OutputError:
    if isinstance(error, OutputError):
        return error
    return OutputError(
        f"cannot write {path}: {error.strerror or error}; choose a folder that exists and "
        "that you may write to, with space left"
    )


def _describe(layer: Layer) -> dict[str, Any]:
    return {"type": name_of(layer), "n": layer.n, "options": layer.options()}


def _certificate_record(rbm: RBM) -> dict[str, Any]:
    """The header's entry of the model's certificate, if it has one that fits."""
    certificate = rbm.certificate
    if certificate is None:
        return {}
    if not isinstance(certificate, Diagnosis):
        raise ArgumentError(f"certificate={certificate!r}: expected what gb.diagnose returns")
    return {"certificate": certificate.as_record()} if certificate.fits(rbm) else {}


def _read_certificate(path: Path, header: dict[str, Any], rbm: RBM) -> Diagnosis | None:
    """The certificate of a header, None if there is none or it is of other parameters."""
    if "certificate" not in header:
        return None
    certificate = Diagnosis.from_record(header["certificate"])
    if certificate.fits(rbm):
        return certificate
    _log.warning(f"{path}: its certificate is of other parameters and left out; diagnose it anew")
    return None


def _read_schema(header: dict[str, Any]) -> dict[str, Any] | None:
    """The columns of a header as they are: whoever uses them checks them."""
    schema = header.get("schema")
    if not (schema is None or isinstance(schema, dict)):
        raise ValueError(f"a schema that is a {type(schema).__name__}")
    return schema


def _read_header(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    if _KEY not in metadata:
        raise ModelFileError(f"{path} is a safetensors file, but not one that Gibbsite wrote")
    header = dict(json.loads(metadata[_KEY]))
    if header["version"] != FORMAT_VERSION:
        raise ModelFileError(
            f"{path} has model format version {header['version']!r}; this Gibbsite reads version "
            f"{FORMAT_VERSION}. Install the version of Gibbsite that wrote it"
        )
    return header


def _assemble(header: dict[str, Any], tensors: dict[str, Tensor]) -> RBM:
    """The model of a header and its tensors; an error of any kind if they do not fit."""
    dtype = tensors["weight"].dtype
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"its weight is of {dtype}")
    for name, value in tensors.items():
        if value.dtype != dtype:
            raise ValueError(f"its {name} is of {value.dtype}, its weight of {dtype}")
    layers = (_rebuild(side, header, tensors) for side in ("visible", "hidden"))
    rbm = RBM(*layers).to(dtype)
    rbm.load_state_dict(tensors)
    if found := fault(rbm):
        raise ValueError(f"its {found}")
    return rbm


def _rebuild(side: str, header: dict[str, Any], tensors: dict[str, Any]) -> Layer:
    description, prefix = header[side], f"{side}."
    shapes = {
        name.removeprefix(prefix): list(value.shape)
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
    n, entries = description["n"], sum(map(math.prod, shapes.values()))
    if not isinstance(n, int) or n > entries:  # a unit has one parameter at least
        raise ValueError(f"the {side} layer says {n!r} units but has {entries} parameters")
    return layer_type(description["type"]).skeleton(n, shapes, description["options"])
