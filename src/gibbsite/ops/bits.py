r"""Product of a binary matrix with a float32 matrix, by lookup tables of sums of rows.

Four rows of the right matrix have 16 possible sums. Once they are in a lookup table, four entries
of the binary matrix, read as a code from 0 to 15, pick theirs: one addition replaces four
multiply-adds (the method of four Russians: Arlazarov, Dinic, Kronrod and Faradzev 1970). The right
matrix is cut into tiles of 32 x 64; the eight lookup tables of a tile fit into the first cache, and
many binary rows use them before the next tile. Sums are float32 and in a fixed order, whatever the
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

LOOKUP_TABLES = 8
"""Lookup tables of a tile."""

WIDTH = 64
"""Columns of a tile."""

LANES = 8
"""Entries added at a time; LLVM splits them where vectors are shorter."""

BLOCK = 8192
"""Entries turned into codes at a time."""

CODES = 2**BITS
DEPTH = BITS * LOOKUP_TABLES
"""Rows of a tile."""

inlined = njit(forceinline=True, error_model="numpy")

WORD = ir.IntType(64)
VECTOR = ir.VectorType(ir.FloatType(), LANES)

# The intrinsics use LLVM's own vectors: for plain loops over rows of 64 entries the compiler checks
# each row anew for overlap with the others, which takes as long as adding them. All of their arrays
# are flat, and their integers are offsets and strides in entries.


def data_pointer(context: Any, builder: Any, kind: types.Array, array: Any) -> Any:
    """Pointer to the data of a flat array."""
    return context.make_array(kind)(context, builder, array).data


def vector_pointer(builder: Any, base: Any, offset: Any) -> Any:
    """Pointer to the vector that begins at an offset."""
    return builder.bitcast(builder.gep(base, [offset]), VECTOR.as_pointer())


def row_pointers(builder: Any, base: Any, offset: Any) -> list[Any]:
    """Pointers to the vectors of the row of a tile that begins at an offset."""
    lanes = range(0, WIDTH, LANES)
    return [vector_pointer(builder, base, builder.add(offset, WORD(lane))) for lane in lanes]


@intrinsic
def fill_lookup_table(typing, source, offset, stride, lookup, table):  # type: ignore[no-untyped-def]
    """lookup[table, code] <- the sum of the rows b for which bit b of the code is 1.

    Row b is source[offset + stride b :].
    """
    signature = types.void(source, types.intp, types.intp, lookup, types.intp)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        source, offset, stride, lookup, table = values
        source = data_pointer(context, builder, signature.args[0], source)
        lookup = data_pointer(context, builder, signature.args[3], lookup)
        first = builder.mul(table, WORD(CODES * WIDTH))
        starts = [builder.add(offset, builder.mul(stride, WORD(b))) for b in range(BITS)]
        rows = zip(*(row_pointers(builder, source, start) for start in starts), strict=True)
        places = [builder.add(first, WORD(code * WIDTH)) for code in range(CODES)]
        entries = zip(*(row_pointers(builder, lookup, place) for place in places), strict=True)
        for row, entry in zip(rows, entries, strict=True):
            sums = [VECTOR([0.0] * LANES)]
            for pointer in row:
                value = builder.load(pointer, align=4)
                sums += [builder.fadd(partial, value) for partial in sums]
            for total, pointer in zip(sums, entry, strict=True):
                builder.store(total, pointer, align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def transpose_block(typing, source, offset, stride, tile, to):  # type: ignore[no-untyped-def]
    """tile[to + WIDTH k + j] <- source[offset + stride j + k] for j and k below LANES.

    Every round interleaves each row with the one half the rows further on.
    """
    signature = types.void(source, types.intp, types.intp, tile, types.intp)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        source, offset, stride, tile, to = values
        source = data_pointer(context, builder, signature.args[0], source)
        tile = data_pointer(context, builder, signature.args[3], tile)
        half, order = LANES // 2, range(LANES)
        mask_type = ir.VectorType(ir.IntType(32), LANES)
        masks = [
            ir.Constant(mask_type, [start + j // 2 + j % 2 * LANES for j in order])
            for start in (0, half)
        ]
        starts = (builder.add(offset, builder.mul(stride, WORD(j))) for j in order)
        rows = [builder.load(vector_pointer(builder, source, start), align=4) for start in starts]
        for _ in range(LANES.bit_length() - 1):
            pairs = zip(rows[:half], rows[half:], strict=True)
            rows = [builder.shuffle_vector(*pair, mask) for pair in pairs for mask in masks]
        for k, row in enumerate(rows):
            place = builder.add(to, WORD(k * WIDTH))
            builder.store(row, vector_pointer(builder, tile, place), align=4)
        return context.get_dummy_value()

    return signature, generate


def make_sum_entries(accumulate: bool) -> Any:
    """Make the intrinsic ``sums[place :] (+)= sum_t lookup[t, codes[first + step t]]``."""

    @intrinsic
    def sum_entries(typing, sums, place, lookup, codes, first, step):  # type: ignore[no-untyped-def]
        signature = types.void(sums, types.intp, lookup, codes, types.intp, types.intp)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            sums, place, lookup, codes, offset, step = values
            sums = data_pointer(context, builder, signature.args[0], sums)
            lookup = data_pointer(context, builder, signature.args[2], lookup)
            codes = data_pointer(context, builder, signature.args[3], codes)
            entries = []
            for table in range(LOOKUP_TABLES):
                code = builder.zext(builder.load(builder.gep(codes, [offset])), WORD)
                index = builder.add(code, WORD(table * CODES))
                entries.append(row_pointers(builder, lookup, builder.mul(index, WORD(WIDTH))))
                offset = builder.add(offset, step)
            totals = row_pointers(builder, sums, place)
            for pointer, *terms in zip(totals, *entries, strict=True):
                terms += [pointer] if accumulate else []
                parts = [builder.load(term, align=4) for term in terms]
                while len(parts) > 1:  # add in pairs, as a balanced tree
                    pairs = zip(parts[::2], parts[1::2], strict=False)
                    parts = [*(builder.fadd(*pair) for pair in pairs), *parts[len(parts) & ~1 :]]
                builder.store(parts[0], pointer, align=4)
            return context.get_dummy_value()

        return signature, generate

    return sum_entries


set_entries, add_entries = make_sum_entries(accumulate=False), make_sum_entries(accumulate=True)


@inlined
def binary_defect(x):  # type: ignore[no-untyped-def]
    """Sum of |x^2 - x| over a vector: 0 if and only if all entries are 0 or 1."""
    total = x.dtype.type(0)
    for j in range(len(x)):
        total += abs(x[j] * x[j] - x[j])
    return total


@inlined
def encode_row(x, codes):  # type: ignore[no-untyped-def]
    """codes[t] <- x[4 t : 4 t + 4] as a binary integer, lowest bit first."""
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
def encode_columns(x, codes):  # type: ignore[no-untyped-def]
    """codes[r] <- the column x[:, r], of up to 4 entries, as a binary integer, lowest bit first."""
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
def load_tile(weight, transposed, top, left, tile):  # type: ignore[no-untyped-def]
    """tile <- 32 rows and 64 columns of the weight, or of its transpose, padded with zeros."""
    if transposed and left + WIDTH <= len(weight) and top + DEPTH <= weight.shape[1]:
        source, to, stride = weight.reshape(-1), tile.reshape(-1), weight.shape[1]
        for j in range(0, WIDTH, LANES):
            for k in range(0, DEPTH, LANES):
                offset = (left + j) * stride + top + k
                transpose_block(source, offset, stride, to, k * WIDTH + j)  # type: ignore[call-arg]
        return
    tile[:] = 0
    if transposed:
        for j, row in enumerate(weight[left : left + WIDTH]):
            part = row[top : top + DEPTH]
            for k in range(len(part)):
                tile[k, j] = part[k]
    else:
        for k, row in enumerate(weight[top : top + DEPTH]):
            part, to = row[left : left + WIDTH], tile[k]
            for j in range(len(part)):
                to[j] = part[j]


@inlined
def crop_rows(x, left, out):  # type: ignore[no-untyped-def]
    """out[:, left :] <- the first columns of x; numpy's assignment takes seconds to compile."""
    for r in range(len(x)):
        row, to = x[r], out[r][left:]
        for j in range(len(to)):
            to[j] = row[j]


