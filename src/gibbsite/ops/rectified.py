r"""Kernels that draw rectified units: normal numbers cut at zero, by rejection.

To draw t >= 0 from $e^{-t^2/2+zt}$, a number is proposed from a density above it. Where z is above
`SWITCH`, that is the normal with mean z, which falls below 0 in a third of all cases at most. Else
it is the exponential of rate $r = (y + \sqrt{y^2+4})/2$ with y = -z, kept with probability
$e^{-(t-r+y)^2/2}$ (Robert 1995, Simulation of truncated normal variables, (2.3)): nearly always
where z is far below 0. One logarithm and one more word serve either proposal, so that a loop over a
row is vectorised; what it rejects is drawn again, one by one and in float64, with words of its own.
So are the few entries of which a word is so small that 32 bits do not tell enough.
"""

from __future__ import annotations

import numpy as np
from numba import float32, float64, prange, uint32

from gibbsite.ops.random import (
    RARE,
    exp_roughly,
    fine,
    finer,
    inlined,
    log32,
    log64,
    normal_pair,
    part,
    philox,
    rows_together,
    split,
    uniform,
    words,
)

SWITCH = 0.45
HALF_LOG_2PI = 0.9189385332046727


@inlined
def tail32(z):  # type: ignore[no-untyped-def]
    """Rate of the exponential proposed for z, and its distance from -z."""
    y = -z if z < float32(SWITCH) else float32(-SWITCH)
    gap = float32(2.0) / (np.sqrt(y * y + float32(4.0)) + y)
    return y + gap, gap


@inlined
def propose32(z, a, b):  # type: ignore[no-untyped-def]
    """A draw of t >= 0 from two words, or -1 if it is rejected or the words are too small."""
    rate, gap = tail32(z)
    u = fine(a)
    t = abs(log32(u)) / rate
    odd = t - gap
    kept = uniform(b) < exp_roughly(float32(-0.5) * odd * odd)
    far = t if kept else float32(-1.0)
    near, _ = normal_pair(u, b)
    near += z
    near = float32(-1.0) if near < float32(0.0) else near  # NaN stays
    t = far if z < float32(SWITCH) else near
    return float32(-1.0) if (a < uint32(RARE)) | (b < uint32(RARE)) else t


@inlined
def log_mass32(z):  # type: ignore[no-untyped-def]
    """log of the integral of what is proposed for z, less z^2 / 2 where that is a normal."""
    rate, gap = tail32(z)
    tail = float32(0.5) * gap * gap - log32(rate)
    return tail if z < float32(SWITCH) else float32(HALF_LOG_2PI)


@inlined
def log_odds32(above, below):  # type: ignore[no-untyped-def]
    """log of the mass of what is proposed for one side over that for the other."""
    p = float32(0.0) if above < float32(SWITCH) else above
    q = float32(0.0) if below < float32(SWITCH) else below
    return float32(0.5) * (p - q) * (p + q) + (log_mass32(above) - log_mass32(below))


@inlined
def tail64(z):  # type: ignore[no-untyped-def]
    y = max(-z, -SWITCH)
    gap = 2.0 / (np.sqrt(y * y + 4.0) + y)
    return y + gap, gap


@inlined
def propose64(z, u, v):  # type: ignore[no-untyped-def]
    """A draw of t >= 0 from two numbers in (0, 1], or -1 if it is rejected."""
    if not z < SWITCH:
        t = z + np.sqrt(-2.0 * log64(u)) * np.cos(2 * np.pi * v)
        return -1.0 if t < 0.0 else t
    rate, gap = tail64(z)
    t = abs(log64(u)) / rate
    return t if v < np.exp(-0.5 * (t - gap) ** 2) else -1.0


@inlined
def log_mass64(z):  # type: ignore[no-untyped-def]
    if not z < SWITCH:
        return HALF_LOG_2PI + 0.5 * z * z
    rate, gap = tail64(z)
    return 0.5 * gap * gap - np.log(rate)


