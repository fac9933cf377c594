"""``make bench``: measure the figures of docs/benchmarks.md and write them down."""

from pathlib import Path
from typing import Annotated

import typer

from ..golden.contract.errors import RequirementError
from ..sim.benchmarks import BENCHMARKS, Figure
from ..sim.tools.results import check_output, write_text
from .main import run_app
from .show import console, page_end, page_row, table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Markdown file to write.")],
) -> None:
    """Measure every figure; fails if one is not reached."""
    check_output(output.parent)
    figures: list[Figure] = []
    for benchmark in BENCHMARKS:
        figures += benchmark()
        console.print(f"{benchmark.__name__}: done")
    rows = [[f.what, f.target, f.measured, "yes" if f.reached else "NO"] for f in figures]
    table(["figure", "target", "measured", "reached"], rows)
    write_text(output, _page(figures))
    if missed := [figure.what for figure in figures if not figure.reached]:
        raise RequirementError(f"not reached: {'; '.join(missed)}.")


def _page(figures: list[Figure]) -> str:
    rows = [
        row
        for f in figures
        for row in page_row(f.what, f.target, f.measured, "yes" if f.reached else "**no**")
    ]
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Written by `make bench`; the code is `sim/benchmarks.py`. Speeds are medians, and",
            "ratios compare things measured in the same run.",
            "",
            "| what | target | measured | reached |",
            "|---|---|---|---|",
            *rows,
            "",
            *page_end(),
            "",
        ]
    )


if __name__ == "__main__":
    run_app(app)
