"""Tables for loops: made once, filled anew in every round."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Workspace:
    """Tables by name; who asks for one overwrites what it held."""

    def __init__(self) -> None:
        self._tables: dict[str, Tensor] = {}

    def table(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """A table of that shape, and of the type and device of `like`; what is in it is left over.

        It is made anew only for more rows than ever before, or another width, type or device.
        """
        kept = self._tables.get(name)
        if kept is None or not _holds(kept, like, shape):
            with torch.inference_mode(False):  # else it could not be filled outside of that mode
                kept = self._tables[name] = like.new_empty(shape)
        return kept if len(kept) == shape[0] else kept[: shape[0]]

    def like(self, name: str) -> Callable[[Tensor], Tensor]:
        """What gives for any tensor a table of its shape, of that name."""
        return lambda x: self.table(name, x, *x.shape)

    def other(self, name: str, taken: Tensor | None, like: Tensor, *shape: int) -> Tensor:
        """The same, but not where `taken` lies: what is carried from round to round has two."""
        table = self.table(name, like, *shape)
        if taken is not None and table.data_ptr() == taken.data_ptr():
            return self.table(f"{name}, other", like, *shape)
        return table


class Fresh(Workspace):
    """Every table is a new one: results keep for ever."""

    def table(self, name: str, like: Tensor, *shape: int) -> Tensor:
        return like.new_empty(shape)


FRESH = Fresh()


class Reusing:
    """What works in a `workspace`: fresh tables, unless it is the twin that `reusing` gives.

    Each class says for itself that it has such twins, as a subclass may keep what it is given.
    """

    workspace: Workspace = FRESH
    _has_twins = False

    def __init_subclass__(cls, twins: bool = False, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._has_twins = twins

    def reusing(self) -> Self:
        """Its twin with a workspace of its own, as the parts it is made of have.

        What a round gives is overwritten in the next, the state that it gives in the one after.
        """
        twin = copy.copy(self)
        for name, part in vars(self).items():
            object.__setattr__(twin, name, reusing(part))
        object.__setattr__(twin, "workspace", Workspace())
        return twin


def reusing(x: T) -> T:
    """The twin of x that works in workspaces made once; x itself if it has none."""
    return x.reusing() if isinstance(x, Reusing) and x._has_twins else x


def workspace_of(x: object) -> Workspace:
    """Where x works; `FRESH` if it knows nothing of workspaces."""
    space: Workspace = getattr(x, "workspace", FRESH)
    return space


def _holds(kept: Tensor, like: Tensor, shape: tuple[int, ...]) -> bool:
    fits = len(kept) >= shape[0] and kept.shape[1:] == shape[1:]
    return fits and kept.dtype == like.dtype and kept.device == like.device
