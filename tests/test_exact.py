"""Exact sums against loops over the definitions, quadrature, finite differences and autograd."""

import copy
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from montecarlo import assert_mean, hoeffding, state_numbers, total_variation, tv_floor
from oracle import (
    Case,
    agree,
    arrays,
    bernoulli_case,
    bernoulli_log_z,
    bernoulli_table,
    bits,
    gaussian_case,
    random_rbm,
)
from scipy.stats import norm

import gibbsite as gb


def binary_case(n_visible: int, n_hidden: int, seed: int) -> Case:
    rbm = random_rbm(gb.Bernoulli(n_visible), n_hidden, seed).requires_grad_(False)
    theta = dict(zip(("weight", "visible.bias", "hidden.bias"), arrays(rbm), strict=True))
    v = bits(n_visible)
    return Case(rbm, theta, v, bits(n_hidden), 1.0, v[np.arange(5) % len(v)])


CASES = {
    "4 > 3": bernoulli_case(0),
    "3 < 5": binary_case(3, 5, seed=1),
    "4 = 4": binary_case(4, 4, seed=2),
    "1 x 1": binary_case(1, 1, seed=3),
    "gaussian, shared sigma": gaussian_case(0.7, learn_sigma=False),
    "gaussian, sigma a unit": gaussian_case([0.6, 1.3], learn_sigma=False),
    "gaussian, learned shared sigma": gaussian_case(0.7, learn_sigma=True),
    "gaussian, learned sigma a unit": gaussian_case([0.6, 1.3], learn_sigma=True),
}
BINARY = {name: case for name, case in CASES.items() if case.cell == 1}
REAL = {name: case for name, case in CASES.items() if case.cell != 1}

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_binary = pytest.mark.parametrize("case", BINARY.values(), ids=BINARY)
each_real = pytest.mark.parametrize("case", REAL.values(), ids=REAL)


@each_case
def test_log_partition(case):
    agree(gb.exact.log_partition(case.rbm).item(), np.log(case.z()), 1e-11)


@pytest.mark.parametrize("shape", [(3, 2), (2, 4)])
def test_log_partition_by_loops(shape):
    rbm = random_rbm(gb.Bernoulli(shape[0]), shape[1], seed=4)
    agree(gb.exact.log_partition(rbm).item(), bernoulli_log_z(*arrays(rbm)))
    v = bits(shape[0])
    p = bernoulli_table(*arrays(rbm)).sum(1)
    agree(gb.exact.log_likelihood(rbm, v).exp().detach().numpy(), p)


def test_log_partition_without_weights_is_a_product():
    rbm = random_rbm(gb.Bernoulli(30), 12, seed=0)
    with torch.no_grad():
        rbm.weight.zero_()
    _, b, c = arrays(rbm)
    expected = np.log1p(np.exp(b)).sum() + np.log1p(np.exp(c)).sum()
    agree(gb.exact.log_partition(rbm).item(), expected, 1e-12)


@each_case
def test_log_likelihood(case):
    agree(gb.exact.log_likelihood(case.rbm, case.data).numpy(), case.log_p(case.data), 1e-10)


@each_case
def test_probabilities_sum_to_1(case):
    total = case.cell * gb.exact.log_likelihood(case.rbm, case.v).exp().sum().item()
    agree(total, 1.0, 1e-11)


@each_case
def test_moments(case):
    moments = gb.exact.moments(case.rbm)
    v, h = case.v.T[:, :, None], case.h.T[:, None]
    agree(moments.visible.numpy(), case.model_mean(v + 0 * h[0]))
    agree(moments.hidden.numpy(), case.model_mean(h + 0 * v[0]))
    product = [[case.model_mean(v_i * h_j) for h_j in h] for v_i in v]
    agree(moments.product.numpy(), product)


@each_case
def test_gradient_by_finite_differences(case):
    gradient = gb.exact.gradient(case.rbm, case.data)
    assert gradient.keys() == dict(case.rbm.named_parameters()).keys()
    for name, value in gradient.items():
        agree(value.numpy(), case.d_log_p(name, case.data).mean(-1))


