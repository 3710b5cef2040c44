"""Damaged files, lying headers and options drawn at random: data, or a typed error.

`benchmarks/robustness.py` does the same with thousands of damaged files, in a guarded process.
"""

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import warnings
import zipfile
import zlib
from dataclasses import asdict

import h5py
import numpy as np
import pyarrow
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mutations import KINDS, attempt, originals
from outcomes import outcome
from PIL import Image
from pyarrow import parquet

import gibbsite as gb
from gibbsite.cli.job import Job
from gibbsite.cli.settings import Settings

CASES = 10
"""Damaged files of each kind; 27 kinds."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return originals(tmp_path_factory.mktemp("originals"))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_damaged_file_is_read_or_refused(tmp_path, whole, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the readers of images, about what they could read
        outcomes = [attempt(kind, whole[kind.name], seed, tmp_path) for seed in range(CASES)]
    assert set(outcomes) != {"read"}, "no file was damaged enough to test anything"


# headers that lie

SPARE_BYTES = 2**27
"""How much memory beyond what reading costs anyway a lying header may take."""

READ = """
import resource, sys
import h5py, numpy, pyarrow.parquet, torch, PIL.PngImagePlugin, gibbsite as gb
def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
for path in sys.argv[1:]:
    try:
        gb.datasets.load(path).rows[:1]
        print("read", end=" ")
    except gb.GibbsiteError as error:
        print(type(error).__name__, end=" ")
print(peak() - before)
"""


def npy_header(*shape: int) -> bytes:
    out = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, header)
    return out.getvalue()


def lying_npy(path):
    path.write_bytes(npy_header(10**15, 784) + bytes(1000))


def lying_npz(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("train.npy", npy_header(10**9, 784) + bytes(1000))


def lying_zip_directory(path):
    """The file's list of contents tells of 4 GB, the header of as much; there are 16 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("train.npy", npy_header(10**6, 784) + bytes(2**24))
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\x01\x02") + 24
    content[place : place + 4] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(content)


def lying_idx(path):
    path.write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 28, 28) + bytes(1000))


def lying_gzip(path):
    path.write_bytes(gzip.compress(struct.pack(">4B3I", 0, 0, 14, 3, 10**9, 28, 28)))


def gzip_bomb(path):
    """Half a GB of zeros behind a header that tells of ten bytes."""
    with gzip.open(path, "wb", 1) as file:
        file.write(struct.pack(">4BI", 0, 0, 8, 1, 10))
        for _ in range(32):
            file.write(bytes(2**24))


def unwritten_h5(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("train", (10**12, 784), "f4", chunks=(1, 784))


def lying_png(path):
    """13,000 x 13,000 pixels, which is few enough for Pillow."""
    chunks = {
        b"IHDR": struct.pack(">2I5B", 13_000, 13_000, 8, 0, 0, 0, 0),
        b"IDAT": zlib.compress(bytes(100)),
        b"IEND": b"",
    }
    path.mkdir()
    (path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks.items()
        )
    )


LIES = {
    "a.npy": lying_npy,
    "a.npz": lying_npz,
    "directory.npz": lying_zip_directory,
    "a-idx": lying_idx,
    "a.gz": lying_gzip,
    "bomb.gz": gzip_bomb,
    "a.h5": unwritten_h5,
    "images": lying_png,
}


def test_a_lying_header_costs_no_memory(tmp_path):
    for name, make in LIES.items():
        make(tmp_path / name)
    result = subprocess.run(
        [sys.executable, "-c", READ, *(tmp_path / name for name in LIES)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    *outcomes, spent = result.stdout.split()
    assert len(outcomes) == len(LIES), result.stderr
    assert set(outcomes) <= {"DataError", "TooLargeError"}, dict(zip(LIES, outcomes, strict=True))
    assert int(spent) < SPARE_BYTES


@pytest.mark.parametrize("name", ["a.npz", "a.h5", "a.parquet", "a.gz", "a"])
def test_what_would_fill_the_memory_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, name):
    table = np.zeros((400, 9), np.uint8)
    path = tmp_path / name
    match path.suffix:
        case ".npz":
            np.savez_compressed(path, table)
        case ".h5":
            with h5py.File(path, "w") as file:
                file["x"] = table
        case ".parquet":
            parquet.write_table(pyarrow.table({"x": table.reshape(-1)}), path)
        case ".gz":
            path.write_bytes(gzip.compress(struct.pack(">4B2I", 0, 0, 8, 2, 400, 9) + bytes(3600)))
        case _:
            path.mkdir()
            Image.fromarray(table).save(path / "a.png")
    assert len(gb.datasets.load(path).rows) > 0
    monkeypatch.setattr(os, "sysconf", lambda _: 100)  # a machine of 100 pages of 100 bytes
    with pytest.raises(gb.TooLargeError, match=r"GiB"):
        gb.datasets.load(path)


def test_a_test_set_beyond_the_memory_is_refused():
    rows = gb.Rows(np.broadcast_to(np.uint8(1), (10**9, 10**6)))
    data = gb.datasets.Dataset("table", rows, None, "bernoulli", None, "")
    with pytest.raises(gb.TooLargeError, match="a test set of 1000000 rows"):
        data.split(1e-3)


def test_a_folder_of_images_is_not_resized_beyond_the_memory(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(gb.TooLargeError, match="1 images of 1000000x1000000 pixels"):
        gb.datasets.load(tmp_path, resize=(10**6, 10**6))


def test_a_damaged_mnist_file_is_refused_wherever_the_damage_is(tmp_path, monkeypatch):
    name = "train-images-idx3-ubyte"
    whole = gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, 50, 28, 28) + bytes(range(256)) * 150)
    monkeypatch.setenv("GIBBSITE_DATA", str(tmp_path))
    for place in range(len(whole)):
        damaged = whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]
        (tmp_path / f"{name}.gz").write_bytes(damaged)
        with pytest.raises(gb.DataError, match=f"{name}"):
            gb.datasets.load("mnist")


