"""Rows: what they give is what numpy gives, and a model cannot tell them from a tensor."""

import math
import os
import resource

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import gibbsite as gb
from gibbsite import rows as module
from gibbsite.errors import RowError
from gibbsite.layers import fast

SHAPE = 17, 5


def numbers(dtype: str) -> np.ndarray:
    """Zeros and ones, which every type holds exactly."""
    return (np.random.default_rng(0).random(SHAPE) < 0.4).astype(dtype)


def on_disk(array: np.ndarray, folder) -> np.ndarray:
    np.save(folder / "a.npy", array)
    return np.load(folder / "a.npy", mmap_mode="r")


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


SOURCES = {
    **{f"array {dtype}": (lambda _, d=dtype: numbers(d)) for dtype in "?bBhHiIlLqQefdg"},
    **{f"array {d}": (lambda _, d=d: numbers(d)) for d in (">f4", ">f8", ">i2", ">u8")},
    "in Fortran's order": lambda _: np.asfortranarray(numbers("f4")),
    "strided": lambda _: np.repeat(np.repeat(numbers("f4"), 2, 0), 3, 1)[::2, ::3],
    "backwards": lambda _: numbers("f4")[::-1, ::-1][::-1, ::-1],
    "read-only": lambda _: read_only(numbers("f4")),
    "memmap": lambda folder: on_disk(numbers("f4"), folder),
    "memmap of bytes": lambda folder: on_disk(numbers("u1"), folder),
    "big-endian memmap": lambda folder: on_disk(numbers(">f8"), folder),
    "memmap in Fortran's order": lambda folder: on_disk(np.asfortranarray(numbers("f4")), folder),
    **{f"tensor {d}": (lambda _, d=d: torch.from_numpy(numbers(d))) for d in "?BilfedH"},
    **{
        f"sparse {form} {d}": (lambda _, f=form, d=d: sparse.coo_array(numbers(d)).asformat(f))
        for form in ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")
        for d in "Bfd"
    },
    "sparse matrix": lambda _: sparse.csc_matrix(numbers("f4")),
}
DOUBLE = "dg"

INDICES = {
    "all": slice(None),
    "some": slice(3, 9),
    "every third": slice(1, None, 3),
    "the last": slice(-4, None),
    "beyond the end": slice(10, 100),
    "none": slice(4, 4),
    "in any order": torch.tensor([16, 0, 7]),
    "repeated": torch.tensor([2, 2, 2, 5, 2]),
    "from the end": torch.tensor([-1, -17]),
    "no number": torch.tensor([], dtype=torch.long),
    "one": torch.tensor([4]),
    "int32": torch.tensor([4, 1], dtype=torch.int32),
    "a mask": torch.arange(17) % 4 == 1,
}


def as_index(index):
    return index if isinstance(index, slice) else index.numpy()


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
def test_rows_of_every_source_are_those_of_numpy(tmp_path, make):
    source = make(tmp_path)
    rows, expected = gb.Rows(source), numbers("f8")
    assert rows.shape == SHAPE
    assert len(rows) == 17
    kind = np.zeros(0, str(source.dtype).removeprefix("torch.")).dtype
    single = kind.itemsize <= (4 if kind.kind == "f" else 2)  # others float32 does not hold
    for name, index in INDICES.items():
        found = rows[index]
        assert found.dtype == (torch.float32 if single else torch.float64)
        assert np.array_equal(found.numpy(), expected[as_index(index)]), name
    assert np.array_equal(rows.dense().numpy(), expected)
    assert np.array_equal(np.asarray(rows), expected)
    assert np.array_equal(torch.cat(list(rows.blocks())).numpy(), expected)


def test_a_row_handed_out_is_a_copy(tmp_path):
    for source in (
        numbers("f4"),
        on_disk(numbers("f4"), tmp_path),
        sparse.csr_array(numbers("f4")),
    ):
        rows = gb.Rows(source)
        rows[torch.tensor([0, 1])].fill_(7)
        assert np.array_equal(rows.dense().numpy(), numbers("f4"))


