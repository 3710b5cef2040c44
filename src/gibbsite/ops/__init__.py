"""Kernels: the operations that are faster compiled, by backend.

`Kernels` has all of them in plain torch. `Numba` overrides those that compiled code does better:
products of binary matrices (`bits`), draws (`draws`, `categories`, `rectified`), and sums and
updates (`cpu`). `kernels_for` picks the backend for some tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gibbsite.ops.dispatch import compiles, fitting_threads
from gibbsite.ops.kernels import Kernels
from gibbsite.ops.numba_kernels import Numba

__all__ = ["Kernels", "Numba", "compiles", "fitting_threads", "kernels_for"]

PLAIN, NUMBA = Kernels(), Numba()


def kernels_for(*tensors: Tensor) -> Kernels:
    """The backend for tensors of one device; without tensors, for numpy arrays.

    Plain torch where autograd records, as the other backends cannot be differentiated.

    >>> with torch.no_grad():
    ...     kernels_for(torch.ones(2, 3)).is_binary(torch.ones(2, 3))
    True
    """
    if tensors and torch.is_grad_enabled():
        return PLAIN
    if all(x.is_cpu for x in tensors) and compiles():
        return NUMBA
    return PLAIN
