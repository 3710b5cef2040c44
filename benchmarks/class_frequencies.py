"""Classes of digits that a model draws from scratch, beside those of its persistent chains.

The model and chains are those that `reference.py mnist-500 --save FILE` keeps. `diagnose` looks at
the model alone; as many fresh chains then take the sampler and the steps of its certificate, and
the persistent chains of training go on under the saved model (an average) for `SETTLE` steps.
A classifier (one hidden
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

BUDGET = 24_000
"""Steps of the diagnosis."""

SETTLE = 500
"""Steps from the model of the last update to the average of many."""

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
    rbm.certificate = gb.diagnose(rbm, budget=BUDGET, generator=generator)
    fresh = gb.sample(rbm, len(chains), generator=generator)
    kept = gb.sample(
        rbm, len(chains), start=chains, steps=SETTLE, sampler=gb.Gibbs(), generator=generator
    )
    network, accuracy = classifier()
    classes = (torch.as_tensor(network.predict(v.numpy())) for v in (fresh, kept))
    figures = {"certificate": rbm.certificate.verdict, "accuracy": accuracy}
    print(json.dumps(figures | compared(*classes)))


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
