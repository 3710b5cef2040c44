"""The data sets that ship with scikit-learn or follow from a rule."""

import math

import pytest
import torch
from sklearn.datasets import load_digits

import gibbsite as gb
from gibbsite.datasets import bars_and_stripes


def test_digits_follow_the_documented_rule():
    data = gb.datasets.load("digits")
    pixels = torch.from_numpy((load_digits().data >= 8).astype("float32"))
    assert torch.equal(data.test, pixels[::5])
    assert len(data.train) + len(data.test) == 1797
    assert torch.equal(data.train[:4], pixels[1:5])
    assert data.image_shape == (8, 8)


def test_bars_and_stripes_3x3_has_the_known_entropy():
    data = gb.datasets.load("bars-and-stripes")
    assert data.train.shape == (16, 9)
    assert data.test is None
    _, counts = torch.unique(data.train, dim=0, return_counts=True)
    p = counts / 16
    entropy = -(p * p.log()).sum().item()
    assert entropy == pytest.approx(2.5993, abs=5e-5)
    assert entropy == pytest.approx((12 * math.log(16) + 4 * math.log(8)) / 16)


@pytest.mark.parametrize("side", [1, 2, 4])
def test_every_image_is_full_rows_or_full_columns(side):
    images = bars_and_stripes(side).train.reshape(-1, side, side)
    assert len(images) == 2 * 2**side
    rows = (images == images[:, :, :1]).all((1, 2))
    columns = (images == images[:, :1]).all((1, 2))
    assert (rows | columns).all()


def test_patches_are_contrast_normalised_and_reproducible():
    data = gb.datasets.load("patches")
    assert data.train.shape == (20_000, 64)
    assert data.test.shape == (4_000, 64)
    assert data.visible == "gaussian"
    assert data.train.mean(1).abs().max() < 1e-5
    assert data.train.var(1, correction=0).max() < 1
    assert torch.equal(data.train, gb.datasets.load("patches").train)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(gb.DataError, match=r"digitz: neither a file nor a data set.*digits, bars"):
        gb.datasets.load("digitz")


def test_split_holds_out_the_share_asked_for():
    data = bars_and_stripes(3)
    parts = data.split(0.25, torch.Generator().manual_seed(0))
    assert (len(parts.train), len(parts.test)) == (12, 4)
    both = torch.cat([parts.train, parts.test])
    assert sorted(map(tuple, both.tolist())) == sorted(map(tuple, data.train.tolist()))
    assert parts.split(0.5) is parts
    assert data.split(0.0).test is None


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 2.0, float("nan")])
def test_split_refuses_an_impossible_share(fraction):
    with pytest.raises(gb.ArgumentError, match="test_fraction"):
        bars_and_stripes(3).split(fraction)


@pytest.mark.parametrize("name", [3, None, 2.5, b"digits", ["digits"], torch.zeros(2)])
def test_what_is_neither_name_nor_path_is_refused(name):
    with pytest.raises(gb.DataError, match="expected the name of a data set, or a path"):
        gb.datasets.load(name)


def test_every_name_is_described():
    described = gb.datasets.DESCRIPTIONS
    assert list(described) == list(gb.datasets.NAMES)
    assert all(len(text) > 20 and text.endswith(".") for text in described.values())
