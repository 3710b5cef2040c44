"""Updates in one compiled call, against the separate updates that they stand for."""

import importlib
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import gibbsite as gb
from gibbsite.gradients import PCD, Centered
from gibbsite.gradients.centered import RATE, CenteredState
from gibbsite.ops import Numba
from gibbsite.sampling import GibbsState
from gibbsite.training import SGD
from gibbsite.training.fused import FusedUpdates, fused_updates

fitting = importlib.import_module("gibbsite.training.fit")


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


def run_of(rbm, gradient, optimizer=None, drawn=True, **parts) -> SimpleNamespace:
    """What a training run carries, as far as `fused_updates` looks at it."""
    optimizer = SGD(rbm.parameters(), lr=0.1, momentum=0.5) if optimizer is None else optimizer
    none = {"penalties": (), "projections": (), "weights": None, "callbacks": ()}
    none["rows"] = SimpleNamespace(drawn=drawn)
    return SimpleNamespace(rbm=rbm, gradient=gradient, optimizer=optimizer, **(none | parts))


# each update against its formulas


def phases(rbm, contrast, v, state, g):
    """v of the model, and the new chains, from the draws of the compiled kernels."""
    weight, b, c = (x.detach() for x in (rbm.weight, rbm.visible.bias, rbm.hidden.bias))

    def draw_hidden(v):
        return Numba().draw_bernoulli_(v @ weight, c, g)

    h = draw_hidden(v) if state is None else state.h
    for step in range(contrast.steps):
        h = draw_hidden(v) if step > 0 else h
        v = Numba().draw_bernoulli_(h @ weight.T, b, g)
    return v, None if state is None else GibbsState(v, draw_hidden(v))


def update(run, batch, state, g):
    """One update in plain formulas: the norm of the gradient and the new state."""
    rbm, centered = run.rbm, type(run.gradient) is Centered
    contrast, inner = (run.gradient.gradient, state.inner) if centered else (run.gradient, state)
    v = Numba().draw_probabilities_(batch.clone(), g) if run.rows.drawn else batch
    model_v, inner = phases(rbm, contrast, v, inner, g)
    h, model_h = (rbm.hidden_mean(x).detach() for x in (v, model_v))
    slope = v.T @ h / len(v) - model_v.T @ model_h / len(model_v)
    b, c = v.mean(0) - model_v.mean(0), h.mean(0) - model_h.mean(0)
    if centered:
        mu, lam = state.visible.lerp(v.mean(0), RATE), state.hidden.lerp(h.mean(0), RATE)
        slope = slope - torch.outer(b, lam) - torch.outer(mu, c)
        b, c = b - slope @ lam, c - slope.T @ mu
        inner = CenteredState(inner, mu, lam)
    rbm.weight.grad, rbm.visible.bias.grad, rbm.hidden.bias.grad = slope, b, c
    run.optimizer.step()
    run.optimizer.zero_grad()
    return math.sqrt(sum((x**2).sum().item() for x in (slope, b, c))), inner


