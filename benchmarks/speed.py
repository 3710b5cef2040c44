"""How close to the cost of their matrix products do sampling and training come, and the peers?

Run: python benchmarks/speed.py [gibbs units update epoch ais imports lookup fused scaling];
without names, all.
Every figure is a ratio of times taken in turn in one run: the median over rounds, and in brackets
the quartiles. `update` compares with the peers that are installed; to have them all, in an
environment of their own:

    python -m venv peers && peers/bin/pip install torch==2.13.0 -c constraints.txt -e . rbms==0.5.0
    learnergy==2.0.2

`epoch` needs MNIST (see `gibbsite datasets`); `scaling` draws docs/images/speed-scaling.png.
"""

from __future__ import annotations

import importlib
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import gibbsite as gb
from gibbsite.gradients import Gradient
from gibbsite.likelihood import Path as AnnealingPath
from gibbsite.likelihood import anneal, uniform_schedule
from gibbsite.ops.numba_kernels import lookup_pays, lookup_product
from gibbsite.training import SGD

PICTURE = Path(__file__).parent.parent / "docs/images/speed-scaling.png"
FIT = importlib.import_module("gibbsite.training.fit")
ROUNDS = 31
Work = Callable[[], object]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(n_visible: int, n_hidden: int) -> gb.RBM:
    rbm = gb.RBM(gb.Bernoulli(n_visible), gb.Bernoulli(n_hidden))
    with torch.no_grad():
        rbm.weight.normal_(0, 0.05, generator=generator(0))
    return rbm


def coins(rows: int, columns: int, seed: int = 1) -> torch.Tensor:
    return torch.bernoulli(torch.full((rows, columns), 0.5), generator=generator(seed))


def in_turn(works: dict[str, Work], seconds: float = 0.02, rounds: int = ROUNDS) -> dict:
    """Seconds a call of each, `rounds` times, one after the other in each round."""
    calls = {}
    for name, work in works.items():
        for _ in range(3):
            work()
        started = time.perf_counter()
        work()
        calls[name] = max(1, round(seconds / (time.perf_counter() - started)))
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            time.sleep(0.005)  # until the threads of the library before have stopped spinning
            work()
            started = time.perf_counter()
            for _ in range(calls[name]):
                work()
            taken[name].append((time.perf_counter() - started) / calls[name])
    return taken


