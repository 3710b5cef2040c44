"""MNIST, 20 hidden units, PCD-1, 40 epochs: exact test log-likelihood.

Grey levels / 255 are probabilities: training draws them anew at each visit; the test set is drawn
once, with seed 1. A plain centred PCD-1 run of 40 epochs is known to reach -138.06.

Run: GIBBSITE_DATA=... python benchmarks/mnist_20.py
"""

from __future__ import annotations

import torch
from common import describe, mean_log_likelihood, train

import gibbsite as gb

EPOCHS, BATCH, CHAINS, SEEDS = 40, 100, 100, 3
RATES = (0.1, 0.05)


def final(data: gb.datasets.Dataset, test: torch.Tensor, rate: float, seed: int) -> float:
    rbm = gb.RBM(gb.Bernoulli(784), gb.Bernoulli(20))
    gradient = gb.Centered(gb.PCD(chains=CHAINS, steps=1))
    train(rbm, data.train, gradient, (rate, 0.5), EPOCHS, BATCH, seed)
    return mean_log_likelihood(rbm, test)


if __name__ == "__main__":
    torch.set_num_threads(2)
    data = gb.datasets.load("mnist")
    test = torch.bernoulli(data.test, generator=torch.Generator().manual_seed(1))
    for rate in RATES:
        values = [final(data, test, rate, seed) for seed in range(SEEDS)]
        print(f"learning rate {rate}, momentum 0.5: test {describe(values)}", values, flush=True)
