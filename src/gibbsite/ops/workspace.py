"""Buffers for loops: allocated once, overwritten in every round."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Workspace:
    """Named buffers; whoever asks for one may overwrite what it held."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def table(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """A buffer of that shape, with dtype and device of `like`; its content is left over.

        It is allocated anew only for more rows than ever before, or another width, dtype or device.
        """
        kept = self._buffers.get(name)
        if kept is None or not _holds(kept, like, shape):
            with torch.inference_mode(False):  # else it could not be filled outside of that mode
                kept = self._buffers[name] = like.new_empty(shape)
        return kept if len(kept) == shape[0] else kept[: shape[0]]

    def like(self, name: str) -> Callable[[Tensor], Tensor]:
        """A function that gives, for any tensor, a buffer of its shape under that name."""
        return lambda x: self.table(name, x, *x.shape)

    def other(self, name: str, taken: Tensor | None, like: Tensor, *shape: int) -> Tensor:
        """A buffer as from `table`, but never the one that `taken` lies in.

        So a state that is carried from round to round has two, written in turn.
        """
        buffer = self.table(name, like, *shape)
        if taken is not None and buffer.data_ptr() == taken.data_ptr():
            return self.table(f"{name}, other", like, *shape)
        return buffer


class Fresh(Workspace):
    """A workspace that allocates every buffer anew: results keep for ever."""

    def table(self, name: str, like: Tensor, *shape: int) -> Tensor:
        return like.new_empty(shape)


FRESH = Fresh()


class Reusing:
    """Base of objects that take buffers from a `workspace`.

    They are fresh ones, or in the copy that `reusing` makes the same ones in every round.

    Each class says for itself, by ``twins=True``, that such a copy is safe, as a subclass may keep
    tensors that it is given.
    """

    workspace: Workspace = FRESH
    _has_twins = False

    def __init_subclass__(cls, twins: bool = False, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._has_twins = twins

    def reusing(self) -> Self:
        """A copy with a workspace of its own; its parts are replaced by such copies, too.

        The result of a round is overwritten in the next, its state in the one after.
        """
        copied = copy.copy(self)
        for name, part in vars(self).items():
            object.__setattr__(copied, name, reusing(part))
        object.__setattr__(copied, "workspace", Workspace())
        return copied


def reusing(x: T) -> T:
    """A copy of x that works in buffers allocated once; x itself if its class has none."""
    return x.reusing() if isinstance(x, Reusing) and x._has_twins else x


def workspace_of(x: object) -> Workspace:
    """Workspace of x; `FRESH` if it knows nothing of workspaces."""
    space: Workspace = getattr(x, "workspace", FRESH)
    return space


def _holds(kept: Tensor, like: Tensor, shape: tuple[int, ...]) -> bool:
    fits = len(kept) >= shape[0] and kept.shape[1:] == shape[1:]
    return fits and kept.dtype == like.dtype and kept.device == like.device
