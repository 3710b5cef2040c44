"""Checkpoints: the whole state of a training run, so that it can go on as if never stopped."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gibbsite.checks import check_counts
from gibbsite.errors import ArgumentError, ModelFileError, OutputError
from gibbsite.io import read_tensors, refusing, write_atomically
from gibbsite.model import RBM
from gibbsite.training.history import History, Record
from gibbsite.training.lock import locked
from gibbsite.training.restore import (
    LIMIT,
    check_goes_on,
    check_same,
    check_state,
    gradient_state,
    optimizer_state,
    scheduler_state,
)

FORMAT_VERSION = 1
KEPT = 2
FIGURES = ("epoch", "updates", "seconds", "learning_rate", "gradient_norm", "weight_norm")
"""Figures that every record of a history has."""
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
        """Make the folder and keep other runs out of it meanwhile; they get an `OutputError`."""
        folder = Path(self.folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make {folder}: {error.strerror}") from error
        with locked(folder):
            yield

    def write(self, epoch: int, state: Mapping[str, Any]) -> None:
        """Write the state after an epoch, then remove all but the newest checkpoints."""
        folder = Path(self.folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make {folder}: {error.strerror}") from error
        content = _encode(state)
        path = folder / f"checkpoint-{epoch:06}.safetensors"
        write_atomically(path, lambda temporary: temporary.write_bytes(content))
        try:
            # and what a killed run left half-written
            for old in [*self.files()[KEPT:], *folder.glob(".checkpoint-*")]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot remove {old}: {error.strerror}") from error

    def files(self) -> list[Path]:
        """Paths of the checkpoints, newest first."""
        found = {path: _NAME.fullmatch(path.name) for path in Path(self.folder).glob("*")}
        epochs = {path: int(match[1]) for path, match in found.items() if match}
        return sorted(epochs, key=lambda path: epochs[path], reverse=True)

    def read(self) -> dict[str, Any] | None:
        """Read the newest state that is whole; None without a checkpoint.

        Raises `ModelFileError` if there are checkpoints but every one is damaged.
        """
        damage: list[str] = []
        for path in self.files():
            try:
                state = _decode(path)
            except ModelFileError as error:
                damage.append(str(error))
                continue
            for reason in damage:
                log.warning("%s; going on from %s", reason, path.name)
            return state
        if damage:
            raise ModelFileError("; ".join(damage) + "; start again in another folder")
        return None


@dataclass
class Run:
    """State of a training run that is carried from one epoch to the next."""

    rbm: RBM
    shape: tuple[int, ...]
    """Rows and columns of the data."""
    optimizer: Optimizer
    scheduler: LRScheduler | None
    generator: torch.Generator | None
    state: Any
    history: History
    callbacks: Sequence[Any] = ()
    """Those with a `state_dict` go on where they were."""

    def chains(self) -> int:
        """Number of rows of the longest matrix in the gradient's state; 0 without one."""
        tensors: dict[str, Tensor] = {}
        _take_tensors(self.state, tensors)
        return max((len(x) for x in tensors.values() if x.ndim == 2), default=0)

    def carried(self) -> dict[str, Any]:
        """The state as trees of tensors and plain values, for `restore`."""
        scheduler = self.scheduler
        return {
            "kinds": self._kinds(),
            "parameters": dict(self.rbm.named_parameters()),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if scheduler is None else _plain(scheduler.state_dict()),
            "gradient": self.state,
            "generators": [generator.get_state() for generator in self._generators()],
            "history": self.history.records,
            "callbacks": [
                [type(callback).__name__, callback.state_dict()] for callback in self._stateful()
            ],
        }

    @torch.no_grad()
    def restore(self, kept: Mapping[str, Any], rows: Tensor) -> None:
        """Put the state from `carried` back; `ModelFileError` if it is of another run.

        All of it is checked, against what the run has here and some rows of its data, before any
        of it is used.
        """
        records = history_of(kept)
        try:
            for name, here in self._kinds().items():
                if kept["kinds"][name] != here:
                    raise ValueError(f"{name}: {kept['kinds'][name]} there, {here} here")
            state = gradient_state(self.state, kept["gradient"], self.rbm.weight.device)
            model = self._model_there(kept["parameters"])
            check_state(state, model)
            optimizer = optimizer_state(self.optimizer, self.rbm, kept["optimizer"])
            check_goes_on(self.optimizer, optimizer, self.rbm, model, rows)
            schedule = self._schedule_there(kept["scheduler"])
            drawn = self._generators_there(kept["generators"])
            self._restore_callbacks(kept.get("callbacks", []))

            for generator, there in zip(self._generators(), drawn, strict=True):
                generator.set_state(there)
            self.optimizer.load_state_dict(optimizer)
            if self.scheduler is not None:
                self.scheduler.load_state_dict(schedule)
        except Exception as error:  # the parts of another run do not fit in all sorts of ways
            raise ModelFileError(
                f"the checkpoint is of another run ({error}); use the model, data, gradient, "
                "optimizer and scheduler that it was made with, or another folder"
            ) from error
        for parameter, there in zip(self.rbm.parameters(), model.parameters(), strict=True):
            parameter.copy_(there)
        self.history.records.extend(records)
        self.state = state

    def _model_there(self, parameters: Mapping[str, Any]) -> RBM:
        """A copy of the model with those parameters."""
        model = copy.deepcopy(self.rbm)
        for name, parameter in model.named_parameters():
            parameter.copy_(check_same(name, parameter, parameters[name]))
        return model

    def _schedule_there(self, kept: Any) -> dict[str, Any]:
        if self.scheduler is None:
            return {}
        here = self.scheduler.state_dict()
        return {**here, **scheduler_state(self.scheduler, _plain(here), kept)}

    def _generators_there(self, kept: list[Any]) -> list[Tensor]:
        pairs = zip(self._generators(), kept, strict=True)
        return [check_same("generator", here.get_state(), there) for here, there in pairs]

    def _stateful(self) -> list[Any]:
        both = "state_dict", "load_state_dict"
        return [c for c in self.callbacks if all(hasattr(c, name) for name in both)]

    def _restore_callbacks(self, kept: Any) -> None:
        """Give each callback the next state of its kind; those that find none start afresh."""
        left = [(kind, state) for kind, state in kept]
        for callback in self._stateful():
            kind = type(callback).__name__
            found = next((pair for pair in left if pair[0] == kind), None)
            if found is None:
                continue
            left = [pair for pair in left if pair is not found]
            if not isinstance(found[1], dict):
                raise ValueError(f"the state of {kind} is none")
            callback.load_state_dict(found[1])

    def _kinds(self) -> dict[str, Any]:
        """Shapes and types that must be the same in the run that goes on."""
        return {
            "data": list(self.shape),
            "model": {name: list(value.shape) for name, value in self.rbm.named_parameters()},
            "optimizer": type(self.optimizer).__name__,
            "scheduler": type(self.scheduler).__name__,
        }

    def _generators(self) -> list[torch.Generator]:
        """Generators that the run draws from."""
        if self.generator is not None:
            return [self.generator]
        device = self.rbm.weight.device
        cuda = [torch.cuda.default_generators[device.index or 0]] if device.type == "cuda" else []
        return [torch.default_generator, *cuda]


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """A schedule's state without its functions, which the caller makes anew."""
    return {name: value for name, value in state.items() if not name.endswith("lambdas")}


def history_of(kept: Mapping[str, Any]) -> list[Record]:
    """The records of a checkpoint, checked to be those of epochs 1, 2, ... with all figures."""
    try:
        records = [dict(record) for record in kept["history"]]
        for epoch, record in enumerate(records, 1):
            figures = [record[name] for name in FIGURES]
            if not all(isinstance(value, int | float) for value in figures):
                raise ValueError(f"not numbers in epoch {epoch}")
            counts, norms = figures[:3], figures[4:]
            possible = all(0 <= x <= LIMIT for x in counts) and all(x >= 0 for x in norms)
            if record["epoch"] != epoch or not possible:
                raise ValueError(f"impossible numbers in epoch {epoch}")
    except Exception as error:  # what is no list of records fails in all sorts of ways
        raise ModelFileError(f"the checkpoint's history is none ({error})") from error
    return records


def _encode(state: Mapping[str, Any]) -> bytes:
    tensors: dict[str, Tensor] = {}
    tree = _take_tensors(state, tensors)
    text = json.dumps(tree, sort_keys=True)
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
    """The tree as JSON has it, with its tensors moved to the dictionary."""
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
