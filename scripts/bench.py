"""``make bench``: measure the figures of docs/benchmarks.md and write them down."""

import platform
from pathlib import Path
from typing import Annotated

import typer

from ..golden.contract.errors import RequirementError
from ..sim.benchmarks import BENCHMARKS, Figure
from ..sim.tools.results import check_output, write_text
from ..sim.tools.toolchain import versions
from .main import run_app
from .show import console, table

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
    rows = [[f.what, f.asked, f.measured, "yes" if f.reached else "NO"] for f in figures]
    table(["figure", "asked", "measured", "reached"], rows)
    write_text(output, _page(figures))
    if missed := [figure.what for figure in figures if not figure.reached]:
        raise RequirementError(f"not reached: {'; '.join(missed)}.")


def _page(figures: list[Figure]) -> str:
    tools = ", ".join(f"{name} {version}" for name, version in versions().items())
    rows = [
        f"| {f.what} | {f.asked} | {f.measured} | {'yes' if f.reached else '**no**'} |"
        for f in figures
    ]
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Written by `make bench`; the code is `sim/benchmarks.py`. Speeds are medians, and",
            "ratios compare things measured in the same run.",
            "",
            "| what | asked | measured | reached |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Machine: {platform.machine()}, {platform.system()}. Tools: {tools}.",
            "",
        ]
    )


if __name__ == "__main__":
    run_app(app)
