"""Area and critical path of a design: transistors always, a library's unit where there is one."""

import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...golden.contract.config import Config
from ...golden.contract.design import Design
from ...golden.contract.errors import UserError
from ...hw.generate import generate
from ..tools import toolchain
from ..tools.progress import Progress
from ..tools.workers import Workers, result_of
from .liberty import Library, read_library
from .memories import (
    PRICINGS,
    TRANSISTORS,
    Memory,
    MemoryPrice,
    MemoryTable,
    Pricing,
    find_table,
    read_table,
)
from .synthesis import Mapped, Synthesised, library_map, synthesise
from .timing import CriticalPath, critical_path

RUNS = 5
"""The order of cells alone moves a result by several per cent."""


@dataclass(frozen=True)
class Spread:
    """One figure in several runs."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median of the runs."""
        return statistics.median(self.values)

    @property
    def least(self) -> float:
        """Least of the runs."""
        return min(self.values)

    @property
    def most(self) -> float:
        """Most of the runs."""
        return max(self.values)

    def summary(self) -> dict[str, float]:
        """Median and extremes for result files."""
        return {"median": self.median, "min": self.least, "max": self.most}


@dataclass(frozen=True)
class ModuleArea:
    """One distinct module, without the modules and memories it instantiates.

    Attributes
    ----------
    name, instances
        The module and how often it occurs in the design.
    transistors
        Estimate for one instance.
    area
        Area of one instance's cells in each run, in the library's unit.
    buffers
        Area of the buffers that one instance needs, in each run.
    """

    name: str
    instances: int
    transistors: int
    area: Spread | None = None
    buffers: Spread | None = None

    @property
    def total(self) -> float:
        """Median area of all instances with their buffers, transistors where there is no area."""
        if self.area is None or self.buffers is None:
            return self.instances * self.transistors
        both = zip(self.area.values, self.buffers.values, strict=True)
        return self.instances * statistics.median(cells + buffers for cells, buffers in both)


@dataclass(frozen=True)
class MemoryArea:
    """A memory priced from a table.

    Attributes
    ----------
    memory, instances
        The memory and how often it occurs in the design.
    transistors, transistors_kind
        Price of one instance in transistors, and as what kind.
    area, kind
        The same in the library's unit; None where there is no library.
    """

    memory: Memory
    instances: int
    transistors: float
    transistors_kind: MemoryPrice
    area: float | None = None
    kind: MemoryPrice | None = None

    @property
    def total(self) -> float:
        """Price of all instances, in transistors where there is no library."""
        return self.instances * (self.transistors if self.area is None else self.area)


