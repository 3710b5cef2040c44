"""The kernels that draw, and those that gather rows of data, which may be drawn on the way."""

from __future__ import annotations

import numpy as np
from numba import float32, float64, int32, prange

from gibbsite.ops.bits import others
from gibbsite.ops.random import (
    DOUBT,
    beyond,
    exp32,
    inlined,
    negative_if_doubtful,
    noise32,
    noise64,
    rows_together,
    settle,
    settle_shares,
    uniform,
    words,
)

# rows are taken out of arrays before the inner loops, which are vectorised only so; doubts are
# summed up there and settled afterwards, from a copy of the inputs


@inlined
def draw_odds(part, bias, scale, group, key):  # type: ignore[no-untyped-def]
    """part <- 1 at the log-odds bias + scale * part, else 0, for a group of rows."""
    n = part.shape[1]
    word, odds = words(group, rows_together(n), n, key), np.empty(n, part.dtype)
    for i in range(len(part)):
        row, random, doubts = part[i], word[i], int32(0)
        for j in range(n):
            odds[j] = bias[j] + scale * row[j]
            gap, limit = beyond(odds[j], random[j])
            doubts = negative_if_doubtful(doubts, abs(gap), limit)
            row[j] = gap < float32(0.0)
        if doubts < 0:
            settle(row, odds, random, i * n, group, key)


def draw_bernoulli(x, bias, scale, key):  # type: ignore[no-untyped-def]
    rows, n = x.shape
    together = rows_together(n)
    for group in prange((rows + together - 1) // together):
        draw_odds(x[group * together : (group + 1) * together], bias, scale, group, key)


def draw_spin(x, bias, scale, key):  # type: ignore[no-untyped-def]
    rows, n = x.shape
    together = rows_together(n)
    for group in prange((rows + together - 1) // together):
        part = x[group * together : (group + 1) * together]
        draw_odds(part, bias, scale, group, key)
        for i in range(len(part)):
            row = part[i]
            for j in range(n):
                row[j] = 2 * row[j] - 1


@inlined
def mean32(value):  # type: ignore[no-untyped-def]
    mean = float32(1.0) / (float32(1.0) + exp32(-value))
    return mean if value == value else value  # NaN stays


def mean_bernoulli(x, bias):  # type: ignore[no-untyped-def]
    for i in prange(len(x)):
        row = x[i]
        for j in range(len(row)):
            row[j] = mean32(float32(bias[j] + row[j]))


@inlined
def draw_group(part, group, key):  # type: ignore[no-untyped-def]
    """Draw a group of rows of probabilities in place, unless it is all zeros and ones."""
    between = part.dtype.type(0)
    for i in range(len(part)):
        between += others(part[i])
    if between != 0:
        n = part.shape[1]
        word, shares = words(group, rows_together(n), n, key), np.empty(n, part.dtype)
        for i in range(len(part)):
            row, random, doubts = part[i], word[i], int32(0)
            for j in range(n):
                shares[j] = row[j]
                gap = uniform(random[j]) - row[j]
                doubts = negative_if_doubtful(doubts, abs(gap), float32(DOUBT))
                row[j] = gap < 0
            if doubts < 0:
                settle_shares(row, shares, random, i * n, group, key)


def draw_probabilities(x, key):  # type: ignore[no-untyped-def]
    rows, n = x.shape
    together = rows_together(n)
    for group in prange((rows + together - 1) // together):
        draw_group(x[group * together : (group + 1) * together], group, key)


@inlined
def add_noise(part, bias, sigma, scale, noise):  # type: ignore[no-untyped-def]
    for i in range(len(part)):
        row, normal = part[i], noise[i]
        for j in range(len(row)):
            row[j] = bias[j] + sigma[j] * (scale * row[j] + normal[j])


def draw_gaussian(x, bias, sigma, scale, key):  # type: ignore[no-untyped-def]
    rows, n = x.shape
    together = rows_together(n)
    for group in prange((rows + together - 1) // together):
        noise = noise32(group, together, n, key)
        add_noise(x[group * together : (group + 1) * together], bias, sigma, scale, noise)


def draw_gaussian_double(x, bias, sigma, scale, key):  # type: ignore[no-untyped-def]
    rows, n = x.shape
    together = rows_together(n)
    for group in prange((rows + together - 1) // together):
        noise = noise64(group, together, n, key)
        add_noise(x[group * together : (group + 1) * together], bias, sigma, scale, noise)


@inlined
def gather_rows(out, source, index, scale, shift):  # type: ignore[no-untyped-def]
    """out <- shift + scale * source[index]; returns the number of indices out of range."""
    missing = 0
    for i in range(len(out)):
        if 0 <= index[i] < len(source):
            row, to = source[index[i]], out[i]
            for j in range(len(to)):
                to[j] = shift + scale * float32(row[j])
        else:
            missing += 1
    return missing


def gather(out, source, index, scale, shift):  # type: ignore[no-untyped-def]
    missing = 0
    for i in prange(len(out)):
        missing += gather_rows(out[i : i + 1], source, index[i : i + 1], scale, shift)
    return missing == 0


def gather_in_units(out, source, index, shift, scale):  # type: ignore[no-untyped-def]
    missing = 0
    for i in prange(len(out)):
        if 0 <= index[i] < len(source):
            row, to = source[index[i]], out[i]
            for j in range(len(to)):
                to[j] = (float64(row[j]) - shift[j]) / scale[j]
        else:
            missing += 1
    return missing == 0


def gather_and_draw(out, source, index, scale, shift, key):  # type: ignore[no-untyped-def]
    rows, n = out.shape
    together, missing = rows_together(n), 0
    for group in prange((rows + together - 1) // together):
        piece = slice(group * together, (group + 1) * together)
        missing += gather_rows(out[piece], source, index[piece], scale, shift)
        draw_group(out[piece], group, key)
    return missing == 0
