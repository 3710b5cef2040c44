"""Unit types for the columns of a table, by one name or, column by column, by several."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gibbsite.errors import ArgumentError
from gibbsite.layers.base import Layer
from gibbsite.layers.mixed import Mixed
from gibbsite.layers.names import layer_type, name_of, type_names

ColumnTypes = list[tuple[type[Layer], int]]
"""Types, and the number of columns of each, in order."""

NO_OPTIONS: Mapping[str, Any] = {}

_PART = re.compile(r"([^:]*)(?::([1-9][0-9]{0,8}))?")


def column_types(visible: str, n: int) -> ColumnTypes:
    """Types of n columns from text: a name for all, or ``bernoulli:3,gaussian:2,categorical``.

    A name without a number stands for one column there. Raises `ArgumentError` for names of no
    type, and numbers that do not add up to n.

    >>> from gibbsite.layers import column_types
    >>> [(kind.__name__, n) for kind, n in column_types("bernoulli:3,poisson", 4)]
    [('Bernoulli', 3), ('Poisson', 1)]
    """
    parts = [_PART.fullmatch(part.strip()) for part in visible.split(",")]
    names = [name for name in type_names() if layer_type(name) is not Mixed]
    found = [(part[1], part[2]) for part in parts if part is not None and part[1] in names]
    if len(found) < len(parts):
        raise ArgumentError(
            f"visible={visible!r}: expected auto, {', '.join(names)}; or several by column, such "
            "as bernoulli:3,gaussian:2"
        )
    if len(found) == 1 and found[0][1] is None:
        return [(layer_type(found[0][0]), n)]
    types = [(layer_type(name), int(count or 1)) for name, count in found]
    total = sum(count for _, count in types)
    if total != n:
        raise ArgumentError(f"visible={visible!r}: that is {total} in all, expected {n}")
    return types


def layer_for(visible: str, greatest: Tensor, options: Mapping[str, Any] = NO_OPTIONS) -> Layer:
    """A layer for columns of data, given the greatest value in each, (n,).

    Each type takes those of the options, such as sigma, that it has; several make a `Mixed` layer.

    >>> import torch, gibbsite as gb
    >>> from gibbsite.layers import layer_for
    >>> layer_for("categorical:2,gaussian", torch.tensor([2.0, 4.0, 0.5])).describe()
    'Mixed(Categorical([3, 5]), Gaussian(1))'
    """
    parts, first = [], 0
    for kind, count in column_types(visible, len(greatest)):
        parts.append(kind.for_columns(greatest[first : first + count], **options))
        first += count
    return parts[0] if len(parts) == 1 else Mixed(*parts)


def kind_of(layer: Layer) -> str:
    """The text that `column_types` makes the types of a layer from."""
    kinds = layer.kinds()
    if len(kinds) == 1:
        return name_of(layer)
    return ",".join(f"{name_of(kind)}:{n}" for kind, n in kinds)