@pytest.mark.parametrize("make", [lambda a: a, torch.from_numpy, sparse.csr_array])
def test_scale_and_shift(make):
    bytes_ = np.random.default_rng(0).integers(0, 256, SHAPE).astype("u1")
    scaled = gb.Rows(make(bytes_), scale=1 / 255)
    assert np.array_equal(scaled[:].numpy(), bytes_.astype("f4") * np.float32(1 / 255))
    assert (scaled[:] <= 1).all()
    assert scaled[:].max() == 1
    scale, shift = torch.rand(5), torch.randn(5)
    moved = gb.Rows(make(bytes_), scale, shift)[torch.tensor([4, 2])]
    expected = bytes_[[4, 2]] * scale.double().numpy() + shift.double().numpy()
    assert moved.dtype == torch.float32
    assert np.allclose(moved.numpy(), expected, rtol=1e-6)


def test_affine_of_affine_is_their_composition():
    g = torch.Generator().manual_seed(0)
    a, b, c, d = torch.rand(4, 5, generator=g).double().unbind()
    rows = gb.Rows(numbers("f8"), scale=0.5, shift=2.0)
    twice = rows.affine(a, b).affine(c, d)
    expected = c * (a * (0.5 * torch.tensor(numbers("f8")) + 2) + b) + d
    assert torch.allclose(twice[:], expected, rtol=1e-14)
    picked = torch.tensor([3, 3, 1])
    assert torch.allclose(twice.take(picked)[:], expected[picked], rtol=1e-14)
    assert torch.equal(rows[:], 0.5 * torch.tensor(numbers("f8")) + 2), "the first one is unchanged"


@given(
    first=st.lists(st.integers(0, 16), min_size=1, max_size=30),
    data=st.data(),
)
def test_take_of_take_is_numpys(first, data):
    second = data.draw(st.lists(st.integers(0, len(first) - 1), min_size=1, max_size=30))
    third = data.draw(st.lists(st.integers(-len(second), len(second) - 1), min_size=1, max_size=9))
    expected = numbers("f4")[first][second]
    for source in (numbers("f4"), sparse.csr_array(numbers("f4")), torch.tensor(numbers("f4"))):
        rows = gb.Rows(source).take(torch.tensor(first)).take(torch.tensor(second))
        assert rows.shape == expected.shape
        assert np.array_equal(rows[torch.tensor(third)].numpy(), expected[third])
        assert np.array_equal(rows[1:3].numpy(), expected[1:3])
        assert np.array_equal(rows.dense().numpy(), expected)


def test_blocks_are_bounded_and_whole(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", 4 * 5 * 3 + 7)  # three rows and a bit
    for rows in (gb.Rows(numbers("f4")), gb.Rows(numbers("f4")).take(torch.arange(16, -1, -1))):
        blocks = list(rows.blocks())
        assert [len(block) for block in blocks] == [3, 3, 3, 3, 3, 2]
        assert torch.equal(torch.cat(blocks), rows[:])
    monkeypatch.setattr(module, "BLOCK_BYTES", 1)  # less than a row
    assert [len(block) for block in gb.Rows(numbers("f4")).blocks()] == [1] * 17


@pytest.mark.parametrize("n", [1, 16, 17, 100, 1000, 1001])
def test_spread_covers_the_table(n):
    rows = gb.Rows(np.arange(n, dtype="f4")[:, None] * np.ones(4, "f4"))
    found = rows.at(rows.spaced_index(limit=64))[:, 0]
    steps = found.diff()
    assert found[0] == 0
    assert len(found) * 4 <= 64 + 4
    assert (steps == steps[:1]).all()
    assert n - 1 - found[-1] < (steps[0] if len(steps) else n)
    assert len(found) >= min(n, 8)
    if n <= 16:
        assert len(found) == n


def test_dense_refuses_what_memory_cannot_hold(monkeypatch):
    rows = gb.Rows(np.broadcast_to(np.uint8(1), (10**9, 10**6)))
    assert rows[5:7].shape == (2, 10**6)
    for refused in (rows.dense, lambda: np.asarray(rows)):
        with pytest.raises(gb.TooLargeError, match="table of 1000000000 x 1000000"):
            refused()
    monkeypatch.setattr(os, "sysconf", lambda _: 100)  # a machine of 100 pages of 100 bytes
    gb.Rows(numbers("f4")).dense()
    with pytest.raises(gb.TooLargeError):
        gb.Rows(np.zeros((1000, 1))).dense()


def test_a_few_rows_of_a_large_file_take_little_memory(tmp_path):
    header = np.lib.format.header_data_from_array_1_0(np.zeros((0, 784), "u1"))
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header | {"shape": (10**8, 784)})
        file.truncate(file.tell() + 784 * 10**8)  # 78 GB of which the disk holds none
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = gb.Rows(np.load(tmp_path / "a.npy", mmap_mode="r"), scale=1 / 255)
    assert (
        rows[torch.randint(10**8, (1000,), generator=torch.Generator().manual_seed(0))].sum() == 0
    )
    assert rows.take(torch.arange(10**8 - 5, 10**8)).dense().shape == (5, 784)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18  # KiB


