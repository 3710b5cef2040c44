"""Units of several states: sums over all states, draws, codes at the door, one-hot checks."""

import math

import numpy as np
import pytest
import torch
from discrete import assert_frequencies, one_hot
from montecarlo import assert_mean
from scipy.special import logsumexp, softmax

import gibbsite as gb

MAKES = {"equal": lambda: gb.Categorical(3, 4), "different": lambda: gb.Categorical([3, 5, 2])}
each = pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def randomised(make, dtype=torch.float64) -> tuple[gb.Categorical, torch.Tensor]:
    """A layer with random biases, and inputs of a few rows."""
    layer, g = make().to(dtype), torch.Generator().manual_seed(0)
    with torch.no_grad():
        layer.bias.normal_(generator=g)
    return layer, torch.randn(4, layer.width, generator=g, dtype=dtype)


@each
def test_formulas_by_sums_over_all_states(make):
    layer, inputs = randomised(make)
    x, bias = one_hot(layer.sizes), layer.bias.detach().numpy()
    exponents = (inputs.numpy() + bias) @ x.T
    log_z, p = logsumexp(exponents, 1), softmax(exponents, 1)
    assert layer.log_partition(inputs).tolist() == pytest.approx(log_z.tolist(), rel=1e-14)
    np.testing.assert_allclose(layer.mean(inputs).detach(), p @ x, rtol=1e-13)
    np.testing.assert_allclose(layer.energy(torch.tensor(x)).detach(), -x @ bias, rtol=1e-13)
    log_p = layer.log_prob(torch.tensor(x), inputs[0]).detach()
    np.testing.assert_allclose(log_p, np.log(p[0]), rtol=1e-12)


@each
def test_derivatives_by_finite_differences(make):
    layer, inputs = randomised(make)
    inputs.requires_grad_()
    for function in (layer.log_partition, layer.mean):
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradcheck(lambda _, f=function: f(inputs), layer.bias)
    (slope,) = torch.autograd.grad(layer.log_partition(inputs).sum(), inputs)
    torch.testing.assert_close(slope, layer.mean(inputs))


@each
def test_leading_axes_are_kept(make):
    layer, inputs = randomised(make)
    shaped = inputs.reshape(2, 2, -1)
    assert layer.mean(shaped).shape == layer.sample(shaped).shape == shaped.shape
    assert torch.equal(layer.log_partition(shaped).flatten(), layer.log_partition(inputs))
    assert layer.log_partition(inputs[0]).shape == ()
    assert layer.sample(inputs[0]).shape == (layer.width,)


@each
@each_dtype
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_huge_inputs(make, dtype, size):
    """One state of the first unit stands out; the results are its limits, and finite."""
    layer = make().to(dtype)
    inputs = torch.zeros(2, layer.width, dtype=dtype)
    inputs[:, 1] = size
    inputs.requires_grad_()
    q, rest = layer.sizes[0], sum(math.log(q) for q in layer.sizes[1:])
    first = size if size > 0 else math.log(q - 1)
    log_z = layer.log_partition(inputs)
    assert log_z.tolist() == pytest.approx([first + rest] * 2, rel=1e-6)
    expected = 1.0 if size > 0 else 0.0
    (slope,) = torch.autograd.grad(log_z.sum(), inputs)
    for result in (layer.mean(inputs), slope, layer.sample(inputs)):
        assert result.dtype == dtype
        assert result[:, 1].tolist() == [expected] * 2
        assert torch.isfinite(result).all()
    assert torch.isfinite(layer.log_prob(layer.sample(inputs), inputs)).all()


@each
@each_dtype
def test_draws(make, dtype):
    layer, inputs = randomised(make, dtype)
    g = torch.Generator().manual_seed(0)
    before = torch.get_rng_state()
    draws = layer.sample(inputs[:1].expand(200_000, -1), g)
    assert torch.equal(torch.get_rng_state(), before)
    assert draws.dtype == dtype
    layer.check_states(draws)
    x = one_hot(layer.sizes)
    p = softmax(x @ (inputs[0] + layer.bias).detach().double().numpy())
    assert_mean(draws.numpy(), p @ x)
    places = np.cumprod([1, *layer.sizes[:0:-1]])[::-1]
    codes = np.stack([part.argmax(1) for part in draws.split(layer.sizes, 1)], 1)
    assert_frequencies(codes @ places, p)


