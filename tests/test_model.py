"""The RBM: its formulas against loops over the definitions, shapes, dtypes and bad input."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from montecarlo import state_numbers, total_variation, tv_floor
from oracle import (
    agree,
    arrays,
    bernoulli_case,
    bernoulli_energy,
    bits,
    gaussian_case,
    gaussian_energy,
    random_rbm,
)
from outcomes import outcome

import gibbsite as gb

CASES = {
    "bernoulli": bernoulli_case(0),
    "gaussian shared": gaussian_case(0.7, learn_sigma=False),
    "gaussian per unit": gaussian_case([0.6, 1.3], learn_sigma=True),
}

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def test_bernoulli_energy_by_loops():
    rbm = random_rbm(gb.Bernoulli(3), 2, seed=0)
    for v, h in itertools.product(bits(3), bits(2)):
        agree(rbm.energy(v, h).item(), bernoulli_energy(*arrays(rbm), v, h))


@pytest.mark.parametrize("sigma", [0.7, [0.6, 1.3, 2.0]])
def test_gaussian_energy_by_loops(sigma):
    rbm = random_rbm(gb.Gaussian(3, sigma=sigma), 2, seed=1)
    scale = rbm.visible.sigma.numpy()
    for v, h in itertools.product(np.random.default_rng(0).normal(size=(4, 3)), bits(2)):
        agree(rbm.energy(v, h).item(), gaussian_energy(*arrays(rbm), scale, v, h))


@each_case
def test_free_energy_sums_the_hidden_states_out(case):
    expected = -np.log(np.exp(-case.energy(case.data)).sum(1))
    agree(case.rbm.free_energy(case.data).numpy(), expected)


@each_case
def test_hidden_conditional(case):
    p = case.h_given(case.data)
    agree(case.rbm.hidden_mean(case.data).numpy(), p @ case.h)
    log_p = case.rbm.log_prob_hidden(case.h[None], case.data[:, None])
    agree(log_p.exp().numpy(), p)


@each_case
def test_visible_conditional(case):
    p = case.joint / case.joint.sum(0)
    agree(case.rbm.visible_mean(case.h).numpy(), p.T @ case.v, 1e-8)
    v, joint = case.v[::97], case.joint[::97]
    log_p = case.rbm.log_prob_visible(v[:, None], case.h[None])
    agree(log_p.exp().numpy(), joint / case.p_h, 1e-8)


@each_case
def test_joint_factorises_both_ways(case):
    """log p(v, h) - log p(v', h) is the same from E and from p(v | h); likewise in h."""
    v, h = torch.from_numpy(case.data[:, None]), torch.from_numpy(case.h[None])
    negative = -case.rbm.energy(v, h)
    by_h = case.rbm.log_prob_hidden(h, v) - case.rbm.free_energy(v)
    by_v = case.rbm.log_prob_visible(v, h) - case.rbm.mirror().free_energy(h)
    agree(by_h.numpy(), negative.numpy())
    agree(by_v.numpy(), negative.numpy())


def test_samples_of_the_conditionals():
    """Total variation from p(h | v) and p(v | h), under the floor of 50,000 draws."""
    case, n = CASES["bernoulli"], 50_000
    g = torch.Generator().manual_seed(0)
    for row in (0, 2):
        h = case.rbm.sample_hidden(np.tile(case.data[row], (n, 1)), generator=g)
        p = case.h_given(case.data[row : row + 1])[0]
        assert total_variation(state_numbers(h), p) < tv_floor(p, n)
        v = case.rbm.sample_visible(np.tile(case.h[row], (n, 1)), generator=g)
        p = case.joint[:, row] / case.p_h[row]
        assert total_variation(state_numbers(v), p) < tv_floor(p, n)


@each_case
def test_mirror_exchanges_the_layers(case):
    mirror = case.rbm.mirror()
    h, v = torch.from_numpy(case.h[:4]), torch.from_numpy(case.data[:4])
    agree(mirror.energy(h, v).numpy(), case.rbm.energy(v, h).numpy())
    agree(mirror.hidden_mean(h).numpy(), case.rbm.visible_mean(h).numpy())
    agree(mirror.visible_mean(v).numpy(), case.rbm.hidden_mean(v).numpy())
    expected = -np.log(case.p_h * case.z())
    agree(mirror.free_energy(case.h).numpy(), expected, 1e-8)
    agree(mirror.mirror().free_energy(v).numpy(), case.rbm.free_energy(v).numpy())


def test_mirror_shares_the_parameters():
    rbm = random_rbm(gb.Bernoulli(3), 2, seed=0)
    mirror = rbm.mirror()
    with torch.no_grad():
        rbm.weight.fill_(2.0)
    assert (mirror.weight == 2).all()
    assert mirror.hidden is rbm.visible
    gb.exact.log_partition(mirror).backward()
    assert rbm.weight.grad is not None


@each_case
def test_phase_is_the_mean_slope_of_minus_the_energy(case):
    """At known v and h, with weights, against finite differences of the energy."""
    rows = len(case.data)
    h = case.h[np.arange(rows) % len(case.h)]
    weights = torch.arange(1.0, rows + 1).double() / 7 - 0.5  # of either sign, as both phases have
    v, h_rows = torch.from_numpy(case.data), torch.from_numpy(h)
    visible, hidden = case.rbm.visible.moments_at(v), case.rbm.hidden.moments_at(h_rows)
    phase = case.rbm.phase(visible, hidden, weights)
    assert phase.keys() == dict(case.rbm.named_parameters()).keys()
    picked = np.arange(rows) % len(case.h)
    for name, value in phase.items():
        slopes = case.d_energy(name, case.data)[..., np.arange(rows), picked]
        agree(value.numpy(), -(slopes * weights.numpy()).sum(-1))


@each_case
def test_data_phase_is_minus_the_slope_of_the_free_energy(case):
    weights = torch.linspace(0.1, 0.5, len(case.data)).double()
    v = torch.from_numpy(case.data)
    for given_weights in (None, weights):
        phase = case.rbm.data_phase(v, given_weights)
        share = np.full(len(v), 1 / len(v)) if given_weights is None else weights.numpy()
        for name, value in phase.items():
            slopes = case.data_mean(case.d_energy(name, case.data), case.data)
            agree(value.numpy(), -(slopes * share).sum(-1))


@each_dtype
@pytest.mark.parametrize("make", [gb.Bernoulli, gb.Gaussian])
def test_results_keep_the_dtype(make, dtype):
    rbm = random_rbm(make(4), 3, seed=0).to(dtype)
    v, h = torch.ones(2, 4), torch.ones(2, 3)
    results = [rbm.energy(v, h), rbm.free_energy(v), rbm.hidden_mean(v), rbm.visible_mean(h)]
    results += [rbm.sample_hidden(v), rbm.sample_visible(h)]
    results += [rbm.log_prob_hidden(h, v), rbm.log_prob_visible(v, h)]
    assert {result.dtype for result in results} == {dtype}


@each_dtype
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_huge_weights_stay_finite(dtype, size):
    rbm = gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2)).to(dtype)
    with torch.no_grad():
        rbm.weight.fill_(size)
    v = torch.ones(1, 3)
    assert rbm.free_energy(v).item() == pytest.approx(-2 * max(3 * size, 0))
    assert rbm.hidden_mean(v).tolist() == [[float(size > 0)] * 2]
    assert torch.isfinite(rbm.log_prob_hidden(rbm.sample_hidden(v), v)).all()


