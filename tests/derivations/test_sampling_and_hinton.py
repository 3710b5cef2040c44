"""What replaces the sum over the model: samples, and Hinton's approximation by means."""

from dataclasses import replace

import numpy as np
import torch
from oracle import agree

import gibbsite as gb
from gibbsite.gradients import Batch


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def mean_of_v(case, h):
    """E[v | h] by enumeration of v, at rows of h that need not be binary."""
    weights = np.exp(h @ case.w.T @ case.v.T + case.v @ case.b)
    return weights @ case.v / weights.sum(1, keepdims=True)


def mean_of_h(case, v):
    """E[h | v] by enumeration of h, at rows of v that need not be binary."""
    return case.h_given(v) @ case.h


def mean_field_model(case, v):
    """The negative phase of `gb.MeanField` at rows of v."""
    v = torch.from_numpy(v)
    gradient, *_ = gb.MeanField(steps=1).step(case.rbm, Batch(v), None)
    data = case.rbm.data_phase(v)
    return {name: (data[name] - gradient[name]).numpy() for name in data}


def weakly_coupled(case, strength):
    """The same biases with the weights scaled down."""
    return replace(case, theta=case.theta | {"weight": strength * case.w})


def test_gibbs_leaves_p_invariant(bb):
    """Cheng (2.10), (2.19): h given v, then v given h, keeps the distribution of v."""
    up = bb.rbm.log_prob_hidden(bb.h[None], bb.v[:, None]).exp().numpy()
    down = bb.rbm.log_prob_visible(bb.v[:, None], bb.h[None]).exp().numpy()
    agree(down @ (bb.p_v @ up), bb.p_v)


def test_gibbs_leaves_gaussian_p_invariant(gauss):
    """Cheng (3.10), (3.19)."""
    up = gauss.rbm.log_prob_hidden(gauss.h[None], gauss.v[:, None]).exp().numpy()
    down = gauss.rbm.log_prob_visible(gauss.v[:, None], gauss.h[None]).exp().numpy()
    agree(down @ (gauss.cell * gauss.p_v @ up), gauss.p_v)


def test_ebm_3_2_sampling_form(bb):
    """EBM §3.2 sampling: both phases are averages, over data and over the chains."""
    g = torch.Generator().manual_seed(5)
    estimator = gb.PCD(chains=7, steps=2)
    data = torch.from_numpy(bb.data)
    ascent, state, _ = estimator.step(bb.rbm, Batch(data), estimator.init(bb.rbm, g), g)
    sample = state.v.numpy()
    on, on_sample = sigmoid(bb.c + bb.data @ bb.w), sigmoid(bb.c + sample @ bb.w)
    agree(-ascent["visible.bias"], -bb.data.mean(0) + sample.mean(0))
    agree(-ascent["hidden.bias"], -on.mean(0) + on_sample.mean(0))
    agree(-ascent["weight"], -(bb.data.T @ on) / 5 + sample.T @ on_sample / 7)


def test_ebm_3_2_sampling_is_unbiased(bb):
    """EBM §3.2 sampling: averaged over exact draws, one draw gives the model's phase."""
    phases = [bb.rbm.data_phase(torch.from_numpy(v)[None]) for v in bb.v]
    for name, model in gb.exact.model_phase(bb.rbm).items():
        agree(np.stack([phase[name] for phase in phases], -1) @ bb.p_v, model)


def test_ebm_3_2_sample_average_converges(bb):
    """EBM §3.2 sampling: 20000 exact draws, within 5 standard errors (statistical, not 1e-9)."""
    draws = gb.exact.sample(bb.rbm, 20_000, generator=torch.Generator().manual_seed(1)).numpy()
    error = np.sqrt(bb.p_v @ bb.v * (1 - bb.p_v @ bb.v) / len(draws))
    assert np.all(np.abs(draws.mean(0) - bb.p_v @ bb.v) < 5 * error)


def test_pencil_31_34_37_exact_identities(bb):
    """Pencil (31), (34), (37), corrected: what the approximation starts from, still exact."""
    product = np.einsum("v,vj,vi->ji", bb.p_v, bb.v, mean_of_h(bb, bb.v))
    moments = gb.exact.moments(bb.rbm)
    agree(product, np.einsum("vh,vj,hi->ji", bb.joint, bb.v, bb.h))
    agree(moments.product, product)
    agree(moments.visible, bb.p_h @ mean_of_v(bb, bb.h))
    agree(moments.hidden, bb.p_v @ mean_of_h(bb, bb.v))


