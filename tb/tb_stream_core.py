"""Stimuli of cores around units of plain streams: those of the unit inside, as far as they fit."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..golden.contract.config import Config
from ..golden.contract.design import Design
from ..golden.contract.errors import UserError
from ..golden.soc.stream import (
    Runs,
    StreamCoreConfig,
    StreamRun,
    piece_beats,
    stream_config_around,
)
from .stimuli import Stimuli, stimuli_of


def random_config(unit: Callable[[Any], Config], rng: np.random.Generator) -> Config:
    """A small core around a small unit; an illegal draw raises ``UserError``."""
    inner = unit(rng)
    values: dict[str, Any] = {
        "bus_width": int(rng.choice([32, 64, 128])),
        "block_beats": int(rng.choice([64, 128, 256])),
        "quiet": int(rng.choice([24, 32, 64])),
    }
    return stream_config_around(type(inner))(unit=inner, **values)


def fitting(design: Design, config: StreamCoreConfig, operands: Runs) -> Runs:
    """The longest stretch of a run whose pieces all fit the buffers.

    Raises
    ------
    UserError
        Not one of them does.
    """
    room = [config.depth(port) for port in design.ports(config.unit)]
    fits = np.asarray((piece_beats(design, config, operands) <= room).all(axis=1))
    breaks = np.concatenate([[-1], np.flatnonzero(~fits), [len(fits)]])
    longest = int(np.argmax(np.diff(breaks)))
    stretch = slice(int(breaks[longest]) + 1, int(breaks[longest + 1]))
    if stretch.start == stretch.stop:
        raise UserError("no piece of the run fits the buffers.")
    return operands.part(stretch)


def random_run(
    design: Design,
    operands: Callable[[Any, Any], Any],
    config: StreamCoreConfig,
    rng: np.random.Generator,
) -> StreamRun:
    """Random operands, with either kind of packets out."""
    block_packets = bool(rng.integers(0, 2))
    return StreamRun(fitting(design, config, operands(config.unit, rng)), block_packets)


def bins(
    unit: Callable[[Any, Any], dict[str, bool]], config: StreamCoreConfig, run: StreamRun
) -> dict[str, bool]:
    """Functional bins, the unit's and the core's, and whether this run hits them."""
    return unit(config.unit, run.operands) | {
        "core: packet a block": run.block_packets,
        "core: packet a run": not run.block_packets,
    }


def around(design: Design) -> Stimuli:
    """Stimuli of the core around a unit's design."""
    unit = stimuli_of(design)

    def whole(operands: Callable[[Any], Any], config: StreamCoreConfig) -> StreamRun:
        return StreamRun(fitting(design, config, operands(config.unit)))

    return Stimuli(
        config=partial(random_config, unit.config),
        random=partial(random_run, design, unit.random),
        corners=partial(whole, unit.corners),
        small=(),
        exhaustive=partial(whole, unit.exhaustive),
        bins=partial(bins, unit.bins),
        operands=StreamRun,
    )