def tensors(state) -> list[torch.Tensor]:
    """All tensors of a state: of the chains, then the running means."""
    if state is None or isinstance(state, torch.Tensor):
        return [] if state is None else [state]
    return [x for part in state for x in tensors(part)]


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize(("momentum", "drawn"), [(0.0, True), (0.5, True), (0.5, False)])
@pytest.mark.parametrize(
    "shape", [(1, 1, 25, 1, 10), (64, 70, 57, 10, 10), (9, 5, 23, 30, 7), (40, 33, 50, 3, 64)]
)
def test_one_call_does_what_separate_updates_do(
    shape, steps, persistent, centered, momentum, drawn
):
    """The same random numbers, so the same chains; the rest the same up to rounding."""
    n, m, rows, chains, size = shape
    gradient = gb.PCD(chains, steps) if persistent else gb.CD(steps)
    gradient = gb.Centered(gradient) if centered else gradient
    state = GibbsState(coins(chains, n), coins(chains, m)) if persistent else None
    state = (
        CenteredState(state, torch.full((n,), 0.4), torch.full((m,), 0.6)) if centered else state
    )
    data = torch.rand(rows, n, generator=generator(3))
    data[::2] = data[::2].round()  # zeros and ones, which need no draw, among grey levels
    models = [model(n, m) for _ in range(2)]
    ours, theirs = (run_of(x, gradient, SGD(x.parameters(), 0.1, momentum), drawn) for x in models)
    fused, g, other = fused_updates(ours), generator(2), generator(2)
    assert fused.can_run(state)
    before = [x.clone() for x in tensors(state)]
    norms, found = fused(data, size, state, g)
    assert all(map(torch.equal, tensors(state), before))  # handed out before, so to be left alone
    expected = []
    for batch in data.split(size):
        norm, state = update(theirs, batch, state, other)
        expected.append(norm)
    assert torch.equal(g.get_state(), other.get_state())
    np.testing.assert_allclose(norms, expected, rtol=1e-4)
    assert type(found) is type(state)
    for x, y in zip(tensors(found), tensors(state), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-6)
    for x, y in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-4)
        assert x.grad is None
        kept, wanted = (
            o.state[p].get("momentum_buffer")
            for o, p in ((ours.optimizer, x), (theirs.optimizer, y))
        )
        assert (kept is None) == (wanted is None) == (momentum == 0)
        if momentum:
            torch.testing.assert_close(kept, wanted, atol=1e-5, rtol=1e-4)


def test_it_ends_at_a_norm_that_is_not_finite():
    """Without the step, so that the parameters are those of the update before."""
    rbm = model(6, 4)
    with torch.no_grad():
        rbm.hidden.bias[1] = math.nan
    before = rbm.weight.detach().clone()
    norms, _ = fused_updates(run_of(rbm, gb.CD()))(coins(200, 6), 10, None, generator())
    assert len(norms) == 1
    assert math.isnan(norms[0])
    assert torch.equal(rbm.weight, before)


# where there are fused updates


class Slow(gb.Gibbs):
    """Another sampler, which may do otherwise."""


class OtherGradient(gb.Centered):
    """Another estimator, which may do otherwise."""


class Other(gb.Bernoulli):
    """Another layer, which may do otherwise."""


@pytest.mark.parametrize("gradient", [gb.CD(3), PCD(5), gb.Centered(gb.CD()), gb.Centered(PCD(5))])
def test_binary_models_are_updated_in_one_call(gradient):
    callbacks = [SimpleNamespace(), SimpleNamespace(every_update=False)]
    assert fused_updates(run_of(model(6, 4), gradient, callbacks=callbacks)) is not None


@pytest.mark.parametrize(
    ("rbm", "gradient", "parts"),
    [
        (gb.RBM(gb.Gaussian(6), gb.Bernoulli(4)), PCD(5), {}),
        (gb.RBM(gb.Bernoulli(6), gb.Gaussian(4)), PCD(5), {}),
        (gb.RBM(Other(6), gb.Bernoulli(4)), PCD(5), {}),
        (model(6, 4), PCD(5, sampler=Slow()), {}),
        (model(6, 4), gb.CD(sampler=Slow()), {}),
        (model(6, 4), gb.MeanField(), {}),
        (model(6, 4), Centered(gb.ExactGradient()), {}),
        (model(6, 4), OtherGradient(PCD(5)), {}),
        (model(6, 4), Centered(Centered(PCD(5))), {}),
        (model(6, 4).double(), PCD(5), {}),
        (model(6, 4), PCD(5), {"penalties": [gb.L2(0.1)]}),
        (model(6, 4), PCD(5), {"projections": [print]}),
        (model(6, 4), PCD(5), {"weights": torch.ones(30)}),
        (model(6, 4), PCD(5), {"callbacks": [SimpleNamespace(every_update=True)]}),
    ],
)
def test_all_else_is_updated_separately(rbm, gradient, parts):
    assert fused_updates(run_of(rbm, gradient, **parts)) is None


def with_decay(rbm) -> SGD:
    """An optimiser of ours with an option set later."""
    optimizer = SGD(rbm.parameters(), lr=0.1)
    optimizer.param_groups[0]["weight_decay"] = 0.1
    return optimizer


