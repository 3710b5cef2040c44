"""The recipes of the reference figures, and the page that is made of them."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import gibbsite as gb

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import class_frequencies
import recipes
import reference
from reference_rows import ROWS, Data, Row
from reference_table import page


def test_smooth_is_the_gradient_of_its_penalty() -> None:
    rbm = gb.RBM(gb.Bernoulli(12), gb.Bernoulli(3)).double()
    torch.nn.init.normal_(rbm.weight, generator=torch.Generator().manual_seed(0))
    images = rbm.weight.view(3, 4, 3)
    slopes = images.diff(dim=0).square().sum() + images.diff(dim=1).square().sum()
    (0.3 / 2 * slopes).backward()
    assert rbm.weight.grad is not None
    change = {"weight": torch.zeros(12, 3, dtype=torch.float64)}
    penalty = recipes.Smooth(0.3, (3, 4), every=1)
    penalty(rbm, change)
    torch.testing.assert_close(change["weight"], -rbm.weight.grad)


def test_smooth_acts_now_and_then_with_the_same_sum() -> None:
    rbm = gb.RBM(gb.Bernoulli(12), gb.Bernoulli(3))
    torch.nn.init.normal_(rbm.weight, generator=torch.Generator().manual_seed(0))
    sums = []
    for every in (1, 4):
        change = {"weight": torch.zeros(12, 3)}
        penalty = recipes.Smooth(0.3, (3, 4), every=every)
        for _ in range(8):
            penalty(rbm, change)
        sums.append(change["weight"])
    torch.testing.assert_close(*sums)


def test_stages_follow_the_chains_and_the_moves() -> None:
    recipe = recipes.Recipe(
        5,
        epochs=10,
        rate=0.1,
        chains=((0.0, 2), (0.5, 3), (0.8, 4)),
        shifted=0.5,
        shifted_until=0.2,
    )
    expected = [(2, 1, True), (2, 1, True), (2, 3, False), (3, 3, False), (4, 2, False)]
    assert list(recipes._stages(recipe)) == expected
    assert list(recipes._stages(replace(recipe, shifted=0.0))) == [
        (2, 5, False),
        (3, 3, False),
        (4, 2, False),
    ]


def test_a_share_of_the_images_moves_by_a_pixel() -> None:
    image = torch.zeros(1, 5, 5, dtype=torch.uint8)
    image[0, 2, 2] = 255
    rows = gb.Rows(image.expand(4000, 5, 5).flatten(1), scale=1 / 255)
    moved = recipes._moved(rows, (5, 5), 0.4, torch.Generator().manual_seed(0))[:].view(-1, 5, 5)
    assert bool((moved.sum((1, 2)) == 1).all())
    shares = moved.mean(0)
    # a binomial's standard deviation is 0.0077 at 0.6 and 0.0035 at 0.05: four of them
    assert shares[2, 2].item() == pytest.approx(0.6, abs=0.031)
    around = shares[1:4, 1:4].flatten()[torch.arange(9) != 4]
    torch.testing.assert_close(around, torch.full((8,), 0.05), atol=0.014, rtol=0)


def test_a_row_is_trained_measured_and_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = gb.datasets.load("bars-and-stripes").train
    recipe = recipes.Recipe(4, epochs=30, rate=0.2, chains=((0.0, 5), (0.5, 9)), average=2.0)
    short = Row(lambda part: Data(rows, rows, gb.Bernoulli(9), (3, 3)), "none", recipe)
    monkeypatch.setitem(ROWS, "short", short)
    monkeypatch.setattr(reference, "MIXING_STEPS", 20)
    path = tmp_path / "short.safetensors"
    first = reference.measured("short", seed=3, save=str(path))
    again = reference.measured("short", seed=3)
    assert gb.load(path).hidden.n == 4
    assert np.load(f"{path}.chains.npy").shape == (9, 9)
    assert first["test"] == first["train"] == again["test"]
    assert first["test"]["lower"] == first["test"]["upper"] == first["test"]["log_likelihood"]
    assert first["verdict"] == "trustworthy"
    assert first["sizes"]["hidden"] == 4
    told = page([first])
    assert "| short | 3 | 4 |" in told
    assert "5 to 9 chains" in told
    assert "(exact)" in told


def test_log_likelihood_of_a_row_is_exact() -> None:
    rbm = gb.RBM(gb.Bernoulli(9), gb.Bernoulli(4))
    torch.nn.init.normal_(rbm.weight, generator=torch.Generator().manual_seed(0))
    rows = gb.datasets.load("bars-and-stripes").train.repeat(100, 1)  # all of them count
    row = Row(lambda part: Data(rows, rows, rbm.visible), "none", recipes.Recipe(4, 1, 0.1))
    figures = reference.likelihood(rbm, row, row.load("test"), "test")
    exact = gb.exact.log_likelihood(rbm.double(), rows.double()).mean().item()
    for part in ("test", "train"):
        assert figures[part]["log_likelihood"] == pytest.approx(exact, abs=1e-4)


def test_classes_are_compared_by_permutation() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randint(10, (2, 500), generator=generator)
    equal = class_frequencies.compared(one, other)
    assert equal["p_value"] > 0.01
    different = class_frequencies.compared(one, other.clamp(max=6))  # three tenths move
    assert different["total_variation"] > 2 * different["expected"]
    assert different["p_value"] < 0.01
