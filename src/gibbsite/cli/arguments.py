"""Arguments and options of the commands: their types, names and help."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gibbsite.cli.numbers import floats, integers
from gibbsite.layers import LAYERS, Mixed
from gibbsite.training.named import (
    DeviceName,
    GradientName,
    OptimizerName,
    SamplerName,
    ScheduleName,
)


class MethodName(StrEnum):
    """Names of ways to find log Z."""

    auto = "auto"
    exact = "exact"
    ais = "ais"
    reverse_ais = "reverse-ais"
    bridge = "bridge"


class ModelSamplerName(StrEnum):
    """Names of samplers of a trained model."""

    auto = "auto"
    gibbs = "gibbs"
    tempering = "tempering"
    trajectory = "trajectory"


_TYPES = ", ".join(name for name, layer in LAYERS.items() if layer is not Mixed)


def _argument(text: str) -> Any:
    """A positional argument; its help says what holds without it, if it can be left out."""
    return typer.Argument(help=text, show_default=False)


def _option(text: str, *names: str, **more: Any) -> Any:
    """An option whose default is shown; names only where the parameter's own is not enough."""
    return typer.Option(*names, help=text, **_with_metavar(more))


def _unset(text: str, *names: str, **more: Any) -> Any:
    """An option that is None unless given; its help says what then holds."""
    return typer.Option(*names, help=text, show_default=False, **_with_metavar(more))


def _with_metavar(more: dict[str, Any]) -> dict[str, Any]:
    """The arguments with the name of what a parser of several numbers takes."""
    return {"metavar": more["parser"].__name__.upper(), **more} if more else more


# of several commands

Model = Annotated[Path, _argument("A model file or run folder.")]
Device = Annotated[DeviceName, _option("Where to compute; auto: cuda if there is one, else cpu.")]
Quiet = Annotated[bool, _option("Print nothing but errors. Default: off.", "--quiet")]
AsJson = Annotated[bool, _option("Print one JSON object instead. Default: off.", "--json")]
KeyAsTrained = Annotated[
    str | None,
    _unset(
        "Which array of an .npz or .h5 file. Default: as in the run of the model, else train, "
        "or the only one."
    ),
]
ResizeAsTrained = Annotated[
    str | None,
    _unset(
        "Bring the images of a folder to HEIGHTxWIDTH pixels. Default: as in the run of the model."
    ),
]

# of fit and resume

