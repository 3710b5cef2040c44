"""The gradient in one compiled call, against the calls that it stands for."""

import pytest
import torch

import gibbsite as gb
from gibbsite import ops
from gibbsite.sampling import GibbsState


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coins(*shape: int) -> torch.Tensor:
    return torch.randint(2, shape, generator=generator(sum(shape))).float()


def model(n_visible: int, n_hidden: int, scale: float = 0.3) -> gb.RBM:
    rbm = gb.RBM(gb.Bernoulli(n_visible), gb.Bernoulli(n_hidden))
    with torch.no_grad():
        for parameter in rbm.parameters():
            parameter.normal_(0, scale, generator=generator(1))
    return rbm


def taken(monkeypatch) -> list[bool]:
    """Whether each call that could be done as a whole was."""
    found, whole = [], ops.persistent_contrast

    def watched(*arguments):
        result = whole(*arguments)
        found.append(result is not None)
        return result

    monkeypatch.setattr(ops, "persistent_contrast", watched)
    return found


def two_updates(estimator, rbm: gb.RBM, v: torch.Tensor):
    """The second is the one that finds h of the chains drawn."""
    g = generator(2)
    _, state = estimator.step(rbm, v, estimator.init(rbm, g), g)
    gradient, state = estimator.step(rbm, v, state, g)
    return gradient, state, g


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (64, 100, 10, 10), (9, 5, 7, 30), (70, 33, 40, 1)])
def test_one_call_does_what_the_separate_calls_do(monkeypatch, steps, wrapped, shape):
    """With the same random numbers: same chains, the gradient the same up to rounding."""
    n_visible, n_hidden, rows, chains = shape
    estimator = gb.PCD(chains=chains, steps=steps)
    estimator = gb.Centered(estimator) if wrapped else estimator
    rbm, v = model(n_visible, n_hidden), coins(rows, n_visible)
    whole = taken(monkeypatch)
    gradient, state, g = two_updates(estimator, rbm, v)
    assert whole == [True]
    monkeypatch.setattr(ops, "persistent_contrast", lambda *arguments: None)
    expected, expected_state, expected_g = two_updates(estimator, rbm, v)
    assert gradient.keys() == expected.keys()
    for name, value in gradient.items():
        assert value.shape == expected[name].shape
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-5)
    inner, expected_inner = (s.inner if wrapped else s for s in (state, expected_state))
    assert torch.equal(inner.v, expected_inner.v)
    assert torch.equal(inner.h, expected_inner.h)
    if wrapped:
        torch.testing.assert_close(state.visible, expected_state.visible)
        torch.testing.assert_close(state.hidden, expected_state.hidden)
    assert torch.equal(g.get_state(), expected_g.get_state())


def test_the_second_of_two_updates_leaves_the_first_as_it_was():
    rbm, v, estimator = model(20, 10), coins(8, 20), gb.PCD(chains=6)
    _, state, g = two_updates(estimator, rbm, v)
    gradient, kept = estimator.step(rbm, v, state, g)
    before = [x.clone() for x in (*gradient.values(), *kept)]
    estimator.step(rbm, v, kept, g)
    for now, then in zip((*gradient.values(), *kept), before, strict=True):
        assert torch.equal(now, then)


class Slow(gb.Gibbs):
    """Another sampler."""


@pytest.mark.parametrize(
    ("rbm", "sampler", "rows", "called"),
    [
        (gb.RBM(gb.Gaussian(6), gb.Bernoulli(4)), gb.Gibbs(), 5, []),
        (gb.RBM(gb.Bernoulli(6), gb.Gaussian(4)), gb.Gibbs(), 5, []),
        (model(6, 4), Slow(), 5, []),
        (model(6, 4).double(), gb.Gibbs(), 5, [False]),
        (model(300, 200), gb.Gibbs(), 50, [False]),
        (model(6, 4), gb.Gibbs(), 5, [True]),
    ],
)
def test_what_is_not_for_the_one_call_goes_the_usual_way(monkeypatch, rbm, sampler, rows, called):
    """Other units, samplers, types and large models."""
    whole = taken(monkeypatch)
    v = coins(rows, rbm.visible.n).to(rbm.weight)
    gradient, _, _ = two_updates(gb.PCD(chains=rows, sampler=sampler), rbm, v)
    assert whole == called
    assert all(bool(value.isfinite().all()) for value in gradient.values())


@pytest.mark.parametrize("value", [0.5, 2.0, float("nan")])
def test_states_that_are_not_bits_go_the_usual_way(monkeypatch, value):
    rbm, v, h = model(6, 4), coins(5, 6), coins(3, 4)
    whole = taken(monkeypatch)
    for bad in (v, h):
        kept = bad[2, 3].item()
        bad[2, 3] = value
        gb.PCD(chains=3).step(rbm, v, GibbsState(coins(3, 6), h), generator())
        bad[2, 3] = kept
    assert whole == [False, False]
