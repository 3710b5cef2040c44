"""Layers side by side: names, columns, units and errors of the whole, by part."""

import itertools
import json
import math

import numpy as np
import pytest
import torch

import gibbsite as gb
from gibbsite.layers import fast


def table() -> gb.Mixed:
    """Six units in eight columns, of which the third to fifth are one unit."""
    return gb.Mixed(
        gb.Bernoulli(2),
        gb.Categorical([3]),
        gb.Mixed(gb.Gaussian(1, sigma=2.0, learn_sigma=True), gb.Poisson(1)),
        gb.Binomial(1, 4),
    )


def rows() -> torch.Tensor:
    return torch.tensor([[0, 1, 0, 0, 1, -3.5, 7, 4], [1, 1, 1, 0, 0, 0.25, 0, 2]])


def moved(layer, seed: int = 0):
    """The layer with random parameters."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=g))
    return layer


def test_units_columns_and_names():
    layer = table()
    assert (layer.n, layer.width, layer.sizes) == (6, 8, [2, 2, 3, math.inf, math.inf, 5])
    assert [(c.start, c.stop) for c in layer.columns] == [(0, 2), (2, 5), (5, 7), (7, 8)]
    found = [layer.unit_columns(unit) for unit in range(6)]
    ends = [(0, 1), (1, 2), (2, 5), (5, 6), (6, 7), (7, 8)]
    assert [(c.start, c.stop) for c in found] == ends
    with pytest.raises(IndexError, match="has 6 units"):
        layer.unit_columns(6)
    assert [name for name, _ in layer.named_parameters()] == [
        "layers.0.bias",
        "layers.1.bias",
        "layers.2.layers.0.bias",
        "layers.2.layers.0.log_sigma",
        "layers.2.layers.1.bias",
        "layers.3.bias",
    ]
    assert layer.interval == (-math.inf, math.inf)
    assert gb.Mixed(gb.Bernoulli(1), gb.Binomial(2, [3, 5])).interval == (0.0, 5.0)
    assert layer.describe() == (
        "Mixed(Bernoulli(2), Categorical(1, 3), Mixed(Gaussian(1), Poisson(1)), Binomial(1))"
    )
    assert layer.has_units
    assert layer.measured.tolist() == [False] * 5 + [True] + [False] * 2
    assert not gb.Mixed(gb.Bernoulli(1), gb.Poisson(1)).has_units


def test_all_is_the_sum_or_the_row_of_the_parts():
    layer = moved(table())
    x, inputs = rows(), torch.linspace(-1, 1, 16).reshape(2, 8)
    parts = layer.parts()
    own = list(zip(parts, layer.columns, strict=True))
    total = sum(part.energy(x[:, c]) for part, c in own)
    torch.testing.assert_close(layer.energy(x), total)
    total = sum(part.log_partition(inputs[:, c]) for part, c in own)
    torch.testing.assert_close(layer.log_partition(inputs), total)
    for name, values in {"statistic": x, "mean": inputs}.items():
        expected = torch.cat([getattr(part, name)(values[:, c]) for part, c in own], 1)
        torch.testing.assert_close(getattr(layer, name)(values), expected)
    moments = layer.moments(inputs)
    assert moments._fields == ("mean", "parts")
    torch.testing.assert_close(moments.mean, layer.mean(inputs))
    gaussian = moments.parts[2].parts[0]
    torch.testing.assert_close(gaussian.variance, parts[2].parts()[0].sigma.expand(2, 1) ** 2)


def test_one_part_alone_is_that_layer():
    """The same numbers, draws too."""
    for make in (lambda: gb.Bernoulli(3), lambda: gb.Gaussian(3, 0.7, learn_sigma=True)):
        single, mixed = moved(make()), gb.Mixed(moved(make()))
        inputs = torch.linspace(-2, 2, 12).reshape(4, 3)
        draws = [x.sample(inputs, torch.Generator().manual_seed(0)) for x in (single, mixed)]
        assert torch.equal(*draws)
        with torch.no_grad():
            forms = [
                fast(x).sample(inputs.clone(), torch.Generator().manual_seed(0), 0.5, inputs[0])
                for x in (single, mixed)
            ]
        assert torch.equal(*forms)
        for name in ("energy", "log_partition", "mean", "statistic"):
            assert torch.equal(getattr(single, name)(inputs), getattr(mixed, name)(inputs))


def test_biases_move_part_by_part():
    layer, inputs = table(), torch.arange(8.0)
    shift = layer.bias_shift(inputs)
    assert shift["layers.2.layers.0.bias"].tolist() == [10.0]  # sigma times 5
    assert shift["layers.1.bias"].tolist() == [2.0, 3.0, 4.0]
    layer.shift_(inputs)
    assert layer.get_parameter("layers.2.layers.0.bias").tolist() == [10.0]
    assert layer.get_parameter("layers.3.bias").tolist() == [7.0]
    gradient = {name: torch.ones_like(value) for name, value in shift.items()}
    assert layer.input_gradient(gradient).tolist() == [1, 1, 1, 1, 1, 2, 1, 1]
    layer.zero_biases()
    assert not any(layer.get_parameter(name).any() for name in shift)


def test_eleven_parts_keep_their_parameters_apart():
    layer = gb.Mixed(*(gb.Bernoulli(1) for _ in range(11)))
    gradient = {f"layers.{k}.bias": torch.tensor([float(k)]) for k in range(11)}
    assert layer.input_gradient(gradient).tolist() == list(range(11))


def test_layers_of_finite_units_are_enumerated():
    layer = gb.Mixed(gb.Bernoulli(1), gb.Mixed(gb.Categorical([3])), gb.Binomial(1, 1), gb.Spin(1))
    states = layer.states(0, 24)
    assert layer.n_states == 24
    expected = [
        [a, *np.eye(3)[b], c, d]
        for d, c, b, a in itertools.product([-1, 1], [0, 1], range(3), [0, 1])
    ]
    assert states.tolist() == expected
    assert torch.equal(layer.states(5, 9), states[5:9])
    assert table().n_states == math.inf
    with pytest.raises(gb.ArgumentError, match=r"Mixed\(Bernoulli\(2\).* no countable states"):
        table().states(0, 1)


def test_codes_are_taken_for_columns():
    """One column a unit, as a table has it."""
    layer, codes = table(), [[0, 1, 2, -3.5, 7, 4], [1, 1, 0, 0.25, 0, 2]]
    assert torch.equal(layer.coerce(codes), rows())
    assert torch.equal(layer.check_data(codes), rows())
    assert torch.equal(layer.coerce(rows()), rows())
    nested = gb.Mixed(table(), gb.Categorical([2]))
    assert nested.coerce([[0, 1, 2, -3.5, 7, 4, 1]])[0, -2:].tolist() == [0, 1]
    missing = layer.coerce([[0, 1, math.nan, -3.5, 7, 4]])
    assert missing.isnan().tolist() == [[False, False, True, True, True, False, False, False]]


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (0, 1, 2.0, "2 at row 1, column 2 .* Bernoulli"),
        (1, 2, 0.5, "0.5 at row 2, column 3"),
        (0, 5, math.nan, "nan at row 1, column 6"),
        (1, 6, -1.0, "-1 at row 2, column 7 .* Poisson"),
        (1, 6, 0.5, "0.5 at row 2, column 7 .* Poisson"),
        (0, 7, 5.0, "5 at row 1, column 8 .* from 0 to 4"),
    ],
)
def test_errors_name_the_column_of_the_whole_row(row, column, value, message):
    x = rows()
    x[row, column] = value
    with pytest.raises(gb.DataError, match=message) as error:
        table().check_data(x)
    assert (error.value.row, error.value.column) == (row, column)
    with pytest.raises(gb.DataError):
        table().check_states(x)


@pytest.mark.parametrize(
    ("row", "column", "value"), [(1, 2, 3.0), (0, 2, math.nan), (1, 4, -1.0), (0, 5, 9.0)]
)
def test_errors_in_codes_name_the_column_of_the_table(row, column, value):
    codes = torch.tensor([[0, 1, 2, -3.5, 7, 4], [1, 1, 0, 0.25, 0, 2]])
    codes[row, column] = value
    with pytest.raises(gb.DataError, match=f"row {row + 1}, column {column + 1}") as error:
        table().check_data(codes)
    assert (error.value.row, error.value.column) == (row, column)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(2, 7), "7 columns but Mixed.* 6 units in 8 columns"),
        (torch.zeros(0, 8), r"shape \(0, 8\)"),
        (torch.zeros(8), r"shape \(8,\)"),
        ([["a"] * 8], "array of real numbers"),
    ],
)
def test_unfit_tables(data, message):
    with pytest.raises(gb.DataError, match=message):
        table().check_data(data)


def test_extremes_tell_of_a_row_only_if_they_do_for_all_parts():
    assert gb.Mixed(gb.Bernoulli(1), gb.Gaussian(1)).checks_extremes
    assert not gb.Mixed(gb.Bernoulli(1), gb.Poisson(1)).checks_extremes


def test_means_are_checked_by_part():
    means = rows()
    means[0, :5] = torch.tensor([0.5, 0.5, 0.2, 0.3, 0.5])
    table().check_means(means)
    means[0, 0] = 3.0
    with pytest.raises(gb.DataError, match=r"outside of \[0, 1\]"):
        table().check_means(means)


def test_grey_values_are_drawn_by_the_binary_part_alone():
    x = rows()
    x[:, 0] = 0.5
    seen = table().observe(x.repeat(500, 1), torch.Generator().manual_seed(0))
    assert set(seen[:, 0].tolist()) == {0.0, 1.0}
    assert torch.equal(seen[:, 1:], x.repeat(500, 1)[:, 1:])


def test_only_parts_with_units_are_rescaled():
    layer = moved(table())
    shift, scale = torch.zeros(8), torch.ones(8)
    shift[5], scale[5] = 10.0, 3.0
    new = layer.rescaled(shift, scale)
    old, now = layer.parts()[2].parts()[0], new.parts()[2].parts()[0]
    torch.testing.assert_close(now.bias, 10 + 3 * old.bias)
    torch.testing.assert_close(now.sigma, 3 * old.sigma)
    assert torch.equal(new.parts()[0].bias, layer.parts()[0].bias)
    assert new.parts()[0] is not layer.parts()[0]
    shift[0] = 1.0
    with pytest.raises(gb.ArgumentError, match=r"Bernoulli\(2\) cannot be rescaled"):
        layer.rescaled(shift, scale)


def test_faults_name_the_part():
    layer = table()
    with torch.no_grad():
        layer.parts()[2].parts()[1].bias.fill_(1000.0)
    assert layer.fault() == "layers.2.layers.1.exp(bias) holds inf"


def test_a_model_is_saved_and_loaded(tmp_path):
    rbm = moved(gb.RBM(table(), gb.Mixed(gb.Bernoulli(1), gb.Binomial(1, 2))))
    gb.save(rbm, tmp_path / "model.safetensors")
    loaded = gb.load(tmp_path / "model.safetensors")
    assert repr(loaded) == repr(rbm)
    assert torch.equal(loaded.free_energy(rows()), rbm.free_energy(rows()))
    assert json.loads(json.dumps(rbm.hidden.options())) == {
        "layers": [
            {"type": "bernoulli", "n": 1, "options": {}},
            {"type": "binomial", "n": 1, "options": {"trials": 2}},
        ]
    }


def test_a_header_that_contradicts_its_parts_is_refused():
    layer = gb.Mixed(gb.Bernoulli(2), gb.Poisson(1))
    shapes = {name: list(value.shape) for name, value in layer.state_dict().items()}
    with pytest.raises(gb.ArgumentError, match="4 units, but its parts have 3"):
        gb.Mixed.skeleton(4, shapes, layer.options())
    with pytest.raises(gb.ArgumentError, match="no unit type is called 'quark'"):
        gb.Mixed.skeleton(1, {}, {"layers": [{"type": "quark", "n": 1, "options": {}}]})


def test_parts_that_are_no_parts():
    one = gb.Bernoulli(2)
    with pytest.raises(gb.ArgumentError, match="no layers; pass at least one"):
        gb.Mixed()
    with pytest.raises(gb.ArgumentError, match="layer 1=3: expected a layer"):
        gb.Mixed(one, 3)
    with pytest.raises(gb.ArgumentError, match="appears twice"):
        gb.Mixed(one, gb.Poisson(1), one)
    with pytest.raises(gb.ArgumentError, match="appears twice"):
        gb.Mixed(one, gb.Mixed(one))
    with pytest.raises(gb.ArgumentError, match=r"torch.float32 and torch.float64; make all"):
        gb.Mixed(one, gb.Poisson(1).double())
    with pytest.raises(gb.ArgumentError, match="any positive weight would make Z infinite"):
        gb.RBM(gb.Mixed(one, gb.Poisson(1)), gb.Gaussian(2))
