"""Can the likelihood be trusted? Verdicts, coverage, known models, rates, cost.

Run: GIBBSITE_DATA=... python benchmarks/likelihood.py [trust coverage mnist20 mnist500 gaussian
rate cost curve]; without names, all of them. mnist20 and mnist500 train a model first.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path as File

import torch
from common import decaying_sgd, mean_log_likelihood, train

import gibbsite as gb
from gibbsite.likelihood import (
    Path,
    adapted_schedule,
    anneal,
    partition,
    salakhutdinov_murray_schedule,
    uniform_schedule,
)

sys.path.insert(0, str(File(__file__).resolve().parents[1] / "tests"))

from planted import Planted, enumerated, generator, planted, random_model, random_models, unseen

MODELS = 600
METHODS = ("ais", "reverse-ais", "bridge")


def trained() -> Iterator[Planted]:
    """Models of five binary data sets, trained by PCD-1 from well to badly; test rows, or none."""
    folder = File(os.environ["GIBBSITE_DATA"])
    for name in ("mushrooms", "dna", "debd/baudio", "debd/bnetflix", "debd/accidents"):
        data = gb.datasets.load(str(folder / f"{name}.npz"))
        rows, test = data.rows[:2000], data.test[:1000]
        settings = itertools.product((8, 12, 15), (0.05, 0.2, 1.0), (3, 10, 30), (0, 1))
        for n_hidden, rate, epochs, seed in settings:
            rbm = gb.RBM(gb.Bernoulli(rows.shape[1]), gb.Bernoulli(n_hidden))
            optimizer = gb.training.SGD(rbm.parameters(), rate)
            options = {"gradient": gb.PCD(), "optimizer": optimizer, "epochs": epochs}
            options["batch_size"] = 100
            gb.fit(rbm, rows, generator=generator(seed), **options)
            log_z = enumerated(rbm)
            yield Planted(f"trained on {File(name).name}", rbm, test, log_z)
            yield Planted("trained, without data", rbm, None, log_z)


def trust() -> None:
    """Are figures called trustworthy right, and are good ones called so? From Markov chains."""
    gb.exact.EXACT_STATES = 0
    print("trust: defaults (100 chains, 1,000 temperatures), Markov-chain starts")
    total = _verdicts(itertools.chain(planted(), trained(), random_models(range(160, 240))))
    print(_told("all", total), flush=True)
    print("trust, of what no start leads to:")
    _verdicts(unseen())
    gb.exact.EXACT_STATES = 2**20


def _verdicts(cases: Iterator[Planted]) -> Counter:
    """Counts by family, printed; returns their sum."""
    families: dict[str, Counter] = defaultdict(Counter)
    for seed, case in enumerate(cases):
        result = gb.log_partition(case.rbm, "bridge", data=case.data, generator=generator(seed))
        trusted = result.verdict == "trustworthy"
        beyond = max(result.lower - case.log_z, case.log_z - result.upper, 0.0)
        good = beyond == 0 or abs(result.value - case.log_z) <= 0.1
        families[case.family].update(
            models=1,
            trusted=trusted,
            inside=trusted and beyond == 0,
            off=trusted and beyond > 0.1,
            far_off=trusted and beyond > 0.5,
            good=good,
            refused=good and not trusted,
        )
    for name, counts in sorted(families.items()):
        print(_told(name, counts), flush=True)
    return sum(families.values(), Counter())


def _told(name: str, counts: Counter) -> str:
    return (
        f"  {name:30s} {counts['trusted']} trusted of {counts['models']}: {counts['inside']} in "
        f"the interval, {counts['off']} off it by 0.1 nats, {counts['far_off']} by 0.5; "
        f"refused {counts['refused']} of {counts['good']} good ones"
    )


def coverage() -> None:
    """How often the 95% interval holds the exact log Z, where the verdict is trustworthy."""
    for markov_starts in (False, True):
        gb.exact.EXACT_STATES = 0 if markov_starts else 2**20
        held: dict = defaultdict(lambda: [0, 0, 0])
        for seed in range(MODELS):
            rbm, kind = random_model(seed)
            truth = gb.exact.log_partition(rbm.double()).item()
            rows = gb.exact.sample(rbm, 200, generator(seed))
            for method in METHODS:
                result = gb.log_partition(
                    rbm, method, data=rows, temperatures=500, generator=generator(seed)
                )
                # one direction alone is never called trustworthy: count it apart from that warning
                problems = [p for p in result.problems if p != partition.ONE_SIDED]
                inside = result.lower <= truth <= result.upper
                for name in (kind.split(",")[0], kind, "all"):
                    counts = held[method, name]
                    counts[2] += 1
                    if not problems:
                        counts[0] += inside
                        counts[1] += 1
        starts = "Markov-chain starts" if markov_starts else "exact starts"
        print(
            f"coverage of the 95% interval, {MODELS} models, 100 chains, 500 temperatures, {starts}"
        )
        for (method, name), (good, trusted, total) in sorted(held.items()):
            share = f"{good / trusted:.3f}" if trusted else "-"
            print(
                f"  {method:12s} {name:24s} {share}  ({good}/{trusted} trusted of {total})",
                flush=True,
            )
    gb.exact.EXACT_STATES = 2**20


def trained_mnist(
    n_hidden: int, gradient: gb.Centered, rate: float, epochs: int
) -> tuple[gb.RBM, torch.Tensor]:
    data = gb.datasets.load("mnist")
    rbm = gb.RBM(gb.Bernoulli(784), gb.Bernoulli(n_hidden))
    train(rbm, data.rows, gradient, (rate, 0.5), epochs, 100, 0)
    return rbm, torch.bernoulli(data.test, generator=generator(1))


def mnist20() -> None:
    """Every method, three seeds: errors against the exact value, and the seconds each took."""
    rbm, test = trained_mnist(20, gb.Centered(gb.PCD(steps=5)), 0.02, 10)
    truth = mean_log_likelihood(rbm, test)
    rbm.float()
    print(f"MNIST, 20 hidden units, PCD-5, 10 epochs: exact test log-likelihood {truth:.4f}")
    for method, seed in itertools.product(METHODS, range(3)):
        started = time.perf_counter()
        result = gb.evaluate(
            rbm, test, method, chains=400, temperatures=15_000, generator=generator(seed)
        )
        seconds = time.perf_counter() - started
        error = result.log_likelihood - truth
        print(
            f"  {method:12s} seed {seed} error {error:+.4f} stderr {result.stderr:.4f} ess "
            f"{result.log_partition.ess:.1f} in {seconds:.0f} s: {result.verdict}",
            flush=True,
        )


def mnist500() -> None:
    """Both schedules at equal cost: 58,000 steps in all, the pilots that adapt one included."""
    rbm, test = trained_mnist(500, gb.Centered(gb.PCD(steps=5)), 0.02, 20)
    print("MNIST, 500 hidden units, PCD-5, 20 epochs, test set drawn once with seed 1, 100 chains")
    schedules = {
        "published schedule": salakhutdinov_murray_schedule(),
        "adapted schedule": 14_175,
    }
    for name, schedule in schedules.items():
        started = time.perf_counter()
        result = gb.evaluate(rbm, test, "bridge", temperatures=schedule, generator=generator(0))
        seconds = time.perf_counter() - started
        forward, reverse = result.log_partition.forward, result.log_partition.reverse
        print(
            f"  {name}: {seconds:.0f} s; bridge {result.log_likelihood:.3f} ({result.stderr:.3f}); "
            f"optimistic {result.optimistic:.3f} ({forward.stderr:.3f}, ess {forward.ess:.1f}); "
            f"conservative {result.conservative:.3f} "
            f"({reverse.stderr:.3f}, ess {reverse.ess:.1f}); {result.verdict}",
            flush=True,
        )


@torch.no_grad()
def gaussian() -> None:
    rbm = gb.RBM(gb.Gaussian(784), gb.Bernoulli(15))
    rbm.weight.copy_(0.15 * torch.randn(784, 15, generator=generator(0)))
    rbm.hidden.bias.copy_(-0.5 * (rbm.weight**2).sum(0))
    truth = gb.exact.log_partition(rbm.double()).item()
    rbm.float()
    print(f"Gaussian 784, 15 hidden units: exact log Z {truth:.4f}")
    for method in METHODS:
        result = gb.log_partition(rbm, method, temperatures=3000, generator=generator(0))
        print(f"  {method:12s} error {result.value - truth:+.4f} stderr {result.stderr:.4f}")


def rate() -> None:
    """Standard error against temperatures and chains: both should fall as the square root."""
    rbm, _ = random_model(4)
    print("rate: standard deviation of log weights by temperatures, 4,000 chains")
    for temperatures in (25, 50, 100, 200, 400, 800):
        path = Path.fit(rbm, generator=generator(0))
        betas = adapted_schedule(path, temperatures, generator(0))
        run = anneal(path, betas, path.start(4000, generator(1)), generator(1))
        print(f"  {temperatures:4d} {run.log_weights.std().item():.4f}", flush=True)


@torch.no_grad()
def cost() -> None:
    """One temperature step as a multiple of its two matrix products, medians of 7."""
    rbm = gb.RBM(gb.Bernoulli(784), gb.Bernoulli(500))
    rbm.weight.normal_(0, 0.05, generator=generator(0))
    path = Path(rbm, torch.zeros(784), torch.zeros(500))
    for chains in (100, 1000):
        v, h = path.start(chains, generator(0)), torch.ones(chains, 500)
        steps, ratios = 50, []
        for _ in range(7):
            started = time.perf_counter()
            for _ in range(steps):
                v @ rbm.weight
                h @ rbm.weight.T
            floor = time.perf_counter() - started
            started = time.perf_counter()
            anneal(path, uniform_schedule(steps), v, generator(0))
            ratios.append((time.perf_counter() - started) / floor)
        print(
            f"cost, {chains} chains, 784 x 500: {sorted(ratios)[3]:.2f} times its products",
            flush=True,
        )


class Curve:
    """Callback: TrajectoryAIS beside the truth, exact or by a long bridge, and its seconds."""

    def __init__(self, data: torch.Tensor, epochs: tuple[int, ...], temperatures: int) -> None:
        self.data, self.epochs, self.temperatures = data, epochs, temperatures
        self.lines: list[str] = []
        self.misses = self.shown = self.measured = 0
        self.worst = self.seconds = 0.0

    def __call__(self, rbm: gb.RBM, record: dict[str, float]) -> dict[str, float]:
        if int(record["epoch"]) not in self.epochs:
            return {}
        tracker = gb.TrajectoryAIS(self.data, generator=generator(int(record["epoch"])))
        started = time.perf_counter()
        figures = tracker(rbm, {})
        self.seconds += time.perf_counter() - started
        self.measured += 1
        told = "left out: " + "; ".join(p.split(":")[0] for p in tracker.problems)
        truth = gb.evaluate(
            rbm, self.data, temperatures=self.temperatures, generator=generator(0)
        ).log_likelihood
        if figures["ais_trusted"]:
            error, bar = figures["ais_log_likelihood"] - truth, figures["ais_stderr"]
            self.shown += 1
            self.misses += abs(error) > 2.262 * bar + 0.01  # Student's t, 9 degrees of freedom
            self.worst = max(self.worst, abs(error))
            told = f"error {error:+.3f} stderr {bar:.3f} trips {figures['ais_ess']:.0f}"
        self.lines.append(f"  epoch {int(record['epoch']):3d} truth {truth:9.3f} {told}")
        return {}


def curve() -> None:
    """TrajectoryAIS in training against exact sums and long bridges, and what it costs."""
    torch.set_num_threads(1)
    digits = gb.datasets.load("digits")
    test = torch.bernoulli(digits.test, generator=generator(1))
    print("curve: digits, PCD-1, constant rate, exact truth, epochs 1, 2, 5, 10, 20 and 40")
    for rate, n_hidden in itertools.product((0.05, 0.3, 1.0, 3.0), (8, 16)):
        watch = Curve(test, (1, 2, 5, 10, 20, 40), 2)
        for seed in range(3):
            rbm = gb.RBM(gb.Bernoulli(64), gb.Bernoulli(n_hidden))
            optimizer = torch.optim.SGD(rbm.parameters(), lr=rate)
            gb.fit(
                rbm,
                digits.train,
                gradient=gb.Centered(gb.PCD()),
                optimizer=optimizer,
                epochs=40,
                batch_size=100,
                callbacks=[watch],
                generator=generator(seed),
            )
        print(
            f"  rate {rate:4.2f}, {n_hidden:2d} hidden: {watch.shown} shown of {watch.measured}, "
            f"{watch.misses} outside the 95% interval, largest error {watch.worst:.3f}",
            flush=True,
        )
    mnist = gb.datasets.load("mnist")
    test = torch.bernoulli(mnist.test, generator=generator(1))
    for n_hidden, epochs, seen in ((100, 30, (5, 10, 20, 30)), (500, 8, (1, 4, 8))):
        watch = Curve(test, seen, 10_000)
        rbm = gb.RBM(gb.Bernoulli(784), gb.Bernoulli(n_hidden))
        started = time.perf_counter()
        train(rbm, mnist.rows, gb.Centered(gb.PCD()), (0.05, 0.5), 1, 100, 1)
        epoch = time.perf_counter() - started
        rbm = gb.RBM(gb.Bernoulli(784), gb.Bernoulli(n_hidden))
        optimizer, scheduler = decaying_sgd(rbm, 0.05, 0.5, epochs)
        gb.fit(
            rbm,
            mnist.rows,
            gradient=gb.Centered(gb.PCD()),
            optimizer=optimizer,
            scheduler=scheduler,
            epochs=epochs,
            batch_size=100,
            callbacks=[watch],
            generator=generator(0),
        )
        print(f"curve: MNIST, {n_hidden} hidden, rate 0.05, truth by a bridge of 10,000")
        print("\n".join(watch.lines))
        print(
            f"  one estimate {watch.seconds / watch.measured:.2f} s; one epoch {epoch:.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    torch.set_num_threads(2)
    parts = (trust, coverage, mnist20, mnist500, gaussian, rate, cost, curve)
    for part in parts:
        if part.__name__ in sys.argv[1:] or len(sys.argv) == 1:
            part()