# training

TABLE = (np.random.default_rng(1).random((60, 6)) < 0.4).astype("f4")


def trained(data, visible=gb.Bernoulli) -> gb.RBM:
    rbm, g = gb.RBM(visible(6), gb.Bernoulli(3)), torch.Generator().manual_seed(0)
    gb.fit(rbm, data, epochs=3, batch_size=25, generator=g)
    return rbm


def assert_same(a: gb.RBM, b: gb.RBM) -> None:
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize(
    "make",
    [
        gb.Rows,
        lambda a: gb.Rows(a.astype("u1")),
        lambda a: gb.Rows((a * 255).astype("u1"), scale=1 / 255),
        lambda a: gb.Rows(a.astype(">f8")),
        lambda a: gb.Rows(torch.from_numpy(a).half()),
        lambda a: gb.Rows(sparse.coo_array(a)),
        lambda a: gb.Rows(sparse.csc_array(a.astype(bool))),
        lambda a: gb.Rows(np.concatenate([a, a])[::-1]).take(torch.arange(119, 59, -1)),
    ],
    ids=["array", "bytes", "grey", "big-endian", "half", "coo", "csc", "chosen"],
)
def test_training_on_rows_is_training_on_the_tensor(make):
    assert_same(trained(make(TABLE)), trained(torch.from_numpy(TABLE)))


def test_training_on_grey_rows_and_gaussian_units():
    grey = np.random.default_rng(0).integers(0, 256, (60, 6)).astype("u1")
    tensor = torch.from_numpy(grey).float() * np.float32(1 / 255)
    assert_same(trained(gb.Rows(grey, scale=1 / 255)), trained(tensor))
    scale, shift = torch.rand(6) + 0.5, torch.randn(6)
    moved = gb.Rows(grey, scale, shift)
    assert_same(trained(moved, gb.Gaussian), trained(moved.dense(), gb.Gaussian))


# what is refused


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros(3), r"shape \(3,\): expected \(rows, columns\)"),
        (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\)"),
        (np.zeros((0, 3)), "not empty"),
        (np.zeros((3, 0)), "not empty"),
        (np.array(1.0), r"shape \(\)"),
        (torch.zeros(3), r"shape \(3,\)"),
        (sparse.csr_array((0, 3)), "not empty"),
        (np.zeros((2, 2), complex), "complex128: expected real numbers"),
        (torch.zeros(2, 2, dtype=torch.complex64), "complex64: expected real"),
        (sparse.csr_array(np.eye(2) * 1j), "complex128: expected real"),
        (np.array([["a", "b"]]), "expected real"),
        (np.array([[None, {}]]), "object: expected real"),
        (np.zeros((2, 2), "M8[s]"), "expected real"),
        (np.zeros((2, 2), [("x", "f4")]), "expected real"),
        ([[1.0, 2.0]], "type list: expected a tensor, a numpy array or a scipy sparse matrix"),
        (None, "type NoneType"),
        ("a.npy", "type str"),
    ],
)
def test_a_source_that_is_no_table_of_numbers_is_refused(source, message):
    with pytest.raises(gb.DataError, match=message):
        gb.Rows(source)