def autograd(rbm: gb.RBM, data: np.ndarray) -> dict[str, torch.Tensor]:
    rbm.requires_grad_(True)
    names, parameters = zip(*rbm.named_parameters(), strict=True)
    mean = gb.exact.log_likelihood(rbm, data).mean()
    gradient = dict(zip(names, torch.autograd.grad(mean, parameters), strict=True))
    rbm.requires_grad_(False)
    return gradient


def assert_same(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for name, value in actual.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-10)


@each_case
def test_gradient_by_autograd(case):
    assert_same(gb.exact.gradient(case.rbm, case.data), autograd(case.rbm, case.data))


@each_case
def test_gradient_at_the_models_own_distribution_is_zero(case):
    """The data phase weighted by p(v) is the model phase."""
    v = torch.from_numpy(case.v)
    weights = torch.from_numpy(case.cell * case.p_v)
    assert_same(case.rbm.data_phase(v, weights), gb.exact.model_phase(case.rbm))


@each_case
def test_mirror(case):
    mirror = case.rbm.mirror()
    agree(gb.exact.log_partition(mirror).item(), np.log(case.z()), 1e-11)
    agree(gb.exact.log_likelihood(mirror, case.h).exp().numpy(), case.p_h, 1e-10)
    ours, theirs = gb.exact.moments(case.rbm), gb.exact.moments(mirror)
    agree(theirs.visible.numpy(), ours.hidden.numpy())
    agree(theirs.hidden.numpy(), ours.visible.numpy())
    agree(theirs.product.numpy(), ours.product.T.numpy())


def with_gaussian_hidden(case: Case) -> gb.RBM:
    """The same distribution, built with the binary layer as the visible one."""
    rbm = gb.RBM(gb.Bernoulli(case.rbm.hidden.n).double(), case.rbm.visible).double()
    with torch.no_grad():
        rbm.weight.copy_(case.rbm.weight.T)
        rbm.visible.bias.copy_(case.rbm.hidden.bias)
    return rbm


@each_real
def test_gaussian_hidden_units(case):
    rbm = with_gaussian_hidden(case)
    agree(gb.exact.log_partition(rbm).item(), np.log(case.z()), 1e-11)
    agree(gb.exact.log_likelihood(rbm, case.h).exp().detach().numpy(), case.p_h, 1e-10)
    assert_same(gb.exact.gradient(rbm, case.h[:5]), autograd(rbm, case.h[:5]))


@each_case
@pytest.mark.parametrize("block_bytes", [1, 200, 10_000])
def test_block_size_changes_nothing(case, block_bytes, monkeypatch):
    whole = results(case)
    monkeypatch.setattr(gb.exact, "BLOCK_BYTES", block_bytes)
    blocks = list(gb.exact._blocks(gb.exact._enumerated_side(case.rbm)))
    assert block_bytes > 1 or len(blocks) > 1
    assert_same(results(case), whole)


def results(case: Case) -> dict[str, torch.Tensor]:
    found = gb.exact.moments(case.rbm)._asdict()
    found |= {f"d {name}": d for name, d in gb.exact.gradient(case.rbm, case.data).items()}
    found |= {f"autograd {name}": d for name, d in autograd(case.rbm, case.data).items()}
    return found | {"log Z": gb.exact.log_partition(case.rbm)}


def test_blocks_of_very_different_weight(monkeypatch):
    """Blocks whose sums differ by e^±2000: the running expectation neither over- nor underflows."""
    monkeypatch.setattr(gb.exact, "BLOCK_BYTES", 1)
    rbm = gb.RBM(gb.Bernoulli(2), gb.Bernoulli(3)).double()
    with torch.no_grad():
        rbm.visible.bias.copy_(torch.tensor([2000.0, -2000.0]))
    moments = gb.exact.moments(rbm)
    assert moments.visible.tolist() == [1.0, 0.0]
    assert moments.hidden.tolist() == [0.5] * 3
    assert gb.exact.log_partition(rbm).item() == pytest.approx(2000 + 3 * np.log(2))


@each_binary
@pytest.mark.parametrize("block_bytes", [2**25, 200])
def test_samples_of_binary_units(case, block_bytes, monkeypatch):
    """Total variation from p(v) under the floor of 100,000 draws, in one block and in several."""
    monkeypatch.setattr(gb.exact, "BLOCK_BYTES", block_bytes)
    n, g = 100_000, torch.Generator().manual_seed(0)
    v = gb.exact.sample(case.rbm, n, generator=g)
    assert v.shape == (n, case.rbm.visible.n)
    assert total_variation(state_numbers(v), case.p_v) < tv_floor(case.p_v, n)