def report(title: str, taken: dict, unit: str = "floor") -> None:
    print(f"{title}; {unit} {statistics.median(taken[unit]) * 1e6:,.0f} us", flush=True)
    for name, times in taken.items():
        if name != unit:
            ratios = [a / b for a, b in zip(times, taken[unit], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            print(f"  {name:34s} {middle:6.2f} x {unit} [{low:.2f}, {high:.2f}]", flush=True)


def products(n_visible: int, n_hidden: int, batch: int, chains: int) -> dict[str, Work]:
    """The matrix products of a Gibbs step and of a PCD-1 update, and nothing else."""
    weight, v, h = torch.randn(n_visible, n_hidden), coins(batch, n_visible), coins(batch, n_hidden)
    v_chain, h_chain = coins(chains, n_visible), coins(chains, n_hidden)
    to_h, to_v, step = torch.empty_like(h), torch.empty_like(v_chain), torch.empty_like(weight)
    h_new = torch.empty_like(h_chain)

    def gibbs() -> None:
        torch.mm(h_chain, weight.T, out=to_v)
        torch.mm(v_chain, weight, out=h_new)

    def update() -> None:
        gibbs()
        torch.mm(v, weight, out=to_h)
        torch.mm(v.T, h, out=step)
        torch.mm(v_chain.T, h_chain, out=step)

    return {"gibbs": gibbs, "update": update}


STEPS = 100


def gibbs() -> None:
    """100 steps in a row, as sampling does them, and one step alone, beside as many products."""
    for n_visible, n_hidden, chains in ((784, 512, 1024), (784, 512, 100), (64, 128, 100)):
        rbm, real = model(n_visible, n_hidden), gaussian_model(n_visible, n_hidden)
        floor = products(n_visible, n_hidden, chains, chains)["gibbs"]
        works: dict[str, Work] = {
            "floor": repeated(floor),
            "Gibbs steps": gibbs_steps(rbm, chains, STEPS),
            "Gibbs steps, one by one": repeated(gibbs_steps(rbm, chains, 1)),
            "Gibbs steps, Gaussian visible": gibbs_steps(real, chains, STEPS),
            "Gibbs steps in plain torch": repeated(plain_step(rbm, coins(chains, n_hidden))),
        }
        title = f"{STEPS} Gibbs steps, {n_visible} x {n_hidden}, {chains} chains"
        report(title, in_turn(works, rounds=9))


UNITS: dict[str, Callable[[], gb.layers.Layer]] = {
    "100 x 21 categorical": lambda: gb.Categorical(100, 21),
    "100 categorical of 2 to 40": lambda: gb.Categorical([2 + 38 * i // 99 for i in range(100)]),
    "784 spins": lambda: gb.Spin(784),
}


def units() -> None:
    """Sweeps of visible units that are not binary, by 200 binary ones, beside as many products."""
    chains, n_hidden, steps = 1000, 200, 10
    for name, make in UNITS.items():
        rbm = gb.RBM(make(), gb.Bernoulli(n_hidden))
        with torch.no_grad():
            rbm.weight.normal_(0, 0.05, generator=generator(0))
        floor = products(rbm.visible.width, n_hidden, chains, chains)["gibbs"]
        works = {"floor": repeated(floor, steps), "Gibbs steps": gibbs_steps(rbm, chains, steps)}
        for threads in (1, 2):
            torch.set_num_threads(threads)
            title = f"{steps} Gibbs steps, {name} by {n_hidden}, {chains} chains, {threads} threads"
            report(title, in_turn(works, rounds=15))


def repeated(work: Work, times: int = STEPS) -> Work:
    return lambda: [work() for _ in range(times)]


def gaussian_model(n_visible: int, n_hidden: int) -> gb.RBM:
    rbm = gb.RBM(gb.Gaussian(n_visible), gb.Bernoulli(n_hidden))
    with torch.no_grad():
        rbm.weight.normal_(0, 0.01, generator=generator(2))
    return rbm


def gibbs_steps(rbm: gb.RBM, chains: int, steps: int) -> Work:
    g = generator(2)
    state = gb.Gibbs().init(rbm, gb.random_start(rbm, chains, g), g)
    return lambda: gb.Gibbs().advance(rbm, state, steps, g)


def plain_step(rbm: gb.RBM, h: torch.Tensor) -> Work:
    weight, b, c = rbm.weight.detach(), rbm.visible.bias.detach(), rbm.hidden.bias.detach()

    def step() -> None:
        v = torch.bernoulli(torch.sigmoid(h @ weight.T + b))
        torch.bernoulli(torch.sigmoid(v @ weight + c))

    return step


def update() -> None:
    """`gb.fit` for an epoch beside as many updates of the peers, on one minibatch, and products."""
    for n_visible, n_hidden, batch, number in (
        (784, 512, 256, 20),
        (64, 128, 64, 100),
        (64, 100, 10, 100),
    ):
        rows = coins(number * batch, n_visible)
        floor = products(n_visible, n_hidden, batch, batch)["update"]
        works: dict[str, Work] = {
            "floor": repeated(floor, number),
            "gibbsite PCD-1": our_epoch(gb.PCD(batch), n_hidden, rows, batch),
            "gibbsite PCD-1, centred": our_epoch(gb.Centered(gb.PCD(batch)), n_hidden, rows, batch),
            "gibbsite CD-1": our_epoch(gb.CD(), n_hidden, rows, batch),
        }
        for name, make in PEERS.items():
            try:
                works[name] = repeated(make(n_hidden, rows[:batch]), number)
            except ImportError as error:
                print(f"left out: {name} ({error})")
        taken = in_turn(works)
        title = f"{number} updates, {n_visible} x {n_hidden}, batch and chains {batch}"
        report(title, taken)
        peers = {name: times for name, times in taken.items() if name in PEERS}
        report(title, {"gibbsite PCD-1": taken["gibbsite PCD-1"], **peers}, "gibbsite PCD-1")


def our_epoch(gradient: Gradient, n_hidden: int, rows: torch.Tensor, batch: int) -> Work:
    """`gb.fit` as a user calls it: with its shuffling and checks, on the threads it takes."""
    rbm, g = model(rows.shape[1], n_hidden), generator(3)
    optimizer = SGD(rbm.parameters(), lr=1e-4)
    options = {"gradient": gradient, "optimizer": optimizer, "batch_size": batch}
    return lambda: gb.fit(rbm, rows, epochs=1, generator=g, **options)


def scikit_learn_update(n_hidden: int, v: torch.Tensor) -> Work:
    """PCD-1 in float32, without its checks of the input."""
    import numpy as np
    from sklearn.neural_network import BernoulliRBM

    rows, random = v.numpy(), np.random.RandomState(0)
    peer = BernoulliRBM(n_hidden, learning_rate=1e-4, batch_size=len(v), random_state=0)
    peer.partial_fit(rows)
    return lambda: peer._fit(rows, random)


def rbms_update(n_hidden: int, v: torch.Tensor) -> Work:
    """PCD-1 of rbms, uncentred, with its normalised gradient, as its training loop calls it."""
    from rbms.bernoulli_bernoulli.classes import BBRBM
    from rbms.training.pcd import fit_batch_pcd

    ours = model(v.shape[1], n_hidden)
    peer = BBRBM(
        ours.weight.detach().clone(),
        ours.visible.bias.detach().clone(),
        ours.hidden.bias.detach().clone(),
    )
    peer.init_grad()
    optimizer = torch.optim.SGD(peer.parameters(), lr=1e-4, maximize=True)
    weights = torch.ones(len(v))
    chains = [peer.init_chains(len(v))]

    @torch.no_grad()
    def update() -> None:
        optimizer.zero_grad(set_to_none=False)
        chains[0], _ = fit_batch_pcd((v, weights), chains[0], peer, 1, 1.0, centered=False)
        optimizer.step()

    return update


def learnergy_update(n_hidden: int, v: torch.Tensor) -> Work:
    """CD-1 of learnergy, which has no PCD, without its two monitors an update."""
    from learnergy.models.bernoulli import RBM

    peer = RBM(n_visible=v.shape[1], n_hidden=n_hidden, steps=1, learning_rate=1e-4)

    def update() -> None:
        *_, visible = peer.gibbs_sampling(v)
        cost = torch.mean(peer.energy(v)) - torch.mean(peer.energy(visible.detach()))
        peer.optimizer.zero_grad()
        cost.backward()
        peer.optimizer.step()

    return update


PEERS: dict[str, Callable[[int, torch.Tensor], Work]] = {
    "scikit-learn PCD-1": scikit_learn_update,
    "rbms PCD-1": rbms_update,
    "learnergy CD-1": learnergy_update,
}

EPOCH = r"""
import json, re, time, torch
import gibbsite as gb
torch.set_num_threads(2)
rows = gb.datasets.load("mnist").rows
weight, v, h = torch.randn(784, 500), torch.ones(100, 784), torch.ones(100, 500)
to_v, to_h, step = torch.empty_like(v), torch.empty_like(h), torch.empty_like(weight)
def products():
    started = time.perf_counter()
    for _ in range(len(rows) // 100):
        torch.mm(v, weight, out=to_h); torch.mm(h, weight.T, out=to_v)
        torch.mm(v, weight, out=to_h); torch.mm(v.T, h, out=step); torch.mm(v.T, h, out=step)
    return time.perf_counter() - started
def epoch(seed):
    rbm, generator = gb.RBM(gb.Bernoulli(784), gb.Bernoulli(500)), torch.Generator()
    generator.manual_seed(seed)
    started = time.perf_counter()
    gb.fit(rbm, rows, gradient=gb.Centered(gb.PCD()), epochs=1, batch_size=100, generator=generator,
           optimizer=gb.training.SGD(rbm.parameters(), lr=0.05, momentum=0.5))
    return time.perf_counter() - started
products(), epoch(0)
taken = {"floor": [], "fit": []}
for seed in range(7):
    taken["floor"].append(products()); taken["fit"].append(epoch(seed))
status = open("/proc/self/status").read()  # getrusage would count the parent's memory too
taken["memory"] = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 2**20
print(json.dumps(taken))
"""


def epoch() -> None:
    """`gb.fit` for an epoch of MNIST in a process of its own, whose peak memory is told too."""
    output = subprocess.run([sys.executable, "-c", EPOCH], check=True, capture_output=True)
    taken = json.loads(output.stdout)
    memory = taken.pop("memory")
    report("an epoch of MNIST, 500 hidden units, batch 100, centred PCD-1 (the default)", taken)
    print(f"  peak memory of the process {memory:.2f} GiB")


def ais() -> None:
    for chains in (1024, 100):
        path = AnnealingPath(model(784, 512), torch.zeros(784), torch.zeros(512))
        floor = products(784, 512, chains, chains)["gibbs"]
        for steps in (200, 20):
            works = annealing(path, path.start(chains, generator(4)), steps, floor)
            title = f"AIS, 784 x 512, {chains} chains, {steps} temperatures"
            report(title, in_turn(works, rounds=5))


def annealing(path: AnnealingPath, v: torch.Tensor, steps: int, floor: Work) -> dict[str, Work]:
    def floors() -> None:
        for _ in range(steps):
            floor()

    return {
        "floor": floors,
        "annealing": lambda: anneal(path, uniform_schedule(steps), v, generator(5)),
    }


def lookup() -> None:
    """Products with a binary matrix by lookup tables, against the matrix product.

    One thread and two; "no" where `Numba.product` leaves them to torch. The rule is set by this.
    """
    sizes = [(784, 500), (500, 784), (64, 128), (128, 64), (1000, 16)]
    for n, m in sizes:
        for rows in (10, 20, 50, 100, 200, 1000):
            x, weight, out = coins(rows, n), torch.randn(n, m), torch.empty(rows, m)
            column = coins(rows, n).T  # the layout of a gradient: x.T @ h
            h, step = torch.randn(rows, m), torch.empty(n, m)
            cases = {
                "x W": (x, weight, out),
                "x W.T": (x, torch.randn(m, n).T, out),
                "x.T h": (column, h, step),
            }
            for name, (left, right, to) in cases.items():
                pays = "" if lookup_pays(left, right) else ", no"
                works: dict[str, Work] = {
                    "floor": lambda a=left, b=right, c=to: torch.mm(a, b, out=c),
                    f"lookup{pays}": lambda a=left, b=right, c=to: lookup_product(a, b, c),
                }
                for threads in (1, 2):
                    torch.set_num_threads(threads)
                    title = f"{name}, {rows} rows, {n} x {m}, {threads} threads"
                    report(title, in_turn(works, seconds=0.005, rounds=9))


def fused() -> None:
    """Many updates in one compiled call beside updates one by one, over sizes around `SMALL`."""
    for batch in (10, 64, 256):
        for units in (64, 128, 181, 256, 362, 512, 724, 1024):
            work = units * units * batch
            if 2**18 <= work <= 2**26:
                rows = coins(batch * max(4, min(200, 2**27 // work)), units)
                ours = our_epoch(gb.PCD(batch), units, rows, batch)
                works = {"floor": limited(0, ours), "fused": limited(2**30, ours)}
                title = f"updates one by one (the floor here), {units} x {units}, batch {batch}"
                report(f"{title}, 2^{math.log2(work):.1f} a product", in_turn(works, rounds=9))


def limited(small: int, work: Work) -> Work:
    """The work with one call for models below so many multiply-adds a product."""

    def run() -> None:
        usual, FIT.SMALL = FIT.SMALL, small
        try:
            work()
        finally:
            FIT.SMALL = usual

    return run


SIZES = {
    "n_visible": [64, 256, 784, 2048, 4096],
    "n_hidden": [64, 128, 512, 2048, 4096],
    "batch": [16, 64, 256, 1024, 4096],
    "chains": [16, 64, 256, 1024, 4096],
}
UPDATES = 10
USUAL = {"n_visible": 784, "n_hidden": 512, "batch": 256, "chains": 256}


def scaling() -> None:
    """An update of `gb.fit` by PCD-1 as each size grows from the usual ones, then both layers."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 5, figsize=(15, 3.2), sharey=True)
    cases = [*SIZES.items(), ("n_visible = n_hidden", [64, 256, 1024, 4096])]
    for axis, (name, sizes) in zip(axes, cases, strict=True):
        floors, ours = [], []
        for size in sizes:
            names = name.split(" = ")
            shape = USUAL | dict.fromkeys(names, size)
            v = coins(UPDATES * shape["batch"], shape["n_visible"])
            gradient = gb.PCD(shape["chains"])
            works = {
                "floor": repeated(products(**shape)["update"], UPDATES),
                "gibbsite PCD-1": our_epoch(gradient, shape["n_hidden"], v, shape["batch"]),
            }
            taken = in_turn(works, rounds=5)
            report(f"{UPDATES} updates, {shape}", taken)
            floors.append(statistics.median(taken["floor"]) * 1e3 / UPDATES)
            ours.append(statistics.median(taken["gibbsite PCD-1"]) * 1e3 / UPDATES)
        axis.loglog(sizes, ours, "o-", label="PCD-1 update")
        axis.loglog(sizes, floors, "k--", label="its five matrix products")
        axis.set_xlabel(name)
    axes[0].set_ylabel("milliseconds")
    axes[0].legend(frameon=False)
    axes[2].set_title(
        ", ".join(f"{name} {size}" for name, size in USUAL.items()) + " unless varied"
    )
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=90)


def imports() -> None:
    def start(package: str) -> Work:
        return lambda: subprocess.run([sys.executable, "-c", f"import {package}"], check=True)

    works = {"torch alone": start("torch"), "import gibbsite": start("gibbsite")}
    report("import", in_turn(works, rounds=7), "torch alone")


if __name__ == "__main__":
    torch.set_num_threads(2)
    parts = (gibbs, units, update, epoch, ais, imports, lookup, fused, scaling)
    for part in parts:
        if part.__name__ in sys.argv[1:] or len(sys.argv) == 1:
            part()
