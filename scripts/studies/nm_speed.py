"""``python -m nibbleforge.scripts.studies.nm_speed``: N:M patterns on one layer."""

from typing import Annotated

import typer

from ...golden.contract.errors import DifferenceError
from ...sim.run.measure import Runner, verdict
from ...sim.studies.nm_speed import PATTERNS, TARGETS, Shape, measure, speed
from ...sim.tools.workers import Workers
from ..main import run_app
from ..options import Markdown, check_number
from ..show import markdown_table, progress, table

app = typer.Typer(add_completion=False)


@app.command()
def command(
    tokens: Annotated[int, typer.Option(help="Tokens.")] = 64,
    in_features: Annotated[int, typer.Option(help="Input features.")] = 4096,
    outputs: Annotated[int, typer.Option(help="Outputs.")] = 4096,
    rtl: Annotated[bool, typer.Option("--rtl", help="Run the RTL, too.")] = False,
    markdown: Markdown = False,
) -> None:
    """Cycles, utilisation and speed-up over the dense array, with group scales."""
    for name, value in (("tokens", tokens), ("in-features", in_features), ("outputs", outputs)):
        check_number(f"--{name}", value, 1)
    shape = Shape(tokens, in_features, outputs)
    rows: list[list[object]] = []
    wrong = 0
    with Workers(1) as workers, progress() as report:
        for pattern in PATTERNS:
            found = speed(pattern, shape)
            row: list[object] = [
                str(pattern),
                pattern.bits_per_weight(),
                found.counts.cycles,
                found.utilisation,
                found.speedup,
                TARGETS.get((str(pattern), in_features), ""),
            ]
            if rtl:
                measured = measure(pattern, shape, Runner(workers, report))
                wrong += len(measured.mismatches)
                row.append(verdict(measured))
            rows.append(row)
    columns = ["N:M", "bits/weight", "cycles", "utilisation", "x dense2k", "target"]
    title = f"{tokens} x {in_features} x {outputs}, 16 x 16 arrays, groups of 128, two rows a cycle"
    show = markdown_table if markdown else table
    show([*columns, *(["RTL"] if rtl else [])], rows, title=title)
    if wrong:
        raise DifferenceError(f"RTL and golden differ in {wrong} places.")


if __name__ == "__main__":
    run_app(app)
