"""The few kernels worth writing, by backend.

`Kernels` is all of them in plain torch; `Numba` overrides what compiled code does better (`cpu`,
`draws`), the product of matrices of zeros and ones by lookup tables among it (`bits`).
`kernels_for` picks the one for some tensors.
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
    """The kernels for tensors of one device; without any, those for arrays.

    Plain torch where autograd records, as it alone can be differentiated.

    >>> with torch.no_grad():
    ...     kernels_for(torch.ones(2, 3)).is_binary(torch.ones(2, 3))
    True
    """
    if tensors and torch.is_grad_enabled():
        return PLAIN
    if all(x.is_cpu for x in tensors) and compiles():
        return NUMBA
    return PLAIN
