"""The Gaussian-Bernoulli model: integrals by the trapezoid rule, derivatives by differences.

`gauss` has one sigma for all visible units (Cheng's a = 1/sigma) or one each (a_i = 1/sigma_i).
"""

import numpy as np
import pytest
import torch
from oracle import agree, gaussian_energy

import gibbsite as gb

PARAMETERS = ["weight", "visible.bias", "hidden.bias"]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hidden_inputs(case, v):
    """c_j + sum_i a_i v_i w_ij."""
    return case.c + (v / case.sigma) @ case.w


def library_gradient(case, name):
    return np.stack([gb.exact.gradient(case.rbm, v[None])[name] for v in case.data], -1)


def test_cheng_3_3_energy(gauss):
    """Cheng (3.3), negated, with a_i = 1/sigma_i."""
    loops = np.array(
        [
            [gaussian_energy(gauss.w, gauss.b, gauss.c, gauss.sigma, v, h) for h in gauss.h]
            for v in gauss.data
        ]
    )
    agree(gauss.energy(gauss.data), loops)
    agree(gauss.rbm.energy(gauss.data[:, None], gauss.h[None]), loops)


def test_cheng_3_1_joint(gauss):
    """Cheng (3.1): a density in v, a probability in h."""
    log_z = gb.exact.log_partition(gauss.rbm)
    joint = torch.exp(-gauss.rbm.energy(gauss.v[:, None], gauss.h[None]) - log_z)
    agree(joint, gauss.joint)
    agree(gauss.cell * joint.sum(), 1.0)


def test_cheng_3_2_partition(gauss):
    """Cheng (3.2): an integral over v and a sum over h."""
    agree(gb.exact.log_partition(gauss.rbm), np.log(gauss.z()))


def test_cheng_3_4_visible_marginal(gauss):
    """Cheng (3.4)."""
    density = gb.exact.log_likelihood(gauss.rbm, gauss.v).exp()
    agree(density, gauss.p_v)
    agree(gauss.cell * density.sum(), 1.0)


def test_cheng_3_5_conditional_is_a_ratio(gauss):
    """Cheng (3.5)."""
    ratio = gauss.joint / gauss.p_v[:, None]
    agree(ratio, gauss.h_given(gauss.v))
    agree(gauss.rbm.log_prob_hidden(gauss.h[None], gauss.v[:, None]).exp(), ratio)


def test_cheng_3_6_log_likelihood(gauss):
    """Cheng (3.6)."""
    truth = np.log(np.exp(-gauss.energy(gauss.data)).sum(1)) - np.log(gauss.z())
    agree(gb.exact.log_likelihood(gauss.rbm, gauss.data), truth)


@pytest.mark.parametrize("name", PARAMETERS)
def test_cheng_3_7_gradient(gauss, name):
    """Cheng (3.7), with p(u) in every line that needs it."""
    d_energy, d_model = gauss.d_energy(name, gauss.data), gauss.d_energy(name, gauss.v)
    weights = np.exp(-gauss.energy(gauss.data))
    data = gauss.data_mean(d_energy, gauss.data)
    by_weights = (np.exp(-gauss.energy(gauss.v)) * d_model).sum((-2, -1)) * gauss.cell / gauss.z()
    by_condition = gauss.cell * (gauss.p_v * gauss.data_mean(d_model, gauss.v)).sum(-1)
    truth = gauss.d_log_p(name, gauss.data)
    agree(-(weights * d_energy).sum(-1) / weights.sum(1) + by_weights[..., None], truth)
    agree(-data + gauss.model_mean(d_model)[..., None], truth)
    agree(-data + by_condition[..., None], truth)
    agree(library_gradient(gauss, name), truth)


def test_cheng_3_8_unnormalised_joint_factorises_over_h(gauss):
    """Cheng (3.8)."""
    own = np.exp(-0.5 * (((gauss.data - gauss.b) / gauss.sigma) ** 2).sum(1))
    inputs = hidden_inputs(gauss, gauss.data)
    factors = np.exp(gauss.h[None] * inputs[:, None]).prod(-1)
    energy = gauss.rbm.energy(gauss.data[:, None], gauss.h[None])
    agree(torch.exp(-energy), own[:, None] * factors)


