"""p(h | v) and p(v | h) of the Bernoulli-Bernoulli model, factor by factor."""

import numpy as np
import torch
from oracle import agree, bits


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_cheng_2_8_unnormalised_joint_factorises_over_h(bb):
    """Cheng (2.8): exp(-E) is a factor of v times one factor for each h_j."""
    inputs = bb.c + bb.v @ bb.w
    factors = np.exp(bb.h[None] * inputs[:, None]).prod(-1)
    truth = torch.exp(-bb.rbm.energy(bb.v[:, None], bb.h[None]))
    agree(np.exp(bb.v @ bb.b)[:, None] * factors, truth)


def test_cheng_2_9_sum_over_h(bb):
    """Cheng (2.9): the sum over all h is exp(-F(v))."""
    inputs = bb.c + bb.v @ bb.w
    nested = [sum(np.exp(g @ x) for g in bb.h) for x in inputs]
    single = [np.prod([sum(np.exp(g * x_j) for g in (0, 1)) for x_j in x]) for x in inputs]
    own = np.exp(bb.v @ bb.b)
    truth = np.exp(-bb.energy(bb.v)).sum(1)
    for line in (nested, single, (1 + np.exp(inputs)).prod(1)):
        agree(own * line, truth)
    agree(torch.exp(-bb.rbm.free_energy(bb.v)), truth)


def test_cheng_2_10_hidden_given_visible(bb):
    """Cheng (2.10), with the sum over i running to I."""
    inputs = (bb.c + bb.v @ bb.w)[:, None]
    product = (np.exp(bb.h[None] * inputs) / (1 + np.exp(inputs))).prod(-1)
    agree(product, bb.h_given(bb.v))
    agree(bb.rbm.log_prob_hidden(bb.h[None], bb.v[:, None]).exp(), product)


def test_cheng_2_17_unnormalised_joint_factorises_over_v(bb):
    """Cheng (2.17)."""
    inputs = bb.b + bb.h @ bb.w.T
    factors = np.exp(bb.v[:, None] * inputs[None]).prod(-1)
    truth = torch.exp(-bb.rbm.energy(bb.v[:, None], bb.h[None]))
    agree(np.exp(bb.h @ bb.c) * factors, truth)


def test_cheng_2_18_sum_over_v(bb):
    """Cheng (2.18)."""
    inputs = bb.b + bb.h @ bb.w.T
    nested = [sum(np.exp(u @ x) for u in bb.v) for x in inputs]
    single = [np.prod([sum(np.exp(u * x_i) for u in (0, 1)) for x_i in x]) for x in inputs]
    truth = np.exp(-bb.energy(bb.v)).sum(0)
    for line in (nested, single, (1 + np.exp(inputs)).prod(1)):
        agree(np.exp(bb.h @ bb.c) * line, truth)
    agree(torch.exp(-bb.rbm.mirror().free_energy(bb.h)), truth)


def test_cheng_2_19_visible_given_hidden(bb):
    """Cheng (2.19)."""
    inputs = (bb.b + bb.h @ bb.w.T)[None]
    product = (np.exp(bb.v[:, None] * inputs) / (1 + np.exp(inputs))).prod(-1)
    agree(product, bb.joint / bb.p_h)
    agree(bb.rbm.log_prob_visible(bb.v[:, None], bb.h[None]).exp(), product)


def test_pencil_4_5_6_joint_as_a_product(bb):
    """Pencil (4), (5), (6), corrected; EBM §3 joint as a product: each bias enters once."""
    v, h = bb.v[:, None], bb.h[None]
    pairs = np.exp(v[..., :, None] * bb.w * h[..., None, :]).prod((-2, -1))
    weights = np.exp(v * bb.b).prod(-1) * np.exp(h * bb.c).prod(-1) * pairs
    agree(weights, torch.exp(-bb.rbm.energy(v, h)))
    agree(weights / weights.sum(), bb.joint)


def test_pencil_7_conditional_as_a_product(bb):
    """Pencil (7), corrected; EBM §3 factorisation: given h, the units of v are independent."""
    on = (bb.joint / bb.p_h).T @ bb.v
    product = np.where(bb.v[:, None] == 1, on[None], 1 - on[None]).prod(-1)
    agree(product, bb.joint / bb.p_h)
    agree(bb.rbm.log_prob_visible(bb.v[:, None], bb.h[None]).exp(), product)


def test_pencil_8_9_10_visible_mean(bb):
    """Pencil (8), (9), corrected, and (10) as printed; EBM §3 sigm; Bernoulli sigm2."""
    mean = (bb.joint / bb.p_h).T @ bb.v
    odds = np.exp(bb.b) * np.exp(bb.h[:, None] * bb.w).prod(-1)
    agree(odds / (1 + odds), mean)
    agree(sigmoid(bb.b + bb.h @ bb.w.T), mean)
    agree(bb.rbm.visible_mean(bb.h), mean)


def test_pencil_11_12_13_hidden_mean(bb):
    """Pencil (11), (12), corrected, and (13) as printed; EBM §3 sigm; Bernoulli sigm1."""
    mean = bb.h_given(bb.v) @ bb.h
    odds = np.exp(bb.c) * np.exp(bb.v[:, :, None] * bb.w).prod(1)
    agree(odds / (1 + odds), mean)
    agree(sigmoid(bb.c + bb.v @ bb.w), mean)
    agree(bb.rbm.hidden_mean(bb.v), mean)


def test_ebm_3_one_hidden_unit(bb):
    """EBM §3 p(h_j given v): every line, from the marginal over the other units to two terms."""
    joint_given = bb.h_given(bb.v)
    on = joint_given @ bb.h
    for j in range(bb.h.shape[1]):
        chosen = bb.h[:, j] == 1
        others = bits(bb.h.shape[1] - 1)
        rest = np.delete(on, j, 1)
        p_rest = np.where(others[None] == 1, rest[:, None], 1 - rest[:, None]).prod(-1)
        agree((on[:, j, None] * p_rest).sum(1), on[:, j])
        weights = np.exp(-bb.energy(bb.v))
        agree(weights[:, chosen].sum(1) / weights.sum(1), on[:, j])
        terms = np.exp((bb.c[j] + bb.v @ bb.w[:, j])[:, None] * np.array([0, 1]))
        agree(terms[:, 1] / terms.sum(1), on[:, j])
    agree(bb.rbm.hidden_mean(bb.v), on)


def test_bernoulli_sigm1_from_an_energy_difference(bb):
    """Bernoulli sigm1, its energy line: the other units may be held anywhere."""
    mean = bb.h_given(bb.v) @ bb.h
    for j in range(bb.h.shape[1]):
        on, off = bb.h[bb.h[:, j] == 1], bb.h[bb.h[:, j] == 0]
        change = bb.rbm.energy(bb.v[:, None], on[None]) - bb.rbm.energy(bb.v[:, None], off[None])
        agree(1 / (1 + torch.exp(change)), np.repeat(mean[:, j, None], len(on), 1))
