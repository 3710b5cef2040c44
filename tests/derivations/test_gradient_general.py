"""The gradient of the log-likelihood for any energy, checked on the Bernoulli-Bernoulli model."""

import numpy as np
import pytest
import torch
from oracle import agree

import gibbsite as gb

PARAMETERS = ["weight", "visible.bias", "hidden.bias"]


def conditional_mean(case, name, v):
    """Sum over h of p(h | v) dE/dtheta, row by row."""
    return case.data_mean(case.d_energy(name, v), v)


@pytest.mark.parametrize("name", PARAMETERS)
def test_cheng_2_7_gradient(bb, name):
    """Cheng (2.7), each factor once, and its last line regrouped as p(u) p(g | u)."""
    d_energy, d_data = bb.d_energy(name, bb.v), conditional_mean(bb, name, bb.v)
    weights = np.exp(-bb.energy(bb.v))
    model = (weights * d_energy).sum((-2, -1)) / weights.sum()
    truth = bb.d_log_p(name, bb.v)
    agree(-(weights * d_energy).sum(-1) / weights.sum(1) + model[..., None], truth)
    agree(-d_data + bb.model_mean(d_energy)[..., None], truth)
    agree(-d_data + (bb.p_v * d_data).sum(-1)[..., None], truth)
    for k in (0, 5, 15):
        agree(gb.exact.gradient(bb.rbm, bb.v[k : k + 1])[name], truth[..., k])


@pytest.mark.parametrize("name", PARAMETERS)
def test_pencil_15_first_term(bb, name):
    """Pencil (15); Notes first term: the derivative of log sum_h exp(-E)."""
    truth = bb.varied(name, lambda theta: np.log(np.exp(-bb.energy(bb.v, theta)).sum(1)))
    weights, d_energy = np.exp(-bb.energy(bb.v)), bb.d_energy(name, bb.v)
    agree(-(weights * d_energy).sum(-1) / weights.sum(1), truth)
    agree(-(weights / (bb.z() * bb.p_v[:, None]) * d_energy).sum(-1), truth)
    agree(-(bb.joint / bb.p_v[:, None] * d_energy).sum(-1), truth)
    agree(-conditional_mean(bb, name, bb.v), truth)
    library = [bb.rbm.data_phase(torch.from_numpy(v)[None])[name] for v in bb.v]
    agree(np.stack(library, -1), truth)


@pytest.mark.parametrize("name", PARAMETERS)
def test_pencil_16_17_second_term(bb, name):
    """Pencil (16), (17); Notes second term: the derivative of log Z."""
    truth = bb.varied(name, lambda theta: np.log(bb.z(theta)))
    weights, d_energy = np.exp(-bb.energy(bb.v)), bb.d_energy(name, bb.v)
    agree(bb.varied(name, bb.z) / bb.z(), truth)
    agree(-(weights * d_energy).sum((-2, -1)) / weights.sum(), truth)
    agree(-bb.model_mean(d_energy), truth)
    agree(gb.exact.model_phase(bb.rbm)[name], truth)


@pytest.mark.parametrize("name", PARAMETERS)
def test_pencil_18_19_gradient(bb, name):
    """Pencil (18), (19) for one v; Notes general gradient, Notes split derivative."""
    d_energy = bb.d_energy(name, bb.v)
    formula = bb.model_mean(d_energy)[..., None] - conditional_mean(bb, name, bb.v)
    split = bb.varied(name, lambda theta: np.log(np.exp(-bb.energy(bb.v, theta)).sum(1)))
    split -= bb.varied(name, lambda theta: np.log(bb.z(theta)))[..., None]
    truth = bb.d_log_p(name, bb.v)
    agree(formula, truth)
    agree(split, truth)


@pytest.mark.parametrize("name", PARAMETERS)
def test_bernoulli_gradient(bb, name):
    """Bernoulli gradient, corrected: derivative of the log of the sum, line by line."""
    d_energy, d_data = bb.d_energy(name, bb.v), conditional_mean(bb, name, bb.v)
    weights = np.exp(-bb.energy(bb.v))
    second = (weights * d_energy).sum((-2, -1)) / weights.sum()
    first = -(weights * d_energy).sum(-1) / weights.sum(1)
    regrouped = (bb.p_v[:, None] * bb.h_given(bb.v) * d_energy).sum((-2, -1))
    truth = bb.d_log_p(name, bb.v)
    agree(first + second[..., None], truth)
    agree(-d_data + bb.model_mean(d_energy)[..., None], truth)
    agree(-d_data + regrouped[..., None], truth)
    agree(-d_data + (bb.p_v * d_data).sum(-1)[..., None], truth)


@pytest.mark.parametrize("name", PARAMETERS)
def test_ebm_1_gradient_of_l(bb, ebm, name):
    """EBM §1 gradient of l: the gradient of the mean over data, as minus a loss."""
    p_data = np.array([(bb.data == v).all(1).sum() for v in bb.v]) / len(bb.data)
    truth = bb.varied(name, lambda theta: -bb.log_p(bb.data, theta).mean())
    d_energy, joint = bb.d_energy(name, bb.v), bb.joint
    d_log_z = bb.varied(name, bb.z) / bb.z()
    by_ratio = (p_data / joint.sum(1) * (joint * d_energy).sum(-1)).sum(-1)
    by_condition = (p_data[:, None] * bb.h_given(bb.v) * d_energy).sum((-2, -1))
    agree(by_ratio + d_log_z, truth)
    agree(by_condition + d_log_z, truth)
    agree(by_condition - bb.model_mean(d_energy), truth)
    agree(-ebm.gradient(torch.from_numpy(bb.data))[name], truth)
    agree(-gb.exact.gradient(bb.rbm, bb.data)[name], truth)
