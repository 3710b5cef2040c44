"""Slips in Energy-Based Models, the log-likelihood gradient notes and the Bernoulli equations."""

import numpy as np
import pytest
import torch
from oracle import agree, differ

import gibbsite as gb


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def shares(case):
    """p_D(v): how large a part of the data each state is."""
    return np.array([(case.data == v).all(1).sum() for v in case.v]) / len(case.data)


def test_slip_ebm_1_name_of_l(bb, ebm):
    """EBM §1 L(D): called the negative log-likelihood; it is the mean log-likelihood."""
    printed = np.log(bb.p_v) @ shares(bb)
    negative = -gb.exact.log_likelihood(bb.rbm, bb.data).mean()
    differ(printed, negative)
    agree(-printed, negative)
    agree(ebm.log_likelihood(torch.from_numpy(bb.data)), printed)


def test_slip_ebm_1_repeated_rows(bb):
    """EBM §1 p_D: 1/N for v in D does not sum to 1 when a row occurs twice; count/N does."""
    member = np.array([(bb.data == v).all(1).any() for v in bb.v])
    printed = member / len(bb.data)
    truth = gb.exact.log_likelihood(bb.rbm, bb.data).mean()
    differ(printed.sum(), 1.0)
    differ(printed @ np.log(bb.p_v), truth)
    agree(shares(bb).sum(), 1.0)
    agree(shares(bb) @ np.log(bb.p_v), truth)


def test_slip_ebm_3_1_sum_over_h_twice(bb):
    """EBM §3.1 W, EBM §3.1 c, their second lines: h is summed already, the sum counts it again."""
    on, excess = bb.rbm.hidden_mean(bb.v).numpy(), bb.p_v - shares(bb)
    states = len(bb.h)
    weight, bias = np.einsum("v,vi,vj->ij", excess, bb.v, on), excess @ on
    library = gb.exact.gradient(bb.rbm, bb.data)
    differ(states * weight, -library["weight"])
    differ(states * bias, -library["hidden.bias"])
    agree(weight, -library["weight"])
    agree(bias, -library["hidden.bias"])


def test_slip_ebm_3_1_hidden_index(bb):
    """EBM §3.1 c, first line: h_i for h_j."""
    pairs = (bb.p_v - shares(bb))[:, None] * bb.h_given(bb.v)
    means = (pairs[..., None] * bb.h).sum((0, 1))
    truth = -gb.exact.gradient(bb.rbm, bb.data)["hidden.bias"].numpy()
    for shift in (1, 2):
        differ(np.roll(means, shift), truth)
    agree(means, truth)


def test_slip_ebm_3_2_transpose(bb):
    """EBM §3.2 vector: sigm(c + v'W)' is a column; v times a row is what W's shape needs."""
    v, c = bb.data[0][:, None], bb.c[None]
    row = sigmoid(c + v.T @ bb.w)
    with pytest.raises(ValueError, match="mismatch"):
        v @ row.T
    agree(v @ row, bb.rbm.data_phase(torch.from_numpy(bb.data[:1]))["weight"])


def test_slip_ebm_3_2_sample_is_not_equal(bb):
    """EBM §3.2 sampling: an equals sign where a sample only estimates; its mean is exact."""
    draws = gb.exact.sample(bb.rbm, 100, generator=torch.Generator().manual_seed(0)).numpy()
    exact = gb.exact.model_phase(bb.rbm)["visible.bias"]
    differ(draws.mean(0), exact)
    agree(bb.p_v @ bb.v, exact)


def test_slip_notes_sign_of_the_exponent(bb):
    """Notes log p, Notes first term, Notes second term: e^E and e^-E for the same thing.

    Read as printed, log p has e^E; then neither log p nor the derivative printed under it holds.
    """
    plus = np.exp(bb.energy(bb.v))
    differ(np.log(plus.sum(1)) - np.log(plus.sum()), np.log(bb.p_v))
    d_energy = bb.d_energy("weight", bb.v)
    slope = bb.varied("weight", lambda theta: np.log(np.exp(bb.energy(bb.v, theta)).sum(1)))
    differ(-(plus * d_energy).sum(-1) / plus.sum(1), slope)
    minus = np.exp(-bb.energy(bb.v))
    agree(np.log(minus.sum(1)) - np.log(minus.sum()), gb.exact.log_likelihood(bb.rbm, bb.v))
    slope = bb.varied("weight", lambda theta: np.log(np.exp(-bb.energy(bb.v, theta)).sum(1)))
    agree(-(minus * d_energy).sum(-1) / minus.sum(1), slope)


