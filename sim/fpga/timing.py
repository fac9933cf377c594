"""Clock, cells and critical path of a design on an FPGA, a register on every port."""

import json
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path as Folder
from typing import Any

from ...golden.contract.config import Config
from ...golden.contract.design import Design
from ...golden.contract.errors import UserError
from ...hw.generate import generate
from ..tools import toolchain
from ..tools.progress import Progress
from ..tools.workers import Workers, result_of
from .boundary import boundary
from .fit import to_lower
from .paths import Path
from .place import Placed, Target, TooLargeError, place
from .synthesis import ECP5, Family, synthesise

SEEDS = 3
"""Two seeds of one design differ by up to a tenth."""


@dataclass(frozen=True)
class TimingReport:
    """A design on an FPGA, out of context.

    Attributes
    ----------
    design, config
        What was measured.
    family
        What it was mapped to.
    target
        What it was placed on; None where it was only synthesised.
    cells
        Kind of cell to how many there are, registers of the boundary included.
    placed
        One a seed; empty where it was only synthesised.
    """

    design: Design
    config: Config
    family: Family
    target: Target | None
    cells: dict[str, int]
    placed: tuple[Placed, ...]

    @property
    def least(self) -> float | None:
        """Fastest clock in MHz of the slowest seed."""
        return min((run.megahertz for run in self.placed), default=None)

    @property
    def median(self) -> float | None:
        """Fastest clock in MHz of the median seed."""
        return statistics.median(run.megahertz for run in self.placed) if self.placed else None

    @property
    def path(self) -> Path | None:
        """Critical path of the slowest seed."""
        slowest = min(self.placed, key=lambda run: run.megahertz, default=None)
        return slowest.path if slowest else None

    @property
    def memories(self) -> dict[str, int]:
        """Cells that are memories."""
        return {kind: n for kind, n in self.cells.items() if kind in self.family.memories}

    def to_json(self) -> dict[str, Any]:
        """Everything, for a result file."""
        return {
            "design": self.design.name,
            "config": json.loads(self.config.canonical_json()),
            "config_hash": self.config.config_hash,
            "family": self.family.name,
            "target": {**asdict(self.target), "name": self.target.name} if self.target else None,
            "cells": self.cells,
            "memories": self.memories,
            "mhz": {"min": self.least, "median": self.median} if self.placed else None,
            "runs": [
                {
                    "seed": run.seed,
                    "mhz": run.megahertz,
                    "used": {name: list(pair) for name, pair in run.used.items()},
                    "critical_path": {
                        "ns": run.path.ns,
                        "logic_ns": run.path.logic,
                        "routing_ns": run.path.routing,
                        "steps": [asdict(step) for step in run.path.steps],
                    },
                }
                for run in self.placed
            ],
        }


def timing(
    design: Design,
    config: Config,
    family: Family,
    target: Target,
    seeds: int = SEEDS,
    *,
    jobs: int | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> TimingReport:
    """Map a design to an FPGA; on an ECP5 also place and route it, once a seed.

    Parameters
    ----------
    design, config
        What to measure.
    family
        What to map it to.
    target
        What to place it on; only ECP5s are.
    seeds
        Runs of the placer.
    jobs
        Processes at once; by default one a processor.
    progress
        Called with the stage, runs done and all runs.

    Raises
    ------
    UserError
        nextpnr is not installed, or the design does not fit; the sentence says by how much, and
        which parameters to lower.
    """
    if seeds < 1:
        raise UserError(f"the number of seeds must be at least 1, got {seeds}.")
    routed = family is ECP5
    if routed:
        toolchain.require("nextpnr-ecp5")
    top, verilog = boundary(generate(design, config))
    with (
        tempfile.TemporaryDirectory(prefix="nibbleforge-") as name,
        Workers(jobs, Folder(name)) as workers,
    ):
        folder = Folder(name)
        progress(f"{design.name}: synthesis", 0, 0)
        cells = synthesise(verilog, top, family, workers, folder)
        placed = []
        if routed:
            try:
                started = [
                    workers.start(place, target, seed, workers, folder, "--out-of-context")
                    for seed in range(1, seeds + 1)
                ]
                for done, run in enumerate(started):
                    progress(f"{design.name}: place and route", done, seeds)
                    placed.append(result_of(run))
            except TooLargeError as error:
                progress(f"{design.name}: which parameter to lower", 0, 0)
                raise advised(error, design, config, workers, folder) from error
    return TimingReport(design, config, family, target if routed else None, cells, tuple(placed))


def advised(
    error: TooLargeError, design: Design, config: Config, workers: Workers, folder: Folder
) -> UserError:
    """The error of a design that does not fit, with what to do about it."""
    names = to_lower(design, config, error.resource, workers, folder)
    advice = f"; lower {' or '.join(names)}" if names else ""
    return UserError(f"{design.name}: {str(error).removesuffix('.')}{advice}.")
