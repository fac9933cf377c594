"""Stimuli of the Anda compressor."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..golden.anda.compressor import CompressorConfig, LaneGroups, schedule
from ..golden.anda.format import LARGEST, MANTISSA_MAX
from ..golden.contract.schedule import Schedule
from .stimuli import Stimuli

SMALL = (
    CompressorConfig(group=16, lanes=64, lanes_per_beat=64),
    CompressorConfig(group=64, lanes=6, lanes_per_beat=2, beat=32),
)
"""Compressors that take every FP16 pattern with every mantissa."""

TOP = 30  # largest exponent of a finite number
SPREADS = (0, 1, 3, 11, 29)  # exponents of a group go this far down from its largest


def random_config(rng: np.random.Generator) -> CompressorConfig:
    """A small compressor of any kind; illegal combinations are drawn, too."""
    values: dict[str, Any] = {
        "group": int(rng.choice([16, 32, 64])),
        "lanes": int(rng.integers(1, 9)),
        "lanes_per_beat": int(rng.integers(1, 9)),
        "beat": int(rng.choice([1, 2, 4, 8, 16, 32, 64])),
    }
    return CompressorConfig(**values)


def random_groups(
    config: CompressorConfig, rng: np.random.Generator, groups: int = 10
) -> LaneGroups:
    """Groups of every spread of exponents, with zeros, few of them with Inf or NaN."""
    each = (groups, config.lanes, 1)
    shape = (groups, config.lanes, config.group)
    largest = rng.choice([1, 15, TOP, int(rng.integers(1, TOP + 1))], each)
    exponent = largest - rng.integers(0, rng.choice(SPREADS, each) + 1, shape)
    exponent = np.maximum(exponent, 0)
    exponent[(rng.random(each) < 0.05) & (rng.random(shape) < 0.2)] = TOP + 1
    fraction = rng.integers(0, 1024, shape) & rng.choice([0, 1023, 1023], shape)
    fraction |= rng.choice([0, 0, 0, 1023], each)
    zero = rng.random(shape) < rng.choice([0, 0, 0.3, 1], each)
    magnitude = np.where(zero, 0, exponent << 10 | fraction)
    sign = rng.integers(0, 2, shape) << 15
    return LaneGroups((sign | magnitude).astype(np.uint16), _mantissas(rng, groups))


def illegal_run(config: CompressorConfig, rng: np.random.Generator) -> Schedule:
    """Groups of finite numbers, and Inf or NaN in one of those between."""
    operands = random_groups(config, rng, 6)
    values = np.where(operands.nonfinite, np.uint16(LARGEST), operands.values)
    group = int(rng.integers(1, len(values) - 1))
    lane, element = rng.integers(config.lanes), rng.integers(config.group)
    values[group, lane, element] = rng.choice([0x7C00, 0xFC00, 0x7E00, 0xFFFF])
    return schedule(config, LaneGroups(values, operands.mantissa))


def _mantissas(rng: np.random.Generator, groups: int) -> NDArray[np.uint8]:
    """The same for all groups or one for each, few outside 1..16."""
    mantissa = rng.integers(1, MANTISSA_MAX + 1, groups)
    if rng.random() < 0.3:
        mantissa[:] = mantissa[0]
    outside = rng.choice([0, 17, 31], groups)
    return np.where(rng.random(groups) < 0.05, outside, mantissa).astype(np.uint8)


def corner_groups(config: CompressorConfig) -> LaneGroups:
    """Every number the port takes as mantissa, with every distance of exponents."""
    tokens = distances(config.group)
    groups = max(1 << (MANTISSA_MAX.bit_length()), -(-len(tokens) // config.lanes))
    values = np.resize(tokens, (groups, config.lanes, config.group))
    return LaneGroups(values, np.resize(np.arange(32, dtype=np.uint8), groups))


def distances(group: int) -> NDArray[np.uint16]:
    """A group for every pair of exponents, the larger one at a place of its own.

    Returns
    -------
    ``(groups, group)``, finite patterns.
    """
    largest = np.repeat(np.arange(1, TOP + 1), 2)
    first = np.tile([0, group - 1], TOP)  # exponent that the second element starts with
    others = first[:, None] + np.arange(group) - 1
    exponent = np.clip(others, 0, largest[:, None])
    exponent[:, 0] = largest
    places = (np.arange(group) + np.arange(len(largest))[:, None]) % group
    exponent = np.take_along_axis(exponent, places, axis=1)
    fraction = np.where(np.arange(group) % 3, 0x3FF, 0x2A5)
    sign = (np.arange(group) % 2) << 15
    return (sign | exponent << 10 | fraction).astype(np.uint16)


def exhaustive_groups(config: CompressorConfig) -> LaneGroups:
    """Every pattern beside its likes and among others, every distance; with every mantissa."""
    patterns = np.arange(1 << 16, dtype=np.uint16)
    mixed = patterns.reshape(64, -1).T.ravel()
    every = np.concatenate([patterns, mixed, distances(config.group).ravel()])
    groups = -(-len(every) // (config.lanes * config.group))
    values = np.resize(every, (groups, config.lanes, config.group))
    mantissa = np.repeat(np.arange(1, MANTISSA_MAX + 1, dtype=np.uint8), groups)
    return LaneGroups(np.tile(values, (MANTISSA_MAX, 1, 1)), mantissa)


def bins(config: CompressorConfig, operands: LaneGroups) -> dict[str, bool]:
    """Functional bins, and whether these operands hit them."""
    planes = operands.planes
    magnitude = operands.values & 0x7FFF
    nonfinite = operands.nonfinite
    exponent = np.clip(magnitude >> 10, 1, TOP)
    largest = exponent.max(axis=2)
    distance = largest[:, :, None] - exponent
    at = exponent.argmax(axis=2) // config.beat
    zero = magnitude == 0
    facts = {
        "mantissa outside 1..16": operands.mantissa != planes,
        "Inf or NaN": nonfinite,
        "groups without Inf or NaN after one": np.diff(nonfinite.any(axis=(1, 2)).astype(int)) < 0,
        "subnormal number": (magnitude > 0) & (magnitude < 1 << 10),
        "group of subnormal numbers": ((magnitude >> 10) == 0).all(axis=2) & ~zero.all(axis=2),
        "group of zeros": zero.all(axis=2),
        "-0": operands.values == 1 << 15,
        "largest exponent in the first beat": at == 0,
        "largest exponent in the final beat": at == config.element_blocks - 1,
        "element below all planes": ~zero & (distance >= planes[:, None, None]),
        "largest distance": distance == TOP - 1,
        "largest number": magnitude == 0x7BFF,
        **{f"mantissa {m}": operands.mantissa == m for m in range(1, MANTISSA_MAX + 1)},
    }
    if config.beats > 1:
        facts["fewer planes than beats"] = planes[:-1] < config.beats
    if config.beats <= MANTISSA_MAX:
        facts["as many planes as beats"] = planes[:-1] == config.beats
    if config.beats < MANTISSA_MAX:
        facts["more planes than beats"] = planes[:-1] > config.beats
    return {name: where.any() for name, where in facts.items()}


COMPRESSOR = Stimuli(
    operands=LaneGroups,
    config=random_config,
    random=random_groups,
    corners=corner_groups,
    small=SMALL,
    exhaustive=exhaustive_groups,
    bins=bins,
    few=lambda config: False,
    illegal=illegal_run,
    goals="nibbleforge.tb.goals_anda_compressor:GOALS",
)
