"""Updates in one compiled call, against the separate updates that they stand for."""

import importlib

import numpy as np
import pytest
import torch

import gibbsite as gb
from gibbsite.cli.progress import Ticking
from gibbsite.gradients import PCD, Centered
from gibbsite.sampling import Gibbs
from gibbsite.training import SGD

module = importlib.import_module("gibbsite.training.fit")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(n_visible: int, n_hidden: int, scale: float = 0.3) -> gb.RBM:
    rbm = gb.RBM(gb.Bernoulli(n_visible), gb.Bernoulli(n_hidden))
    with torch.no_grad():
        for parameter in rbm.parameters():
            parameter.normal_(0, scale, generator=generator(1))
    return rbm


def coins(rows: int, n: int) -> torch.Tensor:
    return torch.randint(2, (rows, n), generator=generator(n)).float()


class Followed:
    """A gradient estimator whose states are kept, as estimators keep them for `partial_fit`."""

    def __init__(self, gradient) -> None:
        self.gradient, self.states, self.updates = gradient, [], 0

    def init(self, rbm, generator=None):
        return self.gradient.init(rbm, generator)

    def step(self, rbm, v, state, generator=None):
        gradient, state = self.gradient.step(rbm, v, state, generator)
        self.follow(state, 1)
        return gradient, state

    def follow(self, state, updates) -> None:
        self.states.append(state)
        self.updates += updates


def calls(monkeypatch) -> list[int]:
    """Rows of the data of every call of the compiled updates, from here on."""
    found, inner = [], module.ops.updates_

    def watched(ascent, data, *arguments):
        found.append(len(data))
        return inner(ascent, data, *arguments)

    monkeypatch.setattr(module.ops, "updates_", watched)
    return found


def trained(rbm, data, gradient, momentum=0.5, rate=0.1, **options):
    """The model after 3 epochs, the last state, the generator and the history."""
    followed, g = Followed(gradient), generator(2)
    optimizer = SGD(rbm.parameters(), rate, momentum)
    scheduler = module.linear_decay(optimizer, 3)
    options = {"epochs": 3, "batch_size": 10, **options}
    history = gb.fit(
        rbm,
        data,
        gradient=followed,
        optimizer=optimizer,
        scheduler=scheduler,
        generator=g,
        **options,
    )
    assert followed.updates == history.records[-1]["updates"]
    return rbm, followed.states[-1], g, history, optimizer


def assert_equal_runs(ours, theirs) -> None:
    """The same random numbers, so the same chains; the rest the same up to rounding."""
    rbm, state, g, history, optimizer = ours
    model, expected_state, expected_g, other, expected_optimizer = theirs
    assert torch.equal(g.get_state(), expected_g.get_state())
    for name, value in rbm.named_parameters():
        twin = model.get_parameter(name)
        torch.testing.assert_close(value, twin, atol=1e-5, rtol=1e-4)
        kept, other_kept = (
            o.state.get(p) for o, p in ((optimizer, value), (expected_optimizer, twin))
        )
        assert (kept is None) == (other_kept is None)
        if kept:
            buffers = kept["momentum_buffer"], other_kept["momentum_buffer"]
            torch.testing.assert_close(*buffers, atol=1e-5, rtol=1e-4)
    assert type(state) is type(expected_state)
    inner, expected_inner = (getattr(s, "inner", s) for s in (state, expected_state))
    for part, expected_part in zip(inner or (), expected_inner or (), strict=True):
        assert torch.equal(part, expected_part)
    if inner is not state:
        torch.testing.assert_close(state.visible, expected_state.visible)
        torch.testing.assert_close(state.hidden, expected_state.hidden)
    for name in ("updates", "gradient_norm", "weight_norm", "learning_rate"):
        found, expected = ([record[name] for record in h.records] for h in (history, other))
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def separately(monkeypatch) -> None:
    monkeypatch.setattr(module, "whole", lambda *arguments: None)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize(
    "shape", [(1, 1, 25, 1, 10), (64, 70, 57, 10, 10), (9, 5, 23, 30, 7), (40, 33, 50, 3, 64)]
)
def test_one_call_does_what_separate_updates_do(
    monkeypatch, shape, steps, persistent, centered, momentum
):
    n_visible, n_hidden, rows, chains, size = shape
    gradient = gb.PCD(chains, steps) if persistent else gb.CD(steps)
    gradient = gb.Centered(gradient) if centered else gradient
    data, found = coins(rows, n_visible), calls(monkeypatch)
    run = lambda: trained(  # noqa: E731
        model(n_visible, n_hidden), data, gradient, momentum, batch_size=size
    )
    ours = run()
    # all but the very first update, which starts the persistent chains and the means
    first = min(rows, size) if persistent or centered else 0
    assert sum(found) == 3 * rows - first
    separately(monkeypatch)
    assert_equal_runs(ours, run())
    assert sum(found) == 3 * rows - first


