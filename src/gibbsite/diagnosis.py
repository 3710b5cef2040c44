"""The certificate of a model: how it mixes, and what to sample it with; stored in its file."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch

from gibbsite.model import RBM

EQUILIBRIUM = "equilibrium"
SLOW = "slow"
OUT_OF_EQUILIBRIUM = "out of equilibrium"
UNKNOWN = "unknown"
KINDS = (EQUILIBRIUM, SLOW, OUT_OF_EQUILIBRIUM, UNKNOWN)

_LONGEST = 10**6
"""Most entries of a list in a record, far beyond what `diagnose` writes."""


@dataclass(frozen=True)
class Mixing:
    """Mixing of one sampler's chains, over the second half of their steps.

    Attributes:
        sampler: its name.
        steps: of each chain, the first half included.
        chains: in all.
        energy_time, unit_time: integrated autocorrelation times in steps, of the free energy and of
            the slowest hidden unit's mean.
        slowest_unit: number of that unit, from 0.
        split_r_hat, nested_r_hat: of the free energy; 1 at equilibrium.
        unit_r_hat: the largest nested R-hat of a hidden unit's mean.
        occupancy: total variation between the shares of clusters that chains from the first start
            visit and those of all the others.
        occupancy_noise, occupancy_limit: mean and 99.9th percentile of that if all chains were
            alike, by permuting them.
        trips: passages from independent units to the model, in all chains; None without a ladder.
        barrier: Lambda, the communication barrier of the ladder; None without one.
        problems: the tests failed, each in words; empty if none was.
    """

    sampler: str
    steps: int
    chains: int
    energy_time: float
    unit_time: float
    slowest_unit: int
    split_r_hat: float
    nested_r_hat: float
    unit_r_hat: float
    occupancy: float
    occupancy_noise: float
    occupancy_limit: float
    trips: float | None = None
    barrier: float | None = None
    problems: tuple[str, ...] = ()

    @property
    def time(self) -> float:
        """The longer of the two autocorrelation times, in steps."""
        return max(self.energy_time, self.unit_time)

    @property
    def trip_rate(self) -> float | None:
        """Trips a step of one chain; 1/(2 + 2 Lambda) in theory (Syed et al. 2021)."""
        return None if self.trips is None else self.trips / (self.steps * self.chains)


@dataclass(frozen=True)
class Course:
    """Course of fresh chains: free energies by start, discrepancy of those from noise.

    Attributes:
        steps: 1, 2, 4 and so on up to the budget.
        starts: names of the starts.
        energies: mean free energy by start and steps.
        discrepancy: squared distance between moments of chains from noise and of the reference
            (`moment_discrepancy`), by steps; 0 where they agree, within its error.
        stderr: its Monte-Carlo error.
        reference: name of the reference, data or chains.
    """

    steps: tuple[int, ...]
    starts: tuple[str, ...]
    energies: tuple[tuple[float, ...], ...]
    discrepancy: tuple[float, ...]
    stderr: tuple[float, ...]
    reference: str


@dataclass(frozen=True)
class Diagnosis:
    """Result of `diagnose`: what it found, and what to do.

    Attributes:
        kind: "equilibrium", "slow", "out of equilibrium" or "unknown".
        sampler: name of the sampler to use, "Gibbs" or "Tempering".
        steps: of that sampler, from a fresh start, after which to take samples; None if unknown.
        fingerprint: sha256 of the parameters measured; see `fits`.
        mixing: of each sampler tried, in order.
        course: of Gibbs chains, or those of the sampler given.
        betas: ladder of inverse temperatures, of Tempering.
        means: mean v and mean h of the independent units that the ladder starts from.
    """

    kind: str
    sampler: str
    steps: int | None
    fingerprint: str
    mixing: tuple[Mixing, ...]
    course: Course
    betas: tuple[float, ...] = ()
    means: tuple[tuple[float, ...], ...] = ()

    @property
    def verdict(self) -> str:
        """The result in words, with the sampler and the steps to use."""
        if self.kind == EQUILIBRIUM:
            return f"at equilibrium: sample with {self.sampler}, {self.steps} steps"
        if self.kind == SLOW:
            return f"mixes, but slowly: sample with {self.sampler} and at least {self.steps} steps"
        if self.kind == OUT_OF_EQUILIBRIUM:
            return (
                f"out of equilibrium: samples look right only near {self.steps} steps of "
                f"{self.sampler} from noise"
            )
        return f"cannot tell: {'; '.join(self.mixing[-1].problems)}"

    @property
    def is_equilibrium(self) -> bool:
        """True if its sampler reaches equilibrium within its steps."""
        return self.kind in (EQUILIBRIUM, SLOW)

    def fits(self, rbm: RBM) -> bool:
        """True if the model has the parameters that were measured."""
        return self.fingerprint == fingerprint(rbm)

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON, which has no infinity: None stands for it."""
        return {**_plain(asdict(self)), "verdict": self.verdict}

    @classmethod
    def from_record(cls, record: object) -> Diagnosis:
        """The diagnosis of a record, which may come from anybody; `ValueError` if it is none."""
        fields = dict(_mapping(record))
        fields.pop("verdict", None)
        course = _mapping(fields.pop("course", None))
        mixing = _list(fields.pop("mixing", None))
        try:
            found = cls(
                mixing=tuple(_checked(Mixing, _MIXING, _mapping(entry)) for entry in mixing),
                course=_checked(Course, _COURSE, course),
                **_values(_DIAGNOSIS, fields),
            )
        except TypeError as error:
            raise ValueError(f"a certificate with fields missing or unknown: {error}") from error
        _check_whole(found)
        return found


