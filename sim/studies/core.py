"""What a core costs and how busy it keeps its unit."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...golden.contract.design import Design
from ...golden.contract.errors import UserError
from ...golden.contract.layer import Layer
from ...golden.soc.config import CoreConfig
from ...golden.soc.unit import CoreRun
from ...golden.units import core_name, unit
from ...hw.generate import generate
from ..silicon.synthesis import run_yosys
from ..tools.workers import Workers

CELLS = ("LUT4", "CCU2C", "TRELLIS_FF", "DP16KD", "TRELLIS_DPR16X4", "MULT18X18D")
"""Cells of the ECP5 that are counted; a CCU2C is a carry of two bits and two LUTs."""


@dataclass(frozen=True)
class Usage:
    """How a layer runs on a core, by its golden schedule.

    Attributes
    ----------
    bus_width
        Bits of the streams.
    outputs_stay
        The loop order.
    words
        Words that pass the stream in.
    cycles
        From the first pass to the final word.
    alone
        Cycles of the unit alone.
    """

    bus_width: int
    outputs_stay: bool
    words: int
    cycles: int
    alone: int

    @property
    def share(self) -> float:
        """Speed in steady state as a share of that of the unit alone."""
        return self.alone / self.cycles


def core_of(name: str, preset: str, **changes: object) -> tuple[Design, Any]:
    """A core and its configuration."""
    owner = unit(core_name(name))
    config = owner.presets[preset].replace(**changes)
    (design,) = owner.designs(config)
    return design, config


def usage(
    design: Design, config: CoreConfig, tokens: int, in_features: int, outputs: int, stay: bool
) -> Usage:
    """Run a layer of random INT8 activations and INT4 weights through the golden schedule."""
    assert design.inner is not None
    if not isinstance(config, CoreConfig):
        raise UserError(f"{design.name} runs no layers: its area can be counted, with --area.")
    rng = np.random.default_rng(0)
    low, high = config.unit.activation_range
    operands = Layer(
        rng.integers(low, high + 1, (tokens, in_features)).astype(np.int16),
        rng.integers(-8, 8, (outputs, in_features)).astype(np.int8),
    )
    found = design.schedule(config, CoreRun(operands, stay))
    begun = found.events["core_passes"].cycles
    return Usage(
        config.bus_width,
        stay,
        len(found.cycles["s_axis"]),
        int(found.cycles["m_axis"][-1] - begun[0]) + 1,
        design.inner.schedule(config.unit, operands).counts().cycles,
    )


def cells(design: Design, config: CoreConfig, workers: Workers, folder: Path) -> dict[str, Counter]:
    """Cells of every module on an ECP5, by ``synth_ecp5``, times its instances."""
    generated = generate(design, config)
    (folder / "core.v").write_text(generated.verilog)
    commands = (
        "read_verilog core.v",
        f"synth_ecp5 -top {generated.name} -noflatten",
        "tee -q -o cells.json stat -json",
    )
    run_yosys(commands, workers, folder)
    modules = {
        name.removeprefix("\\"): found["num_cells_by_type"]
        for name, found in json.loads((folder / "cells.json").read_text())["modules"].items()
    }
    times: Counter = Counter()

    def visit(name: str) -> None:
        times[name] += 1
        for kind, count in modules[name].items():
            for _ in range(count if kind in modules else 0):
                visit(kind)

    visit(generated.name)
    return {
        name: Counter({cell: times[name] * found.get(cell, 0) for cell in CELLS})
        for name, found in modules.items()
    }