def test_leading_axes_are_kept():
    rbm = random_rbm(gb.Bernoulli(4), 3, seed=0)
    v, h = torch.ones(2, 5, 4), torch.ones(2, 5, 3)
    assert rbm.energy(v, h).shape == rbm.free_energy(v).shape == (2, 5)
    assert rbm.hidden_mean(v).shape == rbm.sample_hidden(v).shape == (2, 5, 3)
    assert rbm.visible_mean(h).shape == rbm.sample_visible(h).shape == (2, 5, 4)
    assert rbm.energy(v[0, 0], h[0, 0]).shape == ()
    assert rbm.energy(v[:, :1], h[:1]).shape == (2, 5)


def test_states_that_do_not_pair_up_are_refused():
    rbm = gb.RBM(gb.Bernoulli(4), gb.Bernoulli(3))
    v, h = torch.zeros(5, 4), torch.zeros(2, 3)
    with pytest.raises(gb.DataError):
        rbm.energy(v, h)
    with pytest.raises(gb.DataError):
        rbm.log_prob_hidden(h, v)
    with pytest.raises(gb.DataError):
        rbm.log_prob_visible(v, h)


def test_parameters_have_their_public_names():
    rbm = gb.RBM(gb.Gaussian(4, learn_sigma=True), gb.Bernoulli(3))
    shapes = {name: tuple(value.shape) for name, value in rbm.named_parameters()}
    expected = {"weight": (4, 3), "visible.bias": (4,), "hidden.bias": (3,)}
    assert shapes == expected | {"visible.log_sigma": (1,)}
    assert not any(parameter.any() for parameter in rbm.parameters())


