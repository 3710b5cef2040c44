"""Signed weights, weights of rows, constant inputs, centring: by enumeration and differences."""

import copy

import numpy as np
import pytest
import torch
from oracle import Case, agree, bernoulli_case, derivative, gaussian_case

import gibbsite as gb
from gibbsite.gradients import Batch
from gibbsite.gradients.centered import center

NAMES = ["weight", "visible.bias", "hidden.bias"]


CASES = {
    "binary": bernoulli_case(0),
    "shared sigma": gaussian_case(0.7, learn_sigma=False),
    "a sigma a unit": gaussian_case([0.6, 1.3], learn_sigma=False),
}


@pytest.fixture(params=CASES)
def case(request) -> Case:
    return CASES[request.param]


def scale(case: Case) -> np.ndarray:
    """How far a visible bias moves for an input of 1."""
    return case.sigma if "visible.log_sigma" in case.theta else np.ones(len(case.b))


def statistic(case: Case, v: np.ndarray) -> np.ndarray:
    return v / scale(case)


def log_p_gradient(case: Case, name: str) -> np.ndarray:
    """Of each row of data, by differences, (*parameter, rows)."""
    return case.d_log_p(name, case.data)


def test_gibbsite_13_1_both_phases_in_one_sum(case):
    """Gibbsite (13.1): all states of the model with p_D(v) - p(v), in one call."""
    rows = np.concatenate([case.data, case.v])
    n = len(case.data)
    weights = torch.from_numpy(np.concatenate([np.full(n, 1 / n), -case.cell * case.p_v]))
    found = case.rbm.data_phase(torch.from_numpy(rows), weights)
    for name in NAMES:
        agree(found[name], log_p_gradient(case, name).mean(-1))


def test_gibbsite_13_2_weights_of_rows(case):
    """Gibbsite (13.2): the gradient of a weighted mean; in a batch, of a sum that is not 1."""
    w = np.random.default_rng(0).uniform(0.2, 2.0, len(case.data))
    v = torch.from_numpy(case.data)
    for weights in (w / w.mean(), w):  # of all the data, and of a batch of it
        batch = Batch(v, torch.from_numpy(weights))
        if "visible.log_sigma" in case.theta:
            found, model = case.rbm.data_phase(v, batch.shares), gb.exact.model_phase(case.rbm)
            found = {name: found[name] - batch.total() * model[name] for name in NAMES}
        else:
            found, _, _ = gb.ExactGradient().step(case.rbm, batch, None)
        for name in NAMES:
            agree(found[name], (log_p_gradient(case, name) * weights).mean(-1))
    whole = np.array([2.0, 1.0, 3.0] + [0.0] * (len(case.data) - 3))
    repeated = np.repeat(case.data, whole.astype(int), 0)
    for name in NAMES:
        sums = (log_p_gradient(case, name) * whole).sum(-1)
        agree(case.d_log_p(name, repeated).sum(-1), sums)


def layers() -> list[gb.layers.Layer]:
    made = gb.Bernoulli(2), gb.Gaussian(2, [0.6, 1.3]), gb.ReLU(2), gb.DReLU(2), gb.Poisson(2)
    g = torch.Generator().manual_seed(0)
    for layer in made:
        layer.double()
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.copy_(0.5 * torch.randn(2, generator=g, dtype=torch.float64))
    return list(made)


@pytest.mark.parametrize("layer", layers(), ids=lambda layer: layer.describe())
def test_gibbsite_13_3_constant_inputs(layer):
    """Gibbsite (13.3): A of the moved biases less A of moved inputs is the same for all inputs."""
    rng = np.random.default_rng(1)
    u, inputs = torch.from_numpy(rng.normal(size=2)), torch.from_numpy(rng.normal(size=(6, 2)))
    moved = copy.deepcopy(layer)
    moved.shift_(u)
    with torch.no_grad():
        difference = moved.log_partition(inputs) - layer.log_partition(inputs + u)
        agree(difference, difference[:1].expand(6))
        agree(moved.mean(inputs), layer.mean(inputs + u))


