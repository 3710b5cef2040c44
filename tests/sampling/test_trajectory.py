"""Trajectory as a sampler: exact starts, rungs that are added, log Z, training, resuming."""

import copy
import itertools

import forgeries
import pytest
import torch
from replicas import (
    CHAINS,
    FINITE,
    NAN,
    TWO_MODES,
    assert_alike,
    generator,
    randomized,
    rejection,
    two_modes,
)

import gibbsite as gb
from gibbsite.likelihood.exchange import exchange_log_partition
from gibbsite.sampling import TrajectoryState
from gibbsite.sampling.ladder import Passages
from gibbsite.sampling.tempering import TemperingState
from gibbsite.testing import check_gradient, check_sampler

each_finite = pytest.mark.parametrize("case", FINITE.values(), ids=FINITE)


def parameters(rbm: gb.RBM) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in rbm.named_parameters()}


def on_rungs(rungs, rows) -> TrajectoryState:
    """Replicas that have not moved yet, given the rows at every model."""
    *below, v = rows
    models = [parameters(rbm) for rbm in rungs[:-1]]
    return TrajectoryState(v, below, models, 1.0, Passages.none(v, len(rungs)))


def rungs_of(case, n=4, seed=0):
    """Models at random, the first without weights."""
    rungs = [case.model(seed + k) for k in range(n)]
    rungs[0].weight.zero_()
    return rungs


@each_finite
@pytest.mark.parametrize("by", ["step", "advance"])
def test_every_rung_keeps_its_distribution(case, by):
    rungs, g = rungs_of(case), generator()
    sampler, tables = gb.Trajectory(rungs[:-1]), [case.p(case.log_mass(rbm)) for rbm in rungs]
    state = on_rungs(rungs, [case.draws(p, CHAINS, g) for p in tables])
    if by == "advance":
        state = sampler.advance(rungs[-1], state, 7, g)
    for _ in range(7 if by == "step" else 0):
        state, _ = sampler.step(rungs[-1], state, g)
    assert max(case.far(v, p) for v, p in zip([*state.below, state.v], tables, strict=True)) < 1


def test_real_units_of_learned_width_keep_their_moments():
    """Rungs that differ in sigma as well."""
    rungs = [
        randomized(gb.RBM(gb.Gaussian(2, sigma=s, learn_sigma=True), gb.Bernoulli(3)), seed)
        for seed, s in enumerate((1.3, 1.0, 0.8))
    ]
    rungs[0].weight.zero_()
    g, sampler = generator(), gb.Trajectory(rungs[:-1])
    state = on_rungs(rungs, [gb.exact.sample(rbm, CHAINS, g) for rbm in rungs])
    for _ in range(5):
        state, _ = sampler.step(rungs[-1], state, g)
    for rbm, v in zip(rungs, [*state.below, state.v], strict=True):
        assert_alike(rbm, v, gb.exact.sample(rbm, CHAINS, g))


def test_a_rung_that_is_added_leaves_all_distributions():
    """The copy of the model starts with the model's own rows, and with a model that moves on."""
    case, g = FINITE["bernoulli"], generator()
    rbm = case.model(1, 2.0)
    first = copy.deepcopy(rbm)
    first.weight.zero_()
    sampler = gb.Trajectory(target=0.99)
    tables = [case.p(case.log_mass(model)) for model in (first, rbm)]
    state = on_rungs([first, rbm], [case.draws(p, CHAINS, g) for p in tables])
    for _ in range(6):
        state, _ = sampler.step(rbm, state, g)
    assert len(state.models) == 2
    state.check(rbm)
    assert torch.equal(state.models[1]["weight"], rbm.weight)
    assert state.models[1]["weight"].data_ptr() != rbm.weight.data_ptr()
    for v, p in zip([*state.below, state.v], [*tables, tables[-1]], strict=True):
        assert case.far(v, p) < 1


def test_the_models_given_stay():
    rungs = rungs_of(FINITE["bernoulli"], 3)
    sampler = gb.Trajectory(rungs[:-1], target=0.99)
    state = sampler.init(rungs[-1], torch.zeros(20, 4), generator())
    state = sampler.advance(rungs[-1], state, 50, generator())
    assert len(state.models) == 2
    assert state.acceptance < 0.99


def test_rejections_between_models_are_exact():
    rungs = [two_modes(depth) for depth in (0.0, 0.8, 1.5)]
    masses, g = [TWO_MODES.log_mass(rbm) for rbm in rungs], generator()
    rows = [TWO_MODES.draws(TWO_MODES.p(mass), 20_000, g) for mass in masses]
    sampler, state = gb.Trajectory(rungs[:-1]), on_rungs(rungs, rows)
    for first, pair in enumerate(itertools.pairwise(masses)):
        state, info = sampler.step(rungs[-1], state, g)
        assert info.first == first
        rates = 1 - (info.up - info.down).clamp(max=0).exp()
        error = rates.std().item() / 20_000**0.5
        assert abs(rates.mean().item() - rejection(*pair)) < 5 * error


# log Z


