"""Slips in Cheng's tutorial: the printed form fails, the corrected one holds."""

import numpy as np
import torch
from oracle import agree, differ, quadrature_grid

import gibbsite as gb


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hidden_inputs(case, v):
    return case.c + (v / case.sigma) @ case.w


def hidden_factors(case, v):
    """exp(h_j x_j) / (1 + exp(x_j)) of every row, every state of h and every j."""
    x = hidden_inputs(case, v)[:, None]
    return np.exp(case.h[None] * x) / (1 + np.exp(x))


def test_slip_cheng_2_5_2_6_summation_letter(bb):
    """Cheng (2.5), (2.6): the sum names q where the term has g, so g stays whatever it is."""
    boltzmann = np.exp(-bb.energy(bb.v))
    copies = len(bb.h)
    for g in range(copies):
        differ(boltzmann / (copies * boltzmann[:, g, None]), bb.h_given(bb.v))
        printed = np.log(boltzmann.sum(1)) - np.log(copies * boltzmann[:, g].sum())
        differ(printed, np.log(bb.p_v))
    agree(boltzmann / boltzmann.sum(1, keepdims=True), bb.h_given(bb.v))
    truth = gb.exact.log_likelihood(bb.rbm, bb.v)
    agree(np.log(boltzmann.sum(1)) - np.log(boltzmann.sum()), truth)


def test_slip_cheng_2_7_repeated_factor(bb):
    """Cheng (2.7), lines 3 and 4: dE/dtheta twice. Seen with one bias shared by all v_i."""
    slope = -bb.d_energy("visible.bias", bb.v).sum(0)
    truth = bb.d_log_p("visible.bias", bb.v).sum(0)
    data = bb.data_mean(slope, bb.v)
    differ(data - bb.model_mean(slope * slope), truth)
    agree(data - bb.model_mean(slope), truth)
    library = [gb.exact.gradient(bb.rbm, v[None])["visible.bias"].sum() for v in bb.v]
    agree(np.array(library), truth)


def test_slip_cheng_2_7_is_hidden_by_binary_units(bb):
    """Cheng (2.7): for one w_ij, b_i or c_j the derivative is 0 or 1, so its square is itself."""
    for name in bb.theta:
        slope = -bb.d_energy(name, bb.v)
        printed = bb.data_mean(slope, bb.v) - bb.model_mean(slope * slope)[..., None]
        agree(printed, bb.d_log_p(name, bb.v))


def test_slip_cheng_2_7_repeated_factor_gaussian(gauss):
    """Cheng (2.7) read as the general formula: with Gaussian units one weight shows the slip."""
    slope = -gauss.d_energy("weight", gauss.v)
    data = gauss.data_mean(-gauss.d_energy("weight", gauss.data), gauss.data)
    truth = gauss.d_log_p("weight", gauss.data)
    differ(data - gauss.model_mean(slope * slope)[..., None], truth)
    agree(data - gauss.model_mean(slope)[..., None], truth)


def test_slip_cheng_2_10_upper_limit(bb):
    """Cheng (2.10): the numerator sums i to J, which drops v_4 here."""
    visible, hidden = bb.w.shape
    assert hidden < visible
    short = (bb.c + bb.v[:, :hidden] @ bb.w[:hidden])[:, None]
    full = (bb.c + bb.v @ bb.w)[:, None]
    differ((np.exp(bb.h[None] * short) / (1 + np.exp(full))).prod(-1), bb.h_given(bb.v))
    agree((np.exp(bb.h[None] * full) / (1 + np.exp(full))).prod(-1), bb.h_given(bb.v))


def test_slip_cheng_3_6_sum_for_integral(gauss):
    """Cheng (3.6): a sum over points of R^I has no limit; the integral has."""
    truth = gb.exact.log_partition(gauss.rbm).numpy()
    logs = []
    for step in (0.4, 0.2):
        points, cell = quadrature_grid(gauss.w, gauss.b, gauss.sigma, step)
        total = np.exp(-gauss.energy(points)).sum()
        logs.append(np.log(total))
        agree(np.log(cell * total), truth)
    differ(logs[0], truth)
    agree(logs[1] - logs[0], 2 * np.log(2))


def test_slip_cheng_3_7_lost_weight(gauss):
    """Cheng (3.7), line 5: without p(u) the integral grows with the region."""
    data = sigmoid(hidden_inputs(gauss, gauss.data)).T
    truth = gauss.d_log_p("hidden.bias", gauss.data)
    printed = []
    for margin in (9.0, 18.0):
        points, cell = quadrature_grid(gauss.w, gauss.b, gauss.sigma, margin=margin)
        unweighted = cell * sigmoid(hidden_inputs(gauss, points)).sum(0)
        printed.append(data - unweighted[:, None])
        differ(printed[-1], truth)
    differ(printed[0], printed[1])
    model = gauss.cell * gauss.p_v @ sigmoid(hidden_inputs(gauss, gauss.v))
    agree(data - model[:, None], truth)


