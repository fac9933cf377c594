"""``python -m nibbleforge.scripts.studies.core_units``: how busy cores keep their units."""

from typing import Annotated

import typer

from ...golden.units import UNITS
from ...sim.studies.core import chosen_usage
from ..main import run_app
from ..options import check_number
from ..show import table

app = typer.Typer(add_completion=False)

BUSES = (32, 128)


@app.command()
def command(
    unit: Annotated[
        list[str] | None, typer.Option(help="Unit inside; may be given several times.")
    ] = None,
    preset: Annotated[str, typer.Option(help="Preset.")] = "fpga",
    tokens: Annotated[int, typer.Option(help="Tokens of the sample.")] = 128,
    in_features: Annotated[int, typer.Option(help="Input features.")] = 512,
    outputs: Annotated[int, typer.Option(help="Outputs.")] = 128,
) -> None:
    """Cycles against those of the units alone, in the order that moves fewer words."""
    for name, value in (("tokens", tokens), ("in-features", in_features), ("outputs", outputs)):
        check_number(f"--{name}", value, 1)
    names = unit or [name for name, owner in UNITS.items() if owner.takes == "layer"]
    rows = []
    for name in names:
        for bus in BUSES:
            found = chosen_usage(name, preset, bus, tokens, in_features, outputs)
            figures = (found.words, found.alone, found.cycles, found.share)
            rows.append([name, bus, found.stays, *figures])
    table(
        ["unit", "bus", "what stays", "words in", "unit alone", "core", "share"],
        rows,
        title=f"cores ({preset}): {tokens} tokens x {in_features} x {outputs} of SmolLM2-135M",
    )


if __name__ == "__main__":
    run_app(app)
