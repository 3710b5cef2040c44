"""Words in tables: codes, their order, what is a header, and what is refused."""

import numpy as np
import pytest
import torch

import gibbsite as gb
from gibbsite.datasets import read, write_csv


def write(tmp_path, text: str):
    path = tmp_path / "a.csv"
    path.write_text(text)
    return path


def test_columns_of_words_become_codes_in_sorted_order(tmp_path):
    data = read(write(tmp_path, "colour,weight\nred,1.5\nblue,2\nred,3\n"))
    assert data.train.tolist() == [[1, 1.5], [0, 2], [1, 3]]
    assert data.categories == (("blue", "red"), None)
    assert data.columns == ("colour", "weight")
    assert data.visible == "categorical:1,gaussian:1"


def test_codes_are_kept_as_bytes(tmp_path):
    rows = read(write(tmp_path, "c,d\nx,b\ny,a\n")).rows
    assert isinstance(rows, gb.Rows)
    assert rows.source.dtype == np.uint8


def test_a_first_line_whose_words_occur_again_is_a_row(tmp_path):
    data = read(write(tmp_path, "red,s\nblue,m\nred,m\n"))
    assert data.columns is None
    assert data.train.tolist() == [[1, 1], [0, 0], [1, 0]]


def test_words_known_from_other_data_keep_their_codes(tmp_path):
    known = (("red", "blue", "green"), None)
    data = read(write(tmp_path, "green,1\nred,2\n"), categories=known)
    assert data.train.tolist() == [[2, 1], [0, 2]]
    one_row = read(write(tmp_path, "blue\n"), categories=(known[0],))
    assert one_row.train.tolist() == [[1]]
    with pytest.raises(gb.DataError, match="line 2, column 1: 'pink', a category that is not"):
        read(write(tmp_path, "green,1\npink,2\n"), categories=known)
    with pytest.raises(gb.DataError, match="has 1 columns, expected 2"):
        read(write(tmp_path, "1\n2\n"), categories=known)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n3,apple\n", "'apple', which is not a number; .*--visible categorical"),
        ("a,2\n3,2\n", "line 2, column 1: '3', a number in a column of words; .*categorical"),
        ("c,d\na,2\n,2\n", r"line 3, column 1 \(c\): an empty cell"),
    ],
)
def test_words_among_numbers_are_refused_unless_asked_for(tmp_path, text, message):
    with pytest.raises(gb.DataError, match=message):
        read(write(tmp_path, text))


def test_one_word_makes_a_column_of_words_where_that_is_asked_for(tmp_path):
    path = write(tmp_path, "c,d\n1,2\n?,0\n3,1\n")
    data = gb.datasets.load(path, visible="categorical")
    assert data.categories == (("1", "3", "?"), None)
    assert data.train.tolist() == [[0, 2], [2, 0], [1, 1]]
    with pytest.raises(gb.DataError, match=r"line 3, column 1 \(c\): '\?', which is not a number"):
        gb.datasets.load(path, visible="gaussian")


def test_bytes_are_codes_or_counts_where_the_units_are(tmp_path):
    array = np.array([[0, 3], [2, 1]], np.uint8)
    np.save(tmp_path / "a.npy", array)
    assert torch.allclose(read(tmp_path / "a.npy").train, torch.tensor(array) / 255)
    for kind in ("categorical", "poisson", "binomial:1,gaussian:1"):
        assert read(tmp_path / "a.npy", visible=kind).train.tolist() == array.tolist()


def test_values_of_minus_one_and_one_are_spins(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[-1.0, 1.0], [1.0, 1.0]]))
    assert read(tmp_path / "a.npy").visible == "spin"
    np.save(tmp_path / "a.npy", np.array([[-1.0, 1.0], [0.0, 1.0]]))
    assert read(tmp_path / "a.npy").visible == "gaussian"


def test_words_written_are_read_back(tmp_path):
    rows, categories = torch.tensor([[1.0, 0.5], [0.0, 2.0]]), (("a, b", "c"), None)
    write_csv(rows, tmp_path / "w.csv", categories, ("x", "y"))
    data = read(tmp_path / "w.csv")
    assert torch.equal(data.train, rows)
    assert (data.categories, data.columns) == (categories, ("x", "y"))
