"""``python -m nibbleforge.scripts.studies.clocked``: flip-flops that a clock edge reaches."""

from typing import Annotated

import typer

from ...sim.studies.clocked import UNITS, Clocked, on_sample
from ..main import run_app
from ..options import check_number
from ..show import table

app = typer.Typer(add_completion=False)


@app.command()
def command(
    unit: Annotated[
        list[str] | None, typer.Option(help="Unit; may be given several times. Default: some.")
    ] = None,
    preset: Annotated[str, typer.Option(help="Preset.")] = "paper",
    tokens: Annotated[int, typer.Option(help="Tokens.")] = 16,
    outputs: Annotated[int, typer.Option(help="Outputs.")] = 32,
) -> None:
    """Clock gates before registers with an enable: bits that a clock edge reaches in a cycle."""
    for name, value in (("tokens", tokens), ("outputs", outputs)):
        check_number(f"--{name}", value, 1)
    rows = [_row(name, on_sample(name, preset, tokens, outputs)) for name in unit or UNITS]
    table(
        ["unit", "flip-flops", "reached a cycle", "share", "cycles"],
        rows,
        title=f"preset {preset}, a layer of the sample: {tokens} tokens, {outputs} outputs",
    )


def _row(name: str, found: Clocked) -> list[object]:
    return [name, found.bits, round(found.reached), found.share, found.cycles]


if __name__ == "__main__":
    run_app(app)
