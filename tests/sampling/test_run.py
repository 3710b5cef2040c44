"""Running chains: starts, burn-in, thinning, reconstruction, bad options."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from montecarlo import assert_mean, state_numbers, total_variation, tv_floor
from oracle import agree, bernoulli_case, random_rbm
from outcomes import outcome

import gibbsite as gb

CASE = bernoulli_case(0)
RBM = CASE.rbm


class Counter:
    """A deterministic sampler: every step adds 1 to v, so that a state tells its age."""

    def init(self, rbm, v, generator=None):
        return gb.sampling.GibbsState(v)

    def step(self, rbm, state, generator=None):
        return gb.sampling.GibbsState(state.v + 1), None


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_independent_draws_reach_the_distribution():
    """The exact kernel says how far 20 steps leave p; the draws then pass the floor of p."""
    kernel = (CASE.joint / CASE.p_v[:, None]) @ (CASE.joint / CASE.p_h).T
    start = np.exp(CASE.v @ CASE.b)
    after = start / start.sum() @ np.linalg.matrix_power(kernel, 20)
    assert np.abs(after - CASE.p_v).sum() < 1e-4
    v = gb.sample(RBM, 50_000, steps=20, generator=generator())
    assert total_variation(state_numbers(v), CASE.p_v) < tv_floor(CASE.p_v, 50_000) + 1e-4


def test_too_few_steps_are_noticed():
    v = gb.sample(RBM, 50_000, steps=0, generator=generator())
    assert total_variation(state_numbers(v), CASE.p_v) > tv_floor(CASE.p_v, 50_000) + 1e-4


def test_random_start_is_the_model_without_weights():
    v = gb.random_start(RBM, 50_000, generator())
    p = np.exp(CASE.v @ CASE.b)
    p /= p.sum()
    assert total_variation(state_numbers(v), p) < tv_floor(p, 50_000)


def test_random_start_of_real_units():
    rbm = random_rbm(gb.Gaussian(3, sigma=[0.5, 1.0, 2.0]), 2, seed=0)
    v = gb.random_start(rbm, 20_000, generator()).numpy()
    mean = rbm.visible.bias.detach().numpy()
    assert_mean(v, mean)
    assert_mean((v - mean) ** 2, [0.25, 1.0, 4.0])


@pytest.mark.parametrize(("steps", "age"), [(0, 0), (1, 1), (7, 7)])
def test_burn_in_counts_steps(steps, age):
    start = torch.zeros(3, 4)
    v = gb.sample(RBM, 3, sampler=Counter(), steps=steps, start=start)
    assert (v == age).all()


@pytest.mark.parametrize(
    ("n", "chains", "thin", "ages"),
    [
        (5, 2, 1, [3, 3, 4, 4, 5]),
        (6, 3, 4, [3, 3, 3, 7, 7, 7]),
        (2, 5, 1, [3, 3]),
        (4, 1, 2, [3, 5, 7, 9]),
    ],
)
def test_thinning(n, chains, thin, ages):
    start = torch.zeros(chains, 4)
    v = gb.sample(RBM, n, sampler=Counter(), steps=3, thin=thin, start=start)
    assert v.shape == (n, 4)
    assert v[:, 0].tolist() == ages


def test_rows_come_from_chains_in_turn():
    start = torch.tensor([[0.0] * 4, [0.25] * 4])
    v = gb.sample(RBM, 5, sampler=Counter(), steps=0, start=start)
    assert (v[:, 0] % 1).tolist() == [0.0, 0.25, 0.0, 0.25, 0.0]


def test_no_steps_return_the_start():
    start = torch.eye(4)
    assert torch.equal(gb.sample(RBM, 4, steps=0, start=start), start.double())


def test_the_generator_decides():
    draws = [gb.sample(RBM, 20, steps=3, generator=generator(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    gb.sample(RBM, 20, steps=3, generator=generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_reconstruction_is_mean_field():
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    h = sigmoid(CASE.c + CASE.data @ CASE.w)
    expected = sigmoid(CASE.b + h @ CASE.w.T)
    agree(gb.reconstruct(RBM, CASE.data).numpy(), expected)


BAD_COUNTS = [0, -1, 1.5, 2.0, True, "3", None, float("nan")]


@pytest.mark.parametrize("value", BAD_COUNTS)
@pytest.mark.parametrize("name", ["n", "thin"])
def test_counts_that_are_none(name, value):
    options = {"n": 2, "steps": 1} | {name: value}
    with pytest.raises(gb.ArgumentError, match=f"{name}=.*whole number of at least 1") as error:
        gb.sample(RBM, **options)
    assert repr(value) in str(error.value)


@pytest.mark.parametrize("value", [-1, -7, 1.5, True, "3", float("nan")])
def test_steps_that_are_none(value):
    with pytest.raises(gb.ArgumentError, match="steps") as error:
        gb.sample(RBM, 2, steps=value)
    assert repr(value) in str(error.value)


@pytest.mark.parametrize("value", BAD_COUNTS)
def test_random_starts_that_are_none(value):
    with pytest.raises(gb.ArgumentError, match=r"n=.*whole number of at least 1"):
        gb.random_start(RBM, value)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (torch.zeros(3, 5), "5 columns .* 4 units"),
        (torch.zeros(0, 4), r"shape \(0, 4\)"),
        (torch.zeros(4), r"shape \(4,\)"),
        (torch.full((2, 4), float("nan")), "nan at row 1, column 1"),
        (torch.full((2, 4), 3.0), "3 at row 1, column 1"),
    ],
)
def test_starts_that_do_not_fit(start, message):
    with pytest.raises(gb.DataError, match=message):
        gb.sample(RBM, 2, steps=1, start=start)


def test_misspelt_options_are_refused():
    with pytest.raises(TypeError, match="step"):
        gb.sample(RBM, 2, step=3)


COUNTS = st.one_of(st.integers(-3, 4), st.booleans(), st.floats(), st.none(), st.text(max_size=2))


@given(n=COUNTS, steps=COUNTS, thin=COUNTS)
def test_any_counts_work_or_are_refused_by_name(n, steps, thin):
    options = {"steps": steps, "thin": thin, "generator": generator()}
    v, message = outcome(lambda: gb.sample(RBM, n, **options))
    if message is not None:
        assert any(name in message for name in ("n=", "steps", "thin="))
        return
    assert {type(value) for value in (n, steps, thin)} == {int}
    assert v.shape == (n, 4)


class Fleet(gb.Gibbs):
    """A sampler that has another number of chains than it was given starts."""

    def __init__(self, chains):
        object.__setattr__(self, "chains", chains)

    def init(self, rbm, v, generator=None):
        return super().init(rbm, gb.random_start(rbm, self.chains, generator), generator)


@pytest.mark.parametrize("chains", [1, 4, 6, 12])
def test_every_chain_a_sampler_has_gives_its_states(chains):
    rbm, g = gb.RBM(gb.Bernoulli(20), gb.Bernoulli(3)), torch.Generator().manual_seed(0)
    v = gb.sample(rbm, 6, sampler=Fleet(chains), steps=3, generator=g)
    assert v.shape == (6, 20)
    assert len(v.unique(dim=0)) == 6
