"""Checkpoints that are whole, signed and wrong: every part that a run carries, forged.

Shared by the tests and by `benchmarks/robustness.py`.
"""

from __future__ import annotations

import copy
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import gibbsite as gb

CHAINS, VISIBLE, HIDDEN, EPOCHS = 5, 6, 4, 2
DATA = (torch.rand(20, VISIBLE, generator=torch.Generator().manual_seed(5)) < 0.4).float()
NAN, HUGE = float("nan"), 10**400

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: gb.training.SGD(p, 0.05, 0.5),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
}


def train(folder: str | Path, optimizer: str = "sgd", epochs: int = EPOCHS) -> gb.RBM:
    """A run with every part that can be forged."""
    rbm = gb.RBM(gb.Bernoulli(VISIBLE), gb.Bernoulli(HIDDEN))
    chosen = OPTIMIZERS[optimizer](rbm.parameters())
    gb.fit(
        rbm,
        DATA,
        gradient=gb.Centered(gb.PCD(chains=CHAINS)),
        optimizer=chosen,
        scheduler=torch.optim.lr_scheduler.StepLR(chosen, 2, 0.5),
        epochs=epochs,
        batch_size=10,
        generator=torch.Generator().manual_seed(0),
        checkpoints=gb.Checkpoints(folder),
    )
    return rbm


Change = tuple[str, Callable[[Any], Any]]
"""Where in the state, keys with dots between, and what comes there, given what was."""


def _set(place: str, value: Any) -> Change:
    return place, lambda _: value


def _fill(place: str, value: float) -> Change:
    return place, lambda x: torch.full_like(x, value)


def _put(place: str, key: str, value: float) -> Change:
    return place, lambda x: x | {key: torch.full_like(x[key], value)}


V, H, MU, LAMBDA = "gradient.0.0", "gradient.0.1", "gradient.1", "gradient.2"
MOMENTUM = "optimizer.state.0.momentum_buffer"
RATE = "optimizer.param_groups.0.lr"

FORGERIES: dict[str, Change] = {
    "v NaN": _fill(V, NAN),
    "v of 7": _fill(V, 7.0),
    "v of other rows": _set(V, torch.zeros(CHAINS + 1, VISIBLE)),
    "v of other columns": _set(V, torch.zeros(CHAINS, VISIBLE - 1)),
    "v float64": (V, lambda x: x.double()),
    "v none": _set(V, None),
    "v a number": _set(V, 3),
    "h NaN": _fill(H, NAN),
    "h of 7": _fill(H, 7.0),
    "h of 0.5": _fill(H, 0.5),
    "h far too long": _set(H, torch.zeros(101, 16)),
    "h one row": _set(H, torch.zeros(1, HIDDEN)),
    "h of other columns": _set(H, torch.zeros(CHAINS, HIDDEN + 1)),
    "h 1-d": _set(H, torch.zeros(HIDDEN)),
    "h 0-d": _set(H, torch.tensor(0.0)),
    "h empty": _set(H, torch.zeros(0, HIDDEN)),
    "h int64": (H, lambda x: x.long()),
    "h float64": (H, lambda x: x.double()),
    "h complex": (H, lambda x: x.to(torch.complex64)),
    "h text": _set(H, "x"),
    "h a list": _set(H, [[1.0]]),
    "offsets of 10^7": _set(MU, torch.zeros(10**7)),
    "offsets of h of 10^7": _set(LAMBDA, torch.zeros(10**7)),
    "offsets of one entry": _set(MU, torch.zeros(1)),
    "offsets 2-d": _set(MU, torch.zeros(1, VISIBLE)),
    "offsets -1e30": _fill(MU, -1e30),
    "offsets of h -1e30": _fill(LAMBDA, -1e30),
    "offsets NaN": _fill(MU, NAN),
    "offsets infinite": _fill(LAMBDA, float("inf")),
    "offsets int64": _set(LAMBDA, torch.zeros(HIDDEN, dtype=torch.int64)),
    "offsets of v alone": _set(LAMBDA, None),
    "state shorter": ("gradient", lambda x: list(x)[:2]),
    "state a number": _set("gradient", 1),
    "weight NaN": _fill("parameters.weight", NAN),
    "weight -1e30": _fill("parameters.weight", -1e30),
    "weight 1e30": _fill("parameters.weight", 1e30),
    "bias of v -1e30": _put("parameters", "visible.bias", -1e30),
    "bias of v 1e30": _put("parameters", "visible.bias", 1e30),
    "bias of h -1e30": _put("parameters", "hidden.bias", -1e30),
    "weight of another shape": _set("parameters.weight", torch.zeros(1, 1)),
    "weight missing": ("parameters", lambda x: {k: v for k, v in x.items() if k != "weight"}),
    "momentum (1,)": _set(MOMENTUM, torch.zeros(1)),
    "momentum NaN": _fill(MOMENTUM, NAN),
    "momentum text": _set(MOMENTUM, "x"),
    **{f"momentum of {i} -1e30": _fill(MOMENTUM.replace("0", str(i)), -1e30) for i in range(3)},
    "momentum missing": _set("optimizer.state.0", {}),
    "momentum of no parameter": _set("optimizer.state", {99: {"momentum_buffer": torch.zeros(1)}}),
    "optimizer none": _set("optimizer", None),
    "optimizer a list": _set("optimizer", []),
    "groups none": _set("optimizer.param_groups", []),
    "parameters of a group": _set("optimizer.param_groups.0.params", [0, 0, 0]),
    **{
        f"{name} negative": _set(f"optimizer.param_groups.0.{name}", -5)
        for name in ("lr", "initial_lr", "momentum", "dampening", "weight_decay")
    },
    "rate text": _set(RATE, "x"),
    "rate NaN": _set(RATE, NAN),
    "rate infinite": _set(RATE, float("inf")),
    "rate none": _set(RATE, None),
    "rate of 401 digits": _set(RATE, HUGE),
    "rate a list": _set(RATE, [0.1]),
    "maximize text": _set("optimizer.param_groups.0.maximize", "x"),
    "scheduler none": _set("scheduler", None),
    "base_lrs empty": _set("scheduler.base_lrs", []),
    "base_lrs negative": _set("scheduler.base_lrs", [-5]),
    "last rate negative": _set("scheduler._last_lr", [-5.0]),
    "epoch of the scheduler negative": _set("scheduler.last_epoch", -5),
    "steps of the scheduler negative": _set("scheduler._step_count", -5),
    "base_lrs text": _set("scheduler.base_lrs", ["x"]),
    "base_lrs NaN": _set("scheduler.base_lrs", [NAN]),
    "epoch of the scheduler text": _set("scheduler.last_epoch", "x"),
    "epoch of the scheduler of 401 digits": _set("scheduler.last_epoch", HUGE),
    "step of the scheduler": ("scheduler", lambda x: x | {"step": 5}),
    "scheduler without base_lrs": (
        "scheduler",
        lambda x: {name: value for name, value in x.items() if name != "base_lrs"},
    ),
    "generator short": _set("generators.0", torch.zeros(3, dtype=torch.uint8)),
    "generator all 255": _fill("generators.0", 255),
    "generators none": _set("generators", []),
    "history of lists": _set("history", [["a"], ["b"]]),
    "history none": _set("history", None),
    "history text": _set("history", "ab"),
    "history empty records": _set("history", [{}, {}]),
    "history without seconds": _set("history", [{"epoch": 1, "updates": 2}]),
    "updates text": _set("history.1.updates", "x"),
    "updates NaN": _set("history.1.updates", NAN),
    "updates of 401 digits": _set("history.1.updates", HUGE),
    "norm negative": _set("history.1.weight_norm", -1.0),
    "seconds negative": _set("history.1.seconds", -1.0),
    "epochs out of order": _set("history.1.epoch", 7),
    "kinds none": _set("kinds", None),
}