def test_pencil_32_33_weight(bb):
    """Pencil (32), (33), corrected: the reconstruction times the hidden means it gives."""
    for v in bb.v[:, None]:
        back = sigmoid(mean_of_h(bb, v) @ bb.w.T + bb.b)
        agree(back, mean_of_v(bb, mean_of_h(bb, v)))
        agree(mean_field_model(bb, v)["weight"], np.outer(back, mean_of_h(bb, back)))


def test_pencil_34_35_36_visible_bias(bb):
    """Pencil (34), (35), (36), corrected: the reconstruction itself."""
    for v in bb.v[:, None]:
        on = sigmoid(v @ bb.w + bb.c)
        agree(mean_field_model(bb, v)["visible.bias"], mean_of_v(bb, on)[0])
        agree(sigmoid(on @ bb.w.T + bb.b), mean_of_v(bb, on))
    agree(gb.reconstruct(bb.rbm, bb.v), mean_of_v(bb, mean_of_h(bb, bb.v)))


def test_pencil_37_hidden_bias(bb):
    """Pencil (37), corrected: the hidden means at the reconstruction."""
    for v in bb.v[:, None]:
        back = mean_of_v(bb, mean_of_h(bb, v))
        agree(mean_field_model(bb, v)["hidden.bias"], sigmoid(back @ bb.w + bb.c)[0])


def test_hinton_is_what_fit_does(bb):
    """Pencil (33), (36), (37), corrected: one epoch at rate 1 adds data minus means."""
    rbm = gb.RBM(gb.Bernoulli(4), gb.Bernoulli(3)).double()
    rbm.load_state_dict(bb.rbm.state_dict())
    data = torch.from_numpy(bb.data)
    sgd = torch.optim.SGD(rbm.parameters(), lr=1.0)
    gb.fit(rbm, data, gradient=gb.MeanField(), optimizer=sgd, epochs=1, batch_size=5)
    back = mean_of_v(bb, mean_of_h(bb, bb.data))
    weight = bb.data.T @ mean_of_h(bb, bb.data) / 5 - back.T @ mean_of_h(bb, back) / 5
    agree(rbm.weight.detach(), bb.w + weight)
    agree(rbm.visible.bias.detach(), bb.b + bb.data.mean(0) - back.mean(0))
    hidden = mean_of_h(bb, bb.data).mean(0) - mean_of_h(bb, back).mean(0)
    agree(rbm.hidden.bias.detach(), bb.c + hidden)


def test_hinton_is_exact_without_coupling(bb):
    """Pencil (33), (36), (37), corrected: at W = 0 they are the model's means, to rounding."""
    free = weakly_coupled(bb, 0.0)
    back = mean_of_v(free, mean_of_h(free, bb.data))
    hidden = mean_of_h(free, back)
    agree(back, np.tile(free.p_v @ free.v, (5, 1)))
    agree(hidden, np.tile(free.p_h @ free.h, (5, 1)))
    product = np.einsum("vh,vj,hi->ji", free.joint, free.v, free.h)
    agree(back.T @ hidden / 5, product)


def test_hinton_means_err_by_the_square_of_the_coupling(bb):
    """Pencil (33), (36), (37), corrected: weights 10 times smaller, error 100 times smaller.

    The product of (33) leaves out a covariance and errs by the first power: 10 times smaller.
    An asymptotic rate, so the tolerance is 10 per cent and not 1e-9.
    """
    errors = []
    for strength in (1e-3, 1e-4):
        weak = weakly_coupled(bb, strength)
        back = mean_of_v(weak, mean_of_h(weak, bb.data))
        hidden = mean_of_h(weak, back)
        product = np.einsum("vh,vj,hi->ji", weak.joint, weak.v, weak.h)
        differences = (
            back - weak.p_v @ weak.v,
            hidden - weak.p_h @ weak.h,
            np.einsum("vj,vi->vji", back, hidden) - product,
        )
        errors.append([np.abs(difference).max() for difference in differences])
    agree(np.divide(*errors), [100.0, 100.0, 10.0], tolerance=0.1)
