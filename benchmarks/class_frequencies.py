"""Classes of digits that a model draws from scratch, beside those of its persistent chains.

The model and chains are those that `reference.py mnist-500 --save FILE` keeps. It is diagnosed
without a look at the chains; as many fresh chains, from noise, take the sampler and the steps of
that certificate; the persistent chains of training go on under the saved model (an average) for
`SETTLE` steps. A classifier (one hidden layer, trained on the 60,000 binarised training rows)
counts the classes of both. Total variation of the two sets of shares stands beside its mean under
equal shares (`PERMUTATIONS` permutations of the rows between the sets).

Run: GIBBSITE_DATA=... python class_frequencies.py FILE
"""

from __future__ import annotations

import gzip
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.neural_network import MLPClassifier
from torch import Tensor

import gibbsite as gb

BUDGET = 16_000
"""Steps of the diagnosis."""

SETTLE = 500
PERMUTATIONS = 2000


def classifier() -> MLPClassifier:
    """A classifier of binarised digits."""
    grey = gb.Rows.of(gb.datasets.load("mnist").rows)[:]
    path = Path(os.environ["GIBBSITE_DATA"]) / "mnist" / "train-labels-idx1-ubyte.gz"
    labels = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=8)
    rows = torch.bernoulli(grey, generator=torch.Generator().manual_seed(0))
    network = MLPClassifier((256,), max_iter=12, random_state=0)
    return network.fit(rows.numpy(), labels)


def main(path: str) -> None:
    rbm = gb.load(path)
    chains = torch.from_numpy(np.load(f"{path}.chains.npy", allow_pickle=False)).to(rbm.weight)
    with torch.no_grad():
        certificate = gb.diagnose(rbm, budget=BUDGET, generator=torch.Generator().manual_seed(0))
        rbm.certificate = certificate
        fresh = gb.sample(rbm, len(chains), generator=torch.Generator().manual_seed(1))
        sampler, generator = gb.Gibbs(), torch.Generator().manual_seed(2)
        state = sampler.init(rbm, chains, generator)
        for _ in range(SETTLE):
            state, _ = sampler.step(rbm, state, generator)
    network = classifier()
    fresh_classes, kept_classes = (network.predict(v.numpy()) for v in (fresh, state.v))
    figures = compared(torch.as_tensor(fresh_classes), torch.as_tensor(kept_classes))
    print(json.dumps({"verdict": str(certificate.verdict), "steps": certificate.steps} | figures))


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
