"""Names of gradients, optimisers and devices: the same objects and errors for both front ends."""

import numpy as np
import pytest
import torch

import gibbsite as gb
from gibbsite.cli.job import Job
from gibbsite.cli.settings import Settings
from gibbsite.training import SGD, polynomial_decay
from gibbsite.training.named import (
    DeviceName,
    GradientName,
    OptimizerName,
    ScheduleName,
    make_device,
    make_gradient,
    make_optimizer,
    make_schedule,
)

GRADIENTS = {
    "pcd": gb.PCD(chains=7, steps=3),
    "fpcd": gb.FPCD(chains=7, steps=3),
    "noise-cd": gb.NoiseCD(chains=7, steps=3),
    "cd": gb.CD(steps=3),
    "mean-field": gb.MeanField(steps=3),
    "exact": gb.ExactGradient(),
}


@pytest.mark.parametrize("name", GradientName)
def test_a_gradient_by_name(name):
    assert make_gradient(name, 7, 3, False) == GRADIENTS[name]
    assert make_gradient(name.value, 7, 3, True) == gb.Centered(GRADIENTS[name])


def test_an_optimizer_by_name():
    rbm = gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2))
    sgd, adam = (make_optimizer(name, rbm.parameters(), 0.2, 0.7) for name in OptimizerName)
    assert isinstance(sgd, SGD)
    assert isinstance(adam, torch.optim.Adam)
    assert (sgd.defaults["lr"], sgd.defaults["momentum"]) == (0.2, 0.7)
    assert adam.defaults["lr"] == 0.2


def test_a_schedule_by_name():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    made = [make_schedule(name, optimizer, 4) for name in ScheduleName]
    assert [made[0].lr_lambdas[0](epoch) for epoch in range(6)] == [1, 0.75, 0.5, 0.25, 0.25, 0.25]
    assert [made[1].lr_lambdas[0](epoch) for epoch in range(4)] == [1, 0.5625, 0.25, 0.0625]
    assert made[2] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [({"epochs": 0}, "epochs=0"), ({"power": -1}, "power=-1"), ({"power": np.nan}, "power=nan")],
)
def test_a_power_that_is_none(options, message):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    with pytest.raises(gb.ArgumentError, match=f"^{message}: expected"):
        polynomial_decay(optimizer, **{"epochs": 3} | options)


@pytest.mark.parametrize(
    ("found", "kinds"),
    [
        (True, {"auto": "cuda", "cpu": "cpu", "cuda": "cuda"}),
        (False, {"auto": "cpu", "cpu": "cpu"}),
    ],
)
def test_a_device_by_name(monkeypatch, found, kinds):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    made = {name: make_device(name).type for name in DeviceName if found or name != "cuda"}
    assert made == kinds


def test_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(gb.ArgumentError, match=r"^device='cuda': this machine has no CUDA device"):
        make_device("cuda")


@pytest.mark.parametrize(
    ("option", "names"),
    [("gradient", GradientName), ("schedule", ScheduleName), ("device", DeviceName)],
    ids=str,
)
def test_both_front_ends_refuse_another_name_alike(option, names):
    message = f"^{option}='new': expected one of {', '.join(names)}$"
    with pytest.raises(gb.ArgumentError, match=message):
        Job(Settings("bars-and-stripes", **{option: "new"}))
    with pytest.raises(gb.ArgumentError, match=message):
        gb.BernoulliRBM(2, **{option: "new"}).fit(np.eye(3))
