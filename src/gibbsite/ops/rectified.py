r"""Kernels that draw rectified units: normal numbers cut at zero, by rejection.

To draw t >= 0 from $e^{-t^2/2+zt}$, a number is proposed from a density above it. Where z is above
`SWITCH`, that is the normal with mean z, which falls below 0 in a third of all cases at most. Else
it is the exponential of rate $r = (y + \sqrt{y^2+4})/2$ with y = -z, kept with probability
$e^{-(t-r+y)^2/2}$ (Robert 1995, Simulation of truncated normal variables, (2.3)): nearly always
where z is far below 0. One logarithm and one more word
serve either proposal, so that loops are vectorised; what is rejected is gathered and proposed again
with fresh words, until nothing is left. Where a word is so small that its bits do not tell enough,
32 more decide in float64.
"""

from __future__ import annotations

import numpy as np
from numba import float32, float64, prange, uint32

from gibbsite.ops.random import (
    RARE,
    compiled,
    exp_roughly,
    grouping,
    inlined,
    log32,
    log64,
    normal_pair,
    philox,
    random_words,
    split,
    uniform,
    uniform31,
    uniform64,
)

SWITCH = 0.45
HALF_LOG_2PI = 0.9189385332046727
REJECTED, UNCLEAR = -1.0, -2.0


@inlined
def tail32(z):  # type: ignore[no-untyped-def]
    """Rate of the exponential proposed for z, and its distance from -z."""
    y = -z if z < float32(SWITCH) else float32(-SWITCH)
    gap = float32(2.0) / (np.sqrt(y * y + float32(4.0)) + y)
    return y + gap, gap


@inlined
def propose32(z, a, b):  # type: ignore[no-untyped-def]
    """A draw of t >= 0 from two words; `REJECTED`, or `UNCLEAR` if a word is too small to tell."""
    rate, gap = tail32(z)
    u = uniform31(a)
    t = abs(log32(u)) / rate
    odd = t - gap
    kept = uniform(b) < exp_roughly(float32(-0.5) * odd * odd)
    far = t if kept else float32(REJECTED)
    near, _ = normal_pair(u, b)
    near += z
    near = float32(REJECTED) if near < float32(0.0) else near  # NaN stays
    t = far if z < float32(SWITCH) else near
    return float32(UNCLEAR) if (a < uint32(RARE)) | (b < uint32(RARE)) else t


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
    """A draw of t >= 0 from two numbers in (0, 1], or `REJECTED`."""
    if not z < SWITCH:
        t = z + np.sqrt(-2.0 * log64(u)) * np.cos(2 * np.pi * v)
        return REJECTED if t < 0.0 else t
    rate, gap = tail64(z)
    t = abs(log64(u)) / rate
    return t if v < np.exp(-0.5 * (t - gap) ** 2) else REJECTED


@inlined
def log_mass64(z):  # type: ignore[no-untyped-def]
    if not z < SWITCH:
        return HALF_LOG_2PI + 0.5 * z * z
    rate, gap = tail64(z)
    return 0.5 * gap * gap - np.log(rate)


@compiled
def finish(t, z, first, second, group, key):  # type: ignore[no-untyped-def]
    """Draw all of t that is below 0, for a group that has had its first two words."""
    k0, k1 = split(key)
    group, left, more = uint32(group), np.empty(len(t), np.uint32), 0
    for k in range(len(t)):
        if t[k] == float32(UNCLEAR):
            c, d, _, _ = philox(uint32(k), group, uint32(1), k0, k1)
            t[k] = propose64(float64(z[k]), uniform64(first[k], c), uniform64(second[k], d))
        left[more] = k
        more += t[k] < 0
    word, turn = np.empty((4, more), np.uint32), uint32(1)
    a, b, c, d = word[0], word[1], word[2], word[3]
    again, where = np.empty(more, np.float32), np.empty(more, np.float32)
    while more > 0:
        m, more, turn = more, 0, turn + uint32(1)
        for q in range(m):
            a[q], b[q], c[q], d[q] = philox(left[q], group, turn, k0, k1)
            where[q] = z[left[q]]
        for q in range(m):
            again[q] = propose32(where[q], a[q], b[q])
        for q in range(m):
            k = left[q]
            t[k] = again[q]
            if again[q] == float32(UNCLEAR):
                t[k] = propose64(float64(z[k]), uniform64(a[q], c[q]), uniform64(b[q], d[q]))
            left[more] = k
            more += t[k] < 0


def draw_rectified(x, bias, spread, scale, key):  # type: ignore[no-untyped-def]
    (size, groups), n = grouping(*x.shape), x.shape[1]
    for group in prange(groups):
        part = x[group * size : (group + 1) * size]
        word = random_words(group, 2 * size, n, key).reshape(2, -1)
        first, second = word[0], word[1]
        z, t = np.empty(part.shape, np.float32), np.empty(part.size, np.float32)
        for i in range(len(part)):
            row, mean = part[i], z[i]
            for j in range(n):
                mean[j] = spread[j] * (bias[j] + scale * row[j])
        flat = z.reshape(-1)
        for k in range(len(t)):
            t[k] = propose32(flat[k], first[k], second[k])
        finish(t, flat, first, second, group, key)
        for i in range(len(part)):
            row, drawn = part[i], t[i * n : (i + 1) * n]
            for j in range(n):
                row[j] = spread[j] * drawn[j]


