"""Area and critical path of a design: transistors always, a library's unit where there is one."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...golden.contract.config import Config
from ...golden.contract.design import Design
from ...golden.contract.errors import UserError
from ...hw.generate import generate
from ..tools import toolchain
from ..tools.progress import Progress
from ..tools.workers import Workers, result_of
from .adders import full_adder
from .clock_gates import model
from .library import Library, read_library
from .memories import PRICINGS, Memory, Pricing
from .prices import TRANSISTORS, PriceTable, find_table, read_table
from .report import AreaReport, MemoryArea, ModuleArea, Spread
from .synthesis import Mapped, Synthesised, Target, library_map, synthesise
from .timing import CriticalPath, critical_path

RUNS = 5
"""The order of cells alone moves a result by several per cent."""


def area(
    design: Design,
    config: Config,
    liberty: Sequence[Path] = (),
    runs: int = RUNS,
    memories: Pricing = "table",
    *,
    table: Path | None = None,
    timing: bool = True,
    full_adders: bool = True,
    ripple: bool = False,
    clock_gates: bool = True,
    jobs: int | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> AreaReport:
    """Area and critical path of a design.

    Every distinct module is synthesised once, with its hierarchy kept, and counts as often as it
    is instantiated.

    Parameters
    ----------
    design, config
        What to measure.
    liberty
        Files of a Liberty library; by default one that is installed, see ``nibbleforge doctor``.
    runs
        Runs with different orders of the cells; the first leaves them as emitted.
    memories
        ``table``: priced from a table; ``registers``: built of flip-flops and multiplexers.
    table
        Memory table for the library; by default the one that comes with nibbleforge.
    timing
        Whether to look for the critical path, where OpenSTA is installed.
    full_adders
        Whether sums are made of full adders where there are some among the gates.
    ripple
        Whether carries of ``+`` go from bit to bit: smaller and slower than in trees.
    clock_gates
        Whether registers that share an enable get a clock gate, where the library has one or the
        table prices one.
    jobs
        Processes at once; by default one a processor.
    progress
        Called with the stage, runs done and all runs.

    Raises
    ------
    UserError
        A file that cannot be used, a library that lacks cells or their areas, no prices for a
        memory, cells that the estimate of transistors leaves out.
    """
    if runs < 1:
        raise UserError(f"the number of runs must be at least 1, got {runs}.")
    if memories not in PRICINGS:
        raise UserError(f"memories must be {' or '.join(PRICINGS)}, got {memories!r}.")
    with (
        tempfile.TemporaryDirectory(prefix="nibbleforge-") as folder,
        Workers(jobs, Path(folder)) as workers,
    ):
        files = tuple(liberty) or toolchain.liberty_files()
        library = read_library(files, Path(folder)) if files else None
        prices = _prices(library, table)
        target = None
        if library:
            target = chosen_target(
                library, Path(folder), prices, full_adders=full_adders, clock_gates=clock_gates
            )
        verilog = generate(design, config).verilog
        progress(f"{design.name}: synthesis", 0, 0)
        own = _subfolder(folder, "gates")
        gates = synthesise(verilog, design.name, memories, workers, own, ripple=ripple)
        found = _price(gates, library, prices)
        notes = _missing(library, timing)
        mapped, paths = [], []
        if target:
            target = where_smaller(gates, target, workers, Path(folder))
            access = {
                m.memory.box: (m.memory, m.kind.access_of(m.memory.words)) for m in found if m.kind
            }
            timed = timing and not notes
            started = [
                workers.start(_run, gates, target, access, seed, timed, workers, Path(folder))
                for seed in range(runs)
            ]
            for done, run in enumerate(started):
                progress(f"{design.name}: mapping", done, runs)
                cells, path_found = result_of(run)
                mapped.append(cells)
                paths += [path_found] if path_found else []
    return AreaReport(
        design=design,
        config=config,
        pricing=memories,
        seeds=tuple(range(runs)),
        modules=_modules(gates, mapped, library),
        memories=found,
        target=target,
        unit=prices.unit if prices else "units of the library",
        paths=tuple(paths),
        notes=notes,
    )


def chosen_target(
    library: Library,
    folder: Path,
    prices: PriceTable | None = None,
    *,
    full_adders: bool = True,
    clock_gates: bool = True,
) -> Target:
    """What is taken of a library.

    Parameters
    ----------
    library, folder
        The library, and an existing folder that outlives the target.
    prices
        Where a modelled clock gate is priced, for a library that has none.
    full_adders, clock_gates
        Whether they are wished.
    """
    if clock_gates and library.clock_gate is None and prices and prices.clock_gate:
        library = library.with_model(model(prices.clock_gate.area), folder)
    return Target(
        library,
        full_adder(library) if full_adders else None,
        library.clock_gate if clock_gates else None,
    )


def _prices(library: Library | None, table: Path | None) -> PriceTable | None:
    """Memory table for a library, None where there is none."""
    if table is None:
        return find_table(library.name) if library else None
    prices = read_table(table)
    if library is None:
        raise UserError(f"{table} is of no use without a Liberty library: give one.")
    if prices.library != library.name:
        raise UserError(f"{table} is for the library {prices.library}, not {library.name}.")
    return prices


def _price(
    gates: Synthesised, library: Library | None, prices: PriceTable | None
) -> tuple[MemoryArea, ...]:
    """Price the memories that are not among the gates."""
    transistors = find_table(TRANSISTORS)
    if gates.memories and library and not prices:
        raise UserError(
            f"there is no memory table for the library {library.name}: give one with "
            "--memory-table, or --memories registers."
        )
    found = []
    for memory in gates.memories:
        if transistors is None:
            raise RuntimeError("the table of transistors is missing")
        estimate = transistors.kind_of(memory)
        kind = prices.kind_of(memory) if library and prices else None
        found.append(
            MemoryArea(
                memory,
                gates.instances[memory.module],
                estimate.price(memory),
                estimate,
                kind.price(memory) if kind else None,
                kind,
            )
        )
    return tuple(found)


def _missing(library: Library | None, timing: bool) -> tuple[str, ...]:
    """Why there is no area or no critical path."""
    if library is None:
        return (f"No areas: {toolchain.TOOLS['liberty'].missing}",)
    if timing and toolchain.find("sta") is None:
        return (f"No critical path: {toolchain.TOOLS['sta'].missing}",)
    if timing and library.buffer is None:
        return (f"No critical path: the library {library.name} has no buffer.",)
    return ()


def _subfolder(folder: str | Path, name: str) -> Path:
    path = Path(folder, name)
    path.mkdir()
    return path


def where_smaller(gates: Synthesised, target: Target, workers: Workers, folder: Path) -> Target:
    """Full adders only in modules that get smaller by them, as two mappings in one order tell."""
    if target.full_adder is None:
        return target
    plain = replace(target, full_adder=None)
    started = [
        workers.start(library_map, gates, each, 0, workers, _subfolder(folder, name))
        for name, each in (("plain", plain), ("adders", target))
    ]
    without, adders = (result_of(run) for run in started)
    left = (name for name, area in adders.areas.items() if area > without.areas[name])
    return replace(target, left=frozenset(left))


def _run(
    gates: Synthesised,
    target: Target,
    access: dict[str, tuple[Memory, float]],
    seed: int,
    timing: bool,
    workers: Workers,
    folder: Path,
) -> tuple[Mapped, CriticalPath | None]:
    """One run: map, then time."""
    own = _subfolder(folder, f"run-{seed}")
    mapped = library_map(gates, target, seed, workers, own)
    if not timing:
        return mapped, None
    return mapped, critical_path(mapped.netlist, target.library, access, workers, own)


def _modules(
    gates: Synthesised, mapped: Sequence[Mapped], library: Library | None
) -> tuple[ModuleArea, ...]:
    buffer = library.buffer.area if library and library.buffer else 0.0
    names = sorted(gates.instances, key=lambda name: (name == gates.top, name))
    return tuple(
        ModuleArea(
            name,
            gates.instances[name],
            gates.transistors[name],
            Spread(tuple(run.areas[name] for run in mapped)) if mapped else None,
            Spread(tuple(run.buffers[name] * buffer for run in mapped)) if mapped else None,
            mapped[0].full_adders[name] if mapped else 0,
            mapped[0].clock_gates[name] if mapped else 0,
        )
        for name in names
    )
