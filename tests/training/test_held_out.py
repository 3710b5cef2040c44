"""Rows held out: measured, the best model kept, a bad run ended; the same after a resume."""

import copy
import math

import pytest
import torch

import gibbsite as gb
from gibbsite.training import HeldOut
from gibbsite.training.pseudo_course import PseudoCourse
from gibbsite.training.recipe import candidates, recipe_for
from gibbsite.training.sgd import SGD
from gibbsite.training.traits import Traits
from gibbsite.training.trial import Trial, averaged, measured_epochs, run_trial

DATA = gb.datasets.load("digits").train[:300]
VALID = gb.datasets.load("digits").train[300:400]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trained(watch_options=None, epochs=6, **options):
    rbm = gb.RBM(gb.Bernoulli(64), gb.Bernoulli(8))
    watch = HeldOut(rbm, VALID, **(watch_options or {}))
    history = gb.fit(rbm, DATA, epochs=epochs, callbacks=[watch], generator=generator(), **options)
    return rbm, watch, history


def scored(*figures: tuple[float, float]) -> HeldOut:
    """A watch after measurements of these scores and errors."""
    watch = HeldOut(gb.RBM(gb.Bernoulli(64), gb.Bernoulli(8)), VALID)
    for epoch, (score, stderr) in enumerate(figures, start=1):
        watch.epochs.append(epoch)
        watch.scores.append(score)
        watch.stderrs.append(stderr)
        watch.tried = epoch
    return watch


def test_the_figures_are_exact_and_the_best_model_is_kept():
    _, watch, history = trained({"at": (2, 4, 6)})
    assert watch.epochs == [2, 4, 6]
    exact = gb.exact.log_likelihood(watch.model, VALID).mean().item()
    assert watch.scores[watch.best_index] == pytest.approx(exact, abs=1e-4)
    column = history.column("validation_log_likelihood")
    assert [column[epoch - 1] for epoch in watch.epochs] == watch.scores
    assert math.isnan(column[0])


def test_a_large_model_is_estimated():
    rbm = gb.RBM(gb.Bernoulli(64), gb.Bernoulli(18))  # exact, but not in every epoch
    watch = HeldOut(rbm, VALID, at=(3,), generator=generator(1))
    gb.fit(rbm, DATA, epochs=3, callbacks=[watch], generator=generator())
    exact = gb.exact.log_likelihood(rbm, VALID).mean().item()
    assert abs(watch.scores[0] - exact) < 5 * watch.stderrs[0] + 0.05


def test_ladders_of_training_estimate_it():
    rbm, sampler = gb.RBM(gb.Bernoulli(64), gb.Bernoulli(17)), gb.Tempering(data=DATA)
    watch = HeldOut(rbm, VALID, at=(3,), sampler=sampler, generator=generator(1))
    gradient = gb.Centered(gb.PCD(50, sampler=sampler))
    gb.fit(rbm, DATA, gradient=gradient, epochs=3, callbacks=[watch], generator=generator())
    exact = gb.exact.log_likelihood(rbm, VALID).mean().item()
    assert abs(watch.scores[0] - exact) < 5 * watch.stderrs[0] + 0.1


def test_a_volume_is_taken_off():
    _, watch, _ = trained({"log_volume": 0.0}, epochs=2)
    _, other, _ = trained({"log_volume": 3.0}, epochs=2)
    assert other.scores == pytest.approx([score - 3 for score in watch.scores])


def test_training_ends_after_patience_has_run_out(monkeypatch):
    scores = iter([-20.0, -19.0, -21.0, -22.0, -23.0])
    monkeypatch.setattr(HeldOut, "_log_partition", lambda self, model: (0.0, 0.0))
    monkeypatch.setattr(
        "gibbsite.training.held_out.negative_free_energies",
        lambda model, rows: torch.tensor(next(scores)),
    )
    _, watch, history = trained(epochs=9)
    assert len(history) == 4  # two worse ones after the best
    assert watch.best_epoch == 2
    assert watch.verdict() == "overfitting since epoch 2"


