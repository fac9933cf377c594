"""Stimuli of cores: those of the unit inside, in either loop order."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..golden.contract.config import Config
from ..golden.contract.design import Design
from ..golden.soc.blocks import LayerBlocks
from ..golden.soc.config import CoreConfig
from ..golden.soc.memory import config_around
from ..golden.soc.unit import CoreRun
from .stimuli import Stimuli, stimuli_of


def random_config(unit: Callable[[Any], Config], rng: np.random.Generator) -> Config:
    """A small core around a small unit; an illegal draw raises ``UserError``."""
    inner = unit(rng)
    values: dict[str, Any] = {
        "bus_width": int(rng.choice([32, 64, 128])),
        "token_blocks": int(rng.integers(1, 4)),
        "output_blocks": int(rng.integers(1, 4)),
        "block_beats": int(rng.choice([32, 64, 128])),
        "result_beats": int(rng.choice([16, 64])),
    }
    return config_around(type(inner))(unit=inner, **values)


def random_run(
    operands: Callable[[Any, Any], Any], config: CoreConfig, rng: np.random.Generator
) -> CoreRun:
    """A layer in a random loop order."""
    outputs_stay, tile_packets = (bool(bit) for bit in rng.integers(0, 2, 2))
    return CoreRun(operands(config.unit, rng), outputs_stay, tile_packets)


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
    return hit | {f"core: {name}" for name, is_hit in facts.items() if is_hit}


def all_bins(unit: Callable[[Any], set[str]], config: CoreConfig) -> set[str]:
    """Every bin that must be hit."""
    names = ("tokens stay", "outputs stay", "packet a tile", "packet a layer", "single pass")
    return unit(config.unit) | {f"core: {name}" for name in names}


def around(design: Design) -> Stimuli:
    """Stimuli of the core around a unit's design."""
    unit = stimuli_of(design)
    return Stimuli(
        config=partial(random_config, unit.config),
        random=partial(random_run, unit.random),
        corners=lambda config: CoreRun(unit.corners(config.unit)),
        small=(),
        exhaustive=lambda config: CoreRun(unit.exhaustive(config.unit)),
        bins=partial(bins, unit.bins, design),
        all_bins=partial(all_bins, unit.all_bins),
        operands=CoreRun,
    )