def test_slip_notes_z_twice(bb):
    """Notes second term, line 3: p(v, h) divided by Z once more."""
    d_energy = bb.d_energy("weight", bb.v)
    truth = gb.exact.model_phase(bb.rbm)["weight"]
    differ(-bb.model_mean(d_energy) / bb.z(), truth)
    agree(-bb.model_mean(d_energy), truth)


def test_slip_notes_lost_factor(bb):
    """Notes factor sum: v_i stands on the left of the chain and on no later line."""
    on = bb.rbm.hidden_mean(bb.v).numpy()
    truth = np.einsum("vh,vi,hj->ijv", bb.h_given(bb.v), bb.v, bb.h)
    differ(np.einsum("vi,vj->ijv", 0 * bb.v + 1, on), truth)
    agree(np.einsum("vi,vj->ijv", bb.v, on), truth)


def test_slip_bernoulli_sigm1_one_configuration(bb):
    """Bernoulli sigm1, line 2: one configuration over the sum of all; the rest must be summed."""
    boltzmann = np.exp(-bb.energy(bb.v))
    truth = bb.rbm.hidden_mean(bb.v).numpy()
    for j in range(3):
        chosen = np.flatnonzero(bb.h[:, j] == 1)
        for k in chosen:
            differ(boltzmann[:, k] / boltzmann.sum(1), truth[:, j])
        agree(boltzmann[:, chosen].sum(1) / boltzmann.sum(1), truth[:, j])


def test_slip_bernoulli_sigm1_sum_over_all_hidden_units(bb):
    """Bernoulli sigm1, line 5: the exponent adds up every hidden unit's input."""
    inputs = bb.v @ bb.w + bb.c
    truth = bb.rbm.hidden_mean(bb.v)
    differ(sigmoid(inputs.sum(1, keepdims=True)), truth)
    agree(sigmoid(inputs), truth)


def test_slip_bernoulli_sigm1_sigm2_shapes(bb):
    """Bernoulli sigm1, Bernoulli sigm2: Wv and hW^T need W to have two different shapes."""
    v, h, tall, wide = bb.v[5], bb.h[3], bb.w, bb.w.T
    agree(sigmoid(wide @ v + bb.c), bb.rbm.hidden_mean(v))
    with pytest.raises(ValueError, match="mismatch"):
        h @ wide.T
    with pytest.raises(ValueError, match="mismatch"):
        tall @ v
    agree(sigmoid(v @ tall + bb.c), bb.rbm.hidden_mean(v))
    agree(sigmoid(h @ tall.T + bb.b), bb.rbm.visible_mean(h))


def test_slip_bernoulli_gradient_log_and_sum_swapped(bb):
    """Bernoulli gradient, line 1: sum of logs for log of sums."""
    d_energy = bb.d_energy("weight", bb.v)
    truth = np.stack([gb.exact.gradient(bb.rbm, v[None])["weight"] for v in bb.v], -1)
    differ(-d_energy.sum(-1) + d_energy.sum((-2, -1))[..., None], truth)
    corrected = bb.model_mean(d_energy)[..., None] - bb.data_mean(d_energy, bb.v)
    agree(corrected, truth)


def test_slip_bernoulli_gradient_data_in_the_model_term(bb):
    """Bernoulli gradient, line 2: the second term weighs by the data's v, not by the sum's v."""
    weights, d_energy = np.exp(-bb.energy(bb.v)), bb.d_energy("weight", bb.v)
    truth = np.stack([gb.exact.gradient(bb.rbm, v[None])["weight"] for v in bb.v], -1)
    data = -bb.data_mean(d_energy, bb.v)
    printed = np.einsum("uh,ijvh->iju", weights, d_energy) / weights.sum()
    differ(data + printed, truth)
    model = (weights * d_energy).sum((-2, -1)) / weights.sum()
    agree(data + model[..., None], truth)
