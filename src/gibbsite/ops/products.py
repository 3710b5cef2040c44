"""The product of states and weights, by lookup tables of sums where those pay."""

from __future__ import annotations

import platform

import torch
from torch import Tensor

from gibbsite.ops.dispatch import array, compiled, fit, kernel, kernels, misfit


def product(x: Tensor, weight: Tensor, out: Tensor | None = None) -> Tensor:
    """x @ weight, (rows, m), for x (rows, n) and weight (n, m); no gradient.

    Where x is all zeros and ones a weight that is not finite counts for the ones alone.
    """
    if x.ndim != 2 or weight.ndim != 2 or x.dtype != weight.dtype or x.shape[1] != len(weight):
        raise misfit(weight, (*x.shape[1:], "columns"), x)
    shape = x.shape[0], weight.shape[1]
    if out is None:
        out = x.new_empty(shape)
    else:
        fit(out, shape, x)
    if not (pays_tables(x, weight, out) and tabled(x, weight, out)):
        torch.mm(x, weight, out=out)
    return out


def tabled(x: Tensor, weight: Tensor, out: Tensor) -> bool:
    """out <- x @ weight by sums of rows of the weight; False unless x is zeros and ones."""
    columns, across = not x.is_contiguous(), not weight.is_contiguous()
    left, right = x.T if columns else x, weight.T if across else weight
    height, tiles = len(out), -(-out.shape[1] // kernels().bits.WIDTH)
    # enough pieces for all threads, yet long ones, as each makes its lookup tables anew
    pieces = max(-(-height // 1024), min(height // 128, 4 * torch.get_num_threads() // tiles))
    together = -(-height // pieces)
    largest = max(out, x, weight, key=Tensor.numel)
    to, bits, sums = (array(part, x, *part.shape) for part in (out, left, right))
    return bool(kernel("bit_product", largest)(to, bits, columns, sums, across, together))


def pays_tables(x: Tensor, weight: Tensor, out: Tensor) -> bool:
    """True if sums of rows are quicker than a matrix product, x being zeros and ones.

    By size alone, lest results differ from run to run. Measured where MKL does the products.
    """
    (rows, n), m = x.shape, weight.shape[1]
    work = n * m * rows
    if work < TABLES_PAY or not (_X86 and compiled(out) and out.dtype == torch.float32):
        return False
    depth, width = kernels().bits.DEPTH, kernels().bits.WIDTH
    whole_tiles = -(-n // depth) * depth * -(-m // width) * width
    build = 24 if weight.is_contiguous() else 40  # in rows that go past a tile
    pays = whole_tiles * (rows + build) < 2 * work
    return pays and lies_flat(x) and lies_flat(weight)


TABLES_PAY = 2**20
"""Multiply-adds below which a matrix product is too quick to be bettered."""

_X86 = platform.machine().lower() in ("x86_64", "amd64")


def lies_flat(x: Tensor) -> bool:
    """True if x, or its transpose, is a contiguous matrix of float32."""
    return x.dtype == torch.float32 and (x.is_contiguous() or x.T.is_contiguous())
