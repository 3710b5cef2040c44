"""What every unit type must fulfil, tested for each in `gibbsite.layers.LAYERS`.

Nothing here knows a formula of a unit type: the energy, the statistic and the grid that integrates
over one unit define a layer, and everything else must follow from them.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from montecarlo import assert_mean
from outcomes import outcome

import gibbsite as gb
from gibbsite.layers import LAYERS, Layer, Marginals

MAKE = {
    "bernoulli": lambda n: gb.Bernoulli(n),
    "gaussian": lambda n: gb.Gaussian(n),
    "gaussian shared": lambda n: gb.Gaussian(n, sigma=0.6),
    "gaussian per unit": lambda n: gb.Gaussian(n, sigma=torch.linspace(0.5, 1.7, n)),
    "gaussian learned shared": lambda n: gb.Gaussian(n, sigma=0.6, learn_sigma=True),
    "gaussian learned": lambda n: gb.Gaussian(
        n, sigma=torch.linspace(0.5, 1.7, n), learn_sigma=True
    ),
}

each_layer = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
each_type = pytest.mark.parametrize("make", [MAKE[name] for name in LAYERS], ids=LAYERS)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def random_layer(make, n: int, seed: int = 0) -> tuple[Layer, torch.Tensor]:
    """A float64 layer with random biases, and inputs (5, n) for it."""
    g = torch.Generator().manual_seed(seed)
    layer = make(n).double()
    with torch.no_grad():
        layer.bias.copy_(torch.randn(n, generator=g, dtype=torch.float64))
    return layer, 2 * torch.randn(5, n, generator=g, dtype=torch.float64)


def grid(layer: Layer, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """All states of a layer (or a lattice of them), (k, n), and the log-weight of each, (k,)."""
    with torch.no_grad():
        points, log_weights = layer.unit_grid(inputs.abs().amax(0))
    index = torch.cartesian_prod(*[torch.arange(len(points))] * layer.n).reshape(-1, layer.n)
    units = torch.arange(layer.n)
    return points[index, units], log_weights[index, units].sum(-1)


def grid_probabilities(layer: Layer, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The grid, and p(x | inputs) times the cell's volume, (rows, k), from the energy alone."""
    x, log_weights = grid(layer, inputs)
    with torch.no_grad():
        exponent = log_weights - layer.energy(x) + inputs @ layer.statistic(x).T
    return x, torch.softmax(exponent, -1)


@each_layer
def test_what_is_called_binary_is_sampled_by_the_compiled_whole(make):
    """Units of 0 and 1, their own statistic, with the log-odds bias + inputs and no other part."""
    layer, inputs = random_layer(make, 3)
    x, p = grid_probabilities(layer, inputs)
    binary = bool(((x == 0) | (x == 1)).all()) and torch.equal(layer.statistic(x), x)
    assert layer.is_binary == binary
    if binary:
        assert [name for name, _ in layer.named_parameters()] == ["bias"]
        torch.testing.assert_close(p @ x, torch.sigmoid(layer.bias.detach() + inputs))


def test_every_unit_type_is_tested():
    assert {type(make(2)) for make in MAKE.values()} == set(LAYERS.values())


@each_layer
def test_log_partition_is_the_integral_of_the_boltzmann_factor(make):
    layer, inputs = random_layer(make, 2)
    x, log_weights = grid(layer, inputs)
    exponent = log_weights - layer.energy(x) + inputs @ layer.statistic(x).T
    torch.testing.assert_close(
        layer.log_partition(inputs), torch.logsumexp(exponent, -1), rtol=1e-12, atol=1e-12
    )


@each_layer
def test_energy_adds_over_units(make):
    layer, x = random_layer(make, 3)
    origin = torch.zeros(3, dtype=torch.float64)
    parts = [layer.energy(torch.where(torch.arange(3) == i, x, origin)) for i in range(3)]
    expected = sum(parts) - 2 * layer.energy(origin)
    torch.testing.assert_close(layer.energy(x), expected)


