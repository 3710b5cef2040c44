"""No kernel is told of a shape that nobody looked at: wrong ones are refused, by a typed error."""

import numpy as np
import pytest
import torch

import gibbsite as gb
from gibbsite.ops import Kernels, Numba

N, M, ROWS = 5, 3, 4


def arguments(rows: int = ROWS, n: int = N, m: int = M, dtype=torch.float32) -> dict:
    """Good arguments of each public function of tensors, by name."""

    def zeros(*shape, dtype=dtype):
        return torch.zeros(shape, dtype=dtype)

    double = torch.float64
    table, index = np.zeros((rows, n), np.uint8), np.arange(rows)
    w, b, c = zeros(n, m), zeros(n), zeros(m)
    ones = torch.ones(n, dtype=dtype)
    return {
        "draw_bernoulli_": (zeros(rows, n), zeros(n), None, 1.0),
        "draw_probabilities_": (zeros(rows, n),),
        "draw_gaussian_": (zeros(rows, n), zeros(n), ones, None, 1.0),
        "draw_rectified_": (zeros(rows, n), zeros(n), ones, None, 1.0),
        "draw_double_rectified_": (
            *(zeros(rows, n), (zeros(n), zeros(n)), (ones, ones.clone())),
            *(None, 1.0),
        ),
        "draw_spin_": (zeros(rows, n), zeros(n), None, 1.0),
        "draw_categorical_": (zeros(rows, n), zeros(n), (2, n - 2), None, 1.0),
        "mean_categorical_": (zeros(rows, n), zeros(n), (2, n - 2)),
        "mean_bernoulli_": (zeros(rows, n), zeros(n)),
        "softplus_sum": (zeros(rows, n), zeros(n)),
        "softplus_change": (*(zeros(rows, n), b, zeros(n)), 0.0, 1.0, zeros(rows, dtype=double)),
        "add_row_dot_": (zeros(rows, dtype=double), zeros(rows, n), zeros(n), 0.5),
        "product": (zeros(rows, n), w, zeros(rows, m)),
        "weighted": (zeros(rows, n), zeros(rows)),
        "is_binary": (zeros(rows, n),),
        "gather": (table, index, 1.0, 0.0),
        "gather_and_draw": (table, index, 1.0, 0.0),
        "gather_in_units": (table, index, np.zeros(n), np.ones(n)),
        "center_": (w, (b, c), (zeros(n), zeros(m))),
        "square_sum": ([w, b],),
        "ascend_": ([w, b], [zeros(n, m), zeros(n)], 0.1, [zeros(n, m), zeros(n)], 0.5),
    }


SHAPES = [(), (0,), (1,), (2,), (N + 1,), (N, N), (0, N), (ROWS, 0), (ROWS, N + 1), (10**6,)]
SHAPES += [(ROWS + 1, N), (M, N), (1, N), (ROWS, N, 1), (3,), (3, N - 1), (ROWS - 1, N)]
TYPES = [torch.float32, torch.float64, torch.float16, torch.int64, torch.bool, torch.complex64]


def forged(x, random: np.random.Generator):
    """Something else in place of a tensor or an array: another shape, type or layout."""
    shape = SHAPES[random.integers(len(SHAPES))] if random.random() < 0.7 else tuple(x.shape)
    dtype = TYPES[random.integers(len(TYPES))] if random.random() < 0.5 else torch.float32
    other = torch.zeros(shape, dtype=dtype)
    if random.random() < 0.2 and other.ndim == 2:
        other = other.T.contiguous().T
    if isinstance(x, torch.Tensor):
        return other
    return other.real.numpy().astype(np.int64 if x.dtype == np.int64 else other.real.numpy().dtype)


def places(value, path=()):
    """Paths to the tensors and arrays within nested arguments."""
    if isinstance(value, torch.Tensor | np.ndarray):
        yield path
    elif isinstance(value, tuple | list):
        for k, part in enumerate(value):
            yield from places(part, (*path, k))


def with_part(value, path, change):
    if not path:
        return change(value)
    parts = [with_part(x, path[1:], change) if k == path[0] else x for k, x in enumerate(value)]
    return type(value)(parts)


each_kernel = pytest.mark.parametrize("name", arguments())
each_backend = pytest.mark.parametrize("kernels", [Kernels(), Numba()], ids=["plain", "numba"])


def test_every_kernel_is_here():
    assert set(arguments()) == {name for name in vars(Kernels) if not name.startswith("_")}
    assert set(vars(Numba)) - {"__doc__", "__module__"} <= set(vars(Kernels))


@each_kernel
@each_backend
def test_good_arguments_are_taken(kernels, name):
    getattr(kernels, name)(*arguments()[name])


@each_kernel
@each_backend
def test_forged_arguments_work_or_raise_our_errors(kernels, name):
    random = np.random.default_rng(sum(map(ord, name)))
    for _ in range(150):
        made = arguments()[name]
        paths = list(places(made))
        for _ in range(random.integers(1, 3)):
            path = paths[random.integers(len(paths))]
            made = with_part(made, path, lambda x: forged(x, random))
        try:
            getattr(kernels, name)(*made)
        except gb.GibbsiteError as error:
            assert str(error)  # noqa: PT017


@each_kernel
@each_backend
def test_a_wrong_shape_is_refused_wherever_it_is(kernels, name):
    """All but the first argument must fit it, or each other; nothing may be written then."""
    made = arguments()[name]
    paths = [path for path in places(made) if path != (0,) or name == "add_row_dot_"]
    if name in ("square_sum", "is_binary"):  # which take any
        return
    for path in paths:
        if name.startswith("gather") and path == (1,):
            continue  # fewer row numbers: the shape of out is wrong instead
        longer = with_part(made, path, lambda x: x[..., :0])
        with pytest.raises(gb.GibbsiteError):
            getattr(kernels, name)(*longer)


@pytest.mark.parametrize("part", ["x", "weight", "out"])
@each_backend
def test_large_products_are_not_told_of_wrong_shapes(kernels, part):
    """As with sizes for which lookup tables pay: rows not there would be read and written."""
    x, weight, out = torch.zeros(200, 160), torch.zeros(160, 130), torch.zeros(200, 130)
    assert kernels.product(x, weight, out) is out
    sizes = {"x": x, "weight": weight, "out": out}
    for wrong in (sizes[part][:-1], sizes[part][:, :-1], sizes[part].double(), sizes[part][0]):
        with pytest.raises(gb.DataError):
            kernels.product(**(sizes | {part: wrong.contiguous()}))
