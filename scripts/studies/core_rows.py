"""``python -m nibbleforge.scripts.studies.core_rows``: the core around `reglu` and its memory."""

from typing import Annotated

import typer

from ...sim.studies.core_rows import rows_usage
from ..main import run_app
from ..options import check_number
from ..show import table

app = typer.Typer(add_completion=False)

LATENCIES = (1, 20, 100)


@app.command()
def command(
    preset: Annotated[str, typer.Option(help="Preset.")] = "fpga",
    features: Annotated[int, typer.Option(help="Features d.")] = 512,
    neurons: Annotated[int, typer.Option(help="Neurons D.")] = 2048,
    rank: Annotated[int, typer.Option(help="Rank r of the predictor.")] = 64,
    tokens: Annotated[int, typer.Option(help="Tokens.")] = 8,
) -> None:
    """Cycles against those of the unit alone, at several latencies of memory."""
    extent = {"features": features, "neurons": neurons, "rank": rank, "tokens": tokens}
    for name, value in extent.items():
        check_number(f"--{name}", value, 1)
    rows = []
    for latency in LATENCIES:
        found = rows_usage(preset, (features, neurons, rank), 0.8, 0.5, latency, tokens)
        figures = (found.alone, found.cycles, found.share, found.bursts, found.beats)
        rows.append([latency, *figures])
    table(
        ["latency", "unit alone", "core", "share", "bursts", "beats of memory"],
        rows,
        title=f"core around reglu ({preset}): {tokens} tokens, d = {features}, D = {neurons}, "
        f"r = {rank}; 80 % of neurons add nothing, half of them dropped",
    )


if __name__ == "__main__":
    run_app(app)
