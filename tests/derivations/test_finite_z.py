"""Two unbounded layers: eigenvalues, quadrature in the plane, and sums that have no limit."""

import math

import numpy as np
import pytest
import torch
from oracle import agree
from scipy.integrate import dblquad, quad
from scipy.special import gammaln

import gibbsite as gb
from gibbsite.model import divergence


def with_weight(visible: gb.layers.Layer, hidden: gb.layers.Layer, weight: np.ndarray) -> gb.RBM:
    rbm = gb.RBM(visible, hidden).double().requires_grad_(False)
    rbm.weight.copy_(torch.from_numpy(weight))
    return rbm


def test_gibbsite_14_1_smallest_energy_far_out():
    """Gibbsite (14.1): the least eigenvalue of the quadratic form; the verdict turns at norm 1."""
    rng = np.random.default_rng(0)
    c, d, w = rng.uniform(0.5, 2, 3), rng.uniform(0.5, 2, 2), rng.normal(size=(3, 2))
    scaled = w / np.sqrt(np.outer(c, d))
    norm = np.linalg.norm(scaled, 2)
    form = np.block([[np.eye(3), -scaled], [-scaled.T, np.eye(2)]]) / 2
    agree(np.linalg.eigvalsh(form).min(), (1 - norm) / 2)
    for factor, finite in ((0.999, True), (1.001, False)):
        matrix = factor / norm * w
        form = np.block([[np.diag(c), -matrix], [-matrix.T, np.diag(d)]])
        assert (np.linalg.eigvalsh(form).min() > 0) == finite
        rbm = with_weight(gb.DReLU(3, c.tolist(), c.tolist()), gb.DReLU(2, d.tolist(), 9.0), matrix)
        assert (divergence(rbm) == "") == finite


@pytest.mark.parametrize("w", [-0.9, -0.3, 0.0, 0.6, 0.95])
def test_gibbsite_14_2_two_gaussian_layers(w):
    """Gibbsite (14.2): by quadrature in the plane, and over v of the library's free energy."""
    (b, c), (sigma, tau) = (0.4, -0.7), (0.6, 1.3)

    def weight_of(h: float, v: float) -> float:
        energy = (v - b) ** 2 / (2 * sigma**2) + (h - c) ** 2 / (2 * tau**2)
        return math.exp(v / sigma * w * h / tau - energy)

    beta = np.array([b / sigma, c / tau])
    inverse = np.linalg.inv([[1, -w], [-w, 1]])
    exponent = (beta @ inverse @ beta - beta @ beta) / 2
    z = 2 * math.pi * sigma * tau / math.sqrt(1 - w * w) * math.exp(exponent)
    ends = 9 / math.sqrt(1 - abs(w))
    plane = dblquad(weight_of, -ends, ends, -ends, ends, epsabs=1e-12, epsrel=1e-12)[0]
    agree(plane, z)
    rbm = with_weight(gb.Gaussian(1, sigma), gb.Gaussian(1, tau), np.array([[w]]))
    rbm.visible.fixed_sigma.fill_(sigma)  # which came in float32
    rbm.hidden.fixed_sigma.fill_(tau)
    rbm.visible.bias.fill_(b)
    rbm.hidden.bias.fill_(c)
    assert divergence(rbm) == ""

    def unnormalised(v: float) -> float:
        return torch.exp(-rbm.free_energy(torch.tensor([[v]], dtype=torch.float64))).item()

    agree(quad(unnormalised, -ends, ends, epsabs=1e-12, epsrel=1e-12)[0], z)


def test_gibbsite_14_2_several_gaussian_units():
    """Gibbsite (14.2): the determinant by blocks is that of the whole quadratic form."""
    w = 0.3 * np.random.default_rng(1).normal(size=(3, 2))
    whole = np.block([[np.eye(3), -w], [-w.T, np.eye(2)]])
    agree(np.linalg.det(whole), np.linalg.det(np.eye(3) - w @ w.T))
    agree(np.linalg.det(whole), np.prod(1 - np.linalg.svd(w, compute_uv=False) ** 2))


def test_gibbsite_14_3_states_that_are_not_negative():
    """Gibbsite (14.3): the bound, at random states; enough, but not needed."""
    rng = np.random.default_rng(2)
    m = rng.normal(size=(4, 3))
    positive = np.maximum(m, 0)
    x, y = np.abs(rng.normal(size=(1000, 4))), np.abs(rng.normal(size=(1000, 3)))
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    coupling, above = (np.einsum("ri,ij,rj->r", x, a, y) for a in (m, positive))
    assert (coupling <= above).all()
    assert (above <= np.linalg.norm(positive, 2) * lengths * (1 + 1e-12)).all()
    # Z of one unit against one, whose weight is far below -1: the corner of a plane
    z = dblquad(lambda h, v: math.exp(-v * v / 2 - h * h / 2 - 5 * v * h), 0, 40, 0, 40)[0]
    assert math.isfinite(z)
    assert divergence(with_weight(gb.ReLU(1), gb.ReLU(1), np.array([[-5.0]]))) == ""
    assert divergence(with_weight(gb.ReLU(1), gb.DReLU(1), np.array([[-5.0]]))) != ""


def test_gibbsite_14_4_poisson_and_gaussian():
    """Gibbsite (14.4): the integral over y, whose sum over x grows without limit."""
    w = 0.8
    for x in range(5):
        weight = quad(lambda y, x=x: math.exp(w * x * y - y * y / 2 - gammaln(x + 1)), -40, 40)[0]
        agree(weight, math.sqrt(2 * math.pi) / math.factorial(x) * math.exp(w * w * x * x / 2))
    x = np.arange(200.0)
    assert (np.diff((w * x) ** 2 / 2 - gammaln(x + 1))[20:] > 0).all()
    with pytest.raises(gb.ArgumentError, match="Z infinite"):
        gb.RBM(gb.Poisson(2), gb.Gaussian(2))
