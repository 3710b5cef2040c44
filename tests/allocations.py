"""Which tensors a piece of code makes: those of a storage that none of its arguments has."""

from __future__ import annotations

from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Made(TorchDispatchMode):
    """Counts new tensors by operation and shape; views and results put into `out` are not new."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: Counter[tuple[str, tuple[int, ...]]] = Counter()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = operation(*args, **kwargs)
        known = {storage(x) for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor) and x.numel() and storage(x) not in known:
                self.tensors[str(operation), tuple(x.shape)] += 1
        return result


def storage(x: torch.Tensor) -> int:
    return x.untyped_storage().data_ptr()


def made_by_more(run, less, more) -> Counter:
    """What `run(more)` makes beyond what `run(less)` does, by operation and shape."""
    counts = []
    for given in (less, more):
        with Made() as made:
            run(given)
        counts.append(made.tensors)
    return counts[1] - counts[0]
