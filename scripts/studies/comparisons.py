"""``python -m nibbleforge.scripts.studies.comparisons``: systems beside the best rivals."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ...sim.studies import comparisons as study
from ...sim.studies.area import measure
from ..main import run_app
from ..options import Markdown
from ..show import markdown_table, progress, table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

COLUMNS = ["design", "lanes", "bits a product", "area of one", "path, ns", "area x path"]


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
    system: Annotated[System, typer.Argument(help="What is compared with its rivals.")],
    accuracy: Annotated[
        list[Path] | None,
        typer.Option(metavar="F.json", help="Written by the study of operands. Several times."),
    ] = None,
    markdown: Markdown = False,
) -> None:
    """Compare a system with the best designs that do its job, per area.

    Area is that of a product of a dense layer a cycle, memories included; the rival of least area x
    path is 1.
    """
    known: dict[str, float] = {}
    for path in accuracy or ():
        known |= study.read_accuracy(path)
    with progress() as report:
        found = measure(system.comparison.arrays, report)
    rival, rows = study.rows(system.comparison, found)
    shown = markdown_table if markdown else table
    cells = [row.cells(rival, known) for row in rows]
    shown([*COLUMNS, "perplexity"], cells, f"{system.value}, {found[0].library}")


if __name__ == "__main__":
    run_app(app)
