"""The kernels of fused updates by rows with missing entries.

Those of `fused_kernels`, with sweeps of the missing entries of each minibatch before its phases.
"""

from __future__ import annotations

import numpy as np
from numba import float32

from gibbsite.ops.random import compiled, inlined
from gibbsite.training.fused_kernels import (
    allocate,
    copy_rows,
    draw_units,
    persistent_phases,
    product,
    product_with_transpose,
    step_uphill,
    take_minibatch,
)


@inlined
def read_entries(data, starts, entries, v):  # type: ignore[no-untyped-def]
    """Put the entries, of each row from its start on, where data are NaN."""
    for i in range(len(v)):
        row, to, place = data[i], v[i], starts[i]
        for j in range(len(row)):
            if np.isnan(row[j]):
                to[j] = entries[place]
                place += 1


@inlined
def replace_entries(data, starts, drawn, v, entries):  # type: ignore[no-untyped-def]
    """Put what is drawn where data are NaN into v, and into the entries."""
    for i in range(len(v)):
        row, new, to, place = data[i], drawn[i], v[i], starts[i]
        for j in range(len(row)):
            if np.isnan(row[j]):
                to[j] = entries[place] = new[j]
                place += 1


@compiled
def complete(weight, b, c, v, table, first, keys):  # type: ignore[no-untyped-def]
    """Sweep the missing entries of a minibatch v, which is that of the table from a row on."""
    (all_data, all_starts, entries), last = table, first + len(v)
    data, starts = all_data[first:last], all_starts[first:last]
    h, drawn = np.empty((len(v), len(c)), np.float32), np.empty(v.shape, np.float32)
    read_entries(data, starts, entries, v)
    for step in range(len(keys) // 2):
        product(v, weight, len(v), h)
        draw_units(h, c, float32(1.0), keys[2 * step :])
        product_with_transpose(h, weight, drawn)
        draw_units(drawn, b, float32(1.0), keys[2 * step + 1 :])
        replace_entries(data, starts, drawn, v, entries)


def persistent_updates_with_holes(  # type: ignore[no-untyped-def]
    parameters, velocities, chains, offsets, table, size, keys, rates, norms
):
    (weight, b, c), (chain_v, h), (data_keys, hole_keys, chain_keys) = parameters, chains, keys
    all_v, all_h_mean, buffers = allocate(weight, size + len(h))
    for update in range(len(norms)):
        rows = take_minibatch(table[0], update, size, data_keys, all_v)
        v, h_mean = all_v[: rows + len(h)], all_h_mean[: rows + len(h)]
        complete(weight, b, c, v[:rows], table, update * size, hole_keys[update])
        persistent_phases(weight, b, c, v, rows, h, chain_keys[update], h_mean)
        copy_rows(v[rows:], chain_v)
        model = parameters, velocities, offsets, rates
        norms[update] = step_uphill(model, buffers, v, h_mean, rows)
        if not norms[update] < np.inf:
            return update + 1
    return len(norms)
