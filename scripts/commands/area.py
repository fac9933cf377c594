"""``nibbleforge area``: area and critical path of a unit."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ...golden.contract.errors import UserError
from ...golden.version import VERSION
from ...sim.silicon.area import RUNS, area
from ...sim.silicon.clock_gates import MODEL
from ...sim.silicon.memories import PRICINGS, Pricing
from ...sim.silicon.report import AreaReport, Spread
from ...sim.silicon.synthesis import Target
from ...sim.tools import toolchain
from ...sim.tools.results import check_output, new_files, write_json
from ..options import ConfigFile, Preset, Settings, UnitName, check_number, configure
from ..show import console, progress, table

MOST_RUNS = 1000
LARGE = 1000  # areas from here on are shown without a fraction


def command(
    unit: UnitName,
    preset: Preset = "paper",
    config: ConfigFile = None,
    settings: Settings = None,
    liberty: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="F.lib[.gz]",
            help="Liberty library; default: installed. Several files: given for each.",
        ),
    ] = None,
    runs: Annotated[
        int, typer.Option(metavar="N", help="Runs; each takes the cells in another order.")
    ] = RUNS,
    memories: Annotated[
        str, typer.Option(metavar="table|registers", help="How memories are priced.")
    ] = "table",
    memory_table: Annotated[
        Path | None, typer.Option(metavar="F.toml", help="Prices of memories for the library.")
    ] = None,
    timing: Annotated[bool, typer.Option(help="Whether to look for the critical path.")] = True,
    full_adders: Annotated[
        bool, typer.Option(help="Whether sums are made of full adders where that is smaller.")
    ] = True,
    ripple: Annotated[
        bool,
        typer.Option("--ripple", help="Carries of `+` from bit to bit: smaller, and slower."),
    ] = False,
    clock_gates: Annotated[
        bool, typer.Option(help="Whether registers that share an enable get a clock gate.")
    ] = True,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder for area.json.")
    ] = None,
) -> None:
    """Measure area and critical path of a unit."""
    check_number("--runs", runs, 1, MOST_RUNS)
    if memories not in PRICINGS:
        raise UserError(f"--memories must be {' or '.join(PRICINGS)}, got {memories!r}.")
    pricing: Pricing = "registers" if memories == "registers" else "table"
    owner, configuration, _ = configure(unit, preset, config, settings)
    if output is not None:
        check_output(output)
    with progress() as report:
        reports = [
            area(
                design,
                configuration,
                liberty or (),
                runs,
                pricing,
                table=memory_table,
                timing=timing,
                full_adders=full_adders,
                ripple=ripple,
                clock_gates=clock_gates,
                progress=report,
            )
            for design in owner.designs(configuration)
        ]
    for found in reports:
        _show(found)
    _totals(reports)
    for note in dict.fromkeys(note for found in reports for note in found.notes):
        console.print(note, markup=False)
    if output is None:
        return
    with new_files(output) as folder:
        write_json(folder / "area.json", _result(owner.name, runs, reports))
    console.print(f"results in {output / 'area.json'}", markup=False)


def _show(found: AreaReport) -> None:
    """Modules and memories of one design."""
    known = found.area
    whole = known.median if known else found.transistors
    rows: list[list[object]] = []
    for module in found.modules:
        each = _number(module.area) if module.area else module.transistors
        buffers = _number(module.buffers)
        share, total = _share(module.total, whole), _amount(module.total)
        rows.append([module.name, module.instances, each, buffers, total, share])
    for memory in found.memories:
        kind = memory.kind or memory.transistors_kind
        name = f"{memory.memory.module}.{memory.memory.name}: {memory.memory} ({kind.kind})"
        each = _amount(memory.transistors if memory.area is None else memory.area)
        share = _share(memory.total, whole)
        rows.append([name, memory.instances, each, None, _amount(memory.total), share])
    measure = f"{found.unit}, {found.library.name}" if found.library else "transistors"
    if found.target:
        measure += f"; {_taken(found, found.target)}"
    columns = ["module", "instances", "each", "buffers", "total", "share"]
    table(columns, rows, f"{found.design.name} ({measure})")


def _taken(found: AreaReport, target: Target) -> str:
    """What full adders and clock gates are made of, and how many there are."""
    adder, gate = target.full_adder, target.clock_gate
    adders, gates = "none", "none"
    if adder and found.full_adders:
        made = {"library": "library", "gates": "from gates"}[adder.made]
        adders = f"{found.full_adders:,} {made} ({adder.cells})"
    if gate and found.clock_gates:
        made = "modelled" if gate.name == MODEL else f"library ({gate.name})"
        gates = f"{found.clock_gates:,} {made}"
    return f"full adders: {adders}; clock gates: {gates}"


def _totals(reports: list[AreaReport]) -> None:
    """A row per design."""
    rows = []
    for found in reports:
        known, period = found.area, found.period
        rows.append(
            [
                found.design.name,
                found.transistors,
                _number(known),
                f"{_amount(known.least):,}..{_amount(known.most):,}" if known else None,
                _number(found.buffers),
                None if found.memory_area is None else _amount(found.memory_area),
                period.median if period else None,
                f"{period.least:.3f}..{period.most:.3f}" if period else None,
                f"{found.path.start} to {found.path.end}" if found.path else None,
            ]
        )
    columns = ["design", "transistors", "area", "min..max", "buffers", "memories"]
    table([*columns, "path (ns)", "min..max", "from .. to"], rows, "totals")


def _number(spread: Spread | None) -> int | float | None:
    return None if spread is None else _amount(spread.median)


def _amount(value: float) -> int | float:
    """An area, whole where it is large: units of libraries differ by a factor of a thousand."""
    return round(value) if value >= LARGE or value == int(value) else round(value, 3)


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _result(unit: str, runs: int, reports: list[AreaReport]) -> dict[str, Any]:
    sta = toolchain.find("sta")
    return {
        "generator": f"nibbleforge {VERSION}",
        "unit": unit,
        "seeds": list(range(runs)),
        "versions": {**toolchain.versions(), "sta": sta.version if sta else "missing"},
        "designs": {found.design.name: found.to_json() for found in reports},
    }