def test_slip_cheng_3_10_product_index(gauss):
    """Cheng (3.10): a product over i of a factor in j is that factor to the power J."""
    factors = hidden_factors(gauss, gauss.data)
    truth = gauss.rbm.log_prob_hidden(gauss.h[None], gauss.data[:, None]).exp()
    for j in range(gauss.h.shape[1]):
        differ(factors[:, :, j] ** gauss.h.shape[1], truth)
    agree(factors.prod(-1), truth)


def test_slip_cheng_3_11_subscript(gauss):
    """Cheng (3.11), line 3: w_ij for w_ik in a denominator, so the other units do not sum to 1."""
    x, truth = hidden_inputs(gauss, gauss.data), gauss.h_given(gauss.data) @ gauss.h
    for j in range(gauss.h.shape[1]):
        off = gauss.h[gauss.h[:, j] == 0]
        mixed = gauss.c + (x[:, [j]] - gauss.c[j])
        others = np.delete(np.exp(off[None] * x[:, None]), j, 2)
        printed = (others / np.delete(1 + np.exp(mixed), j, 1)[:, None]).prod(2).sum(1)
        corrected = (others / np.delete(1 + np.exp(x), j, 1)[:, None]).prod(2).sum(1)
        differ(sigmoid(x[:, j]) * printed, truth[:, j])
        agree(sigmoid(x[:, j]) * corrected, truth[:, j])


def test_slip_cheng_3_11_sum_for_product(gauss):
    """Cheng (3.11), last lines: "sum over k from 1 to 1" for a product of sums over h_k."""
    x, truth = hidden_inputs(gauss, gauss.data), gauss.h_given(gauss.data) @ gauss.h
    first = np.stack([1 / (1 + np.exp(x[:, 0])), sigmoid(x[:, 0])])
    both = np.stack([1 / (1 + np.exp(x)), sigmoid(x)])
    differ(0 * sigmoid(x[:, 0]), truth[:, 0])
    for j in range(gauss.h.shape[1]):
        if j > 0:
            for term in first:
                differ(sigmoid(x[:, j]) * term, truth[:, j])
        product = np.delete(both.sum(0), j, 1).prod(1)
        agree(sigmoid(x[:, j]) * product, truth[:, j])


def test_slip_cheng_3_14_15_16_sums_for_integrals(gauss):
    """Cheng (3.14), (3.15), (3.16): a sum over u of a density is not an expectation."""
    for name in ("weight", "visible.bias", "hidden.bias"):
        truth = gauss.d_log_p(name, gauss.data)
        data = gauss.data_mean(-gauss.d_energy(name, gauss.data), gauss.data)
        model = (gauss.p_v * gauss.data_mean(-gauss.d_energy(name, gauss.v), gauss.v)).sum(-1)
        differ(data - model[..., None], truth)
        agree(data - gauss.cell * model[..., None], truth)
        phase = gb.exact.model_phase(gauss.rbm)[name]
        agree(phase, gauss.cell * model)


def test_slip_cheng_3_18_repeated_factor(gauss):
    """Cheng (3.18), last line: the exponent gains one more sum_j w_ij h_j."""
    s = gauss.h @ gauss.w.T
    exponent = (2 * gauss.b / gauss.sigma + s) * s / 2
    width = np.sqrt(2 * np.pi) * gauss.sigma
    truth = gauss.cell * np.exp(-gauss.energy(gauss.v)).sum(0)
    differ(np.exp(gauss.h @ gauss.c) * (np.exp(exponent * s) * width).prod(1), truth)
    agree(np.exp(gauss.h @ gauss.c) * (np.exp(exponent) * width).prod(1), truth)


def test_slip_cheng_3_3_standard_deviation(gauss):
    """Cheng (3.3), the remark under it: 1/a is the deviation of v given h, not of v."""
    mean = gauss.cell * gauss.p_v @ gauss.v
    variance = gauss.cell * gauss.p_v @ (gauss.v - mean) ** 2
    differ(variance, gauss.sigma**2)
    s = gauss.h @ gauss.w.T
    spread = gauss.p_h @ (s - gauss.p_h @ s) ** 2
    agree(variance, gauss.sigma**2 * (1 + spread))
    inputs = gauss.rbm.visible_inputs(torch.from_numpy(gauss.h[:1]))
    agree(gauss.rbm.visible.moments(inputs).variance[0], gauss.sigma**2)
