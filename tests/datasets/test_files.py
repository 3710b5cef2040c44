"""Data files: every format read back, every fault told with its place."""

import gzip
import struct

import h5py
import numpy as np
import pyarrow
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from outcomes import outcome
from PIL import Image
from pyarrow import parquet

import gibbsite as gb
from gibbsite.datasets import files, read, write_csv, write_npy

ARRAY = np.array([[0.0, 1.0, 0.25], [1.0, 0.0, 0.5]])


def idx_bytes(array: np.ndarray, code: int = 0x08) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.tobytes()


def test_npy(tmp_path):
    np.save(tmp_path / "a.npy", ARRAY)
    data = gb.datasets.load(tmp_path / "a.npy")
    assert torch.equal(data.train, torch.tensor(ARRAY, dtype=torch.float32))
    assert data.test is None
    assert data.visible == "bernoulli"


def test_npy_of_images_remembers_their_shape(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((5, 2, 3)))
    data = read(tmp_path / "a.npy")
    assert data.train.shape == (5, 6)
    assert data.image_shape == (2, 3)


def test_values_outside_the_unit_interval_are_meant_for_gaussian_units(tmp_path):
    np.save(tmp_path / "a.npy", ARRAY - 3)
    assert read(tmp_path / "a.npy").visible == "gaussian"


def test_npz_with_train_and_test(tmp_path):
    np.savez(tmp_path / "a.npz", train=ARRAY, test=ARRAY[:1], valid=ARRAY)
    data = read(tmp_path / "a.npz")
    assert (len(data.train), len(data.test)) == (2, 1)


def test_npz_with_one_array(tmp_path):
    np.savez(tmp_path / "a.npz", whatever=ARRAY)
    assert read(tmp_path / "a.npz").train.shape == (2, 3)


def test_npz_with_several_arrays_lists_them(tmp_path):
    np.savez(tmp_path / "a.npz", x=ARRAY, y=ARRAY)
    with pytest.raises(gb.DataError, match="holds the arrays x, y"):
        read(tmp_path / "a.npz")


def test_npz_whose_train_and_test_differ_in_width(tmp_path):
    np.savez(tmp_path / "a.npz", train=ARRAY, test=ARRAY[:, :2])
    with pytest.raises(gb.DataError, match="train has 3 columns, test 2"):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", ["", "{d}".join(["first", "second", "third"]) + "\n"])
def test_csv(tmp_path, delimiter, header):
    lines = [delimiter.join(map(str, row)) for row in ARRAY]
    (tmp_path / "a.csv").write_text(header.replace("{d}", delimiter) + "\n".join(lines) + "\n\n")
    assert torch.equal(read(tmp_path / "a.csv").train, torch.tensor(ARRAY).float())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n1,2\n3,apple\n", r"line 3, column 2 \(y\): 'apple', which is not a number"),
        ("1,2\n3,apple\n", r"line 2, column 2: 'apple', which is not a number"),
        ("x,y\n1,\n", r"line 2, column 2 \(y\): an empty cell"),
        ("1,2\n3\n", "line 2: 1 cells, the first line has 2"),
        ("x,y\n", "no rows of numbers"),
        ("1,nan\n", "NaN"),
    ],
)
def test_csv_faults_are_told_with_their_place(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(gb.DataError, match=message):
        gb.Bernoulli(2).check_data(read(tmp_path / "a.csv").train)


@pytest.mark.parametrize("name", ["a-idx3-ubyte", "a-idx3-ubyte.gz"])
def test_idx(tmp_path, name):
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) * 10
    content = idx_bytes(images)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    data = read(tmp_path / name)
    assert data.image_shape == (3, 4)
    assert data.rows.source.dtype == np.uint8
    assert torch.allclose(data.train, torch.tensor(images.reshape(2, 12) / 255).float(), atol=1e-7)


def test_idx_of_big_endian_numbers(tmp_path):
    values = np.array([[1.5, -2.0]], ">f4")
    (tmp_path / "a-idx2").write_bytes(idx_bytes(values, 0x0D))
    assert read(tmp_path / "a-idx2").train.tolist() == [[1.5, -2.0]]


@pytest.mark.parametrize("cut", [3, 10, 30])
def test_a_truncated_idx_file_is_refused(tmp_path, cut):
    (tmp_path / "a-idx").write_bytes(idx_bytes(np.zeros((2, 3, 4), np.uint8))[:cut])
    with pytest.raises(gb.DataError, match=r"not an IDX|ends within|promises"):
        read(tmp_path / "a-idx")


def test_a_lying_idx_header_allocates_nothing(tmp_path):
    (tmp_path / "a-idx").write_bytes(b"\0\0\x08\x03" + b"\xff" * 12)
    with pytest.raises(gb.DataError, match="promises 79,228"):
        read(tmp_path / "a-idx")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.csv", "a.gz", "a-idx", "a.txt"])
