"""Cost of `score` of the estimators: processor seconds on one thread, and matrix products.

`gb.BernoulliRBM` after one pass over rows drawn at random from a model of 10 hidden units. The
first call of `score` makes the estimate of log Z, the next ones score rows alone.

Run: OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python estimator_score.py
"""

from __future__ import annotations

import time

import numpy as np
import torch

import gibbsite as gb
from gibbsite.sampling.conditionals import Conditionals

SIZES = (64, 100), (64, 256), (784, 256), (784, 500)
ROWS = 2000


def rows(columns: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    inputs = (rng.random((ROWS, 10)) < 0.3) @ rng.normal(0, 2, (10, columns)) - 1.0
    return (rng.random((ROWS, columns)) < 1 / (1 + np.exp(-inputs))).astype(np.float32)


class Products:
    """Counts the matrix products of blocks of rows with the weights."""

    def __init__(self) -> None:
        self.count = 0
        for name in ("hidden_inputs", "visible_inputs"):
            self._watch(name, getattr(Conditionals, name))

    def _watch(self, name, method) -> None:
        def counted(*args, **kwargs):
            self.count += 1
            return method(*args, **kwargs)

        setattr(Conditionals, name, counted)


def main() -> None:
    products = Products()
    for columns, components in SIZES:
        X = rows(columns)
        model = gb.BernoulliRBM(components, n_iter=1, random_state=0).fit(X)
        model.score(X[:2])  # compiles, and makes the estimate
        found = []
        for again in (False, True):
            if not again:
                model._training.log_z = None
            products.count, started = 0, time.process_time()
            model.score(X)
            found.append((time.process_time() - started, products.count))
        (first, made), (later, _) = found
        print(
            f"{columns} x {components}: log Z {first - later:.2f} s, {made} products; "
            f"{ROWS} rows {later:.2f} s; {model.log_partition().verdict}",
            flush=True,
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
