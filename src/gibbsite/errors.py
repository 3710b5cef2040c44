"""Typed errors. Each message names the value, what was expected and the remedy."""

from __future__ import annotations


class GibbsiteError(Exception):
    """Base class: ``except gb.GibbsiteError`` catches everything Gibbsite raises on purpose."""


class ArgumentError(GibbsiteError, ValueError):
    """An option or argument has a value that cannot be used."""


class DataError(GibbsiteError, ValueError):
    """Data do not fit the model, or a data file cannot be read."""


class ModelFileError(GibbsiteError, ValueError):
    """A model file is damaged, foreign or of another version."""


class OutputError(GibbsiteError, OSError):
    """Output cannot be written where it was asked for, or would overwrite something."""


class TooLargeError(GibbsiteError, ValueError):
    """A model is too large to enumerate, or what was asked for too large for the memory."""


class LikelihoodWarning(GibbsiteError, UserWarning):
    """A log-likelihood rests on an estimate of log Z that failed its checks; they are named.

    A warning, not raised unless asked to:
    ``warnings.simplefilter("error", gb.LikelihoodWarning)``.
    """


class NonFiniteWeightError(GibbsiteError, ArithmeticError):
    """Importance weights became NaN or infinite."""


class DivergenceError(GibbsiteError, ArithmeticError):
    """Training produced a non-finite value; the model is back at its last good state.

    Attributes: ``step`` (the update, counted from 1) and ``history`` (the epochs completed).
    """

    def __init__(self, message: str, step: int, history: object) -> None:
        super().__init__(message)
        self.step = step
        self.history = history