@pytest.mark.parametrize(
    ("figures", "epoch", "words"),
    [
        ([(-20, 0), (-19, 0)], 2, "still improving, by 1.00 nats from epoch 1"),
        ([(-20, 0), (-19, 0), (-19.5, 0)], 2, "overfitting since epoch 2"),
        ([(-20, 0.1), (-19, 0.1), (-19.1, 0.1)], 3, "levelled off by epoch 3"),  # not clearly
        ([(-19, 0.5)], 1, ""),
    ],
)
def test_the_course_in_words(figures, epoch, words):
    watch = scored(*figures)
    assert (watch.best_epoch, watch.verdict()) == (epoch, words)


def test_where_the_last_cannot_be_measured_the_current_model_counts(monkeypatch):
    rbm, watch, _ = trained({"at": (1,)}, epochs=2)
    watch.tried = 2
    assert not watch.is_measured
    assert watch.verdict() == ""
    assert torch.equal(watch.model.weight, rbm.weight)


def test_a_run_that_goes_on_is_measured_the_same(tmp_path):
    def run(epochs, keep):
        rbm = gb.RBM(gb.Bernoulli(64), gb.Bernoulli(18))
        watch = HeldOut(rbm, VALID, at=(2, 4), generator=generator(1))
        optimizer = torch.optim.SGD(rbm.parameters(), lr=0.1)
        gb.fit(
            rbm,
            DATA,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=50,
            callbacks=[watch],
            checkpoints=keep,
            generator=generator(),
        )
        return watch

    keep = gb.Checkpoints(tmp_path)
    run(3, keep)
    stopped, whole = run(4, keep), run(4, None)
    assert stopped.scores == whole.scores
    assert torch.equal(stopped.model.weight, whole.model.weight)


def test_a_state_of_another_model_is_refused():
    _, watch, _ = trained(epochs=1)
    other = HeldOut(gb.RBM(gb.Bernoulli(64), gb.Bernoulli(9)), VALID)
    with pytest.raises(ValueError, match="the best"):
        other.load_state_dict(watch.state_dict())
    state = copy.deepcopy(watch.state_dict()) | {"scores": []}
    with pytest.raises(ValueError, match="different lengths"):
        watch.load_state_dict(state)
    with pytest.raises(gb.ArgumentError, match="another model"):
        watch(other.rbm, {"epoch": 1})


# trials


def test_measurements_share_the_sum_of_the_rates():
    epochs = measured_epochs(1000, "quadratic")
    rates = [(1 - e / 1000) ** 2 for e in range(1000)]
    shares = [sum(rates[:epoch]) / sum(rates) for epoch in epochs]
    assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0], abs=2e-3)
    assert measured_epochs(10, "constant") == [2, 4, 6, 8, 10]
    assert measured_epochs(1, "linear") == [1]


def test_a_trial_measures_its_recipe_and_gives_settings_of_the_same_steps():
    traits = Traits.of(gb.Bernoulli(64), gb.Rows.of(DATA))
    recipe = recipe_for(traits, {"hidden": 8, "epochs": 10})
    rbm = gb.RBM(gb.Bernoulli(64), gb.Bernoulli(8))
    trial = run_trial(rbm, gb.Rows.of(DATA), VALID, recipe, seed=3)
    assert not rbm.weight.any()  # a copy was trained
    assert -30 < trial.score < -15
    half = Trial(recipe, -20.0, 5, "").settings()
    assert half["epochs"] == round((1 - 0.5**3) * 10)
    assert "hidden" not in half  # it was given


def test_candidates_differ_in_what_is_open_and_share_the_time():
    traits = Traits(rows=1000, columns=50, spread=0.2)
    found = candidates(traits, {"seconds": 30.0})
    assert len({(r.hidden, r.l2) for r in found}) == len(found) == 4
    assert {r.hidden for r in candidates(traits, {"hidden": 7})} == {7}
    assert {r.l2 for r in candidates(traits, {"l2": 0.5})} == {0.5}
    assert all(r.epochs < recipe_for(traits, {"seconds": 30.0}).epochs for r in found)
    horizon = averaged(gb.RBM(gb.Bernoulli(50), gb.Bernoulli(7)), found[0], 1000).horizon
    assert horizon == pytest.approx(found[0].average * 10)


# without log Z