@each_layer
def test_mean_is_the_first_derivative_of_log_partition(make):
    layer, inputs = random_layer(make, 4)
    inputs.requires_grad_()
    (slope,) = torch.autograd.grad(layer.log_partition(inputs).sum(), inputs)
    torch.testing.assert_close(layer.statistic(layer.mean(inputs)), slope)


@each_layer
def test_variance_is_the_second_derivative_of_log_partition(make):
    layer, inputs = random_layer(make, 4)
    inputs.requires_grad_()
    (slope,) = torch.autograd.grad(layer.log_partition(inputs).sum(), inputs, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), inputs)
    unit = layer.statistic(torch.ones_like(inputs)) - layer.statistic(torch.zeros_like(inputs))
    torch.testing.assert_close(layer.variance(inputs) * unit**2, curvature)


@each_layer
def test_mean_and_variance_are_those_of_the_boltzmann_factor(make):
    layer, inputs = random_layer(make, 2)
    x, p = grid_probabilities(layer, inputs)
    torch.testing.assert_close(layer.mean(inputs), p @ x)
    torch.testing.assert_close(layer.variance(inputs), p @ x**2 - (p @ x) ** 2)
    mean, variance = layer.marginals(inputs)
    torch.testing.assert_close(mean, p @ x)
    torch.testing.assert_close(variance, p @ x**2 - (p @ x) ** 2)


@each_layer
def test_statistic_is_linear_in_the_states(make):
    layer, x = random_layer(make, 3)
    y = x.flip(0)
    torch.testing.assert_close(
        layer.statistic(2 * x - 3 * y), 2 * layer.statistic(x) - 3 * layer.statistic(y)
    )


@each_layer
def test_samples_have_the_mean_and_the_variance(make):
    layer, inputs = random_layer(make, 4, seed=1)
    rows = inputs[:1].expand(40_000, 4)
    x = layer.sample(rows, torch.Generator().manual_seed(2)).numpy()
    mean, variance = (value[0].detach().numpy() for value in layer.marginals(inputs))
    assert_mean(x, mean)
    assert_mean((x - mean) ** 2, variance)


@each_layer
def test_samples_of_different_units_and_rows_are_independent(make):
    layer, inputs = random_layer(make, 4, seed=1)
    rows = inputs[:1].expand(40_000, 4)
    x = layer.sample(rows, torch.Generator().manual_seed(3)).numpy()
    x = (x - x.mean(0)) / x.std(0)
    assert_mean(x * np.roll(x, 1, axis=1), np.zeros(4))
    assert_mean(x[::2] * x[1::2], np.zeros(4))


@each_layer
@each_dtype
@pytest.mark.parametrize("start", [0, 2])
def test_means_and_draws_come_together(make, dtype, start):
    """Means of all rows overwrite the inputs; draws are of the rows from `start` on."""
    layer, inputs = random_layer(make, 4)
    layer, some = layer.to(dtype), inputs[:2].to(dtype)
    many = inputs[2:3].to(dtype).expand(50_000, -1)
    table = torch.cat([some, many])[2 - start :].contiguous()
    expected = layer.mean(table).detach()
    draws = layer.mean_and_sample_(table, torch.Generator().manual_seed(start), start)
    torch.testing.assert_close(table, expected)
    assert draws.shape == (50_000, 4)
    assert_mean(draws.double().numpy(), expected[-1].double().numpy())


@each_layer
@pytest.mark.parametrize(("old", "new"), [(0.0, 1.0), (0.6, 0.55)])
def test_log_partition_change(make, old, new):
    layer, inputs = random_layer(make, 4)
    base = torch.linspace(-1, 1, 4).double()
    change = layer.log_partition_change(inputs, base, old, new)
    after, before = (layer.log_partition(base + t * (inputs - base)) for t in (new, old))
    torch.testing.assert_close(change, (after - before).detach(), atol=1e-12, rtol=1e-9)


@each_layer
def test_a_wrong_mean_is_noticed(make):
    """The check itself: a sampler for other inputs must fail it."""
    layer, inputs = random_layer(make, 4, seed=1)
    rows = 1.1 * inputs[:1].expand(40_000, 4)
    x = layer.sample(rows, torch.Generator().manual_seed(2)).numpy()
    with pytest.raises(AssertionError):
        assert_mean(x, layer.mean(inputs)[0].detach().numpy())


