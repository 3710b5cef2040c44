"""No inner loop makes a tensor: more rounds of it need no more of them."""

import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from allocations import made_by_more

import gibbsite as gb
from gibbsite import ops
from gibbsite.likelihood.annealing import Path, anneal, uniform_schedule

N, M, ROWS, BATCH = 12, 7, 90, 20


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(visible: gb.layers.Layer) -> gb.RBM:
    rbm = gb.RBM(visible, gb.Bernoulli(M))
    torch.nn.init.normal_(rbm.weight.data, std=0.1, generator=generator())
    return rbm


MODELS = {
    "binary": lambda: model(gb.Bernoulli(N)),
    "gaussian": lambda: model(gb.Gaussian(N, sigma=0.7)),
    "sigma learned": lambda: model(gb.Gaussian(N, learn_sigma=True)),
    "sigmas learned": lambda: model(gb.Gaussian(N, sigma=[0.7] * N, learn_sigma=True)),
}
GRADIENTS = {
    "CD": gb.CD(),
    "CD-3": gb.CD(steps=3),
    "PCD": gb.PCD(chains=30),
    "PCD-3": gb.PCD(chains=30, steps=3),
    "centred CD": gb.Centered(gb.CD()),
    "centred PCD": gb.Centered(gb.PCD(chains=30)),
}
PROBABILITIES = torch.rand(ROWS, N, generator=generator())
DATA = {
    "grey": PROBABILITIES,
    "bits": PROBABILITIES.round(),
    "bytes": gb.Rows((255 * PROBABILITIES).numpy().astype(np.uint8), scale=1 / 255),
    "single": gb.Rows(PROBABILITIES.numpy()),
    "double": gb.Rows(PROBABILITIES.double().numpy()),
    "chosen": gb.Rows(PROBABILITIES.numpy()).take(torch.arange(ROWS)),
}

each_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
each_gradient = pytest.mark.parametrize("gradient", GRADIENTS.values(), ids=GRADIENTS)


@pytest.fixture
def one_by_one(monkeypatch):
    """Updates are made one by one, as those of large models are."""
    monkeypatch.setattr(sys.modules["gibbsite.training.fit"], "SMALL", 0)


def epoch(make, gradient, data, **options) -> gb.RBM:
    rbm = make()
    options = {"generator": generator(), "epochs": 1, "batch_size": BATCH} | options
    gb.fit(rbm, data, gradient=gradient, **options)
    return rbm


def made_by_updates(make, gradient, data, **options):
    """By operation and shape, what two more updates make; what an epoch makes may be longer."""
    less = data.take(torch.arange(50)) if isinstance(data, gb.Rows) else data[:50]
    found = made_by_more(lambda rows: epoch(make, gradient, rows, **options), less, data)
    return {what: count for what, count in found.items() if count > 1}


@each_model
@each_gradient
def test_updates_make_no_tensor(make, gradient, one_by_one):
    assert made_by_updates(make, gradient, DATA["bits"]) == {}


@pytest.mark.parametrize("data", DATA.values(), ids=DATA)
def test_minibatches_make_no_tensor(data, one_by_one):
    assert made_by_updates(MODELS["binary"], GRADIENTS["centred PCD"], data) == {}


def test_penalties_make_no_tensor(one_by_one):
    penalties = [gb.L1(1e-3), gb.L2(1e-3)]
    assert made_by_updates(*arguments(), penalties=penalties) == {}


def test_updates_in_one_call_make_no_tensor():
    assert made_by_updates(*arguments()) == {}


def arguments():
    return MODELS["binary"], GRADIENTS["centred PCD"], DATA["bits"]


def test_an_estimator_that_makes_tensors_is_noticed(one_by_one):
    """The check itself."""

    class Wasteful(gb.CD, twins=True):
        def step(self, rbm, v, state, generator=None):
            return super().step(rbm, v.clone(), state, generator)

    found = made_by_updates(MODELS["binary"], Wasteful(), DATA["bits"])
    assert found == {("aten.clone.default", (BATCH, N)): 2}


@each_model
@pytest.mark.parametrize("thin", [1, 3])
def test_steps_of_sampling_make_no_tensor(make, thin):
    rbm = make()
    run = lambda steps: gb.sample(rbm, 10, steps=steps, generator=generator())  # noqa: E731
    assert made_by_more(run, 5, 9) == {}
    start = torch.zeros(4, N)
    draw = lambda n: gb.sample(rbm, n, start=start, thin=thin, generator=generator())  # noqa: E731
    found = made_by_more(draw, 20, 40)
    assert set(found) <= {("aten.new_empty.default", (40, N))}  # what it returns


@each_model
@pytest.mark.parametrize("forwards", [True, False])
def test_temperatures_make_no_tensor(make, forwards):
    rbm = make()
    path = Path.fit(rbm, DATA["bits"])
    v = path.start(10, generator())

    def run(temperatures: int) -> None:
        betas = uniform_schedule(temperatures)
        anneal(path, betas if forwards else betas.flip(0), v, generator())

    found = made_by_more(run, 10, 20)
    assert all(count == 1 for count in found.values())  # one table with an entry a temperature


@each_model
@each_gradient
@pytest.mark.parametrize("chunk", [BATCH, 33])
def test_workspaces_change_no_result(make, gradient, chunk, one_by_one, monkeypatch):
    """Whatever lives longer than a round would be overwritten."""
    data, options = DATA["bits"], {"epochs": 3, "batch_size": chunk}
    found = epoch(make, gradient, data, **options)
    monkeypatch.setattr(ops, "Workspace", ops.Fresh)
    monkeypatch.setattr(ops, "reusing", lambda x: x)
    expected = epoch(make, gradient, data, **options)
    for name, value in expected.named_parameters():
        assert torch.equal(value, found.get_parameter(name)), name


