"""MNIST, 20 hidden units, PCD-1, 40 epochs: exact test log-likelihood.

Grey levels / 255 are probabilities: training draws them anew at each visit; the test set is drawn
once, with seed 1. A plain centred PCD-1 run of 40 epochs is known to reach -138.06.

Run: GIBBSITE_DATA=... python benchmarks/mnist_20.py
"""

from __future__ import annotations

import torch
from common import decaying_sgd, describe, mean_log_likelihood

import gibbsite as gb

EPOCHS, BATCH, CHAINS, SEEDS = 40, 100, 100, 3
RATES = (0.1, 0.05)


def train(data: torch.Tensor, rate: float, seed: int) -> gb.RBM:
    rbm = gb.RBM(gb.Bernoulli(784), gb.Bernoulli(20))
    optimizer, scheduler = decaying_sgd(rbm, rate, 0.5, EPOCHS)
    gb.fit(
        rbm,
        data,
        gradient=gb.Centered(gb.PCD(chains=CHAINS, steps=1)),
        optimizer=optimizer,
        scheduler=scheduler,
        epochs=EPOCHS,
        batch_size=BATCH,
        generator=torch.Generator().manual_seed(seed),
    )
    return rbm


if __name__ == "__main__":
    torch.set_num_threads(2)
    data = gb.datasets.load("mnist")
    test = torch.bernoulli(data.test, generator=torch.Generator().manual_seed(1))
    for rate in RATES:
        values = [mean_log_likelihood(train(data.train, rate, s), test) for s in range(SEEDS)]
        print(f"learning rate {rate}, momentum 0.5: test {describe(values)}", values, flush=True)
