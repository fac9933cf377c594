"""``nibbleforge export``: a folder from which a flow goes on, complete by itself."""

from typing import Annotated

import typer

from ...golden.contract.errors import RequirementError, UserError
from ...golden.units import core_name
from ...sim.fpga.boards import BOARDS
from ...sim.fpga.flows import FLOWS, flow
from ...sim.fpga.folder import Built, export
from ...sim.tools.results import new_files
from ..options import (
    ConfigFile,
    Force,
    Output,
    Preset,
    Settings,
    TopName,
    UnitName,
    check_number,
    configure,
)
from ..show import console, progress, table
from .timing import MOST_CLOCK, MOST_SEEDS, show_cells, show_path


def command(
    unit: UnitName,
    flow_name: Annotated[
        str, typer.Option("--flow", metavar="|".join(FLOWS), help="What the folder is for.")
    ],
    output: Output,
    preset: Preset = "fpga",
    config: ConfigFile = None,
    settings: Settings = None,
    design: Annotated[
        str | None, typer.Option(metavar="NAME", help="Design of a unit that has several.")
    ] = None,
    name: TopName = None,
    force: Force = False,
    board: Annotated[
        str | None, typer.Option(metavar="|".join(BOARDS), help="Board of --flow ecp5.")
    ] = None,
    baud: Annotated[
        int | None, typer.Option(metavar="N", help="Bits a second of the board's serial line.")
    ] = None,
    clock: Annotated[
        float | None, typer.Option(metavar="MHZ", help="Clock of the core, by a PLL.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", help="Runs of the placer; the fastest is taken.")
    ] = None,
    require_timing: Annotated[
        bool, typer.Option("--require-timing", help="End with 3 where the clock is not met.")
    ] = False,
) -> None:
    """Export the core around a unit, for simulators or an FPGA flow."""
    chosen = flow(flow_name, board, baud, _hertz(clock))
    if chosen.build is None and (seeds is not None or require_timing):
        raise UserError(f"--seeds and --require-timing are for bitstreams, {flow_name} makes none.")
    runs = 1 if seeds is None else seeds
    check_number("--seeds", runs, 1, MOST_SEEDS)
    _, configuration, _ = configure(core_name(unit), preset, config, settings)
    with new_files(output) as folder:
        exported = export(chosen, unit, configuration, design=design, name=name)
        exported.check_folder(output, replace=force)
        written = exported.write(folder)
        built = None
        if chosen.build:
            with progress() as report:
                built = chosen.build(exported, folder, runs, report)
            written += built.files
    for path in written:
        console.print(str(output / path.name), markup=False)
    console.print(f"\nIn {output}:", markup=False)
    for line in built.added.commands if built else exported.commands:
        console.print(line, markup=False, soft_wrap=True)
    if built:
        _show(built, require_timing)


def _hertz(clock: float | None) -> int | None:
    """Cycles a second of an option in MHz."""
    if clock is None:
        return None
    if not 0 < clock <= MOST_CLOCK:
        raise UserError(f"--clock must be above 0 and at most {MOST_CLOCK} MHz, got {clock:g}.")
    return round(clock * 1e6)


def _show(built: Built, required: bool) -> None:
    """Cells, resources, critical path and whether the clock is met."""
    console.print()
    report, fastest = built.report, built.fastest
    show_cells(report)
    name = report.design.name
    show_path(fastest.path, f"{name}: critical path of seed {fastest.seed}")
    used = fastest.used.items()
    rows = [[kind, number, of, f"{number / of:.0%}"] for kind, (number, of) in used]
    table(["resource", "used", "of", "share"], rows, "device")
    clocks = [
        [run.seed, run.megahertz, f"{run.path.start} to {run.path.end}"] for run in report.placed
    ]
    table(["seed", "MHz", "from .. to"], clocks, "clock")
    assert report.target is not None
    clock = report.target.megahertz
    if fastest.meets(report.target):
        console.print(f"The clock of {clock:g} MHz is met, by seed {fastest.seed}.")
        return
    sentence = f"the clock of {clock:g} MHz is not met: at most {fastest.megahertz:.1f} MHz."
    if required:
        raise RequirementError(sentence)
    console.print(f"Warning: {sentence}")
