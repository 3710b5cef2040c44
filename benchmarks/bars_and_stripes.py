"""Exact training on 3x3 bars and stripes: the final log-likelihood over 20 seeds.

Run: python benchmarks/bars_and_stripes.py
"""

from __future__ import annotations

import torch
from common import describe, mean_log_likelihood, train

import gibbsite as gb

SEEDS = 20
UPDATES = 20_000
RATE = 1.0


def final(n_hidden: int, seed: int) -> float:
    data = gb.datasets.load("bars-and-stripes").train
    rbm = gb.RBM(gb.Bernoulli(9), gb.Bernoulli(n_hidden))
    gradient = gb.Centered(gb.ExactGradient())
    train(rbm, data, gradient, (RATE, 0.9), UPDATES, len(data), seed)
    return mean_log_likelihood(rbm, data)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(
        f"3x3 bars and stripes, exact gradient, {UPDATES} full-batch updates, seeds 0-{SEEDS - 1}"
    )
    for n_hidden in (4, 5, 6, 8):
        values = [final(n_hidden, seed) for seed in range(SEEDS)]
        print(f"{n_hidden:2d} hidden: {describe(values)}")
        print("   ", " ".join(f"{value:.4f}" for value in sorted(values, reverse=True)), flush=True)
