"""``nibbleforge export``: a folder from which a flow goes on, complete by itself."""

from typing import Annotated

import typer

from ...golden.units import core_name
from ...sim.fpga.flows import FLOWS, flow
from ...sim.fpga.folder import export
from ...sim.tools.results import new_files
from ..options import ConfigFile, Output, Preset, Settings, UnitName, configure
from ..show import console


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
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Top module; prefix of all others.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files of another design or configuration.")
    ] = False,
) -> None:
    """Export the core around a unit, for simulators or an FPGA flow."""
    chosen = flow(flow_name)
    _, configuration, _ = configure(core_name(unit), preset, config, settings)
    with new_files(output) as folder:
        exported = export(chosen, unit, configuration, design=design, name=name)
        exported.check_folder(output, replace=force)
        written = exported.write(folder)
    for path in written:
        console.print(str(output / path.name), markup=False)
    console.print(f"\nIn {output}:", markup=False)
    for line in exported.commands:
        console.print(line, markup=False, soft_wrap=True)
