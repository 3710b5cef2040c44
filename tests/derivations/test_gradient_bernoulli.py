"""The gradient of the Bernoulli-Bernoulli model, parameter by parameter."""

import numpy as np
import pytest
import torch
from oracle import agree, derivative

import gibbsite as gb


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def library_gradient(case, name):
    """`gb.exact.gradient` of each visible state alone, (*parameter, states)."""
    return np.stack([gb.exact.gradient(case.rbm, v[None])[name] for v in case.v], -1)


def test_pencil_20_24_energy_derivatives(bb):
    """Pencil (20), (24); EBM §2.1 derivatives; Notes dE/dw."""
    v, h = bb.v[:, None], bb.h[None]
    product = np.einsum("vi,hj->ijvh", bb.v, bb.h)
    agree(bb.d_energy("weight", bb.v), -product)
    agree(bb.d_energy("visible.bias", bb.v), np.moveaxis(-v - 0 * h[..., :1], -1, 0))
    agree(bb.d_energy("hidden.bias", bb.v), np.moveaxis(-h - 0 * v[..., :1], -1, 0))
    v, h = torch.from_numpy(bb.v[5:6]), torch.from_numpy(bb.h[3:4])
    at = bb.rbm.visible.moments_at(v), bb.rbm.hidden.moments_at(h)
    one = bb.rbm.phase(*at, torch.ones(1).double())
    agree(one["weight"], product[:, :, 5, 3])


def test_cheng_2_11_weight(bb):
    """Cheng (2.11), every line of the chain; EBM §3.1 W starts the same way."""
    inputs = bb.c + bb.v @ bb.w
    factors = np.exp(bb.h[None] * inputs[:, None]) / (1 + np.exp(inputs))[:, None]
    mean = bb.h_given(bb.v) @ bb.h
    truth = np.einsum("vi,vj->ijv", bb.v, mean)
    agree(-bb.data_mean(bb.d_energy("weight", bb.v), bb.v), truth)
    for j in range(bb.h.shape[1]):
        others = np.delete(factors, j, 2).prod(2)
        whole = (others * factors[:, :, j] * bb.h[:, j]).sum(1)
        # sum over h_j first (the states with h_j = 0 list every state of the other units once)
        rest = others[:, bb.h[:, j] == 0].sum(1)
        own = sigmoid(inputs[:, j])
        by_unit = np.delete(1 / (1 + np.exp(inputs)) + sigmoid(inputs), j, 1).prod(1)
        for line in (whole, own * rest, own * by_unit, own):
            agree(bb.v.T * line, truth[:, j])


def test_cheng_2_12_visible_bias(bb):
    """Cheng (2.12); Bernoulli ai."""
    agree(-bb.data_mean(bb.d_energy("visible.bias", bb.v), bb.v), bb.v.T)
    agree(bb.rbm.data_phase(torch.from_numpy(bb.v[3:4]))["visible.bias"], bb.v[3])


def test_cheng_2_13_hidden_bias(bb):
    """Cheng (2.13); Bernoulli bj."""
    truth = sigmoid(bb.c + bb.v @ bb.w)
    agree(-bb.data_mean(bb.d_energy("hidden.bias", bb.v), bb.v), truth.T)
    agree(bb.rbm.data_phase(torch.from_numpy(bb.v[3:4]))["hidden.bias"], truth[3])


def test_bernoulli_wij(bb):
    """Bernoulli wij, every line: independence, then a sum over one unit."""
    given, product = bb.h_given(bb.v), np.einsum("vi,hj->ijvh", bb.v, bb.h)
    on = given @ bb.h
    truth = -np.einsum("vi,vj->ijv", bb.v, on)
    units = np.where(bb.h[None] == 1, on[:, None], 1 - on[:, None])
    agree(-(given * product).sum(-1), truth)
    agree(-(units.prod(-1) * product).sum(-1), truth)
    for j in range(bb.h.shape[1]):
        two_terms = on[:, j] * 1 + (1 - on[:, j]) * 0
        agree(-bb.v.T * two_terms, truth[:, j])
    agree(bb.data_mean(bb.d_energy("weight", bb.v), bb.v), truth)


def test_cheng_2_14_weight_gradient(bb):
    """Cheng (2.14); Pencil (23); Notes result; Bernoulli result."""
    on = sigmoid(bb.c + bb.v @ bb.w)
    product = np.einsum("vi,vj->ijv", bb.v, on)
    formula = product - (bb.p_v * product).sum(-1)[..., None]
    agree(formula, bb.d_log_p("weight", bb.v))
    agree(library_gradient(bb, "weight"), formula)


def test_cheng_2_15_visible_bias_gradient(bb):
    """Cheng (2.15); Pencil (27); Bernoulli result."""
    formula = (bb.v - bb.p_v @ bb.v).T
    agree(formula, bb.d_log_p("visible.bias", bb.v))
    agree(library_gradient(bb, "visible.bias"), formula)


def test_cheng_2_16_hidden_bias_gradient(bb):
    """Cheng (2.16); Pencil (30); Bernoulli result."""
    on = sigmoid(bb.c + bb.v @ bb.w)
    formula = (on - bb.p_v @ on).T
    agree(formula, bb.d_log_p("hidden.bias", bb.v))
    agree(library_gradient(bb, "hidden.bias"), formula)


