r"""The kernels compiled by Numba: one pass over the data, vectorised, any number of threads.

Random bits are Philox4x32-10 (Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3),
a function of a key, drawn afresh for each call, and of the place in the table. Results therefore
depend neither on the threads nor on the order of work. One counter makes four words, which go
to four places a quarter of a group of rows apart, so that neighbouring lanes work alike.

Draws compare $u\,(1 + e^{-x}) < 1$, without a division, with 24 random bits and a polynomial
$e^x$ in float32, right to 2 units in the last place.
"""

from __future__ import annotations

import functools
import importlib
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
import numpy as np
import torch
from numba import float32, float64, njit, prange, uint32, uint64

from gibbsite.ops import bits
from gibbsite.ops.bits import bit_product, others

# NaN must stay NaN, so not every liberty of fastmath
LIBERTIES = {"contract", "reassoc", "arcp", "nsz"}

BLOCK = 2048
"""Places of a group of short rows, and of a piece of a long vector."""

PIECE = 64
"""Factors between 1 and 2 whose product stays far within float32."""

LONG_PIECE = 960
"""The same for float64."""

CENTER_ROWS = 32
"""Rows whose part of a sum over rows one thread takes; a number of its own for equal results."""

inlined = njit(forceinline=True, fastmath=LIBERTIES, error_model="numpy")


@inlined
def philox(c0, c1, k0, k1):  # type: ignore[no-untyped-def]
    """Four random words of 32 bits for the counter (c0, c1, 0, 0) and the key (k0, k1)."""
    c2 = uint32(0)
    c3 = uint32(0)
    for _ in range(10):
        p0 = uint64(0xD2511F53) * uint64(c0)
        p1 = uint64(0xCD9E8D57) * uint64(c2)
        c0 = uint32(p1 >> uint64(32)) ^ c1 ^ k0
        c2 = uint32(p0 >> uint64(32)) ^ c3 ^ k1
        c1 = uint32(p1)
        c3 = uint32(p0)
        k0 = uint32(k0 + uint32(0x9E3779B9))
        k1 = uint32(k1 + uint32(0xBB67AE85))
    return c0, c1, c2, c3


@inlined
def uniform(word):  # type: ignore[no-untyped-def]
    """The upper 24 bits of a word as a number strictly between 0 and 1."""
    return (float32(np.int32(word >> uint32(8))) + float32(0.5)) * float32(2.0**-24)


@inlined
def exp32(x):  # type: ignore[no-untyped-def]
    """e^x in float32, x held within [-87, 87]: 2^n times a polynomial on |r| < log(2)/2."""
    x = x if x < float32(87.0) else float32(87.0)  # and so NaN, for which a draw gives 0
    x = x if x > float32(-87.0) else float32(-87.0)
    n = np.floor(x * float32(1.4426950408889634) + float32(0.5))
    r = x - n * float32(0.693359375) + n * float32(2.12194440e-4)
    p = float32(1 / 5040) * r + float32(1 / 720)
    p = p * r + float32(1 / 120)
    p = p * r + float32(1 / 24)
    p = p * r + float32(1 / 6)
    p = p * r + float32(0.5)
    p = p * r * r + r + float32(1.0)
    return p * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@inlined
def log32(u):  # type: ignore[no-untyped-def]
    """log u of a float32 in (0, 1]: its exponent, and 2 artanh of what is near 1."""
    bits = np.int32(np.float32(u).view(np.int32) - np.int32(0x3F3504F3))  # split at sqrt(1/2)
    n = bits >> np.int32(23)
    m = np.int32((bits & np.int32(0x007FFFFF)) + np.int32(0x3F3504F3)).view(np.float32)
    s = (m - float32(1.0)) / (m + float32(1.0))
    q = s * s
    p = float32(1 / 9) * q + float32(1 / 7)
    p = p * q + float32(1 / 5)
    p = p * q + float32(1 / 3)
    return float32(n) * float32(0.6931471805599453) + float32(2.0) * (s + s * q * p)