@pytest.mark.parametrize("name", ["scale", "shift"])
@pytest.mark.parametrize("shape", [(4,), (17,), (1, 5), (5, 1), (17, 5), (0,)])
def test_a_scale_of_another_width_is_refused(name, shape):
    with pytest.raises(gb.DataError, match=rf"{name} of shape .*expected a number or \(5,\)"):
        gb.Rows(numbers("f4"), **{name: torch.ones(shape)})


@pytest.mark.parametrize("name", ["scale", "shift"])
@pytest.mark.parametrize("value", [math.inf, math.nan, torch.full((5,), -math.inf)])
def test_a_scale_that_is_not_finite_is_refused(name, value):
    with pytest.raises(gb.DataError, match=rf"{name}=.*: expected finite numbers"):
        gb.Rows(numbers("f4"), **{name: value})


def test_a_table_has_at_least_one_row():
    with pytest.raises(gb.DataError, match="no rows chosen"):
        gb.Rows(numbers("f4")).take(torch.tensor([], dtype=torch.long))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (gb.Rows(np.zeros((4, 5))), "5 columns"),
        (gb.Rows(np.full((4, 6), 2.0)), "2 at row 1, column 1"),
        (gb.Rows(np.array([[0.0] * 6, [0, 0, np.inf, 0, 0, 0]])), "inf"),
        (gb.Rows(np.ones((4, 6)), shift=-2.0), "-1 at row"),
    ],
)
def test_rows_not_fit_for_the_units_are_refused(rows, message):
    rbm = gb.RBM(gb.Bernoulli(6), gb.Bernoulli(3))
    with pytest.raises(gb.DataError, match=message):
        gb.fit(rbm, rows, epochs=1)
    assert not rbm.weight.any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (3, 1), (3, 4)])
def test_reversed_arrays_are_read_all_the_same(shape):
    table = np.arange(math.prod(shape), dtype=float).reshape(shape)
    for turned in (table[::-1], table[:, ::-1]):
        assert np.array_equal(gb.Rows(turned)[:].numpy(), turned)


@pytest.mark.parametrize("kind", ["u1", "f4", "f8", "i8"])
@pytest.mark.parametrize("chosen", [None, torch.tensor([8, 2, 2, 5])])
def test_column_extremes_span_the_range_of_every_column(monkeypatch, kind, chosen):
    monkeypatch.setattr(module, "BLOCK_BYTES", 3 * 6)
    table = np.random.default_rng(0).integers(0, 256, (9, 6)).astype(kind)
    rows = gb.Rows(table, scale=-0.5, shift=3.0)
    rows = rows if chosen is None else rows.take(chosen)
    found = torch.cat(list(rows.column_extremes()))
    assert torch.equal(found.amin(0), rows[:].amin(0))
    assert torch.equal(found.amax(0), rows[:].amax(0))


def test_rows_in_double_precision_are_shifted_in_it():
    table = np.random.default_rng(0).normal(1e6, 1, (20, 6))
    for rows in (gb.Rows(table, shift=-1e6), gb.Rows(table - 1e6)):
        found = fast(gb.Gaussian(6)).minibatch(rows, torch.arange(20))
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found.numpy(), table - 1e6, rtol=1e-6)


def test_data_that_want_a_gradient_are_trained_on():
    data = torch.rand(20, 6, requires_grad=True)
    for visible in (gb.Gaussian(6), gb.Bernoulli(6)):
        history = gb.fit(gb.RBM(visible, gb.Bernoulli(2)), data, epochs=1, batch_size=5)
        assert len(history) == 1


# what changes or lies


def mapped(folder, rows=400) -> gb.Rows:
    np.save(folder / "a.npy", (np.arange(rows * 6).reshape(rows, 6) % 2).astype("f4"))
    return gb.Rows(np.load(folder / "a.npy", mmap_mode="r"))


ACCESSES = {
    "slice": lambda rows: rows[:10],
    "rows": lambda rows: rows[torch.tensor([399])],
    "at": lambda rows: rows.at(torch.tensor([399]), torch.float32),
    "binarised_at": lambda rows: rows.binarised_at(torch.tensor([399])),
    "blocks": lambda rows: list(rows.blocks()),
    "column_extremes": lambda rows: list(rows.column_extremes()),
    "source_blocks": lambda rows: list(rows.source_blocks()),
    "taken": lambda rows: rows.take(torch.tensor([399])).dense(),
    "scaled": lambda rows: rows.affine(torch.ones(6), torch.ones(6))[:],
}


