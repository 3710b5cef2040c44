"""Typed columns: frames of every dtype go to states and come back the same, and through JSON."""

import contextlib
import json
import math

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy.stats import kstest, norm

import gibbsite as gb
from gibbsite.datasets import Columns

FLOATS = st.floats(-1e6, 1e6, allow_subnormal=False)
WORDS = st.text(max_size=4)


def refusal(call, *arguments) -> str:
    """The message of the error."""
    with pytest.raises((gb.DataError, gb.ArgumentError)) as caught:
        call(*arguments)
    return str(caught.value)


def through_json(columns: Columns) -> Columns:
    return Columns.from_record(json.loads(json.dumps(columns.as_record())))


def cells(values, dtype, n: int):
    missing = st.lists(st.booleans(), min_size=n, max_size=n)
    listed = st.lists(values, min_size=n, max_size=n)
    return st.tuples(listed, missing, st.just(dtype))


def series(n: int):
    return st.one_of(
        cells(FLOATS, "float64", n),
        cells(st.floats(-100, 100, width=32), "float32", n),
        cells(st.integers(-(2**40), 2**40), "Int64", n),
        cells(st.booleans(), "boolean", n),
        cells(st.booleans(), "object", n),
        cells(st.integers(-9, 99), "object", n),
        cells(WORDS, "object", n),
        cells(WORDS, "str", n),
        cells(st.sampled_from("abc"), pd.CategoricalDtype(["c", "b", "d", "a"], ordered=True), n),
        cells(st.integers(1, 3), pd.CategoricalDtype([1, 2, 3]), n),
    )


@st.composite
def frames(draw):
    n = draw(st.integers(2, 12))
    made = {}
    for i, (values, missing, dtype) in enumerate(draw(st.lists(series(n), min_size=1, max_size=5))):
        held = [None if gone else x for x, gone in zip(values, missing, strict=True)]
        made[f"c{i}"] = pd.Series(held, dtype=dtype)
    made["x"] = pd.Series([float(i * i) for i in range(n)])
    return pd.DataFrame(made).set_axis(range(7, 7 + n))


@settings(max_examples=15, deadline=None)
@given(frames())
def test_frames_of_every_dtype_come_back(frame):
    columns = through_json(Columns.of(frame))
    assert columns == Columns.of(frame)
    states = columns.encode(frame)
    back = columns.decode(states, index=frame.index)
    for name, column in zip(frame.columns, columns.columns, strict=True):
        if column.kind == "constant":  # which the model has no state for
            assert set(back[name].dropna()) <= set(frame[name].dropna())
        else:
            pd.testing.assert_series_equal(back[name], frame[name], rtol=1e-9, atol=1e-6)
    reordered = frame[list(frame.columns)[::-1]]
    torch.testing.assert_close(columns.encode(reordered), states, equal_nan=True)
    filled = columns.fill(reordered, states.nan_to_num(0.0))
    known = columns.missing(columns.read(filled)).logical_not()
    assert bool(known.all())
    pd.testing.assert_frame_equal(
        filled.where(reordered.notna()), reordered.where(reordered.notna())
    )
    assert list(filled.dtypes) == list(reordered.dtypes)


def test_polars_frames_come_back():
    frame = pl.DataFrame(
        {
            "b": [True, None, False] * 7,
            "i": pl.Series([3, None, 40000] * 7, dtype=pl.UInt16),
            "f": [1.5, None, 2.25] * 7,
            "s": ["x", None, "y"] * 7,
            "e": pl.Series(["x", None, "y"] * 7, dtype=pl.Enum(["y", "z", "x"])),
            "c": pl.Series(["x", None, "y"] * 7, dtype=pl.Categorical),
            "n": pl.Series([None] * 21),
        }
    )
    columns = through_json(Columns.of(frame))
    states = columns.encode(frame.select(frame.columns[::-1]))
    assert_frame_equal(columns.decode(states), frame, categorical_as_str=True)
    filled = columns.fill(frame, states.nan_to_num(0.0))
    assert filled.schema == frame.schema
    assert filled.drop("n").null_count().sum_horizontal().item() == 0
    assert filled["e"][1] is not None


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16, bool, object])
def test_arrays_come_back(dtype):
    array = np.random.default_rng(0).integers(0, 50, (30, 3)).astype(dtype)
    columns = Columns.of(array)
    back = columns.decode(columns.encode(array))
    assert back.dtype == array.dtype
    np.testing.assert_allclose(back.astype(float), array.astype(float), atol=1e-5)


