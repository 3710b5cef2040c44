r"""The product of a table of zeros and ones with a matrix, by looking up sums of rows.

Four rows of the matrix have 16 sums. Where these are tabled, one addition does the work of four
multiply-adds (the method of four Russians: Arlazarov, Dinic, Kronrod and Faradzev 1970). A tile of
32 rows and 64 columns makes eight tables that fit into the first cache; rows of zeros and ones
go past them, many to a tile. Sums are float32 and in a fixed order, whatever the threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic

BITS = 4
"""Rows whose sums make one table."""

TABLES = 8
"""Tables of a tile."""

WIDTH = 64
"""Columns of a tile."""

LANES = 8
"""Numbers added at a time; LLVM splits them where vectors are shorter."""

ENTRIES = 2**BITS
DEPTH = BITS * TABLES

inlined = njit(forceinline=True, error_model="numpy")


WORD = ir.IntType(64)
VECTOR = ir.VectorType(ir.FloatType(), LANES)

# Two functions in LLVM's own vectors: for plain loops over rows of 64 numbers the compiler has each
# row checked anew for overlap with the others, which takes as long as adding them.


def data(context: Any, builder: Any, kind: types.Array, array: Any) -> Any:
    """Where the numbers of a flat array are."""
    return context.make_array(kind)(context, builder, array).data


def vectors(builder: Any, base: Any, at: Any) -> list[Any]:
    """Pointers to the vectors of the row of a tile that begins at a place."""
    places = (builder.add(at, WORD(lane)) for lane in range(0, WIDTH, LANES))
    return [builder.bitcast(builder.gep(base, [x]), VECTOR.as_pointer()) for x in places]


@intrinsic
def fill_table(typing, source, at, stride, tables, table):  # type: ignore[no-untyped-def]
    """tables[table, c] <- the sum of the rows b whose digit b is 1 in c.

    Row b is source[at + stride b :]; both arrays are flat.
    """
    signature = types.void(source, types.intp, types.intp, tables, types.intp)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        source, at, stride, tables, table = values
        source = data(context, builder, signature.args[0], source)
        tables = data(context, builder, signature.args[3], tables)
        first = builder.mul(table, WORD(ENTRIES * WIDTH))
        starts = [builder.add(at, builder.mul(stride, WORD(b))) for b in range(BITS)]
        rows = zip(*(vectors(builder, source, start) for start in starts), strict=True)
        places = [builder.add(first, WORD(code * WIDTH)) for code in range(ENTRIES)]
        entries = zip(*(vectors(builder, tables, place) for place in places), strict=True)
        for row, entry in zip(rows, entries, strict=True):
            sums = [VECTOR([0.0] * LANES)]
            for pointer in row:
                new = builder.load(pointer, align=4)
                sums += [builder.fadd(known, new) for known in sums]
            for total, pointer in zip(sums, entry, strict=True):
                builder.store(total, pointer, align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def add_entries(typing, sums, row, tables, codes, first, step):  # type: ignore[no-untyped-def]
    """sums[row] += the sum of the entries number codes[first + step t] of each table t.

    All arrays are flat.
    """
    signature = types.void(sums, types.intp, tables, codes, types.intp, types.intp)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        sums, row, tables, codes, at, step = values
        sums = data(context, builder, signature.args[0], sums)
        tables = data(context, builder, signature.args[2], tables)
        codes = data(context, builder, signature.args[3], codes)
        entries = []
        for table in range(TABLES):
            code = builder.zext(builder.load(builder.gep(codes, [at])), WORD)
            number = builder.add(code, WORD(table * ENTRIES))
            entries.append(vectors(builder, tables, builder.mul(number, WORD(WIDTH))))
            at = builder.add(at, step)
        totals = vectors(builder, sums, builder.mul(row, WORD(WIDTH)))
        for pointers in zip(totals, *entries, strict=True):
            parts = [builder.load(pointer, align=4) for pointer in pointers]
            while len(parts) > 1:
                pairs = zip(parts[::2], parts[1::2], strict=False)
                parts = [*(builder.fadd(*pair) for pair in pairs), *parts[len(parts) & ~1 :]]
            builder.store(parts[0], pointers[0], align=4)
        return context.get_dummy_value()

    return signature, generate


@inlined
def others(row):  # type: ignore[no-untyped-def]
    """1 if the row holds anything but zeros and ones, else 0."""
    found = 0
    for j in range(len(row)):
        found |= (row[j] != 0) & (row[j] != 1)
    return found


@inlined
def code_row(row, codes):  # type: ignore[no-untyped-def]
    """codes[t] <- row[4 t : 4 t + 4] as binary digits, the first the lowest."""
    whole = len(row) // BITS
    for t in range(whole):
        k = BITS * t
        codes[t] = (
            np.int32(row[k])
            + np.int32(2) * np.int32(row[k + 1])
            + np.int32(4) * np.int32(row[k + 2])
            + np.int32(8) * np.int32(row[k + 3])
        )
    for j in range(whole * BITS, len(row)):
        codes[whole] += np.uint8(row[j]) << np.uint8(j % BITS)


@inlined
def code_columns(x, codes):  # type: ignore[no-untyped-def]
    """codes[r] <- the column x[:, r] as binary digits, the first the lowest; others if not."""
    found = 0
    for b, row in enumerate(x):
        place = np.uint8(1 << b)
        for r in range(len(row)):
            found |= (row[r] != 0) & (row[r] != 1)
            codes[r] += place * np.uint8(row[r])
    return found


@inlined
def load_tile(weight, across, first, left, tile):  # type: ignore[no-untyped-def]
    """tile <- 32 rows and 64 columns of the weight, or if it lies across of its transpose."""
    tile[:] = 0
    if across:
        for j, row in enumerate(weight[left : left + WIDTH]):
            part = row[first : first + DEPTH]
            for k in range(len(part)):
                tile[k, j] = part[k]
    else:
        for k, row in enumerate(weight[first : first + DEPTH]):
            part, to = row[left : left + WIDTH], tile[k]
            for j in range(len(part)):
                to[j] = part[j]


def bit_product(out, x, columns, weight, across, together):  # type: ignore[no-untyped-def]
    if others(x[0]):  # soon told, as a rule
        return False
    rows, m = out.shape
    n = len(x) if columns else x.shape[1]
    deep = (n + DEPTH - 1) // DEPTH
    codes = np.zeros(rows * deep * TABLES, np.uint8)
    found = 0
    if columns:
        step, apart = rows, 1
        for t in prange((n + BITS - 1) // BITS):
            found += code_columns(x[t * BITS : t * BITS + BITS], codes[t * rows : (t + 1) * rows])
    else:
        step, apart = 1, deep * TABLES
        for r in prange(rows):
            found += others(x[r])
            code_row(x[r], codes[r * apart : (r + 1) * apart])
    if found:
        return False
    tiles = (m + WIDTH - 1) // WIDTH
    for task in prange(tiles * ((rows + together - 1) // together)):
        left, top = task % tiles * WIDTH, task // tiles * together
        part = out[top : top + together]
        tile = np.empty((DEPTH, WIDTH), np.float32)
        tables = np.empty((TABLES, ENTRIES, WIDTH), np.float32)
        sums = np.zeros((len(part), WIDTH), np.float32)
        flat, entries = sums.reshape(-1), tables.reshape(-1)
        for d in range(deep):
            if across or d * DEPTH + DEPTH > n or left + WIDTH > m:
                load_tile(weight, across, d * DEPTH, left, tile)
                source, at, stride = tile.reshape(-1), 0, WIDTH
            else:
                source, at, stride = weight.reshape(-1), d * DEPTH * m + left, m
            for t in range(TABLES):
                place = at + t * BITS * stride
                fill_table(source, place, stride, entries, t)  # type: ignore[call-arg]
            first = d * TABLES * step + top * apart
            for r in range(len(part)):
                place = first + r * apart
                add_entries(flat, r, entries, codes, place, step)  # type: ignore[call-arg]
        for r in range(len(part)):
            row = part[r][left : left + WIDTH]
            row[:] = sums[r][: len(row)]
    return True
