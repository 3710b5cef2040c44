"""Classes of digits that a model draws from scratch, beside those of its persistent chains.

The model and chains are those that `reference.py mnist-500 --save FILE` keeps. As many fresh Gibbs
chains start at noise and take `STEPS` steps, ten autocorrelation times of the free energy or more
(REFERENCE.md), which is what a certificate of equilibrium asks for; the persistent chains of
training go on under the saved model (an average) for `SETTLE` steps. A classifier (one hidden
layer, trained on 50,000 binarised training rows, its accuracy told on the other 10,000) counts the
classes of both. Total variation of the two sets of shares stands beside its mean under equal shares
(`PERMUTATIONS` permutations of the rows between the sets).

Run: GIBBSITE_DATA=... python class_frequencies.py FILE
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from torch import Tensor

import gibbsite as gb

STEPS = 7000
SETTLE = 500
TRAIN_ROWS = 50_000
PERMUTATIONS = 2000


def classifier() -> tuple[MLPClassifier, float]:
    """A classifier of binarised digits, and its accuracy."""
    grey = gb.Rows.of(gb.datasets.load("mnist").rows)[:]
    path = Path(os.environ["GIBBSITE_DATA"]) / "mnist" / "train-labels-idx1-ubyte.gz"
    labels = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=8)
    rows = torch.bernoulli(grey, generator=torch.Generator().manual_seed(0)).numpy()
    network = MLPClassifier((256,), max_iter=4, random_state=0, batch_size=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(rows[:TRAIN_ROWS], labels[:TRAIN_ROWS])
    return network, network.score(rows[TRAIN_ROWS:], labels[TRAIN_ROWS:])


@torch.no_grad()
def main(path: str) -> None:
    rbm = gb.load(path)
    chains = torch.from_numpy(np.load(f"{path}.chains.npy", allow_pickle=False)).to(rbm.weight)
    generator = torch.Generator().manual_seed(1)
    start = gb.random_start(rbm, len(chains), generator)
    ends = moved(rbm, start, STEPS, generator), moved(rbm, chains, SETTLE, generator)
    network, accuracy = classifier()  # after the sweeps, which are many times slower after it
    classes = [torch.as_tensor(network.predict(v.numpy())) for v in ends]
    print(json.dumps({"accuracy": accuracy} | compared(*classes)))


def moved(rbm: gb.RBM, v: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    """Rows after so many Gibbs steps from v."""
    sampler = gb.Gibbs()
    state = sampler.init(rbm, v, generator)
    for _ in range(steps):
        state, _ = sampler.step(rbm, state, generator)
    return state.v


def compared(fresh: Tensor, kept: Tensor) -> dict[str, object]:
    """Shares of the classes, their total variation, and that of permuted rows."""
    both = torch.cat([fresh, kept]).long()
    generator = torch.Generator().manual_seed(3)
    permuted = torch.tensor(
        [
            variation(both[torch.randperm(len(both), generator=generator)], len(fresh))
            for _ in range(PERMUTATIONS)
        ]
    )
    observed = variation(both, len(fresh))
    return {
        "fresh": shares(fresh.long()).tolist(),
        "persistent": shares(kept.long()).tolist(),
        "total_variation": observed,
        "expected": permuted.mean().item(),
        "p_value": (permuted >= observed).double().mean().item(),
    }


def variation(classes: Tensor, first: int) -> float:
    """Total variation between the shares of the first rows and of the rest."""
    gap = shares(classes[:first]) - shares(classes[first:])
    return 0.5 * gap.abs().sum().item()


def shares(classes: Tensor) -> Tensor:
    return torch.bincount(classes, minlength=10).double() / len(classes)


if __name__ == "__main__":
    main(sys.argv[1])
