"""Projections, callbacks after updates, and the state that goes into `fit` and comes out."""

import importlib
import math

import pytest
import torch
from oracle import random_rbm

import gibbsite as gb
from gibbsite.sampling import GibbsState
from gibbsite.training import SGD
from gibbsite.training.fused import FusedUpdates

fitting = importlib.import_module("gibbsite.training.fit")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(seed: int = 0) -> gb.RBM:
    return random_rbm(gb.Bernoulli(6), 4, seed, scale=0.3).float()


def coins(rows: int = 47) -> torch.Tensor:
    return torch.randint(2, (rows, 6), generator=generator(6)).float()


def train(rbm, data=None, *, epochs=2, rate=0.1, batch_size=10, g=None, **options):
    """7 rows make the last batch of each epoch."""
    optimizer = SGD(rbm.parameters(), lr=rate, momentum=0.5)
    return gb.fit(
        rbm,
        coins() if data is None else data,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        generator=generator(2) if g is None else g,
        **options,
    )


def values(rbm: gb.RBM) -> list[torch.Tensor]:
    return [x.detach().clone() for x in rbm.parameters()]


@pytest.fixture
def fused_calls(monkeypatch) -> list[int]:
    """Rows of the data of every call of the fused updates."""
    found, inner = [], FusedUpdates.__call__

    def watched(self, data, *arguments):
        found.append(len(data))
        return inner(self, data, *arguments)

    monkeypatch.setattr(FusedUpdates, "__call__", watched)
    return found


# projections


def clamp(rbm: gb.RBM) -> None:
    with torch.no_grad():
        rbm.weight.clamp_(-0.1, 0.1)


def test_a_clamp_keeps_the_weights_in_range(fused_calls):
    """After each update, not only at the end; without it they leave the range."""
    seen = []

    class Watching:
        every_update = True

        def __call__(self, rbm, record):
            pass

        def after_update(self, rbm, update):
            seen.append(float(rbm.weight.detach().abs().max()))

    rbm = model()
    train(rbm, projections=[clamp], callbacks=[Watching()], gradient=gb.PCD(5))
    assert len(seen) == 10
    assert max(seen) <= 0.1 + 1e-7
    free = model()
    train(free, gradient=gb.PCD(5))
    assert float(free.weight.detach().abs().max()) > 0.2
    assert len(fused_calls) == 2  # of the run without projections alone


def test_projections_are_called_in_turn_after_each_update(fused_calls):
    calls = []
    history = train(
        model(),
        gradient=gb.PCD(5),
        projections=[lambda rbm: calls.append("a"), lambda rbm: calls.append("b")],
    )
    assert calls == ["a", "b"] * history.records[-1]["updates"]
    assert not fused_calls


