"""Reference figures: a model of each data set, its likelihood with bounds, and how it mixes.

Run: GIBBSITE_DATA=... python benchmarks/reference.py ROW --seed 0
prints one line of JSON, to be kept in reference.jsonl; `python benchmarks/reference.py --table
reference.jsonl` prints REFERENCE.md from such lines. `--part valid` trains on what is left of the
training rows and measures a held-out part of them, by which recipes are chosen.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recipes import fitted
from reference_rows import ROWS, Data, Row
from torch import Tensor

import gibbsite as gb

TRAIN_ROWS = 10_000
"""Rows, at most, of those to train on whose likelihood is told."""

MIXING_CHAINS, MIXING_STEPS = 50, 2000


def measured(name: str, seed: int, part: str = "test", save: str | None = None) -> dict[str, Any]:
    """Train the row, save the model if asked to, and measure it: the figures of a line of JSON."""
    row = ROWS[name]
    data = row.load(part)
    rbm, chains, seconds = fitted(
        row.recipe, data.visible, data.train, image_shape=data.image_shape, seed=seed
    )
    if save is not None:
        gb.save(rbm, save)
        if chains is not None:
            np.save(f"{save}.chains.npy", chains.numpy(), allow_pickle=False)
    figures: dict[str, Any] = {
        "row": name,
        "seed": seed,
        "part": part,
        "sha256": checksum(data),
        "binarisation": row.binarisation,
        "sizes": {
            "visible": data.visible.n,
            "hidden": row.recipe.hidden,
            "train": len(data.train),
            part: len(data.held_out),
        },
        "recipe": row.recipe.words(),
        "training_seconds": round(seconds, 1),
        "threads": torch.get_num_threads(),
    }
    figures |= likelihood(rbm, row, data, part)
    figures["mixing"] = mixing(rbm)
    figures["published"] = [list(x) for x in row.published]
    return figures


def checksum(data: Data) -> str:
    """sha256 of the rows to train on and to measure, as bytes of float32, in their order."""
    digest = hashlib.sha256()
    for rows in (data.train, data.held_out):
        for block in gb.Rows.of(rows).blocks(data.visible.width):
            digest.update(np.ascontiguousarray(block.float().numpy()).tobytes())
    return digest.hexdigest()


@torch.no_grad()
def likelihood(rbm: gb.RBM, row: Row, data: Data, part: str) -> dict[str, Any]:
    """Nats of held-out and of training rows, by one log Z, with both bounds and the verdict."""
    rows = gb.Rows.of(data.train)
    seen = rows.at(rows.spaced_index(TRAIN_ROWS * rows.shape[1]), torch.float32)
    seen = rbm.visible.observe(seen, torch.Generator().manual_seed(1))
    started = time.perf_counter()
    log_z = gb.log_partition(
        rbm,
        data=seen,
        chains=row.chains,
        temperatures=row.temperatures,
        sampler=gb.Tempering(data=seen) if row.tempered else gb.Gibbs(),
        generator=torch.Generator().manual_seed(2),
    )
    return {
        part: nats(rbm, data.held_out, log_z),
        "train": nats(rbm, seen, log_z),
        "method": log_z.method,
        "ess": _rounded(log_z.ess),
        "verdict": log_z.verdict,
        "evaluation_seconds": round(time.perf_counter() - started, 1),
    }


def nats(rbm: gb.RBM, v: Tensor, log_z: gb.LogPartition) -> dict[str, float | None]:
    """Mean log-likelihood of v for this log Z, with its interval and both directions."""
    scores = torch.cat([-rbm.double().free_energy(x.double()) for x in v.split(5000)])
    rbm.float()
    mean = scores.mean().item()
    forward, reverse = (None if x is None else x.value for x in (log_z.forward, log_z.reverse))
    figures = {
        "log_likelihood": log_z.value,
        "lower": log_z.upper,
        "upper": log_z.lower,
        "conservative": reverse,
        "optimistic": forward,
    }
    told = {name: None if z is None else _rounded(mean - z) for name, z in figures.items()}
    return told | {
        "stderr": _rounded(log_z.stderr),
        "rows_stderr": _rounded(scores.std().item() / math.sqrt(len(scores))),
    }


@torch.no_grad()
def mixing(rbm: gb.RBM) -> dict[str, Any]:
    """Autocorrelation time, in sweeps, and split R-hat of the free energy of plain chains."""
    generator = torch.Generator().manual_seed(3)
    v = gb.sample(rbm, MIXING_CHAINS, steps=MIXING_STEPS // 2, generator=generator)
    sampler = gb.Gibbs()
    state, series = sampler.init(rbm, v, generator), []
    for _ in range(MIXING_STEPS):
        state, _ = sampler.step(rbm, state, generator)
        series.append(rbm.free_energy(state.v))
    free_energies = torch.stack(series)
    return {
        "chains": MIXING_CHAINS,
        "steps": MIXING_STEPS,
        "tau": _rounded(gb.autocorrelation_time(free_energies)),
        "split_r_hat": _rounded(gb.split_r_hat(free_energies)),
    }


def _rounded(value: float) -> float:
    return round(value, 4)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("row", nargs="?", choices=sorted(ROWS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", choices=("test", "valid"), default="test")
    parser.add_argument("--save", metavar="FILE", help="where to keep the model, and its chains")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", metavar="FILE", help="lines of JSON to make REFERENCE.md of")
    options = parser.parse_args(arguments)
    if options.table:
        from reference_table import page

        lines = Path(options.table).read_text().splitlines()
        print(page([json.loads(line) for line in lines if line.strip()]).rstrip())
    elif options.row:
        torch.set_num_threads(options.threads)
        figures = measured(options.row, options.seed, options.part, options.save)
        print(json.dumps(figures), flush=True)
    else:
        parser.error(f"name a row: {', '.join(sorted(ROWS))}")


if __name__ == "__main__":
    main(sys.argv[1:])
