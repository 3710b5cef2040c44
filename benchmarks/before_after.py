"""Is this version as fast as another? The same work in both, in turn, in two processes.

Run: python before_after.py OTHER_SRC [--threads 2] [--rounds 11] [name ...]

OTHER_SRC is the `src` folder of the other version, such as that of ``git worktree add ../before
COMMIT``. Every figure is time here over time there: the median over rounds, and in brackets the
quartiles. A name picks the works that have it in theirs; without names, all.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent.parent / "src"
SECONDS = 0.05

Work = Callable[[], object]


def works() -> dict[str, Work]:
    """Sampling, training, annealing and exact sums by public names that both versions have."""
    import torch

    import gibbsite as gb
    from gibbsite.likelihood import Path, anneal, uniform_schedule

    def generator(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    def model(visible: gb.layers.Layer, n_hidden: int) -> gb.RBM:
        rbm = gb.RBM(visible, gb.Bernoulli(n_hidden))
        with torch.no_grad():
            rbm.weight.normal_(0, 0.02, generator=generator(0))
        return rbm

    def coins(rows: int, columns: int) -> torch.Tensor:
        return torch.bernoulli(torch.full((rows, columns), 0.5), generator=generator(1))

    def epoch(visible: gb.layers.Layer, n_hidden: int, gradient: object, batch: int) -> Work:
        rbm, data = model(visible, n_hidden), coins(20 * batch, visible.n)
        optimizer = gb.training.SGD(rbm.parameters(), lr=1e-4, momentum=0.5)
        options = {"gradient": gradient, "optimizer": optimizer, "batch_size": batch}
        return lambda: gb.fit(rbm, data, epochs=1, generator=generator(3), **options)

    def gibbs(visible: gb.layers.Layer, n_hidden: int, chains: int, steps: int) -> Work:
        rbm, g = model(visible, n_hidden), generator(2)
        state = gb.Gibbs().init(rbm, gb.random_start(rbm, chains, g), g)
        return lambda: gb.Gibbs().advance(rbm, state, steps, g)

    def annealing(n_visible: int, n_hidden: int) -> Work:
        path = Path.fit(model(gb.Bernoulli(n_visible), n_hidden), coins(100, n_visible))
        start = path.start(100, generator(4))
        return lambda: anneal(path, uniform_schedule(100), start, generator(5))

    class Own(gb.PCD):
        """A subclass, for which there are no fused updates."""

    small, rows = model(gb.Bernoulli(16), 14), coins(200, 784)
    large = model(gb.Bernoulli(784), 500)
    return {
        "PCD-1, 784 x 512, batch 256": epoch(gb.Bernoulli(784), 512, gb.PCD(256), 256),
        "centred": epoch(gb.Bernoulli(784), 512, gb.Centered(gb.PCD(256)), 256),
        "CD-1, 784 x 512, batch 256": epoch(gb.Bernoulli(784), 512, gb.CD(), 256),
        "PCD-1, 64 x 128, batch 64": epoch(gb.Bernoulli(64), 128, gb.PCD(64), 64),
        "CD-1, 64 x 128, batch 64": epoch(gb.Bernoulli(64), 128, gb.CD(), 64),
        "PCD-1, 64 x 100, batch 10": epoch(gb.Bernoulli(64), 100, gb.PCD(10), 10),
        "updates one by one, 64 x 128, batch 64": epoch(gb.Bernoulli(64), 128, Own(64), 64),
        "Gaussian visibles, 784 x 512, batch 256": epoch(gb.Gaussian(784), 512, gb.PCD(256), 256),
        "Gaussian visibles, 64 x 128, batch 64": epoch(gb.Gaussian(64), 128, gb.PCD(64), 64),
        "Gibbs, 784 x 512, 1,024 chains": gibbs(gb.Bernoulli(784), 512, 1024, 20),
        "Gibbs, 784 x 512, 100 chains": gibbs(gb.Bernoulli(784), 512, 100, 50),
        "Gibbs, Gaussian visibles, 784 x 512": gibbs(gb.Gaussian(784), 512, 1024, 20),
        "Gibbs, 64 x 128, 100 chains": gibbs(gb.Bernoulli(64), 128, 100, 100),
        "annealing, 784 x 512, 100 chains": annealing(784, 512),
        "free energies, 784 x 500, 200 rows": lambda: large.free_energy(rows),
        "pseudo-likelihood, 784 x 500": lambda: gb.pseudo_likelihood(large, rows[:20]),
        "exact log Z, 2^14 states": lambda: gb.exact.log_partition(small),
    }


def serve() -> None:
    """Time the work named on each line of standard input; answer in seconds a call."""
    import torch

    torch.set_num_threads(int(sys.argv[2]))
    known = works()
    print(*known, sep="\t", flush=True)
    for line in sys.stdin:
        work = known[line.strip()]
        started = time.perf_counter()
        work()
        calls = max(1, round(SECONDS / (time.perf_counter() - started)))
        started = time.perf_counter()
        for _ in range(calls):
            work()
        print((time.perf_counter() - started) / calls, flush=True)


def start(source: Path, threads: int) -> subprocess.Popen:
    command = [sys.executable, "-W", "ignore", __file__, "--serve", str(threads)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(source)}, text=True, **pipes
    )


def ask(process: subprocess.Popen, name: str) -> float:
    process.stdin.write(f"{name}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path)
    parser.add_argument("names", nargs="*", default=[])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=11)
    given = parser.parse_intermixed_args()
    both = [start(source.resolve(), given.threads) for source in (HERE, given.other)]
    known, _ = (process.stdout.readline().rstrip("\n").split("\t") for process in both)
    for name in known:
        if given.names and not any(part in name for part in given.names):
            continue
        for process in both:
            ask(process, name)  # which may compile
        ratios = []
        for _ in range(given.rounds):
            here, there = (ask(process, name) for process in both)
            ratios.append(here / there)
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{name:42s} {middle:5.2f} [{low:.2f}, {high:.2f}]", flush=True)


if __name__ == "__main__":
    serve() if sys.argv[1:2] == ["--serve"] else main()
