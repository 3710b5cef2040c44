"""For input drawn at random: success, or a typed error; any other exception passes through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gibbsite as gb


def outcome(call: Callable[[], Any]) -> tuple[Any, str | None]:
    """(result, None), or (None, message) where Gibbsite refused."""
    try:
        return call(), None
    except gb.GibbsiteError as error:
        return None, str(error)
