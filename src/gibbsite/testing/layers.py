"""The contract of a unit type, checked."""

from __future__ import annotations

from collections.abc import Callable

import torch

from gibbsite.checks import check_counts
from gibbsite.layers import Layer
from gibbsite.testing import biases, conditionals, data, draws, formulas, states
from gibbsite.testing.case import LayerCase
from gibbsite.testing.compare import naming

Check = Callable[[LayerCase], None]

IN_DOUBLE: tuple[Check, ...] = (
    states.columns_belong_to_units,
    *formulas.FORMULAS,
    *biases.DOUBLE,
    *data.DOUBLE,
    *conditionals.DOUBLE,
)
IN_BOTH: tuple[Check, ...] = (*draws.DRAWS_AND_FORM, *states.STATES, *data.BOTH, *biases.BOTH)


def check_layer(make: Callable[[int], Layer], *, n: int = 3, seed: int = 0) -> None:
    r"""Raise AssertionError unless a unit type keeps the contract of `gibbsite.layers.Layer`.

    Every parameter of ``make(n)`` is moved at random first. The message names the formula, the
    place, the value expected and the one found. The oracle is `unit_states`: sums or integrals
    over one unit at a time of exp(-energy + statistic . inputs); over all at once for a type whose
    units are not `independent`, which must have one column each. Checked are, in float64 to 1e-9:

    - energy adds over units and grows as `curvature` says, statistic is linear by column,
      log_partition is the log of the sum;
    - moments are expectations, statistic(mean) = d log_partition / d inputs. A moment called
      ``variance`` is one; any other is the mean of what `moments_at` gives;
    - gradient is that of autograd, of `moments` and `moments_at`, with signed weights;
    - conditioned, the layer of some units given the others, has the energy and the statistic of
      these, and guess gives states;
    - scaled_weight, log_prob, bias_shift, input_gradient, precondition_, rescaled, leading axes;

    and in float64 and float32:

    - samples have the mean, covariance and characteristic function, within limits that a correct
      layer exceeds with probability 1e-6; they are states, independent, decided by the generator;
    - the fast form (`gibbsite.layers.fast`) agrees with the layer's methods;
    - states are enumerated once each, within interval and up to its ends; what is no state is
      refused, points between two states included; nothing is NaN at inputs of 1e4;
    - by_unit, as_grey, pull and for_columns have the shapes that files and pictures need;
    - inputs_for, initialize and fitted meet the means of rows; stored layers come back.

    Args:
        make: called with n, gives a layer. It may ignore n; three units are enough to tell rows
            from columns from units.
        seed: of the parameters, inputs and draws.

    >>> import gibbsite as gb
    >>> from gibbsite.testing import check_layer
    >>> check_layer(gb.Bernoulli)
    >>> class Shifted(gb.Bernoulli):
    ...     def energy(self, x):
    ...         return super().energy(x) + 1
    >>> check_layer(Shifted)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    AssertionError: Shifted(3) in float64: log_partition(inputs) is not log sum ... expected ...
    """
    check_counts(n=n)
    double = LayerCase.random(make, n, seed)
    single = double.to(torch.float32)
    _run("float64", double, IN_DOUBLE + IN_BOTH)
    with naming(f"{single.layer.describe()} in float32"):
        formulas.single_precision_agrees(double, single)
    _run("float32", single, IN_BOTH)


def _run(dtype: str, case: LayerCase, checks: tuple[Check, ...]) -> None:
    with naming(f"{case.layer.describe()} in {dtype}"):
        for check in checks:
            check(case)
