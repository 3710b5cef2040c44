"""The compiled kernels against plain torch, and their random numbers against chance."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gibbsite import ops
from gibbsite.ops import Kernels, Numba, compiling, kernels_for, numba_kernels

numba, plain = Numba(), Kernels()

DTYPES = [torch.float32, torch.float64]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 as its paper defines it, in Python's integers."""
    c, k, mask = list(counter), list(key), 2**32 - 1
    for _ in range(10):
        low, high = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(high >> 32) ^ c[1] ^ k[0], high & mask, (low >> 32) ^ c[3] ^ k[1], low & mask]
        k = [(k[0] + 0x9E3779B9) & mask, (k[1] + 0xBB67AE85) & mask]
    return c


def uniforms(rows: int, n: int, key: int) -> np.ndarray:
    """The uniform number that belongs to each place of a table."""
    together = max(1, 2048 // n)
    quarter, u = -(-together * n // 4), np.zeros((rows, n))
    for i in range(rows):
        for j in range(n):
            group, place = i // together, i % together * n + j
            counter, key_words = [place % quarter, group, 0, 0], [key & (2**32 - 1), key >> 32]
            u[i, j] = ((philox(counter, key_words)[place // quarter] >> 8) + 0.5) * 2.0**-24
    return u


def test_philox_gives_the_published_words():
    """The known answers that come with the authors' Random123."""
    assert philox([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
    e = [0xA4093822, 0x299F31D0]
    assert philox(pi, e) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


def drawn_with(key: int, monkeypatch) -> None:
    monkeypatch.setattr(numba_kernels, "key", lambda generator: np.array([key], dtype=np.uint64))


@pytest.mark.parametrize("n", [1, 3, 4, 5, 8, 11, 1500, 2049])
def test_draws_compare_with_the_numbers_of_their_place(monkeypatch, n):
    key = 0x0123456789ABCDEF
    drawn_with(key, monkeypatch)
    p = torch.rand(7, n, generator=generator())
    expected = uniforms(7, n, key) < p.numpy()
    assert np.array_equal(numba.draw_probabilities_(p.clone()).numpy(), expected)
    bias = torch.randn(n, generator=generator(1))
    inputs = torch.logit(p) - bias
    assert np.array_equal(numba.draw_bernoulli_(2 * inputs, bias, None, 0.5).numpy(), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (300, 400)])
def test_the_mean_equals_plain_torchs(dtype, shape):
    g = generator(sum(shape))
    x = 5 * torch.randn(shape, generator=g, dtype=dtype)
    bias = torch.randn(shape[1], generator=g, dtype=dtype)
    exact, exact_bias = x.double(), bias.double()
    mean = numba.mean_bernoulli_(x.clone(), bias)
    expected = plain.mean_bernoulli_(exact.clone(), exact_bias)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    torch.testing.assert_close(mean.double(), expected, atol=1e-30, rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 64), (2, 65), (300, 400), (2, 3000)])
@pytest.mark.parametrize("spread", [0.1, 5.0, 100.0])
@pytest.mark.parametrize("step", [(0.0, 1.0), (0.5, 0.501), (0.9, 0.2)])
def test_softplus_change_equals_the_reference(dtype, shape, spread, step):
    """At worst every factor of the product is a rounding off, and all on the same side."""
    g = generator(shape[1])
    x = spread * torch.randn(shape, generator=g, dtype=dtype)
    bias, base = (spread * torch.randn(shape[1], generator=g, dtype=dtype) for _ in range(2))
    found = numba.softplus_change(x, bias, base, *step)
    expected = plain.softplus_change(x.double(), bias.double(), base.double(), *step)
    assert found.dtype == torch.float64
    size = spread if dtype == torch.float32 else 1e-8 * spread
    torch.testing.assert_close(found, expected, atol=1e-6 * size * shape[1] ** 0.5 * 3, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (3, 64), (2, 65), (300, 400), (2, 3000), (2, 3, 70)])
@pytest.mark.parametrize("spread", [0.1, 5.0, 100.0])
def test_softplus_sum_equals_the_reference(dtype, shape, spread):
    g = generator(shape[-1])
    x = spread * torch.randn(shape, generator=g, dtype=dtype)
    bias = spread * torch.randn(shape[-1], generator=g, dtype=dtype)
    found, expected = numba.softplus_sum(x, bias), plain.softplus_sum(x.double(), bias.double())
    assert found.dtype == dtype
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    torch.testing.assert_close(found.double(), expected, atol=0, rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_softplus_sum_of_what_is_not_finite_is_what_torch_makes_of_it(value, dtype):
    x, bias = torch.zeros(2, 70, dtype=dtype), torch.zeros(70, dtype=dtype)
    x[1, 66] = value
    expected = plain.softplus_sum(x, bias)
    torch.testing.assert_close(numba.softplus_sum(x, bias), expected, equal_nan=True)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_softplus_change_of_what_is_not_finite_is_not(value):
    x, bias = torch.zeros(2, 70), torch.zeros(70)
    x[1, 66] = value
    found = numba.softplus_change(x, bias, bias, 0.25, 0.5)
    assert found[0] == 0
    assert math.isfinite(found[1]) == (value == -math.inf)


@pytest.mark.parametrize("value", [-1e4, -88.0, -50.0, 0.0, 50.0, 88.0, 1e4])
def test_extreme_inputs_stay_finite_and_right(value):
    x, bias = torch.full((2, 5), value), torch.zeros(5)
    mean = numba.mean_bernoulli_(x.clone(), bias)
    torch.testing.assert_close(mean, torch.sigmoid(x), atol=2e-38, rtol=1e-6)
    softplus = max(value, 0.0) + math.log1p(math.exp(-abs(value)))
    change = numba.softplus_change(x, bias, bias, 0.0, 1.0)[0].item()
    assert change == pytest.approx(5 * (softplus - math.log(2)), rel=1e-6)
    if abs(value) > 40:
        assert torch.equal(numba.draw_bernoulli_(x.clone(), bias, generator()), (x > 0).float())


@pytest.mark.parametrize("shape", [(2, 5), (300, 400)])
def test_nan_is_drawn_as_0_and_stays_nan_in_the_mean(shape):
    x, bias = torch.full(shape, math.nan), torch.zeros(shape[1])
    assert not numba.draw_bernoulli_(x.clone(), bias, generator()).any()
    assert not numba.draw_probabilities_(x.clone(), generator()).any()
    assert numba.mean_bernoulli_(x.clone(), bias).isnan().all()


def correlations(bits: torch.Tensor) -> np.ndarray:
    """Correlation of every pair of series, (pairs,); the series are rows."""
    x = bits.double() - bits.double().mean(1, keepdim=True)
    x /= x.norm(dim=1, keepdim=True).clamp(min=1e-9)  # a constant correlates with nothing
    table = (x @ x.T).numpy()
    return table[np.triu_indices(len(table), 1)]


def largest(n_pairs: int, length: int) -> float:
    """What the largest of so many sample correlations exceeds once in 10^6 times."""
    return math.sqrt(2 * math.log(2 * n_pairs * 1e6) / length)


def kernels():
    """Each random kernel as a function that gives a fresh (rows, n) table with mean 0."""
    zeros = lambda n: torch.zeros(n)  # noqa: E731
    return {
        "bernoulli": lambda r, n, g: numba.draw_bernoulli_(torch.zeros(r, n), zeros(n), g) - 0.5,
        "probabilities": lambda r, n, g: (
            numba.draw_probabilities_(torch.full((r, n), 0.5), g) - 0.5
        ),
        "gaussian": lambda r, n, g: numba.draw_gaussian_(
            torch.zeros(r, n), zeros(n), torch.ones(n), g
        ),
    }


def suspicious(draw) -> list[str]:
    """Where numbers depend on each other: over columns, rows, or successive calls."""
    g, rows, n = generator(5), 4096, 37
    first, second = draw(rows, n, g), draw(rows, n, g)
    found = []
    pairs = n * (n - 1) // 2
    if abs(correlations(first.T)).max() > largest(pairs, rows):
        found.append("columns")
    wide = draw(37, rows, g)
    if abs(correlations(wide)).max() > largest(pairs, rows):
        found.append("rows")
    if abs((first * second).mean(0) / first.var()).max() > largest(n, rows):
        found.append("calls")
    if abs((first[1:] * first[:-1]).mean(0) / first.var()).max() > largest(n, rows):
        found.append("neighbours")
    return found


@pytest.mark.parametrize("name", kernels())
def test_numbers_are_uncorrelated_over_columns_rows_and_calls(name):
    assert suspicious(kernels()[name]) == []


@pytest.mark.parametrize("name", kernels())
def test_a_key_used_twice_is_noticed(monkeypatch, name):
    drawn_with(12345, monkeypatch)
    assert "calls" in suspicious(kernels()[name])


def test_a_counter_without_the_row_or_column_is_noticed():
    def without_row(rows, n, g):
        return (torch.rand(1, n, generator=g) < 0.5).float().expand(rows, n) - 0.5

    def without_column(rows, n, g):
        return (torch.rand(rows, 1, generator=g) < 0.5).float().expand(rows, n) - 0.5

    assert "columns" in suspicious(without_column)
    assert "neighbours" in suspicious(without_row)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.001, 0.3, 0.5, 0.97])
def test_frequencies_pass_chi_square_over_places_and_calls(dtype, p):
    """Every place of a small table over many calls, and every column of a large one."""
    g, n, calls = generator(int(1000 * p)), 9, 4000
    logit = math.log(p / (1 - p))
    counts = sum(
        numba.draw_bernoulli_(
            torch.full((3, n), logit, dtype=dtype), torch.zeros(n, dtype=dtype), g
        )
        for _ in range(calls)
    )
    wide = torch.full((4000, 200), logit, dtype=dtype)
    large = numba.draw_bernoulli_(wide, torch.zeros(200, dtype=dtype), g)
    for ones, trials in ((counts, calls), (large.sum(0), len(large))):
        z2 = ((ones - trials * p) ** 2 / (trials * p * (1 - p))).sum().item()
        degrees = ones.numel()
        assert abs(z2 - degrees) < 6 * math.sqrt(2 * degrees) + 6 / (trials * p * (1 - p))


@pytest.mark.parametrize("dtype", DTYPES)
def test_gaussian_draws_have_the_normal_distribution(dtype):
    x = torch.full((1000, 403), 2.0, dtype=dtype)
    bias, sigma = torch.full((403,), -1.0, dtype=dtype), torch.full((403,), 0.5, dtype=dtype)
    z = (numba.draw_gaussian_(x, bias, sigma, generator(), scale=0.25) + 1 - 0.25) / 0.5
    values = np.sort(z.double().flatten().numpy())
    n = len(values)
    below = 0.5 * (1 + torch.erf(torch.from_numpy(values) / math.sqrt(2)).numpy())
    distance = np.abs(below - (np.arange(n) + 0.5) / n).max()
    assert distance < math.sqrt(math.log(2 * 1e6) / (2 * n))  # Kolmogorov's, once in 10^6


def table_functions():
    """Each function of whole tables, of a table and a generator for what else it takes."""

    def weights(x, g):
        return [torch.randn(n, generator=g, dtype=x.dtype) for n in x.shape]

    def center(module, x, g):
        return x, *module.center_(x, weights(x, g), weights(x, g))

    def ascend(module, x, g):
        gradient, velocity = (torch.randn(x.shape, generator=g, dtype=x.dtype) for _ in range(2))
        b, c = (torch.randn(5, generator=g, dtype=x.dtype) for _ in range(2))
        module.ascend_([x, b], [gradient, 2 * b], 0.3, [], 0.0)
        module.ascend_([x, b], [gradient, 2 * b], 0.2, [velocity, c], 0.7)
        return x, b, velocity, c

    def add_row_dot(module, x, g):
        total = torch.randn(len(x), generator=g, dtype=torch.float64)
        module.add_row_dot_(total, x, weights(x, g)[1], -0.3)
        return total

    return {
        "add_row_dot": add_row_dot,
        "weighted": lambda module, x, g: module.weighted(x, weights(x, g)[0]),
        "square_sum": lambda module, x, g: torch.tensor(module.square_sum([x, *weights(x, g)])),
        "center": center,
        "ascend": ascend,
    }


def with_threads(number: int, run):
    threads = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        return run()
    finally:
        torch.set_num_threads(threads)


def test_draws_do_not_depend_on_the_number_of_threads():
    """300 x 400 is large enough to be shared out."""
    x, bias = torch.randn(300, 400, generator=generator()), torch.zeros(400)
    draw = lambda: numba.draw_bernoulli_(x.clone(), bias, generator(3))  # noqa: E731
    assert torch.equal(*(with_threads(number, draw) for number in (1, 2)))


@pytest.mark.parametrize("name", table_functions())
def test_tables_do_not_depend_on_the_number_of_threads(name):
    x, run = torch.randn(300, 400, generator=generator()), table_functions()[name]
    one, two = (with_threads(k, lambda: run(numba, x.clone(), generator(1))) for k in (1, 2))
    pairs = [(one, two)] if isinstance(one, torch.Tensor) else zip(one, two, strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_the_first_parallel_kernel_leaves_torch_its_number_of_threads():
    """Numba's pool of threads may be torch's own, whose size Numba would then set."""
    code = """
import torch
torch.set_num_threads(3)
from gibbsite import ops
ops.Numba().draw_bernoulli_(torch.zeros(400, 400), torch.zeros(400))
raise SystemExit(torch.get_num_threads() != 3)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(seed=st.integers(0, 2**63 - 1), rows=st.integers(1, 4), n=st.integers(1, 9))
def test_the_generator_alone_decides(seed, rows, n):
    def draw(g):
        return numba.draw_gaussian_(torch.zeros(rows, n), torch.zeros(n), torch.ones(n), g)

    before = torch.get_rng_state()
    g = generator(seed)
    first, second = draw(g), draw(g)
    assert torch.equal(draw(generator(seed)), first)
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


def test_views_and_vectors_take_the_reference_path():
    x = torch.zeros(6, 4).T
    assert numba.draw_bernoulli_(x, torch.full((6,), 50.0), generator()).eq(1).all()
    bias = torch.zeros(4)
    assert numba.softplus_change(torch.zeros(2, 3, 4), bias, bias, 0.0, 0.5).shape == (2, 3)


def test_a_forked_child_can_draw():
    """GNU OpenMP aborts a child that shares out work after its parent did."""
    code = """
import os, torch
from gibbsite import ops
x, b = torch.zeros(400, 400), torch.zeros(400)
ops.Numba().draw_bernoulli_(x, b)
pid = os.fork()
if pid == 0:
    torch.set_num_threads(1)
    ops.Numba().draw_bernoulli_(x, b)
    os._exit(0)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_importing_the_package_does_not_import_what_is_slow():
    code = "import sys, gibbsite; print({'numba', 'sklearn', 'matplotlib'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize("name", table_functions())
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 1), (3, 7), (70, 5), (300, 400)])
def test_tables_are_worked_on_as_by_plain_torch(name, dtype, shape):
    """In double precision; the shares of a row are as exact as the type."""
    x = torch.randn(shape, generator=generator(), dtype=dtype)
    run = table_functions()[name]
    found = run(numba, x.clone(), generator(1))
    expected = run(plain, x.clone(), generator(1))
    if isinstance(found, torch.Tensor):
        found, expected = (found,), (expected,)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        scale = theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, atol=10 * tolerance * scale, rtol=tolerance)