@each_layer
def test_log_prob_is_normalised(make):
    layer, inputs = random_layer(make, 2)
    x, log_weights = grid(layer, inputs)
    total = torch.logsumexp(log_weights + layer.log_prob(x, inputs[:, None]), -1)
    torch.testing.assert_close(total, torch.zeros_like(total), rtol=0, atol=1e-12)


@each_layer
def test_unit_grid_integrates_each_unit(make):
    """One unit at a time, at every input within the spread that was asked for."""
    layer, _ = random_layer(make, 3)
    spread = torch.tensor([0.5, 3.0, 40.0], dtype=torch.float64)
    for sign in (-1, 0, 1):
        points, log_weights = layer.unit_grid(spread)
        assert points.shape == log_weights.shape == (len(points), 3)
        inputs = sign * spread
        own = torch.stack([layer.energy(row) for row in _one_unit_at_a_time(layer, points)], 1)
        statistic = layer.statistic(points)
        total = torch.logsumexp(log_weights - own + statistic * inputs, 0).sum()
        torch.testing.assert_close(total, layer.log_partition(inputs), rtol=1e-12, atol=1e-11)


def _one_unit_at_a_time(layer: Layer, points: torch.Tensor):
    """For each unit, rows in which it takes every point while the others sit at zero energy."""
    rest = torch.stack([_zero_energy(layer, i) for i in range(layer.n)])
    for unit in range(layer.n):
        rows = rest.expand(len(points), -1).clone()
        rows[:, unit] = points[:, unit]
        yield rows


def _zero_energy(layer: Layer, unit: int) -> torch.Tensor:
    """A value of this unit that costs no energy: 0, or the bias."""
    origin = layer.energy(torch.zeros_like(layer.bias)).item()
    value = layer.bias.detach()[unit] if origin else torch.zeros(()).double()
    return value


@each_layer
def test_parameter_gradient_at_known_states_is_that_of_the_energy(make):
    layer, inputs = random_layer(make, 3)
    x = layer.sample(inputs, torch.Generator().manual_seed(4))
    weights = torch.tensor([0.1, 0.3, 0.2, 0.15, 0.25], dtype=torch.float64)
    interaction = weights @ (layer.statistic(x) * inputs)
    ours = layer.parameter_gradient(Marginals.at(x), weights, lambda: interaction)
    _assert_gradient(layer, ours, weights @ _exponent(layer, x, inputs))


@each_layer
def test_parameter_gradient_at_marginals_is_the_mean_over_states(make):
    layer, inputs = random_layer(make, 2)
    weights = torch.tensor([0.1, 0.3, 0.2, 0.15, 0.25], dtype=torch.float64)
    units = layer.marginals(inputs)
    interaction = weights @ (layer.statistic(units.mean) * inputs)
    ours = layer.parameter_gradient(units, weights, lambda: interaction)
    x, p = grid_probabilities(layer, inputs)
    _assert_gradient(layer, ours, weights @ (p * _exponent(layer, x, inputs[:, None])).sum(-1))


