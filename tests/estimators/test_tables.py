"""Tables in a model's units."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from oracle import agree

from gibbsite import rows
from gibbsite.estimators.tables import Units, as_rows, extremes, locate
from gibbsite.training import scaling

tables = arrays(
    st.sampled_from([np.float32, np.float64]),
    st.tuples(st.integers(1, 9), st.integers(1, 4)),
    elements=st.floats(-1e4, 1e4, width=32),
)
FORMS = pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix], ids=["dense", "sparse"])


@FORMS
@given(table=tables, data=st.data())
def test_rows_are_shifted_then_scaled(form, table, data):
    n = table.shape[1]
    shift = data.draw(arrays(float, n, elements=st.floats(-1e4, 1e4)))
    scale = data.draw(arrays(float, n, elements=st.floats(1e-2, 1e2)))
    seen = as_rows(form(table), Units(shift, scale))
    assert seen.shape == table.shape
    np.testing.assert_array_equal(seen[:].numpy(), (table.astype(float) - shift) / scale)
    np.testing.assert_array_equal(seen[torch.tensor([0])].numpy(), seen[:1].numpy())
    np.testing.assert_array_equal(as_rows(form(table), Units())[:].numpy(), table)


@given(tables)
def test_the_ends_of_a_range_become_zero_and_one_exactly(table):
    low, high = float(table.min()), float(table.max())
    if low < high:
        unit = as_rows(table, Units(low, high - low))[:].numpy()
        assert (unit.min(), unit.max()) == (0, 1)


@FORMS
@given(table=tables)
def test_the_place_and_size_of_extremes(form, table):
    low, high = extremes(form(table))
    assert (low, high) == (table.min(), table.max())
    place = locate(form(table), high)
    assert table[place] == high
    assert place == np.unravel_index(table.argmax(), table.shape)


@FORMS
@given(table=tables)
def test_means_and_deviations_of_columns(form, table):
    mean, scale, constant = scaling(as_rows(form(table), Units()))
    wide = table.astype(float)
    agree(mean.numpy(), wide.mean(0), 1e-9)
    std = wide.std(0)
    assert (constant.numpy() >= (np.ptp(table, 0) == 0)).all()
    kept = ~constant.numpy()
    np.testing.assert_allclose(scale.numpy()[kept], std[kept], rtol=1e-6, atol=1e-9)
    assert (scale.numpy()[~kept] == 1).all()


def test_blocks_do_not_show(monkeypatch):
    table = np.random.default_rng(0).normal(1e3, [1, 100, 1e-3], (50, 3))
    monkeypatch.setattr(rows, "BLOCK_BYTES", 4 * 3 * 7)  # seven rows
    mean, scale, constant = scaling(as_rows(table, Units()))
    agree(mean.numpy(), table.mean(0), 1e-12)
    agree(scale.numpy(), table.std(0), 1e-9)
    assert not constant.any()
    assert locate(table, float(table[44, 1])) == (44, 1)