@pytest.mark.parametrize("bad", [5, "bernoulli", None, gb.Bernoulli, torch.zeros(3)])
def test_what_is_not_a_layer(bad):
    with pytest.raises(gb.ArgumentError, match=r"visible=.*expected a layer"):
        gb.RBM(bad, gb.Bernoulli(2))
    with pytest.raises(gb.ArgumentError, match=r"hidden=.*expected a layer"):
        gb.RBM(gb.Bernoulli(2), bad)


def test_one_layer_cannot_be_both():
    layer = gb.Bernoulli(3)
    with pytest.raises(gb.ArgumentError, match="same object"):
        gb.RBM(layer, layer)


@pytest.mark.parametrize("double", ["visible", "hidden"])
def test_layers_of_two_dtypes_work_or_are_refused(double):
    layers = {"visible": gb.Bernoulli(4), "hidden": gb.Bernoulli(3)}
    layers[double] = layers[double].double()
    try:
        rbm = gb.RBM(**layers)
    except gb.ArgumentError:
        return
    assert gb.exact.log_partition(rbm).item() == pytest.approx(7 * np.log(2))
    assert rbm.energy(torch.ones(1, 4), torch.ones(1, 3)).item() == 0


def test_sampling_takes_nothing_from_the_global_generator():
    rbm = random_rbm(gb.Bernoulli(4), 3, seed=0)
    before = torch.get_rng_state()
    rbm.sample_hidden(torch.ones(2, 4), generator=torch.Generator().manual_seed(0))
    rbm.sample_visible(torch.ones(2, 3), generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


METHODS = ["free_energy", "hidden_mean", "sample_hidden", "hidden_inputs"]


@given(
    shape=st.lists(st.integers(0, 5), max_size=3).map(tuple),
    method=st.sampled_from(METHODS),
    kind=st.sampled_from([torch.float32, torch.float64, torch.int64, torch.bool, torch.float16]),
)
def test_any_shape_of_v_works_or_is_refused_by_width(shape, method, kind):
    rbm = gb.RBM(gb.Bernoulli(4), gb.Bernoulli(3))
    v = torch.ones(shape).to(kind)
    result, message = outcome(lambda: getattr(rbm, method)(v))
    assert (message is None) == (shape[-1:] == (4,))
    if message is not None:
        assert f"have {shape[-1] if shape else 'no'} columns" in message
        return
    assert result.shape[: len(shape) - 1] == shape[:-1]


def test_a_model_or_a_sample_beyond_the_memory_is_refused_before_it_is_made():
    with pytest.raises(gb.TooLargeError, match="use fewer"):
        gb.RBM(gb.Bernoulli(10**6), gb.Bernoulli(10**6))
    with pytest.raises(gb.TooLargeError, match="use fewer"):
        gb.Bernoulli(10**14)
    with pytest.raises(gb.TooLargeError, match="use fewer"):
        gb.sample(gb.RBM(gb.Bernoulli(10), gb.Bernoulli(10)), 10**12)
