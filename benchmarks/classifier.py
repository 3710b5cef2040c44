"""Error of `RBMClassifier` on digits, in each mode, beside other classifiers of scikit-learn.

- "digits": scikit-learn's 1,797 images of 8 x 8, five random splits into 80 % to train and 20 % to
  test, stratified; logistic regression and gradient boosting at their defaults beside it.
- "mnist": 500 hidden units, all 60,000 training rows or so many drawn at random, 10,000 test rows;
  the files are looked for in $GIBBSITE_DATA/mnist. Beside it, the test errors that Larochelle,
  Bengio (2008), Table 1, print for all rows, with settings chosen on a validation part.

Defaults throughout; a tenth of the training rows is held out to end training. Test rows choose
nothing.

Run: python classifier.py digits | python classifier.py mnist [ROWS] [SEEDS]
"""

from __future__ import annotations

import gzip
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import describe
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import gibbsite as gb

MODES = ("generative", "discriminative", "hybrid")
PUBLISHED = {"generative": 3.39, "discriminative": 1.81, "hybrid": 1.28}
Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def error(model: Any, parts: Parts) -> tuple[float, float]:
    """Test error in percent, and the seconds that `fit` took."""
    X, X_test, y, y_test = parts
    started = time.perf_counter()
    model.fit(X, y)
    return 100 * float(1 - model.score(X_test, y_test)), time.perf_counter() - started


def peers(seed: int) -> dict[str, Any]:
    linear = LogisticRegression(max_iter=1000)
    return {
        "logistic regression": make_pipeline(StandardScaler(), linear),
        "gradient boosting": HistGradientBoostingClassifier(random_state=seed),
    }


def ours(seed: int, **settings: Any) -> dict[str, Any]:
    return {mode: gb.RBMClassifier(mode=mode, random_state=seed, **settings) for mode in MODES}


def digits(splits: int = 5) -> None:
    X, y = load_digits(return_X_y=True)
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(splits):
        parts = train_test_split(X / 16, y, test_size=0.2, random_state=seed, stratify=y)
        for name, model in {**ours(seed), **peers(seed)}.items():
            found.setdefault(name, []).append(error(model, parts))
    for name, runs in found.items():
        errors, seconds = zip(*runs, strict=True)
        print(f"{name:20s} error %: {describe(list(errors))}; {np.median(seconds):.1f} s")


def idx(name: str, header: int) -> np.ndarray:
    """Bytes of a file of MNIST, after its header."""
    path = Path(os.environ["GIBBSITE_DATA"]) / "mnist" / f"{name}.gz"
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


def mnist_parts(rows: int, seed: int) -> Parts:
    X = idx("train-images-idx3-ubyte", 16).reshape(-1, 784)
    y = idx("train-labels-idx1-ubyte", 8)
    chosen = np.random.default_rng(seed).permutation(len(X))[:rows]
    X_test = idx("t10k-images-idx3-ubyte", 16).reshape(-1, 784)
    y_test = idx("t10k-labels-idx1-ubyte", 8)
    scale = np.float32(255)
    return X[chosen] / scale, X_test / scale, y[chosen], y_test


def mnist(rows: int = 60_000, seeds: int = 1) -> None:
    for seed in range(seeds):
        parts = mnist_parts(rows, seed)
        for mode, model in ours(seed, n_components=500).items():
            percent, seconds = error(model, parts)
            print(
                f"{rows:,} rows, seed {seed}, {mode:14s} test error {percent:.2f} % "
                f"(published, all rows: {PUBLISHED[mode]} %), epoch {model.best_iter_} of "
                f"{model.n_iter_}, {seconds:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if sys.argv[1:2] == ["digits"]:
        digits()
    elif sys.argv[1:2] == ["mnist"]:
        mnist(*map(int, sys.argv[2:4]))
    else:
        sys.exit(__doc__)