def test_cheng_3_9_sum_over_h(gauss):
    """Cheng (3.9): the sum over all h is exp(-F(v))."""
    own = np.exp(-0.5 * (((gauss.data - gauss.b) / gauss.sigma) ** 2).sum(1))
    inputs = hidden_inputs(gauss, gauss.data)
    nested = [sum(np.exp(g @ x) for g in gauss.h) for x in inputs]
    truth = np.exp(-gauss.energy(gauss.data)).sum(1)
    agree(own * nested, truth)
    agree(own * (1 + np.exp(inputs)).prod(1), truth)
    agree(torch.exp(-gauss.rbm.free_energy(gauss.data)), truth)


def test_cheng_3_10_hidden_given_visible(gauss):
    """Cheng (3.10), with the product over j."""
    inputs = hidden_inputs(gauss, gauss.data)[:, None]
    product = (np.exp(gauss.h[None] * inputs) / (1 + np.exp(inputs))).prod(-1)
    agree(product, gauss.h_given(gauss.data))
    agree(gauss.rbm.log_prob_hidden(gauss.h[None], gauss.data[:, None]).exp(), product)
    agree(gauss.rbm.hidden_mean(gauss.data), gauss.h_given(gauss.data) @ gauss.h)


def test_cheng_3_11_weight(gauss):
    """Cheng (3.11), corrected: the chain and its value a_i v_i sigma(...)."""
    inputs = hidden_inputs(gauss, gauss.data)
    factors = np.exp(gauss.h[None] * inputs[:, None]) / (1 + np.exp(inputs))[:, None]
    scaled = (gauss.data / gauss.sigma).T
    truth = -gauss.data_mean(gauss.d_energy("weight", gauss.data), gauss.data)
    for j in range(gauss.h.shape[1]):
        others = np.delete(factors, j, 2).prod(2)
        whole = (others * factors[:, :, j] * gauss.h[:, j]).sum(1)
        rest = others[:, gauss.h[:, j] == 0].sum(1)
        for line in (whole, sigmoid(inputs[:, j]) * rest, sigmoid(inputs[:, j])):
            agree(scaled * line, truth[:, j])
    library = [gauss.rbm.data_phase(torch.from_numpy(v)[None])["weight"] for v in gauss.data]
    agree(np.stack(library, -1), truth)


def test_cheng_3_12_visible_bias(gauss):
    """Cheng (3.12)."""
    formula = (gauss.data - gauss.b) / gauss.sigma**2
    agree(-gauss.data_mean(gauss.d_energy("visible.bias", gauss.data), gauss.data), formula.T)
    phase = gauss.rbm.data_phase(torch.from_numpy(gauss.data))
    agree(phase["visible.bias"], formula.mean(0))


def test_cheng_3_13_hidden_bias(gauss):
    """Cheng (3.13)."""
    formula = sigmoid(hidden_inputs(gauss, gauss.data))
    agree(-gauss.data_mean(gauss.d_energy("hidden.bias", gauss.data), gauss.data), formula.T)
    phase = gauss.rbm.data_phase(torch.from_numpy(gauss.data))
    agree(phase["hidden.bias"], formula.mean(0))


def test_cheng_3_14_weight_gradient(gauss):
    """Cheng (3.14), with the integral over u."""

    def product(v):
        return np.einsum("vi,vj->ijv", v / gauss.sigma, sigmoid(hidden_inputs(gauss, v)))

    model = gauss.cell * (gauss.p_v * product(gauss.v)).sum(-1)
    formula = product(gauss.data) - model[..., None]
    agree(formula, gauss.d_log_p("weight", gauss.data))
    agree(library_gradient(gauss, "weight"), formula)


def test_cheng_3_15_visible_bias_gradient(gauss):
    """Cheng (3.15), with the integral over u: the bias itself cancels."""
    model = gauss.cell * gauss.p_v @ gauss.v
    formula = ((gauss.data - model) / gauss.sigma**2).T
    agree(formula, gauss.d_log_p("visible.bias", gauss.data))
    agree(library_gradient(gauss, "visible.bias"), formula)


