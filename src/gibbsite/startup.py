"""Ctrl-C while the command is still importing: one line and exit code 130, in place of a traceback.

The package imports this before anything else, as importing torch takes seconds.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

INTERRUPTED = 130
"""Exit code of a command that was interrupted by Ctrl-C."""


def is_command() -> bool:
    """True if this process is the command: its script, or ``python -m gibbsite``."""
    script = (getattr(sys, "argv", None) or [""])[0]  # none in programs that embed Python
    if script == "-m":  # the module is still being looked for
        return not {"gibbsite", "-mgibbsite"}.isdisjoint(sys.orig_argv)
    return Path(script).stem == "gibbsite"


def end_quietly() -> None:
    """Let Ctrl-C end the command at once, until `interrupt_again`; elsewhere do nothing.

    A process that ignores Ctrl-C goes on to.
    """
    ours = is_command() and threading.current_thread() is threading.main_thread()
    if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def interrupt_again() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    """End the process, whatever is half imported: nothing has been begun that could be kept."""
    os.write(2, b"interrupted before the command began\n")
    os._exit(INTERRUPTED)


end_quietly()