def test_samples_of_another_model_are_noticed():
    case, other = CASES["4 > 3"], bernoulli_case(1)
    v = gb.exact.sample(other.rbm, 100_000, generator=torch.Generator().manual_seed(0))
    assert total_variation(state_numbers(v), case.p_v) > tv_floor(case.p_v, 100_000)


@each_real
def test_samples_of_real_units(case):
    """Marginal histograms against the mixture of normals, means, and p(h) from p(h | v)."""
    n, g = 50_000, torch.Generator().manual_seed(0)
    v = gb.exact.sample(case.rbm, n, generator=g).numpy()
    means = case.b + case.sigma * (case.h @ case.w.T)
    for i in range(v.shape[1]):
        edges = np.quantile(v[:1000, i], np.linspace(0, 1, 12))[1:-1]
        p = np.diff(case.p_h @ norm.cdf(edges, means[:, i : i + 1], case.sigma[i]))
        lows, highs = case.p_h @ norm.cdf(edges[[0, -1]], means[:, i : i + 1], case.sigma[i])
        p = np.array([lows, *p, 1 - highs])
        later = v[1000:, i]  # the edges looked at the first 1000
        numbers = np.searchsorted(edges, later)
        assert total_variation(numbers, p) < tv_floor(p, len(later))
    assert_mean(v, case.p_h @ means)
    deviation = np.abs(case.h_given(v).mean(0) - case.p_h).max()
    assert deviation < hoeffding(n, comparisons=len(case.p_h))


def test_samples_are_independent_rows():
    """Neighbouring rows are uncorrelated (draws from several blocks are not left in order)."""
    case = CASES["4 > 3"]
    v = gb.exact.sample(case.rbm, 40_000, generator=torch.Generator().manual_seed(5)).numpy()
    deviation = v - case.p_v @ case.v
    assert_mean(deviation[::2] * deviation[1::2], np.zeros(4))


def test_samples_are_decided_by_the_generator():
    rbm = CASES["4 > 3"].rbm
    draws = [
        gb.exact.sample(rbm, 50, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@each_case
def test_float32_agrees_with_float64(case):
    single = copy.deepcopy(case.rbm).float()
    log_z = gb.exact.log_partition(single)
    assert log_z.dtype == torch.float32
    assert log_z.item() == pytest.approx(np.log(case.z()), rel=1e-5, abs=1e-5)
    actual, expected = (gb.exact.gradient(m, case.data) for m in (single, case.rbm))
    for name, value in actual.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-4, atol=1e-4)


def test_gradient_leaves_no_graph_and_no_grad():
    rbm = random_rbm(gb.Bernoulli(3), 2, seed=0)
    gradient = gb.exact.gradient(rbm, bits(3))
    assert not any(value.requires_grad for value in gradient.values())
    assert all(parameter.grad is None for parameter in rbm.parameters())


def test_autograd_without_the_weight():
    """A frozen weight: the other parameters still get their gradient."""
    rbm = random_rbm(gb.Bernoulli(3), 2, seed=0)
    rbm.weight.requires_grad_(False)
    gb.exact.log_partition(rbm).backward()
    expected = gb.exact.moments(rbm)
    torch.testing.assert_close(rbm.visible.bias.grad, expected.visible)
    torch.testing.assert_close(rbm.hidden.bias.grad, expected.hidden)


CALLS = {
    "log_partition": gb.exact.log_partition,
    "log_likelihood": lambda rbm: gb.exact.log_likelihood(rbm, torch.zeros(1, rbm.visible.n)),
    "moments": gb.exact.moments,
    "gradient": lambda rbm: gb.exact.gradient(rbm, torch.zeros(1, rbm.visible.n)),
    "model_phase": gb.exact.model_phase,
    "sample": lambda rbm: gb.exact.sample(rbm, 1),
    "ExactGradient": lambda rbm: gb.ExactGradient().step(
        rbm, gb.Batch(torch.zeros(1, rbm.visible.n)), None
    ),
}

each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@each_call
def test_too_many_states(call):
    rbm = gb.RBM(gb.Bernoulli(40), gb.Bernoulli(30))
    message = r"smaller side, Bernoulli\(30\), has 1\.07e\+09 states.*33,554,432.*PCD"
    with pytest.raises(gb.TooLargeError, match=message):
        call(rbm)


@each_call
def test_no_countable_side(call):
    rbm = gb.RBM(gb.Gaussian(3), gb.Gaussian(2))
    message = r"neither Gaussian\(3\) nor Gaussian\(2\).*small side of finite units"
    with pytest.raises(gb.TooLargeError, match=message):
        call(rbm)


def test_the_limit_itself_is_allowed(monkeypatch):
    monkeypatch.setattr(gb.exact, "MAX_STATES", 16)
    gb.exact.log_partition(gb.RBM(gb.Bernoulli(50), gb.Bernoulli(4)))
    gb.exact.log_partition(gb.RBM(gb.Bernoulli(4), gb.Gaussian(50)))


def test_is_enumerable():
    rbm = gb.RBM(gb.Bernoulli(100), gb.Bernoulli(25))
    assert gb.exact.is_enumerable(rbm)
    assert gb.exact.is_enumerable(rbm, 2**25)
    assert not gb.exact.is_enumerable(rbm, 2**25 - 1)
    assert not gb.exact.is_enumerable(gb.RBM(gb.Bernoulli(26), gb.Bernoulli(26)))


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "3", None])
def test_numbers_of_samples_that_are_none(n):
    with pytest.raises(gb.ArgumentError, match=r"n=.*whole number") as error:
        gb.exact.sample(CASES["4 > 3"].rbm, n)
    assert repr(n) in str(error.value)


