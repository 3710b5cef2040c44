"""Every unit type in `gibbsite.layers.LAYERS` keeps the contract; what is common to all of them.

The formulas, draws and states of a type are `gibbsite.testing.check_layer`'s to check.
"""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from outcomes import outcome

import gibbsite as gb
from gibbsite.layers import LAYERS, name_of
from gibbsite.testing import check_layer


def spread(n: int) -> torch.Tensor:
    """Positive numbers, one a unit."""
    return torch.linspace(0.5, 1.7, n)


def mixing(n: int) -> torch.Tensor:
    """A factor that no symmetry makes simpler than it is."""
    return torch.eye(n) + 0.4 * torch.ones(n, n).tril(-1) - 0.2 * torch.ones(n, n).triu(1)


MAKE = {
    "bernoulli": gb.Bernoulli,
    "binomial": lambda n: gb.Binomial(n, 4),
    "binomial per unit": lambda n: gb.Binomial(n, list(range(1, n + 1))),
    "categorical": lambda n: gb.Categorical(n, 3),
    "categorical per unit": lambda n: gb.Categorical(list(range(2, n + 2))),
    "drelu": gb.DReLU,
    "drelu per unit": lambda n: gb.DReLU(n, spread(n), spread(n).flip(0)),
    "gaussian": gb.Gaussian,
    "gaussian shared": lambda n: gb.Gaussian(n, sigma=0.6),
    "gaussian per unit": lambda n: gb.Gaussian(n, sigma=spread(n)),
    "gaussian learned shared": lambda n: gb.Gaussian(n, sigma=0.6, learn_sigma=True),
    "gaussian learned": lambda n: gb.Gaussian(n, sigma=spread(n), learn_sigma=True),
    "mixed": lambda n: gb.Mixed(gb.Categorical(n, 3), gb.Gaussian(1, learn_sigma=True), gb.ReLU(1)),
    "mixed finite": lambda n: gb.Mixed(gb.Spin(n), gb.Binomial(1, 3)),
    "multivariate": lambda n: gb.MultivariateGaussian(mixing(n), spread(n)),
    "multivariate learned": lambda n: gb.MultivariateGaussian(mixing(n), spread(n), True),
    "multivariate shared": lambda n: gb.MultivariateGaussian(mixing(n), 0.7, learn_scale=True),
    "poisson": gb.Poisson,
    "relu": gb.ReLU,
    "relu per unit": lambda n: gb.ReLU(n, spread(n)),
    "spin": gb.Spin,
    "truncated exponential": gb.TruncatedExponential,
}
"""Each type with each of its options; a new type has a line here at least."""


def test_every_unit_type_is_checked():
    assert {name_of(make(2)) for make in MAKE.values()} == set(LAYERS)


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_contract(make):
    check_layer(make)


ONE_OF_EACH = {name_of(make(1)): make for make in reversed(MAKE.values())}


@pytest.mark.parametrize("make", ONE_OF_EACH.values(), ids=ONE_OF_EACH)
def test_contract_of_one_unit(make):
    check_layer(make, n=1, seed=1)


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_description(make):
    layer = make(3)
    assert layer.describe().startswith(type(layer).__name__ + "(")
    assert repr(layer).startswith(type(layer).__name__ + "(")


def test_fitted_units_have_the_variances_of_the_columns_too():
    layer = gb.Gaussian(2, sigma=0.1)
    data = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0)) * 3 + 1
    fitted = layer.fitted(data)
    torch.testing.assert_close(fitted.sigma, data.double().std(0, correction=0))


# what a layer does with sizes and data, the same for every type


@pytest.mark.parametrize("kind", [gb.Bernoulli, gb.Gaussian])
def test_sizes_that_are_none(kind):
    for n in (0, -1, True, False, 2.0, 1.5, "3", None, float("nan")):
        with pytest.raises(gb.ArgumentError, match="expected a whole number of at least 1") as e:
            kind(n)
        assert repr(n) in str(e.value)


def test_non_finite_data_are_named_by_row_and_column():
    for value in (float("nan"), float("inf"), -float("inf")):
        data = torch.zeros(4, 3)
        data[2, 1] = value
        told = rf"data hold {value:g} at row 3, column 2 .*; .*impute"
        with pytest.raises(gb.DataError, match=told):
            gb.Bernoulli(3).check_data(data)


