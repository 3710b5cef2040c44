"""The normal distribution cut at zero, against quadrature in units of its own decay."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import truncnorm

from gibbsite.layers.quadrature import half_line_states
from gibbsite.ops.half_line import FAR, FAR_SINGLE, half_line, inverse_survival

POINTS = [
    -1e4,
    -300.0,
    -30.0,
    -10.0,
    -5.0,
    -4.001,
    -3.999,
    -2.501,
    -2.499,
    -2.0,
    -0.5,
    0.0,
    1e-3,
    1.0,
    5.0,
    30.0,
]
POINTS += [300.0, 1e4]


def oracle(z: float) -> tuple[float, float, float, float]:
    """log of the integral, mean, mean square and variance, by quadrature around the mode."""
    mode, scale = max(z, 0.0), 1.0 if z > 0 else 1 / math.sqrt(1 + z * z)
    edges = np.linspace(max(-mode / scale, -12.0), 45.0, 60)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    half = np.diff(edges)[:, None] / 2
    u, weight = edges[:-1, None] + half * (1 + nodes), scale * half * weights
    # -x^2/2 + z x at x = mode + scale u, less its value at the mode
    density = weight * np.exp(-((scale * u) ** 2) / 2 + (z - mode) * scale * u)
    total = density.sum()
    density /= total
    shift = scale * (density * u).sum()
    variance = scale**2 * (density * (u - shift / scale) ** 2).sum()
    mean = mode + shift
    return math.log(total) - mode * mode / 2 + z * mode, mean, mean**2 + variance, variance


@pytest.mark.parametrize("z", POINTS)
def test_integral_and_moments(z):
    log_integral, mean, square = (x.item() for x in half_line(torch.tensor(z, dtype=torch.float64)))
    expected = oracle(z)
    assert log_integral == pytest.approx(expected[0], rel=1e-12, abs=1e-12)
    assert mean == pytest.approx(expected[1], rel=1e-12)
    assert square == pytest.approx(expected[2], rel=1e-11)


@pytest.mark.parametrize("z", POINTS)
def test_single_precision(z):
    """A few roundings, also where 1/|z| is the difference of numbers of the size of |z|."""
    found = half_line(torch.tensor(z))
    for value, expected, digits in zip(found, oracle(z), (1e-6, 3e-6, 3e-5), strict=False):
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(expected, rel=digits, abs=1e-6 * (digits == 1e-6))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_derivatives_by_autograd_are_the_moments(dtype):
    z = torch.tensor(POINTS, dtype=dtype, requires_grad=True)
    log_integral, mean, _ = half_line(z)
    (first,) = torch.autograd.grad(log_integral.sum(), z, retain_graph=True)
    (second,) = torch.autograd.grad(mean.sum(), z)
    digits = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(first, mean.detach(), rtol=digits, atol=0)
    variances = torch.tensor([oracle(value)[3] for value in POINTS], dtype=dtype)
    torch.testing.assert_close(second, variances, rtol=100 * digits, atol=0)


@pytest.mark.parametrize(("far", "dtype"), [(FAR, torch.float64), (FAR_SINGLE, torch.float32)])
def test_both_forms_meet(far, dtype):
    eps = torch.finfo(dtype).eps
    for value in half_line(torch.tensor([-far * (1 + 4 * eps), -far * (1 - 4 * eps)], dtype=dtype)):
        assert value[0].item() == pytest.approx(value[1].item(), rel=2000 * eps)


@pytest.mark.parametrize("z", [-1e4, -200.0, -10.0, -4.1, -3.9, -1.0, 0.0, 5.0, 40.0])
def test_inversion(z):
    """The survival function at t, in logs, is u; the exponential's far out."""
    u = np.concatenate([np.logspace(-16, -1, 50), np.linspace(0.1, 0.999, 50)])
    there = torch.full((100,), z, dtype=torch.float64)
    t = inverse_survival(there, torch.tensor(u)).numpy()
    if z < -100:  # -log P = |z| t + t^2 / 2 + log of the ratio of R, 1 - (t / |z|) + ...
        expected = z * t - t**2 / 2 - np.log1p(-t / z) + 1 / z**2 - 1 / (t - z) ** 2
        np.testing.assert_allclose(expected, np.log(u), rtol=1e-8)
    else:
        found = truncnorm.logsf(t, -z, np.inf, loc=z)
        np.testing.assert_allclose(found, np.log(u), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("lowest", [-1000.0, -40.0, -3.0, 0.0])
@pytest.mark.parametrize("highest", [0.0, 2.0, 100.0])
def test_states_integrate_everything_between(lowest, highest):
    points, log_weights = half_line_states(lowest, highest, torch.zeros(0, dtype=torch.float64))
    for z in np.linspace(lowest, highest, 7).tolist():
        total = torch.logsumexp(log_weights - points**2 / 2 + z * points, 0).item()
        expected = half_line(torch.tensor(z, dtype=torch.float64)).log_integral.item()
        assert total == pytest.approx(expected, rel=1e-13, abs=1e-13)