def test_a_projection_acts_on_the_parameters_after_the_step():
    """Plain projected ascent, by hand."""
    rbm, expected = model(), model()
    data = coins(10)
    optimizer = torch.optim.SGD(rbm.parameters(), lr=0.5)
    gb.fit(
        rbm,
        data,
        gradient=gb.ExactGradient(),
        optimizer=optimizer,
        epochs=3,
        projections=[clamp],
        batch_size=10,
        generator=generator(),
    )
    with torch.no_grad():
        for _ in range(3):
            for name, slope in gb.exact.gradient(expected, data).items():
                expected.get_parameter(name).add_(slope, alpha=0.5)
            expected.weight.clamp_(-0.1, 0.1)
    for x, y in zip(values(rbm), values(expected), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("projections", [3, "clamp", [3], [type], None])
def test_projections_are_functions(projections):
    with pytest.raises(gb.ArgumentError, match="projections"):
        train(model(), projections=projections)


# callbacks after updates


class Observer:
    """Notes what it is told."""

    def __init__(self, every_update=None):
        self.updates, self.epochs, self.weights = [], [], []
        if every_update is not None:
            self.every_update = every_update

    def __call__(self, rbm, record):
        self.epochs.append(record["updates"])

    def after_update(self, rbm, update):
        self.updates.append(update)
        self.weights.append(rbm.weight.detach().clone())


@pytest.mark.parametrize("every_update", [None, False, True])
def test_callbacks_are_told_of_updates_by_number(every_update, fused_calls):
    observer = Observer(every_update)
    history = train(model(), gradient=gb.PCD(5), epochs=3, callbacks=[observer])
    assert [update.number for update in observer.updates] == list(range(1, 16))
    assert observer.epochs == [5, 10, 15]
    assert bool(fused_calls) == (every_update is not True)
    norms = [update.gradient_norm for update in observer.updates]
    for epoch, norm in enumerate(history.column("gradient_norm")):
        assert norm == pytest.approx(sum(norms[5 * epoch : 5 * epoch + 5]) / 5)


def test_every_update_sees_the_model_after_it():
    """And what the estimator tells by the way: means of the rows of that minibatch."""
    observer, rbm = Observer(every_update=True), model()
    before = rbm.weight.detach().clone()
    train(rbm, gradient=gb.PCD(5), epochs=1, batch_size=47, callbacks=[observer])
    assert len(observer.updates) == 1
    assert torch.equal(observer.weights[0], rbm.weight)
    assert not torch.equal(before, rbm.weight)
    (update,) = observer.updates
    torch.testing.assert_close(update.info.visible, coins().mean(0))
    torch.testing.assert_close(update.info.hidden, model().hidden_mean(coins()).mean(0).detach())


def test_updates_made_together_come_without_info(fused_calls):
    """All but the first of a run, which starts the chains."""
    observer = Observer()
    train(model(), gradient=gb.PCD(5), callbacks=[observer])
    assert fused_calls == [37, 47]
    assert observer.updates[0].info is not None
    assert all(update.info is None for update in observer.updates[1:])


def test_observing_every_update_does_not_change_training():
    """Up to the rounding of the fused updates."""
    found = []
    for observer in (Observer(True), Observer(False)):
        rbm = model()
        train(rbm, gradient=gb.Centered(gb.PCD(5)), epochs=3, callbacks=[observer])
        found.append(values(rbm))
    for x, y in zip(*found, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)


def test_norms_told_include_penalties():
    observer, rbm = Observer(True), model()
    gradient = gb.exact.gradient(rbm, coins())
    train(
        rbm,
        gradient=gb.ExactGradient(),
        epochs=1,
        batch_size=47,
        penalties=[gb.L2(0.7)],
        callbacks=[observer],
    )
    gradient["weight"] = gradient["weight"] - 0.7 * model().weight.detach()
    norm = math.sqrt(sum((x**2).sum().item() for x in gradient.values()))
    assert observer.updates[0].gradient_norm == pytest.approx(norm, rel=1e-5)


def test_numbers_go_on_from_a_checkpoint(tmp_path):
    observers = [Observer(True), Observer(True)]
    for epochs, observer in zip((1, 3), observers, strict=True):
        train(model(), epochs=epochs, callbacks=[observer], checkpoints=gb.Checkpoints(tmp_path))
    assert [update.number for update in observers[0].updates] == list(range(1, 6))
    assert [update.number for update in observers[1].updates] == list(range(6, 16))


# state in and out


@pytest.mark.parametrize(
    "gradient",
    [gb.PCD(5), gb.PCD(5, steps=3), gb.Centered(gb.PCD(5)), gb.Centered(gb.CD())],
    ids=["pcd", "pcd of 3 steps", "centered pcd", "centered cd"],
)
@pytest.mark.parametrize("separately", [False, True])
def test_two_calls_with_the_state_between_are_one(monkeypatch, gradient, separately):
    if separately:
        monkeypatch.setattr(fitting, "fused_updates", lambda run: None)
    once, twice = model(), model()
    at_once = train(once, gradient=gradient, epochs=4)
    g, state = generator(2), None
    optimizer = SGD(twice.parameters(), lr=0.1, momentum=0.5)
    for _ in range(2):
        history = gb.fit(
            twice,
            coins(),
            gradient=gradient,
            optimizer=optimizer,
            epochs=2,
            batch_size=10,
            generator=g,
            state=state,
        )
        state = history.state
    for x, y in zip(values(once), values(twice), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-6)
    ours, theirs = state, at_once.state
    if isinstance(gradient, gb.Centered):
        torch.testing.assert_close(ours.visible, theirs.visible)
        torch.testing.assert_close(ours.hidden, theirs.hidden)
        ours, theirs = ours.inner, theirs.inner
    if ours is not None:
        assert torch.equal(ours.v, theirs.v)
        assert torch.equal(ours.h, theirs.h)


def test_without_the_state_the_chains_start_anew():
    """So that the test above could fail."""
    once, twice = model(), model()
    train(once, gradient=gb.PCD(5), epochs=4)
    g = generator(2)
    optimizer = SGD(twice.parameters(), lr=0.1, momentum=0.5)
    for _ in range(2):
        gb.fit(
            twice,
            coins(),
            gradient=gb.PCD(5),
            optimizer=optimizer,
            epochs=2,
            batch_size=10,
            generator=g,
        )
    assert not torch.allclose(once.weight, twice.weight, rtol=1e-3, atol=1e-3)


def test_the_state_is_that_of_the_estimator():
    history = train(model(), gradient=gb.PCD(5))
    assert isinstance(history.state, GibbsState)
    assert history.state.v.shape == (5, 6)
    history.state.check(model())
    assert train(model(), gradient=gb.CD()).state is None


def test_a_state_given_stays_as_it_is():
    """Fused updates move copies of it."""
    state = GibbsState(coins(5), torch.ones(5, 4))
    kept = [x.clone() for x in state]
    history = train(model(), gradient=gb.PCD(5), state=state)
    assert all(torch.equal(x, y) for x, y in zip(state, kept, strict=True))
    assert not torch.equal(history.state.v, state.v)


def test_an_interrupted_run_hands_over_its_state():
    class Stopping(Observer):
        def after_update(self, rbm, update):
            super().after_update(rbm, update)
            if update.number == 7:
                raise KeyboardInterrupt

    history = train(model(), gradient=gb.PCD(5), epochs=3, callbacks=[Stopping(True)])
    assert history.interrupted
    assert len(history) == 1
    history.state.check(model())


def test_a_checkpoint_goes_before_the_state(tmp_path):
    """The state of a run that is taken up is the one that it kept."""
    keep = gb.Checkpoints(tmp_path)
    first = train(model(), gradient=gb.PCD(5), epochs=2, checkpoints=keep)
    other = GibbsState(torch.zeros(5, 6), torch.zeros(5, 4))
    again = train(model(), gradient=gb.PCD(5), epochs=2, checkpoints=keep, state=other)
    assert torch.equal(again.state.v, first.state.v)


def test_histories_compare_by_their_records():
    assert gb.History([{"epoch": 1}], state=1) == gb.History([{"epoch": 1}], state=2)
    assert "state" not in repr(gb.History())


def test_penalties_may_use_autograd():
    """The gradient of log sum_j |W_j|, of which no formula is given."""

    def group_penalty(rbm, gradient):
        norm = rbm.weight.norm(dim=0).sum().log()
        (slope,) = torch.autograd.grad(norm, [rbm.weight])
        gradient["weight"].sub_(slope, alpha=0.1)

    data = (torch.rand(60, 6, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    norms = []
    for penalties in ([], [group_penalty]):
        rbm = gb.RBM(gb.Bernoulli(6), gb.Bernoulli(4))
        g = torch.Generator().manual_seed(1)
        gb.fit(
            rbm,
            data,
            gradient=gb.CD(),
            optimizer=torch.optim.SGD(rbm.parameters(), lr=0.005),
            penalties=penalties,
            epochs=5,
            batch_size=100,
            generator=g,
        )
        norms.append(rbm.weight.norm().item())
    assert norms[1] < norms[0]
