"""Conditionals: one sweep, at a temperature a row, from a base, with clamped units.

Stationarity from exact starts: every chain begins as an independent draw of the distribution that
sweeps are to leave invariant, the conditional one where units are clamped, and must end as one.
"""

import math

import numpy as np
import pytest
import torch
from montecarlo import assert_mean, state_numbers, total_variation, tv_floor
from oracle import Case, bernoulli_case, gaussian_case, random_rbm

import gibbsite as gb
from gibbsite.sampling import Conditionals, check_clamp

CHAINS = 100_000
BINARY = bernoulli_case(0)
REAL = gaussian_case([0.6, 1.3], learn_sigma=True)
NAN = math.nan

BASE = (
    torch.tensor([1.0, -1.0, 1.0, -1.0]).double(),
    torch.tensor([2.0, -2.0, 2.0]).double(),
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def swept(model: Conditionals, v: torch.Tensor, sweeps: int, beta=1.0) -> torch.Tensor:
    g = generator(1)
    with torch.no_grad():
        for _ in range(sweeps):
            v, _ = model.sweep(v, g, beta)
    return v


def p_v(case: Case, beta: float = 1.0, base=None) -> np.ndarray:
    """p(v) at beta over all binary v, from the definition of the path."""
    f, g = (torch.zeros(4), torch.zeros(3)) if base is None else base
    linear = (case.v @ f.numpy())[:, None] + case.h @ g.numpy()
    table = (1 - beta) * linear - case.energy(case.v, case.theta | {"weight": beta * case.w})
    p = np.exp(table - table.max()).sum(1)
    return p / p.sum()


def given(case: Case, p: np.ndarray, pattern: torch.Tensor) -> np.ndarray:
    """p(v) given that the entries of v that are not NaN in the pattern have its values."""
    known = ~np.isnan(pattern.numpy())
    fits = (case.v[:, known] == pattern.numpy()[known]).all(1)
    return p * fits / (p * fits).sum()


def draws(case: Case, p: np.ndarray, n: int, seed: int = 0) -> torch.Tensor:
    rows = torch.multinomial(torch.from_numpy(p), n, True, generator=generator(seed))
    return torch.from_numpy(case.v)[rows]


def far(v: torch.Tensor, p: np.ndarray) -> float:
    """Total variation over its floor: below 1 for draws of p."""
    return total_variation(state_numbers(v), p) / tv_floor(p, len(v))


# inverse temperatures


@pytest.mark.parametrize("base", [None, BASE])
@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_sweeps_leave_p_at_beta_invariant(base, beta):
    p = p_v(BINARY, beta, base)
    v = swept(Conditionals(BINARY.rbm, base), draws(BINARY, p, CHAINS), 2, beta)
    assert far(v, p) < 1


@pytest.mark.parametrize("base", [None, BASE])
def test_rows_at_temperatures_of_their_own_keep_each_its_distribution(base):
    betas = [0.0, 0.4, 1.0]
    tables = [p_v(BINARY, beta, base) for beta in betas]
    n = CHAINS // 3
    start = torch.cat([draws(BINARY, p, n, seed) for seed, p in enumerate(tables)])
    rows = torch.tensor(betas).double().repeat_interleave(n)[:, None]
    model = Conditionals(BINARY.rbm, base)
    for v, p in zip(swept(model, start, 2, rows).split(n), tables, strict=True):
        assert far(v, p) < 1
    for v, p in zip(swept(model, start, 2, rows.flip(0))[: 2 * n].split(n), tables, strict=False):
        if p is tables[0]:
            assert far(v, p) > 1  # at the temperatures of others they go astray


@pytest.mark.parametrize("base", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("visible", [gb.Bernoulli, lambda n: gb.Gaussian(n, sigma=0.7)])
def test_a_temperature_a_row_is_one_by_one(visible, dtype, base):
    """Row by row the numbers of a sweep of all rows at the temperature of that row."""
    rbm = random_rbm(visible(5), 4, 0).to(dtype).requires_grad_(False)
    v = rbm.visible.sample(rbm.visible.zero_inputs(7), generator(3))
    f, g = torch.linspace(-1, 1, 5, dtype=dtype), torch.linspace(2, -2, 4, dtype=dtype)
    model = Conditionals(rbm, (f, g) if base else None)
    betas = torch.tensor([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0], dtype=dtype)
    with torch.no_grad():
        together = model.sweep(v, generator(1), betas[:, None])
        for row, beta in enumerate(betas.tolist()):
            alone = model.sweep(v, generator(1), beta)
            for ours, theirs in zip(together, alone, strict=True):
                torch.testing.assert_close(ours[row], theirs[row])


def test_a_base_of_zero_is_none():
    zero = torch.zeros(4).double(), torch.zeros(3).double()
    v = torch.from_numpy(BINARY.v)
    for beta in (0.3, 1.0):
        ours = swept(Conditionals(BINARY.rbm, zero), v, 3, beta)
        assert torch.equal(ours, swept(Conditionals(BINARY.rbm), v, 3, beta))


def test_inputs_are_those_of_the_model():
    for case in (BINARY, REAL):
        v, h = torch.from_numpy(case.data), torch.from_numpy(case.h)
        model = Conditionals(case.rbm)
        torch.testing.assert_close(model.hidden_inputs(v), case.rbm.hidden_inputs(v))
        torch.testing.assert_close(model.visible_inputs(h), case.rbm.visible_inputs(h))
        out = torch.empty(len(h), case.rbm.visible.width).double()
        assert model.visible_inputs(h, out) is out
        torch.testing.assert_close(out, case.rbm.visible_inputs(h))


# clamped units

PATTERNS = [
    torch.tensor(pattern).double()
    for pattern in ([NAN, 1, NAN, 0], [1, NAN, NAN, NAN], [0, 1, 1, NAN], [NAN] * 4, [1, 0, 0, 1])
]


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_sweeps_leave_p_given_the_clamped_units_invariant(pattern):
    p = given(BINARY, p_v(BINARY), pattern)
    model = Conditionals(BINARY.rbm, clamp=pattern[None])
    v = swept(model, draws(BINARY, p, CHAINS), 3)
    assert far(v, p) < 1
    known = ~torch.isnan(pattern)
    assert (v[:, known] == pattern[known]).all()


def test_clamping_only_at_the_end_is_noticed():
    """Free units that were drawn given others than the clamped ones follow another law."""
    pattern = PATTERNS[0]
    p = given(BINARY, p_v(BINARY), pattern)
    v = swept(Conditionals(BINARY.rbm), draws(BINARY, p, CHAINS), 3)
    clamped = Conditionals(BINARY.rbm, clamp=pattern[None]).clamped(v)
    assert far(clamped, p) > 1


@pytest.mark.parametrize("base", [None, BASE])
def test_rows_are_clamped_each_at_its_own_units_and_temperature(base):
    n, betas = 30_000, [1.0, 0.6, 0.3, 0.0, 0.8]
    tables = [
        given(BINARY, p_v(BINARY, beta, base), pattern)
        for beta, pattern in zip(betas, PATTERNS, strict=True)
    ]
    start = torch.cat([draws(BINARY, p, n, seed) for seed, p in enumerate(tables)])
    clamp = torch.stack(PATTERNS).repeat_interleave(n, 0)
    rows = torch.tensor(betas).double().repeat_interleave(n)[:, None]
    v = swept(Conditionals(BINARY.rbm, base, clamp), start, 3, rows)
    for part, p in zip(v.split(n), tables, strict=True):
        assert far(part, p) < 1


def test_the_hidden_units_are_drawn_given_the_clamped_ones():
    """The pair that a sweep gives follows p(v, h) given the clamped units."""
    pattern = PATTERNS[0]
    p = given(BINARY, p_v(BINARY), pattern)
    joint = p[:, None] * BINARY.h_given(BINARY.v)
    with torch.no_grad():
        v, h = Conditionals(BINARY.rbm, clamp=pattern[None]).sweep(
            draws(BINARY, p, CHAINS), generator(1)
        )
    numbers = state_numbers(v) * 8 + state_numbers(h)
    assert total_variation(numbers, joint.ravel()) < tv_floor(joint.ravel(), CHAINS)


@pytest.mark.parametrize(("unit", "value"), [(0, 1.7), (1, -0.8)])
def test_real_units_keep_their_law_given_a_clamped_one(unit, value):
    """Moments of the free unit, and p(h), against the mixture of Gaussians that they follow."""
    free = 1 - unit
    sigma, b, w = REAL.sigma, REAL.b, REAL.w
    # p(h | v_unit), with the free unit integrated out: exp(-(E_h - s_unit W h) + log Z_free(h))
    inputs = REAL.h @ w.T
    log_p = REAL.h @ REAL.c + value / sigma[unit] * inputs[:, unit]
    log_p += b[free] / sigma[free] * inputs[:, free] + inputs[:, free] ** 2 / 2
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    means = b[free] + sigma[free] * inputs[:, free]
    g = generator()
    rows = torch.multinomial(torch.from_numpy(p), CHAINS, True, generator=g)
    noise = torch.randn(CHAINS, generator=g, dtype=torch.float64)
    start = torch.full((CHAINS, 2), value).double()
    start[:, free] = torch.from_numpy(means)[rows] + sigma[free] * noise
    clamp = torch.full((1, 2), NAN).double()
    clamp[0, unit] = value
    model = Conditionals(REAL.rbm, clamp=clamp)
    v = swept(model, start, 3)
    assert (v[:, unit] == value).all()
    mean = p @ means
    x = v[:, free].numpy()
    assert_mean(
        np.stack([x, (x - mean) ** 2], 1), [mean, p @ (means - mean) ** 2 + sigma[free] ** 2]
    )
    with torch.no_grad():
        h = model.draw_hidden(model.hidden_inputs(v), generator(2))
    assert total_variation(state_numbers(h), p) < tv_floor(p, CHAINS)


def test_one_row_of_clamps_stands_for_all():
    v = torch.from_numpy(BINARY.v)
    one = swept(Conditionals(BINARY.rbm, clamp=PATTERNS[0][None]), v, 2)
    all_rows = swept(Conditionals(BINARY.rbm, clamp=PATTERNS[0].expand(len(v), 4)), v, 2)
    assert torch.equal(one, all_rows)


def test_free_units_alone_are_no_clamp():
    v = torch.from_numpy(BINARY.v)
    free = Conditionals(BINARY.rbm, clamp=torch.full((1, 4), NAN))
    assert torch.equal(swept(free, v, 2), swept(Conditionals(BINARY.rbm), v, 2))


def test_all_units_clamped_stay():
    v = torch.from_numpy(BINARY.v)
    assert torch.equal(swept(Conditionals(BINARY.rbm, clamp=v), 1 - v, 1), v)


@pytest.mark.parametrize("clamp", [[[math.inf, 0, 0, 0]], [[0, 0, NAN, -math.inf]]])
def test_infinite_clamps_are_refused(clamp):
    with pytest.raises(gb.DataError, match="infinity are not data"):
        check_clamp(BINARY.rbm, torch.tensor(clamp))


def test_clamps_of_another_width_are_refused():
    with pytest.raises(gb.DataError, match="3 columns"):
        check_clamp(BINARY.rbm, torch.zeros(1, 3))


@pytest.mark.parametrize("clamped", [None, PATTERNS[0]])
def test_the_generator_decides(clamped):
    clamp = None if clamped is None else clamped[None]
    v = torch.from_numpy(BINARY.v)
    before = torch.get_rng_state()
    first, again = (swept(Conditionals(BINARY.rbm, clamp=clamp), v, 2) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(v, torch.from_numpy(BINARY.v))


@pytest.mark.parametrize(
    ("layer", "clamp", "message"),
    [
        (lambda: gb.Bernoulli(2), [[2.0, math.nan]], r"2 at row 1.*\[0, 1\]"),
        (lambda: gb.Spin(2), [[0.5, math.nan]], "0.5 at row 1"),
        (lambda: gb.Categorical(1, 3), [[1.0, math.nan, math.nan]], "unit 1 .* only"),
        (lambda: gb.Categorical(1, 3), [[1.0, 1.0, 0.0]], "2 ones for unit 1"),
    ],
)
def test_clamps_that_no_unit_can_be_in_are_refused(layer, clamp, message):
    rbm = gb.RBM(layer(), gb.Bernoulli(2))
    with pytest.raises(gb.DataError, match=message):
        check_clamp(rbm, torch.tensor(clamp))


def test_temperatures_of_another_shape_are_refused():
    rbm = gb.RBM(gb.Bernoulli(2), gb.Bernoulli(2))
    with pytest.raises(gb.ArgumentError, match=r"beta of shape \(2,\): expected \(2, 1\)"):
        Conditionals(rbm).sweep(torch.zeros(2, 2), beta=torch.ones(2))
