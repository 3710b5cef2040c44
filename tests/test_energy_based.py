"""The general model: an RBM given as an energy is the RBM; other energies against brute force."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import agree, bernoulli_case, bits, derivative
from outcomes import outcome

import gibbsite as gb

V, H = torch.from_numpy(bits(3)), torch.from_numpy(bits(2))


def rbm_energy(v, h, t):
    coupling = ((v @ t["weight"]) * h).sum(-1)
    return -coupling - v @ t["visible.bias"] - h @ t["hidden.bias"]


def coupled_energy(v, h, t):
    """Couplings within v, within h, between them, and of third order: no RBM."""
    inside = ((v @ t["J"]) * v).sum(-1) + ((h @ t["K"]) * h).sum(-1)
    third = torch.einsum("abi,abj,abk,ijk->ab", *torch.broadcast_tensors(v, v), h, t["T"])
    return -inside - ((v @ t["W"]) * h).sum(-1) - third


def coupled_energy_by_loops(v, h, t):
    total = 0.0
    for i, k in itertools.product(range(3), range(3)):
        total += t["J"][i, k] * v[i] * v[k]
    for j, k in itertools.product(range(2), range(2)):
        total += t["K"][j, k] * h[j] * h[k]
    for i, j in itertools.product(range(3), range(2)):
        total += t["W"][i, j] * v[i] * h[j]
    for i, k, j in itertools.product(range(3), range(3), range(2)):
        total += t["T"][i, k, j] * v[i] * v[k] * h[j]
    return -total


SHAPES = {"J": (3, 3), "K": (2, 2), "W": (3, 2), "T": (3, 3, 2)}


def coupled_model(seed: int = 0) -> tuple[gb.EnergyBasedModel, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    theta = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}

    def energy(v, h, t):
        v_wide, h_wide = v.expand(-1, h.shape[1], -1), h.expand(v.shape[0], -1, -1)
        return coupled_energy(v_wide, h_wide, t)

    parameters = {name: torch.from_numpy(value) for name, value in theta.items()}
    return gb.EnergyBasedModel(energy, parameters, V, H), theta


def table(theta: dict[str, np.ndarray]) -> np.ndarray:
    return np.array([[coupled_energy_by_loops(v, h, theta) for h in bits(2)] for v in bits(3)])


def log_p_v(theta: dict[str, np.ndarray]) -> np.ndarray:
    weights = np.exp(-table(theta))
    return np.log(weights.sum(1) / weights.sum())


@pytest.fixture(scope="module", params=[0, 1])
def pair(request):
    """An RBM, the same as an energy function, and its brute-force case."""
    case = bernoulli_case(request.param)
    theta = {name: torch.from_numpy(value) for name, value in case.theta.items()}
    v, h = torch.from_numpy(case.v), torch.from_numpy(case.h)
    return case.rbm, gb.EnergyBasedModel(rbm_energy, theta, v, h), case


def test_an_rbm_has_the_same_log_partition(pair):
    rbm, model, _ = pair
    agree(model.log_partition().item(), gb.exact.log_partition(rbm).item(), 1e-12)


def test_an_rbm_has_the_same_distributions(pair):
    rbm, model, case = pair
    agree(model.log_joint().exp().numpy(), case.joint, 1e-12)
    agree(model.log_visible().numpy(), gb.exact.log_likelihood(rbm, case.v).numpy())
    agree(model.log_hidden().numpy(), gb.exact.log_likelihood(rbm.mirror(), case.h).numpy())
    v, h = torch.from_numpy(case.data), torch.from_numpy(case.h)
    expected = rbm.log_prob_hidden(h[None], v[:, None])
    agree(model.log_hidden_given(v).numpy(), expected.numpy())


def test_an_rbm_has_the_same_likelihood_and_gradient(pair):
    rbm, model, case = pair
    data = torch.from_numpy(case.data)
    expected = gb.exact.log_likelihood(rbm, data).mean().item()
    agree(model.log_likelihood(data).item(), expected)
    exact = gb.exact.gradient(rbm, data)
    ours = model.gradient(data)
    assert ours.keys() == exact.keys()
    for name, value in ours.items():
        agree(value.numpy(), exact[name].numpy())


def test_another_energy_by_loops():
    model, theta = coupled_model()
    energies = table(theta)
    joint = np.exp(-energies) / np.exp(-energies).sum()
    agree(model.energy_table().numpy(), energies)
    agree(model.log_partition().item(), np.log(np.exp(-energies).sum()))
    agree(model.log_joint().exp().numpy(), joint)
    agree(model.log_visible().exp().numpy(), joint.sum(1))
    agree(model.log_hidden().exp().numpy(), joint.sum(0))
    given_v = joint / joint.sum(1, keepdims=True)
    agree(model.log_hidden_given(V).exp().numpy(), given_v)


DATA = V[[1, 6, 6, 3]]


def test_another_likelihood_by_loops():
    model, theta = coupled_model()
    agree(model.log_likelihood(DATA).item(), log_p_v(theta)[[1, 6, 6, 3]].mean())


@pytest.mark.parametrize("name", SHAPES)
def test_another_gradient_by_finite_differences(name):
    model, theta = coupled_model()

    def mean(x):
        return np.asarray(log_p_v(theta | {name: x})[[1, 6, 6, 3]].mean())

    agree(model.gradient(DATA)[name].numpy(), derivative(mean, theta[name]), 1e-8)


def test_another_gradient_by_autograd():
    model, _ = coupled_model(seed=1)
    leaves = {name: value.clone().requires_grad_() for name, value in model.parameters.items()}
    again = gb.EnergyBasedModel(model.energy, leaves, V, H)
    derivatives = torch.autograd.grad(again.log_likelihood(DATA), list(leaves.values()))
    for (name, value), expected in zip(model.gradient(DATA).items(), derivatives, strict=True):
        torch.testing.assert_close(value, expected, msg=name)


def test_gradient_where_gradients_are_off():
    model, _ = coupled_model()
    expected = model.gradient(DATA)
    with torch.no_grad():
        actual = model.gradient(DATA)
    assert all(torch.equal(actual[name], expected[name]) for name in SHAPES)


def test_states_need_not_be_binary_or_a_product():
    """Three spin states of v, two of h, one of which v never meets otherwise."""
    v = torch.tensor([[-1.0, 1.0], [1.0, 1.0], [0.0, -1.0]]).double()
    h = torch.tensor([[-1.0], [2.5]]).double()
    w = torch.tensor([0.3, -0.8]).double()
    model = gb.EnergyBasedModel(lambda v, h, t: -((v @ t["w"]) * h[..., 0]), {"w": w}, v, h)
    weights = np.exp([[float(row @ w) * float(s) for s in h] for row in v])
    agree(model.log_visible().exp().numpy(), weights.sum(1) / weights.sum())
    uniform_gradient = model.gradient(v)["w"].numpy()
    mean = ((weights / weights.sum())[:, :, None] * v.numpy()[:, None] * h.numpy()[None]).sum(
        (0, 1)
    )
    given_v = weights / weights.sum(1, keepdims=True)
    data = (v.numpy() * (given_v @ h.numpy())).mean(0)
    agree(uniform_gradient, data - mean)


def test_a_parameter_that_does_nothing_has_gradient_zero():
    model, _ = coupled_model()
    unused = dict(model.parameters) | {"unused": torch.ones(2).double()}
    gradient = gb.EnergyBasedModel(model.energy, unused, V, H).gradient(DATA)
    assert gradient["unused"].tolist() == [0.0, 0.0]


def test_huge_energies_stay_finite():
    model, _ = coupled_model()
    big = {name: 1e4 * value for name, value in model.parameters.items()}
    model = gb.EnergyBasedModel(model.energy, big, V, H)
    assert torch.isfinite(model.log_partition())
    assert model.log_joint().exp().sum().item() == pytest.approx(1)


def test_an_energy_of_the_wrong_shape():
    model = gb.EnergyBasedModel(lambda v, h, t: -(v @ t["b"]), {"b": torch.ones(3).double()}, V, H)
    with pytest.raises(gb.ArgumentError, match=r"shape \(8, 1\), expected \(8, 4\)"):
        model.log_partition()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_an_energy_that_is_not_finite(bad):
    model = gb.EnergyBasedModel(
        lambda v, h, t: t["b"] + 0 * (v.sum(-1) + h.sum(-1)), {"b": torch.tensor(bad)}, V, H
    )
    with pytest.raises(gb.ArgumentError, match="NaN or infinity"):
        model.log_partition()


METHODS = ["log_likelihood", "gradient", "log_hidden_given"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(2, 4), r"shape \(2, 4\): expected \(rows, 3\)"),
        (torch.zeros(0, 3), r"shape \(0, 3\)"),
        (torch.zeros(3), r"shape \(3,\)"),
        (torch.tensor([[0.0, 1, 1], [0.5, 0, 0]]), "row 2 .* is none of the 8 visible states"),
        (torch.tensor([[float("nan"), 1, 1]]), "row 1 .* is none"),
    ],
)
def test_unfit_data(method, data, message):
    model, _ = coupled_model()
    with pytest.raises(gb.DataError, match=message):
        getattr(model, method)(data.double())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("convert", [torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.float])
def test_data_as_arrays_and_lists_are_taken_or_refused(method, convert):
    model, _ = coupled_model()
    try:
        actual = getattr(model, method)(convert(DATA))
    except gb.DataError:
        return
    torch.testing.assert_close(actual, getattr(model, method)(DATA))


@given(
    shape=st.lists(st.integers(0, 4), max_size=3).map(tuple),
    value=st.sampled_from([0.0, 1.0, 0.5, float("nan"), float("inf")]),
)
def test_any_data_are_taken_or_refused(shape, value):
    model, _ = coupled_model()
    result, message = outcome(lambda: model.log_likelihood(torch.full(shape, value).double()))
    if message is not None:
        assert str(shape) in message or "row 1 (counted from 1) is none of the 8" in message
        return
    assert value in (0, 1)
    assert torch.isfinite(result)
