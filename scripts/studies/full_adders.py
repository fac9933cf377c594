"""``python -m nibbleforge.scripts.studies.full_adders``: what finding full adders is worth."""

from pathlib import Path
from typing import Annotated

import typer

from ...sim.silicon.area import RUNS
from ...sim.studies.full_adders import LANES, measure
from ..main import run_app
from ..options import Markdown, check_number
from ..show import markdown_table, table

app = typer.Typer(add_completion=False)


@app.command()
def command(
    liberty: Annotated[
        list[Path] | None,
        typer.Option(metavar="F.lib[.gz]", help="Files of a Liberty library; default: installed."),
    ] = None,
    runs: Annotated[int, typer.Option(metavar="N", help="Orders of the cells.")] = RUNS,
    markdown: Markdown = False,
) -> None:
    """Area of a dot product's element with full adders by hand, found, and left to ABC."""
    check_number("--runs", runs, 1)
    target, measured = measure(liberty or (), runs)
    hand = measured[0].area.median
    rows: list[list[object]] = [
        [
            each.variant.name,
            f"{each.area.median:,.4g}" if hand < 1000 else f"{each.area.median:,.0f}",
            f"{each.area.least / hand:.3f}..{each.area.most / hand:.3f}",
            f"{each.area.median / hand:.3f}",
            each.path.median if each.path else None,
        ]
        for each in measured
    ]
    adder = target.full_adder
    made = f"{adder.made} ({adder.cells})" if adder else "none"
    title = f"{LANES} lanes in {target.library.name}, full adders: {made}"
    columns = ["8x4 element, pair sums", "area", "min..max, by hand = 1", "by hand = 1", "path, ns"]
    (markdown_table if markdown else table)(columns, rows, title)


if __name__ == "__main__":
    run_app(app)