@pytest.mark.parametrize("place", [0, 10, 20])
def test_rare_states_come_at_their_rate(place):
    """p = 1e-4 wherever the state stands among the others."""
    fields = torch.zeros(21)
    fields[place] = math.log(1e-4 / (1 - 1e-4) * 20)
    layer, rows = gb.Categorical(100, 21), 10_000
    draws = layer.sample(fields.repeat(100).expand(rows, -1), torch.Generator().manual_seed(1))
    rare = draws.reshape(rows, 100, 21)[..., place].sum().item()
    assert abs(rare - 100) < 5 * math.sqrt(100)


@each
def test_the_generator_decides_the_draws(make):
    layer, inputs = randomised(make)
    many = inputs.expand(20, 4, -1)
    first, again, other = (layer.sample(many, torch.Generator().manual_seed(s)) for s in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@each
def test_states(make):
    layer = make()
    assert layer.n_states == math.prod(layer.sizes)
    states = layer.states(0, int(layer.n_states))
    assert {tuple(x) for x in states.tolist()} == {tuple(x) for x in one_hot(layer.sizes)}
    layer.check_states(states)
    assert torch.equal(layer.states(3, 7), states[3:7])
    for unit, q in enumerate(layer.sizes):
        points, log_weights = layer.unit_states(unit, reach=3.0)
        assert torch.equal(points, torch.eye(q))
        assert torch.equal(log_weights, torch.zeros(q))
    assert [layer.unit_columns(unit) for unit in range(layer.n)][-1].stop == layer.width
    layer.check_states(layer.overdispersed(50, torch.Generator().manual_seed(0)))


def test_sizes_of_a_unit_each():
    layer = gb.Categorical([3, 5, 2])
    assert (layer.n, layer.width, layer.sizes) == (3, 10, [3, 5, 2])
    assert layer.unit_columns(1) == slice(3, 8)
    assert gb.Categorical(np.array([3, 5, 2])).sizes == [3, 5, 2]
    assert gb.Categorical(torch.tensor([3, 5, 2])).sizes == [3, 5, 2]
    assert gb.Categorical(4, 3).sizes == [3] * 4


BAD_SIZES = [
    ((0, 3), "n=0"),
    ((3, 1), "q=1: .* at least 2"),
    ((3,), "q=None"),
    ((3, 2.5), "q=2.5"),
    ((2.0, 3), "n=2.0"),
    ((True, 3), "n=True"),
    (([],), "n=0"),
    (([3, 1],), "states of unit 2=1"),
    (([3, 2.0],), "states of unit 2=2.0"),
    (("ab",), "states of unit 1='a'"),
    ((None,), "n=None"),
    (([3, 2], 3), r"n=\[3, 2\]"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_SIZES)
def test_sizes_that_are_none(arguments, message):
    with pytest.raises(gb.ArgumentError, match=message):
        gb.Categorical(*arguments)


@pytest.mark.parametrize("arguments", [(2**50, 2), (2, 2**50), ([2**40, 2],)])
def test_sizes_beyond_the_memory(arguments):
    with pytest.raises(gb.TooLargeError):
        gb.Categorical(*arguments)


CODES = [[0, 4, 1], [2, 0, 0]]
COLUMNS = [[1, 0, 0, 0, 0, 0, 0, 1, 0, 1], [0, 0, 1, 1, 0, 0, 0, 0, 1, 0]]


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32, np.float64, ">i4", list])
def test_codes_are_encoded_at_the_door(kind):
    layer = gb.Categorical([3, 5, 2])
    codes = CODES if kind is list else np.array(CODES).astype(kind)
    assert layer.coerce(codes).tolist() == COLUMNS
    assert layer.check_data(codes).tolist() == COLUMNS
    assert layer.check_data(np.array(COLUMNS)).tolist() == COLUMNS
    assert layer.coerce(codes[0]).tolist() == COLUMNS[0]
    assert layer.coerce(torch.tensor(CODES)[None]).shape == (1, 2, 10)


def test_a_missing_code_is_missing_in_all_columns():
    actual = gb.Categorical([3, 5, 2]).coerce([[0, math.nan, 1]])[0]
    assert torch.isnan(actual).tolist() == [False] * 3 + [True] * 5 + [False] * 2
    assert actual[[0, 1, 2, 8, 9]].tolist() == [1, 0, 0, 0, 1]


