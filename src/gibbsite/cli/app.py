"""The application: its commands, and how errors and signals end it."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

import gibbsite as gb
from gibbsite.cli.compare import compare
from gibbsite.cli.console import escape, print_error
from gibbsite.cli.diagnose import diagnose
from gibbsite.cli.evaluate import evaluate
from gibbsite.cli.fit import fit, resume
from gibbsite.cli.info import info, list_datasets
from gibbsite.cli.options import option_named
from gibbsite.cli.process import Termination, output_error, safe_output
from gibbsite.cli.sample import sample, transform
from gibbsite.errors import GibbsiteError
from gibbsite.startup import INTERRUPTED, interrupt_again

EXIT_CODES = (
    "Exit codes: 0 done; 1 an error, told in one sentence on stderr; 2 wrong usage; "
    "130 interrupted by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP, with the model and history so far "
    "written."
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog=EXIT_CODES,
)
for command in (fit, resume, compare, diagnose, sample, evaluate, transform, info):
    app.command()(command)
app.command("datasets")(list_datasets)


def main() -> None:
    """Entry point: Gibbsite's own errors become one line on stderr and exit code 1."""
    interrupt_again()
    with safe_output(), Termination() as termination:
        code = _run()
        if code == INTERRUPTED:
            code = termination.code
            if termination.number != signal.SIGINT:
                print_error(f"ended by {signal.Signals(termination.number).name}")
        if (error := output_error()) is not None and code == 0:
            code = _fail(f"cannot write to standard output: {error.strerror}")
    sys.exit(code)


def _run() -> int:
    """Exit code of the command."""
    try:
        app()
    except SystemExit as stop:
        return int(stop.code or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (GibbsiteError, OSError) as error:
        return _fail(str(error))
    except OverflowError:
        return _fail("a number is too large to compute with")
    except (MemoryError, RuntimeError) as error:  # torch raises RuntimeError when out of memory
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        return _fail("out of memory; use fewer units, rows or chains")
    return 0


def _fail(message: str) -> int:
    message = option_named(message, typer.main.get_command(app))
    print_error(f"[bold red]error:[/] {escape(message)}")
    return 1


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"gibbsite {gb.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Say which this is, and end."
        ),
    ] = False,
) -> None:
    """Restricted Boltzmann machines: train one, sample it, look inside it."""