def test_an_empty_file_is_called_empty(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(gb.DataError, match="is empty"):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.csv", "a.gz", "a-idx", "a.txt"])
@given(content=st.binary(min_size=1, max_size=100))
def test_any_bytes_give_data_or_a_data_error(tmp_path_factory, name, content):
    path = tmp_path_factory.mktemp("bytes") / name
    path.write_bytes(content)
    data, message = outcome(lambda: read(path))
    assert str(path) in message if message else data.train.ndim == 2


@pytest.mark.parametrize(
    "array",
    [np.array(["a"]), np.array([{}], dtype=object), np.zeros(3), np.zeros((0, 3)), np.ones(1) * 1j],
)
def test_arrays_that_are_no_table_are_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(gb.DataError):
        read(tmp_path / "a.npy")


def test_a_missing_file_and_a_folder_without_images_are_refused(tmp_path):
    with pytest.raises(gb.DataError, match="neither a file nor a data set"):
        gb.datasets.load(tmp_path / "none.npy")
    with pytest.raises(gb.DataError, match="holds no images"):
        gb.datasets.load(tmp_path)


def test_the_ends_of_the_grey_scale_are_exact(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[0, 255]], np.uint8))
    assert read(tmp_path / "a.npy").train.tolist() == [[0.0, 1.0]]


def test_a_large_npy_stays_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGE_BYTES", 100)
    table = np.random.default_rng(0).normal(size=(40, 3)).astype(">f8")
    np.save(tmp_path / "a.npy", table)
    rows = read(tmp_path / "a.npy").rows
    assert isinstance(rows, gb.Rows)
    assert isinstance(rows.source, np.memmap)
    picked = torch.tensor([3, 1, 3])
    assert torch.equal(rows[picked], torch.tensor(table.astype("f8"))[picked])


@pytest.mark.parametrize("name", ["a.h5", "a.npz"])
def test_named_arrays(tmp_path, name):
    arrays = {"first": np.zeros((2, 3)), "second": np.ones((4, 3), np.float32)}
    if name == "a.h5":
        with h5py.File(tmp_path / name, "w") as file:
            for key, values in arrays.items():
                file[key] = values
    else:
        np.savez(tmp_path / name, **arrays)
    assert torch.equal(read(tmp_path / name, key="second").train, torch.ones(4, 3))
    for key in (None, "third"):
        with pytest.raises(gb.DataError, match="holds the arrays first, second"):
            read(tmp_path / name, key=key)
    with pytest.raises(gb.DataError, match="key='x' is for"):
        read(tmp_path / "a.npy", key="x")


def test_parquet(tmp_path):
    columns = {"x": [0.0, 1.5], "y": [2, 3]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").train.tolist() == [[0.0, 2.0], [1.5, 3.0]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": [1.0, 2.0], "y": [0.5, None]}, r"row 2, column 2 \(y\): a missing value"),
        ({"x": [1.0, 2.0], "y": ["a", "b"]}, r"column 2 \(y\) holds string, expected numbers"),
        ({}, "no columns"),
    ],
)
def test_parquet_faults_are_told_with_their_place(tmp_path, columns, message):
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    with pytest.raises(gb.DataError, match=message):
        read(tmp_path / "a.parquet")


def save_image(path, grey):
    Image.fromarray(grey).save(path)


def test_a_folder_of_images(tmp_path):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (3, 4, 5)).astype(np.uint8)
    for number, grey in enumerate(images):
        save_image(tmp_path / f"{number}.png", grey)
    (tmp_path / "notes.txt").write_text("not an image")
    data = read(tmp_path)
    assert data.image_shape == (4, 5)
    assert np.array_equal(data.rows.source, images.reshape(3, 20))
    assert read(tmp_path, resize=(2, 2)).image_shape == (2, 2)
    save_image(tmp_path / "9.png", images[0, :3])
    with pytest.raises(gb.DataError, match=r"9\.png"):
        read(tmp_path)
    assert len(read(tmp_path, resize=(2, 2)).rows) == 4
    (tmp_path / "5.png").write_bytes(b"no image")
    with pytest.raises(gb.DataError, match=r"5\.png"):
        read(tmp_path, resize=(2, 2))


@pytest.mark.parametrize(("write", "name"), [(write_npy, "a.npy"), (write_csv, "a.csv")])
def test_what_is_written_reads_back_exactly(tmp_path, write, name):
    rows = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    write(rows, tmp_path / name)
    assert torch.equal(read(tmp_path / name).train, rows)


@pytest.mark.parametrize("text", ["1 0.5\n0  1\n", "# a b\n1 0.5\n0 1\n", "1,0.5\n0,1\n"])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_text_tables(tmp_path, text, end):
    path = tmp_path / f"a.txt{end}"
    path.write_bytes(gzip.compress(text.encode()) if end else text.encode())
    assert read(path).train.tolist() == [[1.0, 0.5], [0.0, 1.0]]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.TSV.GZ"])
def test_compressed_tables(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(b"x,y\n1,0\n\n0,oh\n"))
    with pytest.raises(gb.DataError, match=r"line 4, column 2 \(y\): 'oh'"):
        read(tmp_path / name)