def test_gibbsite_13_4_gradient_by_constant_inputs(case):
    """Gibbsite (13.4): differences of log p in u, the chain rule, and means of statistics."""

    def log_p(u: np.ndarray) -> np.ndarray:
        data, model = (
            np.exp((statistic(case, v) @ u)[:, None] - case.energy(v)).sum(1)
            for v in (case.data, case.v)
        )
        return np.log(data) - np.log(case.cell * model.sum())

    slopes = derivative(log_p, np.zeros(len(case.b))).mean(-1)
    model = case.cell * case.p_v @ statistic(case, case.v)
    agree(statistic(case, case.data).mean(0) - model, slopes)
    own = {"bias": torch.from_numpy(log_p_gradient(case, "visible.bias").mean(-1))}
    agree(case.rbm.visible.input_gradient(own), slopes)


def centred_log_p(case: Case, theta: dict[str, np.ndarray], mu, lam) -> np.ndarray:
    """log p of the data, of a model with centred interaction, by its own energy."""
    w, b, c = (theta[name] for name in NAMES)

    def energy(v: np.ndarray) -> np.ndarray:
        own = -(v @ b)
        if "visible.log_sigma" in case.theta:
            own = 0.5 * (((v - b) / case.sigma) ** 2).sum(1)
        coupling = (statistic(case, v) - mu) @ w @ (case.h - lam).T
        return own[:, None] - coupling - case.h @ c

    z = case.cell * np.exp(-energy(case.v)).sum()
    return np.log(np.exp(-energy(case.data)).sum(1)) - np.log(z)


def offsets(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Means of v and h to centre by, any."""
    rng = np.random.default_rng(2)
    return rng.uniform(0.1, 0.9, len(case.b)), rng.uniform(0.1, 0.9, len(case.c))


def exact_gradient(case: Case) -> dict[str, np.ndarray]:
    return {name: log_p_gradient(case, name).mean(-1) for name in NAMES}


def directed(case: Case, gradient: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The library's centred direction."""
    tensors = {name: torch.from_numpy(value.copy()) for name, value in gradient.items()}
    center(case.rbm, tensors, *map(torch.from_numpy, offsets(case)))
    return {name: value.numpy() for name, value in tensors.items()}


def test_gibbsite_13_5_centred_direction(case):
    """Gibbsite (13.5): a step of the centred model, carried back to b and c by differences."""
    mean, lam = offsets(case)
    mu, s = statistic(case, mean), scale(case)
    w = case.w
    centred = {"weight": w, "visible.bias": case.b + s * (w @ lam), "hidden.bias": case.c + mu @ w}
    agree(centred_log_p(case, centred, mu, lam), case.log_p(case.data))
    step = {
        name: derivative(
            lambda x, name=name: centred_log_p(case, centred | {name: x}, mu, lam), centred[name]
        ).mean(-1)
        for name in NAMES
    }
    change = {
        "weight": step["weight"],
        "visible.bias": step["visible.bias"] - s * (step["weight"] @ lam),
        "hidden.bias": step["hidden.bias"] - mu @ step["weight"],
    }
    found = directed(case, exact_gradient(case))
    for name in NAMES:
        agree(found[name], change[name])


def test_gibbsite_13_5_centred_direction_points_uphill(case):
    """Gibbsite (13.5): a linear map of the gradient, symmetric and positive definite."""
    shapes = {name: case.theta[name].shape for name in NAMES}
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
    columns = []
    for unit in np.eye(ends[-1]):
        parts = np.split(unit, ends[:-1])
        gradient = {name: x.reshape(shapes[name]) for name, x in zip(NAMES, parts, strict=True)}
        columns.append(np.concatenate([x.ravel() for x in directed(case, gradient).values()]))
    matrix = np.array(columns)
    agree(matrix, matrix.T)
    assert np.linalg.eigvalsh(matrix).min() > 0
    agree(np.linalg.slogdet(matrix)[1], 0.0)  # J is triangular, with ones on its diagonal