@pytest.mark.parametrize("access", ACCESSES.values(), ids=ACCESSES)
def test_a_file_cut_short_is_noticed_before_it_is_read(tmp_path, access):
    rows = mapped(tmp_path)
    access(rows)
    os.truncate(tmp_path / "a.npy", 200)
    with pytest.raises(gb.DataError, match=r"a\.npy was changed while it was read \(200 bytes, "):
        access(rows)


def test_a_file_written_over_is_noticed(tmp_path):
    rows = mapped(tmp_path)
    with (tmp_path / "a.npy").open("r+b") as file:
        file.seek(300)
        file.write(bytes(8))
    os.utime(tmp_path / "a.npy", ns=(0, 0))
    with pytest.raises(gb.DataError, match="was changed"):
        rows[:2]


def test_a_file_replaced_or_removed_is_still_read(tmp_path):
    rows = mapped(tmp_path)
    before = rows[:]
    np.save(tmp_path / "b.npy", np.zeros((2, 6)))
    (tmp_path / "b.npy").replace(tmp_path / "a.npy")
    assert torch.equal(rows[:], before)
    (tmp_path / "a.npy").unlink()
    assert torch.equal(rows[:], before)


def test_training_on_a_file_cut_short_keeps_its_checkpoint(tmp_path):
    rows = mapped(tmp_path)
    rbm, kept = gb.RBM(gb.Bernoulli(6), gb.Bernoulli(2)), gb.Checkpoints(tmp_path / "kept")

    def cut(rbm, record):
        if record["epoch"] == 2:
            os.truncate(tmp_path / "a.npy", 1000)

    g = torch.Generator().manual_seed(0)
    with pytest.raises(gb.DataError, match="go on from the last checkpoint"):
        gb.fit(rbm, rows, epochs=3, callbacks=[cut], checkpoints=kept, generator=g)
    again = gb.RBM(gb.Bernoulli(6), gb.Bernoulli(2))
    g = torch.Generator().manual_seed(0)
    assert len(gb.fit(again, mapped(tmp_path), epochs=3, checkpoints=kept, generator=g)) == 3


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (torch.tensor([0, 17]), "chosen holds row 17 of a table of 17 rows; expected 0 to 16"),
        (torch.tensor([3, -1]), "chosen holds row -1 of a table of 17 rows; expected 0 to 16"),
        (torch.tensor([2**62]), "chosen holds row 4611686018427387904"),
        (torch.tensor([[0]]), r"shape \(1, 1\)"),
        (torch.tensor(3), r"shape \(\)"),
        (torch.tensor([0.5]), "float32: expected a vector of row numbers"),
        (torch.ones(5, dtype=torch.bool), "yes or no to 5 rows of 17"),
        (torch.zeros(17, dtype=torch.bool), "no rows chosen"),
        ([0, 1], "chosen is a list"),
    ],
)
@pytest.mark.parametrize("make", [np.asarray, torch.tensor, sparse.csr_array])
def test_rows_that_are_not_there_cannot_be_chosen(make, chosen, message):
    with pytest.raises(gb.DataError, match=message):
        gb.Rows(make(numbers("f4")), chosen=chosen)


def test_rows_may_be_chosen_by_a_mask_or_by_bytes():
    mask = torch.arange(17) % 5 == 0
    for chosen in (mask, torch.tensor([0, 5, 10, 15], dtype=torch.uint8)):
        rows = gb.Rows(numbers("f4"), chosen=chosen)
        assert torch.equal(rows[:2], torch.from_numpy(numbers("f4"))[[0, 5]])


