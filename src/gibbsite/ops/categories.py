"""The compiled kernels of categorical units, whose columns lie side by side.

A unit takes the first state k where u times the sum of all weights, which are the exponentials of
its fields, is below the sum of those up to k. As for zeros and ones (`random`) 24 bits of u and
float32 decide, and where they come too near to such a sum, 56 bits and float64.
"""

from __future__ import annotations

import numpy as np
from numba import float32, float64, int32, prange

from gibbsite.ops.random import (
    DOUBT,
    compiled,
    exp32,
    exp_roughly,
    flag_if_less,
    grouping,
    inlined,
    random_words,
    second_word,
    uniform,
)


@inlined
def below_top(fields, starts, out):  # type: ignore[no-untyped-def]
    """out <- fields, each less the greatest of its unit, in float32."""
    for unit in range(len(starts) - 1):
        own, to = fields[starts[unit] : starts[unit + 1]], out[starts[unit] : starts[unit + 1]]
        top = own[0]
        for k in range(len(own)):
            top = own[k] if own[k] > top else top
        for k in range(len(own)):
            to[k] = own[k] - top


@compiled
def settled_state(fields, word, place, group, key):  # type: ignore[no-untyped-def]
    """The state of a unit by 56 bits of u; the entry is at `place` in its group."""
    top, total, end = float64(fields.max()), 0.0, 0.0
    for k in range(len(fields)):
        total += np.exp(float64(fields[k]) - top)
    first, second = float64(word >> np.uint32(8)), float64(second_word(place, group, key))
    goal = (first * 2.0**32 + second + 0.5) * 2.0**-56 * total
    for k in range(len(fields) - 1):
        end += np.exp(float64(fields[k]) - top)
        if not goal >= end:  # and so NaN gives the first state
            return k
    return len(fields) - 1


@inlined
def doubt(states):  # type: ignore[no-untyped-def]
    """Distance of u from the sums, over the last, up to which float32 may not decide.

    A number fixed by the exponentials, and a rounding for each sum.
    """
    return float32(2 * DOUBT) + float32(2.0**-24) * float32(states)


def draw_categorical(x, bias, starts, scale, key):  # type: ignore[no-untyped-def]
    width, units = x.shape[1], len(starts) - 1
    size, groups = grouping(len(x), units)
    for group in prange(groups):
        words = random_words(group, size, units, key)
        fields, ends = np.empty(width, x.dtype), np.empty(width, np.float32)
        block = x[group * size : (group + 1) * size]
        for i in range(len(block)):
            row, word = block[i], words[i]
            for j in range(width):
                fields[j] = bias[j] + scale * row[j]
                row[j] = 0
            below_top(fields, starts, ends)
            for j in range(width):
                ends[j] = exp_roughly(ends[j])
            for unit in range(units):
                first, after = starts[unit], starts[unit + 1]
                own, end = ends[first:after], float32(0.0)
                for k in range(len(own)):
                    end += own[k]
                    own[k] = end
                goal, limit = uniform(word[unit]) * end, doubt(len(own)) * end
                state, doubtful = 0, int32(0)
                for k in range(len(own)):
                    gap = own[k] - goal
                    state += gap <= float32(0.0)
                    doubtful = flag_if_less(doubtful, abs(gap), limit)
                if doubtful < 0 or not end < 2 * len(own):  # NaN passes for e^87
                    place = i * units + unit
                    state = settled_state(fields[first:after], word[unit], place, group, key)
                row[first + state] = 1


def mean_categorical(x, bias, starts):  # type: ignore[no-untyped-def]
    for i in prange(len(x)):
        row, weights = x[i], np.empty(x.shape[1], np.float32)
        for j in range(len(row)):
            row[j] += bias[j]
        below_top(row, starts, weights)
        for j in range(len(row)):
            weights[j] = exp32(weights[j])
        for unit in range(len(starts) - 1):
            first, after = starts[unit], starts[unit + 1]
            own, to, total = weights[first:after], row[first:after], float32(0.0)
            for k in range(len(own)):
                total += own[k]
            share = float32(1.0) / total if total < 2 * len(own) else float32(np.nan)
            for k in range(len(own)):
                to[k] = own[k] * share
