"""``make soak``: run every verification in full and write docs/verification.md."""

import textwrap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from ..golden.contract.errors import DifferenceError, RequirementError
from ..golden.units import UNITS, unit
from ..sim.tools.results import check_output, write_text
from ..sim.verify.soak import BRIEF, COMPARISONS, FULL, MUTATED, ROWS, Finding, soak
from .commands.regress import varied
from .main import run_app
from .options import Settings
from .show import PROSE, console, errors, page_end, page_row, progress

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Markdown file to write.")],
    units: Annotated[
        list[str] | None, typer.Argument(metavar="[UNIT ...]", help="Units; default: all.")
    ] = None,
    jobs: Annotated[int, typer.Option(metavar="J", help="Verifications at once.")] = 2,
    preset: Annotated[
        list[str] | None,
        typer.Option(metavar="P", help="Only this preset; may be given several times."),
    ] = None,
    settings: Settings = None,
    brief: Annotated[
        bool, typer.Option("--brief", help="Some of each only, for a unit under work.")
    ] = False,
) -> None:
    """Run every verification; fails if one does.

    With --preset or --set only those of a configuration: values, harnesses, bins, lint, mutants.
    """
    check_output(output.parent)
    names = [unit(name).name for name in units or UNITS]
    given = varied(names, preset or [*MUTATED], settings or []) if preset or settings else []
    with progress() as report:
        findings = soak(names, jobs, report, BRIEF if brief else FULL, given)
    write_text(output, "\n".join(_page(findings)))
    failed = [finding for finding in findings if finding.wrong]
    for finding in failed:
        errors.print(f"{finding.row}, {finding.subject}: {finding.wrong[0]}", markup=False)
    console.print(f"{len(findings)} verifications, {len(failed)} failed; {output}", markup=False)
    if different := [finding for finding in failed if finding.row in COMPARISONS]:
        raise DifferenceError(f"RTL and golden differ in {len(different)} verifications.")
    if failed:
        raise RequirementError(f"{len(failed)} verifications failed.")


def _page(findings: list[Finding]) -> Iterator[str]:
    yield "# Verification"
    yield ""
    yield "Written by `make soak`; its code is `sim/verify/soak.py`. `make test` runs a share."
    yield "Where a line names parameters, all others have their defaults (`nibbleforge units`)."
    yield ""
    for row, group in groupby(findings, key=lambda finding: finding.row):
        rows = list(group)
        title, what = ROWS[row]
        yield f"## {title}"
        yield ""
        yield from textwrap.wrap(what, PROSE)
        yield ""
        yield "| what | found | passed | s |"
        yield "|---|---|---|---|"
        for found in rows:
            passed = "**no**" if found.wrong else "yes"
            yield from page_row(found.subject, found.figure, passed, f"{found.seconds:.1f}")
        yield ""
    yield from page_end()
    yield ""


if __name__ == "__main__":
    run_app(app)
