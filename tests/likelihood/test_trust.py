"""A short form of `benchmarks/likelihood.py trust`: what is called trustworthy is right."""

import pytest
from planted import Planted, generator, planted

import gibbsite as gb

FAMILIES: dict[str, list[Planted]] = {}
for case in planted():
    FAMILIES.setdefault(case.family, []).append(case)
SHORT = {name: cases[:: max(1, len(cases) // 6)][:6] for name, cases in FAMILIES.items()}


@pytest.mark.parametrize("family", SHORT)
def test_trusted_figures_are_right(family, monkeypatch):
    monkeypatch.setattr(gb.exact, "EXACT_STATES", 0)  # as in models too large to enumerate
    for seed, case in enumerate(SHORT[family]):
        result = gb.log_partition(
            case.rbm, data=case.data, temperatures=200, generator=generator(seed)
        )
        if result.verdict == "trustworthy":
            assert result.lower - 0.1 <= case.log_z <= result.upper + 0.1, (family, seed)
