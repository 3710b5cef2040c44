"""Pictures of a model and its training. Each function returns a matplotlib Figure.

>>> import gibbsite as gb
>>> from gibbsite import plots
>>> figure = plots.filters(gb.RBM(gb.Bernoulli(64), gb.Bernoulli(16)), (8, 8))
>>> figure.savefig("filters.png")  # doctest: +SKIP
"""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gibbsite.diagnosis import Diagnosis
from gibbsite.errors import ArgumentError
from gibbsite.io import write_atomically
from gibbsite.likelihood import LogPartition
from gibbsite.likelihood.weights import log_mean_exp
from gibbsite.model import RBM
from gibbsite.training import History

_log = logging.getLogger("matplotlib")
_level = _log.level
_log.setLevel(logging.ERROR)  # without a home it says at length that it keeps its files elsewhere
try:
    from matplotlib import colormaps
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
finally:
    _log.setLevel(_level)

ImageShape = tuple[int, int]
MAX_TILES = 100

_GREY = colormaps["gray"].with_extremes(bad="#5b7fa6")  # the gaps between images

FEW_POINTS = 20
"""Points of a curve that are marked one by one."""

_CURVES = (
    (
        "log-likelihood, nats",
        (
            "train_log_likelihood",
            "test_log_likelihood",
            "validation_log_likelihood",
            "ais_log_likelihood",
            "exchange_log_likelihood",
        ),
    ),
    ("free-energy gap, nats", ("free_energy_gap",)),
    ("pseudo-likelihood, nats", ("pseudo_likelihood",)),
    ("reconstruction error", ("reconstruction_error",)),
    ("norms", ("gradient_norm", "weight_norm")),
    ("learning rate", ("learning_rate",)),
)


