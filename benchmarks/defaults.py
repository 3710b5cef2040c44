"""Good by default? Test log-likelihoods where nothing is set but the data, beside other packages.

Every model gets the same rows to train on and the same time, at its own defaults (MNIST: 500 hidden
units for all), and is measured on the same test rows by the same estimate of log Z: exact where
that is cheap, else by annealing both ways. Gibbsite is the command `gibbsite fit FILE --budget
60s`, timed from its start to its end; of the others only training counts. scikit-learn has that
time for each of six learning rates. With `--processor` the seconds of other packages are the
processor's, so that they may run beside other work: 120 of one core for 60 on two.

Run, in an environment with rbms==0.5.0 and learnergy==2.0.2 beside Gibbsite:
GIBBSITE_DATA=... python defaults.py [DATA ...] --seeds 0 1 2 3 4     a line of JSON a result
GIBBSITE_DATA=... python defaults.py --reach --marks 10 20 40 60      MNIST after so many seconds
python defaults.py --table FILE                                       tables of such lines
python defaults.py --check               are models of other packages read rightly? By enumeration
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import peers
import torch
from defaults_data import TABLES, Table
from defaults_table import page
from peers import Snapshot, Task
from peers_check import differences
from reference import nats
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits
from torch import Tensor

import gibbsite as gb
from gibbsite.errors import GibbsiteError
from gibbsite.likelihood.baselines import WORDS, baselines

RATES = (0.3, 0.1, 0.05, 0.02, 0.01, 0.005)
"""Learning rates of scikit-learn's, of which validation rows choose."""


class Effort(NamedTuple):
    """How log Z is estimated where it is not exact.

    Attributes:
        temperatures: of the schedule.
        from_data: True for a path from the means of training rows, False from those of the model.
        tempered: True for starts of reverse annealing by replica exchange.
    """

    temperatures: int
    from_data: bool = True
    tempered: bool = False


EFFORTS = (Effort(1000), Effort(1000, from_data=False), Effort(5000, tempered=True))
"""Tried in turn until one is trusted."""

MARKS = (10.0, 15.0, 20.0, 30.0, 40.0, 60.0)
"""Seconds at which `--reach` measures, unless told."""

MIXTURES = {"one Gaussian, maximum likelihood": 1, "mixture of 10 Gaussians": 10}
"""Numbers of components of Gaussian mixtures, by name."""

LEVELS = (-95.0, -90.0, -87.0)
"""Nats a test row of MNIST, that `--reach` asks the seconds for."""


class Limits(NamedTuple):
    """Time and threads of a run, for every model the same.

    Attributes:
        marks: seconds at which models are measured; the last ends training.
        threads: of each process.
        budget: False leaves its time to the command `gibbsite fit`.
        clock: tells the seconds of other packages.
    """

    marks: tuple[float, ...] = (60.0,)
    threads: int = 2
    budget: bool = True
    clock: Callable[[], float] = time.perf_counter


class Result(NamedTuple):
    """The name of a model, the model, and what was chosen for it, if anything, in words."""

    model: str
    snapshot: Snapshot
    chosen: str = ""


def gibbsite(name: str, table: Table, seed: int, limits: Limits) -> Iterator[Result]:
    """The command without settings, anew for each mark."""
    for mark in limits.marks:
        with tempfile.TemporaryDirectory() as folder:
            run, words = Path(folder) / "run", ["--seed", str(seed)]
            if limits.budget:
                words += ["--budget", f"{mark:g}s"]
            if table.hidden is not None:
                words += ["--hidden", str(table.hidden)]
            data = table.write(Path(folder))
            started = time.perf_counter()
            command(["fit", str(data), "-o", str(run), "--quiet", *words], limits.threads)
            seconds = time.perf_counter() - started
            rbm = gb.load(run / "model.safetensors")
        yield Result("gibbsite", Snapshot(rbm, seconds, 0, True))


