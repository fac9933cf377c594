"""``python -m nibbleforge.scripts.studies.reglu_speed``: cycles of the neuron-skipping FFN."""

from typing import Annotated

import typer

from ...golden.contract.errors import DifferenceError, UserError
from ...golden.reglu.config import RegluConfig
from ...sim.run.measure import Runner, verdict
from ...sim.studies.reglu_speed import DROPPED, SETUPS, Speed, measure, speed
from ...sim.tools.workers import Workers
from ..main import run_app
from ..options import Markdown, check_number
from ..show import markdown_table, progress, table

COLUMNS = (
    "dropped",
    "cycles, 4 tokens",
    "of the law",
    "of dense FFN",
    "by the paper",
    "x early exit",
)

app = typer.Typer(add_completion=False)


@app.command()
def command(
    latency: Annotated[int, typer.Option(help="Cycles from a request to its first beat.")] = 100,
    natural: Annotated[float, typer.Option(help="Share of neurons that add nothing.")] = 0.9,
    rtl: Annotated[bool, typer.Option("--rtl", help="Run the RTL on one token, too.")] = False,
    markdown: Markdown = False,
) -> None:
    """Cycles beside the law, a dense FFN and early exit, at several shares of dropped neurons."""
    check_number("--latency", latency, 1)
    if not 0 <= natural <= 1:
        raise UserError(f"--natural must be in 0..1, got {natural}.")
    wrong = 0
    with Workers(1) as workers, progress() as report:
        runner = Runner(workers, report)
        for config, shape in SETUPS:
            rows: list[list[object]] = []
            for dropped in DROPPED:
                found = speed(config, shape, natural, dropped, latency)
                row: list[object] = [
                    dropped,
                    found.counts.cycles,
                    found.over_law,
                    found.counts.cycles / found.dense,
                    found.share,
                    found.early_exit / found.counts.cycles,
                ]
                if rtl:
                    measured = measure(config, shape, natural, dropped, latency, runner)
                    wrong += len(measured.mismatches)
                    row.append(verdict(measured))
                rows.append(row)
            title = _title(config, shape, natural, latency, found)
            (markdown_table if markdown else table)(
                [*COLUMNS, *(["RTL, 1 token"] if rtl else [])], rows, title=title
            )
    if wrong:
        raise DifferenceError(f"RTL and golden differ in {wrong} places.")


def _title(
    config: RegluConfig, shape: tuple[int, int, int], natural: float, latency: int, found: Speed
) -> str:
    """One unit on one shape; early exit does not depend on what the predictor drops."""
    d, D, rank = shape
    return (
        f"d = {d}, D = {D}, r = {rank}, lanes = {config.lanes}, in_flight = {config.in_flight},"
        f" sparsity {natural:g}, latency {latency};"
        f" early exit takes {found.early_exit / found.dense:.3f} of a dense FFN"
    )


if __name__ == "__main__":
    run_app(app)