@pytest.mark.parametrize("of", ["temperatures", "models"])
def test_log_z_is_exact(of):
    """Within 4 standard errors, and those are small, for rows that have come to equilibrium."""
    rbm, g = two_modes(1.2), generator(1)
    if of == "models":
        sampler = gb.Trajectory([two_modes(depth) for depth in (0.0, 0.5, 0.9)])
    else:
        sampler = gb.Tempering(rungs=6)
    state = sampler.init(rbm, gb.exact.sample(rbm, 500, g), g)
    state = sampler.advance(rbm, state, 60, g)
    found = exchange_log_partition(sampler, rbm, state, 60, g)
    expected = gb.exact.log_partition(rbm).item()
    assert abs(found.value - expected) < 4 * found.stderr
    assert found.stderr < 0.02


def test_log_z_after_training_along_its_own_models():
    data, g = gb.exact.sample(two_modes(2.0), 200, generator()).float(), generator(2)
    rbm = gb.RBM(gb.Bernoulli(8), gb.Bernoulli(3))
    gradient = gb.PCD(200, sampler=gb.Trajectory(target=0.7))
    history = gb.fit(
        rbm,
        data,
        gradient=gradient,
        optimizer=gb.training.SGD(rbm.parameters(), 0.3),
        epochs=60,
        batch_size=50,
        generator=g,
    )
    sampler = gb.Trajectory.of(rbm, history.state)
    assert len(sampler.models) > 1
    state = sampler.init(rbm, data, g)
    state = sampler.advance(rbm, state, 200, g)
    found = exchange_log_partition(sampler, rbm, state, 100, g)
    assert abs(found.value - gb.exact.log_partition(rbm).item()) < 4 * found.stderr
    assert found.stderr < 0.02


@pytest.mark.parametrize("kind", [gb.Tempering, gb.Trajectory])
def test_log_z_by_rows_of_clamped_units_is_refused(kind):
    rbm, sampler = two_modes(), kind(clamp=torch.zeros(1, 8))
    state = sampler.init(rbm, torch.zeros(5, 8), generator())
    with pytest.raises(gb.ArgumentError, match=r"clamped units; .*gb\.condition"):
        exchange_log_partition(sampler, rbm, state, 2)


# the contract of samplers and of gradients


@each_finite
def test_it_keeps_the_contract_for_every_unit_type(case):
    *models, rbm = rungs_of(case, 3)
    check_sampler(gb.Trajectory(models), [rbm], chains=4000)


def test_it_keeps_the_contract_of_samplers():
    check_sampler(gb.Trajectory(target=0.01), steps=15, chains=8000)


def test_pcd_by_it_keeps_the_contract_of_gradients():
    check_gradient(gb.PCD(chains=100, sampler=gb.Trajectory(target=0.01)))


# checkpoints

SAMPLERS = {
    "temperatures": lambda: gb.Tempering(),
    "models": lambda: gb.Trajectory(target=0.9),
}
ROWS = gb.exact.sample(two_modes(4.0), 60, generator()).float()


def train(keep, epochs, name, wrap=lambda gradient: gradient):
    rbm = gb.RBM(gb.Bernoulli(8), gb.Bernoulli(3))
    gradient = gb.PCD(30, sampler=SAMPLERS[name]())
    optimizer = gb.training.SGD(rbm.parameters(), 0.5)
    history = gb.fit(
        rbm,
        ROWS,
        gradient=wrap(gradient),
        optimizer=optimizer,
        epochs=epochs,
        batch_size=20,
        generator=generator(3),
        checkpoints=keep,
    )
    return rbm, history.state


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("wrap", [lambda x: x, gb.Centered], ids=["plain", "centered"])
def test_training_goes_on_bit_for_bit(tmp_path, name, wrap):
    """From a state whose ladder has grown since the start."""
    keep, epochs = gb.Checkpoints(tmp_path), 60
    _, early = train(keep, 40, name, wrap)
    resumed, state = train(keep, epochs, name, wrap)
    whole, expected = train(None, epochs, name, wrap)
    for ours, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    early, state, expected = (x if hasattr(x, "below") else x[0] for x in (early, state, expected))
    assert len(early.below) > (1 if name == "models" else 2)
    for ours, theirs in zip([*state.below, state.v], [*expected.below, expected.v], strict=True):
        assert torch.equal(ours, theirs)
    assert state.passages.rejected == expected.passages.rejected
    assert torch.equal(state.passages.trips, expected.passages.trips)