def test_cheng_3_16_hidden_bias_gradient(gauss):
    """Cheng (3.16), with the integral over u."""
    model = gauss.cell * gauss.p_v @ sigmoid(hidden_inputs(gauss, gauss.v))
    formula = (sigmoid(hidden_inputs(gauss, gauss.data)) - model).T
    agree(formula, gauss.d_log_p("hidden.bias", gauss.data))
    agree(library_gradient(gauss, "hidden.bias"), formula)


def test_cheng_3_17_unnormalised_joint_factorises_over_v(gauss):
    """Cheng (3.17)."""
    s = gauss.h @ gauss.w.T
    exponent = gauss.data[:, None] / gauss.sigma * s[None]
    exponent = exponent - 0.5 * ((gauss.data[:, None] - gauss.b) / gauss.sigma) ** 2
    energy = gauss.rbm.energy(gauss.data[:, None], gauss.h[None])
    agree(torch.exp(-energy), np.exp(gauss.h @ gauss.c) * np.exp(exponent).prod(-1))


def test_cheng_3_18_integral_over_v(gauss):
    """Cheng (3.18), corrected: completing the square unit by unit."""
    s = gauss.h @ gauss.w.T
    square = np.exp((2 * gauss.b / gauss.sigma + s) * s / 2)
    z = np.linspace(-12, 12, 121)
    width = np.exp(-0.5 * z**2).sum() * (z[1] - z[0]) * gauss.sigma
    agree(width, gauss.sigma * np.sqrt(2 * np.pi))
    truth = gauss.cell * np.exp(-gauss.energy(gauss.v)).sum(0)
    formula = np.exp(gauss.h @ gauss.c) * (square * width).prod(1)
    agree(formula, truth)
    agree(torch.exp(-gauss.rbm.mirror().free_energy(gauss.h)), truth)


def test_cheng_3_19_visible_given_hidden(gauss):
    """Cheng (3.19): independent normals of mean b + sigma W h and deviation sigma."""
    a, s = 1 / gauss.sigma, gauss.h @ gauss.w.T
    exponent = -0.5 * (a * (gauss.v[:, None] - gauss.b) - s[None]) ** 2
    density = (a / np.sqrt(2 * np.pi) * np.exp(exponent)).prod(-1)
    agree(density, gauss.joint / gauss.p_h)
    agree(gauss.rbm.log_prob_visible(gauss.v[:, None], gauss.h[None]).exp(), density)
    mean = gauss.cell * density.T @ gauss.v
    agree(gauss.rbm.visible_mean(gauss.h), mean)
    agree(mean, gauss.b + gauss.sigma * s)
    agree(gauss.cell * density.T @ gauss.v**2 - mean**2, np.tile(gauss.sigma**2, (8, 1)))


def test_beyond_log_sigma_gradient(learned):
    """Beyond the texts: the gradient in log sigma_i, summed over units where sigma is shared."""

    def statistic(v, on):
        x = (v - learned.b) / learned.sigma
        return x**2 - v / learned.sigma * (on @ learned.w.T)

    data = statistic(learned.data, sigmoid(hidden_inputs(learned, learned.data)))
    model = (
        learned.cell
        * learned.p_v
        @ statistic(learned.v, sigmoid(hidden_inputs(learned, learned.v)))
    )
    mean_s = learned.p_h @ learned.h @ learned.w.T
    agree(model, 1 - learned.b / learned.sigma * mean_s)
    formula = (data - model).T
    if len(learned.theta["visible.log_sigma"]) == 1:
        formula = formula.sum(0, keepdims=True)
    agree(formula, learned.d_log_p("visible.log_sigma", learned.data))
    agree(library_gradient(learned, "visible.log_sigma"), formula)


@pytest.mark.parametrize("name", PARAMETERS)
def test_beyond_other_gradients_with_learned_sigma(learned, name):
    """Beyond the texts: learning sigma leaves Cheng (3.14), (3.15), (3.16) as they are."""
    agree(library_gradient(learned, name), learned.d_log_p(name, learned.data))
