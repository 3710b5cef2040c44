"""Rectified units: quadrature over their energies, and fifty digits far from 0."""

import math

import mpmath
import numpy as np
import pytest
import torch
from one_unit import INPUTS, Unit, brute_log_totals, fields, log_partitions, means
from oracle import agree, derivative
from scipy.integrate import quad
from scipy.special import erfcx

import gibbsite as gb


def half_line(z: float) -> tuple[float, float, float]:
    """The library's log R(z), E[t] and E[t^2]: those of a ReLU unit of curvature 1, no bias."""
    layer, inputs = gb.ReLU(1).double(), torch.tensor([z], dtype=torch.float64)
    with torch.no_grad():
        mean, square = layer.moments(inputs)
        return layer.log_partition(inputs).item(), mean.item(), square.item()


def test_gibbsite_12_8_integral():
    """Gibbsite (12.8)."""
    z = np.array(INPUTS)
    integral = [quad(lambda t, y=y: math.exp(y * t - t * t / 2), 0, 40, epsrel=1e-13)[0] for y in z]
    agree(np.sqrt(np.pi / 2) * erfcx(-z / np.sqrt(2)), integral)
    agree([half_line(y)[0] for y in INPUTS], np.log(integral))


def test_gibbsite_12_9_moments():
    """Gibbsite (12.9)."""
    for z in INPUTS:
        total, first, second = (
            quad(lambda t, k=k, z=z: t**k * math.exp(z * t - t * t / 2), 0, 40, epsrel=1e-13)[0]
            for k in range(3)
        )
        agree(z + 1 / total, first / total)
        agree(1 + z * first / total, second / total)
        agree(half_line(z)[1:], [first / total, second / total])


@pytest.mark.parametrize("y", [5.0, 40.0, 1e3, 1e6])
def test_gibbsite_12_10_continued_fraction(y):
    """Gibbsite (12.10), relative to the moments themselves, which are small."""
    with mpmath.workdps(50):
        z = -mpmath.mpf(y)
        mean = z + 1 / (
            mpmath.sqrt(mpmath.pi / 2) * mpmath.exp(z**2 / 2) * mpmath.erfc(y / mpmath.sqrt(2))
        )
        square = float(1 + z * mean)
        mean = float(mean)
    rest = 0.0
    for level in range(400, 1, -1):
        rest = level / (y + rest)
    np.testing.assert_allclose([1 / (y + rest), rest / (y + rest)], [mean, square], rtol=1e-12)
    np.testing.assert_allclose(half_line(-y)[1:], [mean, square], rtol=1e-12)


def gradient(unit: Unit, inputs: float) -> dict[str, torch.Tensor]:
    """The layer's mean of -dE/dtheta given the inputs, which is dA/dtheta."""
    one, rows = torch.ones(1, dtype=torch.float64), torch.tensor([[inputs]], dtype=torch.float64)
    return unit.layer.gradient(unit.layer.moments(rows), one, lambda: one)


def r(z):
    """The integral of (12.8)."""
    return np.sqrt(np.pi / 2) * erfcx(-z / np.sqrt(2))


def test_gibbsite_12_11_relu():
    """Gibbsite (12.11): log-partition, mean, and the derivative by the curvature."""
    unit = Unit("relu")
    log_gamma = unit.theta["log_gamma"]
    root = math.exp(log_gamma / 2)
    z = fields(unit) / root
    agree(np.log(r(z)) - log_gamma / 2, brute_log_totals(unit))
    agree((z + 1 / r(z)) / root, [unit.mean(x) for x in INPUTS])
    for inputs in INPUTS:
        slope = derivative(
            lambda x, inputs=inputs: np.array(unit.log_total(inputs, log_gamma=float(x))),
            np.array(log_gamma),
        )
        square = unit.mean(inputs, lambda x: x * x)
        agree(-math.exp(log_gamma) / 2 * square, slope)
        agree(gradient(unit, inputs)["log_gamma"].item(), slope)


def drelu_parts(unit: Unit) -> tuple[np.ndarray, ...]:
    """z and sqrt(gamma) of either side, for all inputs."""
    plus, minus = (math.exp(unit.theta[f"log_gamma_{s}"] / 2) for s in ("plus", "minus"))
    above = (unit.theta["bias_plus"] + np.array(INPUTS)) / plus
    below = -(unit.theta["bias_minus"] + np.array(INPUTS)) / minus
    return above, below, plus, minus


def test_gibbsite_12_12_drelu():
    """Gibbsite (12.12); and the sign: with the biases turned the sum is another."""
    unit = Unit("drelu")
    above, below, plus, minus = drelu_parts(unit)
    total = r(above) / plus + r(below) / minus
    agree(np.log(total), brute_log_totals(unit))
    agree(log_partitions(unit), brute_log_totals(unit))
    positive = [unit.mean(z, lambda x: float(x > 0)) for z in INPUTS]
    agree(r(above) / plus / total, positive)
    turned = {name: -unit.theta[name] for name in ("bias_plus", "bias_minus")}
    others = np.array([unit.log_total(z, **turned) for z in INPUTS])
    assert np.abs(others - brute_log_totals(unit)).max() > 1e-3


def test_gibbsite_12_13_drelu_moments():
    """Gibbsite (12.13): means of either side, and derivatives by all four parameters."""
    unit = Unit("drelu")
    above, below, plus, minus = drelu_parts(unit)
    share = r(above) / plus / (r(above) / plus + r(below) / minus)
    upper = share * (above + 1 / r(above)) / plus
    lower = -(1 - share) * (below + 1 / r(below)) / minus
    agree(upper, [unit.mean(z, lambda x: max(x, 0.0)) for z in INPUTS])
    agree(lower, [unit.mean(z, lambda x: min(x, 0.0)) for z in INPUTS])
    agree(upper + lower, means(unit))
    for inputs in INPUTS:
        found = gradient(unit, inputs)
        for name, value in unit.theta.items():
            slope = derivative(
                lambda x, name=name, z=inputs: np.array(unit.log_total(z, **{name: float(x)})),
                np.array(value),
            )
            agree(found[name].item(), slope)
        side = unit.mean(inputs, lambda x: max(x, 0.0) ** 2)
        agree(-(plus**2) / 2 * side, found["log_gamma_plus"].item())
