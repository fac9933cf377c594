"""What a core costs and how busy it keeps its unit."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...golden.contract.config import Config
from ...golden.contract.design import Design
from ...golden.contract.errors import UserError
from ...golden.soc.blocks import LayerBlocks
from ...golden.soc.config import SIDES, CoreConfig
from ...golden.soc.unit import CoreRun
from ...golden.units import core_name, unit
from ...hw.generate import generate
from ..silicon.synthesis import run_yosys
from ..tensors.files import Capture, sample_path
from ..tools.workers import Workers
from ..units.simulate import Tensors, prepare

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
        Whether blocks of outputs stay while tokens pass, or the reverse.
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
    def stays(self) -> str:
        """What stays."""
        return SIDES[self.outputs_stay]

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


def operands_of(name: str, config: Config, tokens: int, in_features: int, outputs: int) -> Any:
    """A corner of a layer of the sample, as a unit takes it.

    Raises
    ------
    UserError
        The unit runs no linear layers, or the layer is smaller.
    """
    owner = unit(name)
    if owner.takes != "layer" or not owner.simulation:
        raise UserError(f"{name} runs no linear layers.")
    sample = Capture.open(sample_path())
    x, w = sample.activations(sample.layers[0]), sample.weights(sample.layers[0])
    wanted = {"tokens": tokens, "in_features": in_features, "outputs": outputs}
    for (what, size), there in zip(wanted.items(), (*x.shape, len(w)), strict=True):
        if size > there:
            raise UserError(f"the layer of the sample has {there} {what}, asked for are {size}.")
    tensors = Tensors(x[:tokens, :in_features], w[:outputs, :in_features])
    return prepare(owner, config, owner.settings(), tensors).runs[0].operands


def usage(design: Design, config: CoreConfig, operands: Any, stay: bool) -> Usage:
    """Run a layer through the golden schedule, in a loop order."""
    assert design.inner is not None
    found = design.schedule(config, CoreRun(operands, stay))
    begun = found.events["core_passes"].cycles
    return Usage(
        config.bus_width,
        stay,
        len(found.cycles["s_axis"]),
        int(found.cycles["m_axis"][-1] - begun[0]) + 1,
        design.inner.schedule(config.unit, operands).counts().cycles,
    )


def chosen_usage(
    name: str, preset: str, bus_width: int, tokens: int, in_features: int, outputs: int
) -> Usage:
    """The same in the order that the driver takes: the one that moves fewer words."""
    design, config = core_of(name, preset, bus_width=bus_width)
    operands = operands_of(name, config.unit, tokens, in_features, outputs)
    inner = design.inner
    assert inner is not None

    def words(stay: bool) -> int:
        return len(LayerBlocks.of(inner, config, operands, outputs_stay=stay).stream(config))

    return usage(design, config, operands, min((False, True), key=words))


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
