"""Gibbs sampling by exact-start stationarity: chains drawn from p stay distributed as p.

Every chain starts at an independent exact draw, so after any number of steps the chains are
independent draws of p again; the total variation is then below a floor that is computed from the
number of chains and p. Kernels that are wrong on purpose must rise above it.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from montecarlo import (
    assert_mean,
    hoeffding,
    quantile,
    state_numbers,
    total_variation,
    tv_floor,
)
from oracle import bernoulli_case, gaussian_case

import gibbsite as gb
from gibbsite.sampling import GibbsInfo, GibbsState

CHAINS = 100_000
BINARY = {"seed 0": bernoulli_case(0), "seed 1": bernoulli_case(1)}
REAL = {
    "shared sigma": gaussian_case(0.7, learn_sigma=False),
    "sigma a unit": gaussian_case([0.6, 1.3], learn_sigma=True),
}

each_binary = pytest.mark.parametrize("case", BINARY.values(), ids=BINARY)
each_real = pytest.mark.parametrize("case", REAL.values(), ids=REAL)


def stepped(case, sampler, steps: int = 2, seed: int = 0):
    """States and last info of chains that started at exact draws."""
    g = torch.Generator().manual_seed(seed)
    state = sampler.init(case.rbm, gb.exact.sample(case.rbm, CHAINS, generator=g), g)
    for _ in range(steps):
        state, info = sampler.step(case.rbm, state, g)
    return state.v, info.h


def joint_numbers(v: torch.Tensor, h: torch.Tensor) -> np.ndarray:
    """The entry of the flattened joint table that each pair is."""
    return state_numbers(v) * 2 ** h.shape[1] + state_numbers(h)


@each_binary
@pytest.mark.parametrize("steps", [1, 5])
def test_p_of_v_is_stationary(case, steps):
    v, _ = stepped(case, gb.Gibbs(), steps)
    assert total_variation(state_numbers(v), case.p_v) < tv_floor(case.p_v, CHAINS)


@each_binary
def test_the_reported_pair_follows_the_joint(case):
    """The new v and the h it was drawn from: a draw of p(v, h)."""
    numbers, p = joint_numbers(*stepped(case, gb.Gibbs())), case.joint.ravel()
    assert total_variation(numbers, p) < tv_floor(p, CHAINS)


@each_binary
def test_one_step_from_a_given_state(case):
    """From a fixed v, the next v follows sum_h p(v' | h) p(h | v)."""
    p = case.h_given(case.data[:1])[0] @ (case.joint / case.joint.sum(0)).T
    g = torch.Generator().manual_seed(1)
    state = gb.Gibbs().init(case.rbm, np.tile(case.data[:1], (CHAINS, 1)), g)
    state, _ = gb.Gibbs().step(case.rbm, state, g)
    assert total_variation(state_numbers(state.v), p) < tv_floor(p, CHAINS)


@dataclass(frozen=True)
class Wrong:
    """A Gibbs step with one mistake."""

    mistake: str

    def init(self, rbm, v, generator=None):
        return GibbsState(v)

    def step(self, rbm, state, generator=None):
        hidden_inputs = rbm.hidden_inputs(state.v)
        temperature = 1.3 if self.mistake == "temperature" else 1.0
        if self.mistake == "hidden mean instead of a draw":
            h = rbm.hidden.mean(hidden_inputs)
        elif self.mistake == "no hidden bias":
            h = rbm.hidden.sample(hidden_inputs - rbm.hidden.bias, generator)
        else:
            h = rbm.hidden.sample(hidden_inputs / temperature, generator)
        visible_inputs = rbm.visible_inputs(h)
        if self.mistake == "thresholded v":
            return GibbsState((rbm.visible.mean(visible_inputs) > 0.5).double()), GibbsInfo(h)
        if self.mistake == "weight of the wrong sign":
            visible_inputs = -visible_inputs
        if self.mistake == "biases out of order":
            visible_inputs = visible_inputs + rbm.visible.bias.flip(0) - rbm.visible.bias
        v = rbm.visible.sample(visible_inputs / temperature, generator)
        if self.mistake == "old v half the time":
            stay = torch.rand(len(v), 1, generator=generator) < 0.5
            h = torch.where(stay, rbm.hidden.sample(hidden_inputs + 1, generator), h)
        return GibbsState(v), GibbsInfo(h)


MARGINAL_MISTAKES = [
    "temperature",
    "hidden mean instead of a draw",
    "no hidden bias",
    "thresholded v",
    "weight of the wrong sign",
    "biases out of order",
]


@each_binary
@pytest.mark.parametrize("mistake", MARGINAL_MISTAKES)
def test_a_wrong_kernel_is_noticed(case, mistake):
    v, _ = stepped(case, Wrong(mistake))
    assert total_variation(state_numbers(v), case.p_v) > tv_floor(case.p_v, CHAINS)


@each_binary
def test_the_wrong_kernel_without_its_mistake_passes(case):
    v, _ = stepped(case, Wrong("none"))
    assert total_variation(state_numbers(v), case.p_v) < tv_floor(case.p_v, CHAINS)


@each_binary
def test_reporting_another_h_is_noticed(case):
    """p(v) survives this one; the joint of v and the reported h does not."""
    v, h = stepped(case, Wrong("old v half the time"))
    p = case.joint.ravel()
    assert total_variation(state_numbers(v), case.p_v) < tv_floor(case.p_v, CHAINS)
    assert total_variation(joint_numbers(v, h), p) > tv_floor(p, CHAINS)


@each_real
def test_real_units_keep_the_hidden_marginal(case):
    _, h = stepped(case, gb.Gibbs(), steps=3)
    assert total_variation(state_numbers(h), case.p_h) < tv_floor(case.p_h, CHAINS)


@each_real
def test_real_units_keep_their_moments(case):
    """Means, variances and covariance of v against quadrature; p(h) from p(h | v)."""
    v = stepped(case, gb.Gibbs(), steps=3)[0].numpy()
    p = case.cell * case.p_v
    mean = p @ case.v
    assert_mean(v, mean)
    assert_mean((v - mean) ** 2, p @ (case.v - mean) ** 2)
    assert_mean((v - mean).prod(1, keepdims=True), [p @ (case.v - mean).prod(1)])
    deviation = np.abs(case.h_given(v).mean(0) - case.p_h).max()
    assert deviation < hoeffding(CHAINS, comparisons=len(case.p_h))


@each_real
@pytest.mark.parametrize("mistake", ["temperature", "no hidden bias", "weight of the wrong sign"])
def test_a_wrong_kernel_of_real_units_is_noticed(case, mistake):
    _, h = stepped(case, Wrong(mistake), steps=3)
    assert total_variation(state_numbers(h), case.p_h) > tv_floor(case.p_h, CHAINS)


@each_real
def test_noise_of_the_wrong_width_is_noticed(case):
    """Visible units that take their mean keep no variance; the moments show it."""
    _, h = stepped(case, gb.Gibbs(), steps=3)
    v = case.rbm.visible_mean(h).numpy()
    p = case.cell * case.p_v
    with pytest.raises(AssertionError):
        assert_mean((v - p @ case.v) ** 2, p @ (case.v - p @ case.v) ** 2)


def test_convergence_from_far_away():
    """From one fixed state, total variation falls at the rate of the exact kernel's powers."""
    case = BINARY["seed 0"]
    kernel = (case.joint / case.p_v[:, None]) @ (case.joint / case.p_h).T
    p = np.eye(len(case.p_v))[0]
    g = torch.Generator().manual_seed(2)
    state = gb.Gibbs().init(case.rbm, np.zeros((CHAINS, 4)), g)
    for _ in range(4):
        p = p @ kernel
        state, _ = gb.Gibbs().step(case.rbm, state, g)
        assert total_variation(state_numbers(state.v), p) < tv_floor(p, CHAINS)


def test_chains_are_independent():
    """Moves of neighbouring chains are uncorrelated."""
    case = BINARY["seed 0"]
    v = stepped(case, gb.Gibbs())[0].numpy() - case.p_v @ case.v
    assert_mean(v[::2] * v[1::2], np.zeros(4))
    assert quantile() > 4  # the tolerance is one of many standard errors, not of none


def test_shared_noise_is_noticed():
    """The check of independence fails where h of one chain serves two."""
    case = BINARY["seed 0"]
    _, h = stepped(case, gb.Gibbs())
    g = torch.Generator().manual_seed(9)
    v = case.rbm.sample_visible(h[::2].repeat_interleave(2, 0), generator=g).numpy()
    v = v - case.p_v @ case.v
    with pytest.raises(AssertionError):
        assert_mean(v[::2] * v[1::2], np.zeros(4))


def test_init_takes_the_rows_as_they_are():
    rbm = gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2))
    state = gb.Gibbs().init(rbm, [[0, 1, 1]])
    assert state.v.tolist() == [[0.0, 1.0, 1.0]]
    with pytest.raises(gb.DataError, match="2 columns"):
        gb.Gibbs().init(rbm, torch.zeros(1, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_keep_dtype_and_leave_the_old_state(dtype):
    rbm = gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2)).to(dtype)
    first = gb.Gibbs().init(rbm, torch.zeros(50, 3))
    state, info = gb.Gibbs().step(rbm, first, torch.Generator().manual_seed(0))
    assert state.v.dtype == info.h.dtype == dtype
    assert not first.v.any()
    assert state.v.any()
    assert not state.v.requires_grad


def test_samplers_are_equal_by_their_fields():
    clamp = torch.zeros(1, 3)
    assert gb.Gibbs() == gb.Gibbs()
    assert gb.PCD(5) == gb.PCD(5)
    assert gb.Tempering(rungs=3) == gb.Tempering(rungs=3) != gb.Tempering(rungs=4)
    assert gb.Gibbs(clamp) == gb.Gibbs(clamp) != gb.Gibbs(clamp.clone())
    assert gb.Gibbs() != gb.Gibbs(clamp)
    means = torch.zeros(3), torch.zeros(2)
    assert gb.Tempering(means=means) == gb.Tempering(means=(means[0], means[1]))
    assert len({gb.Gibbs(), gb.Gibbs()}) == 1