@dataclass(frozen=True)
class AreaReport:
    """Area of a design.

    Attributes
    ----------
    design, config
        What was measured.
    pricing
        Whether memories are priced from the table or built of flip-flops.
    seeds
        Of the runs; 0 is the order of the emitted design.
    modules, memories
        Parts of the area, the top module last.
    library
        The library; None where there is none.
    unit
        Unit of the library's areas, as far as known.
    paths
        Critical path in each run; empty where it is not known.
    notes
        What is missing and why, a sentence each.
    """

    design: Design
    config: Config
    pricing: Pricing
    seeds: tuple[int, ...]
    modules: tuple[ModuleArea, ...]
    memories: tuple[MemoryArea, ...]
    library: Library | None
    unit: str
    paths: tuple[CriticalPath, ...]
    notes: tuple[str, ...]

    @property
    def transistors(self) -> int:
        """Estimate for the whole design."""
        logic = sum(module.instances * module.transistors for module in self.modules)
        return logic + round(sum(m.instances * m.transistors for m in self.memories))

    @property
    def area(self) -> Spread | None:
        """Area of the whole design, buffers and memories included."""
        logic, buffers = self.logic, self.buffers
        if logic is None or buffers is None:
            return None
        price = self.memory_area or 0.0
        pairs = zip(logic.values, buffers.values, strict=True)
        return Spread(tuple(cells + between + price for cells, between in pairs))

    @property
    def logic(self) -> Spread | None:
        """Area of all cells but the buffers between modules and to many pins."""
        return self._sum([(module.instances, module.area) for module in self.modules])

    @property
    def buffers(self) -> Spread | None:
        """Area of the buffers that nets with many pins need."""
        return self._sum([(module.instances, module.buffers) for module in self.modules])

    @property
    def memory_area(self) -> float | None:
        """Price of all memories in the library's unit."""
        if self.library is None:
            return None
        return sum(m.instances * m.area for m in self.memories if m.area is not None)

    @property
    def period(self) -> Spread | None:
        """Critical path in ns."""
        return Spread(tuple(path.ns for path in self.paths)) if self.paths else None

    @property
    def path(self) -> CriticalPath | None:
        """Critical path of the median run."""
        ranked = sorted(self.paths, key=lambda path: path.ns)
        return ranked[(len(ranked) - 1) // 2] if ranked else None

    def _sum(self, parts: Sequence[tuple[int, Spread | None]]) -> Spread | None:
        if self.library is None:
            return None
        return Spread(
            tuple(
                sum(number * spread.values[i] for number, spread in parts if spread)
                for i in range(len(self.seeds))
            )
        )

    def to_json(self) -> dict[str, Any]:
        """Everything for a result file; areas and paths under the library's name."""
        return {
            "design": self.design.name,
            "config": json.loads(self.config.canonical_json()),
            "config_hash": self.config.config_hash,
            "memories_as": self.pricing,
            "transistors": self.transistors,
            "modules": [
                {"name": m.name, "instances": m.instances, "transistors": m.transistors}
                for m in self.modules
            ],
            "memories": [_memory_json(memory) for memory in self.memories],
            "libraries": {self.library.name: self._library_json()} if self.library else {},
            "notes": list(self.notes),
        }

    def _library_json(self) -> dict[str, Any]:
        library, area, period = self.library, self.area, self.period
        logic, buffers = self.logic, self.buffers
        if library is None or area is None or logic is None or buffers is None:
            return {}
        runs = [
            {
                "seed": seed,
                "area": area.values[i],
                "logic": logic.values[i],
                "buffers": buffers.values[i],
                "critical_path": asdict(self.paths[i]) if self.paths else None,
            }
            for i, seed in enumerate(self.seeds)
        ]
        return {
            "path": str(library.path),
            "sha256": library.sha256,
            "unit": self.unit,
            "area": area.summary(),
            "logic": logic.summary(),
            "buffers": buffers.summary(),
            "memories": self.memory_area,
            "critical_path_ns": period.summary() if period else None,
            "modules": {
                m.name: {"area": m.area.values, "buffers": m.buffers.values}
                for m in self.modules
                if m.area and m.buffers
            },
            "runs": runs,
        }


def _memory_json(found: MemoryArea) -> dict[str, Any]:
    memory = found.memory
    return {
        "module": memory.module,
        "name": memory.name,
        "instances": found.instances,
        "words": memory.words,
        "width": memory.width,
        "bits": memory.bits,
        "read_ports": memory.reads,
        "write_ports": memory.writes,
        "clocked_reads": memory.synchronous,
        "transistors": found.transistors,
        "transistors_as": found.transistors_kind.model_dump(),
        "area": found.area,
        "area_as": found.kind.model_dump() if found.kind else None,
    }


def area(
    design: Design,
    config: Config,
    liberty: Path | None = None,
    runs: int = RUNS,
    memories: Pricing = "table",
    *,
    table: Path | None = None,
    timing: bool = True,
    full_adders: bool = False,
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
        Liberty library; by default one that is installed, see ``nibbleforge doctor``.
    runs
        Runs with different orders of the cells; the first leaves them as emitted.
    memories
        ``table``: priced from a table; ``registers``: built of flip-flops and multiplexers.
    table
        Memory table for the library; by default the one that comes with nibbleforge.
    timing
        Whether to look for the critical path, where OpenSTA is installed.
    full_adders
        Whether adders are made of the library's full adder.
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
    installed = toolchain.find("liberty")
    path = liberty or (installed.path if installed else None)
    library = replace(read_library(path), full_adders=full_adders) if path else None
    prices = _prices(library, table)
    verilog = generate(design, config).verilog
    with (
        tempfile.TemporaryDirectory(prefix="nibbleforge-") as folder,
        Workers(jobs, Path(folder)) as workers,
    ):
        progress(f"{design.name}: synthesis", 0, 0)
        gates = synthesise(verilog, design.name, memories, workers, _subfolder(folder, "gates"))
        found = _price(gates, library, prices)
        notes = _missing(library, timing)
        mapped, paths = [], []
        if library:
            access = {m.memory.box: (m.memory, m.kind.access_ns) for m in found if m.kind}
            timed = timing and not notes
            started = [
                workers.start(_run, gates, library, access, seed, timed, workers, Path(folder))
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
        library=library,
        unit=prices.unit if prices else "units of the library",
        paths=tuple(paths),
        notes=notes,
    )


def _prices(library: Library | None, table: Path | None) -> MemoryTable | None:
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
    gates: Synthesised, library: Library | None, prices: MemoryTable | None
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


def _run(
    gates: Synthesised,
    library: Library,
    access: dict[str, tuple[Memory, float]],
    seed: int,
    timing: bool,
    workers: Workers,
    folder: Path,
) -> tuple[Mapped, CriticalPath | None]:
    """One run: map, then time."""
    own = _subfolder(folder, f"run-{seed}")
    mapped = library_map(gates, library, seed, workers, own)
    if not timing:
        return mapped, None
    return mapped, critical_path(mapped.netlist, library, access, workers, own)


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
        )
        for name in names
    )
