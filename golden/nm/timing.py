"""Timing of the N:M-sparse array: when slots are issued, and counts for whole LLMs.

Lanes work off a block each at the same time. Slots of a weight group follow each other; its final
one waits until the sums of the group before have left. The first slot needs the bits of a block, a
byte of each column and lane a cycle.
"""

import numpy as np
from numpy.typing import NDArray

from ..contract.events import Counts
from ..contract.layer import check_shape
from ..contract.tiling import Tiling
from ..contract.workload import Workload
from ..grouped import joined_counts
from .config import BEAT_BITS, NMConfig, NMSettings
from .pattern import Pattern
from .values import NMLayer, check_weight_group, group_blocks


def pulls_of(pattern: Pattern) -> int:
    """Cycles in which the bits of a block are collected, a byte at most in each."""
    return -(-pattern.block_bits // BEAT_BITS)


def final_slots(config: NMConfig, pattern: Pattern, slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cycle of each group's final slot."""
    gaps = np.maximum(slots, config.drain)
    gaps[0] = pulls_of(pattern) + slots[0]
    return np.cumsum(gaps)


def workload(_: NMConfig, layer: NMLayer) -> Workload:
    """Shape and ``n`` of the layer, and features whose sums leave together."""
    tokens, in_features = layer.x.shape
    settings = NMSettings(n=layer.n)
    return Workload(tokens, in_features, layer.outputs, settings, layer.weight_group)


def cycles(config: NMConfig, workload: Workload) -> Counts:
    """Counts of a layer in one free-flowing run.

    Without ``weight_group`` as many features' sums leave together as the dequantizer takes, or all.
    """
    tokens, in_features, outputs = workload.layer
    n = workload.settings_as(NMSettings).n
    weight_group = workload.weight_group or (config.weight_group if config.grouped else in_features)
    check_weight_group(config, weight_group, in_features)
    summed = in_features if config.grouped else min(in_features, weight_group)
    check_shape(config, tokens, summed, outputs)
    pattern = config.pattern(n)
    tiles = len(Tiling(tokens, outputs, config.rows, config.columns))
    sizes = config.beats(group_blocks(config, in_features, weight_group))
    slots = sizes * n
    gaps = np.maximum(slots, config.drain)
    beats = int(sizes.sum())
    totals = {
        "macs": tiles * beats * n * config.macs_per_step,
        "x_beats": tiles * beats,
        "w_beats": tiles * -(-beats * pattern.block_bits // BEAT_BITS),
        "y_beats": tiles * len(sizes) * config.drain,
        "tiles": tiles * len(sizes),
        "stall_operands": 0,
        "stall_drain": int(tiles * (gaps - slots).sum() - (gaps - slots)[0]),
        "stall_out": 0,
    }
    final = pulls_of(pattern) + int(tiles * gaps.sum() - (gaps - slots)[0])
    front = Counts(final + sum(config.stages) + config.drain, totals, float(tiles * beats * n))
    if not config.grouped:
        return front
    return joined_counts(config, front, tiles, len(sizes), tiles * int(gaps[1:].sum()))
