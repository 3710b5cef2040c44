"""Unit types by the names that files and commands give them."""

from __future__ import annotations

import inspect

from gibbsite.errors import ArgumentError
from gibbsite.layers.base import Layer

_types: dict[str, type[Layer]] = {}


def register_layer(name: str, layer: type[Layer]) -> type[Layer]:
    """Give a layer class a name, so that models with it can be saved, loaded and asked for.

    Register it in every process before `load`. Raises `ArgumentError` for a name that another class
    has, or a class that is no complete `Layer`. Returns the class.

    >>> import gibbsite as gb
    >>> class Coin(gb.Bernoulli):
    ...     "A unit type of one's own."
    >>> gb.register_layer("coin", Coin).__name__
    'Coin'
    """
    if not (isinstance(layer, type) and issubclass(layer, Layer)):
        raise ArgumentError(f"{layer!r}: expected a subclass of gibbsite.layers.Layer")
    if inspect.isabstract(layer):
        missing = ", ".join(sorted(layer.__abstractmethods__))
        raise ArgumentError(f"{layer.__name__} lacks {missing}; a layer has them all")
    taken = _types.setdefault(name, layer)
    if taken is not layer:
        raise ArgumentError(f"{name!r} is {taken.__name__} already; choose another name")
    return layer


def layer_type(name: str) -> type[Layer]:
    """The class of that name, else `ArgumentError`."""
    if name not in _types:
        raise ArgumentError(f"no unit type is called {name!r}; there are {', '.join(_types)}")
    return _types[name]


def type_names() -> list[str]:
    """All names of unit types."""
    return list(_types)


def name_of(layer: Layer | type[Layer]) -> str:
    """The name under which a layer, or its class, is registered, else `ArgumentError`."""
    wanted = layer if isinstance(layer, type) else type(layer)
    for name, known in _types.items():
        if known is wanted:
            return name
    kind = wanted.__name__
    raise ArgumentError(
        f"{kind} has no name that a file could give it; call gb.register_layer({kind.lower()!r}, "
        f"{kind}) before, in this process and wherever the model is loaded"
    )


def as_layer(name: str, value: object) -> Layer:
    """Return value if it is a layer, else raise `ArgumentError`."""
    if not isinstance(value, Layer):
        raise ArgumentError(f"{name}={value!r}: expected a layer such as gb.Bernoulli(64)")
    return value
