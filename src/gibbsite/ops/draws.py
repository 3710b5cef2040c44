"""The compiled kernels that draw states, or gather rows of data and draw those."""

from __future__ import annotations

import numpy as np
from numba import float32, float64, int32, prange

from gibbsite.ops.bits import binary_defect
from gibbsite.ops.random import (
    DOUBT,
    exp32,
    flag_if_less,
    grouping,
    inlined,
    noise32,
    noise64,
    random_words,
    redraw_by_odds,
    redraw_by_probability,
    relative_gap,
    uniform,
)

# Rows are taken out of arrays before the inner loops, as only so are these vectorised. There a flag
# records whether the first words leave any draw of the row in doubt; if so, those are drawn again
# afterwards, from a copy of the inputs.


@inlined
def draw_by_odds(block, bias, scale, group, size, key):  # type: ignore[no-untyped-def]
    """block <- 1 at the log-odds bias + scale * block, else 0: the rows of a group of that size."""
    n = block.shape[1]
    words, odds = random_words(group, size, n, key), np.empty(n, block.dtype)
    for i in range(len(block)):
        row, word, doubt = block[i], words[i], int32(0)
        for j in range(n):
            odds[j] = bias[j] + scale * row[j]
            gap, limit = relative_gap(odds[j], word[j])
            doubt = flag_if_less(doubt, abs(gap), limit)
            row[j] = gap < float32(0.0)
        if doubt < 0:
            redraw_by_odds(row, odds, word, i * n, group, key)


def draw_bernoulli(x, bias, scale, key):  # type: ignore[no-untyped-def]
    size, groups = grouping(*x.shape)
    for group in prange(groups):
        draw_by_odds(x[group * size : (group + 1) * size], bias, scale, group, size, key)


def draw_spin(x, bias, scale, key):  # type: ignore[no-untyped-def]
    size, groups = grouping(*x.shape)
    for group in prange(groups):
        block = x[group * size : (group + 1) * size]
        draw_by_odds(block, bias, scale, group, size, key)
        for i in range(len(block)):
            row = block[i]
            for j in range(len(row)):
                row[j] = 2 * row[j] - 1


@inlined
def sigmoid32(value):  # type: ignore[no-untyped-def]
    mean = float32(1.0) / (float32(1.0) + exp32(-value))
    return mean if value == value else value  # NaN stays


def mean_bernoulli(x, bias):  # type: ignore[no-untyped-def]
    for i in prange(len(x)):
        row = x[i]
        for j in range(len(row)):
            row[j] = sigmoid32(float32(bias[j] + row[j]))


@inlined
def draw_by_probability(block, group, size, key):  # type: ignore[no-untyped-def]
    """block <- 1 with probability block, else 0: the rows of a group, unless they are binary."""
    defect = block.dtype.type(0)
    for i in range(len(block)):
        defect += binary_defect(block[i])
    if defect != 0:
        n = block.shape[1]
        words, p = random_words(group, size, n, key), np.empty(n, block.dtype)
        for i in range(len(block)):
            row, word, doubt = block[i], words[i], int32(0)
            for j in range(n):
                p[j] = row[j]
                gap = uniform(word[j]) - row[j]
                doubt = flag_if_less(doubt, abs(gap), float32(DOUBT))
                row[j] = gap < 0
            if doubt < 0:
                redraw_by_probability(row, p, word, i * n, group, key)


def draw_probabilities(x, key):  # type: ignore[no-untyped-def]
    size, groups = grouping(*x.shape)
    for group in prange(groups):
        draw_by_probability(x[group * size : (group + 1) * size], group, size, key)


@inlined
def add_noise(block, bias, sigma, scale, noise):  # type: ignore[no-untyped-def]
    for i in range(len(block)):
        row, normal = block[i], noise[i]
        for j in range(len(row)):
            row[j] = bias[j] + sigma[j] * (scale * row[j] + normal[j])


def draw_gaussian(x, bias, sigma, scale, key):  # type: ignore[no-untyped-def]
    size, groups = grouping(*x.shape)
    for group in prange(groups):
        noise = noise32(group, size, x.shape[1], key)
        add_noise(x[group * size : (group + 1) * size], bias, sigma, scale, noise)


def draw_gaussian_double(x, bias, sigma, scale, key):  # type: ignore[no-untyped-def]
    size, groups = grouping(*x.shape)
    for group in prange(groups):
        noise = noise64(group, size, x.shape[1], key)
        add_noise(x[group * size : (group + 1) * size], bias, sigma, scale, noise)


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
    (size, groups), missing = grouping(*out.shape), 0
    for group in prange(groups):
        piece = slice(group * size, (group + 1) * size)
        missing += gather_rows(out[piece], source, index[piece], scale, shift)
        draw_by_probability(out[piece], group, size, key)
    return missing == 0