def test_wrong_shapes_are_named():
    for shape in ((4, 2), (4, 4), (3, 0), (2,), (0,), ()):
        width = shape[-1] if shape else "no"
        with pytest.raises(gb.DataError, match=rf"have {width} columns but .*\(3\) has 3 units"):
            gb.Bernoulli(3).coerce(torch.zeros(shape))
    for shape in ((0, 3), (3,), (2, 2, 3)):
        told = re.escape(str(shape)) + r".*expected \(rows, 3\), at least one row"
        with pytest.raises(gb.DataError, match=told):
            gb.Bernoulli(3).check_data(torch.zeros(shape))


NUMBERS = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])


def read_only(x: np.ndarray) -> np.ndarray:
    x.flags.writeable = False
    return x


def test_numeric_arrays_of_any_type_and_layout_are_data():
    kinds = ("f2", "f4", "f8", "i1", "i8", "u1", "u2", "?", ">f8")
    given = {kind: NUMBERS.astype(kind) for kind in kinds} | {
        "reversed": np.ascontiguousarray(NUMBERS[:, ::-1])[:, ::-1],
        "read-only": read_only(NUMBERS.copy()),
        "fortran": np.asfortranarray(NUMBERS),
        "list": NUMBERS.tolist(),
    }
    for name, data in given.items():
        checked = gb.Bernoulli(3).check_data(data)
        assert checked.dtype == torch.float32, name
        assert np.array_equal(checked.numpy(), NUMBERS), name


def test_what_is_not_an_array_of_real_numbers_is_refused():
    for data in (
        "abc",
        None,
        [[0.0, 1.0, 0.0], [1.0]],
        [["a", "b", "c"]],
        np.array([["a", "b", "c"]]),
        np.array([[None, 1, 2]], dtype=object),
        {"a": 1},
        np.ones((2, 3), complex),
        torch.ones(2, 3, dtype=torch.complex64),
    ):
        with pytest.raises(gb.DataError):
            gb.Bernoulli(3).check_data(data)


@pytest.mark.parametrize("kind", [gb.Bernoulli, gb.Gaussian])
@given(data=st.data())
def test_any_array_is_taken_or_refused_by_name(kind, data):
    """Shapes, dtypes and values at random: success, or a typed error that names what is wrong."""
    shape = data.draw(st.lists(st.integers(0, 4), max_size=3).map(tuple))
    dtype = data.draw(st.sampled_from(["f2", "f4", "f8", "i1", "i8", "u1", "?"]))
    size = int(np.prod(shape))
    numbers = st.floats(width=16) if dtype[0] == "f" else st.integers(0, 1 if dtype == "?" else 9)
    values = data.draw(st.lists(numbers, min_size=size, max_size=size))
    array = np.array(values).reshape(shape).astype(dtype)
    layer = kind(3)
    checked, message = outcome(lambda: layer.check_data(array))
    if message is not None:
        assert str(shape) in message or "columns" in message or " at row " in message
        return
    assert checked.shape == shape
    assert shape[0] > 0
    assert shape[1:] == (3,)
    assert torch.isfinite(layer.energy(checked)).all()


class Frozen(gb.Gaussian):
    """A user's layer whose scale is bounded and does not learn."""

    @property
    def sigma(self):
        return super().sigma.clamp(min=0.5)

    def gradient(self, moments, weights, coupling):
        gradient = super().gradient(moments, weights, coupling)
        return gradient | {"log_sigma": torch.zeros_like(self.log_sigma)}


def test_a_subclass_with_its_own_scale_and_gradient_is_taken_at_its_word():
    layer, g = Frozen(4, sigma=0.1, learn_sigma=True), torch.Generator().manual_seed(0)
    assert layer.sample(torch.zeros(20_000, 4), g).std().item() == pytest.approx(0.5, rel=0.02)
    rbm = gb.RBM(layer, gb.Bernoulli(3))
    gb.fit(rbm, torch.randn(50, 4, generator=g), epochs=2, generator=g)
    assert rbm.visible.log_sigma.item() == pytest.approx(np.log(0.1))
