"""Checks of what moves and stores a layer: biases, fits to data, units of the data, model files."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from gibbsite.errors import ArgumentError
from gibbsite.io import load, save
from gibbsite.layers import Layer, layer_type, name_of
from gibbsite.model import RBM
from gibbsite.testing.case import LayerCase
from gibbsite.testing.compare import require, require_close, unchanged

ROWS = 4000


@torch.no_grad()
def bias_shift_does_what_inputs_do(case: LayerCase) -> None:
    """After shift_(c): energy(x) = old energy(x) - statistic(x) . c, up to a constant.

    And log_partition(inputs) = old log_partition(inputs + c) less that constant.
    """
    old, new, c = case.layer, case.copy(), case.normal(case.layer.width)
    new.shift_(c)
    x = case.some_states()
    constants = new.energy(x) - (old.energy(x) - old.statistic(x) @ c)
    constant = constants[0]
    require_close(
        "energy(x) + statistic(x) . c after bias_shift(c), less the energy before",
        constants,
        constant.expand_as(constants),
    )
    found, expected = new.log_partition(case.inputs), old.log_partition(case.inputs + c) - constant
    require_close("log_partition(inputs) after bias_shift(c)", found, expected)
    mean = old.mean(case.inputs + c)
    require_close("mean(inputs) after bias_shift(c)", new.mean(case.inputs), mean)


@torch.no_grad()
def input_gradient_is_the_adjoint(case: LayerCase) -> None:
    """input_gradient(g) . c = sum of g * bias_shift(c) over the parameters."""
    layer, c = case.layer, case.normal(case.layer.width)
    parameters = dict(layer.named_parameters())
    gradient = {name: case.normal(*p.shape, seed=4) for name, p in parameters.items()}
    shift = layer.bias_shift(c)
    expected = sum(
        ((gradient[name] * change).sum() for name, change in shift.items()), c.new_zeros(())
    )
    found = layer.input_gradient(gradient) @ c
    require_close("input_gradient(g) . c against g . bias_shift(c)", found, expected)


def layers_fit_the_means(case: LayerCase) -> None:
    """inputs_for, initialize and fitted give a layer without weights the means of rows.

    Of rows at inputs near 0, and at inputs so large that columns of one unit depend on each
    other. Up to the counts that a finite unit may add to its states, so that none has none.
    """
    far = 2 * (case.inputs + case.inputs.sign())
    for inputs in (0.5 * case.inputs[0], *far):
        rows = case.layer.sample(inputs.expand(ROWS, -1), case.generator())
        _require_fit(case, rows)


def _require_fit(case: LayerCase, rows: Tensor) -> None:
    layer, mean, nothing = case.layer, rows.mean(0), case.layer.zero_inputs(1)
    tolerance = 10 / ROWS
    with unchanged("inputs_for", *layer.parameters()):
        found = layer.mean(layer.inputs_for(rows)[None])[0]
    require_close("mean at inputs_for(rows)", found, mean, tolerance)
    own = case.copy()
    own.initialize(rows)
    require_close(
        "mean without inputs after initialize(rows)", own.mean(nothing)[0], mean, tolerance
    )
    with unchanged("fitted", *layer.parameters()):
        fitted = layer.fitted(rows)
    found = fitted.mean(fitted.zero_inputs(1))[0]
    require_close("mean without inputs of fitted(rows)", found, mean.double(), tolerance)
    require(found.dtype == torch.float64, "fitted(rows) is not in float64")


def zero_biases_are_zero(case: LayerCase) -> None:
    layer = case.copy()
    moved = layer.bias_shift(case.normal(layer.width))
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    layer.zero_biases()
    for name, parameter in layer.named_parameters():
        expected = torch.zeros_like(parameter) if name in moved else before[name]
        require_close(f"{name} after zero_biases()", parameter, expected, 0.0)


@torch.no_grad()
def preconditioning_goes_uphill(case: LayerCase) -> None:
    """precondition_ multiplies each entry of a gradient by a positive number."""
    layer = case.layer
    shapes = {name: p.shape for name, p in layer.named_parameters()}
    factors = {name: case.inputs.new_ones(shape) for name, shape in shapes.items()}
    layer.precondition_(factors)
    gradient = {name: case.normal(*shape) for name, shape in shapes.items()}
    expected = {name: factors[name] * value for name, value in gradient.items()}
    layer.precondition_(gradient)
    require(set(gradient) == set(shapes), "precondition_ changes the keys of the gradient")
    for name, value in gradient.items():
        require((factors[name] > 0).all(), f"precondition_ turns {name} downhill, or stops it")
        require_close(f"{name} after precondition_", value, expected[name])


@torch.no_grad()
def rescaled_units_have_rescaled_states(case: LayerCase) -> None:
    """rescaled(shift, scale) describes shift + scale * x; the columns that cannot are refused."""
    layer, width = case.layer, case.layer.width
    shift, scale = case.normal(width), case.normal(width, seed=3).exp()
    for column in range(width):
        one = torch.arange(width, device=shift.device) == column
        if not _is_rescaled(layer, torch.where(one, shift, 0.0), torch.where(one, scale, 1.0)):
            shift[column], scale[column] = 0.0, 1.0
    able = bool((scale != 1).any())
    require(able == layer.has_units, f"has_units is {layer.has_units}, but rescaled says {able}")
    if not able:
        return
    new, x = layer.rescaled(shift, scale), case.some_states()
    found = new.energy(shift + scale * x)
    require_close("energy(shift + scale x) after rescaled", found, layer.energy(x))
    mean = shift + scale * layer.mean(case.inputs)
    require_close("mean(inputs) after rescaled", new.mean(case.inputs), mean)


def _is_rescaled(layer: Layer, shift: Tensor, scale: Tensor) -> bool:
    """False if refused by `ArgumentError`, as it must be where there are no units of the data."""
    try:
        layer.rescaled(shift, scale)
    except ArgumentError:
        return False
    return True


@torch.no_grad()
def stored_layers_come_back(case: LayerCase) -> None:
    """skeleton(n, shapes, options()) takes the state_dict; options are JSON."""
    layer = case.layer
    try:
        options = json.loads(json.dumps(layer.options()))
    except TypeError as error:
        raise AssertionError(
            f"options() is {layer.options()!r}, which is no JSON: {error}"
        ) from None
    tensors = layer.state_dict()
    shapes = {name: list(value.shape) for name, value in tensors.items()}
    new = layer.skeleton(layer.n, shapes, options).to(case.inputs.dtype)
    new.load_state_dict(tensors)
    _require_same(case, new.log_partition(case.inputs), new.moments(case.inputs).mean)
    require(
        new.options() == layer.options() and (new.n, new.width) == (layer.n, layer.width),
        f"a layer rebuilt from its skeleton is {new.describe()} with options {new.options()}: "
        f"expected {layer.describe()}, {layer.options()}",
    )


@torch.no_grad()
def models_are_saved(case: LayerCase) -> None:
    """In a model file, if the type is registered, on the side of binary units or the other."""
    try:
        name_of(case.layer)
    except ArgumentError:
        return
    binary = layer_type("bernoulli")(2).to(case.layer.like)
    pairs = {"visible": (case.copy(), binary), "hidden": (binary, case.copy())}
    for name, layers in pairs.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.safetensors"
            save(RBM(*layers), path)
            side = getattr(load(path), name)
        _require_same(case, side.log_partition(case.inputs), side.mean(case.inputs))


def _require_same(case: LayerCase, log_z: Tensor, mean: Tensor) -> None:
    layer, inputs = case.layer, case.inputs
    require_close("log_partition of a layer stored and rebuilt", log_z, layer.log_partition(inputs))
    require_close("mean of a layer stored and rebuilt", mean, layer.mean(inputs))


DOUBLE = (
    bias_shift_does_what_inputs_do,
    input_gradient_is_the_adjoint,
    preconditioning_goes_uphill,
    rescaled_units_have_rescaled_states,
)
BOTH = (layers_fit_the_means, zero_biases_are_zero, stored_layers_come_back, models_are_saved)
