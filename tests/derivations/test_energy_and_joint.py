"""Energy, joint, partition function, marginals, log-likelihood: Bernoulli-Bernoulli and general."""

import numpy as np
import torch
from oracle import agree, bernoulli_energy, bernoulli_log_z, bernoulli_table

import gibbsite as gb


def test_cheng_1_1_sigmoid():
    """Cheng (1.1)."""
    x = np.linspace(-30, 30, 61)
    layer = gb.Bernoulli(61).double()
    agree(layer.mean(torch.from_numpy(x)).detach(), np.exp(x) / (1 + np.exp(x)))


def test_cheng_2_3_energy(bb, ebm):
    """Cheng (2.3), negated; EBM §2.1 E."""
    loops = np.array([[bernoulli_energy(bb.w, bb.b, bb.c, v, h) for h in bb.h] for v in bb.v])
    agree(bb.energy(bb.v), loops)
    agree(bb.rbm.energy(bb.v[:, None], bb.h[None]), loops)
    agree(ebm.energy_table(), loops)


def test_cheng_2_1_joint(bb, ebm):
    """Cheng (2.1); EBM §1 p(v, h); Notes joint, marginal, Z; Bernoulli Pvh."""
    log_z = gb.exact.log_partition(bb.rbm)
    joint = torch.exp(-bb.rbm.energy(bb.v[:, None], bb.h[None]) - log_z)
    agree(joint, bernoulli_table(bb.w, bb.b, bb.c))
    agree(ebm.log_joint().exp(), joint)
    agree(bb.joint, joint)


def test_cheng_2_2_partition(bb, ebm):
    """Cheng (2.2); EBM §1 Z; Notes joint, marginal, Z; Bernoulli Z_theta."""
    log_z = bernoulli_log_z(bb.w, bb.b, bb.c)
    agree(gb.exact.log_partition(bb.rbm), log_z)
    agree(ebm.log_partition(), log_z)
    agree(np.log(bb.z()), log_z)
    agree(ebm.log_joint().exp().sum(), 1.0)


def test_cheng_2_4_visible_marginal(bb, ebm):
    """Cheng (2.4); Notes joint, marginal, Z; Bernoulli Pv."""
    marginal = bernoulli_table(bb.w, bb.b, bb.c).sum(1)
    agree(gb.exact.log_likelihood(bb.rbm, bb.v).exp(), marginal)
    agree(ebm.log_visible().exp(), marginal)


def test_pencil_2_hidden_marginal(bb, ebm):
    """Pencil (2); Bernoulli Ph."""
    marginal = bernoulli_table(bb.w, bb.b, bb.c).sum(0)
    agree(gb.exact.log_likelihood(bb.rbm.mirror(), bb.h).exp(), marginal)
    agree(ebm.log_hidden().exp(), marginal)


def test_cheng_2_5_conditional_is_a_ratio(bb, ebm):
    """Cheng (2.5): p(v, h) / p(v) has no Z; it is p(h | v)."""
    ratio = bb.joint / bb.p_v[:, None]
    agree(ratio, np.exp(-bb.energy(bb.v)) / np.exp(-bb.energy(bb.v)).sum(1, keepdims=True))
    agree(bb.rbm.log_prob_hidden(bb.h[None], bb.v[:, None]).exp(), ratio)
    agree(ebm.log_hidden_given(torch.from_numpy(bb.v)).exp(), ratio)


def test_pencil_1_3_conditional_is_a_ratio(bb):
    """Pencil (1), (3)."""
    conditional = bb.rbm.log_prob_visible(bb.v[:, None], bb.h[None]).exp()
    agree(conditional, bb.joint / bb.p_h)
    agree(conditional, bb.joint / bb.joint.sum(0))


def test_cheng_2_6_log_likelihood(bb):
    """Cheng (2.6); Pencil (14); Notes log p; Bernoulli Ln."""
    truth = np.log(bernoulli_table(bb.w, bb.b, bb.c).sum(1))
    agree(gb.exact.log_likelihood(bb.rbm, bb.v), truth)
    agree(-bb.rbm.free_energy(bb.v) - gb.exact.log_partition(bb.rbm), truth)
    agree(bb.log_p(bb.v), truth)


def test_ebm_1_mean_log_likelihood(bb, ebm):
    """EBM §1 p_D, EBM §1 L(D): a mean over data is a sum over states weighted by p_D."""
    p_data = np.array([(bb.data == v).all(1).sum() for v in bb.v]) / len(bb.data)
    mean = p_data @ np.log(bb.p_v)
    agree(p_data.sum(), 1.0)
    agree(ebm.log_likelihood(torch.from_numpy(bb.data)), mean)
    agree(gb.exact.log_likelihood(bb.rbm, bb.data).mean(), mean)


def test_ebm_1_loss(bb, ebm):
    """EBM §1 l(D): every line of the chain, from -sum p_D log p to the separate log Z."""
    p_data = np.array([(bb.data == v).all(1).sum() for v in bb.v]) / len(bb.data)
    boltzmann, z = np.exp(-bb.energy(bb.v)), bb.z()
    loss = -ebm.log_likelihood(torch.from_numpy(bb.data))
    agree(loss, -(p_data @ np.log(bb.joint.sum(1))))
    agree(loss, -(p_data @ np.log((boltzmann / z).sum(1))))
    agree(loss, -(p_data @ (np.log(boltzmann.sum(1)) - np.log(z))))
    agree(loss, -(p_data @ np.log(boltzmann.sum(1))) + p_data @ np.full(len(bb.v), np.log(z)))
    agree(loss, -(p_data @ np.log(boltzmann.sum(1))) + np.log(z))