# kinds


def kind(values, **options) -> str:
    return Columns.of(pd.DataFrame({"x": values}), **options).columns[0].kind


def test_kinds_follow_the_rules():
    whole = np.arange(100)
    poisson = np.random.default_rng(0).poisson(6, 300)
    assert kind(whole % 2) == kind(whole % 2 == 0) == kind(["a", "b"]) == "bernoulli"
    assert kind(np.where(whole < 50, 0.5, 7.25)) == "bernoulli"
    assert kind(whole % 10) == kind(whole % 3 - 1.0) == kind(list("abc")) == "categorical"
    assert kind(pd.Categorical([1, 2, 3])) == "categorical"
    assert kind(poisson) == "poisson"
    assert kind(poisson + 20) == kind(whole) == kind(whole / 7) == "gaussian"
    assert kind(whole[:9] % 5) == "poisson"  # too few rows to take them for categories
    assert kind(whole / 7, numbers="quantile") == "quantile"
    assert kind([3.0, 3.0]) == kind([None, "a"]) == kind([math.nan, math.nan]) == "constant"
    assert kind([True, True]) == "bernoulli"  # its dtype has another value
    assert kind(whole % 10, kinds={"x": "gaussian"}) == "gaussian"
    assert kind(["1", "2.5", "7"], kinds={"x": "gaussian"}) == "gaussian"
    assert kind([1, "a", 2.5], kinds={"x": "categorical"}) == "categorical"


def test_units_of_a_type_stand_together():
    n = np.arange(60)
    frame = pd.DataFrame({"g": n / 7, "c": n % 5, "b": n % 2, "k": 1, "h": n / 3, "d": n % 4})
    columns = Columns.of(frame)
    assert columns.layer().describe() == "Mixed(Bernoulli(1), Categorical([5, 4]), Gaussian(2))"
    assert [columns.columns[i].name for i in columns.units] == ["b", "c", "d", "g", "h"]
    assert Columns.of(frame[["g", "h"]]).layer(sigma=0.5).describe() == "Gaussian(2)"
    states = columns.encode(frame)
    columns.layer().check_states(states.float())
    torch.testing.assert_close(states[:, -2:].mean(0), torch.zeros(2).double())
    torch.testing.assert_close(states[:, -2:].std(0, correction=0), torch.ones(2).double())
    assert columns.log_volumes[-1] == pytest.approx(math.log(frame["h"].std(ddof=0)))


def test_a_missing_category_is_nan_in_all_of_its_columns():
    frame = pd.DataFrame({"c": ["a", "b", None, "c"], "d": ["x", None, "y", "x"]})
    states = Columns.of(frame).encode(frame)
    assert states[:, 0].isnan().tolist() == [False, True, False, False]
    assert states[:, 1:].isnan().tolist()[2] == [True] * 3
    assert int(states.isnan().sum()) == 4


def test_quantile_columns_become_normal_and_keep_their_range():
    x = np.exp(3 * np.random.default_rng(0).normal(size=5000))
    frame = pd.DataFrame({"x": x})
    columns = through_json(Columns.of(frame, {"x": "quantile"}))
    states = columns.encode(frame)
    assert abs(float(states.mean())) < 0.01
    ranks = norm.ppf((np.argsort(np.argsort(x)) + 0.5) / len(x))
    assert np.abs(states[:, 0].numpy() - ranks).max() < 0.2
    assert np.median(np.abs(states[:, 0].numpy() - ranks)) < 5e-3
    wide = columns.decode(torch.linspace(-9, 9, 50)[:, None])["x"]
    assert wide.min() == pytest.approx(x.min())
    assert wide.max() == pytest.approx(x.max())
    np.testing.assert_allclose(columns.decode(states)["x"], x, rtol=1e-6)


def test_a_quantile_column_with_a_peak_keeps_it():
    x = np.where(np.arange(500) % 5 > 0, 0.0, np.arange(500.0))
    frame = pd.DataFrame({"x": x})
    columns = Columns.of(frame, {"x": "quantile"})
    for random in (None, np.random.default_rng(0)):
        states = columns.encode(frame, random)
        np.testing.assert_allclose(columns.decode(states)["x"], x, atol=1e-6)
    assert kstest(states[:, 0].numpy(), "norm").statistic < 0.05
    drawn = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    assert (columns.decode(drawn)["x"] == 0).mean() == pytest.approx(0.8, abs=0.03)


