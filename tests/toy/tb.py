"""Stimuli of the toy unit."""

import numpy as np
from nibbleforge.golden.contract.design import Design
from nibbleforge.golden.contract.schedule import Schedule
from nibbleforge.tb.stimuli import Stimuli

from . import golden
from .golden import Packets, ToyConfig, with_illegal


def random_config(rng: np.random.Generator) -> ToyConfig:
    """Small parameters."""
    return ToyConfig(bits=int(rng.integers(2, 9)), longest=int(rng.integers(1, 20)))


def random_packets(config: ToyConfig, rng: np.random.Generator) -> Packets:
    """A dozen packets of any length."""
    length = rng.integers(1, config.longest + 1, 12)
    return Packets(rng.integers(-config.limit, config.limit + 1, length.sum()), length)


def corner_packets(config: ToyConfig) -> Packets:
    """The longest packets of extremes."""
    length = np.full(2, config.longest)
    return Packets(np.repeat([config.limit, -config.limit], config.longest), length)


def exhaustive_pairs(config: ToyConfig) -> Packets:
    """Every pair of elements."""
    every = np.arange(-config.limit, config.limit + 1)
    x = np.stack(np.meshgrid(every, every), axis=-1).reshape(-1)
    return Packets(x, np.full(len(x) // 2, 2))


def bins(config: ToyConfig, operands: Packets) -> dict[str, bool]:
    """Which lengths there are."""
    return {
        "one element": (operands.length == 1).any(),
        "longest packet": (operands.length == config.longest).any(),
    }


def _stimuli(design: Design, goals: str) -> Stimuli:
    def illegal(config: ToyConfig, rng: np.random.Generator) -> Schedule:
        operands = random_packets(config, rng)
        packet = int(rng.integers(1, len(operands.length) - 1))
        return design.schedule(config, with_illegal(config, operands, packet))

    return Stimuli(
        operands=Packets,
        config=random_config,
        random=random_packets,
        corners=corner_packets,
        small=(ToyConfig(bits=3, longest=2),),
        exhaustive=exhaustive_pairs,
        bins=bins,
        illegal=illegal,
        goals=f"toy.goals:{goals}",
    )


SUM = _stimuli(golden.SUM, "SUM_GOALS")
MAXIMUM = _stimuli(golden.MAXIMUM, "MAXIMUM_GOALS")
