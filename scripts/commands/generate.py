"""``nibbleforge generate``: Verilog, manifest, instantiation template and waivers."""

from typing import Annotated

import typer

from ...golden.contract.errors import UserError
from ...hw.generate import RESETS, generate
from ...sim.tools.results import new_files
from ..options import ConfigFile, Output, Preset, Settings, UnitName, configure
from ..show import console


def command(
    unit: UnitName,
    output: Output,
    preset: Preset = "paper",
    config: ConfigFile = None,
    settings: Settings = None,
    reset: Annotated[
        str, typer.Option(metavar="high|low", help="Active level of the reset.")
    ] = "high",
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Top module; prefix of all others.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files of another design or configuration.")
    ] = False,
) -> None:
    """Generate the Verilog of a unit."""
    owner, configuration, _ = configure(unit, preset, config, settings)
    if reset not in RESETS:
        raise UserError(f"--reset must be {' or '.join(RESETS)}, got {reset!r}.")
    designs = owner.designs(configuration)
    with new_files(output) as folder:
        written = []
        for design in designs:
            top = f"{name}_{design.name}" if name and len(designs) > 1 else name
            generated = generate(design, configuration, name=top, reset=reset)
            generated.check_folder(output, replace=force)
            written += generated.write(folder)
    for path in written:
        console.print(str(output / path.name), markup=False)