@pytest.mark.parametrize("name", table_functions())
def test_tables_of_other_layouts_are_worked_on_too(name):
    """A transposed table takes the reference path."""
    x, run = torch.randn(30, 40, generator=generator()).T, table_functions()[name]
    found, expected = (run(module, x.clone(), generator(1)) for module in (numba, plain))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_square_sum_with_what_is_not_finite_is_not(value):
    x = torch.zeros(300, 400)
    x[123, 45] = value
    assert not math.isfinite(numba.square_sum([x]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_binary_tables_are_told_from_others(dtype):
    x = torch.randint(2, (20, 30), generator=generator()).to(dtype)
    assert numba.is_binary(x)
    assert numba.is_binary(x.T)
    for value in (0.5, 2.0, -1.0, math.nan, 1e-30):
        other = x.clone()
        other[19, 29] = value
        assert not numba.is_binary(other)
        assert not plain.is_binary(other)


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (200, 500)])
def test_gathered_rows_are_those_of_the_table(shape):
    random = np.random.default_rng(0)
    table = random.integers(0, 256, (40, shape[1]), dtype=np.uint8)
    rows = random.integers(0, 40, shape[0])
    for source in (table, table[::-1], np.asfortranarray(table)):
        found = numba.gather(source, rows, 1 / 255, 0.5)
        expected = np.float32(0.5) + np.float32(1 / 255) * source[rows].astype(np.float32)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
        for missing in (-1, 40):
            assert numba.gather(source, np.append(rows, missing), 1.0, 0.0) is None


