"""Training that starts again at a lower rate where it diverges."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from gibbsite.errors import DivergenceError

RESTARTS = 4
"""Times that a run which diverges at a rate of the recipe starts again at a quarter of it."""

T = TypeVar("T")

log = logging.getLogger("gibbsite")


def with_restarts(train: Callable[[float], T], rate: float) -> T:
    """train(rate), again at a quarter of the rate where that diverges, `RESTARTS` times at most.

    `train` is to start from the same state each time. The logger "gibbsite" tells of restarts; the
    last `DivergenceError` is raised.
    """
    for _ in range(RESTARTS):
        try:
            return train(rate)
        except DivergenceError as error:
            log.warning(
                "training diverged at update %d with a learning rate of %g; it starts again at %g",
                error.step,
                rate,
                rate / 4,
            )
        rate /= 4
    return train(rate)