@inlined
def normal_pair(a, b):  # type: ignore[no-untyped-def]
    """Two independent standard normals from two words, by Box and Muller."""
    radius = np.sqrt(float32(-2.0) * log32(uniform(a)))
    # the angle is pi/2 (quadrant + f): sine and cosine of a quarter turn, f in [-1/2, 1/2]
    turn = float32(np.int32(b >> uint32(8))) * float32(2.0**-22)
    quadrant = np.floor(turn + float32(0.5))
    f = (turn - quadrant) * float32(1.5707963267948966)
    q = f * f
    sine = f * (float32(1.0) + q * (float32(-1 / 6) + q * (float32(1 / 120) - q / float32(5040))))
    cosine = float32(1.0) + q * (
        float32(-0.5) + q * (float32(1 / 24) + q * (float32(-1 / 720) + q / float32(40320)))
    )
    k = np.int32(quadrant)
    x = sine if k & np.int32(1) else cosine
    y = cosine if k & np.int32(1) else sine
    x = -x if (k + np.int32(1)) & np.int32(2) else x
    y = -y if k & np.int32(2) else y
    return radius * x, radius * y


@inlined
def split(key):  # type: ignore[no-untyped-def]
    """The two halves of a 64-bit key."""
    word = uint64(key[0])
    return uint32(word), uint32(word >> uint64(32))


