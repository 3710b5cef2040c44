"""The first entry at fault, for messages."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from gibbsite.errors import EntryError


def require(data: Tensor, good: Tensor, remedy: str) -> None:
    """Raise an `EntryError` that names the first value that is not good, its row and its column."""
    if not bool(good.all()):
        row, column = (int(i) for i in (~good).nonzero()[0])
        raise EntryError(f"{data[row, column].item():g}", row, column, remedy)


def first_fault(name: str, value: Tensor, good: Callable[[Tensor], Tensor]) -> str:
    """The name and the first entry that is not good, such as ``bias holds nan``; "" if all are."""
    bad = ~good(value.detach())
    return f"{name} holds {value.detach()[bad][0].item():g}" if bool(bad.any()) else ""
