"""``nibbleforge generate``: Verilog, manifest, instantiation template and waivers."""

from typing import Annotated, Any

import typer

from ...golden.contract.design import Design
from ...golden.contract.errors import UserError
from ...hw.generate import RESETS, Generated, Reset, generate
from ...hw.soc.generate import generate_core
from ...sim.tools.results import new_files
from ..options import (
    ConfigFile,
    Force,
    Output,
    Preset,
    Settings,
    TopName,
    UnitName,
    configure,
    with_cores,
)
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
    inner: Annotated[
        str | None, typer.Option("--unit", metavar="UNIT", help="Unit inside a `core`.")
    ] = None,
    name: TopName = None,
    force: Force = False,
) -> None:
    """Generate the Verilog of a unit."""
    (chosen,) = with_cores([unit], [inner] if inner else [])
    owner, configuration, _ = configure(chosen, preset, config, settings)
    if reset not in RESETS:
        raise UserError(f"--reset must be {' or '.join(RESETS)}, got {reset!r}.")
    designs = owner.designs(configuration)
    with new_files(output) as folder:
        written = []
        for design in designs:
            top = f"{name}_{design.name}" if name and len(designs) > 1 else name
            generated = _generated(design, configuration, inner or unit, top, reset)
            generated.check_folder(output, replace=force)
            written += generated.write(folder)
    for path in written:
        console.print(str(output / path.name), markup=False)


def _generated(design: Design, config: Any, unit: str, top: str | None, reset: Reset) -> Generated:
    """The files of a design; a core has AXI's names, and so its reset."""
    if design.inner is None:
        return generate(design, config, name=top, reset=reset)
    return generate_core(design, config, unit, name=top)
