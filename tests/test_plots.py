"""Pictures: the right pixels in the right places."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from oracle import random_rbm

import gibbsite as gb
from gibbsite import plots
from gibbsite.training import History


def test_mosaic_puts_each_row_in_its_tile_with_a_gap():
    rows = torch.arange(18.0).reshape(3, 6)
    grid = plots.mosaic(rows, (2, 3))
    assert grid.shape == (5, 7)
    assert np.array_equal(grid[:2, :3], rows[0].reshape(2, 3))
    assert np.array_equal(grid[:2, 4:], rows[1].reshape(2, 3))
    assert np.array_equal(grid[3:, :3], rows[2].reshape(2, 3))
    assert np.isnan(grid[2]).all()
    assert np.isnan(grid[:, 3]).all()


def test_mosaic_refuses_a_shape_that_does_not_fit():
    with pytest.raises(gb.ArgumentError, match="2x2 does not fit rows of 6"):
        plots.mosaic(torch.zeros(1, 6), (2, 2))


def test_filters_are_ordered_by_norm_on_a_symmetric_scale():
    rbm = random_rbm(gb.Bernoulli(4), 3, seed=0)
    with torch.no_grad():
        rbm.weight.copy_(torch.tensor([[0.1, -2.0, 1.0]] * 4))
    image = plots.filters(rbm, (2, 2)).axes[0].images[0]
    shown = np.asarray(image.get_array().filled(np.nan))
    assert shown[0, 0] == pytest.approx(-2.0)
    assert shown[0, 3] == pytest.approx(1.0)
    assert image.get_clim() == (-2.0, 2.0)


@pytest.mark.parametrize("shape", [(2, 2), None])
def test_every_picture_can_be_written(tmp_path, shape):
    rbm = random_rbm(gb.Gaussian(4), 3, seed=0)
    rows = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    history = History([{"epoch": 1, "weight_norm": 1.0}, {"epoch": 2, "weight_norm": 2.0}])
    figures = [
        plots.filters(rbm, shape),
        plots.samples(rows, rows, shape),
        plots.images(rows, shape),
        plots.learning_curves(history),
    ]
    for number, figure in enumerate(figures):
        plots.save(figure, tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")


def test_learning_curves_draw_what_the_history_holds():
    history = History([{"epoch": 1, "free_energy_gap": 0.5}, {"epoch": 2, "free_energy_gap": 1.5}])
    (axes,) = plots.learning_curves(history).axes
    assert axes.get_title() == "free-energy gap, nats"
    assert axes.lines[0].get_ydata().tolist() == [0.5, 1.5]


def test_a_figure_that_few_epochs_have_is_one_line_through_them():
    records = [{"epoch": n, "learning_rate": 0.1} for n in range(1, 10)]
    records[2]["free_energy_gap"], records[8]["free_energy_gap"] = 0.5, 1.5
    axes, _ = plots.learning_curves(History(records)).axes
    (line,) = axes.lines
    assert np.transpose(line.get_data()).tolist() == [[3, 0.5], [9, 1.5]]
    assert line.get_marker() == "."


@pytest.mark.parametrize("method", ["ais", "reverse-ais", "bridge"])
def test_annealing_shows_each_direction_around_the_estimate(tmp_path, method):
    rbm = random_rbm(gb.Bernoulli(6), 4, seed=0)
    generator = torch.Generator().manual_seed(0)
    result = gb.log_partition(rbm, method, temperatures=50, generator=generator)
    histogram, ways = plots.annealing(result).axes
    names = {"ais": ["forward"], "reverse-ais": ["reverse"], "bridge": ["forward", "reverse"]}
    assert [text.get_text() for text in ways.get_legend().get_texts()] == names[method]
    for line in ways.lines[: len(names[method])]:
        betas, log_z = line.get_data()
        near_model = np.argmax(betas)
        assert log_z[near_model] == pytest.approx(result.value, abs=1.0)
    low, high = histogram.get_xlim()
    assert low < result.value < high


def test_matplotlib_says_nothing_where_there_is_no_home():
    homes = {"MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"}
    kept = {name: value for name, value in os.environ.items() if name not in homes}
    code = (
        "import logging; from gibbsite import plots; print(logging.getLogger('matplotlib').level)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=kept | {"HOME": "/proc/none"},
    )
    assert (result.stdout, result.stderr) == ("0\n", "")