@torch.no_grad()
def fingerprint(rbm: RBM) -> str:
    """sha256 of the layers' types and options and of all parameters, as float64."""
    layers = [(layer.describe(), layer.options()) for layer in (rbm.visible, rbm.hidden)]
    digest = hashlib.sha256(json.dumps(layers, sort_keys=True).encode())
    for name, value in sorted(rbm.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)}".encode())
        values = value.detach().double().cpu().contiguous().numpy()
        digest.update(np.ascontiguousarray(values, "<f8").data)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """Lists for tuples, None for what is not finite."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# readers of a record's values, which raise ValueError


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"a certificate with {type(value).__name__} where an object belongs")
    return value


def _list(value: object) -> Sequence[Any]:
    if not isinstance(value, list | tuple) or len(value) > _LONGEST:
        raise ValueError(f"a certificate with {type(value).__name__} where a list belongs")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 1000 or not value.isprintable():
        raise ValueError("a certificate with no text where one belongs")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**62:
        raise ValueError(f"a certificate with {value!r} where a count belongs")
    return value


def _number(value: object) -> float:
    if value is None:
        return math.inf
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"a certificate with {value!r} where a number belongs")
    return float(value)


def _optional(read: Any) -> Any:
    return lambda value: None if value is None else read(value)


def _many(read: Any) -> Any:
    return lambda value: tuple(map(read, _list(value)))


_MIXING = {
    "sampler": _text,
    "steps": _whole,
    "chains": _whole,
    "energy_time": _number,
    "unit_time": _number,
    "slowest_unit": _whole,
    "split_r_hat": _number,
    "nested_r_hat": _number,
    "unit_r_hat": _number,
    "occupancy": _number,
    "occupancy_noise": _number,
    "occupancy_limit": _number,
    "trips": _optional(_number),
    "barrier": _optional(_number),
    "problems": _many(_text),
}
_COURSE = {
    "steps": _many(_whole),
    "starts": _many(_text),
    "energies": _many(_many(_number)),
    "discrepancy": _many(_number),
    "stderr": _many(_number),
    "reference": _text,
}
_DIAGNOSIS = {
    "kind": _text,
    "sampler": _text,
    "steps": _optional(_whole),
    "fingerprint": _text,
    "betas": _many(_number),
    "means": _many(_many(_number)),
}


def _values(readers: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := fields.keys() - readers.keys():
        raise ValueError(f"a certificate with the unknown field {min(unknown)!r}")
    return {name: readers[name](value) for name, value in fields.items()}


def _checked(kind: Any, readers: Mapping[str, Any], fields: Mapping[str, Any]) -> Any:
    return kind(**_values(readers, fields))


def _check_whole(found: Diagnosis) -> None:
    """Raise `ValueError` unless the parts belong together."""
    course, betas = found.course, found.betas
    rows = [*course.energies, course.discrepancy, course.stderr]
    rising = all(a < b for a, b in itertools.pairwise(betas))
    steps_known = found.kind == UNKNOWN or bool(found.steps)
    if (
        found.kind not in KINDS
        or not found.mixing
        or not steps_known
        or len(course.energies) != len(course.starts)
        or any(len(row) != len(course.steps) for row in rows)
        or (betas and not (rising and len(betas) > 1 and betas[0] == 0 and betas[-1] == 1))
        or len(found.means) != (2 if betas else 0)
        or any(math.isinf(mean) for means in found.means for mean in means)
    ):
        raise ValueError("a certificate whose parts do not belong together")
