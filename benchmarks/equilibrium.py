"""Picture of docs/equilibrium.md: training out of equilibrium, and modes that chains must cross.

Run: python benchmarks/equilibrium.py. Left: scikit-learn's 8x8 digits, binary, 64 hidden units,
seed 0, 150 epochs of (a) new chains from noise at every update, 10 steps each (`gb.NoiseCD`), (b)
persistent chains (`gb.PCD`). Right: 200 chains of 12 spins that all interact alike, started with
all spins up; both modes have a probability of 1/2. Writes docs/images/equilibrium.png and prints
the certificates.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import gibbsite as gb
from gibbsite import plots
from gibbsite.training import SGD, polynomial_decay

IMAGE = Path(__file__).parent.parent / "docs/images/equilibrium.png"
EPOCHS = 150
SPINS, STEPS = 12, 500


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trained(gradient: gb.NoiseCD | gb.PCD, rows: torch.Tensor) -> gb.RBM:
    rbm = gb.RBM(gb.Bernoulli(64), gb.Bernoulli(64))
    optimizer = SGD(rbm.parameters(), 0.1)
    gb.fit(
        rbm,
        rows,
        gradient=gb.Centered(gradient),
        optimizer=optimizer,
        scheduler=polynomial_decay(optimizer, EPOCHS, 2),
        epochs=EPOCHS,
        batch_size=50,
        generator=generator(0),
    )
    return rbm


def draw_discrepancies(axes: Axes) -> None:
    digits = gb.datasets.load("digits")
    gradients = {"NoiseCD, 10 steps": gb.NoiseCD(steps=10), "PCD": gb.PCD()}
    for name, gradient in gradients.items():
        rbm = trained(gradient, digits.train)
        found = gb.diagnose(rbm, digits.train, budget=10_000, generator=generator(2))
        likelihood = gb.evaluate(rbm, digits.test, generator=generator(3))
        print(f"{name}: {likelihood.log_likelihood:.2f} nats on test, {likelihood.verdict}")
        print(f"  {found.verdict}")
        steps, line = found.course.steps, np.array(found.course.discrepancy)
        error = 2 * np.array(found.course.stderr)
        axes.plot(steps, line, marker=".", label=name)
        axes.fill_between(steps, line - error, line + error, alpha=0.3)
    axes.set(xscale="log", xlabel="Gibbs steps from noise", title="moments: distance to the data's")
    axes.legend(title="trained by")


@torch.no_grad()
def draw_crossings(axes: Axes) -> None:
    rbm = gb.RBM(gb.Spin(SPINS), gb.Spin(4))
    rbm.weight.fill_(1.0)
    for sampler in (gb.Gibbs(), gb.Tempering()):
        g, means = generator(0), []
        state = sampler.init(rbm, torch.ones(200, SPINS), g)
        for _ in range(STEPS):
            state, _ = sampler.step(rbm, state, g)
            means.append(state.v.mean().item())
        axes.plot(means, label=type(sampler).__name__)
    axes.set(xlabel="steps", title="two modes: mean spin, started up", ylim=(-0.2, 1.05))
    axes.legend()


def main() -> None:
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_discrepancies(left)
    draw_crossings(right)
    for axes in (left, right):
        axes.axhline(0, color="grey", linewidth=0.8)
    plots.save(figure, IMAGE)


if __name__ == "__main__":
    main()
