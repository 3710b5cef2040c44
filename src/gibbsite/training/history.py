"""History of a training run: its figures, epoch by epoch."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gibbsite.errors import ArgumentError, DataError, OutputError

Record = dict[str, float]


@dataclass
class History:
    """Records of the epochs completed, in order, and whether training was interrupted.

    ``state`` is that of the gradient estimator at the end, for a later `fit` to go on with.

    >>> import gibbsite as gb
    >>> gb.History([{"epoch": 1, "seconds": 0.5}]).column("seconds")
    [0.5]
    """

    records: list[Record] = field(default_factory=list)
    interrupted: bool = False
    state: Any = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.records)

    def column(self, name: str) -> list[float]:
        """Values of one figure over the epochs; NaN where an epoch has none.

        Raises `ArgumentError` for a name that no epoch has.
        """
        names = dict.fromkeys(key for record in self.records for key in record)
        if names and name not in names:
            raise ArgumentError(f"no column {name!r}; there are {', '.join(names)}")
        values = (record.get(name) for record in self.records)
        return [float("nan") if value is None else value for value in values]

    @classmethod
    def read(cls, path: str | Path) -> History:
        """Read a JSON-lines file with one record a line, as `append` writes it."""
        try:
            lines = Path(path).read_text().splitlines()
            return cls([json.loads(line) for line in lines])
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is not a training history: {error}") from error


def append(path: Path, record: Record) -> None:
    """Add one record to a JSON-lines file; NaN and infinity, which JSON lacks, become null."""
    finite = {name: value if math.isfinite(value) else None for name, value in record.items()}
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite) + "\n")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
