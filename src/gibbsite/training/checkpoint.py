"""Checkpoints: the whole state of a training run, from which it goes on as if never stopped."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor

from gibbsite.checks import check_counts
from gibbsite.errors import ArgumentError, ModelFileError, OutputError
from gibbsite.io import read_tensors, refusing, write_atomically
from gibbsite.training.lock import locked

FORMAT_VERSION = 1
KEPT = 2
_KEY = "gibbsite-checkpoint"
_NAME = re.compile(r"checkpoint-(\d+)\.safetensors")

log = logging.getLogger("gibbsite")


@dataclass(frozen=True)
class Checkpoints:
    """Folder in which `fit` keeps its state after every `every` epochs; the last two are kept.

    If the folder holds a checkpoint already, `fit` goes on from the newest whole one, and a damaged
    one is logged. Called again with the same arguments after a crash, it ends with the very
    parameters of a run that was never stopped. Files are written atomically and carry a checksum
    that is verified.

    >>> import gibbsite as gb, tempfile, torch
    >>> data = gb.datasets.load("bars-and-stripes").train
    >>> def run(epochs, keep):
    ...     rbm, g = gb.RBM(gb.Bernoulli(9), gb.Bernoulli(4)), torch.Generator().manual_seed(0)
    ...     optimizer = torch.optim.SGD(rbm.parameters(), lr=0.05)
    ...     gb.fit(rbm, data, optimizer=optimizer, epochs=epochs, generator=g, checkpoints=keep)
    ...     return rbm.weight
    >>> keep = gb.Checkpoints(tempfile.mkdtemp())
    >>> _ = run(2, keep)
    >>> torch.equal(run(5, keep), run(5, None))  # 3 more epochs, as if never stopped
    True
    """

    folder: str | Path
    every: int = 1

    def __post_init__(self) -> None:
        check_counts(every=self.every)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder and lock it meanwhile; another run that asks gets an `OutputError`."""
        with locked(self._make()):
            yield

    def _make(self) -> Path:
        """The folder, made if need be."""
        folder = Path(self.folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make {folder}: {error.strerror}") from error
        return folder

    def write(self, epoch: int, state: Mapping[str, Any]) -> None:
        """Write the state after an epoch, then remove all but the newest checkpoints."""
        folder, content = self._make(), _encode(state)
        path = folder / f"checkpoint-{epoch:06}.safetensors"
        write_atomically(path, lambda temporary: temporary.write_bytes(content))
        try:
            half_written = folder.glob(".checkpoint-*")  # by a killed run
            for old in [*self.files()[KEPT:], *half_written]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot remove {old}: {error.strerror}") from error

    def files(self) -> list[Path]:
        """Paths of the checkpoints, newest first."""
        matches = (_NAME.fullmatch(path.name) for path in Path(self.folder).glob("*"))
        epochs = sorted((int(match[1]), match[0]) for match in matches if match)
        return [Path(self.folder) / name for _, name in reversed(epochs)]

    def read(self) -> dict[str, Any] | None:
        """Read the newest undamaged state; None without a checkpoint.

        Raises `ModelFileError` if there are checkpoints but every one is damaged.
        """
        damage: list[str] = []
        for path in self.files():
            try:
                state = _decode(path)
            except ModelFileError as error:
                damage.append(str(error))
            else:
                for reason in damage:
                    log.warning("%s; going on from %s", reason, path.name)
                return state
        if damage:
            raise ModelFileError("; ".join(damage) + "; start again in another folder")
        return None


def _encode(state: Mapping[str, Any]) -> bytes:
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_take_tensors(state, tensors), sort_keys=True)
    header = {"version": FORMAT_VERSION, "sha256": _checksum(text, tensors), "state": text}
    return to_bytes(tensors, {_KEY: json.dumps(header)})


def _decode(path: Path) -> dict[str, Any]:
    kind = "no checkpoint"
    metadata, tensors = read_tensors(path, kind)
    with refusing(path, kind):
        header = json.loads(metadata[_KEY])
        if header["version"] != FORMAT_VERSION:
            raise ValueError(f"checkpoint format version {header['version']!r}")
        if header["sha256"] != _checksum(header["state"], tensors):
            raise ValueError("its checksum does not fit")
        return dict(_put_tensors(json.loads(header["state"]), tensors))


def _take_tensors(tree: Any, tensors: dict[str, Tensor]) -> Any:
    """A tree that JSON can hold, with its tensors moved to the dictionary under names."""
    if isinstance(tree, Tensor):
        name = f"{len(tensors):04}"
        tensors[name] = tree.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(tree, Mapping):
        return {"map": [[key, _take_tensors(value, tensors)] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        return [_take_tensors(value, tensors) for value in tree]
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise ArgumentError(f"a checkpoint cannot hold {type(tree).__name__}; train without one")


def _put_tensors(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `_take_tensors`; a tuple has become a list."""
    if isinstance(tree, list):
        return [_put_tensors(value, tensors) for value in tree]
    if isinstance(tree, dict) and "map" in tree:
        return {key: _put_tensors(value, tensors) for key, value in tree["map"]}
    if isinstance(tree, dict):
        return tensors[tree["tensor"]]
    return tree


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
