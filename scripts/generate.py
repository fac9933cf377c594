"""``nibbleforge generate``: Verilog, manifest, instantiation template and waivers."""

from typing import Annotated

import typer

from ..golden.errors import UserError
from ..hw.generate import Reset, generate
from ..sim.results import new_files
from .options import ConfigFile, Output, Preset, Settings, UnitName, configure
from .show import console


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
) -> None:
    """Generate the Verilog of a unit."""
    owner, configuration, _ = configure(unit, preset, config, settings)
    level: Reset = "high" if reset == "high" else "low"
    if reset not in ("high", "low"):
        raise UserError(f"--reset must be high or low, got {reset!r}.")
    designs = owner.designs(configuration)
    with new_files(output) as folder:
        for design in designs:
            top = name if name is None or len(designs) == 1 else f"{name}_{design.name}"
            for path in generate(design, configuration, name=top, reset=level).write(folder):
                console.print(str(output / path.name), markup=False)
