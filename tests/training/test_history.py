"""Histories in memory and on disk, and the figures of the monitor."""

import json
import math

import pytest
import torch
from oracle import random_rbm

import gibbsite as gb
from gibbsite.training import monitor
from gibbsite.training.history import append


def test_columns():
    history = gb.History([{"epoch": 1, "a": 0.5}, {"epoch": 2}])
    assert history.column("epoch") == [1, 2]
    first, second = history.column("a")
    assert first == 0.5
    assert math.isnan(second)
    with pytest.raises(gb.ArgumentError, match="no column 'unknown'; there are epoch, a"):
        history.column("unknown")
    assert gb.History().column("unknown") == []
    assert len(history) == 2
    assert not history.interrupted


def test_histories_share_no_records():
    gb.History().records.append({"epoch": 1})
    assert len(gb.History()) == 0


def test_records_come_back_from_disk(tmp_path):
    records = [{"epoch": 1, "a": 0.1 + 0.2}, {"epoch": 2, "a": -1e-300, "b": 3.0}]
    for record in records:
        append(tmp_path / "history.jsonl", record)
    assert gb.History.read(tmp_path / "history.jsonl").records == records


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_figures_are_null_on_disk(tmp_path, value):
    path = tmp_path / "history.jsonl"
    append(path, {"epoch": 1, "a": value})
    assert json.loads(path.read_text()) == {"epoch": 1, "a": None}
    assert math.isnan(gb.History.read(path).column("a")[0])


def test_files_that_are_no_history(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text('{"epoch": 1}\n{"epoch"')
    with pytest.raises(gb.DataError, match="not a training history"):
        gb.History.read(path)
    with pytest.raises(gb.DataError, match="missing"):
        gb.History.read(tmp_path / "missing")


TRAIN = torch.eye(4)
TEST = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]])


def test_monitor_reports_the_figures_of_the_functions():
    rbm = random_rbm(gb.Bernoulli(4), 3, seed=0)
    figures = gb.Monitor(TRAIN, TEST)(rbm, {})
    assert figures == {
        "train_log_likelihood": pytest.approx(gb.exact.log_likelihood(rbm, TRAIN).mean().item()),
        "test_log_likelihood": pytest.approx(gb.exact.log_likelihood(rbm, TEST).mean().item()),
        "free_energy_gap": gb.free_energy_gap(rbm, TRAIN, TEST),
        "reconstruction_error": gb.reconstruction_error(rbm, TEST),
        "pseudo_likelihood": gb.pseudo_likelihood(rbm, TEST),
    }
    assert all(type(value) is float for value in figures.values())


def test_monitor_without_a_test_set():
    rbm = random_rbm(gb.Bernoulli(4), 3, seed=0)
    figures = gb.Monitor(TRAIN)(rbm, {})
    assert figures.keys() == {"train_log_likelihood", "reconstruction_error", "pseudo_likelihood"}
    assert figures["pseudo_likelihood"] == gb.pseudo_likelihood(rbm, TRAIN)


def test_monitor_of_a_model_too_large_to_sum():
    figures = gb.Monitor(torch.zeros(3, 30), torch.ones(3, 30))(
        gb.RBM(gb.Bernoulli(30), gb.Bernoulli(17)), {}
    )
    assert figures.keys() == {"free_energy_gap", "reconstruction_error", "pseudo_likelihood"}


def test_monitor_looks_at_the_first_rows(monkeypatch):
    monkeypatch.setattr(monitor, "ROWS", 1)
    rbm = random_rbm(gb.Bernoulli(4), 3, seed=0)
    figures = gb.Monitor(TRAIN, TEST)(rbm, {})
    assert figures["reconstruction_error"] == gb.reconstruction_error(rbm, TEST[:1])
    assert figures["pseudo_likelihood"] == gb.pseudo_likelihood(rbm, TEST[:1])


def test_monitor_in_training():
    rbm = random_rbm(gb.Bernoulli(4), 3, seed=0)
    history = gb.fit(rbm, TRAIN, epochs=3, callbacks=[gb.Monitor(TRAIN, TEST)])
    final = gb.exact.log_likelihood(rbm, TEST).mean().item()
    assert history.column("test_log_likelihood")[-1] == pytest.approx(final)
