"""Real columns: `gb.GaussianRBM` with nothing set beside Gaussians and mixtures of Gaussians.

For each data set and seed: nats a row of held-out rows, in units of the data. The small tables are
split at random by the seed, 80/20; `digits` are the grey levels of scikit-learn's, 64 columns, each
with noise uniform in [0, 1) added once, which gives them a density; `patches` has its own test
rows, and is taken without its last pixel, minus the sum of the others, with which no density
exists. Seconds are of processor time, on one thread.

    python benchmarks/gaussian.py                  # all five, 5 seeds
    python benchmarks/gaussian.py wine --seeds 20
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import multivariate_normal, norm
from sklearn import datasets
from sklearn.covariance import ledoit_wolf
from sklearn.mixture import GaussianMixture

import gibbsite as gb
from gibbsite.training import whitening

SMALL = "wine", "breast_cancer", "diabetes"
NAMES = (*SMALL, "digits", "patches")
COMPONENTS = 10
Array = NDArray[np.float64]


def split(name: str, seed: int) -> tuple[Array, Array]:
    """Training and test rows."""
    if name == "patches":
        found = gb.datasets.load(name)
        assert found.test is not None
        return np.asarray(found.train[:, :-1], float), np.asarray(found.test[:, :-1], float)
    rows = getattr(datasets, f"load_{name}")().data.astype(float)
    if name == "digits":
        rows += np.random.default_rng(0).random(rows.shape)
    order = np.random.default_rng(seed).permutation(len(rows))
    test = len(rows) // 5
    return rows[order[test:]], rows[order[:test]]


def train(rows: Array, seed: int) -> tuple[gb.RBM, float]:
    """A model in units of the data, and the processor seconds that it took."""
    started = time.process_time()
    model = gb.GaussianRBM(random_state=seed).fit(rows)
    return model.rbm_, time.process_time() - started


def gaussians(train: Array, test: Array, seed: int) -> dict[str, float]:
    """Mean log-densities of test under Gaussians, and the better of two mixtures of ten."""
    mean, spread = train.mean(0), train.std(0)
    volume = np.log(spread).sum()
    z, z_test = (train - mean) / spread, (test - mean) / spread

    def full(covariance: Array) -> float:
        return float(multivariate_normal.logpdf(z_test, cov=covariance).mean() - volume)

    white = whitening(torch.from_numpy(train))
    shrunk = (white.root @ white.root).numpy()
    return {
        "diagonal": float(norm.logpdf(z_test).sum(1).mean() - volume),
        "full, ML": full(z.T @ z / len(z)),
        "full, Ledoit-Wolf": full(ledoit_wolf(z, assume_centered=True)[0]),
        "full, held-out shrinkage": full(shrunk),
        "mixture of 10": mixture(z, z_test, seed) - volume,
    }


def mixture(train: Array, test: Array, seed: int) -> float:
    """Of a diagonal and a full mixture that which a fifth of the training rows speaks for."""
    order = np.random.default_rng(seed).permutation(len(train))
    held, kept = train[order[: len(train) // 5]], train[order[len(train) // 5 :]]

    def fitted(kind: str, rows: Array) -> GaussianMixture:
        found = GaussianMixture(COMPONENTS, covariance_type=kind, random_state=seed, reg_covar=1e-3)
        return found.fit(rows)

    kind = max(("diag", "full"), key=lambda kind: fitted(kind, kept).score(held))
    return float(fitted(kind, train).score(test))


def measured(name: str, seed: int) -> dict[str, float | str]:
    """Results of one data set and seed."""
    rows, test = split(name, seed)
    rbm, seconds = train(rows, seed)
    g = torch.Generator().manual_seed(seed)
    found = gb.evaluate(rbm, torch.from_numpy(test), chains=200, generator=g)
    ours: dict[str, float | str] = {
        "Gibbsite": found.log_likelihood,
        "stderr of log Z": found.stderr,
        "verdict": found.verdict,
        "seconds": seconds,
    }
    return {"data": name, "seed": seed, **ours, **gaussians(rows, test, seed)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in options.names:
        results = []
        for seed in range(options.seeds):
            results.append(measured(name, seed))
            print(json.dumps(results[-1]), flush=True)
        columns = [key for key, value in results[0].items() if isinstance(value, float)]
        for key in columns:
            values = [float(result[key]) for result in results]
            print(f"{name:14} {key:26} {statistics.mean(values):9.3f}  worst {min(values):9.3f}")


if __name__ == "__main__":
    main()