def test_a_table_is_made_once_for_as_many_rows_as_ever():
    space, like = ops.Workspace(), torch.zeros(1)
    first = space.table("a", like, 5, 3)
    assert space.table("a", like, 5, 3) is first
    assert space.table("a", like, 2, 3).data_ptr() == first.data_ptr()
    assert space.table("b", like, 5, 3).data_ptr() != first.data_ptr()
    other = space.other("a", first, like, 5, 3)
    assert other.data_ptr() != first.data_ptr()
    assert space.other("a", other, like, 5, 3) is first
    for changed in (space.table("a", like, 6, 3), space.table("a", like.double(), 2, 3)):
        assert changed.data_ptr() != first.data_ptr()
    assert changed.dtype == torch.float64


def test_a_twin_shares_no_workspace_with_what_it_was_made_from():
    gradient = gb.Centered(gb.PCD())
    twin = ops.reusing(gradient)
    assert twin == gradient
    spaces = [part.workspace for part in (twin, twin.gradient, twin.gradient.sampler)]
    assert len({id(space) for space in spaces}) == 3
    assert isinstance(gradient.gradient.sampler.workspace, ops.Fresh)
    assert ops.reusing(len) is len


@dataclass(frozen=True)
class Averaged(gb.CD):
    """A user's estimator, which needs two gradients at once."""

    def step(self, rbm, v, state, generator=None):
        pair = [super(Averaged, self).step(rbm, v, state, generator)[0] for _ in range(2)]
        return {name: (pair[0][name] + pair[1][name]) / 2 for name in pair[0]}, state


@pytest.mark.parametrize("wrap", [lambda x: x, gb.Centered])
def test_a_users_subclass_may_keep_what_it_is_given(wrap, monkeypatch):
    assert ops.reusing(Averaged()).workspace is ops.FRESH
    found = epoch(MODELS["binary"], wrap(Averaged()), DATA["bits"])
    other = epoch(MODELS["binary"], wrap(gb.CD()), DATA["bits"])
    assert not torch.equal(found.weight, other.weight)  # its own step is taken
    monkeypatch.setattr(ops, "reusing", lambda x: x)
    expected = epoch(MODELS["binary"], wrap(Averaged()), DATA["bits"])
    assert all(map(torch.equal, found.parameters(), expected.parameters()))


@dataclass(frozen=True)
class Remembering:
    """A user's estimator whose state is the minibatch before."""

    def init(self, rbm, generator=None):
        return None

    def step(self, rbm, v, state, generator=None):
        new = rbm.data_phase(v)
        old = rbm.data_phase(v if state is None else state)
        return {name: new[name] - old[name] for name in new}, v


def test_an_estimator_may_keep_its_minibatch(one_by_one):
    history = gb.fit(
        MODELS["binary"](), DATA["grey"], gradient=Remembering(), epochs=1, generator=generator()
    )
    other = gb.fit(
        MODELS["binary"](),
        DATA["grey"],
        gradient=Remembering(),
        epochs=1,
        batch_size=20,
        generator=generator(),
    )
    assert history.records[-1]["gradient_norm"] == 0  # one batch, the same as itself
    assert other.records[-1]["gradient_norm"] > 0.1


class Keeping(gb.Gibbs):
    """A user's sampler that keeps the h it comes by."""

    seen: ClassVar[list] = []

    def step(self, rbm, state, generator=None):
        self.seen.append((state.h, state.h if state.h is None else state.h.clone()))
        return super().step(rbm, state, generator)

    def advance(self, rbm, state, steps, generator=None):
        return self.step(rbm, state, generator)[0]


@pytest.mark.parametrize("kind", [gb.CD, gb.PCD])
def test_a_sampler_may_keep_the_h_it_comes_by(kind, one_by_one):
    Keeping.seen.clear()
    epoch(MODELS["binary"], kind(sampler=Keeping()), DATA["bits"])
    kept = [pair for pair in Keeping.seen if pair[0] is not None]
    assert len(kept) >= 4
    assert all(torch.equal(h, then) for h, then in kept)


@each_gradient
def test_an_update_leaves_the_state_it_was_given(gradient):
    """So that one that is interrupted can be made again."""
    rbm, g = MODELS["binary"](), generator()
    twin = ops.reusing(gradient)
    state = twin.init(rbm, g)
    for rows in DATA["bits"].split(30):
        before = [x.clone() for x in tensors(state)]
        _, new = twin.step(rbm, rows, state, g)
        assert all(map(torch.equal, tensors(state), before))
        state = new


def tensors(state) -> list[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return [state]
    return [x for part in state or () for x in tensors(part)]


@each_model
def test_inference_mode_leaves_nothing_that_cannot_be_used_outside(make):
    rbm = make()
    with torch.inference_mode():
        gb.sample(rbm, 3, steps=2, generator=generator())
    gb.sample(rbm, 3, steps=2, generator=generator())


def test_a_first_draw_in_inference_mode_stops_no_later_one():
    code = """
import torch
from gibbsite import ops
with torch.inference_mode():
    ops.draw_bernoulli_(torch.zeros(2, 2), torch.zeros(2))
ops.draw_bernoulli_(torch.zeros(2, 2), torch.zeros(2))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_gradients_taken_by_hand_keep():
    rbm, gradient, g = MODELS["sigma learned"](), gb.Centered(gb.PCD(chains=5)), generator()
    state, kept = gradient.init(rbm, g), []
    for rows in DATA["bits"].split(30):
        ascent, state = gradient.step(rbm, rows, state, g)
        kept.append((ascent, {name: value.clone() for name, value in ascent.items()}))
    for ascent, copies in kept:
        assert all(torch.equal(ascent[name], copies[name]) for name in copies)