def test_a_name_misspelt_is_guessed(tmp_path, monkeypatch):
    with pytest.raises(gb.DataError, match=r"Did you mean digits\?"):
        gb.datasets.load("digit")
    np.save(tmp_path / "spikes.npy", ARRAY)
    with pytest.raises(gb.DataError, match=rf"Did you mean {tmp_path}/spikes\.npy\?"):
        gb.datasets.load(tmp_path / "spike.npy")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(gb.DataError, match=r"Did you mean spikes\.npy\?"):
        gb.datasets.load("spikes.np")
    with pytest.raises(gb.DataError, match=r"patches, mnist$"):
        gb.datasets.load("something else")


@pytest.mark.parametrize(
    ("value", "reason"), [("nan", "remove or impute"), ("1e200", r"beyond float32, which ends at")]
)
def test_values_that_are_no_float32_are_told_with_file_line_and_name(tmp_path, value, reason):
    (tmp_path / "a.csv").write_text(f"x,y\n1,2\n\n3,{value}\n")
    with pytest.raises(gb.DataError, match=rf"a\.csv, line 4, column 2 \(y\): .*{reason}"):
        read(tmp_path / "a.csv")
    np.save(tmp_path / "a.npy", np.array([[1.0, 2.0], [3.0, float(value)]]))
    with pytest.raises(gb.DataError, match=rf"a\.npy, row 2, column 2: .*{reason}"):
        read(tmp_path / "a.npy")
    parquet.write_table(pyarrow.table({"x": [1.0], "y": [float(value)]}), tmp_path / "a.parquet")
    with pytest.raises(gb.DataError, match=rf"row 1, column 2 \(y\): .*{reason}"):
        read(tmp_path / "a.parquet")


def test_a_file_that_is_not_of_its_kind_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", ARRAY)
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(gb.DataError, match=r"a\.npy cannot be read"):
        read(tmp_path / "a.npy")


def test_hdf5_files_packed_or_not(tmp_path):
    table = np.random.default_rng(0).random((50, 7))
    ways = {"gzip": {"compression": "gzip", "shuffle": True}, "lzf": {"compression": "lzf"}}
    ways |= {"checked": {"fletcher32": True}, "plain": {}, "grown": {"maxshape": (None, 7)}}
    for name, options in ways.items():
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file.create_dataset("train", data=table, **options)
        assert torch.equal(read(tmp_path / f"{name}.h5").train, torch.tensor(table).float())


@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}, {"data_page_version": "2.0"}])
@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd"])
def test_parquet_files_of_every_kind(tmp_path, options, compression):
    table = np.random.default_rng(0).normal(size=(3000, 3))
    columns = {"x": table[:, 0], "y": table[:, 1].astype("f4"), "z": table[:, 2] > 0}
    path = tmp_path / "a.parquet"
    parquet.write_table(
        pyarrow.table(columns), path, compression=compression, row_group_size=700, **options
    )
    data = read(path)
    expected = np.stack(list(columns.values()), 1, dtype="f4", casting="unsafe")
    assert np.array_equal(data.train.numpy(), expected)
    assert data.columns == ("x", "y", "z")


FAR = {"seconds": 1.7e9 + 50 * np.arange(8.0), "kelvin": 300 + 0.001 * np.arange(8.0)}


@pytest.mark.parametrize("suffix", ["npy", "csv"])
@pytest.mark.parametrize("name", FAR)
def test_columns_far_from_zero_keep_their_digits(tmp_path, suffix, name):
    """In float32 the seconds were whole minutes apart; the spread of a column is what counts."""
    table = np.stack([FAR[name], np.arange(8.0)], 1)
    path = tmp_path / f"far.{suffix}"
    np.save(path, table) if suffix == "npy" else np.savetxt(path, table, "%.9f", ",")
    rows = gb.datasets.load(path).train
    assert rows.dtype == torch.float64
    np.testing.assert_allclose(rows.numpy(), table, rtol=1e-12)


def test_columns_that_float32_holds_are_float32(tmp_path):
    table = np.stack([np.arange(1990.0, 2010), np.linspace(0, 1, 20), np.full(20, 0.1)], 1)
    np.save(tmp_path / "near.npy", table)
    assert gb.datasets.load(tmp_path / "near.npy").train.dtype == torch.float32


def test_integers_that_float32_lacks_keep_their_digits(tmp_path):
    table = np.arange(2**30, 2**30 + 20).reshape(10, 2)
    np.save(tmp_path / "ids.npy", table)
    assert np.array_equal(gb.datasets.load(tmp_path / "ids.npy").train.numpy(), table)
    assert np.array_equal(gb.Rows(table)[:].numpy(), table)


def test_arrays_in_groups_of_hdf5_are_told_not_to_be_looked_into(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["a/train"] = np.eye(3)
    for key in (None, "a/train", "a"):
        with pytest.raises(gb.DataError, match=r"arrays \(none\) and the groups a, which are not"):
            read(path, key)
    with h5py.File(path, "a") as file:
        file["rows"] = np.eye(2)
    assert read(path).train.shape == (2, 2)
    assert read(path, "rows").train.shape == (2, 2)
    with pytest.raises(gb.DataError, match="arrays rows and the groups a, which are not looked"):
        read(path, "a/train")
