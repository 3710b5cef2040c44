"""Many updates of a small binary model as one kernel."""

from __future__ import annotations

import numpy as np
from numba import float32, int32

from gibbsite.ops.bits import bit_product
from gibbsite.ops.cpu import ascend_with_momentum, center, square_sum
from gibbsite.ops.draws import draw_bernoulli, draw_probabilities, mean32, mean_bernoulli
from gibbsite.ops.random import (
    DOUBT,
    inlined,
    negative_if_doubtful,
    part,
    rows_together,
    settle,
    uniform,
    words,
)

# the kernels as parts of a larger one, on one thread
multiply, draw_all, draw_units = part(bit_product), part(draw_probabilities), part(draw_bernoulli)
average, move_to_center = part(mean_bernoulli), part(center)
sum_squares, climb = part(square_sum), part(ascend_with_momentum)


@part
def mean_and_draw(x, bias, start, key, draws):  # type: ignore[no-untyped-def]
    """x <- sigmoid(bias + x); draws <- draws of the rows from `start` on."""
    rows, n = draws.shape
    for i in range(start):
        row = x[i]
        for j in range(n):
            row[j] = mean32(float32(bias[j] + row[j]))
    together = rows_together(n)
    for group in range((rows + together - 1) // together):
        word, odds = words(group, together, n, key), np.empty(n, np.float32)
        first = group * together
        drawn = draws[first : first + together]
        inputs = x[start + first : start + first + len(drawn)]
        for i in range(len(inputs)):
            row, draw, random, doubts = inputs[i], drawn[i], word[i], int32(0)
            for j in range(n):
                odds[j] = bias[j] + row[j]
                row[j] = mean32(odds[j])
                gap = uniform(random[j]) - row[j]
                doubts = negative_if_doubtful(doubts, abs(gap), float32(DOUBT))
                draw[j] = gap < float32(0.0)
            if doubts < 0:
                settle(draw, odds, random, i * n, group, key)


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


@part
def phase_statistics(h, v, rows, v_means, h_means, shares):  # type: ignore[no-untyped-def]
    """Means of the first rows, of the others, and the difference; h as it counts in that of h."""
    phase_means(v, rows, v_means)
    phase_means(h, rows, h_means)
    ours, theirs = h.dtype.type(1 / rows), h.dtype.type(-1 / (len(h) - rows))
    for i in range(len(h)):
        row, to = h[i], shares[i]
        share = ours if i < rows else theirs
        for j in range(len(row)):
            to[j] = share * row[j]


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


@inlined
def subtract(x, other):  # type: ignore[no-untyped-def]
    for j in range(len(x)):
        x[j] -= other[j]


@part
def sweep(weight, b, c, v, inputs, keys):  # type: ignore[no-untyped-def]
    """Run Gibbs steps of v in place, one for every two keys; inputs is the buffer for h."""
    no, yes = len(v) < 0, len(v) >= 0  # for each literal the product would be compiled
    for step in range(len(keys) // 2):
        multiply(inputs, v, no, weight, no, len(v))
        draw_units(inputs, c, float32(1.0), keys[2 * step :])
        multiply(v, inputs, no, weight, yes, len(v))
        draw_units(v, b, float32(1.0), keys[2 * step + 1 :])


@part
def persistent_phases(weight, b, c, both, rows, h, keys, hidden):  # type: ignore[no-untyped-def]
    """Move the chains, whose v are the last rows of both; write E[h | v] of all, and a new h."""
    chains, inputs, everything = both[rows:], hidden[rows:], len(both)
    no, yes = everything < 0, everything >= 0  # for each literal the product would be compiled
    multiply(chains, h, no, weight, yes, everything)
    draw_units(chains, b, float32(1.0), keys)
    sweep(weight, b, c, chains, inputs, keys[1:])
    multiply(hidden, both, no, weight, no, everything)
    mean_and_draw(hidden, c, rows, keys[len(keys) - 1 :], h)


@part
def contrastive_phases(weight, b, c, both, rows, h, keys, hidden):  # type: ignore[no-untyped-def]
    """Run chains from the first rows of both, the data, into the others; write E[h | v] of all."""
    ours, theirs, chains, everything = hidden[:rows], hidden[rows:], both[rows:], len(both)
    no, yes = everything < 0, everything >= 0
    multiply(ours, both[:rows], no, weight, no, everything)
    mean_and_draw(ours, c, rows - rows, keys, h)
    multiply(chains, h, no, weight, yes, everything)
    draw_units(chains, b, float32(1.0), keys[1:])
    sweep(weight, b, c, chains, theirs, keys[2:])
    multiply(theirs, chains, no, weight, no, everything)
    average(theirs, c)


@part
def improve(model, room, both, hidden, rows):  # type: ignore[no-untyped-def]
    """Step up the gradient of both phases, unless it is not finite; returns its norm."""
    (weight, b, c), velocities, (mu, lam), (share, rate, momentum) = model
    gradient, all_shares, v_means, h_means, v_change, h_change = room
    shares, n = all_shares[: len(both)], len(weight)
    ascent = gradient.reshape(-1), v_means[2], h_means[2]
    phase_statistics(hidden, both, rows, v_means, h_means, shares)
    multiply(gradient, both, n > 0, shares, n < 0, n)
    if share > 0:
        approach(mu, v_means[0], share)
        approach(lam, h_means[0], share)
        move_to_center(gradient, v_means[2], h_means[2], mu, lam, v_change, h_change)
        subtract(v_means[2], v_change)
        subtract(h_means[2], h_change)
    norm = np.sqrt(sum_squares(ascent))
    if norm < np.inf:
        climb((weight.reshape(-1), b, c), ascent, rate, velocities, momentum)
    return norm


@inlined
def rooms(weight, most):  # type: ignore[no-untyped-def]
    """Allocate buffers for up to so many rows: v, E[h | v], and those of `improve`."""
    n, m = weight.shape
    both, hidden = np.empty((most, n), np.float32), np.empty((most, m), np.float32)
    gradient, shares = np.empty((n, m), np.float32), np.empty((most, m), np.float32)
    v_means, h_means = np.empty((3, n), np.float32), np.empty((3, m), np.float32)
    v_change, h_change = np.empty(n, np.float32), np.empty(m, np.float32)
    return both, hidden, (gradient, shares, v_means, h_means, v_change, h_change)


@inlined
def draw_minibatch(data, update, batch, key, both):  # type: ignore[no-untyped-def]
    """Draw the minibatch of an update into the first rows of both; returns their number."""
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
