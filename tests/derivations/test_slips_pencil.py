"""Slips in Pencil and Paper: the printed form fails, the corrected one holds.

The text's hidden index is i (to n) and its visible index is j (to m): its W is our weight.T.
"""

from dataclasses import replace

import numpy as np
import torch
from oracle import agree, differ

import gibbsite as gb
from gibbsite.gradients import Batch


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def pair_terms(case):
    """(W_ij h_i v_j, b_j v_j, c_i h_i) of every state, each (v, h, i, j)."""
    v, h = case.v[:, None, None, :], case.h[None, :, :, None]
    coupling = case.w.T * h * v
    return coupling, case.b * v + 0 * coupling, case.c[:, None] * h + 0 * coupling


def reconstruction(case, v):
    """E[v | E[h | v]] by enumeration of v."""
    on = case.h_given(v) @ case.h
    weights = np.exp(on @ case.w.T @ case.v.T + case.v @ case.b)
    return weights @ case.v / weights.sum(1, keepdims=True)


def normalised(weights, axis=None):
    return weights / weights.sum(axis=axis, keepdims=axis is not None)


def test_slip_pencil_4_sign(bb):
    """Pencil (4): the exponent is the energy, where minus the energy is meant."""
    coupling, b_term, c_term = pair_terms(bb)
    printed = np.exp(-coupling - b_term - c_term).prod((-2, -1))
    differ(normalised(printed), bb.joint)
    once = coupling.sum((-2, -1)) + b_term[:, :, 0].sum(-1) + c_term[..., 0].sum(-1)
    agree(normalised(np.exp(once)), bb.joint)
    agree(torch.exp(-bb.rbm.energy(bb.v[:, None], bb.h[None])), np.exp(once))


def test_slip_pencil_4_repeated_biases(bb):
    """Pencil (4): even with the sign put right, b_j enters n times and c_i enters m times."""
    coupling, b_term, c_term = pair_terms(bb)
    differ(normalised(np.exp(coupling + b_term + c_term).prod((-2, -1))), bb.joint)
    m, n = bb.w.shape
    shared = np.exp(coupling + b_term / n + c_term / m).prod((-2, -1))
    agree(normalised(shared), bb.joint)


def test_slip_pencil_5_7_pairs_are_not_independent(bb):
    """Pencil (5), (7): a product of p(v_j, h_i) over all pairs is no joint."""
    product = np.ones_like(bb.joint)
    for j in range(bb.v.shape[1]):
        for i in range(bb.h.shape[1]):
            same_v = bb.v[:, None, j] == bb.v[None, :, j]
            same_h = bb.h[:, None, i] == bb.h[None, :, i]
            product *= same_v @ bb.joint @ same_h
    differ(normalised(product), bb.joint)
    differ(normalised(product, 0), bb.joint / bb.p_h)
    on = bb.rbm.visible_mean(bb.h).numpy()
    units = np.where(bb.v[:, None] == 1, on[None], 1 - on[None]).prod(-1)
    agree(units, bb.joint / bb.p_h)
    agree(units * bb.p_h, bb.joint)


def test_slip_pencil_8_9_sign_and_repeated_bias(bb):
    """Pencil (8), (9): both the sign and b_j taken n times; (10) does not follow from them."""
    truth = bb.rbm.visible_mean(bb.h).numpy()
    for sign in (-1, 1):
        odds = np.exp(sign * (bb.h[:, :, None] * bb.w.T + bb.b)).prod(1)
        differ(odds / (1 + odds), truth)
    odds = np.exp(bb.b) * np.exp(bb.h[:, :, None] * bb.w.T).prod(1)
    agree(odds / (1 + odds), truth)
    agree((bb.joint / bb.p_h).T @ bb.v, truth)


def test_slip_pencil_11_12_sign_and_repeated_bias(bb):
    """Pencil (11), (12): the same for h given v."""
    truth = bb.rbm.hidden_mean(bb.v).numpy()
    for sign in (-1, 1):
        odds = np.exp(sign * (bb.v[:, :, None] * bb.w + bb.c)).prod(1)
        differ(odds / (1 + odds), truth)
    odds = np.exp(bb.c) * np.exp(bb.v[:, :, None] * bb.w).prod(1)
    agree(odds / (1 + odds), truth)
    agree(bb.h_given(bb.v) @ bb.h, truth)


def test_slip_pencil_18_one_token_for_the_data(bb):
    """Pencil (18), (19): L(D) on the left, one v on the right.

    The same in (21), (22), (23), (25), (26), (27), (28), (29), (30).
    """
    for name in bb.theta:
        truth = bb.varied(name, lambda theta: bb.log_p(bb.data, theta).mean())
        d_energy = bb.model_mean(bb.d_energy(name, bb.v))
        rows = d_energy[..., None] - bb.data_mean(bb.d_energy(name, bb.data), bb.data)
        for row in range(len(bb.data)):
            differ(rows[..., row], truth)
        agree(rows.mean(-1), truth)
        agree(gb.exact.gradient(bb.rbm, bb.data)[name], truth)


