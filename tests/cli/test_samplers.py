"""Replica exchange from the command line: trained with, kept with the run, sampled with."""

import json

import pytest
import torch
from typer.testing import CliRunner

import gibbsite as gb
from gibbsite.cli import app, job

RUNNER = CliRunner()
FIT = ["fit", "bars-and-stripes", "--epochs", "40", "--hidden", "21", "--budget", "0"]
QUICK = ["--temperatures", "40", "--chains", "20", "--method", "bridge"]


def run(*args):
    return RUNNER.invoke(app, [str(a) for a in args], catch_exceptions=False)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(job.Job, "_write_pictures", lambda *_: None)


@pytest.fixture
def kept(tmp_path):
    """A run with its trajectory."""
    folder = tmp_path / "run"
    options = ["--sampler", "trajectory", "--chains", 20, "--learning-rate", 0.5, "-o", folder]
    assert run(*FIT, *options).exit_code == 0
    return folder


def test_the_models_of_a_trajectory_are_kept_and_used(kept, tmp_path):
    models, rbm = gb.load_models(kept / "trajectory.safetensors"), gb.load(kept)
    assert not models[0].weight.any()
    assert models[0].weight.shape == rbm.weight.shape
    assert run("sample", kept, "-n", 5, "--steps", 3, "-o", tmp_path / "s.npy").exit_code == 0
    assert "log-likelihood" in run("evaluate", kept, "bars-and-stripes", *QUICK).stdout


def test_what_sample_and_evaluate_do_by_default(kept, tmp_path, monkeypatch):
    samplers = []

    def sample(rbm, n, *, sampler, **options):
        samplers.append(sampler)
        return torch.zeros(n, rbm.visible.width)

    monkeypatch.setattr(gb, "sample", sample)
    for number, options in enumerate(([], ["--sampler", "gibbs"], ["--sampler", "tempering"])):
        run("sample", kept, *options, "-n", 2, "-o", tmp_path / f"{number}.npy")
    assert [type(sampler) for sampler in samplers] == [gb.Trajectory, gb.Gibbs, gb.Tempering]
    (kept / "trajectory.safetensors").unlink()
    run("sample", kept, "-n", 2, "-o", tmp_path / "last.npy")
    assert samplers[-1] is None


def test_a_trajectory_that_is_not_there_is_told(tmp_path):
    gb.save(gb.RBM(gb.Bernoulli(4), gb.Bernoulli(2)), tmp_path / "model.safetensors")
    result = run_main(tmp_path, "trajectory")
    assert "no " in result
    assert "fit --sampler trajectory" in result


def test_a_trajectory_of_another_model_is_refused(kept):
    gb.save_models([gb.RBM(gb.Bernoulli(9), gb.Bernoulli(2))], kept / "trajectory.safetensors")
    assert "is of another model" in run_main(kept, "auto")


def run_main(model, sampler):
    with pytest.raises(gb.GibbsiteError) as error:
        run("sample", model, "--sampler", sampler, "-n", 2, "-o", model / "x.npy")
    return str(error.value)


@pytest.mark.parametrize("sampler", ["tempering", "trajectory"])
def test_a_run_with_ladders_goes_on_as_if_never_stopped(tmp_path, sampler):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    options = ["--sampler", sampler, "--chains", 10, "--checkpoint-every", 10]
    assert run(*FIT, *options, "-o", whole).exit_code == 0
    assert run(*FIT, *options, "-o", stopped).exit_code == 0
    for path in sorted((stopped / "checkpoints").glob("*"))[1:]:
        path.unlink()
    (stopped / "model.safetensors").unlink()
    assert run("resume", stopped).exit_code == 0
    first, second = ((folder / "model.safetensors").read_bytes() for folder in (whole, stopped))
    assert first == second
    assert json.loads((whole / "run.json").read_text())["settings"]["sampler"] == sampler


def test_other_gradients_take_no_sampler(tmp_path):
    result = run(*FIT, "--gradient", "cd", "--sampler", "tempering", "-o", tmp_path / "run")
    assert "--sampler" in result.stderr
