"""``python -m nibbleforge.scripts.studies.anda_models``: Anda's published combinations here."""

from typing import Annotated

import typer

from ...golden.anda.config import AndaConfig
from ...golden.contract.errors import DifferenceError
from ...sim.run.measure import Runner
from ...sim.studies.anda_models import LOSSES, TOKENS, geometric_means, measure, shapes, speeds
from ...sim.tools.workers import Workers
from ..main import run_app
from ..options import Markdown, check_number
from ..show import markdown_table, progress, table

COLUMNS = ("unit", "M", "in_features", "outputs", "RTL cycles", "golden cycles", "mismatches")

app = typer.Typer(add_completion=False)


@app.command()
def command(
    tokens: Annotated[int, typer.Option(help="Tokens of the prefill.")] = TOKENS,
    serial: Annotated[bool, typer.Option("--serial", help="Sign planes as in the paper.")] = False,
    rtl: Annotated[
        bool, typer.Option("--rtl", help="Run every shape of layer, 16 tokens, on the RTL instead.")
    ] = False,
    markdown: Markdown = False,
) -> None:
    """Count cycles of nine LLMs' linear layers with the mantissas that the paper found."""
    check_number("--tokens", tokens, 1)
    if rtl:
        _run_shapes(markdown)
        return
    found = list(speeds(AndaConfig(sign_plane="serial" if serial else "banked"), tokens))
    rows: list[list[object]] = []
    for speed in found:
        model = speed.model
        combinations = (model.tenth_percent, model.one_percent)
        shown = [",".join(map(str, mantissas)) for mantissas in combinations]
        rows.append([model.model, *shown, *speed.bops, *speed.speedup])
    bops, speedup = geometric_means(found)
    rows.append(["geometric mean", "", "", *bops, *speedup])
    columns = [f"{what}, {loss}" for what in ("M", "BOPs saved", "x fp16") for loss in LOSSES]
    title = f"{tokens} tokens, 16 x 16 arrays, fill and drain in"
    (markdown_table if markdown else table)(["model", *columns], rows, title=title)


def _run_shapes(markdown: bool) -> None:
    """Cycles of the RTL beside those of the law; in Markdown a line a unit."""
    rows: list[list[object]] = []
    wrong = 0
    with Workers(1) as workers, progress() as report:
        runner = Runner(workers, report)
        for shape in shapes():
            done = measure(shape, runner)
            wrong += len(done.mismatches)
            values = (shape.unit, shape.mantissa, shape.in_features, shape.outputs)
            rows.append([*values, done.cycles, done.golden.cycles, len(done.mismatches)])
    title = "16 tokens, 16 x 16 arrays"
    if markdown:
        markdown_table(
            ["unit", "layers", "least cycles", "most cycles", "mismatches"],
            [_summary(unit, rows) for unit in dict.fromkeys(row[0] for row in rows)],
            title=title,
        )
    else:
        table(COLUMNS, rows, title=title)
    if wrong:
        raise DifferenceError(f"RTL and golden differ in {wrong} places.")


def _summary(unit: object, rows: list[list[object]]) -> list[object]:
    """All layers of a unit in one line."""
    of_unit = [dict(zip(COLUMNS, row, strict=True)) for row in rows if row[0] == unit]
    cycles = [int(str(row["RTL cycles"])) for row in of_unit]
    wrong = sum(int(str(row["mismatches"])) for row in of_unit)
    return [unit, len(of_unit), min(cycles), max(cycles), wrong]


if __name__ == "__main__":
    run_app(app)