@inlined
def rows_together(n):  # type: ignore[no-untyped-def]
    """How many rows are worked on at a time: enough to keep the vector units busy."""
    return max(1, BLOCK // n)


@inlined
def words(group, rows, n, key):  # type: ignore[no-untyped-def]
    """Random words for the places of a group of rows, (rows, n)."""
    k0, k1 = split(key)
    quarter = (rows * n + 3) // 4
    out = np.empty(4 * quarter, np.uint32)
    for j in range(quarter):
        a, b, c, d = philox(uint32(j), uint32(group), k0, k1)
        out[j] = a
        out[j + quarter] = b
        out[j + 2 * quarter] = c
        out[j + 3 * quarter] = d
    return out[: rows * n].reshape(rows, n)


# rows are taken out of tables before the inner loops, which are vectorised only so


def draw_bernoulli(x, bias, scale, key):  # type: ignore[no-untyped-def]
    rows, n = x.shape
    together = rows_together(n)
    for group in prange((rows + together - 1) // together):
        word = words(group, together, n, key)
        part = x[group * together : (group + 1) * together]
        for i in range(len(part)):
            row, random = part[i], word[i]
            for j in range(n):
                e = exp32(-float32(bias[j] + scale * row[j]))
                row[j] = uniform(random[j]) * (float32(1.0) + e) < float32(1.0)


@inlined
def mean32(value):  # type: ignore[no-untyped-def]
    mean = float32(1.0) / (float32(1.0) + exp32(-value))
    return mean if value == value else value  # NaN stays


def mean_and_draw(x, bias, start, key, draws):  # type: ignore[no-untyped-def]
    rows, n = draws.shape
    for i in prange(start):
        row = x[i]
        for j in range(n):
            row[j] = mean32(float32(bias[j] + row[j]))
    together = rows_together(n)
    for group in prange((rows + together - 1) // together):
        word = words(group, together, n, key)
        first = group * together
        drawn = draws[first : first + together]
        part = x[start + first : start + first + len(drawn)]
        for i in range(len(part)):
            row, draw, random = part[i], drawn[i], word[i]
            for j in range(n):
                row[j] = mean32(float32(bias[j] + row[j]))
                draw[j] = uniform(random[j]) < row[j]


@inlined
def draw_group(part, group, key):  # type: ignore[no-untyped-def]
    """A group of rows of probabilities is drawn, unless it is all zeros and ones."""
    between = part.dtype.type(0)
    for i in range(len(part)):
        between += others(part[i])
    if between != 0:
        n = part.shape[1]
        word = words(group, rows_together(n), n, key)
        for i in range(len(part)):
            row, random = part[i], word[i]
            for j in range(len(row)):
                row[j] = uniform(random[j]) < row[j]


def draw_probabilities(x, key):  # type: ignore[no-untyped-def]
    rows, n = x.shape
    together = rows_together(n)
    for group in prange((rows + together - 1) // together):
        draw_group(x[group * together : (group + 1) * together], group, key)


def draw_gaussian(x, bias, sigma, scale, key):  # type: ignore[no-untyped-def]
    rows, n = x.shape
    together = rows_together(n)
    for group in prange((rows + together - 1) // together):
        word = words(group, together + together % 2, n, key).reshape(2, -1)
        noise = np.empty(word.shape, np.float32)
        for j in range(word.shape[1]):
            noise[0, j], noise[1, j] = normal_pair(word[0, j], word[1, j])
        normal = noise.reshape(-1, n)
        part = x[group * together : (group + 1) * together]
        for i in range(len(part)):
            row, random = part[i], normal[i]
            for j in range(n):
                row[j] = bias[j] + sigma[j] * (scale * row[j] + random[j])


def mean_bernoulli(x, bias, scale):  # type: ignore[no-untyped-def]
    for i in prange(len(x)):
        row = x[i]
        for j in range(len(row)):
            row[j] = mean32(float32(bias[j] + scale * row[j]))


# the sum of log(1 + e^-|a|) is the log of a product, which 15 pieces at most keep in range


def softplus_sum(x, bias, out):  # type: ignore[no-untyped-def]
    rows, n = x.shape
    for i in prange(rows):
        row = x[i]
        total, product = float64(0.0), float64(1.0)
        for k in range((n + PIECE - 1) // PIECE):
            piece = slice(k * PIECE, (k + 1) * PIECE)
            inputs, b = row[piece], bias[piece]
            above, factor = float32(0.0), float64(1.0)
            for j in range(len(inputs)):
                a = float32(b[j] + inputs[j])
                above += max(a, float32(0.0))
                factor *= float64(1.0) + float64(exp32(-abs(a)))
            total += above
            product *= factor
            if k % 15 == 14:
                total += np.log(product)
                product = float64(1.0)
        out[i] = total + np.log(product)


@inlined
def exp64(x):  # type: ignore[no-untyped-def]
    """e^x in float64 for x <= 0, to 1e-16 absolutely: 2^n times a polynomial on |r| < log(2)/2."""
    x = x if x > -700.0 else -700.0
    n = np.floor(x * 1.4426950408889634 + 0.5)
    r = x - n * 0.6931471805599453
    p = 1 / 6227020800 * r + 1 / 479001600
    p = p * r + 1 / 39916800
    p = p * r + 1 / 3628800
    p = p * r + 1 / 362880
    p = p * r + 1 / 40320
    p = p * r + 1 / 5040
    p = p * r + 1 / 720
    p = p * r + 1 / 120
    p = p * r + 1 / 24
    p = p * r + 1 / 6
    p = p * r + 0.5
    p = p * r * r + r + 1.0
    # the low bits of n + 1.5 2^52 are n: few processors turn float64 into whole numbers at once
    exponent = np.float64(n + 6755399441055744.0).view(np.int64)
    return p * np.int64((exponent + np.int64(1023)) << np.int64(52)).view(np.float64)


def softplus_sum_double(x, bias, out):  # type: ignore[no-untyped-def]
    rows, n = x.shape
    for i in prange(rows):
        row = x[i]
        total = float64(0.0)
        for k in range((n + LONG_PIECE - 1) // LONG_PIECE):
            piece = slice(k * LONG_PIECE, (k + 1) * LONG_PIECE)
            inputs, b = row[piece], bias[piece]
            above, factor = float64(0.0), float64(1.0)
            for j in range(len(inputs)):
                a = b[j] + inputs[j]
                above += max(a, float64(0.0))
                factor *= float64(1.0) + exp64(-abs(a))
            total += above + np.log(factor)
        out[i] = total


def softplus_change(x, bias, base, old, new, out):  # type: ignore[no-untyped-def]
    rows, n = x.shape
    for i in prange(rows):
        row = x[i]
        total, product = float64(0.0), float64(1.0)
        for k in range((n + PIECE - 1) // PIECE):
            piece = slice(k * PIECE, (k + 1) * PIECE)
            inputs, b, f = row[piece], bias[piece], base[piece]
            above, up, down = float32(0.0), float32(1.0), float32(1.0)
            for j in range(len(inputs)):
                start, gap = b[j] + f[j], inputs[j] - f[j]
                after, before = float32(start + new * gap), float32(start + old * gap)
                above += max(after, float32(0.0)) - max(before, float32(0.0))
                up *= float32(1.0) + exp32(-abs(after))
                down *= float32(1.0) + exp32(-abs(before))
            total += above
            product *= float64(up) / float64(down)
            if k % 15 == 14:
                total += np.log(product)
                product = float64(1.0)
        out[i] = total + np.log(product)


def add_row_dot(x, weights, scale, total):  # type: ignore[no-untyped-def]
    rows, n = x.shape
    for i in prange(rows):
        dot = float64(0.0)
        for j in range(n):
            dot += float64(x[i, j]) * float64(weights[j])
        total[i] += scale * dot


# loops where numpy has an expression, as those take seconds to compile


@inlined
def mean_rows(x, out):  # type: ignore[no-untyped-def]
    for j in range(len(out)):
        out[j] = 0
    for i in range(len(x)):
        row = x[i]
        for j in range(len(out)):
            out[j] += row[j]
    share = x.dtype.type(1 / len(x))
    for j in range(len(out)):
        out[j] *= share


@inlined
def phase_means(x, rows, out):  # type: ignore[no-untyped-def]
    ours, theirs, difference = out[0], out[1], out[2]
    mean_rows(x[:rows], ours)
    mean_rows(x[rows:], theirs)
    for j in range(len(difference)):
        difference[j] = ours[j] - theirs[j]


def phase_statistics(h, v, rows, v_means, h_means, shares):  # type: ignore[no-untyped-def]
    phase_means(v, rows, v_means)
    phase_means(h, rows, h_means)
    ours, theirs = h.dtype.type(1 / rows), h.dtype.type(-1 / (len(h) - rows))
    for i in prange(len(h)):
        row, to = h[i], shares[i]
        share = ours if i < rows else theirs
        for j in range(len(row)):
            to[j] = share * row[j]


def phase_spread(x, rows, center, out):  # type: ignore[no-untyped-def]
    for j in range(len(out)):
        out[j] = 0
    for i in range(len(x)):
        row = x[i]
        share = x.dtype.type(1 / rows if i < rows else -1 / (len(x) - rows))
        for j in range(len(out)):
            out[j] += share * (row[j] - center[j]) ** 2


def row_dots(x, y, out):  # type: ignore[no-untyped-def]
    for i in prange(len(x)):
        a, b, total = x[i], y[i], x.dtype.type(0)
        for j in range(len(a)):
            total += a[j] * b[j]
        out[i] = total


def is_binary(x):  # type: ignore[no-untyped-def]
    return others(x.reshape(-1)) == 0


@inlined
def gather_rows(out, table, index, scale, shift):  # type: ignore[no-untyped-def]
    """out <- shift + scale * table[index]; returns how many of these rows the table lacks."""
    missing = 0
    for i in range(len(out)):
        if 0 <= index[i] < len(table):
            row, to = table[index[i]], out[i]
            for j in range(len(to)):
                to[j] = shift + scale * float32(row[j])
        else:
            missing += 1
    return missing


def gather(out, table, index, scale, shift):  # type: ignore[no-untyped-def]
    missing = 0
    for i in prange(len(out)):
        missing += gather_rows(out[i : i + 1], table, index[i : i + 1], scale, shift)
    return missing == 0


def gather_in_units(out, table, index, shift, scale):  # type: ignore[no-untyped-def]
    missing = 0
    for i in prange(len(out)):
        if 0 <= index[i] < len(table):
            row, to = table[index[i]], out[i]
            for j in range(len(to)):
                to[j] = (float64(row[j]) - shift[j]) / scale[j]
        else:
            missing += 1
    return missing == 0


def gather_and_draw(out, table, index, scale, shift, key):  # type: ignore[no-untyped-def]
    rows, n = out.shape
    together, missing = rows_together(n), 0
    for group in prange((rows + together - 1) // together):
        piece = slice(group * together, (group + 1) * together)
        missing += gather_rows(out[piece], table, index[piece], scale, shift)
        draw_group(out[piece], group, key)
    return missing == 0


def center(weight, b, c, mu, lam, b_scale, c_scale):  # type: ignore[no-untyped-def]
    rows, n = weight.shape
    right = c_scale * c
    blocks = (rows + CENTER_ROWS - 1) // CENTER_ROWS
    parts = np.zeros((blocks, n), weight.dtype)
    for block in prange(blocks):
        part = parts[block]
        for i in range(block * CENTER_ROWS, min((block + 1) * CENTER_ROWS, rows)):
            row, left, m = weight[i], b_scale[i] * b[i], mu[i]
            total = row[0] * 0
            for j in range(n):
                value = row[j] - left * lam[j] - m * right[j]
                row[j] = value
                total += value * lam[j]
                part[j] += m * value
            b[i] -= b_scale[i] * total
    for block in range(blocks):
        for j in range(n):
            c[j] -= c_scale[j] * parts[block, j]


@inlined
def squares(x):  # type: ignore[no-untyped-def]
    total = x[:0].sum()  # a zero of the right type
    for i in range(len(x)):
        total += x[i] * x[i]
    return float64(total)


def square_sum(vectors):  # type: ignore[no-untyped-def]
    total = 0.0
    for x in vectors:
        pieces = (x.size + BLOCK - 1) // BLOCK
        parts = np.empty(pieces, np.float64)
        for k in prange(pieces):
            parts[k] = squares(x[k * BLOCK : (k + 1) * BLOCK])
        total += parts.sum()
    return total


def ascend(vectors, gradients, rate):  # type: ignore[no-untyped-def]
    for index in range(len(vectors)):
        x, gradient = vectors[index], gradients[index]
        for k in prange((x.size + BLOCK - 1) // BLOCK):
            piece = slice(k * BLOCK, (k + 1) * BLOCK)
            a, g = x[piece], gradient[piece]
            for i in range(len(a)):
                a[i] += rate * g[i]


def ascend_with_momentum(vectors, gradients, rate, velocities, momentum):  # type: ignore[no-untyped-def]
    for index in range(len(vectors)):
        x, gradient, velocity = vectors[index], gradients[index], velocities[index]
        for k in prange((x.size + BLOCK - 1) // BLOCK):
            piece = slice(k * BLOCK, (k + 1) * BLOCK)
            a, g, v = x[piece], gradient[piece], velocity[piece]
            for i in range(len(a)):
                v[i] = momentum * v[i] + g[i]
                a[i] += rate * v[i]


# the kernels as parts of a larger one, on one thread
part = njit(fastmath=LIBERTIES, error_model="numpy", nogil=True)
multiply, draw_all, draw_units = part(bit_product), part(draw_probabilities), part(draw_bernoulli)
average, average_and_draw = part(mean_bernoulli), part(mean_and_draw)
statistics = part(phase_statistics)
move_to_center, sum_squares, climb = part(center), part(square_sum), part(ascend_with_momentum)


@inlined
def copy_rows(x, to):  # type: ignore[no-untyped-def]
    for i in range(len(x)):
        row, copy = x[i], to[i]
        for j in range(len(row)):
            copy[j] = row[j]


@inlined
def approach(x, target, share):  # type: ignore[no-untyped-def]
    for j in range(len(x)):
        x[j] += share * (target[j] - x[j])


@part
def sweep(weight, b, c, v, inputs, keys):  # type: ignore[no-untyped-def]
    """Gibbs steps of v, two keys each, as many as there are keys for; inputs is for h."""
    no, yes = len(v) < 0, len(v) >= 0  # for each literal the product would be compiled
    for step in range(len(keys) // 2):
        multiply(inputs, v, no, weight, no, len(v))
        draw_units(inputs, c, float32(1.0), keys[2 * step :])
        multiply(v, inputs, no, weight, yes, len(v))
        draw_units(v, b, float32(1.0), keys[2 * step + 1 :])


@part
def persistent_phases(weight, b, c, both, rows, h, keys, hidden):  # type: ignore[no-untyped-def]
    """Move the chains, whose v are the last rows of both, and give E[h | v] of all and a new h."""
    chains, inputs, everything = both[rows:], hidden[rows:], len(both)
    no, yes = everything < 0, everything >= 0  # for each literal the product would be compiled
    multiply(chains, h, no, weight, yes, everything)
    draw_units(chains, b, float32(1.0), keys)
    sweep(weight, b, c, chains, inputs, keys[1:])
    multiply(hidden, both, no, weight, no, everything)
    average_and_draw(hidden, c, rows, keys[len(keys) - 1 :], h)


@part
def contrastive_phases(weight, b, c, both, rows, h, keys, hidden):  # type: ignore[no-untyped-def]
    """Chains from the first rows of both, the data, to the others, and E[h | v] of all."""
    ours, theirs, chains, everything = hidden[:rows], hidden[rows:], both[rows:], len(both)
    no, yes = everything < 0, everything >= 0
    multiply(ours, both[:rows], no, weight, no, everything)
    average_and_draw(ours, c, rows - rows, keys, h)
    multiply(chains, h, no, weight, yes, everything)
    draw_units(chains, b, float32(1.0), keys[1:])
    sweep(weight, b, c, chains, theirs, keys[2:])
    multiply(theirs, chains, no, weight, no, everything)
    average(theirs, c, float32(1.0))


@part
def improve(model, room, both, hidden, rows):  # type: ignore[no-untyped-def]
    """A step up the gradient that both phases give, unless it is not finite; its norm."""
    (weight, b, c), velocities, (mu, lam), (share, rate, momentum) = model
    gradient, all_shares, v_means, h_means, v_scale, h_scale = room
    shares, n = all_shares[: len(both)], len(weight)
    ascent = gradient.reshape(-1), v_means[2], h_means[2]
    statistics(hidden, both, rows, v_means, h_means, shares)
    multiply(gradient, both, n > 0, shares, n < 0, n)
    if share > 0:
        approach(mu, v_means[0], share)
        approach(lam, h_means[0], share)
        move_to_center(gradient, v_means[2], h_means[2], mu, lam, v_scale, h_scale)
    norm = np.sqrt(sum_squares(ascent))
    if norm < np.inf:
        climb((weight.reshape(-1), b, c), ascent, rate, velocities, momentum)
    return norm


@inlined
def rooms(weight, most):  # type: ignore[no-untyped-def]
    """Workspaces for up to so many rows: v, E[h | v], and those of `improve`."""
    n, m = weight.shape
    both, hidden = np.empty((most, n), np.float32), np.empty((most, m), np.float32)
    gradient, shares = np.empty((n, m), np.float32), np.empty((most, m), np.float32)
    v_means, h_means = np.empty((3, n), np.float32), np.empty((3, m), np.float32)
    v_scale, h_scale = np.ones(n, np.float32), np.ones(m, np.float32)
    return both, hidden, (gradient, shares, v_means, h_means, v_scale, h_scale)


@inlined
def draw_minibatch(data, update, batch, key, both):  # type: ignore[no-untyped-def]
    """The minibatch of an update goes to the first rows of both, drawn; returns how many."""
    minibatch = data[update * batch : (update + 1) * batch]
    copy_rows(minibatch, both)
    draw_all(both[: len(minibatch)], key)
    return len(minibatch)


def persistent_updates(parameters, velocities, chains, offsets, data, batch, keys, rates, norms):  # type: ignore[no-untyped-def]
    (weight, b, c), (v, h) = parameters, chains
    all_v, all_h, room = rooms(weight, batch + len(h))
    for update in range(len(norms)):
        rows = draw_minibatch(data, update, batch, keys[update], all_v)
        both, hidden = all_v[: rows + len(h)], all_h[: rows + len(h)]
        persistent_phases(weight, b, c, both, rows, h, keys[update, 1:], hidden)
        copy_rows(both[rows:], v)
        norms[update] = improve((parameters, velocities, offsets, rates), room, both, hidden, rows)
        if not norms[update] < np.inf:
            return update + 1
    return len(norms)


def contrastive_updates(parameters, velocities, chains, offsets, data, batch, keys, rates, norms):  # type: ignore[no-untyped-def]
    weight, b, c = parameters
    all_v, all_h, room = rooms(weight, 2 * batch)
    h = np.empty((batch, len(c)), np.float32)
    for update in range(len(norms)):
        rows = draw_minibatch(data, update, batch, keys[update], all_v)
        both, hidden = all_v[: 2 * rows], all_h[: 2 * rows]
        contrastive_phases(weight, b, c, both, rows, h[:rows], keys[update, 1:], hidden)
        norms[update] = improve((parameters, velocities, offsets, rates), room, both, hidden, rows)
        if not norms[update] < np.inf:
            return update + 1
    return len(norms)


def kernel(name: str, parallel: bool) -> Callable[..., Any]:
    """A compiled kernel; its machine code is kept on disk for the next process."""
    source = globals()[name]
    parallel = parallel and "prange" in source.__code__.co_names and _may_share()
    # on disk code is told apart by name and by the file it starts from
    source = FunctionType(source.__code__, source.__globals__)
    source.__qualname__ = f"{name}_{'parallel' if parallel else 'serial'}_{_sources():x}"
    compiled: Any = njit(
        cache=True, nogil=True, fastmath=LIBERTIES, error_model="numpy", parallel=parallel
    )(source)
    return compiled  # type: ignore[no-any-return]


def set_threads(number: int) -> None:
    """Let the parallel kernels called next use so many threads, if there are as many cores."""
    cores: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    threads = torch.get_num_threads()
    numba.set_num_threads(min(number, cores))
    torch.set_num_threads(threads)  # which the start of Numba's pool, if torch's own, has changed


def _may_share() -> bool:
    """Whether Numba has a thread pool that bears calls from several threads."""
    if os.getpid() != _PID:  # GNU OpenMP does not survive a fork
        return False
    try:
        importlib.import_module("numba.np.ufunc.omppool")
    except ImportError:
        return False
    return True


@functools.cache
def _sources() -> int:
    """A number that changes with the text of the kernels, which call each other across files."""
    return zlib.crc32(Path(__file__).read_bytes() + Path(bits.__file__).read_bytes())


_PID = os.getpid()
