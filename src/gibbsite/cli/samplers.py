"""The sampler of a trained model: by name, by its certificate, or by the trajectory of its run."""

from __future__ import annotations

from pathlib import Path

import gibbsite as gb
from gibbsite.cli.arguments import ModelSamplerName
from gibbsite.cli.data import TRAJECTORY
from gibbsite.errors import ArgumentError
from gibbsite.io import model_file
from gibbsite.sampling import Sampler, certificate_of
from gibbsite.training.named import make_sampler


def sampler_of(model: Path, rbm: gb.RBM, name: ModelSamplerName) -> Sampler | None:
    """The sampler of that name for the model of a file or run folder; None for the default one."""
    kept = model_file(model).parent / TRAJECTORY
    if name == ModelSamplerName.auto and (certificate_of(rbm) is not None or not kept.is_file()):
        return None
    if name not in (ModelSamplerName.auto, ModelSamplerName.trajectory):
        return make_sampler(name.value)
    if not kept.is_file():
        raise ArgumentError(
            f"--sampler trajectory: no {kept}; it is made by gibbsite fit --sampler trajectory"
        )
    models = [one.to(rbm.weight) for one in gb.load_models(kept)]
    if any(one.weight.shape != rbm.weight.shape for one in models):
        raise ArgumentError(f"--sampler trajectory: {kept} is of another model than {model}")
    return gb.Trajectory(models)