@pytest.mark.parametrize(
    "make",
    [
        lambda grey: torch.from_numpy(grey / np.float32(255)),
        lambda grey: gb.Rows(grey, scale=1 / 255),
        lambda grey: gb.Rows(grey, scale=1 / 255).take(torch.arange(45)),
        lambda grey: gb.Rows(torch.from_numpy(grey), scale=1 / 255),
        lambda grey: torch.from_numpy(np.asfortranarray(grey / np.float32(255))),
    ],
)
def test_grey_levels_are_drawn_as_in_separate_updates(monkeypatch, make):
    grey = np.random.default_rng(0).integers(0, 256, (45, 20), dtype=np.uint8)
    grey[::2] = 255 * (grey[::2] > 100)
    found, run = (
        calls(monkeypatch),
        lambda: trained(model(20, 6), make(grey), gb.Centered(gb.PCD(9))),
    )
    ours = run()
    assert found
    separately(monkeypatch)
    assert_equal_runs(ours, run())


def test_much_data_is_handed_over_in_parts(monkeypatch):
    monkeypatch.setattr("gibbsite.training.whole.NUMBERS", 250)
    found, run = (
        calls(monkeypatch),
        lambda: trained(model(8, 6), coins(97, 8), gb.PCD(9), batch_size=10),
    )
    ours = run()
    assert found[:4] == [30, 30, 27, 30]
    separately(monkeypatch)
    assert_equal_runs(ours, run())


class Slow(gb.Gibbs):
    """Another sampler, which may do otherwise."""


class Other(gb.Bernoulli):
    """Another layer, which may do otherwise."""

    is_binary = False


def model_of(visible, hidden) -> gb.RBM:
    return gb.RBM(visible, hidden)


@pytest.mark.parametrize(
    ("rbm", "gradient", "options"),
    [
        (gb.RBM(gb.Gaussian(6), gb.Bernoulli(4)), PCD(5), {}),
        (gb.RBM(gb.Bernoulli(6), gb.Gaussian(4)), PCD(5), {}),
        (gb.RBM(Other(6), gb.Bernoulli(4)), PCD(5), {}),
        (model(6, 4), PCD(5, sampler=Slow()), {}),
        (model(6, 4), gb.CD(sampler=Slow()), {}),
        (model(6, 4), gb.MeanField(), {}),
        (model(6, 4), Centered(gb.ExactGradient()), {}),
        (model(6, 4).double(), PCD(5), {}),
        (model(1200, 800), PCD(10), {}),
        (model(6, 4), PCD(5), {"penalties": [gb.L2(0.1)]}),
    ],
)
def test_all_else_is_updated_separately(monkeypatch, rbm, gradient, options):
    found = calls(monkeypatch)
    *_, history, _ = trained(rbm, coins(30, rbm.visible.n), gradient, rate=0.01, **options)
    assert len(history) == 3
    assert not found


@pytest.mark.parametrize(
    "make",
    [
        lambda rbm: torch.optim.SGD(rbm.parameters(), lr=0.1, maximize=True),
        lambda rbm: torch.optim.Adam(rbm.parameters()),
        lambda rbm: SGD([rbm.weight], lr=0.1),
        lambda rbm: SGD([{"params": [rbm.weight]}, {"params": [rbm.visible.bias]}], lr=0.1),
        lambda rbm: SGD([*rbm.parameters(), torch.nn.Parameter(torch.zeros(1))], lr=0.1),
    ],
)
def test_other_optimisers_step_separately(monkeypatch, make):
    found, rbm = calls(monkeypatch), model(6, 4)
    gb.fit(rbm, coins(30, 6), gradient=gb.PCD(5), optimizer=make(rbm), epochs=2)
    assert not found


@pytest.mark.parametrize("gradient", [gb.CD(), gb.PCD(5)])
def test_gradients_left_on_the_parameters_are_not_followed(gradient):
    """A user's own backward pass may have left some."""
    weights = []
    for left in (None, torch.full((6, 4), 1e3)):
        rbm = model(6, 4)
        rbm.weight.grad = left
        gb.fit(rbm, coins(30, 6), gradient=gradient, epochs=1, generator=generator())
        weights.append(rbm.weight.detach())
        assert rbm.weight.grad is None or left is None
    assert torch.equal(*weights)