def _exponent(layer: Layer, x: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    return (layer.statistic(x) * inputs).sum(-1) - layer.energy(x)


def _assert_gradient(layer: Layer, ours: dict, mean_exponent: torch.Tensor) -> None:
    """`ours` is the derivative of the mean exponent in every parameter of the layer."""
    names, parameters = zip(*layer.named_parameters(), strict=True)
    derivatives = torch.autograd.grad(mean_exponent, parameters)
    assert set(ours) == set(names)
    for name, expected in zip(names, derivatives, strict=True):
        torch.testing.assert_close(ours[name], expected, rtol=1e-9, atol=1e-10)


@each_layer
def test_bias_per_input(make):
    """Moving the bias by this much does what an input of 1 does."""
    layer, inputs = random_layer(make, 3)
    expected = layer.mean(inputs + 1)
    with torch.no_grad():
        layer.bias.add_(layer.bias_per_input())
    torch.testing.assert_close(layer.mean(inputs), expected)


@each_layer
@each_dtype
@pytest.mark.parametrize("size", [1e4, -1e4, 0.0])
def test_extreme_inputs_stay_finite_and_keep_the_dtype(make, dtype, size):
    layer = make(3).to(dtype)
    inputs = torch.full((2, 3), size, dtype=dtype, requires_grad=True)
    x = layer.sample(inputs, torch.Generator().manual_seed(0))
    log_z = layer.log_partition(inputs)
    (slope,) = torch.autograd.grad(log_z.sum(), inputs, retain_graph=True)
    results = [log_z, slope, layer.mean(inputs), layer.variance(inputs), x]
    results += [layer.energy(x), layer.statistic(x), layer.log_prob(x, inputs)]
    for result in results:
        assert result.dtype == dtype
        assert torch.isfinite(result).all()
    assert (layer.variance(inputs) >= 0).all()
    torch.testing.assert_close(slope, layer.statistic(layer.mean(inputs)))


@each_layer
@each_dtype
def test_dtypes_agree(make, dtype):
    layer, inputs = random_layer(make, 3)
    expected = layer.log_partition(inputs)
    actual = layer.to(dtype).log_partition(inputs.to(dtype))
    assert actual.dtype == dtype
    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-5)


@each_layer
def test_sampling_leaves_the_graph_and_the_global_generator_alone(make):
    layer, inputs = random_layer(make, 3)
    before = torch.get_rng_state()
    x = layer.sample(inputs.requires_grad_(), torch.Generator().manual_seed(0))
    assert not x.requires_grad
    assert torch.equal(torch.get_rng_state(), before)


@each_layer
def test_the_generator_decides_the_samples(make):
    layer, inputs = random_layer(make, 8)
    draws = [layer.sample(inputs, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@each_layer
def test_leading_axes_are_kept(make):
    layer, inputs = random_layer(make, 3)
    shaped = inputs[:4].reshape(2, 2, 3)
    assert layer.mean(shaped).shape == layer.variance(shaped).shape == (2, 2, 3)
    assert layer.sample(shaped).shape == (2, 2, 3)
    assert layer.log_partition(shaped).shape == layer.energy(shaped).shape == (2, 2)
    assert torch.equal(layer.log_partition(shaped).flatten(), layer.log_partition(inputs[:4]))
    assert layer.log_partition(inputs[0]).shape == ()


@each_layer
def test_states_are_counted_or_refused(make):
    layer = make(3)
    if np.isinf(layer.n_states):
        with pytest.raises(gb.ArgumentError, match=r"\(3\) has no countable states"):
            layer.states(0, 1)
        return
    states = layer.states(0, int(layer.n_states))
    assert states.shape == (layer.n_states, 3)
    assert len(torch.unique(states, dim=0)) == layer.n_states
    assert states.dtype == layer.bias.dtype
    assert torch.equal(layer.states(2, 5), states[2:5])
    points, log_weights = layer.unit_grid(torch.ones(3))
    assert torch.equal(log_weights, torch.zeros_like(log_weights))
    assert len(points) ** 3 == layer.n_states


@each_layer
def test_initialize_fits_the_columns(make):
    """The layer alone then has the mean of each column, up to the half counts of binary units."""
    layer, generator = make(3), torch.Generator().manual_seed(0)
    data = layer.sample(torch.tensor([[0.7, -0.4, 1.3]]).expand(100_000, 3), generator)
    layer.initialize(data)
    torch.testing.assert_close(layer.mean(torch.zeros(3)), data.mean(0), rtol=1e-4, atol=1e-4)


@each_layer
def test_a_fitted_layer_has_the_columns_means_and_variances(make):
    """By itself; the layer it is made from stays as it was."""
    layer, inputs = random_layer(make, 3)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    data = layer.sample(inputs[:1].expand(100_000, 3), torch.Generator().manual_seed(0))
    fitted, nothing = layer.fitted(data), torch.zeros(3, dtype=torch.float64)
    assert type(fitted) is type(layer)
    torch.testing.assert_close(fitted.mean(nothing), data.double().mean(0), rtol=1e-4, atol=1e-4)
    spread = data.double().var(0, correction=0)
    torch.testing.assert_close(fitted.variance(nothing), spread, rtol=1e-3, atol=1e-4)
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name])


