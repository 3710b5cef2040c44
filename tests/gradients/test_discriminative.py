"""The gradient of log p(y | x), against autograd, finite differences and enumeration."""

import pytest
import torch

import gibbsite as gb
from gibbsite.gradients import Batch, label_log_probabilities
from gibbsite.testing.models import randomize

REST = {
    "bernoulli": lambda: gb.Bernoulli(3),
    "gaussian": lambda: gb.Gaussian(3, sigma=0.8, learn_sigma=True),
    "gaussian per unit": lambda: gb.Gaussian(2, sigma=[0.6, 1.3], learn_sigma=True),
    "poisson": lambda: gb.Poisson(3),
    "whitened": lambda: gb.MultivariateGaussian(torch.eye(2) + 0.3),
    "potts": lambda: gb.Categorical([2, 3]),
}
HIDDEN = {
    "bernoulli": lambda: gb.Bernoulli(4),
    "spin": lambda: gb.Spin(3),
    "relu": lambda: gb.ReLU(2),
    "gaussian": lambda: gb.Gaussian(2, sigma=1.1, learn_sigma=True),
    "drelu": lambda: gb.DReLU(2),
}
PAIRS = [(name, "bernoulli") for name in REST] + [("bernoulli", name) for name in HIDDEN]
PAIRS += [("gaussian", "gaussian")]


def model(rest: str = "bernoulli", hidden: str = "bernoulli", seed: int = 0) -> gb.RBM:
    visible = gb.Mixed(REST[rest](), gb.Categorical(1, 3))
    rbm = randomize(gb.RBM(visible, HIDDEN[hidden]()), seed).double()
    with torch.no_grad():
        rbm.weight.mul_(0.5)
    return rbm


def rows(rbm: gb.RBM, n: int = 7) -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    return rbm.visible.sample(rbm.visible.zero_inputs(n), g).double()


def by_free_energies(rbm: gb.RBM, v: torch.Tensor) -> torch.Tensor:
    """log p(y | x) from the free energy of each completed row."""
    scores = []
    for one_hot in torch.eye(3, dtype=v.dtype):
        full = v.clone()
        full[:, -3:] = one_hot
        scores.append(-rbm.free_energy(full))
    return torch.stack(scores, 1).log_softmax(1)


def flat(gradient) -> torch.Tensor:
    return torch.cat([gradient[name].flatten() for name in sorted(gradient)])


@pytest.mark.parametrize(("rest", "hidden"), PAIRS)
def test_it_is_what_autograd_gives_for_the_weighted_mean_log_probability(rest, hidden):
    rbm = model(rest, hidden)
    v, weights = rows(rbm), torch.linspace(0, 2, 7).double()
    torch.testing.assert_close(label_log_probabilities(rbm, v), by_free_energies(rbm, v))
    true = (by_free_energies(rbm, v) * v[:, -3:]).sum(1)
    names, parameters = zip(*rbm.named_parameters(), strict=True)
    wanted = torch.autograd.grad((weights * true).mean(), parameters, allow_unused=True)
    found, state, info = gb.Discriminative().step(rbm, Batch(v, weights), None)
    assert state is None
    assert set(found) == set(names)
    for name, parameter, value in zip(names, parameters, wanted, strict=True):
        expected = torch.zeros_like(parameter) if value is None else value
        torch.testing.assert_close(found[name], expected, msg=lambda text, name=name: name + text)
    shares = weights / weights.sum()
    torch.testing.assert_close(info.visible, shares @ v)
    torch.testing.assert_close(info.hidden, shares @ rbm.hidden_mean(v).detach())


def test_finite_differences_of_the_enumerated_joint_agree():
    rbm, step = model(), 1e-5
    v = rows(rbm)
    found, *_ = gb.Discriminative().step(rbm, Batch(v), None)

    def objective() -> float:
        joint = [gb.exact.log_likelihood(rbm, torch.cat([v[:, :3], y.expand(7, 3)], 1))
                 for y in torch.eye(3).double()]  # fmt: skip
        own = gb.exact.log_likelihood(rbm, v)
        return float((own - torch.stack(joint).logsumexp(0)).mean())

    for name, parameter in rbm.named_parameters():
        for place in range(parameter.numel()):
            entry = parameter.detach().view(-1)
            with torch.no_grad():
                entry[place] += step
                above = objective()
                entry[place] -= 2 * step
                below = objective()
                entry[place] += step
            slope = (above - below) / (2 * step)
            assert abs(float(found[name].view(-1)[place]) - slope) < 1e-8, name


def test_any_unit_of_few_states_can_be_the_label():
    rbm = randomize(gb.RBM(gb.Categorical([2, 3, 2]), gb.Bernoulli(3)), 0).double()
    v = rows(rbm)
    given = torch.ones(3, dtype=torch.bool)
    given[1] = False
    value = gb.conditional_log_likelihood(rbm, v, given=given)
    odds = label_log_probabilities(rbm, v, 1)
    torch.testing.assert_close((odds * v[:, 2:5]).sum(1), value.rows.to(odds))
    torch.testing.assert_close(label_log_probabilities(rbm, v, -2), odds)


def test_gradients_of_a_model_on_its_own_rows_vanish():
    gradient = gb.Discriminative()
    hybrid = gb.Centered(gb.Hybrid(gb.CD(), weight=0.3))
    rbm = gb.RBM(gb.Mixed(gb.Bernoulli(2), gb.Categorical(1, 3)), gb.Bernoulli(2)).double()
    for estimator in (gradient, hybrid):
        gb.testing.check_gradient(estimator, [rbm])


def test_the_hybrid_is_the_weighted_sum_with_the_state_of_its_chains():
    rbm, hybrid = model(), gb.Hybrid(gb.PCD(chains=5), weight=0.25)
    batch = Batch(rows(rbm))
    start = hybrid.init(rbm, torch.Generator().manual_seed(0))
    found, state, _ = hybrid.step(rbm, batch, start, torch.Generator().manual_seed(1))
    pcd, kept, _ = gb.PCD(chains=5).step(rbm, batch, start, torch.Generator().manual_seed(1))
    own, *_ = gb.Discriminative().step(rbm, batch, None)
    for name, value in found.items():
        torch.testing.assert_close(value, 0.25 * pcd[name] + own[name])
    torch.testing.assert_close(state.v, kept.v)


@pytest.mark.parametrize("unit", [3, -4, 9])
def test_a_unit_that_is_none_or_endless_is_refused(unit):
    rbm = gb.RBM(gb.Mixed(gb.Poisson(2), gb.Categorical(1, 2)), gb.Bernoulli(2))
    v = torch.tensor([[1.0, 0, 1, 0]])
    with pytest.raises(gb.ArgumentError, match=f"unit={unit}"):
        gb.Discriminative(unit).step(rbm, Batch(v), None)
    with pytest.raises(gb.ArgumentError, match="finite number of states"):
        label_log_probabilities(rbm, v, 0)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_cannot_be_one_is_refused(weight):
    with pytest.raises(gb.ArgumentError, match="weight"):
        gb.Hybrid(gb.PCD(), weight=weight)
