"""log p(v_observed) by `evaluate`: exact, and annealed within its own error."""

import holes
import pytest
import torch

import gibbsite as gb
from gibbsite import observed
from gibbsite.likelihood import holes as annealing


@pytest.mark.parametrize("name", holes.PAIRS)
def test_exact_and_annealed_sums_agree(name):
    """Unbiased weights: the mean difference stays within five of its standard errors."""
    rbm = holes.model(name)
    v = holes.rows(rbm, 40)
    v[0] = torch.nan
    expected = observed.log_sums(rbm, v).detach()
    sums = annealing.observed_sums(rbm, v)
    torch.testing.assert_close(sums.values, expected)
    assert not sums.errors.any()
    with torch.no_grad():
        found = annealing._annealed(rbm, v, holes.generator(1))
    gap = float((found.values - expected).mean())
    error = float(found.errors.norm()) / len(v)
    assert abs(gap) < 5 * error + 3 * float(found.biases.mean()) + 1e-6
    assert error < 0.01


def test_evaluate_gives_the_exact_values():
    rbm = holes.model("mixed")
    v = holes.rows(rbm, 20)
    result = gb.evaluate(rbm, v)
    torch.testing.assert_close(result.rows, gb.exact.log_likelihood(rbm, v).detach())
    assert result.lower == result.upper == result.log_likelihood
    assert result.verdict == "trustworthy"
    assert gb.evaluate(rbm, v, "exact").log_likelihood == result.log_likelihood


def test_what_cannot_be_summed_is_annealed(monkeypatch):
    rbm = holes.model("bernoulli").float()
    v = holes.rows(rbm, 30)
    v[3] = torch.nan
    expected = gb.exact.log_likelihood(rbm, v).detach()
    monkeypatch.setattr(annealing, "EXACT_STATES", 0)
    result = gb.evaluate(rbm, v, "bridge", temperatures=100, generator=holes.generator())
    assert result.rows[3] == 0
    assert result.stderr > 0
    assert result.optimistic is None
    assert result.lower < float(expected.mean()) < result.upper
    torch.testing.assert_close(result.rows, expected.double(), rtol=0, atol=0.3)


def test_a_bias_is_told(monkeypatch):
    rbm = gb.RBM(gb.Bernoulli(30), gb.Bernoulli(30))
    torch.nn.init.normal_(rbm.weight, std=2.0, generator=holes.generator())
    monkeypatch.setattr(annealing, "TEMPERATURES", 2)
    v = torch.full((5, 30), torch.nan)
    v[:, 0] = 1
    sums = annealing.observed_sums(rbm, v, generator=holes.generator())
    assert "nats a row too low" in next(sums.problems())
    with pytest.raises(gb.TooLargeError):
        annealing.observed_sums(rbm, v, exactly=True)


def test_too_much_to_sum_is_annealed(monkeypatch):
    rbm = holes.model("bernoulli")
    v = holes.rows(rbm, 10)
    monkeypatch.setattr(annealing, "MOST_TERMS", 0)
    assert annealing.observed_sums(rbm, v, generator=holes.generator()).errors.any()