@pytest.mark.parametrize("kind", ["u1", "f4", "f8"])
@pytest.mark.parametrize("shape", [(5, 7), (200, 500)])
def test_gathered_rows_are_in_units(kind, shape):
    random = np.random.default_rng(0)
    table = random.integers(0, 256, (40, shape[1])).astype(kind)
    rows = random.integers(0, 40, shape[0])
    for kernels in (numba, plain):
        found = kernels.gather(table, rows, 0.5, -1.0)
        assert np.array_equal(found.numpy(), 0.5 * table[rows] - 1)
    shift, scale = random.normal(size=(2, shape[1]))
    for units in ((shift, scale), (0.1, 0.3)):
        expected = (table[rows].astype(np.float64) - units[0]) / units[1]
        for kernels in (numba, plain):
            found = kernels.gather_in_units(table, rows, *units)
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-7)
    for missing in (-1, 40):
        assert numba.gather_in_units(table, np.append(rows[1:], missing), 0.0, 1.0) is None


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (200, 500), (3, 3000)])
@pytest.mark.parametrize("levels", [2, 256])
def test_gathered_rows_are_drawn_as_in_two_steps(shape, levels):
    """From the same key; also where a group of rows is all zeros and ones and needs no numbers."""
    random = np.random.default_rng(0)
    table = random.integers(0, levels, (40, shape[1]), dtype=np.uint8)
    table[:20] = np.where(table[:20] < levels // 2, 0, levels - 1)
    rows, scale = random.integers(0, 40, shape[0]), 1 / (levels - 1)
    probabilities = numba.gather(table, rows, scale, 0.0)
    expected = numba.draw_probabilities_(probabilities.clone(), generator(1))
    found = numba.gather_and_draw(table, rows, scale, 0.0, generator(1))
    assert torch.equal(found, expected)
    assert numba.is_binary(found)
    ones = probabilities == 1
    assert found[ones].all()
    assert not found[probabilities == 0].any()
    assert numba.gather_and_draw(table, np.append(rows, 40), scale, 0.0) is None


@pytest.mark.parametrize(("work", "within"), [(10, 1), (2**30, 2)])
def test_small_work_is_done_by_one_thread(work, within):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    found = []

    def fail() -> None:
        with ops.fitting_threads(work):
            found.append(torch.get_num_threads())
            raise KeyError

    try:
        with pytest.raises(KeyError):
            fail()
        assert [*found, torch.get_num_threads()] == [within, 2]
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", ["draw_bernoulli", "softplus_change", "add_row_dot"])
def test_parallel_kernels_are_kept_on_disk_beside_the_serial_ones(name):
    """Numba tells code on disk apart by the function's name: two of one name would be mixed up."""
    serial, parallel = (compiling.kernel(name, shared) for shared in (False, True))
    assert serial.py_func.__qualname__ != parallel.py_func.__qualname__
    assert serial._cache._cache_file._index_name != parallel._cache._cache_file._index_name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0])
