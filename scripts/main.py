"""The command line: one command a file, one place that turns errors into exit codes."""

import errno
import os
import sys
from typing import NoReturn

import typer

from ..golden.contract.errors import UserError
from ..golden.version import VERSION
from .commands import (
    area,
    cache,
    capture,
    demo,
    doctor,
    generate,
    predictor,
    prune,
    regress,
    search,
    simulate,
    units,
)
from .show import console, errors
from .start import INTERRUPTED

app = typer.Typer(
    name="nibbleforge",
    help="Generate, verify and measure RTL for low-precision, sparse LLM inference.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (units, generate, simulate, regress, area, capture, search, prune, doctor, demo):
    app.command(module.__name__.rpartition(".")[2])(module.command)
app.add_typer(predictor.app, name="predictor")
app.add_typer(cache.app, name="cache")


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context,
    show: bool = typer.Option(False, "--version", help="Show the version and end."),
) -> None:
    """Generate, verify and measure RTL for low-precision, sparse LLM inference."""
    if show:
        console.print(VERSION)
        raise typer.Exit
    if context.invoked_subcommand is None:
        console.print(context.get_help(), markup=False)


def main() -> None:
    """Run the command line; ends the process with its exit status."""
    run_app(app)


def run_app(application: typer.Typer) -> NoReturn:
    """Run an application and end the process with its exit status.

    0 all is well, 1 RTL and golden differ, 2 bad input, 130 interrupted.
    """
    sys.exit(status(application))


def status(application: typer.Typer) -> int:
    """Run an application; its exit status, errors shown as one sentence."""
    try:
        name = "nibbleforge" if application is app else None  # else that of the module
        code = application(standalone_mode=False, prog_name=name) or 0
    except UserError as error:
        return _complain(str(error))
    except typer.TyperException as error:
        return _complain(error.format_message().rstrip(".") + ".")
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _complain("no space left on the device; free some space or set TMPDIR.")
        if error.filename is None:
            raise
        return _complain(f"{error.filename}: {error.strerror}.")
    if code == INTERRUPTED:  # typer makes this of Ctrl-C
        errors.print("interrupted")
    return code


def _complain(sentence: str) -> int:
    """Print one sentence on standard error."""
    errors.print(f"nibbleforge: {sentence}", markup=False)
    return 2