MAKERS = [np.asarray, torch.tensor, sparse.csr_array]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("chosen", [None, torch.tensor([3, 16, 0])])
def test_rows_are_indexed_as_arrays_are(make, chosen):
    rows = gb.Rows(make(numbers("f4")), chosen=chosen)
    plain = torch.from_numpy(numbers("f4"))
    plain = plain if chosen is None else plain[chosen]
    n = len(plain)
    for index in (0, -1, np.int64(1), [0], [0, -1], np.array([2, 1]), np.arange(n) == 1, []):
        assert torch.equal(rows[index], plain[torch.as_tensor(index).to(_kind(index))])
    assert torch.equal(rows[torch.tensor(2)], plain[2])
    assert torch.equal(rows[::-1], plain.flip(0))
    assert torch.equal(torch.stack(list(rows)), plain)
    assert torch.equal(torch.stack(list(reversed(rows))), plain.flip(0))


def _kind(index):
    return torch.bool if np.asarray(index).dtype == bool else torch.int64


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("index", [99, 17, -18, [99], [0, -18], torch.tensor([99]), 2**62])
def test_a_row_that_is_not_there_is_a_typed_index_error(make, index):
    with pytest.raises(RowError, match="of a table of 17 rows; expected -17 to 16") as caught:
        gb.Rows(make(numbers("f4")))[index]
    assert isinstance(caught.value, gb.DataError)
    assert isinstance(caught.value, IndexError)


@pytest.mark.parametrize(
    "index", [1.5, [0.5], "a", None, (0, 1), [[0]], ["a"], np.ones(3, bool), 2**70, [torch.ones(2)]]
)
def test_what_is_no_index_of_rows_is_refused(index):
    with pytest.raises(gb.DataError):
        gb.Rows(numbers("f4"))[index]


def test_rows_are_taken_of_those_chosen():
    rows = gb.Rows(numbers("f4"), chosen=torch.tensor([3, 16, 0]))
    assert rows.take(torch.tensor([2, 1])).chosen.tolist() == [0, 16]
    with pytest.raises(RowError, match="row 3 of a table of 3 rows"):
        rows.take(torch.tensor([3]))


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.coo_matrix])
def test_a_sparse_matrix_is_told_to_be_wrapped(kind):
    x, rbm = kind(np.eye(5)), gb.RBM(gb.Bernoulli(5), gb.Bernoulli(2))
    for use in (gb.fit, gb.evaluate, gb.exact.log_likelihood):
        with pytest.raises(gb.DataError, match=r"a sparse matrix: wrap it in gb.Rows\(x\)"):
            use(rbm, x)
    assert np.isfinite(gb.evaluate(rbm, gb.Rows(x)).log_likelihood)


@pytest.mark.parametrize("form", ["csr", "csc", "bsr", "coo"])
@pytest.mark.parametrize("index", [-1, 17, 10**6])
def test_a_sparse_matrix_with_indices_out_of_range_is_refused(form, index):
    table = sparse.coo_array(numbers("f4")).asformat(form)
    part = table.coords[0] if form == "coo" else table.indices
    part[3] = index
    with pytest.raises(gb.DataError, match="a sparse matrix with a damaged structure"):
        gb.Rows(table)


def test_a_sparse_matrix_whose_rows_run_backwards_is_refused():
    table = sparse.csr_array(numbers("f4"))
    table.indptr[3] = 10**6
    with pytest.raises(gb.DataError, match="damaged structure"):
        gb.Rows(table)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.ma.masked_array(np.eye(6), np.eye(6) > 0), "masked array"),
        (torch.eye(6).to_sparse(), "layout sparse_coo.*to_dense"),
        (torch.empty(6, 6, device="meta"), "device meta has no values"),
        (np.full((6, 6), 1e200), r"1e\+200 at row 1, column 1 .*beyond float32.*rescale"),
    ],
)
def test_data_that_would_be_lost_or_fail_untyped_are_refused(data, message):
    for read in (lambda: gb.Rows(data), lambda: data):
        with pytest.raises(gb.DataError, match=message):
            gb.fit(gb.RBM(gb.Gaussian(6), gb.Bernoulli(2)), read(), epochs=1)


def test_long_doubles_and_masks_that_hide_nothing_are_data():
    for data in (np.eye(6, dtype=np.longdouble), np.ma.masked_array(np.eye(6))):
        rbm = gb.RBM(gb.Bernoulli(6), gb.Bernoulli(2))
        assert torch.equal(rbm.visible.check_data(data), torch.eye(6))
