"""Stimuli of cores: those of the unit inside, in either loop order."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..golden.contract.config import Config
from ..golden.contract.design import Design
from ..golden.soc.blocks import LayerBlocks
from ..golden.soc.config import CoreConfig, config_around
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
    unit: Callable[[Any, Any], dict[str, bool]], design: Design, config: CoreConfig, run: CoreRun
) -> dict[str, bool]:
    """Functional bins, the unit's and the core's, and whether this run hits them."""
    layer = LayerBlocks.of(design, config, run.operands, outputs_stay=run.outputs_stay)
    loops = layer.loops(config)
    return unit(config.unit, run.operands) | {
        "core: tokens stay": not run.outputs_stay,
        "core: outputs stay": run.outputs_stay,
        "core: packet a tile": run.tile_packets,
        "core: packet a layer": not run.tile_packets,
        "core: single pass": len(loops.passes()) == 1,
    }


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
        operands=CoreRun,
    )