def test_an_npz_member_that_is_no_array_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("train.npy", b"text")
        file.writestr("notes.txt", b"text")
    for key in (None, "notes.txt"):
        with pytest.raises(gb.DataError, match=r"a\.npz"):
            gb.datasets.load(tmp_path / "a.npz", key=key)


def test_numbers_beyond_float32_are_refused_without_a_warning(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1e300, 0.0]]))
    with pytest.raises(gb.DataError, match=r"row 1, column 1: 1e.300; that is beyond float32"):
        gb.Gaussian(2).check_data(gb.datasets.load(tmp_path / "a.npy").train)


# arrays and options drawn at random

NUMBERS = arrays.arrays(
    st.one_of(
        arrays.boolean_dtypes(),
        arrays.integer_dtypes(),
        arrays.unsigned_integer_dtypes(),
        arrays.floating_dtypes(),
        arrays.complex_number_dtypes(),
        arrays.datetime64_dtypes(),
        arrays.unicode_string_dtypes(),
    ),
    arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


@given(array=NUMBERS, end=st.sampled_from([".npy", ".npz", ".h5"]))
def test_any_array_in_a_file_is_data_or_refused(tmp_path_factory, array, end):
    path = tmp_path_factory.mktemp("array") / f"a{end}"
    if end == ".h5":
        with h5py.File(path, "w") as file:
            if array.dtype.kind not in "biuf":  # it has no such types
                return
            file["x"] = array
    else:
        (np.save if end == ".npy" else np.savez)(path, array)
    data, message = outcome(lambda: gb.datasets.load(path))
    if message is None:
        assert data.train.dtype == torch.float32
        assert data.train.shape == (len(array), array[0].size)
    else:
        assert str(path) in message


@given(array=NUMBERS, batch_size=st.integers(-1, 5), as_rows=st.booleans())
@settings(max_examples=100)
def test_any_array_trains_a_model_or_is_refused(array, batch_size, as_rows):
    rbm, g = gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2)), torch.Generator().manual_seed(0)

    def train():
        data = gb.Rows(array) if as_rows else array
        return gb.fit(rbm, data, epochs=1, batch_size=batch_size, generator=g)

    history, _ = outcome(train)
    assert rbm.weight.isfinite().all()
    if history is not None:
        assert array.ndim == 2
        assert array.shape[1] == 3


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([2**31, 2**63 - 1, 2**63, 10**400, -(10**400)]),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(["digits", "bernoulli", "gaussian", "exact", "cd", "adam", "cpu", "3x3"]),
    st.lists(st.integers(), max_size=2),
)
NAMES = st.sampled_from([*Settings.__dataclass_fields__, "extra", "hidden units"])


@given(changes=st.dictionaries(NAMES, VALUES, min_size=1, max_size=3))
@settings(max_examples=150)
def test_any_settings_make_a_job_or_are_refused(tmp_path_factory, changes):
    """Up to the first update: what follows takes as long as was asked for."""
    path = tmp_path_factory.mktemp("settings") / "run.json"
    whole = asdict(Settings("bars-and-stripes", hidden=2, epochs=1))
    record = {"format": 1, "settings": whole | changes, "data": {"sha256": ""}}
    path.write_text(json.dumps(record))
    job, message = outcome(lambda: Job(Settings.read(path)[0]))
    assert message or job.settings.hidden >= 1
    if "extra" in changes:
        assert message is not None
