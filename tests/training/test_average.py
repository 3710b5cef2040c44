"""Averages of parameters: against sums over a recorded run, resumed, fused, of every unit type."""

import copy
import math

import pytest
import torch

import gibbsite as gb
from gibbsite.ops import compiles

DATA = (torch.rand(50, 6, generator=torch.Generator().manual_seed(5)) < 0.4).float()


def new_model(dtype=torch.float32) -> gb.RBM:
    return gb.RBM(gb.Bernoulli(6), gb.Bernoulli(4)).to(dtype)


def train(rbm, callbacks, epochs=4, **options):
    options = {"batch_size": 7, "generator": torch.Generator().manual_seed(0)} | options
    return gb.fit(rbm, DATA, callbacks=callbacks, epochs=epochs, **options)


class Recorder:
    """The parameters after every update."""

    def __init__(self, every_update=True):
        self.every_update, self.seen = every_update, []

    def after_update(self, rbm, update):
        self.seen.append({n: x.detach().double().clone() for n, x in rbm.named_parameters()})

    def __call__(self, rbm, record):
        pass


def by_definition(seen, horizon, start, every):
    """Sums over all updates, each with the parameters of the look that counts it."""
    decay, last = 1 - 1 / horizon, len(seen)
    looks = list(range(start + 1, last + 1, every))
    weights, total = [0.0] * (last + 1), 0.0
    end = looks[-1]
    for i in range(start + 1, end + 1):
        look = next(k for k in looks if k >= i)
        weights[look] += decay ** (end - i)
        total += decay ** (end - i)
    return {name: sum(weights[k] * seen[k - 1][name] for k in looks) / total for name in seen[0]}


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("start", [0, 11])
@pytest.mark.parametrize("horizon", [1, 2.5, 20, math.inf])
def test_an_average_is_what_it_says(horizon, start, every):
    rbm, recorder = new_model(), Recorder()
    average = gb.Averaged(rbm, horizon=horizon, start=start, every=every)
    train(rbm, [recorder, average])
    expected = by_definition(recorder.seen, horizon, start, every)
    for name, value in average.model.named_parameters():
        torch.testing.assert_close(average.mean[name], expected[name], rtol=1e-12, atol=1e-14)
        assert torch.equal(value, expected[name].float())


def test_a_horizon_of_one_is_the_last_model():
    rbm = new_model()
    average = gb.Averaged(rbm, horizon=1, every=1)
    train(rbm, [average])
    for ours, theirs in zip(average.model.parameters(), rbm.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_until_an_update_counts_the_model_is_that_of_now():
    rbm = new_model()
    average = gb.Averaged(rbm, start=1000)
    train(rbm, [average])
    assert torch.equal(average.model.weight, rbm.weight)
    assert average.model is not rbm
    assert not average.mean


def test_it_observes_and_is_a_model_of_its_own():
    plain, watched = new_model(), new_model()
    average = gb.Averaged(watched, every=1)
    train(plain, [])
    train(watched, [average], projections=[])
    torch.testing.assert_close(plain.weight, watched.weight)
    model, before = average.model, average.model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1)
    train(model, [])
    assert torch.equal(average.model.weight, before)
    assert model.weight.requires_grad


