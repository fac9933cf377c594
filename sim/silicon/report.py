"""What was found of a design's area: its parts, its runs, and the form of result files."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...golden.contract.config import Config
from ...golden.contract.design import Design
from .adders import FullAdder
from .liberty import Cell
from .library import Library
from .memories import Memory, Pricing
from .prices import MemoryPrice
from .synthesis import Target
from .timing import CriticalPath


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
    full_adders, clock_gates
        How many of them one instance has.
    """

    name: str
    instances: int
    transistors: int
    area: Spread | None = None
    buffers: Spread | None = None
    full_adders: int = 0
    clock_gates: int = 0

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
    target
        The library and what is taken of it; None where there is no library.
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
    target: Target | None
    unit: str
    paths: tuple[CriticalPath, ...]
    notes: tuple[str, ...]

    @property
    def library(self) -> Library | None:
        """The library; None where there is none."""
        return self.target.library if self.target else None

    @property
    def full_adders(self) -> int:
        """How many there are in the whole design."""
        return sum(module.instances * module.full_adders for module in self.modules)

    @property
    def clock_gates(self) -> int:
        """How many there are in the whole design."""
        return sum(module.instances * module.clock_gates for module in self.modules)

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
        target, area, period = self.target, self.area, self.period
        logic, buffers = self.logic, self.buffers
        if target is None or area is None or logic is None or buffers is None:
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
            "files": [
                {"path": str(file.path), "sha256": file.sha256, "modelled": file.modelled}
                for file in target.library.files
            ],
            "unit": self.unit,
            "full_adders": _taken(target.full_adder, self.full_adders),
            "clock_gates": _taken(target.clock_gate, self.clock_gates),
            "area": area.summary(),
            "logic": logic.summary(),
            "buffers": buffers.summary(),
            "memories": self.memory_area,
            "critical_path_ns": period.summary() if period else None,
            "modules": {
                m.name: {
                    "area": m.area.values,
                    "buffers": m.buffers.values,
                    "full_adders": m.full_adders,
                    "clock_gates": m.clock_gates,
                }
                for m in self.modules
                if m.area and m.buffers
            },
            "runs": runs,
        }


def _taken(kind: FullAdder | Cell | None, number: int) -> dict[str, Any]:
    """What full adders or clock gates are made of, and how many there are."""
    if isinstance(kind, FullAdder):
        return {"made_of": kind.made, "cells": kind.cells, "number": number}
    return {"cells": kind.name if kind else "none", "number": number}


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
        "transistors_as": _kind_json(found.transistors_kind),
        "area": found.area,
        "area_as": _kind_json(found.kind) if found.kind else None,
    }


def _kind_json(kind: MemoryPrice) -> dict[str, Any]:
    return kind.model_dump(exclude={"macro"})
