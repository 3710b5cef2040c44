"""Units of several states each (Potts), one column a state."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from gibbsite import ops
from gibbsite.checks import as_tensor, check_counts, check_memory, not_finite
from gibbsite.errors import ArgumentError, EntryError
from gibbsite.layers.base import Layer
from gibbsite.layers.finite import Finite
from gibbsite.layers.moments import Means
from gibbsite.ops.segments import join, split


class Categorical(Finite):
    r"""n units, unit i in one of $q_i$ states: a column a state, 1 for the one it is in, else 0.

    Energy $-b\cdot x$ over all columns and statistic $x$, so that

    $$p(x_{ik} = 1 \mid \text{inputs}) = \exp(a_{ik}) / \sum_l \exp(a_{il}),\qquad
      a = b + \text{inputs},$$

    and the log-partition is $\sum_i \log\sum_k \exp(a_{ik})$: the Potts model of physics, softmax
    units (Salakhutdinov, Mnih, Hinton 2007, Restricted Boltzmann machines for collaborative
    filtering, (1)). Adding a constant to b over all states of a unit changes no probability; nor
    does adding one to a column of the weight there, if the other layer's bias takes it off again.
    This gauge is left as it is: neither fixed nor penalised.

    Data are one-hot, (rows, width), or codes, (rows, n): whole numbers from 0, which are turned
    into one-hot columns wherever data come in. What is neither raises `EntryError`.

    Args:
        n: number of units; or, without q, the number of states of each unit, as ``[3, 5, 2]``.
        q: number of states of every unit, at least 2.

    Attributes: ``n`` units, ``width`` columns, ``sizes``, the states of each unit, and ``bias``,
    (width,).

    >>> import torch, gibbsite as gb
    >>> layer = gb.Categorical([2, 3])
    >>> layer.n, layer.width, layer.sizes
    (2, 5, [2, 3])
    >>> layer.coerce([[1, 0], [0, 2]]).tolist()
    [[0.0, 1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, 1.0]]
    >>> gb.Categorical(1, 4).mean(torch.zeros(4)).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    interval = 0.0, 1.0
    whole = nominal = True

    def __init__(self, n: int | Sequence[int], q: int | None = None) -> None:
        if q is None and not isinstance(n, Integral):
            sizes = _listed(n)
            super().__init__(len(sizes), sizes, sum(sizes))
            check_memory(f"{self.n} units of {max(sizes)} states at most", self.n, max(sizes))
        else:
            check_counts(n=n)
            check_counts(2, q=q)
            units, states = int(n), int(q)  # type: ignore[arg-type]
            super().__init__(units, states, units * states)
        self.bias = nn.Parameter(torch.zeros(self.width))
        self.starts = [0, *accumulate(self.sizes)]

    def energy(self, x: Tensor) -> Tensor:
        return -(x @ self.bias)

    def log_partition(self, inputs: Tensor) -> Tensor:
        fields = split(self.bias + inputs, self.sizes, -torch.inf)
        return fields.logsumexp(-1).sum(-1)

    def moments(self, inputs: Tensor) -> Means:
        fields = split(self.bias + inputs, self.sizes, -torch.inf)
        return Means(join(fields.softmax(-1), self.sizes))

    @torch.no_grad()
    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        rows = inputs.detach().clone(memory_format=torch.contiguous_format).reshape(-1, self.width)
        kernels, bias = ops.kernels_for(rows), self.bias.detach()
        return kernels.draw_categorical_(rows, bias, self.sizes, generator).reshape(inputs.shape)

    @torch.no_grad()
    def inputs_for(self, rows: Tensor) -> Tensor:
        """Log of each state's share of the rows, half a count added to each, less the bias."""
        counts = split(rows.sum(0) + 0.5, self.sizes, 0.0)
        return join(counts.log() - counts.sum(-1, keepdim=True).log(), self.sizes) - self.bias

    def encode(self, codes: Tensor) -> Tensor:
        states = self.bias.new_zeros(*codes.shape[:-1], self.width)
        return states.scatter_(-1, codes + codes.new_tensor(self.starts[:-1]), 1.0)

    def unit_columns(self, unit: int) -> slice:
        return slice(self.starts[unit], self.starts[unit + 1])

    def coerce(self, x: Tensor) -> Tensor:
        """`Layer.coerce`; codes, (..., n), become one-hot, and a NaN code NaN in its columns."""
        x = as_tensor(x, self.like)
        if x.ndim == 0 or x.shape[-1] != self.n:
            return super().coerce(x)
        sizes, missing = torch.tensor(self.sizes, device=x.device), torch.isnan(x)
        good = missing | ((x >= 0) & (x < sizes) & (x == x.floor()))
        if not bool(good.all()):
            row, unit = _first(~good.reshape(-1, self.n))
            remedy = f"this unit takes codes from 0 to {self.sizes[unit] - 1}, whole numbers"
            raise EntryError(f"{x.reshape(-1, self.n)[row, unit]:g}", row, unit, remedy)
        states = self.encode(x.nan_to_num(0.0).long())
        if bool(missing.any()):
            states[missing.repeat_interleave(sizes, -1)] = torch.nan
        return states

    def check_data(self, data: Tensor) -> Tensor:
        """`Layer.check_data`; a missing code is named by row and unit."""
        x = as_tensor(data, self.like)
        if x.ndim == 2 and x.shape[1] == self.n and bool(x.isnan().any()):
            fault, remedy = not_finite(torch.nan)
            raise EntryError(fault, *_first(x.isnan()), remedy)
        return super().check_data(data)

    def check(self, rows: Tensor) -> None:
        """Raise `EntryError` unless of the columns of each unit one is 1 and the others are 0."""
        binary, ones = (rows == 0) | (rows == 1), split(rows, self.sizes, 0.0).sum(-1)
        good = split(binary, self.sizes, True).all(-1) & (ones == 1)
        if bool(good.all()):
            return
        row, unit = _first(~good)
        columns = self.unit_columns(unit)
        fault, column = f"{ones[row, unit]:g} ones for unit {unit + 1}", columns.start
        if not bool(binary[row, columns].all()):
            column += int((~binary[row, columns]).nonzero()[0])
            fault = f"{rows[row, column]:g}"
        remedy = (
            f"of columns {columns.start + 1} to {columns.stop}, which are unit {unit + 1}, one "
            f"must be 1 and the others 0; or give codes, one a unit, in {self.n} columns"
        )
        raise EntryError(fault, row, column, remedy)

    @classmethod
    def for_columns(cls, greatest: Tensor, **options: Any) -> Layer:
        """A layer of states from 0 to the greatest code of each column, 1 at least."""
        return cls([max(1, int(code)) + 1 for code in greatest.tolist()])

    def by_unit(self, x: Tensor) -> Tensor:
        """Code of the state that is, or has the largest mean, in each unit."""
        return split(x, self.sizes, -torch.inf).argmax(-1).to(x.dtype)

    def as_grey(self, x: Tensor) -> Tensor:
        """The code as a share of the largest one."""
        return self.by_unit(x) / (x.new_tensor(self.sizes) - 1)

    def pull(self, weight: Tensor) -> Tensor:
        """Slope of the weights of a unit's states over `as_grey`; of two states the difference."""
        level = torch.cat([torch.linspace(-0.5, 0.5, size) for size in self.sizes]).to(weight)
        squares = split(level**2, self.sizes, 0.0).sum(-1)
        return split((level * weight.T), self.sizes, 0.0).sum(-1).div(squares).T

    def guess(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        """`Layer.guess`: the most probable state of each unit; its probability in its columns."""
        code = self.by_unit(mean).long()
        state = self.encode(code).to(mean)
        most = split(mean, self.sizes, -torch.inf).amax(-1)
        return state, most.repeat_interleave(torch.tensor(self.sizes, device=mean.device), -1)

    def unit_options(self, units: Sequence[int]) -> dict[str, Any]:
        return {"sizes": [self.sizes[unit] for unit in units]}

    def options(self) -> dict[str, Any]:
        return {"sizes": self.sizes}

    @classmethod
    def skeleton(cls, n: int, shapes: dict[str, list[int]], options: dict[str, Any]) -> Layer:
        return cls(options["sizes"])

    def describe(self) -> str:
        return f"Categorical({self.extra_repr()})"

    def extra_repr(self) -> str:
        if len(set(self.sizes)) == 1:
            return f"{self.n}, {self.sizes[0]}"
        return f"[{', '.join(map(str, self.sizes[:6]))}{', ...' if self.n > 6 else ''}]"


def _listed(sizes: object) -> list[int]:
    """States of each unit as whole numbers of at least 2, else `ArgumentError`."""
    try:
        listed = sizes.tolist() if isinstance(sizes, Tensor) else list(sizes)  # type: ignore
    except TypeError as error:
        raise ArgumentError(
            f"n={sizes!r}: expected a number, or the states of each unit"
        ) from error
    check_counts(2, **{f"states of unit {unit + 1}": size for unit, size in enumerate(listed)})
    return [int(size) for size in listed]


def _first(bad: Tensor) -> tuple[int, int]:
    """Row and column of the first entry that is true."""
    row, column = bad.nonzero()[0].tolist()
    return row, column
