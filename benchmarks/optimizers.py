"""Optimisers and gradients at equal time: MNIST, 500 hidden units, one thread.

Run: GIBBSITE_DATA=... python benchmarks/optimizers.py [SECONDS [NAME ...]]; without names, all of
them. Every run has so many seconds of processor time, over which its learning rate falls to 0 as
the square of the share that is left. Log-likelihoods, of the last parameters and of their
exponential average, are those of 5,000 test images, each binarised once; log Z is by the bridge
over 3,000 temperatures.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Muon, Optimizer

import gibbsite as gb
from gibbsite.training import SGD
from gibbsite.training.fit import Update

HIDDEN, BATCH, TEST, TEMPERATURES = 500, 100, 5000, 3000
MOMENTUM = 0.5


class Together(Optimizer):
    """Several optimisers of different parameters as one."""

    def __init__(self, *parts: Optimizer) -> None:
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.parts = parts

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group, own in zip(self.param_groups, self._own_groups(), strict=True):
            own["lr"] = group["lr"]  # which a schedule may have changed
        for part in self.parts:
            part.step()

    def _own_groups(self) -> Iterable[dict[str, Any]]:
        return (group for part in self.parts for group in part.param_groups)


class Spectral(SGD):
    """Spectral descent: a matrix moves by U V^T of its momentum's U S V^T, times its nuclear norm.

    The steepest direction under the spectral norm: Carlson, Cevher, Carin (2015), Stochastic
    spectral descent for restricted Boltzmann machines. Biases move by SGD.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for parameter in self.param_groups[0]["params"]:
            if parameter.ndim == 2:
                u, s, v = torch.linalg.svd(parameter.grad, full_matrices=False)
                parameter.grad = s.sum() * (u @ v) / HIDDEN
        super().step()


def sgd(rate: float) -> Callable[[gb.RBM], Optimizer]:
    return lambda rbm: SGD(rbm.parameters(), rate, MOMENTUM)


def adam(rate: float) -> Callable[[gb.RBM], Optimizer]:
    return lambda rbm: Adam(rbm.parameters(), rate, maximize=True)


def muon(rate: float, bias_rate: float = 0.1) -> Callable[[gb.RBM], Optimizer]:
    """Torch's Muon on the weight, SGD on the biases."""

    def make(rbm: gb.RBM) -> Optimizer:
        biases = [x for x in rbm.parameters() if x.ndim < 2]
        return Together(
            Muon([rbm.weight], rate, weight_decay=0.0, momentum=0.9),
            torch.optim.SGD(biases, bias_rate, MOMENTUM),
        )

    return make


def spectral(rate: float) -> Callable[[gb.RBM], Optimizer]:
    return lambda rbm: Spectral(rbm.parameters(), rate, MOMENTUM)


PCD = gb.Centered(gb.PCD())
MANY = gb.Centered(gb.PCD(chains=500))
RUNS: dict[str, tuple[Callable[[gb.RBM], Optimizer], gb.Centered, int]] = {
    "sgd 0.05": (sgd(0.05), PCD, BATCH),
    "sgd 0.1": (sgd(0.1), PCD, BATCH),
    "sgd 0.2": (sgd(0.2), PCD, BATCH),
    "adam 0.0005": (adam(0.0005), PCD, BATCH),
    "adam 0.002": (adam(0.002), PCD, BATCH),
    "muon 0.005": (muon(0.005), PCD, BATCH),
    "muon 0.02": (muon(0.02), PCD, BATCH),
    "muon 0.02, 500 rows and chains": (muon(0.02), MANY, 500),
    "spectral 0.05": (spectral(0.05), PCD, BATCH),
    "fpcd 0.1, fast 0.01": (sgd(0.1), gb.Centered(gb.FPCD(fast_rate=0.01)), BATCH),
    "fpcd 0.1, fast 0.05": (sgd(0.1), gb.Centered(gb.FPCD(fast_rate=0.05)), BATCH),
}


class Clock:
    """Callback that lets the rates fall by the processor time used, and stops when it is up."""

    every_update = True

    def __init__(self, optimizer: Optimizer, seconds: float) -> None:
        self.groups, self.seconds = optimizer.param_groups, seconds
        self.rates = [group["lr"] for group in self.groups]
        self.start, self.updates = time.process_time(), 0

    def after_update(self, rbm: gb.RBM, update: Update) -> None:
        self.updates, left = update.number, 1 - (time.process_time() - self.start) / self.seconds
        if left <= 0:
            raise KeyboardInterrupt  # which fit takes for the end of the run
        for group, rate in zip(self.groups, self.rates, strict=True):
            group["lr"] = rate * left**2

    def __call__(self, rbm: gb.RBM, record: Any) -> None:
        pass


def trained(name: str, rows: Any, seconds: float, updates: float) -> tuple[gb.RBM, gb.RBM, int]:
    """A model, its average over about so many updates, and the number of updates there were."""
    make, gradient, batch_size = RUNS[name]
    rbm = gb.RBM(gb.Bernoulli(784), gb.Bernoulli(HIDDEN))
    optimizer, average = make(rbm), gb.Averaged(rbm, horizon=updates)
    clock = Clock(optimizer, seconds)
    gb.fit(
        rbm, rows, gradient=gradient, optimizer=optimizer, batch_size=batch_size, epochs=10**6,
        callbacks=[average, clock], generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    return rbm, average.model, clock.updates


def evaluated(rbm: gb.RBM, test: Tensor) -> str:
    generator = torch.Generator().manual_seed(2)
    found = gb.evaluate(rbm, test, "bridge", temperatures=TEMPERATURES, generator=generator)
    return f"{found.log_likelihood:.2f} ± {2 * found.stderr:.2f}"


def main(seconds: float = 60.0, names: Iterable[str] = ()) -> None:
    torch.set_num_threads(1)
    data = gb.datasets.load("mnist")
    test = torch.bernoulli(data.test[:TEST], generator=torch.Generator().manual_seed(1))
    trained("sgd 0.05", data.train, 1.0, 1.0)  # compiles
    for name in names or RUNS:
        horizon = 30 if name.startswith(("muon", "spectral")) else 1000
        last, average, updates = trained(name, data.train, seconds, horizon)
        told = f"{evaluated(last, test)} | {evaluated(average, test)}"
        print(f"| {name} | {updates:,} | {told} |", flush=True)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]), sys.argv[2:])