@each_layer
def test_rescaled_units_have_rescaled_states(make):
    layer, inputs = random_layer(make, 3)
    shift = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    scale = torch.tensor([0.5, 3.0, 1.0], dtype=torch.float64)
    if not layer.has_units:
        with pytest.raises(gb.ArgumentError, match=r"\(3\) cannot be rescaled"):
            layer.rescaled(shift, scale)
        return
    new = layer.rescaled(shift, scale)
    assert new.options() == layer.options()
    torch.testing.assert_close(new.mean(inputs), shift + scale * layer.mean(inputs))
    torch.testing.assert_close(new.variance(inputs), scale**2 * layer.variance(inputs))
    torch.testing.assert_close(new.energy(shift + scale * inputs), layer.energy(inputs))
    assert new.bias.dtype == torch.float64


@each_layer
def test_skeleton_takes_the_stored_tensors(make):
    layer, inputs = random_layer(make, 3)
    shapes = {name: list(value.shape) for name, value in layer.state_dict().items()}
    copy = type(layer).skeleton(3, shapes, layer.options()).double()
    copy.load_state_dict(layer.state_dict())
    assert torch.equal(copy.log_partition(inputs), layer.log_partition(inputs))


@each_layer
def test_description(make):
    layer = make(3)
    assert layer.describe() == f"{type(layer).__name__}(3)" == repr(layer)


@each_type
@pytest.mark.parametrize("n", [0, -1, True, False, 2.0, 1.5, "3", None, float("nan")])
def test_sizes_that_are_none(make, n):
    with pytest.raises(gb.ArgumentError, match="expected a whole number of at least 1") as error:
        type(make(2))(n)
    assert repr(n) in str(error.value)


@each_type
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_data_are_named_by_row_and_column(make, value):
    data = torch.zeros(4, 3)
    data[2, 1] = value
    with pytest.raises(gb.DataError, match=rf"data hold {value:g} at row 3, column 2 .*; .*impute"):
        make(3).check_data(data)


@each_type
@pytest.mark.parametrize("shape", [(4, 2), (4, 4), (3, 0), (2,), (0,), ()])
def test_wrong_widths_are_named(make, shape):
    width = shape[-1] if shape else "no"
    with pytest.raises(gb.DataError, match=rf"have {width} columns but .*\(3\) has 3 units"):
        make(3).coerce(torch.zeros(shape))


@each_type
@pytest.mark.parametrize("shape", [(0, 3), (3,), (2, 2, 3)])
def test_data_are_rows(make, shape):
    with pytest.raises(gb.DataError, match=r"expected \(rows, 3\), at least one row") as error:
        make(3).check_data(torch.zeros(shape))
    assert str(shape) in str(error.value)


ARRAYS = [np.float16, np.float32, np.float64, np.int8, np.int64, np.uint8, np.uint16, np.bool_]


@each_type
@pytest.mark.parametrize("kind", ARRAYS)
def test_numeric_arrays_of_any_type_are_data(make, kind):
    data = np.array([[0, 1, 1], [1, 0, 1]], dtype=kind)
    checked = make(3).check_data(data)
    assert checked.dtype == torch.float32
    assert np.array_equal(checked.numpy(), data.astype(np.float32))


@each_type
@pytest.mark.parametrize("change", ["reversed", "read-only", "big-endian", "fortran", "list"])
def test_arrays_of_any_layout_are_data(make, change):
    data = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    expected = data.copy()
    if change == "reversed":
        data = np.ascontiguousarray(data[:, ::-1])[:, ::-1]
    elif change == "read-only":
        data.flags.writeable = False
    elif change == "big-endian":
        data = data.astype(">f8")
    elif change == "fortran":
        data = np.asfortranarray(data)
    else:
        data = data.tolist()
    assert np.array_equal(make(3).check_data(data).numpy(), expected)


