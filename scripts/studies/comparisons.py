"""``python -m nibbleforge.scripts.studies.comparisons``: systems beside the best rivals."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from ...golden.contract.errors import UserError
from ...sim.studies import comparisons as study
from ...sim.studies.area import measure
from ..main import run_app
from ..options import Markdown
from ..show import Table, markdown_table, progress, table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(
    system: Annotated[
        str | None, typer.Argument(help="What is compared; none: the best of each system.")
    ] = None,
    accuracy: Annotated[
        list[Path] | None,
        typer.Option(metavar="F.json", help="Written by the study of operands. Several times."),
    ] = None,
    markdown: Markdown = False,
) -> None:
    """Compare systems with the best designs that do their job, per area.

    Area is that of a product of a dense layer a cycle, memories included; in the table of a system,
    the rival of least area x path is 1.
    """
    if system is not None and system not in study.COMPARISONS:
        known_systems = ", ".join(study.COMPARISONS)
        raise UserError(f"the system must be one of {known_systems}, got {system!r}.")
    known: dict[str, float] = {}
    for path in accuracy or ():
        known |= study.read_accuracy(path)
    shown = markdown_table if markdown else table
    if system is None:
        _verdicts(shown, known)
    else:
        _designs(shown, study.COMPARISONS[system], known)


def _designs(shown: Table, compared: study.Comparison, accuracy: Mapping[str, float]) -> None:
    """All designs of a comparison."""
    rival, measured, library = _measured(compared)
    rows = [row.cells(rival, accuracy) for row in measured]
    columns = ["design", "lanes", "bits a product", "area of one", "path, ns", "area x path"]
    shown([*columns, "perplexity"], rows, f"{compared.unit}, {library}")


def _verdicts(shown: Table, accuracy: Mapping[str, float]) -> None:
    """Each system's best design beside the best rival that is as accurate."""
    rows: list[list[object]] = []
    library = ""
    for compared in study.COMPARISONS.values():
        _, measured, library = _measured(compared)
        rows.append(study.verdict(compared.unit, measured, accuracy).cells(accuracy))
    columns = ["design", "perplexity", "best rival", "perplexity of it"]
    shown([*columns, "area x path over it", "bits over it"], rows, library)


def _measured(compared: study.Comparison) -> tuple[study.Row, list[study.Row], str]:
    """Rival, all rows and the library's name."""
    with progress() as report:
        found = measure(compared.arrays, report)
    return *study.rows(compared, found), found[0].library


if __name__ == "__main__":
    run_app(app)
