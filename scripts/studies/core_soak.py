"""``python -m nibbleforge.scripts.studies.core_soak``: thousands of tiles through cores."""

from typing import Annotated

import typer

from ...golden.units import UNITS
from ...sim.studies.core_soak import TILES, soaked
from ...sim.tools.workers import Workers
from ..main import run_app
from ..options import Markdown
from ..show import markdown_table, table

app = typer.Typer(add_completion=False)


@app.command()
def command(
    unit: Annotated[
        list[str] | None, typer.Option(help="Unit inside; may be given several times.")
    ] = None,
    markdown: Markdown = False,
) -> None:
    """Run after run behind AXI, channels pausing at random, resets in between."""
    rows = []
    with Workers(1) as workers:
        for name in unit or UNITS:
            for found in soaked(name, workers):
                rows.append([f"`{found.design}`", TILES, found.tiles, found.runs, found.given_up])
    columns = ["core around", "target, tiles", "measured", "runs", "given up"]
    (markdown_table if markdown else table)(columns, rows)


if __name__ == "__main__":
    run_app(app)