ADAM = "optimizer.state.0.exp_avg"
OF_ADAM: dict[str, Change] = {
    "moment (1,)": _set(ADAM, torch.zeros(1)),
    "moment int64": (ADAM, lambda x: x.long()),
    "moment NaN": _fill(ADAM, NAN),
    "moment missing": ("optimizer.state.0", lambda x: {"step": x["step"]}),
    "step of many": _set("optimizer.state.0.step", torch.zeros(VISIBLE, HIDDEN)),
    "step negative": ("optimizer.state.0.step", lambda x: torch.full_like(x, -5)),
    "squares negative": (
        "optimizer.state.0",
        lambda x: x | {k: -torch.ones_like(v) for k, v in x.items() if k.endswith("_sq")},
    ),
    "betas beyond 1": _set("optimizer.param_groups.0.betas", [0.9, 5.0]),
    "step none": _set("optimizer.state.0.step", None),
    "betas one": _set("optimizer.param_groups.0.betas", [0.9]),
    "betas text": _set("optimizer.param_groups.0.betas", ["x", "y"]),
    "eps none": _set("optimizer.param_groups.0.eps", None),
}

CASES = [("sgd", name) for name in FORGERIES] + [("adam", name) for name in OF_ADAM]


def changed(tree: Any, place: str, change: Callable[[Any], Any]) -> Any:
    """A copy of the tree with one part changed."""
    tree = copy.deepcopy(tree)
    *path, last = [int(key) if key.isdecimal() else key for key in place.split(".")]
    part = tree
    for key in path:
        part = part[key]
    part[last] = change(part[last])
    return tree


@functools.cache
def original(optimizer: str) -> dict[str, Any]:
    """The state at the end of a run."""
    with tempfile.TemporaryDirectory() as folder:
        train(folder, optimizer)
        state = gb.Checkpoints(folder).read()
    assert state is not None
    return state


def attempt(optimizer: str, name: str) -> str:
    """Resume from one forged checkpoint: the name of the typed error, or "accepted"."""
    state = changed(original(optimizer), *{**FORGERIES, **OF_ADAM}[name])
    with tempfile.TemporaryDirectory() as folder:
        gb.Checkpoints(folder).write(EPOCHS, state)
        try:
            train(folder, optimizer, EPOCHS + 2)
        except gb.GibbsiteError as error:
            return type(error).__name__
    return "accepted"
