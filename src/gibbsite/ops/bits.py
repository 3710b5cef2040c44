r"""The product of a matrix of zeros and ones with another, by looking up sums of rows.

Four rows of the other have 16 sums. With these in a lookup table, one addition does the work of
four multiply-adds (the method of four Russians: Arlazarov, Dinic, Kronrod and Faradzev 1970). A
tile of 32 rows and 64 columns makes eight lookup tables that fit into the first cache; rows of
zeros and ones go past them, many to a tile. Sums are float32 and in a fixed order, whatever the
threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic

BITS = 4
"""Rows whose sums make one lookup table."""

TABLES = 8
"""Lookup tables of a tile."""

WIDTH = 64
"""Columns of a tile."""

LANES = 8
"""Entries added at a time; LLVM splits them where vectors are shorter."""

BLOCK = 8192
"""Entries turned into codes at a time."""

ENTRIES = 2**BITS
DEPTH = BITS * TABLES

inlined = njit(forceinline=True, error_model="numpy")


WORD = ir.IntType(64)
VECTOR = ir.VectorType(ir.FloatType(), LANES)

# Two functions in LLVM's own vectors: for plain loops over rows of 64 entries the compiler has each
# row checked anew for overlap with the others, which takes as long as adding them.


def data(context: Any, builder: Any, kind: types.Array, array: Any) -> Any:
    """Pointer to the data of a flat array."""
    return context.make_array(kind)(context, builder, array).data


def vector(builder: Any, base: Any, at: Any) -> Any:
    """Pointer to the vector that begins at an offset."""
    return builder.bitcast(builder.gep(base, [at]), VECTOR.as_pointer())


def vectors(builder: Any, base: Any, at: Any) -> list[Any]:
    """Pointers to the vectors of the row of a tile that begins at an offset."""
    lanes = range(0, WIDTH, LANES)
    return [vector(builder, base, builder.add(at, WORD(lane))) for lane in lanes]


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
def turn_block(typing, source, at, stride, tile, to):  # type: ignore[no-untyped-def]
    """tile[to + WIDTH k + j] <- source[at + stride j + k] for j and k below LANES; both flat.

    Every round interleaves each row with the one half the rows further on.
    """
    signature = types.void(source, types.intp, types.intp, tile, types.intp)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        source, at, stride, tile, to = values
        source = data(context, builder, signature.args[0], source)
        tile = data(context, builder, signature.args[3], tile)
        half, order = LANES // 2, range(LANES)
        masks = [
            ir.Constant(
                ir.VectorType(ir.IntType(32), LANES),
                [start + j // 2 + j % 2 * LANES for j in order],
            )
            for start in (0, half)
        ]
        starts = (builder.add(at, builder.mul(stride, WORD(j))) for j in order)
        rows = [builder.load(vector(builder, source, start), align=4) for start in starts]
        for _ in range(LANES.bit_length() - 1):
            pairs = zip(rows[:half], rows[half:], strict=True)
            rows = [builder.shuffle_vector(*pair, mask) for pair in pairs for mask in masks]
        for k, row in enumerate(rows):
            place = builder.add(to, WORD(k * WIDTH))
            builder.store(row, vector(builder, tile, place), align=4)
        return context.get_dummy_value()

    return signature, generate


def sum_entries(known: bool) -> Any:
    """An intrinsic that sums entries of lookup tables, onto the sums so far (known) or afresh."""

    @intrinsic
    def total(typing, sums, place, tables, codes, first, step):  # type: ignore[no-untyped-def]
        signature = types.void(sums, types.intp, tables, codes, types.intp, types.intp)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            sums, place, tables, codes, at, step = values
            sums = data(context, builder, signature.args[0], sums)
            tables = data(context, builder, signature.args[2], tables)
            codes = data(context, builder, signature.args[3], codes)
            entries = []
            for table in range(TABLES):
                code = builder.zext(builder.load(builder.gep(codes, [at])), WORD)
                index = builder.add(code, WORD(table * ENTRIES))
                entries.append(vectors(builder, tables, builder.mul(index, WORD(WIDTH))))
                at = builder.add(at, step)
            totals = vectors(builder, sums, place)
            for pointer, *terms in zip(totals, *entries, strict=True):
                terms += [pointer] if known else []
                parts = [builder.load(term, align=4) for term in terms]
                while len(parts) > 1:
                    pairs = zip(parts[::2], parts[1::2], strict=False)
                    parts = [*(builder.fadd(*pair) for pair in pairs), *parts[len(parts) & ~1 :]]
                builder.store(parts[0], pointer, align=4)
            return context.get_dummy_value()

        return signature, generate

    return total


# sums[place :] <- the sum over tables t of their entries codes[first + step t]; all flat
set_entries, add_entries = sum_entries(known=False), sum_entries(known=True)


@inlined
def others(x):  # type: ignore[no-untyped-def]
    """Sum of |x^2 - x|: 0 for a vector of zeros and ones alone."""
    found = x.dtype.type(0)
    for j in range(len(x)):
        found += abs(x[j] * x[j] - x[j])
    return found


@inlined
def code_row(x, codes):  # type: ignore[no-untyped-def]
    """codes[t] <- x[4 t : 4 t + 4] as binary digits, the first the lowest."""
    whole = len(x) // BITS
    for t in range(whole):
        k = BITS * t
        codes[t] = (
            np.int32(x[k])
            + np.int32(2) * np.int32(x[k + 1])
            + np.int32(4) * np.int32(x[k + 2])
            + np.int32(8) * np.int32(x[k + 3])
        )
    for j in range(whole * BITS, len(x)):
        codes[whole] += np.uint8(x[j]) << np.uint8(j % BITS)


@inlined
def code_columns(x, codes):  # type: ignore[no-untyped-def]
    """codes[r] <- the column x[:, r] of up to 4 as binary digits, the first the lowest."""
    if len(x) == BITS:
        one, two, four, eight = x[0], x[1], x[2], x[3]
        for r in range(len(codes)):
            codes[r] = (
                np.int32(one[r])
                + np.int32(2) * np.int32(two[r])
                + np.int32(4) * np.int32(four[r])
                + np.int32(8) * np.int32(eight[r])
            )
    else:
        for b in range(len(x)):
            row = x[b]
            for r in range(len(codes)):
                codes[r] += np.uint8(row[r]) << np.uint8(b)


@inlined
def load_tile(weight, across, first, left, tile):  # type: ignore[no-untyped-def]
    """tile <- 32 rows and 64 columns of the weight, or if it lies across of its transpose."""
    if across and left + WIDTH <= len(weight) and first + DEPTH <= weight.shape[1]:
        source, to, stride = weight.reshape(-1), tile.reshape(-1), weight.shape[1]
        for j in range(0, WIDTH, LANES):
            for k in range(0, DEPTH, LANES):
                place = (left + j) * stride + first + k
                turn_block(source, place, stride, to, k * WIDTH + j)  # type: ignore[call-arg]
        return
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
    if others(x[0]) != 0:  # soon told, as a rule
        return False
    rows, m = out.shape
    n = len(x) if columns else x.shape[1]
    groups = (n + BITS - 1) // BITS
    codes = np.zeros(rows * groups + rows * TABLES, np.uint8)  # the rest meets tables of zeros
    found = np.float32(0.0)
    if columns:
        step, apart = rows, 1
        for t in prange(groups):
            group = x[t * BITS : t * BITS + BITS]
            found += others(group.reshape(-1))
            code_columns(group, codes[t * rows : (t + 1) * rows])
    else:
        step, apart = 1, groups
        block = max(1, BLOCK // n) if n % BITS == 0 else 1  # rows that make one vector
        for k in prange((rows + block - 1) // block):
            part = x[k * block : (k + 1) * block].reshape(-1)
            found += others(part)
            code_row(part, codes[k * block * groups : (k + 1) * block * groups])
    if found != 0:
        return False
    tiles = (m + WIDTH - 1) // WIDTH
    for task in prange(tiles * ((rows + together - 1) // together)):
        left, top = task % tiles * WIDTH, task // tiles * together
        height = min(together, rows - top)
        tile = np.empty(DEPTH * WIDTH, np.float32)
        tables = np.empty(TABLES * ENTRIES * WIDTH, np.float32)
        whole = left + WIDTH <= m
        if whole:
            sums, place, pace = out.reshape(-1), top * m + left, m
        else:
            sums, place, pace = np.empty(height * WIDTH, np.float32), 0, WIDTH
        for d in range(0, n, DEPTH):
            if across or d + DEPTH > n or not whole:
                load_tile(weight, across, d, left, tile.reshape(DEPTH, WIDTH))
                source, at, stride = tile, 0, WIDTH
            else:
                source, at, stride = weight.reshape(-1), d * m + left, m
            for t in range(TABLES):
                fill_table(source, at + t * BITS * stride, stride, tables, t)  # type: ignore[call-arg]
            first = d // BITS * step + top * apart
            if d == 0:
                for r in range(height):
                    set_entries(sums, place + r * pace, tables, codes, first + r * apart, step)
            else:
                for r in range(height):
                    add_entries(sums, place + r * pace, tables, codes, first + r * apart, step)
        if not whole:
            for r in range(height):
                row, found = out[top + r][left:], sums[r * WIDTH : (r + 1) * WIDTH]
                for j in range(len(row)):  # numpy's assignment takes seconds to compile
                    row[j] = found[j]
    return True