Run = Annotated[Path, _argument("The folder of the run.")]
TrainingData = Annotated[
    str | None,
    _argument(
        "A data set's name (see `gibbsite datasets`), a .npy, .npz, .csv, .tsv, .parquet, "
        ".h5 or IDX file, or a folder of images. With --config: as there."
    ),
]
Folder = Annotated[
    Path | None,
    _unset(
        "Run folder to make; must not exist yet, but for the folder of the same sweep, which goes "
        "on. Default: runs/DATA-1, -2 and so on.",
        "--output",
        "-o",
    ),
]
Config = Annotated[
    Path | None,
    _unset("The run.json of another run: its settings, but for options given here. Default: none."),
]
Start = Annotated[
    Path | None,
    _unset(
        "A model file or run folder: start from that model, whose units the new run then has. The "
        "data may be others of as many columns. Default: a new model.",
        "--from",
    ),
]
Key = Annotated[
    str | None,
    _unset("Which array of an .npz or .h5 file. Default: train and test, or the only one."),
]
Resize = Annotated[
    str | None,
    _unset(
        "Bring the images of a folder to HEIGHTxWIDTH pixels. Default: they must have one size."
    ),
]
Hidden = Annotated[
    int | None,
    _unset(
        "How many hidden units. Default: by rows and columns, 16 to 500; --exact 16.",
        parser=integers,
    ),
]
HiddenType = Annotated[str, _option(f"Hidden units: {_TYPES}.")]
HiddenStates = Annotated[
    int,
    _option(
        "States of a categorical hidden unit; a binomial one has so many less 1 trials.",
        parser=integers,
    ),
]
Visible = Annotated[
    str,
    _option(
        f"Visible units: {_TYPES}; or by column, as bernoulli:3,gaussian:2. auto: as the data set "
        "says; for files bernoulli if all values lie in [0, 1], spin if all are -1 or 1, "
        "categorical for columns of words, else gaussian."
    ),
]
Trials = Annotated[
    int | None,
    _unset("Binomial units: the largest count there may be. Default: the largest of each column."),
]
Sigma = Annotated[
    float,
    _option(
        "Gaussian units: standard deviation to start from, in standard deviations of each column.",
        parser=floats,
    ),
]
LearnSigma = Annotated[bool, _option("Gaussian units: train sigma, one for each unit.")]
Gradient = Annotated[
    GradientName,
    _option(
        "Estimate of the model's phase: pcd, fpcd (with fast weights), cd and noise-cd (new chains "
        "from noise: out of equilibrium) sample, mean-field does not, exact enumerates."
    ),
]
ExactGradient = Annotated[
    bool, _option("Short for --gradient exact, on full batches. Default: off.", "--exact")
]
Centered = Annotated[bool, _option("Centre the gradient: faster, steadier, the same fixed points.")]
Sampler = Annotated[
    SamplerName | None,
    _unset(
        "Chains of pcd and fpcd: gibbs; tempering, replica exchange over temperatures, where modes "
        "are apart; trajectory, over the models of training, which are kept with the run. "
        "Default: tempering where columns nearly determine one another, else gibbs."
    ),
]
Steps = Annotated[
    int | None,
    _unset("Gibbs (or mean-field) steps an update. Default: 1; noise-cd 10.", parser=integers),
]
Chains = Annotated[
    int | None,
    _unset(
        "Chains of pcd, fpcd and noise-cd. Default: 500 for small models; 200; tempering 100.",
        parser=integers,
    ),
]
Epochs = Annotated[
    int | None,
    _unset(
        "Passes over the data, all of them made and on all rows. Default: as --budget allows, and "
        "as rows held out say; --exact 3000.",
        parser=integers,
    ),
]
BatchSize = Annotated[
    int | None,
    _unset("Rows an update. Default: 100; 200 from 20,000 rows on; --exact all.", parser=integers),
]
LearningRate = Annotated[
    float | None,
    _unset(
        "Step size at the start, in parameter units per nat; see --schedule. Default: by the "
        "spread of the columns, 0.4 for binary ones, and lower after a run that diverged; "
        "--exact 1.0.",
        parser=floats,
    ),
]
Momentum = Annotated[
    float | None,
    _unset("Momentum of sgd, 0 up to less than 1. Default: 0; --exact 0.9.", parser=floats),
]
Schedule = Annotated[
    ScheduleName | None,
    _unset(
        "Course of the learning rate: linear to 0, quadratic as its square, constant. "
        "Default: quadratic; --exact linear."
    ),
]
Average = Annotated[
    float | None,
    _unset(
        "Save the average of the parameters, exponential over so many epochs, in place of the "
        "last; all figures are the average's. 0: none. Default: 4% of the epochs; --exact 0.",
        parser=floats,
    ),
]
Optimizer = Annotated[OptimizerName, _option("Torch optimiser; adam wants rates near 0.001.")]
L2 = Annotated[
    float | None,
    _unset(
        "Weight decay: l2/2 |W|^2 nats. Default: by the rows, or by those held out; --exact 0.",
        parser=floats,
    ),
]
L1 = Annotated[float, _option("Sparsity: l1 |W|_1 nats.", parser=floats)]
Budget = Annotated[
    str | None,
    _unset(
        "Time for all of it, about: seconds, or 10m, or 1h, by the measured speed of this machine. "
        "Training takes three fifths, the log-likelihood at the end a seventh. 0: as the default, "
        "and no log-likelihood where it is not exact. Default: a minute of two cores, unmeasured, "
        "so that every machine gets the same model."
    ),
]
TestFraction = Annotated[
    float, _option("Share of rows held out for testing, where the data bring no test set.")
]
Validation = Annotated[
    float | None,
    _unset(
        "Share of the other rows, 2,000 at most, held out to steer training: the best model is "
        "kept. Of less than 5,000 rows all are then trained on. 0: none. Default: 0.1, or those "
        "that the data bring; 0 with --epochs, --exact, under 50 rows."
    ),
]
Image = Annotated[
    str | None,
    _unset(
        "Image size of a row, HEIGHTxWIDTH in pixels, for the pictures. Default: as the data say."
    ),
]
Seed = Annotated[int, _option("Seed of everything random: same seed, same model.", parser=integers)]
CheckpointEvery = Annotated[
    int | None,
    _unset(
        "Epochs between checkpoints, from which `gibbsite resume` goes on; 0: none. "
        "Default: 20 in a run."
    ),
]

