"""Typed errors. Each message names the value, what was expected and the remedy."""

from __future__ import annotations

from collections.abc import Sequence


def location(row: int | None, column: int, name: str | None = None) -> str:
    """Row and column of an entry, for a message: counted from 1, as a spreadsheet does.

    >>> location(0, 1, "age")
    'row 1, column 2 (age)'
    """
    named = f" ({name})" if name else ""
    return f"{'' if row is None else f'row {row + 1}, '}column {column + 1}{named}"


class GibbsiteError(Exception):
    """Base class: ``except gb.GibbsiteError`` catches everything Gibbsite raises on purpose."""


class ArgumentError(GibbsiteError, ValueError):
    """An option or argument has a value that cannot be used."""


class DataError(GibbsiteError, ValueError):
    """Data do not fit the model, or a data file cannot be read."""


class EntryError(DataError):
    """One entry of the data cannot be used.

    Attributes: ``row`` and ``column``, counted from 0 as Python does; the message counts from 1.
    """

    def __init__(
        self,
        fault: str,
        row: int,
        column: int,
        remedy: str,
        *,
        source: str | None = None,
        name: str | None = None,
    ) -> None:
        where = location(row, column, name)
        named = f"{source}, {where}: {fault}"
        message = named if source else f"data hold {fault} at {where} (counted from 1)"
        super().__init__(f"{message}; {remedy}")
        self.fault, self.row, self.column, self.remedy = fault, row, column, remedy

    def shifted(self, rows: int = 0, columns: int = 0) -> EntryError:
        """The same error in data with `rows` more rows above and `columns` more to the left."""
        return EntryError(self.fault, self.row + rows, self.column + columns, self.remedy)

    def within(self, source: str, names: Sequence[str] | None) -> EntryError:
        """The same error with the file it comes from and, if known, the name of its column."""
        name = names[self.column] if names else None
        return EntryError(self.fault, self.row, self.column, self.remedy, source=source, name=name)


class RowError(DataError, IndexError):
    """A row index is out of range."""


class ModelFileError(GibbsiteError, ValueError):
    """A model file is damaged, foreign or of another version."""


class OutputError(GibbsiteError, OSError):
    """Output cannot be written to that path, or would overwrite something."""


class TooLargeError(GibbsiteError, ValueError):
    """A model is too large to enumerate, or data or a result too large for the memory."""


class LikelihoodWarning(GibbsiteError, UserWarning):
    """A log-likelihood rests on an estimate of log Z that failed the checks named.

    A warning, not raised unless asked to:
    ``warnings.simplefilter("error", gb.LikelihoodWarning)``.
    """


class NonFiniteWeightError(GibbsiteError, ArithmeticError):
    """Importance weights became NaN or infinite."""


class RateError(GibbsiteError, OverflowError):
    """A count has a rate too large to draw from; training turns it into `DivergenceError`."""


class DivergenceError(GibbsiteError, ArithmeticError):
    """Training produced a non-finite value; the model is back at its last good state.

    Attributes: ``step`` (the update, counted from 1) and ``history`` (the epochs completed).
    """

    def __init__(self, message: str, step: int, history: object) -> None:
        super().__init__(message)
        self.step = step
        self.history = history