def bit_product(out, x, x_transposed, weight, weight_transposed, tile_rows):  # type: ignore[no-untyped-def]
    """out <- x @ weight, each given as its transpose if so said; False unless x is binary.

    A task is one column of tiles and `tile_rows` rows of x.
    """
    if binary_defect(x[0]) != 0:  # finds out most matrices that are not binary
        return False
    rows, m = out.shape
    n = len(x) if x_transposed else x.shape[1]
    groups = (n + BITS - 1) // BITS
    # the codes behind the last group are 0, for the lookup tables of the last tile's padding
    codes = np.zeros(rows * groups + rows * LOOKUP_TABLES, np.uint8)
    defect = np.float32(0.0)
    if x_transposed:  # codes lie by group, then by row
        group_stride, row_stride = rows, 1
        for t in prange(groups):
            group = x[t * BITS : t * BITS + BITS]
            defect += binary_defect(group.reshape(-1))
            encode_columns(group, codes[t * rows : (t + 1) * rows])
    else:  # codes lie by row, then by group
        group_stride, row_stride = 1, groups
        block = max(1, BLOCK // n) if n % BITS == 0 else 1  # rows that make one vector
        for k in prange((rows + block - 1) // block):
            part = x[k * block : (k + 1) * block].reshape(-1)
            defect += binary_defect(part)
            encode_row(part, codes[k * block * groups : (k + 1) * block * groups])
    if defect != 0:
        return False
    tiles = (m + WIDTH - 1) // WIDTH
    for task in prange(tiles * ((rows + tile_rows - 1) // tile_rows)):
        left, top = task % tiles * WIDTH, task // tiles * tile_rows
        height = min(tile_rows, rows - top)
        tile = np.empty(DEPTH * WIDTH, np.float32)
        lookup = np.empty(LOOKUP_TABLES * CODES * WIDTH, np.float32)
        whole = left + WIDTH <= m
        if whole:
            sums, place, out_stride = out.reshape(-1), top * m + left, m
        else:
            sums, place, out_stride = np.empty(height * WIDTH, np.float32), 0, WIDTH
        for d in range(0, n, DEPTH):
            if weight_transposed or d + DEPTH > n or not whole:
                load_tile(weight, weight_transposed, d, left, tile.reshape(DEPTH, WIDTH))
                source, offset, stride = tile, 0, WIDTH
            else:
                source, offset, stride = weight.reshape(-1), d * m + left, m
            for t in range(LOOKUP_TABLES):
                fill_lookup_table(source, offset + t * BITS * stride, stride, lookup, t)  # type: ignore[call-arg]
            first = d // BITS * group_stride + top * row_stride
            if d == 0:
                for r in range(height):
                    code = first + r * row_stride
                    set_entries(sums, place + r * out_stride, lookup, codes, code, group_stride)
            else:
                for r in range(height):
                    code = first + r * row_stride
                    add_entries(sums, place + r * out_stride, lookup, codes, code, group_stride)
        if not whole:
            crop_rows(sums.reshape(height, WIDTH), left, out[top : top + height])
    return True
