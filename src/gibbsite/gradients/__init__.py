"""Estimators of the log-likelihood gradient: the data's phase minus the model's."""

from gibbsite.gradients.base import Batch, Gradient, Info
from gibbsite.gradients.centered import Centered
from gibbsite.gradients.contrastive import CD, PCD, NoiseCD
from gibbsite.gradients.discriminative import Discriminative, Hybrid, label_log_probabilities
from gibbsite.gradients.exact import ExactGradient
from gibbsite.gradients.fpcd import FPCD
from gibbsite.gradients.mean_field import MeanField
from gibbsite.gradients.missing import Marginalised, marginalised

__all__ = [
    "CD",
    "FPCD",
    "PCD",
    "Batch",
    "Centered",
    "Discriminative",
    "ExactGradient",
    "Gradient",
    "Hybrid",
    "Info",
    "Marginalised",
    "MeanField",
    "NoiseCD",
    "label_log_probabilities",
    "marginalised",
]
