r"""Random bits and the draws made of them, Bernoulli and normal; inlined into the kernels.

The bits are Philox4x32-10 (Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3),
a function of a key, drawn afresh for each call, and of the position in the array. Results therefore
depend neither on the threads nor on the order of work. Rows are drawn in groups; one counter makes
four words of 32 bits, for four positions a quarter of a group apart, so that neighbouring SIMD
lanes do the same work.

A unit with log-odds x is 1 where a uniform u is below p = sigmoid(x). The first word gives 24 bits
of u, which nearly always decide: by the sign of $u\,(1 + e^{-x}) - 1$, which needs no division, in
float32 and with a short polynomial for $e^x$. Where u is too near to p for that precision, once in
a million draws, a second word and float64 decide. So p is exact to 2^-56, and so is 1 - p.
"""

from __future__ import annotations

import numpy as np
from numba import float32, float64, njit, uint32, uint64

FAST_MATH = {"contract", "reassoc", "arcp", "nsz"}
"""Options of LLVM's fast math under which NaN stays NaN."""

BLOCK = 2048
"""Least entries of a group of rows, and entries of a piece of a long vector."""

DOUBT = 2.0**-21
"""Distance of u, by its first 24 bits, from p within which a second word is needed.

One unit of 2^-24 for the missing bits, and up to five for rounding and the polynomial.
"""

RARE = 2**16
"""First words below this take a second one for a normal draw, lest its tail be a staircase."""

inlined = njit(forceinline=True, fastmath=FAST_MATH, error_model="numpy")
compiled = njit(fastmath=FAST_MATH, error_model="numpy", nogil=True)
"""For parts of kernels that are called, not inlined."""


@inlined
def philox(c0, c1, c2, k0, k1):  # type: ignore[no-untyped-def]
    """Four random words of 32 bits for the counter (c0, c1, c2, 0) and the key (k0, k1)."""
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
def split(key):  # type: ignore[no-untyped-def]
    """The halves of a 64-bit key, the lower first."""
    word = uint64(key[0])
    return uint32(word), uint32(word >> uint64(32))


