"""Gibbsite: restricted Boltzmann machines, trained, sampled at equilibrium and measured."""

from typing import TYPE_CHECKING, Any

from gibbsite import startup  # noqa: F401  # before what takes long to import

# isort: split
from gibbsite import datasets, exact, testing
from gibbsite.diagnosis import Diagnosis
from gibbsite.energy_based import EnergyBasedModel
from gibbsite.errors import (
    ArgumentError,
    DataError,
    DivergenceError,
    GibbsiteError,
    LikelihoodWarning,
    ModelFileError,
    NonFiniteWeightError,
    OutputError,
    TooLargeError,
)
from gibbsite.gradients import (
    CD,
    FPCD,
    PCD,
    Batch,
    Centered,
    Discriminative,
    ExactGradient,
    Hybrid,
    Marginalised,
    MeanField,
    NoiseCD,
)
from gibbsite.io import load, load_models, save, save_models
from gibbsite.layers import (
    Bernoulli,
    Binomial,
    Categorical,
    DReLU,
    Gaussian,
    Mixed,
    MultivariateGaussian,
    Poisson,
    ReLU,
    Spin,
    TruncatedExponential,
    register_layer,
)
from gibbsite.likelihood import (
    Evaluation,
    ExchangeLikelihood,
    LogPartition,
    TrajectoryAIS,
    condition,
    conditional_log_likelihood,
    evaluate,
    free_energy_gap,
    log_partition,
    pseudo_likelihood,
    reconstruction_error,
)
from gibbsite.model import RBM
from gibbsite.rows import Rows
from gibbsite.sampling import (
    Gibbs,
    Imputation,
    Tempering,
    Trajectory,
    autocorrelation_time,
    diagnose,
    impute,
    random_start,
    reconstruct,
    sample,
    split_r_hat,
)
from gibbsite.training import L1, L2, Averaged, Checkpoints, History, Monitor, fit, initialize

if TYPE_CHECKING:
    from gibbsite.estimators import (
        BernoulliRBM,
        GaussianRBM,
        RBMClassifier,
        RBMImputer,
        TableRBM,
    )

__version__ = "0.1.0"

_ESTIMATORS = ("BernoulliRBM", "GaussianRBM", "RBMClassifier", "RBMImputer", "TableRBM")

__all__ = [
    "CD",
    "FPCD",
    "L1",
    "L2",
    "PCD",
    "RBM",
    "ArgumentError",
    "Averaged",
    "Batch",
    "Bernoulli",
    "BernoulliRBM",
    "Binomial",
    "Categorical",
    "Centered",
    "Checkpoints",
    "DReLU",
    "DataError",
    "Diagnosis",
    "Discriminative",
    "DivergenceError",
    "EnergyBasedModel",
    "Evaluation",
    "ExactGradient",
    "ExchangeLikelihood",
    "Gaussian",
    "GaussianRBM",
    "Gibbs",
    "GibbsiteError",
    "History",
    "Hybrid",
    "Imputation",
    "LikelihoodWarning",
    "LogPartition",
    "Marginalised",
    "MeanField",
    "Mixed",
    "ModelFileError",
    "Monitor",
    "MultivariateGaussian",
    "NoiseCD",
    "NonFiniteWeightError",
    "OutputError",
    "Poisson",
    "RBMClassifier",
    "RBMImputer",
    "ReLU",
    "Rows",
    "Spin",
    "TableRBM",
    "Tempering",
    "TooLargeError",
    "Trajectory",
    "TrajectoryAIS",
    "TruncatedExponential",
    "autocorrelation_time",
    "condition",
    "conditional_log_likelihood",
    "datasets",
    "diagnose",
    "evaluate",
    "exact",
    "fit",
    "free_energy_gap",
    "impute",
    "initialize",
    "load",
    "load_models",
    "log_partition",
    "pseudo_likelihood",
    "random_start",
    "reconstruct",
    "reconstruction_error",
    "register_layer",
    "sample",
    "save",
    "save_models",
    "split_r_hat",
    "testing",
]


def __getattr__(name: str) -> Any:
    """Import the estimators when first asked for: they need scikit-learn, the rest does not."""
    if name in _ESTIMATORS:
        from gibbsite import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