def test_slip_pencil_31_32_equality(bb):
    """Pencil (31), (32): the product is no equality, not even averaged over the model."""
    up, down = bb.h_given(bb.v) @ bb.h, (bb.joint / bb.p_h).T @ bb.v
    truth = np.einsum("vh,vj,hi->ji", bb.joint, bb.v, bb.h)
    differ(np.einsum("vh,hj,vi->ji", bb.joint, down, up), truth)
    differ(np.einsum("v,vj,vi->ji", bb.p_v, reconstruction(bb, bb.v), up), truth)
    agree(np.einsum("v,vj,vi->ji", bb.p_v, bb.v, up), truth)
    agree(gb.exact.moments(bb.rbm).product, truth)


def test_slip_pencil_33_sigmoid_and_bias(bb):
    """Pencil (33): E[v_j | ...] printed without its sigmoid and its bias."""
    on = bb.h_given(bb.v) @ bb.h
    truth = np.einsum("vj,vi->vji", reconstruction(bb, bb.v), on)
    differ(np.einsum("vj,vi->vji", on @ bb.w.T, on), truth)
    agree(np.einsum("vj,vi->vji", sigmoid(on @ bb.w.T + bb.b), on), truth)


def test_slip_pencil_32_33_hidden_means_at_the_data(bb):
    """Pencil (32), (33): v_j is reconstructed but h_i is not; chains move both.

    Averaged over v from the model, v_j E[h_i | v] with one and the same v is exact, so a
    reconstruction that repeats the model's statistics must use its own v in both factors.
    """
    at_equilibrium = bb.h_given(bb.v) @ bb.h
    truth = np.einsum("vh,vj,hi->ji", bb.joint, bb.v, bb.h)
    moved = (bb.joint / bb.p_h) @ bb.h_given(bb.v).T  # p(v' | v), one Gibbs step
    mixed = np.einsum("vu,u,vj,ui->ji", moved, bb.p_v, bb.v, at_equilibrium)
    both = np.einsum("vu,u,vj,vi->ji", moved, bb.p_v, bb.v, at_equilibrium)
    differ(mixed, truth)
    agree(both, truth)


def test_slip_pencil_34_equality(bb):
    """Pencil (34): an approximation printed as an equality; the mean over p(h) is exact."""
    truth = bb.p_v @ bb.v
    differ(reconstruction(bb, bb.v), truth)
    differ(bb.p_v @ reconstruction(bb, bb.v), truth)
    agree(bb.p_h @ bb.rbm.visible_mean(bb.h).numpy(), truth)


def test_slip_pencil_35_extra_factor(bb):
    """Pencil (35): a factor E[h_i | v] left over from (32)."""
    on, back = bb.h_given(bb.v) @ bb.h, reconstruction(bb, bb.v)
    for i in range(bb.h.shape[1]):
        differ(back * on[:, [i]], back)
    agree(gb.reconstruct(bb.rbm, bb.v), back)


def test_slip_pencil_36_sigmoid_and_bias(bb):
    """Pencil (36): no sigmoid, no b_j; the value need not even lie between 0 and 1."""
    on, back = bb.h_given(bb.v) @ bb.h, reconstruction(bb, bb.v)
    printed = on @ bb.w.T
    differ(printed, back)
    assert printed.min() < 0
    agree(sigmoid(on @ bb.w.T + bb.b), back)


def test_slip_pencil_36_without_coupling(bb):
    """Pencil (33), (36): at W = 0 the printed mean is 0, the true one is sigmoid(b_j)."""
    free = replace(bb, theta=bb.theta | {"weight": 0 * bb.w})
    truth = free.p_v @ free.v
    differ((free.h_given(free.v) @ free.h) @ free.w.T, truth)
    agree(sigmoid(free.b), truth)


def test_slip_pencil_37_data_for_reconstruction(bb):
    """Pencil (37): with the data in it, the gradient in c of (30) is zero for every model."""
    v = torch.from_numpy(bb.data)
    data = bb.rbm.hidden_mean(v).mean(0).numpy()
    truth = gb.exact.gradient(bb.rbm, v)["hidden.bias"].numpy()
    printed = data - sigmoid(bb.data @ bb.w + bb.c).mean(0)
    agree(printed, np.zeros(3))
    differ(printed, truth)
    corrected = data - sigmoid(reconstruction(bb, bb.data) @ bb.w + bb.c).mean(0)
    agree(gb.MeanField().step(bb.rbm, Batch(v), None)[0]["hidden.bias"], corrected)


def test_slip_pencil_37_order_of_the_error(bb):
    """Pencil (37): weights 10 times smaller cut the printed error by 10, the corrected by 100.

    An asymptotic rate, so the tolerance is 10 per cent and not 1e-9.
    """
    printed, corrected = [], []
    for strength in (1e-3, 1e-4):
        weak = replace(bb, theta=bb.theta | {"weight": strength * bb.w})
        truth = weak.p_h @ weak.h
        back = reconstruction(weak, bb.data)
        printed.append(np.abs(sigmoid(bb.data @ weak.w + weak.c) - truth).max())
        corrected.append(np.abs(sigmoid(back @ weak.w + weak.c) - truth).max())
    agree(printed[0] / printed[1], 10.0, tolerance=0.1)
    agree(corrected[0] / corrected[1], 100.0, tolerance=0.1)
