"""``python -m nibbleforge.scripts.studies.core_streams``: streams that pass cores."""

from typing import Annotated

import typer

from ...sim.studies.core_streams import stream_usage
from ..main import run_app
from ..options import check_number
from ..show import table

app = typer.Typer(add_completion=False)

UNITS = ("bitmap", "compressor")


@app.command()
def command(
    preset: Annotated[str, typer.Option(help="Preset.")] = "fpga",
    tokens: Annotated[int, typer.Option(help="Tokens of the sample.")] = 256,
) -> None:
    """Words and cycles, at several widths of the bus."""
    check_number("--tokens", tokens, 1)
    rows = []
    for name in UNITS:
        for bus in (32, 128):
            for found in stream_usage(name, preset, tokens, bus):
                words = (found.words_in, found.words_out)
                figures = (found.alone, found.cycles, found.share)
                rows.append([found.design, bus, found.blocks, *words, *figures])
    table(
        ["unit", "bus", "blocks", "words in", "words out", "unit alone", "core", "share"],
        rows,
        title=f"streams through cores ({preset}): {tokens} tokens of SmolLM2-135M",
    )


if __name__ == "__main__":
    run_app(app)
