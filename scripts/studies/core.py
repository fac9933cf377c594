"""``python -m nibbleforge.scripts.studies.core``: cost of a core, and how busy its unit is."""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from ...sim.studies.core import CELLS, cells, core_of, operands_of, usage
from ...sim.tools.workers import Workers
from ..main import run_app
from ..options import check_number
from ..show import table

app = typer.Typer(add_completion=False)

PARTS = {
    "registers": ("register_file",),
    "counters": ("counters",),
    "loader": ("loader", "side", "single_block"),
    "passes and wiring": ("engine", "stream_engine", "packet_engine", ""),
    "collector": ("collector", "sender", "pass_end"),
    "rows from memory": ("row_fetcher", "read_master"),
    "buffers with their replay": ("port_store",),
}
"""Parts of a core and how the names of their modules end; everything else is the unit."""


@app.command()
def command(
    unit: Annotated[str, typer.Option(help="Unit inside; for cycles one of linear layers.")],
    preset: Annotated[str, typer.Option(help="Preset.")] = "fpga",
    tokens: Annotated[int, typer.Option(help="Tokens.")] = 128,
    in_features: Annotated[int, typer.Option(help="Input features.")] = 512,
    outputs: Annotated[int, typer.Option(help="Outputs.")] = 128,
    area: Annotated[bool, typer.Option("--area", help="Count cells instead.")] = False,
) -> None:
    """Cycles against those of the unit alone, by the golden schedule; or cells of an ECP5."""
    for name, value in (("tokens", tokens), ("in-features", in_features), ("outputs", outputs)):
        check_number(f"--{name}", value, 1)
    if area:
        _area(unit, preset)
    else:
        _usage(unit, preset, tokens, in_features, outputs)


def _usage(unit: str, preset: str, tokens: int, in_features: int, outputs: int) -> None:
    rows = []
    for bus in (32, 64, 128):
        design, config = core_of(unit, preset, bus_width=bus)
        operands = operands_of(unit, config.unit, tokens, in_features, outputs)
        for stay in (False, True):
            found = usage(design, config, operands, stay)
            rows.append([bus, found.stays, found.words, found.alone, found.cycles, found.share])
    title = f"core around {unit} ({preset}): {tokens} tokens x {in_features} x {outputs}"
    table(["bus", "what stays", "words in", "unit alone", "core", "share"], rows, title=title)


def _area(unit: str, preset: str) -> None:
    design, config = core_of(unit, preset)
    with Workers(1) as workers, tempfile.TemporaryDirectory(prefix="nibbleforge-") as folder:
        found = cells(design, config, workers, Path(folder))
    totals = {part: Counter[str]() for part in (*PARTS, "unit")}
    for module, counted in found.items():
        totals[_part(module.removeprefix(design.name).lstrip("_"))] += counted
    shell = sum((totals[part] for part in PARTS if "buffers" not in part), Counter())
    rows = [
        [part, *(counted[cell] for cell in CELLS)]
        for part, counted in (*totals.items(), ("shell: all but buffers and unit", shell))
    ]
    table(["part", *CELLS], rows, title=f"core around {unit} ({preset}) on an ECP5, synth_ecp5")


def _part(module: str) -> str:
    """Part that a module belongs to."""
    for part, names in PARTS.items():
        if any(module == name or (name and module.startswith(f"{name}_")) for name in names):
            return part
    return "unit"


if __name__ == "__main__":
    run_app(app)
