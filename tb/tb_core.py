"""Stimuli of cores: those of the unit inside, in either loop order."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..golden.contract.config import Config
from ..golden.contract.design import Design
from ..golden.contract.ports import port_of
from ..golden.soc.blocks import LayerBlocks
from ..golden.soc.config import CoreConfig
from ..golden.soc.memory import PAGE, Rows, config_around
from ..golden.soc.registers import sides
from ..golden.soc.unit import CoreRun, all_ports, schedule
from .stimuli import Stimuli, stimuli_of

LARGEST_LATENCY = 100


def random_config(
    unit: Callable[[Any], Config], design: Design, rng: np.random.Generator
) -> Config:
    """A small core around a small unit; an illegal draw raises ``UserError``."""
    inner = unit(rng)
    fetches = Rows.of(design.ports(inner)) is not None
    values: dict[str, Any] = {
        "bus_width": int(rng.choice([32, 64, 128])),
        "token_blocks": int(rng.integers(1, 4)),
        "output_blocks": int(rng.integers(1, 4)),
        "block_beats": int(rng.choice([32, 64, 128])),
        "result_beats": int(rng.choice([16, 64])),
    }
    if fetches:
        values |= {
            "address_bits": int(rng.choice([32, 40])),
            "burst": int(rng.choice([1, 2, 5, 64])),
            "rows_ahead": int(rng.integers(1, 9)),
        }
    return config_around(type(inner), fetches=fetches)(unit=inner, **values)


def random_run(
    operands: Callable[[Any, Any], Any],
    design: Design,
    config: CoreConfig,
    rng: np.random.Generator,
) -> CoreRun:
    """A layer in a random loop order; its rows anywhere in a memory of any latency."""
    outputs_stay, tile_packets = (bool(bit) for bit in rng.integers(0, 2, 2))
    run = CoreRun(operands(config.unit, rng), outputs_stay, tile_packets)
    rows = Rows.of(design.ports(config.unit))
    if rows is None:
        return run
    address = int(rng.integers(PAGE)) * rows.beat_bytes
    latency = rng.integers(1, rng.choice([2, 10, LARGEST_LATENCY]), int(rng.choice([1, 7])))
    return replace(run, address=address, latency=latency)


def bins(
    unit: Callable[[Any, Any], set[str]], design: Design, config: CoreConfig, run: CoreRun
) -> set[str]:
    """Functional bins that this run hits: the unit's, and the core's."""
    hit = unit(config.unit, run.operands)
    layer = LayerBlocks.of(design, config, run.operands, outputs_stay=run.outputs_stay)
    loops = layer.loops(config)
    groups = {side: len(loops.groups(side)) for side in ("tokens", "outputs")}
    facts = {
        "tokens stay": not run.outputs_stay,
        "outputs stay": run.outputs_stay,
        "packet a tile": run.tile_packets,
        "packet a layer": not run.tile_packets,
        "single pass": len(loops.passes()) == 1,
        "several passes of one group that stays": groups[loops.inner] > 1,
        "several groups that stay": groups[loops.outer] > 1,
    }
    if layer.image:
        facts |= _memory_facts(design, config, run)
    return hit | {f"core: {name}" for name, is_hit in facts.items() if is_hit}


def _memory_facts(design: Design, config: CoreConfig, run: CoreRun) -> dict[str, bool]:
    """What the bursts of a run are like."""
    port = port_of(all_ports(design, config), "m_axi_ar")
    bursts = port.unpack(schedule(design, config, run).beats[port.name].words)
    rows = Rows.of(design.ports(config.unit))
    assert rows is not None
    ends = bursts["addr"] + (bursts["len"] + 1) * rows.beat_bytes
    return {
        "same latency": len(run.latency) == 1,
        "random latency": len(run.latency) > 1,
        "burst up to the end of a page": bool((ends % PAGE == 0).any()),
    }


def all_bins(unit: Callable[[Any], set[str]], design: Design, config: CoreConfig) -> set[str]:
    """Every bin that must be hit."""
    names = {"packet a tile", "packet a layer", "single pass"}
    ports = design.ports(config.unit)
    if "outputs" in sides(ports):
        names |= {"tokens stay", "outputs stay"}
    if Rows.of(ports):
        names |= {"same latency", "random latency", "burst up to the end of a page"}
    return unit(config.unit) | {f"core: {name}" for name in names}


def around(design: Design) -> Stimuli:
    """Stimuli of the core around a unit's design."""
    unit = stimuli_of(design)
    return Stimuli(
        config=partial(random_config, unit.config, design),
        random=partial(random_run, unit.random, design),
        corners=lambda config: CoreRun(unit.corners(config.unit)),
        small=(),
        exhaustive=lambda config: CoreRun(unit.exhaustive(config.unit)),
        bins=partial(bins, unit.bins, design),
        all_bins=partial(all_bins, unit.all_bins, design),
        operands=CoreRun,
    )
