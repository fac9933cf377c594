"""``python -m nibbleforge.scripts.studies.comparisons``: systems beside the best rivals."""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ...sim.studies import comparisons as study
from ...sim.studies.area import measure
from ..main import run_app
from ..options import Markdown
from ..show import Table, markdown_table, progress, table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class System(Enum):
    """What is compared with its rivals."""

    SPARQLE = "sparqle"
    ANDA = "anda"
    NM = "nm"
    REGLU = "reglu"

    @property
    def comparison(self) -> study.Comparison:
        """The designs."""
        return study.COMPARISONS[self.value]


@app.command()
def command(
    system: Annotated[
        System | None, typer.Argument(help="What is compared; none: the best of each system.")
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
    known: dict[str, float] = {}
    for path in accuracy or ():
        known |= study.read_accuracy(path)
    shown = markdown_table if markdown else table
    if system is None:
        _verdicts(shown, known)
    else:
        _designs(shown, system, known)


def _designs(shown: Table, system: System, accuracy: Mapping[str, float]) -> None:
    """All designs of a comparison."""
    rival, measured, library = _measured(system)
    rows = [row.cells(rival, accuracy) for row in measured]
    columns = ["design", "lanes", "bits a product", "area of one", "path, ns", "area x path"]
    shown([*columns, "perplexity"], rows, f"{system.value}, {library}")


def _verdicts(shown: Table, accuracy: Mapping[str, float]) -> None:
    """Each system's best design beside the best rival that is as accurate."""
    rows: list[list[object]] = []
    library = ""
    for system in System:
        _, measured, library = _measured(system)
        found = study.verdict(system.value, measured, accuracy)
        rows.append(found.cells(accuracy))
    columns = ["design", "perplexity", "best rival", "perplexity of it"]
    shown([*columns, "area x path over it", "bits over it"], rows, library)


def _measured(system: System) -> tuple[study.Row, list[study.Row], str]:
    """Rival, all rows and the library's name."""
    with progress() as report:
        found = measure(system.comparison.arrays, report)
    return *study.rows(system.comparison, found), found[0].library


if __name__ == "__main__":
    run_app(app)
