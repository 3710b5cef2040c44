"""The `gibbsite` command: builds the same objects as a Python user would."""

from gibbsite.cli.app import app, main

__all__ = ["app", "main"]