NOT_NUMBERS = {
    "text": "abc",
    "nothing": None,
    "ragged": [[0.0, 1.0, 0.0], [1.0]],
    "nested text": [["a", "b", "c"]],
    "array of text": np.array([["a", "b", "c"]]),
    "objects": np.array([[None, 1, 2]], dtype=object),
    "mapping": {"a": 1},
    "complex array": np.ones((2, 3), complex),
    "complex tensor": torch.ones(2, 3, dtype=torch.complex64),
}


@each_type
@pytest.mark.parametrize("data", NOT_NUMBERS.values(), ids=NOT_NUMBERS)
def test_what_is_not_an_array_of_real_numbers_is_refused(make, data):
    with pytest.raises(gb.DataError):
        make(3).check_data(data)


@each_type
@given(data=st.data())
def test_any_array_is_taken_or_refused_by_name(make, data):
    """Shapes, dtypes and values at random: success, or a typed error that names what is wrong."""
    shape = data.draw(st.lists(st.integers(0, 4), max_size=3).map(tuple))
    kind = data.draw(st.sampled_from(["f2", "f4", "f8", "i1", "i8", "u1", "?"]))
    size = int(np.prod(shape))
    numbers = st.floats(width=16) if kind[0] == "f" else st.integers(0, 1 if kind == "?" else 9)
    values = data.draw(st.lists(numbers, min_size=size, max_size=size))
    array = np.array(values).reshape(shape).astype(kind)
    layer = make(3)
    checked, message = outcome(lambda: layer.check_data(array))
    if message is not None:
        assert str(shape) in message or "columns" in message or " at row " in message
        return
    assert checked.shape == shape
    assert shape[0] > 0
    assert shape[1:] == (3,)
    assert torch.isfinite(layer.energy(checked)).all()


class Heated(gb.Bernoulli):
    """A user's layer at another temperature; its parents' shortcuts do not hold for it."""

    def log_partition(self, inputs):
        return super().log_partition(2 * inputs)

    def mean(self, inputs):
        return super().mean(2 * inputs)

    def sample_(self, inputs, generator=None, *, scale=1.0, base=None):
        return super().sample_(inputs.mul_(2), generator, scale=scale, base=base)

    def mean_(self, inputs):
        return super().mean_(inputs.mul_(2))

    def observe(self, data, generator=None):
        return 1 - data


class Frozen(gb.Gaussian):
    """A user's layer whose scale is bounded and does not learn."""

    @property
    def sigma(self):
        return super().sigma.clamp(min=0.5)

    def parameter_gradient(self, units, weights, interaction):
        gradient = super().parameter_gradient(units, weights, interaction)
        return gradient | {"log_sigma": torch.zeros_like(self.log_sigma)}


def test_a_subclass_with_its_own_formulas_is_taken_at_its_word():
    layer, g = Heated(3), torch.Generator().manual_seed(0)
    inputs = torch.tensor([0.5, -1.0, 2.0]).expand(50_000, 3).contiguous()
    expected = torch.sigmoid(2 * inputs[0])
    means = inputs.clone()
    draws = layer.mean_and_sample_(means, g)
    torch.testing.assert_close(means[0], expected)
    assert_mean(draws.double().numpy(), expected.double().numpy())
    change = layer.log_partition_change(inputs[:1], torch.zeros(3), 0.0, 1.0)
    softplus = torch.nn.functional.softplus
    expected = (softplus(2 * inputs[:1]) - softplus(torch.zeros(3))).sum(-1)
    torch.testing.assert_close(change, expected.detach().double())
    taken = layer.take(torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([0]))
    assert taken.tolist() == [[1.0, 0.0, 1.0]]
    assert not layer.is_binary
    assert gb.Bernoulli.is_binary


def test_a_subclass_with_its_own_scale_and_gradient_is_taken_at_its_word():
    layer, g = Frozen(4, sigma=0.1, learn_sigma=True), torch.Generator().manual_seed(0)
    assert layer.sample(torch.zeros(20_000, 4), g).std().item() == pytest.approx(0.5, rel=0.02)
    rbm = gb.RBM(layer, gb.Bernoulli(3))
    gb.fit(rbm, torch.randn(50, 4, generator=g), epochs=2, generator=g)
    assert rbm.visible.log_sigma.item() == pytest.approx(math.log(0.1))