@pytest.mark.parametrize(
    "make",
    [
        lambda rbm: torch.optim.SGD(rbm.parameters(), lr=0.1, maximize=True),
        lambda rbm: torch.optim.Adam(rbm.parameters()),
        lambda rbm: SGD([rbm.weight], lr=0.1),
        lambda rbm: SGD([{"params": [rbm.weight]}, {"params": [rbm.visible.bias]}], lr=0.1),
        lambda rbm: SGD([*rbm.parameters(), torch.nn.Parameter(torch.zeros(1))], lr=0.1),
        with_decay,
    ],
)
def test_other_optimisers_step_separately(make):
    rbm = model(6, 4)
    assert fused_updates(run_of(rbm, PCD(5), make(rbm))) is None


def test_states_it_takes_have_chains_of_bits_and_means():
    fused = fused_updates(run_of(model(6, 4), PCD(5)))
    assert not fused.can_run(GibbsState(coins(5, 6)))
    assert not fused.can_run(GibbsState(coins(5, 6), torch.full((5, 4), 0.5)))
    assert fused.can_run(GibbsState(coins(5, 6), torch.ones(5, 4)))
    assert fused_updates(run_of(model(6, 4), gb.CD())).can_run(None)
    centered = fused_updates(run_of(model(6, 4), Centered(gb.CD())))
    assert not centered.can_run(CenteredState(None, None, None))
    assert centered.can_run(CenteredState(None, torch.zeros(6), torch.zeros(4)))


# the kernel, which checks nothing, reads no tensor of another shape or type

N, M, ROWS = 5, 3, 4


def centered_updates() -> tuple[FusedUpdates, CenteredState]:
    """Fused updates with momentum, and a state that they can run from."""
    state = CenteredState(
        GibbsState(torch.zeros(ROWS, N), torch.zeros(ROWS, M)), torch.zeros(N), torch.zeros(M)
    )
    return fused_updates(run_of(model(N, M), Centered(PCD(ROWS)))), state


OTHERS = [lambda x: x[..., :0], lambda x: x[:-1], lambda x: x.double(), lambda x: x.long()]
OTHERS += [lambda x: x[None], lambda x: x.sum(), lambda x: torch.zeros(10**6)]
OTHERS += [lambda x: torch.zeros(*x.shape, 2)[..., 0]]


@pytest.mark.parametrize("change", OTHERS)
@pytest.mark.parametrize("field", ["v", "h", "visible", "hidden"])
def test_states_that_do_not_fit_are_left_to_separate_updates(change, field):
    fused, state = centered_updates()
    assert fused.can_run(state)
    if field in ("v", "h"):
        inner = state.inner._replace(**{field: change(getattr(state.inner, field))})
        state = state._replace(inner=inner)
    else:
        state = state._replace(**{field: change(getattr(state, field))})
    assert not fused.can_run(state)


@pytest.mark.parametrize("change", OTHERS)
def test_momentum_that_does_not_fit_is_left_to_separate_updates(change):
    fused, state = centered_updates()
    for parameter in fused.rbm.parameters():
        buffers = fused.optimizer.state[parameter]
        right = buffers["momentum_buffer"] = torch.zeros_like(parameter)
        buffers["momentum_buffer"] = change(right)
        assert not fused.can_run(state)
        buffers["momentum_buffer"] = right
    assert fused.can_run(state)


@pytest.mark.parametrize("value", [7.0, 0.5, math.nan])
@pytest.mark.parametrize("side", [0, 1])
def test_chains_of_other_than_zeros_and_ones_are_left_to_separate_updates(value, side):
    fused, state = centered_updates()
    state.inner[side][2, 1] = value
    assert not fused.can_run(state)


def test_no_chains_are_left_to_separate_updates():
    fused, state = centered_updates()
    empty = GibbsState(torch.zeros(0, N), torch.zeros(0, M))
    assert not fused.can_run(state._replace(inner=empty))


# as part of `fit`


def calls(monkeypatch) -> list[int]:
    """Rows of the data of every call of the compiled updates, from here on."""
    found, inner = [], FusedUpdates.__call__

    def watched(self, data, *arguments):
        found.append(len(data))
        return inner(self, data, *arguments)

    monkeypatch.setattr(FusedUpdates, "__call__", watched)
    return found


