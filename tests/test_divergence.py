"""Models without bounds on either side: which have a finite Z, and what is said of the others."""

import math

import numpy as np
import pytest
import torch
from outcomes import outcome

import gibbsite as gb
from gibbsite.model import check_usable, fault


class Slow(gb.Gaussian):
    """Units whose energy is not known to grow like a square."""

    def curvature(self):
        return super().curvature() * torch.tensor([0.0] + [1.0] * (self.n - 1))


def gaussian_pair(n, m, norm, seed=0):
    """A Gaussian-Gaussian model with weights of the given spectral norm."""
    rbm = gb.RBM(gb.Gaussian(n, sigma=[0.5, 2.0, 1.0][:n]), gb.Gaussian(m, sigma=3.0)).double()
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        rbm.weight.copy_(torch.randn(n, m, generator=g, dtype=torch.float64))
        rbm.weight.mul_(norm / torch.linalg.matrix_norm(rbm.weight, 2))
    return rbm


@pytest.mark.parametrize("norm", [0.1, 0.9, 0.999, 1.001, 1.5, 30.0])
def test_gaussian_pairs_against_the_precision_matrix(norm):
    """Z is the integral of a joint normal density; it is finite if its precision is positive."""
    rbm = gaussian_pair(3, 2, norm)
    weight = rbm.weight.detach().numpy()
    precision = np.block([[np.eye(3), -weight], [-weight.T, np.eye(2)]])  # in sigmas
    finite = np.linalg.eigvalsh(precision)[0] > 0
    assert (fault(rbm) == "") == finite
    _, message = outcome(lambda: check_usable(rbm))
    assert (message is None) == finite
    if not finite:
        assert f"{norm:.4g}" in fault(rbm)


def test_gaussian_pair_has_the_determinant_as_its_partition_function():
    """F(v) integrated over v on a grid, against (2 pi)^2 sigma tau / sqrt(det)."""
    rbm = gaussian_pair(1, 1, 0.8)
    v = torch.linspace(-40, 40, 200_001, dtype=torch.float64)[:, None]
    log_z = torch.logsumexp(-rbm.free_energy(v), 0).item() + math.log(80 / 200_000)
    expected = math.log(2 * math.pi * 0.5 * 3.0) - 0.5 * math.log(1 - 0.8**2)
    assert log_z == pytest.approx(expected, rel=1e-9)


def test_curvatures():
    assert gb.Gaussian(2, sigma=0.1).curvature().tolist() == [1.0, 1.0]
    assert gb.ReLU(2, gamma=[0.5, 3.0]).curvature().tolist() == pytest.approx([0.5, 3.0])
    drelu = gb.DReLU(2, gamma_plus=[0.5, 3.0], gamma_minus=1.0)
    assert drelu.curvature().tolist() == pytest.approx([0.5, 1.0])
    for layer in gb.Bernoulli(2), gb.TruncatedExponential(2):
        assert layer.curvature().tolist() == [math.inf] * 2


@pytest.mark.parametrize("make", [gb.Gaussian, gb.ReLU, gb.DReLU])
def test_energies_grow_as_curvatures_say(make):
    layer = make(2).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.tensor([0.7, -0.4]))
    for sign in (1.0, -1.0) if layer.interval[0] < 0 else (1.0,):
        x = sign * 1e7 * torch.ones(2, dtype=torch.float64)
        bound = (layer.curvature() * layer.statistic(x) ** 2).sum() / 2
        assert layer.energy(x).item() >= bound.item() * (1 - 1e-6)


def test_bounded_units_on_one_side_take_any_weight():
    for visible, hidden in (
        (gb.Bernoulli(2), gb.ReLU(3)),
        (gb.DReLU(2), gb.TruncatedExponential(3)),
        (Slow(2), gb.Bernoulli(3)),
    ):
        rbm = gb.RBM(visible, hidden)
        with torch.no_grad():
            rbm.weight.fill_(1e3)
        assert fault(rbm) == ""


@pytest.mark.parametrize("pair", [(Slow(2), gb.ReLU(3)), (gb.Gaussian(3), Slow(2))])
def test_layers_without_any_finite_sum_are_refused(pair):
    with pytest.raises(gb.ArgumentError, match=r"Slow\(2\).*infinite.*gb.Bernoulli"):
        gb.RBM(*pair)


def test_negative_weights_between_rectified_units_lower_no_energy():
    rbm = gb.RBM(gb.ReLU(2, gamma=4.0), gb.ReLU(3, gamma=0.25))
    with torch.no_grad():
        rbm.weight.fill_(-50.0)
        assert fault(rbm) == ""
        rbm.weight[0, 1] = 0.99
        assert fault(rbm) == ""
        rbm.weight[0, 1] = 1.01  # sqrt(4 * 0.25) = 1
        assert "weight has spectral norm 1.01" in fault(rbm)


def test_weights_that_are_not_finite_are_named_first():
    rbm = gb.RBM(gb.Gaussian(2), gb.Gaussian(2))
    with torch.no_grad():
        rbm.weight[0, 0] = math.nan
    assert fault(rbm) == "weight holds nan"


def test_training_that_leaves_the_finite_models_stops_and_goes_back():
    rbm, g = gb.RBM(gb.Gaussian(3), gb.Gaussian(2)), torch.Generator().manual_seed(0)
    v = torch.randn(200, 1, generator=g) * 3 + torch.randn(200, 3, generator=g)
    gb.initialize(rbm, v, generator=g)
    optimizer = torch.optim.SGD(rbm.parameters(), lr=0.5)
    with pytest.raises(gb.DivergenceError):
        gb.fit(rbm, v, gradient=gb.CD(1), optimizer=optimizer, epochs=50, generator=g)
    assert fault(rbm) == ""


def test_a_model_file_without_a_finite_sum_is_neither_written_nor_read(tmp_path, monkeypatch):
    rbm, path = gaussian_pair(2, 2, 2.0), tmp_path / "model.safetensors"
    with pytest.raises(gb.ArgumentError, match="spectral norm 2"):
        gb.save(rbm, path)
    monkeypatch.setattr("gibbsite.io.check_usable", lambda rbm: None)
    gb.save(rbm, path)
    with pytest.raises(gb.ModelFileError, match="spectral norm 2"):
        gb.load(path)


def test_layers_side_by_side_have_the_curvatures_of_their_parts():
    """The bounded part takes any weight; the Gaussian one does not, nor any Poisson units."""
    rbm = gb.RBM(gb.Mixed(gb.Bernoulli(2), gb.Gaussian(1)), gb.Gaussian(2))
    assert rbm.visible.curvature().tolist() == [math.inf, math.inf, 1.0]
    with torch.no_grad():
        rbm.weight[:2] = 50.0
        assert fault(rbm) == ""
        rbm.weight[2] = 1.0  # (1, 1): a spectral norm of sqrt(2)
        assert "spectral norm 1.414" in fault(rbm)
    with pytest.raises(gb.ArgumentError, match="infinite"):
        gb.RBM(gb.Mixed(gb.Bernoulli(2), gb.Poisson(1)), gb.ReLU(2))


@pytest.mark.parametrize("other", [gb.Poisson, gb.ReLU, gb.Gaussian, gb.DReLU])
def test_poisson_units_need_bounded_ones_opposite(other):
    for pair in (gb.Poisson(2), other(3)), (other(3), gb.Poisson(2)):
        with pytest.raises(gb.ArgumentError, match=r"Poisson\(\d\).*infinite"):
            gb.RBM(*pair)
    gb.RBM(gb.Poisson(2), gb.Bernoulli(3))
