"""No kernel is told of a shape that nobody looked at: wrong ones are refused, by a typed error."""

import math

import numpy as np
import pytest
import torch

import gibbsite as gb
from gibbsite import ops

N, M, ROWS = 5, 3, 4


def arguments(rows: int = ROWS, n: int = N, m: int = M, dtype=torch.float32) -> dict:
    """Good arguments of each public function of tensors, by name."""

    def zeros(*shape, dtype=dtype):
        return torch.zeros(shape, dtype=dtype)

    double = torch.float64
    table, index = np.zeros((rows, n), np.uint8), np.arange(rows)
    w, b, c = zeros(n, m), zeros(n), zeros(m)
    return {
        "draw_bernoulli_": (zeros(rows, n), zeros(n), None, 1.0, zeros(n)),
        "mean_and_draw_": (zeros(rows, n), zeros(n), None, 1, zeros(rows - 1, n)),
        "draw_probabilities_": (zeros(rows, n),),
        "draw_gaussian_": (
            zeros(rows, n),
            zeros(n),
            torch.ones(n, dtype=dtype),
            None,
            1.0,
            zeros(n),
        ),
        "mean_bernoulli_": (zeros(rows, n), zeros(n)),
        "softplus_sum": (zeros(rows, n), zeros(n)),
        "softplus_change": (*(zeros(rows, n), b, zeros(n)), 0.0, 1.0, zeros(rows, dtype=double)),
        "add_row_dot_": (zeros(rows, dtype=double), zeros(rows, n), zeros(n), 0.5),
        "product": (zeros(rows, n), w, zeros(rows, m)),
        "phase_statistics_": (
            *(zeros(rows, n), zeros(rows, m), 1, zeros(3, n), zeros(3, m), zeros(rows, m)),
        ),
        "phase_spread_": (zeros(rows, n), 1, zeros(n), zeros(n)),
        "row_dots": (zeros(rows, n), zeros(rows, n), zeros(rows)),
        "is_binary": (zeros(rows, n),),
        "gather": (table, index, zeros(rows, n), 1.0, 0.0),
        "gather_and_draw": (table, index, zeros(rows, n), 1.0, 0.0),
        "gather_in_units": (table, index, zeros(rows, n), np.zeros(n), np.ones(n)),
        "center_": (w, (b, c), (zeros(n), zeros(m)), (zeros(n), zeros(m))),
        "square_sum": ([w, b],),
        "ascend_": ([w, b], [zeros(n, m), zeros(n)], 0.1, [zeros(n, m), zeros(n)], 0.5),
        "updates_": (*moving(rows, n, m, dtype), zeros(rows, n), 2, 1, (0.01, 0.1, 0.5)),
    }


def moving(rows: int, n: int, m: int, dtype=torch.float32) -> tuple[ops.Ascent]:
    def three():
        return [torch.zeros(shape, dtype=dtype) for shape in ((n, m), (n,), (m,))]

    chains = [torch.zeros(rows, k, dtype=dtype) for k in (n, m)]
    return (ops.Ascent(three(), three(), chains, three()[1:]),)


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
    return type(value)(*parts) if isinstance(value, ops.Ascent) else type(value)(parts)


def tolerated(name: str, made) -> None:
    """A call either works or raises an error of ours."""
    try:
        getattr(ops, name)(*made)
    except gb.GibbsiteError as error:
        assert str(error)  # noqa: PT017


@pytest.mark.parametrize("name", arguments())
def test_good_arguments_are_taken(name):
    getattr(ops, name)(*arguments()[name])


@pytest.mark.parametrize("name", arguments())
def test_forged_arguments_work_or_raise_our_errors(name):
    random = np.random.default_rng(sum(map(ord, name)))
    for _ in range(150):
        made = arguments()[name]
        paths = list(places(made))
        for _ in range(random.integers(1, 3)):
            path = paths[random.integers(len(paths))]
            made = with_part(made, path, lambda x: forged(x, random))
        tolerated(name, made)


@pytest.mark.parametrize("name", arguments())
def test_a_wrong_shape_is_refused_wherever_it_is(name):
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
            getattr(ops, name)(*longer)


@pytest.mark.parametrize("part", ["x", "weight", "out"])
def test_tabled_sums_are_not_told_of_wrong_shapes(part):
    """As with sizes that pay: rows that are not there would be read and written."""
    x, weight, out = torch.zeros(200, 160), torch.zeros(160, 130), torch.zeros(200, 130)
    assert ops.product(x, weight, out) is out
    sizes = {"x": x, "weight": weight, "out": out}
    for wrong in (sizes[part][:-1], sizes[part][:, :-1], sizes[part].double(), sizes[part][0]):
        with pytest.raises(gb.DataError):
            ops.product(**(sizes | {part: wrong.contiguous()}))


@pytest.mark.parametrize("rows", [0, -1, ROWS, ROWS + 1, 10**9])
def test_numbers_of_rows_are_looked_at(rows):
    x, n = torch.zeros(ROWS, N), torch.zeros(N)
    with pytest.raises(gb.DataError):
        ops.phase_spread_(x, rows, n, n.clone())
    with pytest.raises(gb.DataError):
        ops.phase_statistics_(x, x, rows, torch.zeros(3, N), torch.zeros(3, N), x.clone())
    if not 0 <= rows <= ROWS:
        with pytest.raises(gb.DataError):
            ops.mean_and_draw_(x, n, start=rows)


@pytest.mark.parametrize("batch_size", [0, -3, 2.5, None, True])
def test_updates_look_at_the_sizes_of_minibatches(batch_size):
    ascent, data, _, steps, rates = arguments()["updates_"]
    with pytest.raises(gb.ArgumentError, match="batch_size"):
        ops.updates_(ascent, data, batch_size, steps, rates)


@pytest.mark.parametrize("value", [7.0, 0.5, math.nan])
@pytest.mark.parametrize("side", [0, 1])
def test_chains_of_other_than_zeros_and_ones_are_refused(value, side):
    ascent, *rest = arguments()["updates_"]
    ascent.chains[side][2, 1] = value
    with pytest.raises(gb.DataError, match="zeros and ones"):
        ops.updates_(ascent, *rest)


def test_what_a_checkpoint_may_forge_is_refused():
    """h of other sizes or types, offsets of 10^7 entries, momentum of one."""
    ascent, *rest = arguments()["updates_"]
    v, h = ascent.chains
    for chains in ([v, torch.zeros(101, 16)], [v, h.long()], [v[:0], h[:0]], [v], [v, h[:1]]):
        with pytest.raises(gb.DataError):
            ops.updates_(ascent._replace(chains=chains), *rest)
    for offsets in ([torch.zeros(10**7), torch.zeros(M)], [torch.zeros(N)], []):
        with pytest.raises(gb.DataError):
            ops.updates_(ascent._replace(offsets=offsets), *rest)
    for velocities in ([torch.zeros(1)] * 3, [torch.zeros(N * M), *ascent.velocities[1:]], []):
        with pytest.raises(gb.DataError):
            ops.updates_(ascent._replace(velocities=velocities), *rest)
    across = [torch.zeros(M, N).T, *ascent.parameters[1:]]
    with pytest.raises(gb.DataError, match="contiguous"):
        ops.updates_(ascent._replace(parameters=across), *rest)