def separately(monkeypatch) -> None:
    monkeypatch.setattr(fitting, "fused_updates", lambda run: None)


def trained(rbm, data, gradient, batch_size=10):
    """The model after 3 epochs, the generator and the history."""
    g, optimizer = generator(2), SGD(rbm.parameters(), 0.1, 0.5)
    options = {"gradient": gradient, "optimizer": optimizer, "generator": g}
    scheduler = fitting.polynomial_decay(optimizer, 3)
    history = gb.fit(rbm, data, scheduler=scheduler, epochs=3, batch_size=batch_size, **options)
    return rbm, g, history


def assert_equal_runs(ours, theirs) -> None:
    """The same random numbers, so the rest the same up to rounding."""
    (rbm, g, history), (other_rbm, other_g, other) = ours, theirs
    assert torch.equal(g.get_state(), other_g.get_state())
    for value, twin in zip(rbm.parameters(), other_rbm.parameters(), strict=True):
        torch.testing.assert_close(value, twin, atol=1e-5, rtol=1e-4)
    for name in ("updates", "gradient_norm", "weight_norm", "learning_rate"):
        found, expected = ([record[name] for record in h.records] for h in (history, other))
        np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("centered", [False, True])
def test_all_but_the_first_update_of_fit_are_fused(monkeypatch, persistent, centered):
    """The first starts the persistent chains and the means."""
    gradient = gb.PCD(9, 2) if persistent else gb.CD(2)
    gradient = gb.Centered(gradient) if centered else gradient
    found, first = calls(monkeypatch), 10 if persistent or centered else 0
    ours = trained(model(12, 7), coins(57, 12), gradient)
    assert sum(found) == 3 * 57 - first
    separately(monkeypatch)
    assert_equal_runs(ours, trained(model(12, 7), coins(57, 12), gradient))
    assert sum(found) == 3 * 57 - first


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
    found = calls(monkeypatch)
    ours = trained(model(20, 6), make(grey), gb.Centered(gb.PCD(9)))
    assert found
    separately(monkeypatch)
    assert_equal_runs(ours, trained(model(20, 6), make(grey), gb.Centered(gb.PCD(9))))


def test_much_data_is_handed_over_in_parts(monkeypatch):
    monkeypatch.setattr("gibbsite.training.fused.ENTRIES", 250)
    found = calls(monkeypatch)
    ours = trained(model(8, 6), coins(97, 8), gb.PCD(9))
    assert found[:4] == [30, 30, 27, 30]
    separately(monkeypatch)
    assert_equal_runs(ours, trained(model(8, 6), coins(97, 8), gb.PCD(9)))


def test_large_models_are_updated_separately(monkeypatch):
    found = calls(monkeypatch)
    gb.fit(model(1200, 800), coins(20, 1200), gradient=PCD(10), epochs=1, batch_size=10)
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
        options = {"gradient": gb.PCD(5), "optimizer": optimizer, "generator": generator()}
        with pytest.raises(gb.DivergenceError) as caught:
            gb.fit(rbm, data, epochs=1, batch_size=10, **options)
        steps.append(caught.value.step)
        assert all(torch.equal(a, b) for a, b in zip(rbm.parameters(), before, strict=True))
        separately(monkeypatch)
    assert 1 < steps[1] <= steps[0] <= 20


def test_estimators_are_fused_too(monkeypatch):
    found = calls(monkeypatch)
    gb.BernoulliRBM(4, n_iter=2, random_state=0).fit(np.eye(25, 6, dtype=np.float32))
    assert found == [15, 25]


def test_partial_fit_goes_on_from_the_chains_of_the_last_call(monkeypatch):
    models = []
    for _ in range(2):
        estimator = gb.BernoulliRBM(4, learning_rate=0.1, random_state=0)
        for _ in range(3):
            estimator.partial_fit(np.eye(25, 6, dtype=np.float32))
        models.append(estimator)
        separately(monkeypatch)
    np.testing.assert_allclose(models[0].components_, models[1].components_, atol=1e-5)
    np.testing.assert_array_equal(models[0].h_samples_, models[1].h_samples_)
