"""Models of every unit type, rows of theirs with holes, and sums over the holes by brute force."""

from __future__ import annotations

import itertools

import torch

import gibbsite as gb
from gibbsite.testing.models import randomize

FACTOR = [[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [0.2, -0.3, 0.8]]
VISIBLE = {
    "bernoulli": lambda: gb.Bernoulli(3),
    "spin": lambda: gb.Spin(3),
    "categorical": lambda: gb.Categorical([2, 3, 4]),
    "binomial": lambda: gb.Binomial(3, trials=2),
    "poisson": lambda: gb.Poisson(3),
    "gaussian": lambda: gb.Gaussian(3, learn_sigma=True),
    "relu": lambda: gb.ReLU(3),
    "drelu": lambda: gb.DReLU(3),
    "truncated-exponential": lambda: gb.TruncatedExponential(3),
    "multivariate-gaussian": lambda: gb.MultivariateGaussian(FACTOR, learn_scale=True),
    "mixed": lambda: gb.Mixed(gb.Categorical([3]), gb.Gaussian(1), gb.Bernoulli(1)),
}
PAIRS = {name: (make, lambda: gb.Bernoulli(2)) for name, make in VISIBLE.items()} | {
    "real hidden": (lambda: gb.Bernoulli(3), lambda: gb.Gaussian(2)),
    "side by side": (
        lambda: gb.Mixed(gb.MultivariateGaussian(torch.tensor(FACTOR)[:2, :2]), gb.Bernoulli(1)),
        lambda: gb.Bernoulli(2),
    ),
}


def model(name: str, seed: int = 1) -> gb.RBM:
    """A small model in float64, at random."""
    visible, hidden = PAIRS[name]
    return randomize(gb.RBM(visible(), hidden()).double(), seed)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def with_holes(rbm: gb.RBM, v: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
    """v with NaN in the columns of the units that are true, (rows, n)."""
    v = v.clone()
    for unit in range(rbm.visible.n):
        v[units[:, unit], rbm.visible.unit_columns(unit)] = torch.nan
    return v


def rows(rbm: gb.RBM, n: int, share: float = 0.5, seed: int = 0) -> torch.Tensor:
    """n draws from the model, of which a share of the entries, two a row at most, is missing."""
    g = generator(seed)
    v = gb.exact.sample(rbm, n, g)
    units = torch.rand(n, rbm.visible.n, generator=g) < share
    units[units.all(1), 0] = False
    return with_holes(rbm, v, units)


def brute_log_p(rbm: gb.RBM, row: torch.Tensor) -> torch.Tensor:
    """log p*(v_observed) of one row: the sum of exp(-F) over all points of the missing units."""
    visible, reach = rbm.visible, float(rbm.weight.detach().abs().sum(1).max())
    columns = [visible.unit_columns(unit) for unit in range(visible.n)]
    missing = [unit for unit in range(visible.n) if bool(row[columns[unit]].isnan().any())]
    with torch.no_grad():
        grids = [visible.unit_states(unit, reach) for unit in missing]
    places = list(itertools.product(*(range(len(points)) for points, _ in grids)))
    full, log_weights = row.repeat(len(places), 1), row.new_zeros(len(places))
    for k, (unit, (points, weights)) in enumerate(zip(missing, grids, strict=True)):
        index = torch.tensor([place[k] for place in places])
        full[:, columns[unit]] = points[index]
        log_weights = log_weights + weights[index]
    return torch.logsumexp(log_weights - rbm.free_energy(full), 0)