FORGED = {
    "rung NaN": ("gradient.1.0", lambda x: x * NAN),
    "rung of 7": ("gradient.1.0", lambda x: x + 7),
    "rung float64": ("gradient.1.0", lambda x: x.double()),
    "rung short": ("gradient.1.0", lambda x: x[1:]),
    "rung text": ("gradient.1.0", lambda x: "x"),
    "rung missing": ("gradient.1", lambda x: x[1:]),
    "rungs none": ("gradient.1", lambda x: []),
    "rungs a tensor": ("gradient.1", torch.stack),
    "fresh real": ("gradient.4.0.0", lambda x: x.float()),
    "fresh text": ("gradient.4.0", lambda x: ["x"] * len(x)),
    "rejected text": ("gradient.4.3", lambda x: ["x"] * len(x)),
    "rejected NaN": ("gradient.4.3.0", lambda x: NAN),
    "age text": ("gradient.4.2", lambda x: "x"),
    "age endless": ("gradient.4.2", lambda x: 10**400),
}
OF_BETAS = {
    "betas text": ("gradient.2", lambda x: ["x"] * len(x)),
    "betas NaN": ("gradient.2.1", lambda x: NAN),
    "means NaN": ("gradient.3.0", lambda x: x * NAN),
    "rounds real": ("gradient.5", lambda x: 0.5),
}
OF_MODELS = {
    "weight NaN": ("gradient.2.0.weight", lambda x: x * NAN),
    "weights in the first": ("gradient.2.0.weight", lambda x: x + 1),
    "weight short": ("gradient.2.0.weight", lambda x: x[:2]),
    "weight float64": ("gradient.2.0.weight", lambda x: x.double()),
    "weight text": ("gradient.2.0.weight", lambda x: "x"),
    "model a list": ("gradient.2.0", lambda x: list(x.values())),
    "model of other names": ("gradient.2.0", lambda x: x | {"more": x["weight"]}),
    "model text": ("gradient.2.0", lambda x: "x"),
    "model missing": ("gradient.2", lambda x: x[1:]),
    "acceptance NaN": ("gradient.3", lambda x: NAN),
    "acceptance of 2": ("gradient.3", lambda x: 2.0),
    "acceptance true": ("gradient.3", lambda x: True),
}
CASES = [("temperatures", name) for name in FORGED | OF_BETAS]
CASES += [("models", name) for name in FORGED | OF_MODELS]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The last state of a run of each."""
    found = {}
    for name in SAMPLERS:
        keep = gb.Checkpoints(tmp_path_factory.mktemp(name))
        train(keep, 10, name)
        found[name] = keep.read()
    return found


@pytest.mark.parametrize(("name", "change"), CASES)
def test_a_forged_ladder_is_refused(tmp_path, kept, name, change):
    keep = gb.Checkpoints(tmp_path)
    keep.write(10, forgeries.changed(kept[name], *(FORGED | OF_BETAS | OF_MODELS)[change]))
    with pytest.raises(gb.ModelFileError, match="of another run"):
        train(keep, 11, name)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_ladder_that_is_forged_there_is_taken(tmp_path, kept, name):
    """And the checks of its parts name what is wrong themselves."""
    keep = gb.Checkpoints(tmp_path)
    keep.write(10, kept[name])
    rbm, state = train(keep, 11, name)
    assert isinstance(state, TemperingState | TrajectoryState)
    state.check(rbm)
    state.passages.check(rbm)


OF_STATE = {
    "no models": lambda s: {"models": [], "below": []},
    "first with weights": lambda s: {"models": s.models[::-1]},
    "model text": lambda s: {"models": ["x", "y"]},
    "parameters of numbers": lambda s: {"models": [{"weight": 1.0}] * 2},
    "model NaN": lambda s: {"models": [{k: x * NAN for k, x in m.items()} for m in s.models]},
    "acceptance text": lambda s: {"acceptance": "x"},
    "acceptance whole": lambda s: {"acceptance": 1},
    "acceptance NaN": lambda s: {"acceptance": NAN},
    "below text": lambda s: {"below": ["x", "y"]},
}


@pytest.mark.parametrize("change", OF_STATE.values(), ids=OF_STATE)
def test_a_hostile_state_is_refused(change):
    rungs = rungs_of(FINITE["bernoulli"], 3)
    state = on_rungs(rungs, [torch.zeros(4, 4).double()] * 3)
    state.check(rungs[-1])
    with pytest.raises(gb.DataError):
        state._replace(**change(state)).check(rungs[-1])


# wrong arguments


@pytest.mark.parametrize("target", [0.0, 1.0, -1.0, NAN])
def test_a_target_that_is_no_rate_is_refused(target):
    with pytest.raises(gb.ArgumentError, match="target="):
        gb.Trajectory(target=target)


def test_models_that_do_not_fit_are_refused():
    rbm = FINITE["bernoulli"].model(0)
    with pytest.raises(gb.ArgumentError, match="first of models has weights"):
        gb.Trajectory([rbm, rbm])
    other = gb.RBM(gb.Bernoulli(4), gb.Bernoulli(2))
    other.weight.detach().zero_()
    with pytest.raises(gb.DataError, match="other names or shapes"):
        gb.Trajectory([other]).init(rbm, torch.zeros(2, 4), generator())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_models_are_taken_in_the_dtype_of_the_model(dtype):
    first, rbm = rungs_of(FINITE["bernoulli"], 2)
    rbm, sampler, g = rbm.to(dtype), gb.Trajectory([first]), generator()
    state, info = sampler.step(rbm, sampler.init(rbm, torch.zeros(9, 4), g), g)
    state.check(rbm)
    assert info.up.dtype == torch.float64
