"""scikit-learn's example "RBM features for digit classification", with the import swapped.

The 8x8 digits and their copies shifted by a pixel each way, scaled to [0, 1]; 100 hidden units,
learning rate 0.06, 10 epochs, all else at its default in either package, or with "defaults" these
three too; logistic regression with C=6000 on the features. The example as once published used
newton-cg with a tolerance of 1, which stops at once; here lbfgs with up to 1,000 iterations in the
float32 of the features, which ends short of the optimum, and newton-cholesky in float64, which
finds it (not with "defaults": of 256 features it takes minutes).

Beside the accuracy, the log-likelihood of the test rows (drawn once from their grey levels),
estimated by annealing both ways (`bridge`), scikit-learn's model imported; and the seconds `fit`
takes on the data in float64 and in float32, on one thread, the two packages in turn. All else is
measured on the fit in float32.

Run: python digits_features.py [SEEDS] [defaults]
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from typing import Any

import numpy as np
import sklearn.neural_network
import torch
from common import describe
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import minmax_scale
from threadpoolctl import threadpool_limits

import gibbsite as gb

EXAMPLE = {"n_components": 100, "learning_rate": 0.06, "n_iter": 10}
LBFGS, NEWTON = ("lbfgs", np.float32), ("newton-cholesky", np.float64)
PACKAGES = {
    "scikit-learn": sklearn.neural_network.BernoulliRBM,
    "gibbsite": gb.BernoulliRBM,
}
LIKELIHOOD = "test log-likelihood, nats"
SECONDS = {dtype: f"seconds to fit, {dtype}" for dtype in ("float64", "float32")}


def shifted_digits() -> tuple[np.ndarray, np.ndarray]:
    """Images and labels, five times as many: as they are, and moved up, left, right and down."""
    X, y = load_digits(return_X_y=True)
    images = np.pad(X.astype(np.float32).reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    corners = [(1, 1), (2, 1), (1, 2), (1, 0), (0, 1)]  # of the window that is cut out
    copies = [images[:, row : row + 8, column : column + 8] for row, column in corners]
    return np.concatenate(copies).reshape(-1, 64), np.tile(y, len(corners))


def accuracy(solver: str, C: float, rows: list[Any], labels: list[Any]) -> float:
    classifier = LogisticRegression(solver=solver, C=C, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(rows[0], labels[0])
    return classifier.score(rows[1], labels[1])


@torch.no_grad()
def log_likelihood(model: Any, drawn: np.ndarray) -> float:
    """Of the rows, mean in nats, by annealing both ways; what its checks found is printed."""
    ours = model if isinstance(model, gb.BernoulliRBM) else gb.BernoulliRBM.from_sklearn(model)
    fixed = torch.Generator().manual_seed(0)
    result = gb.evaluate(ours.rbm_, torch.from_numpy(drawn), "bridge", generator=fixed)
    if result.warnings:
        print(f"{type(model).__module__}: {result.verdict}")
    return result.log_likelihood


def measure(
    model: Any, rows: list[Any], labels: list[Any], drawn: np.ndarray, solvers: list[Any]
) -> dict[str, float]:
    found = {}
    for dtype, what in SECONDS.items():
        X = rows[0].astype(dtype)
        started = time.perf_counter()
        model.fit(X)
        found[what] = time.perf_counter() - started
    features = [model.transform(part) for part in rows]
    for solver, dtype in solvers:
        typed = [part.astype(dtype) for part in features]
        found[f"accuracy, {solver}"] = accuracy(solver, 6000.0, typed, labels)
    found[LIKELIHOOD] = log_likelihood(model, drawn)
    return found


def main(seeds: int, defaults: bool) -> None:
    settings, solvers = ({}, [LBFGS]) if defaults else (EXAMPLE, [LBFGS, NEWTON])
    X, y = shifted_digits()
    train, test, *labels = train_test_split(minmax_scale(X), y, test_size=0.2, random_state=0)
    drawn = (np.random.default_rng(1).random(test.shape) < test).astype(np.float64)
    print(f"raw pixels, C=100, lbfgs: {accuracy('lbfgs', 100.0, [train, test], labels):.4f}")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in PACKAGES}
    for seed in range(seeds):
        for name, kind in PACKAGES.items():
            model = kind(**settings, random_state=seed)
            found[name].append(measure(model, [train, test], labels, drawn, solvers))
            line = "  ".join(f"{what} {value:.4f}" for what, value in found[name][-1].items())
            print(f"seed {seed}  {name:12s}  {line}", flush=True)
    for what in found["gibbsite"][0]:
        print(what)
        for name in PACKAGES:
            print(f"    {name:12s} {describe([run[what] for run in found[name]])}")
    for what in SECONDS.values():
        ours, theirs = ([run[what] for run in found[name]] for name in reversed(PACKAGES))
        ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
        middle = statistics.median(ratios)
        print(
            f"{what}, gibbsite's to scikit-learn's: median {middle:.2f}, {ratios[0]:.2f} to "
            f"{ratios[-1]:.2f}"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    with threadpool_limits(1):
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 10, "defaults" in sys.argv)