@inlined
def grouping(rows, n):  # type: ignore[no-untyped-def]
    """Rows of a group, enough to keep the vector units busy, and the number of groups."""
    size = max(1, BLOCK // n)
    return size, (rows + size - 1) // size


@inlined
def random_words(group, rows, n, key):  # type: ignore[no-untyped-def]
    """The first random word of each entry of a group of rows, uint32 (rows, n)."""
    k0, k1 = split(key)
    quarter = (rows * n + 3) // 4
    out = np.empty(4 * quarter, np.uint32)
    for j in range(quarter):
        a, b, c, d = philox(uint32(j), uint32(group), uint32(0), k0, k1)
        out[j] = a
        out[j + quarter] = b
        out[j + 2 * quarter] = c
        out[j + 3 * quarter] = d
    return out[: rows * n].reshape(rows, n)


@inlined
def second_word(index, group, key):  # type: ignore[no-untyped-def]
    """The second random word of the entry at a flat index of a group."""
    k0, k1 = split(key)
    return philox(uint32(index), uint32(group), uint32(1), k0, k1)[0]


@inlined
def uniform(word):  # type: ignore[no-untyped-def]
    """The upper 24 bits of a word as a float32 strictly between 0 and 1.

    Each lies in the middle of its interval of 2^-24, less a hundredth lest the last round up to 1.
    """
    return (float32(np.int32(word >> uint32(8))) + float32(0.49)) * float32(2.0**-24)


@inlined
def exp32(x):  # type: ignore[no-untyped-def]
    """e^x in float32, x clamped to [-87, 87]: 2^n times a polynomial on |r| < log(2)/2."""
    x = x if x < float32(87.0) else float32(87.0)  # for NaN too, of which a draw then gives 0
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
def exp_roughly(x):  # type: ignore[no-untyped-def]
    """`exp32` to a relative error of 1.4e-7 only, by a minimax polynomial: fewer operations."""
    x = x if x < float32(87.0) else float32(87.0)
    x = x if x > float32(-87.0) else float32(-87.0)
    n = np.floor(x * float32(1.4426950408889634) + float32(0.5))
    r = x - n * float32(0.6931471805599453)
    p = float32(0.008297645) * r + float32(0.041915432)
    p = p * r + float32(0.16667575)
    p = p * r + float32(0.49998894)
    p = p * r + float32(0.9999997)
    p = p * r + float32(1.0000001)
    return p * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@inlined
def relative_gap(x, word):  # type: ignore[no-untyped-def]
    """u / p - 1 for p = sigmoid(x), negative where the draw is 1, and a bound of its error."""
    inverse = float32(1.0) + exp_roughly(-float32(x))
    return uniform(word) * inverse - float32(1.0), float32(DOUBT) * inverse


@inlined
def flag_if_less(flag, size, limit):  # type: ignore[no-untyped-def]
    """The int32 flag, made negative if size < limit: by the sign bit, as branches would cost."""
    return np.int32(flag | np.float32(size - limit).view(np.int32))


@inlined
def is_below(p, q, word, second):  # type: ignore[no-untyped-def]
    """True if u < p = 1 - q, with 24 bits of u from the first word and 32 from the second.

    u is measured from the nearer end of (0, 1), where float64 holds all 56 bits.
    """
    k, more = float64(word >> uint32(8)), float64(second)
    if k < 2.0**23:
        return (k * 2.0**32 + more + 0.5) * 2.0**-56 < p
    return ((2.0**24 - 1.0 - k) * 2.0**32 + (2.0**32 - 1.0 - more) + 0.5) * 2.0**-56 > q


@inlined
def doubtful(p, word):  # type: ignore[no-untyped-def]
    """True if the first word cannot decide; with a margin for p in float32 in the first pass."""
    return not abs(float64(uniform(word)) - p) > 2 * DOUBT


@compiled
def redraw_by_odds(draws, x, words, start, group, key):  # type: ignore[no-untyped-def]
    """Draw a row of log-odds x again where it is doubtful; its entries begin at `start`."""
    for j in range(len(draws)):
        p, q = 1.0 / (1.0 + np.exp(-float64(x[j]))), 1.0 / (1.0 + np.exp(float64(x[j])))
        if doubtful(p, words[j]):
            draws[j] = is_below(p, q, words[j], second_word(start + j, group, key))


@compiled
def redraw_by_probability(draws, p, words, start, group, key):  # type: ignore[no-untyped-def]
    """Draw a row of probabilities p again where it is doubtful, as `redraw_by_odds`."""
    for j in range(len(draws)):
        if doubtful(float64(p[j]), words[j]):
            second = second_word(start + j, group, key)
            draws[j] = is_below(float64(p[j]), 1.0 - float64(p[j]), words[j], second)


@inlined
def log32(u):  # type: ignore[no-untyped-def]
    """log u of a float32 in (0, 1]: its exponent times log 2, and a series for its mantissa."""
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
def log64(u):  # type: ignore[no-untyped-def]
    """log u of a float64 in (0, 1], by the series of artanh up to s^21."""
    bits = np.int64(np.float64(u).view(np.int64) - np.int64(0x3FE6A09E667F3BCD))
    n = bits >> np.int64(52)
    low = bits & np.int64(0x000FFFFFFFFFFFFF)
    m = np.int64(low + np.int64(0x3FE6A09E667F3BCD)).view(np.float64)
    s = (m - 1.0) / (m + 1.0)
    q = s * s
    p = 1 / 21 * q + 1 / 19
    p = p * q + 1 / 17
    p = p * q + 1 / 15
    p = p * q + 1 / 13
    p = p * q + 1 / 11
    p = p * q + 1 / 9
    p = p * q + 1 / 7
    p = p * q + 1 / 5
    p = p * q + 1 / 3
    return float64(n) * 0.6931471805599453 + 2.0 * (s + s * q * p)


@inlined
def to_cartesian(radius, sine, cosine, quadrant):  # type: ignore[no-untyped-def]
    """x and y at an angle of whole quadrants and a rest, which is given by sine and cosine."""
    k = np.int32(quadrant)
    x = sine if k & np.int32(1) else cosine
    y = cosine if k & np.int32(1) else sine
    x = -x if (k + np.int32(1)) & np.int32(2) else x
    y = -y if k & np.int32(2) else y
    return radius * x, radius * y


@inlined
def normal_pair(u, b):  # type: ignore[no-untyped-def]
    """Two independent standard normals from u in (0, 1] and a word, by Box and Muller."""
    radius = np.sqrt(float32(-2.0) * log32(u))
    # the angle is pi/2 (quadrant + f): sine and cosine of a quarter turn, f in [-1/2, 1/2]
    turn = float32(np.int32(b >> uint32(8))) * float32(2.0**-22)
    quadrant = np.floor(turn + float32(0.5))
    f = (turn - quadrant) * float32(1.5707963267948966)
    q = f * f
    sine = f * (float32(1.0) + q * (float32(-1 / 6) + q * (float32(1 / 120) - q / float32(5040))))
    cosine = float32(1.0) + q * (
        float32(-0.5) + q * (float32(1 / 24) + q * (float32(-1 / 720) + q / float32(40320)))
    )
    return to_cartesian(radius, sine, cosine, quadrant)


@inlined
def uniform31(word):  # type: ignore[no-untyped-def]
    """The upper 31 bits of a word as a float32 in (0, 1]."""
    return (float32(np.int32(word >> uint32(1))) + float32(0.5)) * float32(2.0**-31)


@inlined
def uniform64(word, second):  # type: ignore[no-untyped-def]
    """Two words as a float64 in (0, 1], in steps of 2^-64 where it is small."""
    return (float64(word) * 2.0**32 + float64(second) + 0.5) * 2.0**-64


@inlined
def normal_pair_double(a, b, c, d):  # type: ignore[no-untyped-def]
    """Two independent standard normals in full double precision from four words."""
    radius = np.sqrt(-2.0 * log64(uniform64(a, b)))
    turn = 4.0 * uniform64(c, d)
    quadrant = np.floor(turn + 0.5)
    f = (turn - quadrant) * 1.5707963267948966
    q = f * f
    sine, cosine = 1.0 - q * (1 / 272), 1.0 - q * (1 / 240)
    sine, cosine = 1.0 - sine * q * (1 / 210), 1.0 - cosine * q * (1 / 182)
    sine, cosine = 1.0 - sine * q * (1 / 156), 1.0 - cosine * q * (1 / 132)
    sine, cosine = 1.0 - sine * q * (1 / 110), 1.0 - cosine * q * (1 / 90)
    sine, cosine = 1.0 - sine * q * (1 / 72), 1.0 - cosine * q * (1 / 56)
    sine, cosine = 1.0 - sine * q * (1 / 42), 1.0 - cosine * q * (1 / 30)
    sine, cosine = 1.0 - sine * q * (1 / 20), 1.0 - cosine * q * (1 / 12)
    sine, cosine = 1.0 - sine * q * (1 / 6), 1.0 - cosine * q * (1 / 2)
    return to_cartesian(radius, f * sine, cosine, quadrant)


@inlined
def noise32(group, rows, n, key):  # type: ignore[no-untyped-def]
    """Standard normals for a group of rows, (rows, n), in float32."""
    even = rows + rows % 2
    words = random_words(group, even, n, key).reshape(2, -1)
    noise = np.empty(words.shape, np.float32)
    first, angle, x, y = words[0], words[1], noise[0], noise[1]
    rare = float32(0.0)
    for j in range(len(first)):
        x[j], y[j] = normal_pair(uniform31(first[j]), angle[j])
        rare += float32(first[j] < uint32(RARE))
    if rare > 0:
        for j in range(len(first)):
            if first[j] < uint32(RARE):
                u = float32(uniform64(first[j], second_word(j, group, key)))
                x[j], y[j] = normal_pair(u, angle[j])
    return noise.reshape(even, n)


@inlined
def noise64(group, rows, n, key):  # type: ignore[no-untyped-def]
    """Standard normals for a group of rows, (rows, n), in float64."""
    even = rows + rows % 2
    words = random_words(group, 2 * even, n, key).reshape(4, -1)
    noise = np.empty((2, words.shape[1]), np.float64)
    a, b, c, d, x, y = words[0], words[1], words[2], words[3], noise[0], noise[1]
    for j in range(len(a)):
        x[j], y[j] = normal_pair_double(a[j], b[j], c[j], d[j])
    return noise.reshape(even, n)