# of resume

MoreEpochs = Annotated[
    str | None,
    _unset(
        "Go on beyond the end: +50 for 50 more epochs than the run was to have, 200 for so many in "
        "all. The learning rate goes on as in a run of the new length. Default: the run's end.",
        "--epochs",
    ),
]
MoreTime = Annotated[
    str | None,
    _unset(
        "Go on beyond the end for about so long, seconds, or 10m, or 1h: epochs by those that the "
        "run took so far. Default: the run's end.",
        "--budget",
    ),
]

# of compare

Runs = Annotated[list[Path], _argument("Folders of runs, or of sweeps.")]

# of sample and evaluate

ModelSampler = Annotated[
    ModelSamplerName,
    _option(
        "Chains of the model. auto: as its certificate says, else by the trajectory kept with its "
        "run, else gibbs."
    ),
]

# of sample

Samples = Annotated[int, _option("Samples to draw, one row each.", "-n")]
ChainSteps = Annotated[
    int | None,
    _unset("Steps of each chain from its start. Default: of the model's certificate, else 1000."),
]
SampleOutput = Annotated[
    Path, _option("File to make: .npy, .csv, or .png for a picture.", "--output", "-o")
]
SampleImage = Annotated[
    str | None,
    _unset(
        "Image size of a row for .png, HEIGHTxWIDTH in pixels. Default: square if it fits, else "
        "one line a row."
    ),
]
SampleSeed = Annotated[int, _option("Seed of the chains.")]

# of evaluate

EvaluatedData = Annotated[str, _argument("A data set's name or file; its test set if it has one.")]
Method = Annotated[
    MethodName,
    _option(
        "How to find log Z. auto: exact up to 2^20 states, else bridge; bridge: annealing "
        "in both directions; ais and reverse-ais: in one."
    ),
]
Paths = Annotated[int, _option("Independent annealing paths each way.")]
Temperatures = Annotated[
    int, _option("Steps of each path; twice as many Gibbs steps make its start.")
]
EvaluateBudget = Annotated[
    float | None,
    _unset("Seconds to spend, about: sets --temperatures by a measured step. Default: none."),
]
Picture = Annotated[
    Path | None,
    _unset("PNG file to make: the weights and the way of each direction. Default: none."),
]
EvaluateSeed = Annotated[int, _option("Seed of the chains and of binarisation.")]

# of diagnose

ComparedData = Annotated[
    str | None,
    _argument("Data to compare chains with. Without: those of the run, if the model has one."),
]
DiagnosedChains = Annotated[int, _option("Chains, from all starts together.")]
DiagnoseBudget = Annotated[
    float, _option("Seconds to spend, at most about; the longer, the slower a mixing it can tell.")
]
DiagnosisPicture = Annotated[
    Path | None,
    _unset("PNG file to make: the course of the chains from every start. Default: none."),
]

# of transform

TransformedData = Annotated[str, _argument("A data set's name, file or folder.")]
FeatureOutput = Annotated[Path, _option("File to make: .npy or .csv.", "--output", "-o")]
Test = Annotated[bool, _option("Take the test set rather than the rows trained on.")]