@pytest.mark.parametrize("value", [5.0, -1.0, 1.5, math.inf, -math.inf, 255.0])
def test_codes_out_of_range_are_named(value):
    message = rf"data hold {value:g} at row 2, column 2 .*this unit takes codes from 0 to 4"
    with pytest.raises(gb.DataError, match=message) as error:
        gb.Categorical([3, 5, 2]).check_data([[0, 4, 1], [2, value, 0]])
    assert (error.value.row, error.value.column) == (1, 1)
    with pytest.raises(gb.DataError, match=message):
        gb.Categorical([3, 5, 2]).coerce(torch.tensor([[[0, 4, 1], [2, value, 0]]]))


@pytest.mark.parametrize("codes", [True, False])
def test_missing_data_are_named_where_they_stand(codes):
    data = np.array(CODES if codes else COLUMNS, float)
    data[1, 2] = math.nan
    with pytest.raises(gb.DataError, match=r"data hold nan at row 2, column 3 .*impute"):
        gb.Categorical([3, 5, 2]).check_data(data)


NOT_ONE_HOT = {
    "no one": ([0, 0, 0, 0, 0], "0 ones for unit 2 at row 2, column 4"),
    "two ones": ([0, 1, 0, 1, 0], "2 ones for unit 2 at row 2, column 4"),
    "a share": ([0, 0.5, 0.5, 0, 0], "0.5 at row 2, column 5"),
    "beyond": ([0, 0, 2, 0, 0], "2 at row 2, column 6"),
    "below": ([1, 1, 0, 0, -1], "-1 at row 2, column 8"),
}


@pytest.mark.parametrize(("unit", "message"), NOT_ONE_HOT.values(), ids=NOT_ONE_HOT)
def test_what_is_not_one_hot_is_named_by_row_and_unit(unit, message):
    data = np.array(COLUMNS, float)
    data[1, 3:8] = unit
    match = rf"data hold {message} .*of columns 4 to 8, which are unit 2, one must be 1"
    with pytest.raises(gb.DataError, match=match):
        gb.Categorical([3, 5, 2]).check_data(data)


@pytest.mark.parametrize("shape", [(2, 4), (2, 9), (3, 0), ()])
def test_wrong_widths_are_named(shape):
    with pytest.raises(gb.DataError, match=r"Categorical\(\[3, 5, 2\]\) has 3 units in 10 columns"):
        gb.Categorical([3, 5, 2]).coerce(np.zeros(shape))


@pytest.mark.parametrize("shape", [(0, 10), (10,), (2, 2, 10), (0, 3), (3,), (2, 2, 3)])
def test_data_are_rows(shape):
    with pytest.raises(gb.DataError, match=r"expected \(rows, 10\), at least one row"):
        gb.Categorical([3, 5, 2]).check_data(np.zeros(shape))


def test_means_lie_between_0_and_1():
    layer = gb.Categorical(1, 3)
    layer.check_means(torch.tensor([[0.2, 0.3, 0.5]]))
    with pytest.raises(gb.DataError, match=r"outside of \[0, 1\]"):
        layer.check_means(torch.tensor([[-0.2, 0.7, 0.5]]))


@each
def test_initial_biases_are_the_log_shares_with_half_counts(make):
    layer, _ = randomised(make)
    data = layer.sample(torch.zeros(50, layer.width).double(), torch.Generator().manual_seed(0))
    layer.initialize(data)
    for part, bias in zip(data.split(layer.sizes, 1), layer.bias.split(layer.sizes), strict=True):
        shares = (part.sum(0) + 0.5) / (50 + 0.5 * part.shape[1])
        torch.testing.assert_close(bias, shares.log())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gauge_changes_no_probability(dtype):
    layer, inputs = randomised(MAKES["different"], dtype)
    before = layer.mean(inputs)
    with torch.no_grad():
        layer.bias[3:8] += 7.0
    torch.testing.assert_close(layer.mean(inputs), before)


def test_description():
    assert repr(gb.Categorical(3, 4)) == gb.Categorical(3, 4).describe() == "Categorical(3, 4)"
    assert repr(gb.Categorical([3, 5, 2])) == "Categorical([3, 5, 2])"
    assert repr(gb.Categorical([2] * 9 + [3])) == "Categorical([2, 2, 2, 2, 2, 2, ...])"


@each
def test_skeleton_takes_the_stored_tensors(make):
    layer, inputs = randomised(make)
    shapes = {name: list(value.shape) for name, value in layer.state_dict().items()}
    assert list(shapes) == ["bias"]
    copy = gb.Categorical.skeleton(3, shapes, layer.options()).double()
    copy.load_state_dict(layer.state_dict())
    assert torch.equal(copy.log_partition(inputs), layer.log_partition(inputs))