@pytest.mark.parametrize("i", range(3))
def test_pencil_21_22_23_weight(bb, i):
    """Pencil (21), (22), (23), with its hidden i, visible j and W_ij = our weight[j, i]."""
    truth = bb.d_log_p("weight", bb.v)[:, i]
    model = np.einsum("vh,vj,h->j", bb.joint, bb.v, bb.h[:, i])
    given = np.einsum("vh,vj,h->jv", bb.h_given(bb.v), bb.v, bb.h[:, i])
    agree(-model[:, None] + given, truth)
    agree(given - gb.exact.moments(bb.rbm).product.numpy()[:, i, None], truth)
    agree(bb.v.T * sigmoid(bb.v @ bb.w[:, i] + bb.c[i]) - model[:, None], truth)


def test_pencil_25_26_27_visible_bias(bb):
    """Pencil (25), (26), (27): p(h | v) sums to 1, so the data term is v itself."""
    truth = bb.d_log_p("visible.bias", bb.v)
    model = np.einsum("vh,vj->j", bb.joint, bb.v)
    given = np.einsum("vh,vj->jv", bb.h_given(bb.v), bb.v)
    agree(-model[:, None] + given, truth)
    agree(bb.v.T - gb.exact.moments(bb.rbm).visible.numpy()[:, None], truth)


def test_pencil_28_29_30_hidden_bias(bb):
    """Pencil (28), (29), (30)."""
    truth = bb.d_log_p("hidden.bias", bb.v)
    model = np.einsum("vh,hi->i", bb.joint, bb.h)
    given = np.einsum("vh,hi->iv", bb.h_given(bb.v), bb.h)
    agree(-model[:, None] + given, truth)
    agree(given - gb.exact.moments(bb.rbm).hidden.numpy()[:, None], truth)
    agree(sigmoid(bb.v @ bb.w + bb.c).T - model[:, None], truth)


def test_notes_example_derivative():
    """Notes example: only the term that holds the weight survives."""
    a = np.array([0.3, -1.2, 0.7, 2.0])
    w = np.array([[0.5, -0.1], [1.4, 0.2]])
    slope = derivative(lambda x: np.asarray(a @ x.ravel()), w)
    agree(slope[0, 1], a[1])


def test_notes_bilinear_form(bb):
    """Notes bilinear form: a^T B C is the double sum; it is the coupling in the energy."""
    v, h = bb.v[11], bb.h[5]
    double = sum(v[i] * bb.w[i, j] * h[j] for i in range(4) for j in range(3))
    agree(v @ bb.w @ h, double)
    agree(-bb.rbm.energy(v, h) - v @ bb.b - h @ bb.c, double)


def test_notes_dw(bb):
    """Notes dw: with v fixed, v_i leaves the first expectation."""
    on = bb.h_given(bb.v) @ bb.h
    model = np.einsum("vh,vi,hj->ij", bb.joint, bb.v, bb.h)
    agree(np.einsum("vi,vj->ijv", bb.v, on) - model[..., None], bb.d_log_p("weight", bb.v))


def test_notes_factor_sum(bb):
    """Notes factor sum, with the v_i that the text drops: one factor for each hidden unit."""
    on = bb.rbm.hidden_mean(bb.v).numpy()
    units = np.where(bb.h[None] == 1, on[:, None], 1 - on[:, None]).prod(-1)
    left = np.einsum("vh,vi,hj->ijv", bb.h_given(bb.v), bb.v, bb.h)
    agree(np.einsum("vh,vi,hj->ijv", units, bb.v, bb.h), left)
    agree(np.einsum("vi,vj->ijv", bb.v, 0 * (1 - on) + 1 * on), left)
    agree(np.einsum("vi,vj->ijv", bb.v, sigmoid(bb.v @ bb.w + bb.c)), left)


def test_ebm_3_1_loss_gradient(bb, ebm):
    """EBM §3.1 W, EBM §3.1 b, EBM §3.1 c: all lines, corrected, for a data set."""
    p_data = np.array([(bb.data == v).all(1).sum() for v in bb.v]) / len(bb.data)
    given, on = bb.h_given(bb.v), sigmoid(bb.c + bb.v @ bb.w)
    excess = bb.p_v - p_data
    pairs = excess[:, None] * given
    lines = {
        "weight": [
            np.einsum("vh,vi,hj->ij", pairs, bb.v, bb.h),
            np.einsum("v,vi,vj->ij", excess, bb.v, on),
        ],
        "visible.bias": [np.einsum("vh,vi->i", pairs, bb.v), excess @ bb.v],
        "hidden.bias": [np.einsum("vh,hj->j", pairs, bb.h), excess @ on],
    }
    for name, forms in lines.items():
        truth = -bb.d_log_p(name, bb.data).mean(-1)
        for form in (*forms, -ebm.gradient(torch.from_numpy(bb.data))[name]):
            agree(form, truth)


def test_ebm_3_2_vector_forms(bb):
    """EBM §3.2 vector: outer products instead of indices."""
    on = sigmoid(bb.c + bb.data @ bb.w)
    every = sigmoid(bb.c + bb.v @ bb.w)
    outer = np.mean([np.outer(v, h) for v, h in zip(bb.data, on, strict=True)], 0)
    model = sum(p * np.outer(v, h) for p, v, h in zip(bb.p_v, bb.v, every, strict=True))
    library = gb.exact.gradient(bb.rbm, bb.data)
    agree(-library["weight"], -outer + model)
    agree(-library["visible.bias"], -bb.data.mean(0) + bb.p_v @ bb.v)
    agree(-library["hidden.bias"], -on.mean(0) + bb.p_v @ every)