@pytest.mark.parametrize("function", [gb.exact.log_likelihood, gb.exact.gradient])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(2, 5), "5 columns .* 4 units"),
        (torch.zeros(0, 4), r"shape \(0, 4\)"),
        (torch.tensor([[0.0, 1, 0, float("inf")]]), "inf at row 1, column 4"),
        (torch.full((2, 4), -0.5), "-0.5 at row 1, column 1"),
    ],
)
def test_unfit_data(function, data, message):
    with pytest.raises(gb.DataError, match=message):
        function(CASES["4 > 3"].rbm, data)


def peak_mib(statement: str, n_hidden: int) -> float:
    """MiB by which a statement on an RBM of 784 visible units raises the peak memory, measured
    in a process of its own after a small model has warmed everything up."""
    script = f"""
        import resource, torch, gibbsite as gb
        torch.set_num_threads(1)
        def run(n_hidden):
            g = torch.Generator().manual_seed(0)
            rbm = gb.RBM(gb.Bernoulli(784), gb.Bernoulli(n_hidden))
            with torch.no_grad():
                rbm.weight.normal_(0, 0.1, generator=g)
            {statement}
        run(4)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run({n_hidden})
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return int(found.stdout) / unit


STATEMENTS = {
    "log_partition and backward": "gb.exact.log_partition(rbm).backward()",
    "model_phase": "gb.exact.model_phase(rbm)",
    "sample": "gb.exact.sample(rbm, 100, generator=g)",
}


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
def test_memory_does_not_grow_with_the_states(statement):
    """2^17 states: one array of their inputs to 784 units would be 392 MiB."""
    assert peak_mib(statement, 17) < 256


def test_a_million_states_within_a_gibibyte():
    """2^20 states, 784 visible units: one such array would be 3.1 GiB."""
    assert peak_mib("with torch.no_grad(): gb.exact.log_partition(rbm)", 20) < 1024


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["weight", "visible.bias", "hidden.bias"])
def test_a_model_without_probabilities_is_refused(name, value):
    rbm, v = gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2)), torch.zeros(2, 3)
    with torch.no_grad():
        rbm.get_parameter(name).flatten()[-1] = value
    uses = (
        lambda: gb.exact.log_partition(rbm),
        lambda: gb.exact.log_likelihood(rbm, v),
        lambda: gb.exact.gradient(rbm, v),
        lambda: gb.exact.moments(rbm),
        lambda: gb.reconstruct(rbm, v),
        lambda: gb.reconstruction_error(rbm, v),
    )
    for use in uses:
        with pytest.raises(gb.ArgumentError, match=f"the model's {name} holds {value}, which"):
            use()