def test_whole_numbers_come_back_whole_and_within_their_dtype():
    frame = pd.DataFrame({"a": np.arange(200, dtype=np.uint8), "b": np.arange(200) * 1000})
    columns = Columns.of(frame)
    drawn = columns.decode(3 * torch.randn(300, 2, generator=torch.Generator().manual_seed(1)))
    assert drawn["a"].dtype == np.uint8
    assert drawn["b"].dtype == np.int64
    assert drawn["a"].min() == 0
    assert drawn["a"].max() == 255


# what does not fit

GOOD = pd.DataFrame({"n": np.arange(30) / 7, "w": list("abc") * 10, "k": 1.0, "gone": np.nan})


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (GOOD.assign(w="d"), "column 'w', row 1: 'd', a category that is not known (a, b, c)"),
        (GOOD.assign(k=2.0), "column 'k', row 1: 2.0, but all cells were 1"),
        (GOOD.assign(gone=2.0), "column 'gone', row 1: 2.0, but all cells were missing"),
        (GOOD.assign(n="d"), "column 'n', row 1: 'd', which is not a number"),
        (GOOD.assign(n=np.inf), "column 'n', row 1: inf, infinity; leave the row out"),
        (GOOD.drop(columns="n"), "lacks column 'n'; add it"),
        (GOOD.assign(y=1), "has column 'y', unknown in training; drop it"),
        (GOOD.set_axis(["n", "w", "k", "k"], axis=1), "two columns are named 'k'"),
        (GOOD.set_axis([("n", 1), "w", "k", "z"], axis=1), "is a tuple: expected text"),
        (GOOD.to_numpy()[:, :2], "X has 2 features, but"),
        (GOOD["n"], "Reshape your data"),
        (GOOD[:0], "Found array with 0 sample(s)"),
        (3, "Reshape your data"),
    ],
)
def test_frames_that_do_not_fit_are_refused_by_name(frame, said):
    assert said in refusal(Columns.of(GOOD).encode, frame)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (pd.date_range("2020", periods=3), "days since the first one"),
        ([1 + 1j, 2, 3], "Complex data not supported"),
        ([[1], [2], [3]], "holds list, which is neither"),
        ([1, "a", 3], "holds 1, a number in a column of words"),
        ([f"{i}" for i in range(1001)], "1,001 categories: expected at most 1,000; leave it out"),
        ([1e200, -1e200, 3e201], "squares overflow; rescale it"),
        (pd.Categorical(pd.interval_range(0, 3)), "Interval: expected words or numbers"),
    ],
)
def test_columns_that_cannot_be_modelled_are_refused_with_the_remedy(values, said):
    message = refusal(Columns.of, pd.DataFrame({"x": values}))
    assert said in message
    assert "column 'x'" in message


def test_a_million_categories_are_refused():
    codes = pd.Categorical.from_codes([0, 1], categories=np.arange(1_000_000))
    assert "1,000,000 categories" in refusal(Columns.of, pd.DataFrame({"id": codes}))
    words = np.arange(50_000).astype(str).reshape(-1, 1)
    assert "50,000 categories" in refusal(Columns.of, words)


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        ({"y": "gaussian"}, "'y', which is no column"),
        ({"n": "real"}, "'real': expected one of bernoulli"),
        ({"w": "gaussian"}, "'a', which is not a number"),
        ({"w": "bernoulli"}, "has 3 values (a, b, c): expected two"),
        ({"n": "poisson"}, "expected a count"),
    ],
)
def test_kinds_that_do_not_fit_are_refused(kinds, said):
    assert said in refusal(Columns.of, GOOD, kinds)


def test_a_table_in_which_nothing_varies_is_refused():
    constant = GOOD[["k", "gone"]]
    assert "no column varies" in refusal(Columns.of(constant).encode, constant)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_damaged_records_are_refused(data):
    record = json.loads(json.dumps(Columns.of(GOOD, {"n": "quantile"}).as_record()))
    column = record["columns"][data.draw(st.integers(0, 3))]
    place = data.draw(st.sampled_from([0, 1, 2]))
    place = [record, column, column["dtype"]][place]
    name = data.draw(st.sampled_from(sorted(place)))
    place[name] = data.draw(st.sampled_from([None, [], {}, -1, math.nan, "x", [None], [[]], True]))
    with contextlib.suppress(gb.ModelFileError):
        assert isinstance(Columns.from_record(record), Columns)
