"""The command line: one command a file, one place that turns errors into exit codes."""

import os
import sys
from typing import NoReturn

import click
import typer

from ..golden.errors import UserError
from ..golden.version import VERSION
from . import cache, capture, demo, doctor, generate, regress, simulate, units
from .show import console, errors

app = typer.Typer(
    name="nibbleforge",
    help="Generate, verify and measure RTL for low-precision, sparse LLM inference.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (units, generate, simulate, regress, capture, doctor, demo):
    app.command(module.__name__.rpartition(".")[2])(module.command)
app.add_typer(cache.app, name="cache")


@app.callback(invoke_without_command=True)
def version(
    show: bool = typer.Option(False, "--version", help="Show the version and end."),
) -> None:
    """Generate, verify and measure RTL for low-precision, sparse LLM inference."""
    if show:
        console.print(VERSION)
        raise typer.Exit


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
        return application(standalone_mode=False) or 0
    except UserError as error:
        return _complain(str(error))
    except click.ClickException as error:
        return _complain(error.format_message())
    except (KeyboardInterrupt, click.Abort):
        errors.print("interrupted")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        return _complain(f"{error.filename}: {error.strerror}.")


def _complain(sentence: str) -> int:
    """Print one sentence on standard error."""
    errors.print(f"nibbleforge: {sentence}", markup=False)
    return 2
