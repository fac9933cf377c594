"""``nibbleforge timing``: clock, cells and critical path of a unit on an FPGA or in a library."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ...golden.contract.config import Config
from ...golden.contract.design import Design
from ...golden.contract.errors import UserError
from ...golden.version import VERSION
from ...sim.fpga.paths import Path as CriticalPath
from ...sim.fpga.place import DEVICES, Target
from ...sim.fpga.synthesis import ECP5, XILINX
from ...sim.fpga.timing import SEEDS, TimingReport, timing
from ...sim.silicon.area import area
from ...sim.silicon.report import AreaReport
from ...sim.tools import toolchain
from ...sim.tools.results import check_output, new_files, write_json
from ..options import ConfigFile, Preset, Settings, UnitName, check_number, configure
from ..show import Report, console, progress, table

CELLS = "cells"
FAMILIES = {family.name: family for family in (ECP5, XILINX)}
MOST_SEEDS = 1000
MOST_CLOCK = 1000
_MHZ = 1000.0  # and ns


def command(
    unit: UnitName,
    preset: Preset = "fpga",
    config: ConfigFile = None,
    settings: Settings = None,
    family: Annotated[
        str,
        typer.Option(
            metavar="|".join((*FAMILIES, CELLS)),
            help="FPGA; xilinx: cells only. cells: a library's, by OpenSTA.",
        ),
    ] = ECP5.name,
    seeds: Annotated[
        int, typer.Option(metavar="N", help="Runs of the placer, or orders of a library's cells.")
    ] = SEEDS,
    device: Annotated[str, typer.Option(metavar="|".join(DEVICES), help="Size of ECP5.")] = "85k",
    clock: Annotated[
        int, typer.Option(metavar="MHZ", help="Clock that place and route work towards.")
    ] = 150,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder for timing.json.")
    ] = None,
) -> None:
    """Measure the clock of a unit with a register on every port."""
    check_number("--seeds", seeds, 1, MOST_SEEDS)
    check_number("--clock", clock, 1, MOST_CLOCK)
    if device not in DEVICES:
        raise UserError(f"--device must be {_either(DEVICES)}, got {device!r}.")
    if family not in (*FAMILIES, CELLS):
        raise UserError(f"--family must be {_either((*FAMILIES, CELLS))}, got {family!r}.")
    owner, configuration, _ = configure(unit, preset, config, settings)
    if output is not None:
        check_output(output)
    with progress() as report:
        reports: list[TimingReport | AreaReport] = []
        for design in owner.designs(configuration):
            if family == CELLS:
                reports.append(_in_library(design, configuration, seeds, report))
                continue
            chosen, target = FAMILIES[family], Target(device, float(clock))
            reports.append(timing(design, configuration, chosen, target, seeds, progress=report))
    for found in reports:
        if isinstance(found, TimingReport):
            show_cells(found)
            if found.path:
                show_path(found.path, f"{found.design.name}: critical path of the slowest seed")
    if family != XILINX.name:
        show_clocks(reports)
    if output is None:
        return
    with new_files(output) as folder:
        write_json(folder / "timing.json", _result(owner.name, family, reports))
    console.print(f"results in {output / 'timing.json'}", markup=False)


def _in_library(design: Design, config: Config, seeds: int, report: Report) -> AreaReport:
    """Critical path in a Liberty library."""
    for tool in ("liberty", "sta"):
        toolchain.require(tool)
    found = area(design, config, runs=seeds, progress=report)
    if found.notes:
        raise UserError(found.notes[0])
    return found


def show_cells(found: TimingReport) -> None:
    """Cells of one design."""
    name, place = found.design.name, found.target.name if found.target else found.family.name
    rows = [[kind, found.family.memories.get(kind, ""), n] for kind, n in found.cells.items()]
    table(["cell", "memory", "number"], rows, f"{name} on {place}")


def show_path(path: CriticalPath, title: str) -> None:
    """A critical path, step after step."""
    steps = [[step.name, step.kind, step.logic, step.routing] for step in path.steps]
    steps.append(["in all", "", path.logic, path.routing])
    table(["signal", "cell", "logic", "routing"], steps, f"{title}, ns")


def show_clocks(reports: Sequence[TimingReport | AreaReport]) -> None:
    """A row per design."""
    rows = []
    for found in reports:
        path = found.path
        if isinstance(found, TimingReport):
            least, median = found.least, found.median
        else:
            period = found.period
            least = _MHZ / period.most if period else None
            median = _MHZ / period.median if period else None
        rows.append([found.design.name, least, median, path and f"{path.start} to {path.end}"])
    table(["design", "MHz min", "MHz median", "from .. to"], rows, "clock")


def _either(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}"


def _result(unit: str, family: str, reports: Sequence[TimingReport | AreaReport]) -> dict[str, Any]:
    tools = {name: toolchain.find(name) for name in ("nextpnr-ecp5", "sta")}
    return {
        "generator": f"nibbleforge {VERSION}",
        "unit": unit,
        "family": family,
        "versions": {
            **toolchain.versions(),
            **{name: found.version if found else "missing" for name, found in tools.items()},
        },
        "designs": {found.design.name: found.to_json() for found in reports},
    }