def test_it_goes_on_over_calls_of_fit():
    rbm, recorder = new_model(), Recorder()
    average = gb.Averaged(rbm, horizon=5, every=2)
    g = torch.Generator().manual_seed(0)
    history = train(rbm, [recorder, average], epochs=2, generator=g)
    train(rbm, [recorder, average], epochs=2, generator=g, state=history.state)
    expected = by_definition(recorder.seen, 5, 0, 2)
    torch.testing.assert_close(average.mean["weight"], expected["weight"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_run_that_goes_on_gives_the_same_average(tmp_path, stop, dtype):
    def run(epochs, keep):
        rbm = new_model(dtype)
        average = gb.Averaged(rbm, horizon=9, start=5, every=4)
        optimizer = gb.training.SGD(rbm.parameters(), 0.05)
        train(rbm, [average], epochs, optimizer=optimizer, checkpoints=keep)
        return average

    keep = gb.Checkpoints(tmp_path)
    run(stop, keep)
    whole, resumed = run(4, None), run(4, keep)
    assert (resumed.updates, resumed.counted) == (whole.updates, whole.counted)
    for name, value in whole.mean.items():
        assert torch.equal(value, resumed.mean[name])
    assert torch.equal(whole.model.weight, resumed.model.weight)


@pytest.mark.parametrize(
    "change",
    [
        {"updates": -1},
        {"updates": "x"},
        {"counted": 4},
        {"counted": 2**60},
        {"mean": {}, "counted": None},
        {"mean": {"weight": torch.zeros(6, 4).double()}},
        {"mean": "weight", "value": torch.zeros(6, 4)},
        {"mean": "weight", "value": torch.zeros(6, 5).double()},
        {"mean": "weight", "value": torch.full((6, 4), torch.nan).double()},
        {"mean": "weight", "value": 3.0},
    ],
    ids=str,
)
def test_a_state_of_another_run_is_refused(tmp_path, change):
    rbm = new_model()
    average = gb.Averaged(rbm, start=5)
    train(rbm, [average])
    state, before = copy.deepcopy(average.state_dict()), copy.deepcopy(average.mean)
    if isinstance(change.get("mean"), str):
        change = {"mean": state["mean"] | {change["mean"]: change["value"]}}

    class Forged(type(average)):
        def state_dict(self):
            return state | change

    Forged.__name__ = "Averaged"
    keep, forged = gb.Checkpoints(tmp_path), new_model()
    train(forged, [Forged(forged, start=5)], checkpoints=keep)
    with pytest.raises(gb.ModelFileError, match="of another run"):
        train(rbm, [average], 5, checkpoints=keep)
    assert all(torch.equal(value, before[name]) for name, value in average.mean.items())


@pytest.mark.skipif(not compiles(), reason="no compiler")
def test_fused_updates_count_each():
    """Those of one call are seen at its end only; the plain average is then that of the ends."""
    rbm, ends = new_model(), []
    average = gb.Averaged(rbm, every=1)
    optimizer = gb.training.SGD(rbm.parameters(), 0.05)
    recorder = Recorder(every_update=False)
    train(rbm, [recorder, average, lambda rbm, _: ends.append(rbm.weight.clone())], 3,
          gradient=gb.PCD(chains=5), optimizer=optimizer, batch_size=5)  # fmt: skip
    assert average.updates == 30
    assert torch.equal(recorder.seen[11]["weight"].float(), ends[1])  # so they were fused
    expected = by_definition(recorder.seen, math.inf, 0, 1)
    torch.testing.assert_close(average.mean["weight"], expected["weight"])


def test_averages_of_an_optimum_lie_nearer_to_it():
    """At a constant rate the likelihood of the average is above those of the models."""
    rbm, figures = new_model(torch.float64), []
    average = gb.Averaged(rbm, start=1000)
    optimizer = gb.training.SGD(rbm.parameters(), 0.05)

    def likelihood(model, record=None):
        figures.append(gb.exact.log_likelihood(model, DATA.double()).mean().item())

    train(rbm, [average, likelihood], 300, optimizer=optimizer, batch_size=10,
          gradient=gb.PCD(chains=20))  # fmt: skip
    likelihood(average.model)
    *late, ours = figures[-51:]
    assert ours > max(late)


def test_another_model_is_refused():
    average = gb.Averaged(new_model())
    with pytest.raises(gb.ArgumentError, match="Averaged is of another model"):
        train(new_model(), [average])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0.5}, "horizon=0.5: expected a number of updates"),
        ({"horizon": math.nan}, "horizon=nan"),
        ({"start": -1}, "start=-1"),
        ({"every": 0}, "every=0"),
    ],
)
def test_counts_that_are_none(options, message):
    with pytest.raises(gb.ArgumentError, match=message):
        gb.Averaged(new_model(), **options)