@inlined
def choose32(above, below, odds, c):  # type: ignore[no-untyped-def]
    """z of the side that a word picks, and 1 for the side above 0, -1 for that below."""
    # the bits tell most where u is small: that end is for the rarer side
    rarer = uniform31(c) * (float32(1.0) + exp_roughly(abs(odds))) < float32(1.0)
    side = float32(1.0) if rarer == (odds < float32(0.0)) else float32(-1.0)
    return (above if side > float32(0.0) else below), side


@inlined
def propose_either32(above, below, lean, a, b, c):  # type: ignore[no-untyped-def]
    """Size and side of a draw from three words; the size as from `propose32`."""
    z, side = choose32(above, below, lean + log_odds32(above, below), c)
    t = propose32(z, a, b)
    return (float32(UNCLEAR) if c < uint32(RARE) else t), side


@inlined
def propose_either64(above, below, lean, u, v, w):  # type: ignore[no-untyped-def]
    """Size and side of a draw from three numbers in (0, 1]; the size as from `propose64`."""
    odds = float64(lean) + log_mass64(float64(above)) - log_mass64(float64(below))
    rarer = w * (1.0 + np.exp(abs(odds))) < 1.0
    positive = rarer == (odds < 0.0)
    return propose64(float64(above if positive else below), u, v), 1.0 if positive else -1.0


@compiled
def finish_either(t, side, above, below, lean, word, group, key):  # type: ignore[no-untyped-def]
    """Draw size and side wherever t is below 0, as `finish` does."""
    k0, k1 = split(key)
    n, group, left, more = len(lean), uint32(group), np.empty(len(t), np.uint32), 0
    for k in range(len(t)):
        if t[k] == float32(UNCLEAR):
            a, b, c, _ = philox(uint32(k), group, uint32(1), k0, k1)
            u, v, w = uniform64(word[0, k], a), uniform64(word[1, k], b), uniform64(word[2, k], c)
            t[k], side[k] = propose_either64(above[k], below[k], lean[k % n], u, v, w)
        left[more] = k
        more += t[k] < 0
    fresh, turn = np.empty((3, more), np.uint32), uint32(0)
    one, two, three = fresh[0], fresh[1], fresh[2]
    reals = np.empty((5, more), np.float32)
    again, sides, p, q, s = reals[0], reals[1], reals[2], reals[3], reals[4]
    while more > 0:
        m, more, turn = more, 0, turn + uint32(2)
        for i in range(m):
            k = left[i]
            p[i], q[i], s[i] = above[k], below[k], lean[k % n]
        for i in range(m):
            one[i], two[i], three[i], _ = philox(left[i], group, turn, k0, k1)
        for i in range(m):
            again[i], sides[i] = propose_either32(p[i], q[i], s[i], one[i], two[i], three[i])
        for i in range(m):
            k = left[i]
            t[k], side[k] = again[i], sides[i]
            if again[i] == float32(UNCLEAR):
                a, b, c, _ = philox(k, group, turn + uint32(1), k0, k1)
                u, v, w = uniform64(one[i], a), uniform64(two[i], b), uniform64(three[i], c)
                t[k], side[k] = propose_either64(p[i], q[i], s[i], u, v, w)
            left[more] = k
            more += t[k] < 0


def draw_double_rectified(x, biases, spreads, scale, key):  # type: ignore[no-untyped-def]
    (group_size, groups), n = grouping(*x.shape), x.shape[1]
    lean = np.log(spreads[0] / spreads[1])
    for group in prange(groups):
        part = x[group * group_size : (group + 1) * group_size]
        word = random_words(group, 3 * group_size, n, key).reshape(3, -1)
        above, below = np.empty(part.size, np.float32), np.empty(part.size, np.float32)
        t, side = np.empty(part.size, np.float32), np.empty(part.size, np.float32)
        for i in range(len(part)):
            row, piece = part[i], slice(i * n, (i + 1) * n)
            p, q, size, sign = above[piece], below[piece], t[piece], side[piece]
            a, b, c = word[0, piece], word[1, piece], word[2, piece]
            for j in range(n):
                p[j] = spreads[0, j] * (biases[0, j] + scale * row[j])
                q[j] = -spreads[1, j] * (biases[1, j] + scale * row[j])
            for j in range(n):
                size[j], sign[j] = propose_either32(p[j], q[j], lean[j], a[j], b[j], c[j])
        finish_either(t, side, above, below, lean, word, group, key)
        for i in range(len(part)):
            row, size, sign = part[i], t[i * n : (i + 1) * n], side[i * n : (i + 1) * n]
            for j in range(n):
                spread = spreads[0, j] if sign[j] > float32(0.0) else spreads[1, j]
                row[j] = sign[j] * spread * size[j]
