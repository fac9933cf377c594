"""The command line: one command a file, one place that turns errors into exit codes."""

import errno
import os
import sys
import traceback
from typing import NoReturn

import typer

from ..golden.contract.errors import DifferenceError, RequirementError, ToolError, UserError
from ..golden.version import VERSION
from .commands import (
    area,
    cache,
    capture,
    demo,
    doctor,
    export,
    generate,
    predictor,
    prune,
    regress,
    search,
    simulate,
    timing,
    units,
)
from .interrupts import catch_interrupts, ignore_interrupts
from .outputs import failure, protect
from .show import console, errors
from .start import DIFFERENT, FAILED, INTERRUPTED, NOT_MET, OK

TRACEBACK = "NIBBLEFORGE_TRACEBACK"

app = typer.Typer(
    name="nibbleforge",
    help="Generate, verify and measure RTL for low-precision, sparse LLM inference.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (
    units,
    generate,
    export,
    simulate,
    regress,
    area,
    timing,
    capture,
    search,
    prune,
    doctor,
    demo,
):
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
    """Run an application and end the process with its exit status, see :func:`status`."""
    protect()
    catch_interrupts()
    code = status(application)
    ignore_interrupts()
    if (lost := failure()) is not None and code == OK:
        code = _complain(FAILED, f"cannot write to standard output: {lost.strerror}.")
    sys.exit(code)


def status(application: typer.Typer) -> int:
    """Run an application; its exit status, errors shown as one sentence.

    0 all is well, 1 RTL and golden differ, 2 any other failure, 3 a stated requirement is not met,
    130 interrupted. The only place that decides it: commands raise what
    :mod:`nibbleforge.golden.contract.errors` has. NIBBLEFORGE_TRACEBACK=1 shows where an error
    comes from.
    """
    try:
        name = "nibbleforge" if application is app else None  # else that of the module
        code = application(standalone_mode=False, prog_name=name) or OK
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except (Exception, SystemExit) as error:
        if os.environ.get(TRACEBACK, "0") != "0":
            errors.print(traceback.format_exc(), markup=False)
        return _complain(*_explain(error))
    if code == INTERRUPTED:  # typer makes this of Ctrl-C
        errors.print("interrupted")
    return code


def _explain(error: BaseException) -> tuple[int, str]:
    """Exit status and sentence of an error."""
    match error:
        case DifferenceError():
            return DIFFERENT, str(error)
        case RequirementError():
            return NOT_MET, str(error)
        case UserError():
            return FAILED, str(error)
        case ToolError():
            return FAILED, error.sentence
        case typer.TyperException():
            return FAILED, error.format_message().rstrip(".") + "."
        case MemoryError():
            return FAILED, "there is not enough memory."
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return FAILED, "no space left on the device; free some space or set TMPDIR."
        case OSError() if error.strerror:
            subject = "the system reports" if error.filename is None else error.filename
            return FAILED, f"{subject}: {error.strerror}."
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return FAILED, f"internal error ({what}); set {TRACEBACK}=1 to see where, and report it."


def _complain(code: int, sentence: str) -> int:
    """Print one sentence, on one line whatever it quotes, on standard error."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in sentence)
    errors.print(f"nibbleforge: {line}", markup=False)
    return code