def filters(rbm: RBM, image_shape: ImageShape | None = None) -> Figure:
    """Columns of the weight: what each hidden unit, or state of one, adds to the visible inputs.

    The 100 columns of largest norm, largest first, all on one colour scale; the weight as a matrix
    if a row of data is not an image. In an image a unit of several states is one pixel, by how much
    it is pulled towards the later ones (`Layer.pull`).
    """
    weight = rbm.weight.detach().cpu()
    order = weight.norm(dim=0).argsort(descending=True)[:MAX_TILES]
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    shown = weight if image_shape is None else rbm.visible.pull(weight).detach()
    limit = max(float(shown.abs().max()), 1e-12)
    if image_shape is None:
        picture = shown[:, order].numpy()
        axes.set(xlabel="hidden unit", ylabel="visible unit")
        image = axes.imshow(picture, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    else:
        tiles = mosaic(shown.T[order], image_shape)
        image = axes.imshow(tiles, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.set_axis_off()
    axes.set_title(f"Filters: {len(order)} of {rbm.hidden.width} columns of the weight")
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def samples(data: Tensor, fantasies: Tensor, image_shape: ImageShape | None = None) -> Figure:
    """Rows of data beside the same number of fantasies, on one grey scale.

    One column a unit, as `Layer.as_grey` makes them of states.
    """
    n = min(len(data), len(fantasies), MAX_TILES)
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    limits = _limits(torch.cat([data[:n], fantasies[:n]]))
    _draw_rows(left, data[:n], image_shape, limits, "Data")
    _draw_rows(right, fantasies[:n], image_shape, limits, "Fantasies")
    return figure


def images(rows: Tensor, image_shape: ImageShape | None = None) -> Figure:
    """Up to 100 rows as images, or one line a row if they are none."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    shown = rows[:MAX_TILES]
    _draw_rows(figure.subplots(), shown, image_shape, _limits(shown), f"{len(shown)} samples")
    return figure


def learning_curves(history: History) -> Figure:
    """Every column of the history against the epochs that have it, in panels by kind."""
    recorded = set().union(*history.records)
    panels = [(title, [name for name in names if name in recorded]) for title, names in _CURVES]
    panels = [(title, names) for title, names in panels if names]
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    rows = math.ceil(len(panels) / 3)
    for index, (title, names) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, 3, index)
        for name in names:
            known = [record for record in history.records if record.get(name) is not None]
            epochs, values = [r["epoch"] for r in known], [r[name] for r in known]
            marker = "." if len(known) <= FEW_POINTS else ""
            axes.plot(epochs, values, marker=marker, label=name.replace("_", " "))
        _finish_curve(axes, title, len(names) > 1)
    return figure


def annealing(result: LogPartition) -> Figure:
    """Estimates of log Z by the paths of each direction: histograms, and profiles over beta.

    Where the directions agree their histograms overlap; the dashed line is the estimate.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    histogram, profiles = figure.subplots(1, 2)
    for name, sign, direction in (("forward", 1, result.forward), ("reverse", -1, result.reverse)):
        if direction is None:
            continue
        run = direction.run
        origin = direction.value - sign * log_mean_exp(run.log_weights)
        histogram.hist(origin + sign * run.log_weights.numpy(), bins=30, alpha=0.6, label=name)
        profiles.plot(run.betas, (origin if sign > 0 else result.value) + run.profile, label=name)
    histogram.axvline(result.value, color="black", linestyle="--")
    histogram.set(title="log Z by each path, nats", xlabel="nats", ylabel="paths")
    profiles.axhline(result.value, color="black", linestyle="--")
    _finish_curve(profiles, "log Z along the way, nats", True)
    profiles.set_xlabel("inverse temperature")
    histogram.legend(fontsize="small")
    return figure


def mixing(diagnosis: Diagnosis) -> Figure:
    """Course of chains: mean free energy from each start, discrepancy of those from noise.

    Both over steps; the band is two standard errors. A discrepancy that falls and rises again is
    that of a model trained out of equilibrium.
    """
    course = diagnosis.course
    figure = Figure(figsize=(9, 4), layout="constrained")
    energies, discrepancy = figure.subplots(1, 2)
    for name, values in zip(course.starts, course.energies, strict=True):
        energies.plot(course.steps, values, label=f"from {name}")
    _finish_curve(energies, "mean free energy, nats", True)
    value, error = np.array(course.discrepancy), 2 * np.array(course.stderr)
    discrepancy.plot(course.steps, value, color="black")
    discrepancy.fill_between(course.steps, value - error, value + error, alpha=0.3)
    discrepancy.axhline(0, color="grey", linewidth=0.8)
    title = f"discrepancy from noise to the {course.reference}"
    _finish_curve(discrepancy, title, False)
    for axes in (energies, discrepancy):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("steps")
    return figure


def mosaic(rows: Tensor, image_shape: ImageShape) -> np.ndarray:
    """Rows as images in a near-square grid with gaps of one pixel (NaN: drawn blank)."""
    height, width = image_shape
    if rows.shape[1] != height * width:
        raise ArgumentError(f"image {height}x{width} does not fit rows of {rows.shape[1]} values")
    across = math.ceil(math.sqrt(len(rows)))
    down = math.ceil(len(rows) / across)
    grid = np.full((down * (height + 1) - 1, across * (width + 1) - 1), np.nan, np.float32)
    for index, row in enumerate(rows.reshape(-1, height, width).numpy()):
        top, left = index // across * (height + 1), index % across * (width + 1)
        grid[top : top + height, left : left + width] = row
    return grid


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically."""
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))


def _finish_curve(axes: Axes, title: str, legend: bool) -> None:
    axes.set(title=title, xlabel="epoch")
    axes.grid(alpha=0.3)
    if legend:
        axes.legend(fontsize="small")


def _limits(rows: Tensor) -> tuple[float, float]:
    """A grey scale that a few extreme values do not wash out."""
    low, high = np.quantile(rows.detach().cpu().numpy(), [0.005, 0.995])
    return float(low), float(high)


def _draw_rows(
    axes: Axes,
    rows: Tensor,
    image_shape: ImageShape | None,
    limits: tuple[float, float],
    title: str,
) -> None:
    rows = rows.detach().cpu()
    if image_shape is None:
        axes.imshow(rows.numpy(), cmap="gray", vmin=limits[0], vmax=limits[1], aspect="auto")
        axes.set(xlabel="visible unit", ylabel="row")
    else:
        axes.imshow(mosaic(rows, image_shape), cmap=_GREY, vmin=limits[0], vmax=limits[1])
        axes.set_axis_off()
    axes.set_title(title)
