"""Binary units: the closed forms, their limits, and binarisation of grey values."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from montecarlo import assert_mean
from outcomes import outcome

import gibbsite as gb


def layer_with_bias(*bias: float, dtype=torch.float64) -> gb.Bernoulli:
    layer = gb.Bernoulli(len(bias)).to(dtype)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor(bias))
    return layer


def test_formulas():
    """energy = -b.x, mean = 1/(1 + exp(-b - inputs)), log_partition = sum log(1 + exp(...))."""
    layer = layer_with_bias(0.5, -1.0)
    x, inputs = torch.tensor([1.0, 1.0]).double(), torch.tensor([2.0, -0.3]).double()
    fields = [0.5 + 2.0, -1.0 - 0.3]
    assert layer.energy(x).item() == pytest.approx(0.5)
    assert layer.mean(inputs).tolist() == pytest.approx([1 / (1 + math.exp(-f)) for f in fields])
    log_z = sum(math.log(1 + math.exp(f)) for f in fields)
    assert layer.log_partition(inputs).item() == pytest.approx(log_z)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_limits_of_huge_inputs(dtype):
    layer = gb.Bernoulli(1).to(dtype)
    inputs = torch.tensor([[-1e4], [1e4]], dtype=dtype)
    assert layer.log_partition(inputs).tolist() == [0.0, 1e4]
    assert layer.mean(inputs).tolist() == [[0.0], [1.0]]
    assert layer.sample(inputs).tolist() == [[0.0], [1.0]]
    assert layer.log_prob(torch.tensor([[0.0], [1.0]], dtype=dtype), inputs).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("x", [-30.0, -10.0, 0.0, 10.5, 15.0, 21.0, 30.0, 39.9, 40.1])
def test_softplus_loses_nothing(x):
    """log(1 + e^x) at 1000 units, to rounding: no threshold where it becomes x."""
    layer = gb.Bernoulli(1000).double()
    actual = layer.log_partition(torch.full((1000,), x, dtype=torch.float64)).item()
    expected = 1000 * (max(x, 0) + math.log1p(math.exp(-abs(x))))
    assert actual == pytest.approx(expected, rel=1e-13)


def test_states_are_the_binary_digits():
    expected = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1]]
    assert gb.Bernoulli(3).states(0, 7).tolist() == expected


def test_states_beyond_32_digits():
    state = gb.Bernoulli(40).states(2**35, 2**35 + 1)[0]
    assert state.nonzero().flatten().tolist() == [35]


@pytest.mark.parametrize(("n", "states"), [(1, 2), (10, 1024), (1023, 2.0**1023)])
def test_number_of_states(n, states):
    assert gb.Bernoulli(n).n_states == states


def test_number_of_states_beyond_floating_point():
    assert gb.Bernoulli(1024).n_states == math.inf


@pytest.mark.parametrize("value", [-0.01, 1.01, 2.0, 255.0, -1.0])
def test_values_outside_0_1_are_named(value):
    data = torch.zeros(3, 4)
    data[1, 2] = value
    message = rf"data hold {value:g} at row 2, column 3 .*; Bernoulli units .*\[0, 1\].*Gaussian"
    with pytest.raises(gb.DataError, match=message):
        gb.Bernoulli(4).check_data(data)


def test_the_first_bad_value_is_the_one_named():
    data = torch.tensor([[0.0, 0.0], [0.0, 3.0], [7.0, 0.0]])
    with pytest.raises(gb.DataError, match="hold 3 at row 2, column 2"):
        gb.Bernoulli(2).check_data(data)


@given(value=st.floats())
def test_a_value_is_data_exactly_if_it_lies_in_0_1(value):
    """In float64, where no value is rounded on the way in."""
    layer = gb.Bernoulli(2).double()
    _, message = outcome(lambda: layer.check_data([[0.0, value]]))
    assert (message is None) == (0 <= value <= 1)
    assert message is None or f"{value:g} at row 1, column 2" in message


def test_binary_data_pass_binarisation_unchanged():
    data = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert gb.Bernoulli(2).observe(data, generator) is data
    assert torch.equal(generator.get_state(), before)


def test_binarisation_is_unbiased():
    grey = torch.tensor([0.0, 0.05, 0.3, 0.5, 0.92, 1.0])
    draws = gb.Bernoulli(6).observe(grey.expand(40_000, 6), torch.Generator().manual_seed(1))
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    assert draws[:, 0].max() == 0
    assert draws[:, 5].min() == 1
    assert_mean(draws.numpy(), grey.numpy())


def test_thresholding_is_not_binarisation():
    """The check above fails for a deterministic threshold."""
    grey = torch.tensor([0.05, 0.3, 0.92])
    with pytest.raises(AssertionError):
        assert_mean((grey > 0.5).expand(1000, 3).numpy(), grey.numpy())


def test_binarisation_is_decided_by_the_generator_and_drawn_anew():
    layer, grey = gb.Bernoulli(50), torch.full((4, 50), 0.5)
    generator = torch.Generator().manual_seed(3)
    first, second = layer.observe(grey, generator), layer.observe(grey, generator)
    again = layer.observe(grey, torch.Generator().manual_seed(3))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_initial_bias_is_the_log_odds_with_half_counts():
    data = torch.tensor([[0.0, 1.0, 1.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    layer = gb.Bernoulli(3)
    layer.initialize(data)
    odds = [0.5 / 3.5, 3.5 / 0.5, 1.5 / 2.5]
    assert layer.bias.tolist() == pytest.approx(np.log(odds).tolist())


def test_nan_probabilities_give_zeros_rather_than_a_crash():
    assert gb.Bernoulli(2).sample(torch.tensor([[float("nan"), 1e4]])).tolist() == [[0.0, 1.0]]


def test_log_partition_is_the_same_with_and_without_a_gradient():
    """Without one it is a kernel's, which knows less about shapes and types than torch."""
    layer = gb.Bernoulli(5)
    double = gb.Bernoulli(5).double()
    for case in (torch.randn(3, 5), torch.randn(2, 3, 5), torch.randn(5), torch.randn(3, 1)):
        expected, wide = layer.log_partition(case).detach(), double.log_partition(case).detach()
        with torch.no_grad():
            torch.testing.assert_close(layer.log_partition(case), expected)
            torch.testing.assert_close(double.log_partition(case), wide)
            if case.shape == (3, 5):
                mapped = torch.vmap(layer.log_partition)(case)
                torch.testing.assert_close(mapped, expected)
    for width in (4, 10):
        with torch.no_grad(), pytest.raises(gb.DataError):
            layer.log_partition(torch.zeros(3, width))


def test_many_small_terms_are_not_lost():
    layer = gb.Bernoulli(5000)
    with torch.no_grad():
        total = layer.log_partition(torch.full((2, 5000), -16.8))
    assert total[0].item() == pytest.approx(5000 * math.log1p(math.exp(-16.8)), rel=1e-5)