def test_options_set_later_are_seen(monkeypatch):
    found, rbm = calls(monkeypatch), model(6, 4)
    optimizer = SGD(rbm.parameters(), lr=0.1)
    optimizer.param_groups[0]["weight_decay"] = 0.1
    gb.fit(rbm, coins(30, 6), gradient=gb.PCD(5), optimizer=optimizer, epochs=2)
    assert not found


def test_a_run_goes_on_from_a_checkpoint_as_if_never_stopped(tmp_path):
    data = coins(57, 12)

    def run(epochs, folder):
        rbm, g = model(12, 5), generator(3)
        optimizer = SGD(rbm.parameters(), lr=0.05, momentum=0.5)
        kept = folder and gb.Checkpoints(folder)
        gb.fit(rbm, data, optimizer=optimizer, epochs=epochs, generator=g, checkpoints=kept)
        return rbm.state_dict()

    run(2, tmp_path)
    resumed, through = run(5, tmp_path), run(5, None)
    assert all(torch.equal(resumed[name], through[name]) for name in through)


def test_divergence_puts_the_model_back(monkeypatch):
    """Told at the first NaN, which infinite weights make where summed, or as the epoch ends."""
    steps = []
    for _ in range(2):
        rbm, data = model(6, 4), coins(200, 6)
        before = [value.clone() for value in rbm.parameters()]
        optimizer = SGD(rbm.parameters(), lr=1e38, momentum=0.9)
        with pytest.raises(gb.DivergenceError) as caught:
            gb.fit(
                rbm,
                data,
                gradient=gb.PCD(5),
                optimizer=optimizer,
                epochs=1,
                batch_size=10,
                generator=generator(),
            )
        steps.append(caught.value.step)
        assert all(torch.equal(a, b) for a, b in zip(rbm.parameters(), before, strict=True))
        separately(monkeypatch)
    assert 1 < steps[1] <= steps[0] <= 20


def test_states_handed_out_stay_as_they_are(monkeypatch):
    """Chains and offsets of one call are not those of the next."""
    monkeypatch.setattr("gibbsite.training.whole.NUMBERS", 60)
    followed, g, rbm = Followed(gb.Centered(gb.PCD(5))), generator(), model(6, 4)
    seen = []
    follow = followed.follow

    def copied(state, updates) -> None:
        seen.append([x.clone() for x in (*state.inner, state.visible, state.hidden)])
        follow(state, updates)

    followed.follow = copied
    gb.fit(rbm, coins(60, 6), gradient=followed, epochs=2, batch_size=10, generator=g)
    assert len(seen) > 3
    for state, then in zip(followed.states, seen, strict=True):
        now = *state.inner, state.visible, state.hidden
        assert all(torch.equal(a, b) for a, b in zip(now, then, strict=True))


def test_chains_that_are_not_bits_go_separately(monkeypatch):
    class Grey(Gibbs):
        pass

    found, rbm = calls(monkeypatch), model(6, 4)
    together = module.whole(rbm, gb.PCD(5), SGD(rbm.parameters(), lr=0.1), ())
    state = gb.PCD(5).init(rbm, generator())
    assert not together.takes(state)
    state = state._replace(h=torch.full((5, 4), 0.5))
    assert not together.takes(state)
    assert together.takes(state._replace(h=torch.ones(5, 4)))
    assert not found


def test_estimators_and_the_command_watch_it(monkeypatch):
    """Both wrap the gradient: one to go on from its state, one to count updates."""
    found = calls(monkeypatch)
    gb.BernoulliRBM(4, n_iter=2, random_state=0).fit(np.eye(25, 6, dtype=np.float32))
    assert found == [15, 25]
    ticks = []
    ticking = Ticking(gb.PCD(5), ticks.append)
    gb.fit(model(6, 4), coins(30, 6), gradient=ticking, epochs=2, batch_size=10)
    assert found == [15, 25, 20, 30]
    assert ticks == [1, 2, 3]


def test_partial_fit_goes_on_from_the_chains_of_the_last_call(monkeypatch):
    models = []
    for _ in range(2):
        model = gb.BernoulliRBM(4, learning_rate=0.1, random_state=0)
        for _ in range(3):
            model.partial_fit(np.eye(25, 6, dtype=np.float32))
        models.append(model)
        separately(monkeypatch)
    np.testing.assert_allclose(models[0].components_, models[1].components_, atol=1e-5)
    np.testing.assert_array_equal(models[0].h_samples_, models[1].h_samples_)