def without_log_z(monkeypatch, figures, train=DATA):
    """A watch that finds no log Z, and the pseudo-likelihoods of its rows that it is given."""
    scores = iter(figures)
    monkeypatch.setattr(HeldOut, "_log_partition", lambda self, model: (math.nan, 0.1))
    monkeypatch.setattr(
        "gibbsite.training.pseudo_course.pseudo_log_likelihoods",
        lambda model, rows: next(scores) + torch.linspace(-3, 3, len(rows)).double(),
    )
    return trained({"train": train}, epochs=len(figures))


def test_without_log_z_the_pseudo_likelihood_keeps_the_best_and_ends(monkeypatch):
    rbm, watch, history = without_log_z(monkeypatch, [-20.0, -19.0, -19.1, -19.2, -19.3])
    assert (len(history), watch.best_epoch, watch.is_measured) == (4, 2, False)
    assert not torch.equal(watch.model.weight, rbm.weight)
    column = history.column("validation_pseudo_likelihood")
    assert column == pytest.approx([-20.0, -19.0, -19.1, -19.2])
    gaps = history.column("validation_gap")
    found = gb.free_energy_gap(rbm, DATA[: len(VALID)], VALID)
    assert gaps[-1] == pytest.approx(found)
    words = watch.verdict()
    assert words.startswith("no likelihood could be estimated; overfitting since epoch 2 by the ")
    assert f"from {gaps[0]:.2f} to {gaps[-1]:.2f} nats since epoch 1" in words


def test_a_gap_that_grows_alone_steers_nothing(monkeypatch):
    rbm, watch, history = without_log_z(monkeypatch, [-20.0, -19.5, -19.0])
    monkeypatch.setattr(watch.without, "gaps", [1.0, 5.0, 9.0])
    assert torch.equal(watch.model.weight, rbm.weight)
    assert watch.best_epoch == len(history) == 3
    assert "overfitting" not in watch.verdict()


def test_without_rows_trained_on_there_is_no_gap(monkeypatch):
    _, watch, history = without_log_z(monkeypatch, [-20.0, -19.0], train=None)
    assert watch.verdict() == "no likelihood could be estimated"
    with pytest.raises(gb.ArgumentError, match="no column"):
        history.column("validation_gap")


def test_noise_between_the_same_rows_is_not_clearly_worse():
    course, g = PseudoCourse(VALID, None), generator()
    first = torch.randn(100, generator=g).double()
    course.epochs = [1, 2]
    course.scores = [first, first - 0.05 + torch.randn(100, generator=g)]
    assert course.worse() == 0
    course.scores[1] = first - 0.05 + 0.01 * torch.randn(100, generator=g)  # paired
    assert (course.worse(), course.best_epoch) == (1, 1)


def test_rows_learned_by_heart_are_noticed(monkeypatch):
    """The pseudo-likelihood keeps a model whose exact log-likelihood is well above the last's."""
    monkeypatch.setattr(HeldOut, "_log_partition", lambda self, model: (math.nan, 0.1))
    rbm = gb.RBM(gb.Bernoulli(64), gb.Bernoulli(12))
    watch = HeldOut(rbm, VALID, at=range(100, 1501, 100), patience=99)
    optimizer = SGD(rbm.parameters(), lr=0.4)
    gb.fit(rbm, DATA[:50], optimizer=optimizer, epochs=1500, batch_size=50, callbacks=[watch],
           gradient=gb.PCD(50), generator=generator())  # fmt: skip
    kept, last = (gb.exact.log_likelihood(m, VALID).mean().item() for m in (watch.model, rbm))
    assert kept > last + 0.5


def test_the_course_without_log_z_goes_on_from_a_checkpoint(monkeypatch):
    _, watch, _ = without_log_z(monkeypatch, [-20.0, -19.0, -19.5])
    other = HeldOut(watch.rbm, VALID, train=DATA)
    other.load_state_dict(copy.deepcopy(watch.state_dict()))
    assert other.verdict() == watch.verdict()
    assert torch.equal(other.model.weight, watch.model.weight)
    for name, value in (
        ("scores", torch.zeros(3, 7)),
        ("scores", torch.full((3, 100), math.nan)),
        ("gaps", [0.0] * 4),
        ("best", {"weight": torch.zeros(2, 2)}),
    ):
        state = copy.deepcopy(watch.state_dict())
        state["without"][name] = value
        with pytest.raises(ValueError, match=r"other rows|not finite|best"):
            other.load_state_dict(state)
