"""Gradients of rows with missing entries: unbiased at stationarity, and what recovers a model."""

import math

import holes
import pytest
import torch
from oracle import agree

import gibbsite as gb
from gibbsite import observed
from gibbsite.gradients import Batch, Info
from gibbsite.gradients.missing import MarginalisedState
from gibbsite.testing.gradients import student_quantile

BATCHES, ROWS = 40, 50


class Positive:
    """The positive phase alone."""

    def init(self, rbm, generator=None):
        return None

    def step(self, rbm, batch, state, generator=None):
        return rbm.data_phase(batch.v, batch.shares), None, Info(batch.v.mean(0), batch.v.mean(0))


def excess(rbm: gb.RBM, gradient: gb.Marginalised, entries_of) -> torch.Tensor:
    """Positive phases by clamped chains less the exact one of all rows, (BATCHES, parameters)."""
    g, found = holes.generator(3), []
    full = gb.exact.sample(rbm, BATCHES * ROWS, g)
    units = torch.rand(len(full), rbm.visible.n, generator=g) < 0.5
    v = holes.with_holes(rbm, full, units)
    exact = observed.phase(rbm, v).gradient
    for rows in torch.arange(len(v)).split(ROWS):
        known = ~v[rows].isnan()
        ends = (~known).sum(1).cumsum(0)
        own = gb.Marginalised(Positive(), gradient.steps, starts=torch.cat([ends[:1] * 0, ends]))
        state = MarginalisedState(None, entries_of(full[rows])[~known])
        batch = Batch(v[rows], None, known, torch.arange(ROWS))
        phase, _, _ = own.step(rbm, batch, state, g)
        found.append(torch.cat([(phase[name] - exact[name]).flatten() for name in exact]))
    return torch.stack(found).detach()


def largest(draws: torch.Tensor) -> float:
    """The largest mean, over what a mean of zero stays within."""
    limit = student_quantile(draws.shape[1], len(draws) - 1) * draws.std(0) / math.sqrt(len(draws))
    return float((draws.mean(0).abs() / (limit + 1e-9)).max())


@pytest.mark.parametrize("name", holes.PAIRS)
def test_the_positive_phase_is_unbiased_at_stationarity(name):
    """Chains that start at exact draws of the missing entries stay there."""
    rbm = holes.model(name)
    assert largest(excess(rbm, gb.Marginalised(Positive()), lambda full: full)) < 1


def test_chains_that_ignore_the_observed_entries_are_noticed():
    rbm = holes.model("bernoulli")

    class Wrong(gb.Bernoulli):
        def clamped(self, x, values):
            return torch.where(values.isnan(), 1.0, values)

    rbm.visible.__class__ = Wrong
    assert largest(excess(rbm, gb.Marginalised(Positive()), lambda full: full)) > 1


def test_chains_from_elsewhere_get_there_with_more_steps():
    """From ones, whatever the rest of the row."""
    rbm, start = holes.model("bernoulli"), torch.ones(ROWS, 3).double()
    assert largest(excess(rbm, gb.Marginalised(Positive(), steps=20), lambda _: start)) < 1


@pytest.mark.parametrize("name", ["bernoulli", "gaussian", "multivariate-gaussian", "mixed"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_exact_gradient_sums_over_holes(name, weighted):
    rbm = holes.model(name)
    v, weights = holes.rows(rbm, 6), torch.arange(6).double() / 2.5
    repeated = v[torch.arange(6).repeat_interleave(torch.arange(6))]
    expected = gb.exact.gradient(rbm, repeated if weighted else v)
    batch = Batch(v.nan_to_num(7.0), weights if weighted else None, ~v.isnan())
    found, _, info = gb.ExactGradient().step(rbm, batch, None)
    for key, value in found.items():
        agree(value.numpy(), expected[key].numpy())
    assert torch.isfinite(torch.cat(info)).all()


def test_estimators_that_cannot_say_so():
    batch = Batch(torch.zeros(2, 3), observed=torch.tensor([[True, False, True]] * 2))
    rbm = gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2))
    for gradient in (gb.CD(), gb.PCD(5), gb.FPCD(5), gb.MeanField(), gb.Centered(gb.CD())):
        with pytest.raises(gb.ArgumentError, match=r"gb\.Marginalised"):
            gradient.step(rbm, batch, gradient.init(rbm))


def test_without_row_numbers_chains_start_afresh():
    rbm, g = holes.model("bernoulli"), holes.generator()
    v = holes.rows(rbm, 200)
    gradient = gb.Marginalised(gb.PCD(10), steps=5)
    found, state, info = gradient.step(rbm, Batch(v, observed=~v.isnan()), gradient.init(rbm, g), g)
    assert state.entries is None
    assert torch.isfinite(found["weight"]).all()
    assert torch.isfinite(info.visible).all()


def truth() -> gb.RBM:
    rbm = gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2)).double()
    with torch.no_grad():
        rbm.weight.copy_(torch.tensor([[2.0, -1.5], [-2.0, 1.0], [1.5, 2.0]]))
        rbm.visible.bias.copy_(torch.tensor([-0.5, 0.3, -1.0]))
    return rbm


def missing_at_random(n: int) -> torch.Tensor:
    """Rows of the truth; what misses of columns 2 and 3 depends on column 1, which is known."""
    g = holes.generator(5)
    v = gb.exact.sample(truth(), n, g)
    rate = torch.where(v[:, :1] == 1, 0.75, 0.25)
    v[:, 1:][torch.rand(n, 2, generator=g) < rate] = torch.nan
    return v


def fitted(rows: torch.Tensor) -> torch.Tensor:
    """p(v) of all states by exact training on the distinct rows, weighted by their number."""
    distinct, counts = torch.unique(rows.nan_to_num(9.0), dim=0, return_counts=True)
    distinct[distinct == 9.0] = torch.nan
    rbm = gb.RBM(gb.Bernoulli(3), gb.Bernoulli(2)).double()
    optimizer = torch.optim.Adam(rbm.parameters(), lr=0.1)
    gb.fit(rbm, distinct, weights=counts, gradient=gb.ExactGradient(), optimizer=optimizer,
           epochs=120, batch_size=len(distinct), generator=holes.generator())  # fmt: skip
    return probabilities(rbm)


def probabilities(rbm: gb.RBM) -> torch.Tensor:
    return gb.exact.log_likelihood(rbm, rbm.visible.states(0, 8)).detach().exp()


def test_half_of_the_entries_missing_at_random_bias_complete_cases_and_not_this():
    rows, p = missing_at_random(4000), probabilities(truth())
    assert 0.4 < rows[:, 1:].isnan().double().mean() < 0.6
    ones = truth().visible.states(0, 8)[:, 0]
    ours, complete = fitted(rows), fitted(rows[~rows.isnan().any(1)])
    error = 5 * math.sqrt(float(ones @ p) * float(1 - ones @ p) / len(rows))
    assert abs(float(ones @ (ours - p))) < error
    assert abs(float(ones @ (complete - p))) > 5 * error

    n = int((~rows.isnan().any(1)).sum())  # at least so much is known of every probability
    assert n * float(((ours - p) ** 2 / p).sum()) < 40.5  # by chance 1e-6, 7 degrees of freedom
