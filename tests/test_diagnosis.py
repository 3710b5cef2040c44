"""Certificates: kept with the model they are of, refused if forged, followed by samplers."""

import copy
import dataclasses
import json
import logging
import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import gibbsite as gb
from gibbsite.diagnosis import Course, Diagnosis, Mixing, fingerprint
from gibbsite.sampling import Gibbs, certificate_of, certified_sampler


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model() -> gb.RBM:
    rbm = gb.RBM(gb.Bernoulli(6), gb.Bernoulli(3))
    with torch.no_grad():
        rbm.weight.copy_(torch.randn(6, 3, generator=seeded()))
    return rbm


def certificate(rbm: gb.RBM, kind="equilibrium", sampler="Gibbs", steps=40, **options) -> Diagnosis:
    mixing = Mixing("Gibbs", 100, 16, 1.5, 4.0, 2, 1.0, math.inf, 1.0, 0.1, 0.1, 0.2)
    course = Course((1, 2), ("noise",), ((0.5, 0.25),), (0.5, 0.125), (0.1, 0.1), "chains")
    if sampler == "Tempering":
        options = {"betas": (0.0, 0.5, 1.0), "means": ((0.5,) * 6, (0.5,) * 3)} | options
    return Diagnosis(kind, sampler, steps, fingerprint(rbm), (mixing,), course, **options)


def test_a_certificate_comes_back_with_its_model(tmp_path):
    rbm = model()
    rbm.certificate = certificate(rbm, sampler="Tempering")
    gb.save(rbm, tmp_path / "m.safetensors")
    assert gb.load(tmp_path / "m.safetensors").certificate == rbm.certificate
    assert copy.deepcopy(rbm).certificate == rbm.certificate
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        json.loads(file.metadata()["gibbsite"], parse_constant=pytest.fail)


def test_a_found_certificate_comes_back(tmp_path):
    rbm = model()
    rbm.certificate = gb.diagnose(rbm, budget=100, generator=seeded())
    gb.save(rbm, tmp_path / "m.safetensors")
    assert gb.load(tmp_path / "m.safetensors").certificate == rbm.certificate


def test_one_that_no_longer_fits_is_not_written(tmp_path):
    rbm = model()
    rbm.certificate = certificate(rbm)
    assert certificate_of(rbm) is rbm.certificate
    with torch.no_grad():
        rbm.weight[0, 0] += 1e-3
    assert certificate_of(rbm) is None
    gb.save(rbm, tmp_path / "m.safetensors")
    assert gb.load(tmp_path / "m.safetensors").certificate is None


def test_anything_else_for_a_certificate_is_refused(tmp_path):
    rbm = model()
    rbm.certificate = "fine"
    with pytest.raises(gb.ArgumentError, match=r"certificate='fine'.*gb\.diagnose"):
        gb.save(rbm, tmp_path / "m.safetensors")


def forged(rbm: gb.RBM, path, record) -> None:
    gb.save(rbm, path)
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["gibbsite"]) | {"certificate": record}
    save_file(rbm.state_dict(), path, {"gibbsite": json.dumps(header)})


def test_one_of_other_parameters_is_left_out_with_a_word(tmp_path, caplog):
    rbm, path = model(), tmp_path / "m.safetensors"
    record = certificate(gb.RBM(gb.Bernoulli(6), gb.Bernoulli(3))).as_record()
    forged(rbm, path, record)
    with caplog.at_level(logging.WARNING, "gibbsite"):
        assert gb.load(path).certificate is None
    assert "certificate is of other parameters" in caplog.text


def changed(record, place, value):
    *outer, last = place
    part = record
    for name in outer:
        part = part[name]
    part[last] = value
    return record


