"""The kernels of fused updates: contrastive divergence of a Bernoulli model, many steps a call.

`v` holds the rows of a minibatch and below them those of the chains; `h_mean` is E[h | v] of all.
Chains are binary; so is a minibatch, unless its rows are taken as they are.
"""

from __future__ import annotations

import numpy as np
from numba import float32, int32

from gibbsite.ops.bits import bit_product
from gibbsite.ops.cpu import ascend_with_momentum, center, square_sum
from gibbsite.ops.draws import draw_bernoulli, draw_probabilities, mean_bernoulli, sigmoid32
from gibbsite.ops.random import (
    DOUBT,
    compiled,
    flag_if_less,
    grouping,
    inlined,
    random_words,
    redraw_by_odds,
    uniform,
)

# the kernels of `ops` as parts of a larger one, on one thread
multiply, mean_units, move_to_center = (
    compiled(bit_product),
    compiled(mean_bernoulli),
    compiled(center),
)
draw_units, draw_data = compiled(draw_bernoulli), compiled(draw_probabilities)
sum_squares, ascend = compiled(square_sum), compiled(ascend_with_momentum)


# products by `multiply`, False unless x is binary; its flags are no literals, for which it is
# compiled anew


@compiled
def binary_product(x, weight, out):  # type: ignore[no-untyped-def]
    """out <- x @ weight."""
    no = len(out) < 0
    return multiply(out, x, no, weight, no, len(out))


@inlined
def add_multiple(x, factor, to):  # type: ignore[no-untyped-def]
    if factor != 0:
        for j in range(len(to)):
            to[j] += factor * x[j]


@compiled
def product(x, weight, rows, out):  # type: ignore[no-untyped-def]
    """out <- x @ weight, where at least the rows from `rows` on are binary."""
    if binary_product(x, weight, out):
        return
    if rows < len(x):
        binary_product(x[rows:], weight, out[rows:])
    for i in range(rows):
        row, to = x[i], out[i]
        for j in range(len(to)):
            to[j] = 0
        for k in range(len(row)):
            add_multiple(weight[k], row[k], to)


@compiled
def product_with_transpose(x, weight, out):  # type: ignore[no-untyped-def]
    """out <- x @ weight.T."""
    no, yes = len(out) < 0, len(out) >= 0
    multiply(out, x, no, weight, yes, len(out))


@compiled
def transposed_product(x, y, rows, out):  # type: ignore[no-untyped-def]
    """out <- x.T @ y, where at least the rows from `rows` on are binary."""
    no, yes = len(out) < 0, len(out) >= 0
    if multiply(out, x, yes, y, no, len(out)):
        return
    multiply(out, x[rows:], yes, y[rows:], no, len(out))
    for i in range(rows):
        row = x[i]
        for k in range(len(row)):
            add_multiple(y[i], row[k], out[k])


@compiled
def mean_and_draw(x, bias, start, key, draws):  # type: ignore[no-untyped-def]
    """x <- sigmoid(bias + x); draws <- draws with these probabilities, of rows from `start` on."""
    rows, n = draws.shape
    for i in range(start):
        row = x[i]
        for j in range(n):
            row[j] = sigmoid32(float32(bias[j] + row[j]))
    size, groups = grouping(rows, n)
    for group in range(groups):
        words, odds = random_words(group, size, n, key), np.empty(n, np.float32)
        first = group * size
        drawn = draws[first : first + size]
        inputs = x[start + first : start + first + len(drawn)]
        for i in range(len(inputs)):
            row, draw, word, doubt = inputs[i], drawn[i], words[i], int32(0)
            for j in range(n):
                odds[j] = bias[j] + row[j]
                row[j] = sigmoid32(odds[j])
                gap = uniform(word[j]) - row[j]
                doubt = flag_if_less(doubt, abs(gap), float32(DOUBT))
                draw[j] = gap < float32(0.0)
            if doubt < 0:
                redraw_by_odds(draw, odds, word, i * n, group, key)


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
    """out <- mean over the data's rows, mean over the chains', and the difference, (3, columns)."""
    data, model, difference = out[0], out[1], out[2]
    mean_rows(x[:rows], data)
    mean_rows(x[rows:], model)
    for j in range(len(difference)):
        difference[j] = data[j] - model[j]


@compiled
def phase_statistics(v, h_mean, rows, v_means, h_means, signed_h):  # type: ignore[no-untyped-def]
    """`phase_means` of both layers; signed_h <- h_mean weighted such that v.T @ signed_h is dW."""
    phase_means(v, rows, v_means)
    phase_means(h_mean, rows, h_means)
    data, model = h_mean.dtype.type(1 / rows), h_mean.dtype.type(-1 / (len(v) - rows))
    for i in range(len(v)):
        row, to = h_mean[i], signed_h[i]
        share = data if i < rows else model
        for j in range(len(row)):
            to[j] = share * row[j]


@inlined
def copy_rows(x, to):  # type: ignore[no-untyped-def]
    for i in range(len(x)):
        row, copy = x[i], to[i]
        for j in range(len(row)):
            copy[j] = row[j]


@inlined
def move_towards(x, target, share):  # type: ignore[no-untyped-def]
    for j in range(len(x)):
        x[j] += share * (target[j] - x[j])


@inlined
def subtract(x, other):  # type: ignore[no-untyped-def]
    for j in range(len(x)):
        x[j] -= other[j]