def test_a_scale_moves_the_inputs(dtype, scale):
    """The draw of scale * x, by the same random numbers as where those are the inputs."""
    g = generator()
    x = 2 * torch.randn(300, 40, generator=g, dtype=dtype)
    bias, spread = (torch.randn(40, generator=g, dtype=dtype) for _ in range(2))
    inputs, sigma = scale * x, spread.exp()
    found = numba.draw_bernoulli_(x.clone(), bias, generator(1), scale)
    expected = numba.draw_bernoulli_(inputs.clone(), bias, generator(1))
    assert (found != expected).float().mean() < 1e-3  # but where rounding decides
    found = numba.draw_gaussian_(x.clone(), bias, sigma, generator(1), scale)
    expected = numba.draw_gaussian_(inputs.clone(), bias, sigma, generator(1))
    tolerance = 1e-4 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def test_compiled_kernels_serve_where_nothing_is_recorded():
    x = torch.zeros(2, 3)
    assert type(kernels_for(x)) is Kernels
    assert type(kernels_for()) is Numba
    with torch.no_grad():
        assert type(kernels_for(x, x.double())) is Numba
        assert type(kernels_for(x, x.to("meta"))) is Kernels


def test_plain_torch_can_be_differentiated():
    """The slope of sum_j log(1 + exp(b_j + x_j)) in b_j is the sigmoid."""
    x, bias = torch.randn(4, 3, generator=generator()), torch.zeros(3, requires_grad=True)
    kernels_for(x, bias).softplus_sum(x, bias).sum().backward()
    torch.testing.assert_close(bias.grad, torch.sigmoid(x).sum(0))


def test_the_centred_direction_is_that_of_the_formula():
    g = generator()
    weight, s, t, mu, lam = (torch.randn(n, generator=g).double() for n in ((5, 3), 5, 3, 5, 3))
    expected = weight - torch.outer(s, lam) - torch.outer(mu, t)
    left, right = plain.center_(weight, (s, t), (mu, lam))
    for found, wanted in ((weight, expected), (left, expected @ lam), (right, mu @ expected)):
        torch.testing.assert_close(found, wanted)


def test_rows_are_weighted_each_by_its_own():
    x, weights = torch.randn(4, 3, generator=generator()), torch.tensor([1.0, -2.0, 0.0, 0.5])
    assert torch.equal(plain.weighted(x, weights), torch.diag(weights) @ x)