@part
def redraw(t, z, first, second, place, group, key):  # type: ignore[no-untyped-def]
    """Draw again where t < 0; the row begins at `place` in its group.

    Small words get 32 bits more before fresh ones are taken.
    """
    k0, k1 = split(key)
    for j in range(len(t)):
        if not t[j] < 0:
            continue
        value, round_, small = float64(z[j]), uint32(1), min(first[j], second[j]) < uint32(RARE)
        drawn = -1.0
        if small:
            c, d, _, _ = philox(uint32(place + j), uint32(group), round_, k0, k1)
            drawn = propose64(value, finer(first[j], c), finer(second[j], d))
        while drawn < 0.0:
            round_ += uint32(1)
            a, b, c, d = philox(uint32(place + j), uint32(group), round_, k0, k1)
            drawn = propose64(value, finer(a, c), finer(b, d))
        t[j] = drawn


def draw_rectified(x, bias, spread, scale, key):  # type: ignore[no-untyped-def]
    rows, n = x.shape
    together = rows_together(n)
    for group in prange((rows + together - 1) // together):
        word = words(group, 2 * together, n, key).reshape(2, together, n)
        z, t = np.empty(n, np.float32), np.empty(n, np.float32)
        part = x[group * together : (group + 1) * together]
        for i in range(len(part)):
            row, first, second = part[i], word[0, i], word[1, i]
            for j in range(n):
                z[j] = spread[j] * (bias[j] + scale * row[j])
                t[j] = propose32(z[j], first[j], second[j])
            redraw(t, z, first, second, i * n, group, key)
            for j in range(n):
                row[j] = spread[j] * t[j]


@inlined
def propose_either(above, below, odds, u, v, w):  # type: ignore[no-untyped-def]
    """A draw from either side, which the third number picks: its side and its size, or -1."""
    positive = w * (1.0 + np.exp(-odds)) < 1.0
    return positive, propose64(above if positive else below, u, v)


@part
def redraw_either(t, sides, z, lean, word, place, group, key):  # type: ignore[no-untyped-def]
    """Draw side and size again where t < 0, as `redraw` does; sides are 1 and -1."""
    k0, k1 = split(key)
    for j in range(len(t)):
        if not t[j] < 0:
            continue
        above, below = float64(z[0, j]), float64(z[1, j])
        odds = lean[j] + log_mass64(above) - log_mass64(below)
        one, two, three = word[0, j], word[1, j], word[2, j]
        at, turn = uint32(place + j), uint32(group)
        drawn, round_, positive = -1.0, uint32(1), True
        if min(one, min(two, three)) < uint32(RARE):
            a, b, c, _ = philox(at, turn, round_, k0, k1)
            u, v, w = finer(one, a), finer(two, b), finer(three, c)
            positive, drawn = propose_either(above, below, odds, u, v, w)
        while drawn < 0.0:
            a, b, c, d = philox(at, turn, round_ + uint32(1), k0, k1)
            e, f, _, _ = philox(at, turn, round_ + uint32(2), k0, k1)
            round_ += uint32(2)
            u, v, w = finer(a, b), finer(c, d), finer(e, f)
            positive, drawn = propose_either(above, below, odds, u, v, w)
        t[j], sides[j] = drawn, 1 if positive else -1


def draw_double_rectified(x, biases, spreads, lean, scale, key):  # type: ignore[no-untyped-def]
    rows, n = x.shape
    together = rows_together(n)
    for group in prange((rows + together - 1) // together):
        word = words(group, 3 * together, n, key).reshape(3, together, n)
        z, t, sides = np.empty((2, n), np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
        part, above, below = x[group * together : (group + 1) * together], z[0], z[1]
        for i in range(len(part)):
            row, first, second, third = part[i], word[0, i], word[1, i], word[2, i]
            for j in range(n):
                above[j] = spreads[0, j] * (biases[0, j] + scale * row[j])
                below[j] = -spreads[1, j] * (biases[1, j] + scale * row[j])
                odds = lean[j] + log_odds32(above[j], below[j])
                # the first bits tell most where u is small: give that end to the rarer side
                u = fine(third[j]) * (float32(1.0) + exp_roughly(abs(odds)))
                rarer = u < float32(1.0)
                sides[j] = float32(1.0) if rarer == (odds < float32(0.0)) else float32(-1.0)
                chosen = above[j] if sides[j] > float32(0.0) else below[j]
                t[j] = propose32(chosen, first[j], second[j])
                t[j] = float32(-1.0) if third[j] < uint32(RARE) else t[j]
            redraw_either(t, sides, z, lean, word[:, i], i * n, group, key)
            for j in range(n):
                spread = spreads[0, j] if sides[j] > float32(0.0) else spreads[1, j]
                row[j] = sides[j] * spread * t[j]