def command(words: list[str], threads: int) -> None:
    """Run `gibbsite` in a process of its own; its errors are shown and end the run."""
    counts = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "NUMBA", "MKL", "OPENBLAS")}
    subprocess.run(
        [sys.executable, "-m", "gibbsite", *words],
        env=os.environ | counts,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def scikit_learn(name: str, table: Table, seed: int, limits: Limits) -> Iterator[Result]:
    """The best of six rates, each with all of the time, after its 10 epochs or at the end.

    The model itself is chosen, by a part of the training rows that it was not trained on, as one
    rate ends nats apart from run to run. With several marks they choose the rate, by its end.
    """
    if table.real:
        return
    parts, several = table.split(), len(limits.marks) > 1
    best, chosen, told = -math.inf, [], ""
    for rate in RATES:
        snapshots = peers.train_scikit_learn(_task(parts, seed, limits), rate)
        for snapshot in snapshots[-1:] if several else snapshots:
            found = measured(snapshot.rbm, parts, EFFORTS[:1])["test"]
            if found is not None and found["log_likelihood"] > best:
                best, chosen = found["log_likelihood"], snapshots if several else [snapshot]
                told = f"rate {rate:g}, {'stopped by itself' if snapshot.own else 'all the time'}"
    yield from (Result("scikit-learn", snapshot, told) for snapshot in chosen)


def rbms(name: str, table: Table, seed: int, limits: Limits) -> Iterator[Result]:
    if not table.real:
        yield from _default_and_longer("rbms", peers.train_rbms, _task(table, seed, limits))


def learnergy(name: str, table: Table, seed: int, limits: Limits) -> Iterator[Result]:
    train = peers.train_learnergy_gaussian if table.real else peers.train_learnergy
    yield from _default_and_longer("learnergy", train, _task(table, seed, limits))


def learnergy_variance(name: str, table: Table, seed: int, limits: Limits) -> Iterator[Result]:
    """Its other model of real columns, which learns their scale."""
    if table.real:
        task = _task(table, seed, limits)
        yield from _default_and_longer("learnergy-variance", peers.train_learnergy_variance, task)


def _default_and_longer(
    name: str, train: Callable[[Task], list[Snapshot]], task: Task
) -> Iterator[Result]:
    """The model where the package stops by itself, and the one when the time is up."""
    snapshots = train(task)
    if len(task.marks) > 1:
        yield from (Result(name, x) for x in snapshots if len(snapshots) == 1 or not x.own)
        return
    stopped = _stopped(snapshots)
    yield Result(name, stopped)
    if stopped is not snapshots[-1]:
        yield Result(f"{name}, all the time", snapshots[-1])


def _stopped(snapshots: Sequence[Snapshot]) -> Snapshot:
    """The model where the package stops by itself, or that at the end of the time."""
    return next((x for x in snapshots if x.own), snapshots[-1])


def _task(table: Table, seed: int, limits: Limits) -> Task:
    return Task(table.train, table.hidden, seed, limits.marks, limits.clock)


MODELS = {
    "gibbsite": gibbsite,
    "scikit-learn": scikit_learn,
    "rbms": rbms,
    "learnergy": learnergy,
    "learnergy-variance": learnergy_variance,
}
"""Each gives its results for a data set's name, the data, a seed and limits; none where unfit."""


def simple_models(table: Table, seed: int) -> dict[str, float]:
    """Nats a test row of independent columns and, if real, of Gaussians with full covariances.

    One shrunk (Ledoit and Wolf), one by maximum likelihood and a mixture of 10. Those two add a
    millionth to the variances of standardised columns. On the 64 columns of patches, which have 63
    dimensions, a density is as high as that is low; ``patches-63`` is the fair comparison there.
    """
    rbm = gb.RBM(table.visible, gb.Bernoulli(1))
    found = baselines(rbm, table.test, table.train)
    result = {WORDS[name]: value for name, value in found.items()}
    for told, components in MIXTURES.items() if table.real else ():
        shift, scale = table.train.double().mean(0), table.train.double().std(0)
        train, test = (((x - shift) / scale).numpy() for x in (table.train, table.test))
        mixture = GaussianMixture(components, random_state=seed).fit(train)
        result[told] = mixture.score(test) - scale.log().sum().item()
    return result


@torch.no_grad()
def measured(rbm: gb.RBM, table: Table, efforts: Sequence[Effort] = EFFORTS) -> dict[str, Any]:
    """Nats of test rows and of some trained on, by one log Z; None for both where there is none."""
    try:
        log_z = log_partition(rbm, table.seen(), efforts)
        parts = {"test": table.test, "train": table.seen()}
        found = {part: nats(copy.deepcopy(rbm), v, log_z) for part, v in parts.items()}
    except GibbsiteError as error:
        return {"test": None, "train": None, "method": "none", "verdict": str(error)}
    return {**found, "method": log_z.method, "verdict": log_z.verdict}


def log_partition(rbm: gb.RBM, seen: Tensor, efforts: Sequence[Effort]) -> gb.LogPartition:
    """log Z, exact or by the first effort that its checks trust.

    Where none is trusted, that whose forward annealing found most, as it misses parts of a model
    rather than adds some: models of few updates may have most of their mass where no data are.
    """
    tried: list[gb.LogPartition] = []
    for effort in efforts:
        log_z = estimate(rbm, seen, effort)
        if not log_z.problems or log_z.forward is None:
            return log_z
        tried.append(log_z)
        if not math.isfinite(log_z.stderr):
            break  # so far off that more effort is in vain
    return max(tried, key=lambda x: x.forward.value if x.forward else -math.inf)


def estimate(rbm: gb.RBM, seen: Tensor, effort: Effort) -> gb.LogPartition:
    """log Z by one effort; the sampler is given, so that no model brings its own."""
    return gb.log_partition(
        rbm,
        data=seen if effort.from_data else None,
        temperatures=effort.temperatures,
        sampler=gb.Tempering(data=seen) if effort.tempered else gb.Gibbs(),
        generator=torch.Generator().manual_seed(2),
    )


def results(name: str, seed: int, models: Sequence[str], limits: Limits) -> Iterator[dict]:
    """Figures of the models of one data set and seed, as objects of JSON."""
    table = TABLES[name](seed)
    line = {"data": name, "seed": seed, "marks": limits.marks, "threads": limits.threads}
    if "simple" in models:
        for model, value in simple_models(table, seed).items():
            yield {
                **line,
                "model": model,
                "test": {"log_likelihood": value},
                "verdict": "trustworthy",
            }
    for model in (x for x in models if x in MODELS):
        try:
            for told, snapshot, chosen in MODELS[model](name, table, seed, limits):
                yield {
                    **line,
                    "model": told,
                    "chosen": chosen,
                    "hidden": snapshot.rbm.hidden.n,
                    "seconds": round(snapshot.seconds, 1),
                    "updates": snapshot.updates or None,
                    **measured(snapshot.rbm, table),
                }
        except (RuntimeError, ValueError, subprocess.CalledProcessError) as error:
            yield {**line, "model": model, "test": None, "verdict": f"failed: {error}"}


def lines(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Lines of JSON, one a result, of a run by the options of the command line."""
    marks = tuple(sorted(options.marks)) if options.reach else (options.seconds,)
    clock = time.process_time if options.processor else time.perf_counter
    limits = Limits(marks, options.threads, not options.no_budget, clock)
    names = ["mnist"] if options.reach else options.data or list(TABLES)
    models = [x for x in options.models if x != "simple"] if options.reach else options.models
    for name in names:
        for seed in options.seeds:
            yield from results(name, seed, models, limits)


def finite(value: Any) -> Any:
    """A value of JSON, with null for every number in it that is infinite or none."""
    if isinstance(value, dict):
        return {name: finite(x) for name, x in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parsed(arguments: list[str]) -> argparse.Namespace:
    every = ["simple", *MODELS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", nargs="*", help=f"of {', '.join(TABLES)}; default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="to train, for each model")
    parser.add_argument("--models", nargs="+", default=every, choices=every)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-budget", action="store_true", help="gibbsite fit without --budget")
    parser.add_argument("--processor", action="store_true", help="others by processor time")
    parser.add_argument("--reach", action="store_true", help="MNIST, measured at --marks")
    parser.add_argument("--marks", type=float, nargs="+", default=list(MARKS), help="seconds")
    parser.add_argument("--table", metavar="FILE", help="lines of JSON to make tables of")
    parser.add_argument("--check", action="store_true", help="imported models by enumeration")
    options = parser.parse_args(arguments)
    for name in options.data:
        if name not in TABLES:
            parser.error(f"data {name!r}: expected some of {', '.join(TABLES)}")
    if options.reach and len(options.marks) < 2:
        parser.error(f"--marks {options.marks[0]:g}: expected two or more")
    return options


def main(arguments: list[str]) -> None:
    options = parsed(arguments)
    if options.table:
        told = Path(options.table).read_text().splitlines()
        print(page([json.loads(line) for line in told if line.strip()], LEVELS).rstrip())
    elif options.check:
        for model, difference in differences():
            print(f"{model:20s} largest difference of log p(v) {difference:.1e} nats")
    else:
        torch.set_num_threads(options.threads)
        with threadpool_limits(options.threads):
            for line in lines(options):
                print(json.dumps(finite(line), allow_nan=False), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
