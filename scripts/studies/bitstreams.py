"""``python -m nibbleforge.scripts.studies.bitstreams``: every core as a bitstream for the board."""

from typing import Annotated

import typer

from ...sim.studies.bitstreams import bitstreams
from ..main import run_app
from ..options import Markdown
from ..show import console, markdown_table, progress, table

app = typer.Typer(add_completion=False)

CELLS = ("LUT4", "TRELLIS_FF", "MULT18X18D", "DP16KD")


@app.command()
def command(
    unit: Annotated[
        list[str] | None, typer.Option(help="Unit, several times for several; default: all.")
    ] = None,
    markdown: Markdown = False,
) -> None:
    """Time, cells and clock of the flow ecp5, preset fpga, one seed."""
    rows: list[list[object]] = []
    reasons = []
    with progress() as report:
        for found in bitstreams(tuple(unit or ()), report):
            cells = found.built.report.cells if found.built else {}
            clock = round(found.built.fastest.megahertz, 1) if found.built else None
            counts = [cells.get(kind, 0) if found.built else None for kind in CELLS]
            rows.append([found.design, *counts, clock, round(found.seconds)])
            reasons += [found.reason] if found.reason else []
    write = markdown_table if markdown else table
    write(["core", *CELLS, "MHz", "s"], rows, "Bitstreams for the ULX3S with an LFE5U-85F, 25 MHz")
    for reason in reasons:
        console.print(reason, markup=False)


if __name__ == "__main__":
    run_app(app)
