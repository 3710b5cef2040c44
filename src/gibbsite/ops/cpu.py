"""The compiled kernels that draw nothing: one vectorised pass over the data each.

Their results do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import float32, float64, prange

from gibbsite.ops.bits import binary_defect
from gibbsite.ops.random import BLOCK, exp32, inlined

PIECE = 64
"""Factors between 1 and 2 of which the product stays within float32."""

LONG_PIECE = 960
"""Factors between 1 and 2 of which the product stays within float64."""

CENTER_ROWS = 32
"""Rows summed by one thread; fixed, so that results do not depend on the threads."""

# sum_j log(1 + e^-|a_j|) is computed as the log of a product, of 15 pieces at most to stay in range


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
    """e^x in float64 for x <= 0, to 1e-16: 2^n times a polynomial on |r| < log(2)/2."""
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
    # the low bits of n + 1.5 2^52 are n: few processors have a vector conversion to integers
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
        row, t, u = x[i], old[i], new[i]
        total, product = float64(0.0), float64(1.0)
        for k in range((n + PIECE - 1) // PIECE):
            piece = slice(k * PIECE, (k + 1) * PIECE)
            inputs, b, f = row[piece], bias[piece], base[piece]
            above, up, down = float32(0.0), float32(1.0), float32(1.0)
            for j in range(len(inputs)):
                start, gap = b[j] + f[j], inputs[j] - f[j]
                after, before = float32(start + u * gap), float32(start + t * gap)
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


# loops instead of numpy's expressions, which take seconds to compile


def is_binary(x):  # type: ignore[no-untyped-def]
    return binary_defect(x.reshape(-1)) == 0


def center(weight, s, t, mu, lam, left, right):  # type: ignore[no-untyped-def]
    """weight <- weight - s lam^T - mu t^T; left <- weight lam, right <- weight^T mu."""
    rows, n = weight.shape
    blocks = (rows + CENTER_ROWS - 1) // CENTER_ROWS
    partial = np.zeros((blocks, n), weight.dtype)
    for block in prange(blocks):
        own = partial[block]
        for i in range(block * CENTER_ROWS, min((block + 1) * CENTER_ROWS, rows)):
            row, slope, m = weight[i], s[i], mu[i]
            total = row[0] * 0
            for j in range(n):
                value = row[j] - slope * lam[j] - m * t[j]
                row[j] = value
                total += value * lam[j]
                own[j] += m * value
            left[i] = total
    for j in range(n):
        right[j] = 0
    for block in range(blocks):
        for j in range(n):
            right[j] += partial[block, j]


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