@compiled
def gibbs_steps(weight, b, c, v, inputs, keys):  # type: ignore[no-untyped-def]
    """Run Gibbs steps of v in place, one for every two keys; inputs is the buffer for h."""
    for step in range(len(keys) // 2):
        binary_product(v, weight, inputs)
        draw_units(inputs, c, float32(1.0), keys[2 * step :])
        product_with_transpose(inputs, weight, v)
        draw_units(v, b, float32(1.0), keys[2 * step + 1 :])


@compiled
def persistent_phases(weight, b, c, v, rows, h, keys, h_mean):  # type: ignore[no-untyped-def]
    """Move the chains, from their h; fill their rows of v, then h_mean, and draw their new h."""
    chains = v[rows:]
    product_with_transpose(h, weight, chains)
    draw_units(chains, b, float32(1.0), keys)
    gibbs_steps(weight, b, c, chains, h_mean[rows:], keys[1:])
    product(v, weight, rows, h_mean)
    mean_and_draw(h_mean, c, rows, keys[len(keys) - 1 :], h)


@compiled
def contrastive_phases(weight, b, c, v, rows, h, keys, h_mean):  # type: ignore[no-untyped-def]
    """Run chains from the data, the first rows of v, into the other rows; fill h_mean."""
    chains, zero = v[rows:], rows - rows  # no literal, for which `mean_and_draw` is compiled anew
    product(v[:rows], weight, rows, h_mean[:rows])
    mean_and_draw(h_mean[:rows], c, zero, keys, h)
    product_with_transpose(h, weight, chains)
    draw_units(chains, b, float32(1.0), keys[1:])
    gibbs_steps(weight, b, c, chains, h_mean[rows:], keys[2:])
    binary_product(chains, weight, h_mean[rows:])
    mean_units(h_mean[rows:], c)


@compiled
def step_uphill(model, buffers, v, h_mean, rows):  # type: ignore[no-untyped-def]
    """Step along the gradient of both phases, unless it is not finite; returns its norm."""
    (weight, b, c), velocities, (mu, lam), (share, rate, momentum) = model
    gradient, all_signed_h, v_means, h_means, v_change, h_change = buffers
    signed_h = all_signed_h[: len(v)]
    ascent = gradient.reshape(-1), v_means[2], h_means[2]
    phase_statistics(v, h_mean, rows, v_means, h_means, signed_h)
    transposed_product(v, signed_h, rows, gradient)
    if share > 0:
        move_towards(mu, v_means[0], share)
        move_towards(lam, h_means[0], share)
        move_to_center(gradient, v_means[2], h_means[2], mu, lam, v_change, h_change)
        subtract(v_means[2], v_change)
        subtract(h_means[2], h_change)
    norm = np.sqrt(sum_squares(ascent))
    if norm < np.inf:
        ascend((weight.reshape(-1), b, c), ascent, rate, velocities, momentum)
    return norm


@inlined
def allocate(weight, rows):  # type: ignore[no-untyped-def]
    """Buffers for up to so many rows of v and h_mean, and those of `step_uphill`."""
    n, m = weight.shape
    v, h_mean = np.empty((rows, n), np.float32), np.empty((rows, m), np.float32)
    gradient, signed_h = np.empty((n, m), np.float32), np.empty((rows, m), np.float32)
    v_means, h_means = np.empty((3, n), np.float32), np.empty((3, m), np.float32)
    v_change, h_change = np.empty(n, np.float32), np.empty(m, np.float32)
    return v, h_mean, (gradient, signed_h, v_means, h_means, v_change, h_change)


@inlined
def take_minibatch(data, update, size, keys, v):  # type: ignore[no-untyped-def]
    """Copy the minibatch of an update into the first rows of v; returns how many they are.

    It is drawn if the row of keys has one.
    """
    minibatch = data[update * size : (update + 1) * size]
    copy_rows(minibatch, v)
    if keys.shape[1] > 0:
        draw_data(v[: len(minibatch)], keys[update])
    return len(minibatch)


# update by the minibatches of data in turn, one for each row of the keys (to draw data, if any, and
# chains) and entry of norms, up to a norm that is not finite; return the number of updates


def persistent_updates(parameters, velocities, chains, offsets, data, size, keys, rates, norms):  # type: ignore[no-untyped-def]
    (weight, b, c), (chain_v, h), (data_keys, chain_keys) = parameters, chains, keys
    all_v, all_h_mean, buffers = allocate(weight, size + len(h))
    for update in range(len(norms)):
        rows = take_minibatch(data, update, size, data_keys, all_v)
        v, h_mean = all_v[: rows + len(h)], all_h_mean[: rows + len(h)]
        persistent_phases(weight, b, c, v, rows, h, chain_keys[update], h_mean)
        copy_rows(v[rows:], chain_v)
        model = parameters, velocities, offsets, rates
        norms[update] = step_uphill(model, buffers, v, h_mean, rows)
        if not norms[update] < np.inf:
            return update + 1
    return len(norms)


def contrastive_updates(parameters, velocities, chains, offsets, data, size, keys, rates, norms):  # type: ignore[no-untyped-def]
    (weight, b, c), (data_keys, chain_keys) = parameters, keys
    all_v, all_h_mean, buffers = allocate(weight, 2 * size)
    h = np.empty((size, len(c)), np.float32)
    for update in range(len(norms)):
        rows = take_minibatch(data, update, size, data_keys, all_v)
        v, h_mean = all_v[: 2 * rows], all_h_mean[: 2 * rows]
        contrastive_phases(weight, b, c, v, rows, h[:rows], chain_keys[update], h_mean)
        model = parameters, velocities, offsets, rates
        norms[update] = step_uphill(model, buffers, v, h_mean, rows)
        if not norms[update] < np.inf:
            return update + 1
    return len(norms)
