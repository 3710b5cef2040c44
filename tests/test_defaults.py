"""The benchmark of defaults: the clock, models that are read from other packages, tables."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neural_network import BernoulliRBM

import gibbsite as gb

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import defaults
import defaults_data
import peers
import peers_check
from defaults_data import Table
from defaults_table import page
from peers import Snapshot, Task, TimeUp, Watch


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def a_watch(marks: list[float], own: int, seconds: list[float]) -> Watch:
    """A watch whose clock stands still until told."""
    rbm = gb.RBM(gb.Bernoulli(2), gb.Bernoulli(2))
    return Watch(lambda: rbm, marks, own, lambda: seconds[0])


def test_models_are_copied_at_marks_and_at_the_own_end() -> None:
    seconds = [0.0]
    watch = a_watch([2.0, 2.5, 4.0], 3, seconds)

    def loop() -> None:
        while True:
            seconds[0] += 1.0
            watch()

    found = watch.run(loop)
    assert [(x.seconds, x.updates, x.own) for x in found] == [
        (2.0, 2, False),
        (3.0, 3, True),
        (4.0, 4, False),
    ]


def test_the_copy_is_off_the_clock() -> None:
    seconds = [0.0]
    watch = a_watch([1.0, 2.0], 0, seconds)
    read = watch.read

    def slow() -> gb.RBM:
        seconds[0] += 100
        return read()

    watch.read = slow
    seconds[0] = 1.0
    watch()
    seconds[0] += 0.5
    watch()
    assert [x.seconds for x in watch.snapshots] == [1.0]
    seconds[0] += 0.5
    with pytest.raises(TimeUp):
        watch()


def test_a_loop_that_ends_or_fails_gives_what_it_has() -> None:
    def failing() -> None:
        raise RuntimeError("not a number")

    watch = a_watch([9.0], 1, [0.0])
    with pytest.raises(RuntimeError, match="number"):
        watch.run(failing)
    watch()
    assert len(watch.run(failing)) == 1
    assert [x.own for x in watch.run(lambda: None)] == [True, True]


def test_models_of_scikit_learn_are_read() -> None:
    free_energy, rbm = peers_check.scikit_learn(generator())
    states = torch.bernoulli(torch.full((50, peers_check.VISIBLE), 0.5), generator=generator())
    torch.testing.assert_close(free_energy(states), rbm.free_energy(states))


@pytest.mark.parametrize("learned", [False, True])
def test_gaussian_models_of_learnergy_are_read(learned: bool) -> None:
    """By the free energy of its documentation, of standardised rows."""

    class Model:
        n_visible = 3
        W, a, b = (torch.randn(x, generator=generator(1)) for x in ((3, 2), (3,), (2,)))
        sigma = torch.tensor([0.5, 1.0, 2.0]) if learned else torch.ones(3)

    shift, scale = torch.tensor([1.0, 0.0, -2.0]), torch.tensor([2.0, 0.1, 1.0])
    read = peers.from_learnergy_variance if learned else peers.from_learnergy_gaussian
    rbm = read(Model(), shift, scale)
    v = torch.randn((20, 3), generator=generator())
    x = (v - shift) / scale
    fields = (x / Model.sigma**2) @ Model.W + Model.b
    theirs = 0.5 * (((x - Model.a) / Model.sigma) ** 2).sum(1)
    gap = theirs - torch.nn.functional.softplus(fields).sum(1) - rbm.free_energy(v)
    torch.testing.assert_close(gap, gap[:1].expand(20), atol=1e-3, rtol=0)


def test_scikit_learn_trains_as_it_does_alone() -> None:
    rows = torch.bernoulli(torch.full((57, 6), 0.3), generator=generator())
    found = peers.train_scikit_learn(Task(rows, 4, 3, (0.2,)), rate=0.1)
    stopped = next(x for x in found if x.own)
    alone = BernoulliRBM(4, learning_rate=0.1, random_state=3).fit(rows.numpy())
    torch.testing.assert_close(
        stopped.rbm.state_dict(), peers.from_scikit_learn(alone).state_dict(), atol=0, rtol=0
    )
    assert found[-1].seconds >= 0.2


def test_the_best_of_scikit_learn_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "RATES", (1e-9, 0.1))
    rows = torch.bernoulli(torch.full((200, 4), 0.1), generator=generator())
    table = Table(rows, rows, hidden=3)
    (found,) = defaults.scikit_learn("short", table, 0, defaults.Limits((0.1,)))
    assert found.chosen.startswith("rate 0.1, ")
    assert found.snapshot.rbm.hidden.n == 3
    course = [*defaults.scikit_learn("short", table, 0, defaults.Limits((0.02, 0.1)))]
    assert course[0].snapshot.seconds < course[-1].snapshot.seconds
    real = Table(rows, rows, real=True)
    assert not [*defaults.scikit_learn("short", real, 0, defaults.Limits())]


def test_rows_are_split_and_written_alike(tmp_path: Path) -> None:
    wine = defaults_data.TABLES["wine"](1)
    assert len(wine.train) + len(wine.test) == 178
    with np.load(wine.write(tmp_path)) as parts:
        assert (parts["train"] == wine.train.numpy()).all()
        assert (parts["test"] == wine.test.numpy()).all()
    binary = Table(torch.tensor([[0.0, 1.0], [1.0, 1.0]]), torch.zeros(1, 2))
    assert np.loadtxt(binary.write(tmp_path), delimiter=",").tolist() == binary.train.tolist()
    half = wine.split()
    together = torch.cat([half.train, half.test])
    assert sorted(together.tolist()) == sorted(wine.train.tolist())


def test_lines_and_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.bernoulli(torch.full((40, 5), 0.4), generator=generator())
    monkeypatch.setitem(defaults.TABLES, "short", lambda seed: Table(rows, rows[:9]))
    broken = gb.RBM(gb.Bernoulli(5), gb.Bernoulli(2))
    torch.nn.init.constant_(broken.weight, math.nan)
    fair = gb.RBM(gb.Bernoulli(5), gb.Bernoulli(2))

    def model(rbm: gb.RBM) -> object:
        return lambda *_: iter([defaults.Result("ours", Snapshot(rbm, 1.0, 7, True))])

    monkeypatch.setitem(defaults.MODELS, "fair", model(fair))
    monkeypatch.setitem(defaults.MODELS, "broken", model(broken))
    limits = defaults.Limits((1.0,))
    lines = [*defaults.results("short", 0, ["simple", "fair", "broken"], limits)]
    lines = json.loads(json.dumps(defaults.finite({"all": lines}), allow_nan=True))["all"]
    assert lines[1]["test"]["log_likelihood"] == pytest.approx(-5 * math.log(2), abs=1e-4)
    assert lines[1]["verdict"] == "trustworthy"
    assert lines[2]["test"] is None
    assert "not finite" in lines[2]["verdict"]
    told = page([lines[0], lines[1], lines[1] | {"seed": 1}], defaults.LEVELS)
    assert "| short | ours | -3.466 | -3.466 | -3.466 | 2 | 2 | 1 | 2 of 2 |" in told
    assert "| short | ours | none" in page(lines[1:], defaults.LEVELS)


def test_most_mass_counts_where_no_estimate_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    rbm, rows = gb.RBM(gb.Bernoulli(4), gb.Bernoulli(3)), torch.eye(4)
    exact = gb.log_partition(rbm)
    bridge = gb.log_partition(rbm, "bridge", temperatures=20, generator=generator())
    assert bridge.forward is not None
    values = iter((7.0, 9.0, 8.0))

    def estimate(*_: object) -> gb.LogPartition:
        forward = bridge.forward._replace(value=next(values))
        return bridge._replace(forward=forward, problems=("doubtful",))

    assert defaults.log_partition(rbm, rows, defaults.EFFORTS) == exact
    monkeypatch.setattr(defaults, "estimate", estimate)
    found = defaults.log_partition(rbm, rows, defaults.EFFORTS)
    assert found.forward is not None
    assert found.forward.value == 9.0


def test_seconds_to_a_level() -> None:
    def line(seconds: float, nats: float, verdict: str = "trustworthy") -> dict:
        shared = {
            "data": "mnist",
            "model": "ours",
            "seed": 0,
            "marks": [10, 20],
            "verdict": verdict,
        }
        return shared | {"seconds": seconds, "test": {"log_likelihood": nats}}

    told = page([line(10.2, -94), line(20.1, -88, "doubtful")], (-95, -90, -87))
    assert "| mnist | ours | 10 | 20? | not within 20 |" in told


def test_the_command_gets_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []

    def command(words: list[str], threads: int) -> None:
        given.append(words)
        Path(words[3]).mkdir()
        gb.save(gb.RBM(gb.Bernoulli(2), gb.Bernoulli(3)), Path(words[3]) / "model.safetensors")

    monkeypatch.setattr(defaults, "command", command)
    table = Table(torch.eye(2), torch.eye(2), hidden=3)
    found = [*defaults.gibbsite("short", table, 4, defaults.Limits((2.0, 60.0)))]
    assert [x.model for x in found] == ["gibbsite"] * 2
    assert given[1][-6:] == ["--seed", "4", "--budget", "60s", "--hidden", "3"]
