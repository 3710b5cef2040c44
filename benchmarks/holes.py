"""Cost of missing entries: time of an update with 20 % of the cells missing, over that without.

Run: python holes.py [--threads 1] [--rounds 7]

20,000 rows of 100 columns, 100 hidden units, batches of 100, centred PCD with 100 chains. Epochs
with and without holes are timed in turn in one process; a ratio is that of the medians, the time of
an epoch over its 200 updates. Preparations, once a run, are not counted.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch

import gibbsite as gb

ROWS, COLUMNS, HIDDEN, BATCH, SHARE = 20_000, 100, 100, 100, 0.2
UPDATES = ROWS // BATCH


def layers() -> dict[str, Callable[[], gb.layers.Layer]]:
    """Visible layers of 100 columns each."""
    return {
        "Bernoulli": lambda: gb.Bernoulli(COLUMNS),
        "Categorical, 25 of 4 states": lambda: gb.Categorical(25, 4),
        "Gaussian": lambda: gb.Gaussian(COLUMNS),
        "Mixed, 50 binary, 50 real": lambda: gb.Mixed(gb.Bernoulli(50), gb.Gaussian(50)),
    }


def epoch_seconds(rbm: gb.RBM, data: torch.Tensor, generator: torch.Generator) -> float:
    """Seconds of the second epoch of a run, an update apart from the first."""
    optimizer = gb.training.SGD(rbm.parameters(), lr=1e-3)
    options = {"gradient": gb.Centered(gb.PCD(100)), "optimizer": optimizer}
    history = gb.fit(rbm, data, epochs=2, batch_size=BATCH, generator=generator, **options)
    first, second = history.column("seconds")
    return second - first


def ratio(make: Callable[[], gb.layers.Layer], rounds: int) -> tuple[float, float]:
    """Microseconds of an update without holes, and with them."""
    g = torch.Generator().manual_seed(0)
    rbm = gb.RBM(make(), gb.Bernoulli(HIDDEN))
    complete = gb.random_start(rbm, ROWS, g)
    missing = torch.rand(ROWS, rbm.visible.n, generator=g) < SHARE
    holes = complete.clone()
    for unit in range(rbm.visible.n):
        holes[missing[:, unit], rbm.visible.unit_columns(unit)] = torch.nan
    times = [(epoch_seconds(rbm, complete, g), epoch_seconds(rbm, holes, g)) for _ in range(rounds)]
    without, with_holes = (1e6 * statistics.median(t) / UPDATES for t in zip(*times, strict=True))
    return without, with_holes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        "| visible units | without, us | with 20 % missing, us | ratio |\n| --- | --- | --- | --- |"
    )
    for name, make in layers().items():
        without, with_holes = ratio(make, options.rounds)
        print(f"| {name} | {without:.0f} | {with_holes:.0f} | {with_holes / without:.2f} |")


if __name__ == "__main__":
    main()
