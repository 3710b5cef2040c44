"""``python -m gibbsite`` is the `gibbsite` command."""

from gibbsite.cli import main

main()