FORGERIES = {
    "no object": lambda _: [1],
    "a kind that is none": lambda r: changed(r, ["kind"], "perfect"),
    "no fingerprint": lambda r: {k: x for k, x in r.items() if k != "fingerprint"},
    "a field too many": lambda r: r | {"run": "rm"},
    "steps that are text": lambda r: changed(r, ["steps"], "40"),
    "no steps": lambda r: changed(r, ["steps"], None),
    "endless steps": lambda r: changed(r, ["steps"], 2**70),
    "steps below 0": lambda r: changed(r, ["steps"], -5),
    "steps that are true": lambda r: changed(r, ["steps"], True),
    "a control character": lambda r: changed(r, ["mixing", 0, "problems"], ["\x1b[2J"]),
    "endless text": lambda r: changed(r, ["sampler"], "x" * 10**5),
    "no mixing": lambda r: changed(r, ["mixing"], []),
    "mixing of text": lambda r: changed(r, ["mixing"], ["x"]),
    "times that are text": lambda r: changed(r, ["mixing", 0, "unit_time"], "1"),
    "a course too short": lambda r: changed(r, ["course", "stderr"], [0.1]),
    "betas that fall": lambda r: changed(r, ["betas"], [0.0, 0.7, 0.5, 1.0]),
    "betas without an end": lambda r: changed(r, ["betas"], [0.0, 0.5]),
    "means that are infinite": lambda r: changed(r, ["means"], [[None], [0.5]]),
    "a list for a number": lambda r: changed(r, ["mixing", 0, "occupancy"], [1]),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_forged_records_are_refused(tmp_path, forge):
    rbm = model()
    record = forge(certificate(rbm).as_record())
    with pytest.raises(ValueError, match="certificate"):
        Diagnosis.from_record(record)
    forged(rbm, tmp_path / "m.safetensors", record)
    with pytest.raises(gb.ModelFileError, match="certificate"):
        gb.load(tmp_path / "m.safetensors")


def test_training_takes_the_certificate_away():
    rbm = model()
    rbm.certificate = certificate(rbm)
    gb.fit(rbm, torch.ones(10, 6), epochs=1, generator=seeded())
    assert rbm.certificate is None


def test_the_fingerprint_is_of_the_values():
    rbm = model()
    assert fingerprint(rbm) == fingerprint(copy.deepcopy(rbm)) == fingerprint(model().double())
    other = gb.RBM(gb.Spin(6), gb.Bernoulli(3))
    other.load_state_dict(rbm.state_dict())
    assert fingerprint(other) != fingerprint(rbm)


class Spy(Gibbs):
    """Sampler that counts its steps."""

    steps = 0

    def advance(self, rbm, state, steps, generator=None):
        type(self).steps += steps
        return super().advance(rbm, state, steps, generator)


def sampled(monkeypatch, rbm, **options) -> int:
    """Steps that gb.sample takes with its own sampler."""
    Spy.steps, Spy.__name__ = 0, "Gibbs"
    monkeypatch.setattr("gibbsite.sampling.samples.Gibbs", Spy)
    gb.sample(rbm, 4, generator=seeded(), **options)
    return Spy.steps


def test_sample_follows_the_certificate(monkeypatch, caplog):
    rbm = model()
    assert sampled(monkeypatch, rbm) == 1000
    rbm.certificate = certificate(rbm, steps=40)
    with caplog.at_level(logging.WARNING, "gibbsite"):
        assert sampled(monkeypatch, rbm) == 40
        assert sampled(monkeypatch, rbm, steps=60) == 60
        assert sampled(monkeypatch, rbm, steps=5, start=torch.ones(4, 6)) == 5
        assert caplog.text == ""
        assert sampled(monkeypatch, rbm, steps=30) == 30
    assert "30 steps of Gibbs, but the model's certificate says: at equilibrium" in caplog.text


def test_sample_warns_where_nobody_can_tell(monkeypatch, caplog):
    rbm = model()
    rbm.certificate = certificate(rbm, "unknown", steps=None)
    with caplog.at_level(logging.WARNING, "gibbsite"):
        assert sampled(monkeypatch, rbm) == 1000
    assert "cannot tell" in caplog.text


def test_out_of_equilibrium_starts_from_noise(monkeypatch):
    rbm = model()
    rbm.certificate = certificate(rbm, "out of equilibrium", steps=3)
    expected = gb.sample(rbm, 4, steps=3, start=gb.random_start(rbm, 4, g := seeded()), generator=g)
    assert torch.equal(gb.sample(rbm, 4, generator=seeded()), expected)


def test_the_ladder_is_that_of_the_certificate():
    rbm = model()
    found = certificate(rbm, sampler="Tempering")
    sampler = certified_sampler(found, rbm)
    assert isinstance(sampler, gb.Tempering)
    assert list(sampler.betas) == [0.0, 0.5, 1.0]
    rbm.certificate = found
    assert gb.sample(rbm, 4, generator=seeded()).shape == (4, 6)
    assert isinstance(certified_sampler(None, rbm), Gibbs)


def test_verdicts_say_what_to_do():
    rbm = model()
    texts = {
        "equilibrium": "at equilibrium: sample with Gibbs, 40 steps",
        "slow": "mixes, but slowly: sample with Gibbs and at least 40 steps",
        "out of equilibrium": (
            "out of equilibrium: samples look right only near 40 steps of Gibbs from noise"
        ),
    }
    for kind, text in texts.items():
        assert certificate(rbm, kind).verdict == text
    found = certificate(rbm, "unknown", steps=None)
    failed = dataclasses.replace(found.mixing[0], problems=("too short", "apart"))
    assert dataclasses.replace(found, mixing=(failed,)).verdict == "cannot tell: too short; apart"
