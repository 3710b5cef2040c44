"""TableRBM: its answers against enumeration of the model, frames in and out, files."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.stats import kstest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

import gibbsite as gb
from gibbsite.estimators.distribution import distribution

SMALL = {"n_components": 3, "n_iter": 30, "random_state": 0}


def make_frame(rows: int = 240, seed: int = 0) -> pd.DataFrame:
    """Columns of every kind that depend on a hidden sort."""
    rng = np.random.default_rng(seed)
    sort = rng.integers(0, 3, rows)
    return pd.DataFrame(
        {
            "sort": pd.Categorical(np.array(["ant", "bee", "cow"])[sort]),
            "legs": rng.poisson(np.array([2, 6, 11])[sort]),
            "mass": np.array([-3.0, 0.0, 5.0])[sort] * 10 + 40 + rng.normal(0, 6, rows),
            "wings": rng.random(rows) < np.array([0.1, 0.9, 0.05])[sort],
            "price": np.exp(np.array([0.0, 1.0, 3.0])[sort] + rng.normal(size=rows)),
        },
        index=pd.RangeIndex(100, 100 + rows),
    )


def punched(frame: pd.DataFrame, share: float = 0.2, seed: int = 1) -> pd.DataFrame:
    """The frame with some cells taken away."""
    holes = np.random.default_rng(seed).random(frame.shape) < share
    frame = frame.astype({"wings": "boolean", "legs": "Int64"})
    return frame.mask(holes)


FRAME = make_frame()
HOLES = punched(FRAME)
KINDS = {"price": "quantile"}


@pytest.fixture(scope="module")
def model() -> gb.TableRBM:
    return gb.TableRBM(n_components=6, columns=KINDS, n_iter=200, random_state=0).fit(HOLES)


# scikit-learn


@parametrize_with_checks([gb.TableRBM(n_components=2, n_iter=2)])
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


def test_it_clones_pickles_and_searches():
    found = GridSearchCV(gb.TableRBM(**SMALL), {"l2": [0.001, 0.1]}, cv=2)
    found.fit(FRAME[["mass", "sort"]])
    copied = pickle.loads(pickle.dumps(found.best_estimator_))
    np.testing.assert_array_equal(
        copied.score_samples(FRAME[["sort", "mass"]]), found.score_samples(FRAME[["mass", "sort"]])
    )
    assert clone(copied).get_params() == copied.get_params()
    assert copied.feature_names_in_.tolist() == ["mass", "sort"]
    assert not hasattr(copied.fit(FRAME.to_numpy()), "feature_names_in_")


def test_without_a_fit_nothing_is_answered():
    for method in ("score_samples", "anomaly_score", "impute", "sample"):
        with pytest.raises(NotFittedError):
            getattr(gb.TableRBM(), method)(*() if method == "sample" else (FRAME,))


def test_the_same_seed_gives_the_same_model():
    one, two = (gb.TableRBM(**SMALL).fit(HOLES) for _ in range(2))
    torch.testing.assert_close(one.rbm_.weight, two.rbm_.weight, rtol=0, atol=0)
    pd.testing.assert_frame_equal(one.sample(5, random_state=3), two.sample(5, random_state=3))


@pytest.mark.parametrize(
    "given", [{"n_components": 0}, {"n_iter": 1.5}, {"l2": -1}, {"numbers": "log"}]
)
def test_hyperparameters_that_cannot_be_used_are_named(given):
    with pytest.raises(gb.ArgumentError, match=f"{next(iter(given))}="):
        gb.TableRBM(**given).fit(FRAME)


# likelihood: a table of which the density can be summed up in the units of the data

PAIR = FRAME[["sort", "mass"]]
GRID = np.linspace(-150, 250, 4001)


@pytest.fixture(scope="module")
def pair() -> gb.TableRBM:
    return gb.TableRBM(n_components=4, n_iter=60, random_state=0).fit(PAIR)


def on_the_grid(pair, **given) -> np.ndarray:
    """log p of each sort at each mass, (3, masses)."""
    names = ["ant", "bee", "cow"]
    rows = [(sort, mass) for sort in names for mass in GRID]
    return pair.score_samples(pd.DataFrame(rows, columns=["sort", "mass"])).reshape(3, -1)


def test_densities_are_those_of_the_data(pair):
    density = np.exp(on_the_grid(pair)) * (GRID[1] - GRID[0])
    assert density.sum() == pytest.approx(1, abs=1e-5)
    holes = pd.DataFrame({"sort": ["bee", None, None], "mass": [None, GRID[1500], None]})
    expected = [np.log(density[1].sum()), np.log(density[:, 1500].sum() / (GRID[1] - GRID[0])), 0]
    np.testing.assert_allclose(pair.score_samples(holes), expected, atol=1e-4)
    assert pair.score(PAIR) == pytest.approx(pair.score_samples(PAIR).mean())


def test_conditionals_are_those_of_the_densities(pair):
    density = np.exp(on_the_grid(pair)) * (GRID[1] - GRID[0])
    given_mass = pair.conditional(pd.DataFrame({"mass": GRID[[1300, 2100]]}), "sort")
    expected = density[:, [1300, 2100]] / density[:, [1300, 2100]].sum(0)
    np.testing.assert_allclose(given_mass, expected.T, atol=1e-4)
    assert list(given_mass) == ["ant", "bee", "cow"]
    given_sort = pair.conditional(pd.DataFrame({"sort": ["bee"]}), "mass").iloc[0]
    p = density[1] / density[1].sum()
    mean = p @ GRID
    assert given_sort["mean"] == pytest.approx(mean, abs=0.01)
    assert given_sort["sd"] == pytest.approx(np.sqrt(p @ (GRID - mean) ** 2), abs=0.01)
    for name, share in {"5%": 0.05, "50%": 0.5, "95%": 0.95}.items():
        quantile = np.interp(share, p.cumsum(), GRID)
        assert given_sort[name] == pytest.approx(quantile, abs=0.2)
    nothing = pair.conditional(PAIR[:2], "sort", given=[])
    np.testing.assert_allclose(nothing, [density.sum(1)] * 2, atol=1e-4)


def test_conditional_log_likelihoods_add_up(model):
    rows = HOLES[:25]
    whole = model.score_samples(rows)
    for given in (["sort"], ["mass", "wings"], ["price", "legs", "sort"]):
        known = rows.mask(np.tile([name not in given for name in rows], (len(rows), 1)))
        parts = model.log_likelihood(rows, given) + model.score_samples(known)
        np.testing.assert_allclose(parts, whole, atol=1e-3)
    np.testing.assert_allclose(model.log_likelihood(rows), whole, atol=1e-3)
    np.testing.assert_allclose(model.log_likelihood(rows, list(rows)), 0, atol=1e-6)


def test_counts_have_conditionals_too(model):
    counts = np.arange(40)
    row = FRAME[:1]
    many = pd.concat([row] * 40).assign(legs=counts)
    p = np.exp(model.log_likelihood(many, [name for name in FRAME if name != "legs"]))
    assert p.sum() == pytest.approx(1, abs=1e-4)
    found = model.conditional(row, "legs").iloc[0]
    assert found["mean"] == pytest.approx(p @ counts, abs=1e-3)
    assert found["50%"] == (p.cumsum() < 0.5).sum()
    wings = model.conditional(row, "wings").iloc[0]
    assert wings.sum() == pytest.approx(1)
    assert list(wings.index) == ["False", "True"]


def test_draws_of_other_missing_cells_agree_with_sums_over_them(model, monkeypatch):
    v = model.columns_.encode(HOLES[:8])
    v[:, 1:] = torch.nan
    unit = model.columns_.units.index(0)
    v[:, model.rbm_.visible.unit_columns(unit)] = torch.nan
    generator = torch.Generator().manual_seed(0)
    exact = distribution(model.rbm_, v, unit, False, generator).probabilities
    monkeypatch.setattr("gibbsite.estimators.distribution.EXACT_STATES", 0)
    drawn = distribution(model.rbm_, v, unit, False, generator).probabilities
    torch.testing.assert_close(drawn, exact, atol=0.2, rtol=0)
    torch.testing.assert_close(drawn.mean(0), exact.mean(0), atol=0.08, rtol=0)


@pytest.mark.parametrize("sums", [2**27, 0])
def test_p_values_of_the_models_own_rows_are_uniform(model, monkeypatch, sums):
    monkeypatch.setattr("gibbsite.estimators.table.MOST_SUMS", sums)
    rows = model.sample(600, random_state=5)
    some = rows.mask(np.tile([True, False, False, True, False], (600, 1)))
    for table in (rows, some):
        apart = kstest(model.anomaly_score(table), "uniform").statistic
        assert apart < 2 * np.sqrt(1 / 600 + 1 / 1000)


def test_odd_rows_have_small_p_values_and_empty_ones_none(model):
    odd = FRAME[:3].assign(mass=[500.0, -400.0, np.nan])
    odd.loc[odd.index[2], "legs"] = 60
    assert (model.anomaly_score(odd) <= 2 / 1001).all()
    assert (model.anomaly_score(odd) > 0).all()
    empty = HOLES[:1].mask(np.full((1, 5), True))
    assert model.anomaly_score(empty).tolist() == [1.0]
    assert model.score_samples(empty).tolist() == [0.0]
    assert model.impute(empty, random_state=0).notna().all(axis=None)


# rows


def test_filled_tables_keep_all_but_what_was_missing(model):
    filled = model.impute(HOLES, random_state=0)
    assert filled.notna().all(axis=None)
    assert filled.index.equals(HOLES.index)
    assert (filled.dtypes == HOLES.dtypes).all()
    known = HOLES.notna()
    pd.testing.assert_frame_equal(filled.where(known), HOLES.where(known))
    pd.testing.assert_frame_equal(filled, model.impute(HOLES, random_state=0))
    reordered = model.impute(HOLES[list(HOLES)[::-1]], random_state=0)
    pd.testing.assert_frame_equal(reordered[list(HOLES)], filled)


def test_cells_are_filled_by_what_is_most_likely(model):
    one = FRAME[:60].copy()
    one["sort"] = pd.Categorical([None] * 60, categories=["ant", "bee", "cow"])
    most = model.conditional(one, "sort").idxmax(axis=1)
    sure = model.conditional(one, "sort").max(axis=1) > 0.6
    assert sure.sum() > 15
    filled = model.impute(one, random_state=0)["sort"].astype(str)
    assert (filled[sure] == most[sure]).all()
    assert (filled == FRAME["sort"][:60].astype(str)).mean() > 0.8
    mass = model.impute(FRAME[:60].assign(mass=np.nan), random_state=0)["mass"]
    expected = model.conditional(FRAME[:60], "mass")["mean"]
    assert np.abs(mass - expected).mean() < 2  # of a deviation of 37


def test_draws_are_tables_of_their_own(model):
    one, two = model.impute(HOLES, draws=2, random_state=0)
    assert not one.equals(two)
    assert one["price"].between(FRAME["price"].min(), FRAME["price"].max()).all()
    gaps = HOLES["mass"].isna() & HOLES["sort"].eq("cow")
    assert one["mass"][gaps].std() > 1  # as real ones do, draws scatter


def test_new_rows_look_like_those_trained_on(model):
    rows = model.sample(2000, random_state=1)
    assert list(rows) == list(FRAME)
    assert rows["sort"].dtype == FRAME["sort"].dtype
    assert rows["legs"].dtype == HOLES["legs"].dtype
    assert rows["wings"].dtype == HOLES["wings"].dtype
    assert rows["price"].between(FRAME["price"].min(), FRAME["price"].max()).all()
    assert rows["mass"].mean() == pytest.approx(FRAME["mass"].mean(), abs=8)
    shares = rows["sort"].value_counts(normalize=True)
    assert (shares - FRAME["sort"].value_counts(normalize=True)).abs().max() < 0.12
    together = rows.groupby("sort", observed=True)["mass"].mean()
    assert together["ant"] + 20 < together["cow"]


def test_polars_and_arrays_come_back_as_they_came():
    frame = pl.from_pandas(HOLES.reset_index(drop=True))
    model = gb.TableRBM(**SMALL).fit(frame)
    assert model.impute(frame, steps=5).schema == frame.schema
    assert model.sample(3).schema == frame.schema
    assert model.conditional(frame, "sort").columns == ["ant", "bee", "cow"]
    array = HOLES[["mass", "price"]].to_numpy(float)
    model = gb.TableRBM(**SMALL).fit(array)
    assert not np.isnan(model.impute(array, steps=5)).any()
    assert model.sample(3).shape == (3, 2)
    assert model.conditional(array[:4], 1).shape == (4, 7)


def test_rows_without_weight_are_not_learned():
    weight = (FRAME["sort"] != "cow").to_numpy(float)
    model = gb.TableRBM(**SMALL).fit(FRAME[["sort", "mass"]], sample_weight=weight)
    assert model.conditional(FRAME[["mass"]][:1], "sort", given=[])["cow"].iloc[0] < 0.02


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sort": "dog"}, "column 'sort', row 1: 'dog', a category that is not known"),
        ({"mass": np.inf}, "infinity"),
        ({"born": 2020}, "unknown in training"),
        ({"legs": 2.5}, "expected a count"),
    ],
)
def test_rows_that_do_not_fit_are_refused_by_name(model, change, said):
    for answer in (model.score_samples, model.impute, model.anomaly_score):
        with pytest.raises(gb.DataError, match=said):
            answer(FRAME.assign(**change))
    with pytest.raises(gb.ArgumentError, match="'colour' is no column"):
        model.conditional(FRAME, "colour")
    with pytest.raises(gb.DataError, match="lacks column 'sort'"):
        model.score_samples(FRAME.drop(columns="sort"))


def test_columns_that_do_not_vary_do_no_harm():
    frame = FRAME[["sort", "mass"]].assign(k=1.5, gone=np.nan, once=[*"a" * 239, "b"])
    model = gb.TableRBM(**SMALL).fit(frame)
    holes = frame.assign(k=np.nan)
    filled = model.impute(holes, random_state=0)
    assert filled["k"].eq(1.5).all()
    assert filled["gone"].isna().all()
    assert model.sample(3)["k"].tolist() == [1.5] * 3
    assert np.isfinite(model.score_samples(frame)).all()
    with pytest.raises(gb.ArgumentError, match="constant in training"):
        model.conditional(frame, "k")


# files


def test_files_keep_the_columns(model, tmp_path):
    gb.save(model, tmp_path / "table.safetensors")
    loaded = gb.TableRBM.load(tmp_path / "table.safetensors")
    assert loaded.columns_ == model.columns_
    assert gb.load(tmp_path / "table.safetensors").schema is not None
    np.testing.assert_allclose(loaded.score_samples(HOLES), model.score_samples(HOLES))
    pd.testing.assert_frame_equal(
        loaded.impute(HOLES[:9], random_state=2), model.impute(HOLES[:9], random_state=2)
    )
    pd.testing.assert_frame_equal(loaded.sample(4, random_state=2), model.sample(4, random_state=2))
    assert loaded.feature_names_in_.tolist() == list(FRAME)


def test_models_of_no_table_or_another_are_refused(model, tmp_path):
    gb.save(gb.RBM(gb.Bernoulli(2), gb.Bernoulli(1)), tmp_path / "m.safetensors")
    with pytest.raises(gb.ArgumentError, match="does not say of what table"):
        gb.TableRBM.load(tmp_path / "m.safetensors")
    other = gb.RBM(gb.Bernoulli(2), gb.Bernoulli(1))
    other.schema = model.rbm_.schema
    with pytest.raises(gb.ArgumentError, match="are not those of the columns"):
        gb.TableRBM.from_model(other)
    other.schema = {**other.schema, "package": "os"}
    with pytest.raises(gb.ModelFileError, match="damaged"):
        gb.TableRBM.from_model(other)
    gb.save(other, tmp_path / "m.safetensors")
    assert gb.load(tmp_path / "m.safetensors").schema == other.schema
