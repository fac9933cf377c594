"""Systolic array on N:M-sparse INT4 weights: what it computes, and when.

Source of the idea: arXiv 2512.24713 (withdrawn); relatives: VEGETA, arXiv 2302.08687. The format
is :mod:`.format`. The schedule is the one that the docstring of
:class:`nibbleforge.hw.nm.array.NMArray` states.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .. import dequantizer
from ..contract.config import Config
from ..contract.design import Design, Unit
from ..contract.errors import UserError
from ..contract.events import Counts
from ..contract.layer import check_integer, check_shape
from ..contract.schedule import Beats, Pulses, Schedule, Traffic, final_of, ranges
from ..contract.tiling import Tiling
from ..contract.workload import Workload
from ..dequantizer import GroupSums
from ..grouped import GroupScales, check_scales, joined, joined_counts
from .config import BEAT_BITS, NMConfig, NMSettings, bandwidth, events, ports
from .format import dense, pack
from .pattern import Pattern


@dataclass(frozen=True)
class NMLayer:
    """Operands of one layer.

    Attributes
    ----------
    x
        Activations, int8, ``(tokens, in_features)``.
    values
        Weights of the slots in [-8, 7], int8, ``(outputs, blocks, N)``.
    indices
        Where in their block they stand, ascending, uint8, ``(outputs, blocks, N)``.
    weight_group
        Input features whose sums leave together, a 0-d integer array: a multiple of M, or at least
        in_features.
    d
        Scales of weight groups, finite float16, ``(outputs, groups)``; empty without.
    """

    x: NDArray[np.int8]
    values: NDArray[np.int8]
    indices: NDArray[np.uint8]
    weight_group: NDArray[np.integer]
    d: NDArray[np.float16] = field(default_factory=lambda: np.zeros((0, 0), np.float16))

    @property
    def n(self) -> int:
        """Slots of a block (N)."""
        return self.values.shape[2]

    @property
    def outputs(self) -> int:
        """Rows of the weight matrix."""
        return len(self.values)

    def tiling(self, config: NMConfig) -> Tiling:
        """Tiles of the layer on the array; each takes all weight groups."""
        return Tiling(len(self.x), self.outputs, config.rows, config.columns)

    def group_blocks(self, config: NMConfig) -> NDArray[np.int64]:
        """Blocks of each weight group; the final one may have fewer."""
        return group_blocks(config, self.x.shape[1], int(self.weight_group))


def group_blocks(config: NMConfig, in_features: int, weight_group: int) -> NDArray[np.int64]:
    """Blocks of each weight group; the final one may have fewer."""
    blocks = -(-in_features // config.m)
    each = min(blocks, weight_group // config.m + (weight_group % config.m > 0))
    starts = np.arange(0, blocks, each)
    return np.minimum(each, blocks - starts)


def check(config: NMConfig, layer: NMLayer) -> None:
    """Raise :class:`UserError` unless the array takes the operands; scales are not its own."""
    x = layer.x
    if x.ndim != 2 or x.dtype != np.int8 or not x.size:
        raise UserError(
            f"activations must be a matrix of int8 and not empty, got {x.dtype} {x.shape}."
        )
    if layer.values.ndim != 3:
        raise UserError(f"values must be (outputs, blocks, N), got shape {layer.values.shape}.")
    tokens, in_features = x.shape
    check_integer("weight_group", layer.weight_group)
    check_weight_group(config, int(layer.weight_group), in_features)
    summed = min(in_features, int(layer.weight_group))
    check_shape(config, tokens, summed, layer.outputs)
    dense(layer.values, layer.indices, config.pattern(layer.n), in_features)  # refuses others


def check_grouped(config: NMConfig, layer: NMLayer) -> None:
    """Raise :class:`UserError` unless the array joined to the dequantizer takes the operands."""
    check(config, layer)
    tokens, in_features = layer.x.shape
    check_shape(config, tokens, in_features, layer.outputs)
    check_scales("d", layer.d, (layer.outputs, len(layer.group_blocks(config))))


def check_weight_group(config: NMConfig, weight_group: int, in_features: int) -> None:
    """Refuse weight groups that blocks straddle, or that the dequantizer is not made for."""
    if config.grouped and weight_group != config.weight_group:
        raise UserError(f"the weight group must be {config.weight_group}, got {weight_group}.")
    if weight_group < 1 or (weight_group % config.m and weight_group < in_features):
        raise UserError(
            f"m must divide the weight group, got m {config.m}, weight group {weight_group}."
        )


def sums(config: NMConfig, layer: NMLayer) -> NDArray[np.int64]:
    """Exact ``x @ w.T`` of each weight group, ``(groups, tokens, outputs)`` int64.

    Float64 products and sums are exact here: every partial sum stays below 2**53.
    """
    check(config, layer)
    features = layer.x.shape[1]
    w = dense(layer.values, layer.indices, config.pattern(layer.n), features)
    ends = np.cumsum(layer.group_blocks(config)) * config.m
    parts = np.split(np.arange(features), ends[:-1])
    x, w64 = layer.x.astype(np.float64), w.astype(np.float64)
    return np.stack([x[:, part] @ w64[:, part].T for part in parts]).astype(np.int64)


def compute(config: NMConfig, layer: NMLayer) -> NDArray[np.int64]:
    """Exact ``x @ w.T``, ``(tokens, outputs)`` int64."""
    return sums(config, layer).sum(axis=0)


def group_sums(config: NMConfig, layer: NMLayer) -> GroupSums:
    """What the dequantizer gets, in run order."""
    check_grouped(config, layer)
    tiling, found = layer.tiling(config), sums(config, layer)
    acc = np.stack([tiling.split_result(group) for group in found], axis=1)  # tile, group
    scales = tiling.blocks_of_outputs(layer.d).transpose(0, 2, 1)  # block, group, column
    return GroupSums(
        acc=acc.reshape(-1, config.rows, config.columns),
        d=np.ascontiguousarray(scales[tiling.order[:, 1]]).reshape(-1, config.columns),
        last=final_of(len(found), len(tiling)),
    )


def dequantised(config: NMConfig, layer: NMLayer) -> NDArray[np.float32]:
    """FP32 results of the array joined to the dequantizer, ``(tokens, outputs)``."""
    tiles = dequantizer.compute(config.dequantizer, group_sums(config, layer))
    return layer.tiling(config).join_result(tiles)


# --- schedule and law -------------------------------------------------------------------------


def traffic(config: NMConfig, layer: NMLayer) -> Traffic:
    """Payloads of every port, operands as segments so that nothing is copied."""
    check(config, layer)
    tiling, blocks = layer.tiling(config), layer.values.shape[1]
    x_port, w_port, y_port = ports(config)
    token, output = tiling.order.T
    x = _activations(config, layer, tiling)
    last = np.zeros(blocks, bool)
    last[np.cumsum(layer.group_blocks(config)) - 1] = True
    w = _weights(config, layer, tiling)
    beats = w.shape[0] // tiling.output_blocks
    n = np.zeros(len(w), np.uint8)
    n[::beats] = layer.n
    found = sums(config, layer)
    y = np.stack([tiling.split_result(group) for group in found], axis=1)
    rows = y.reshape(-1, config.dequant_rows * config.columns)
    return {
        "x": Beats(
            x_port.pack(
                value=x,
                last=np.tile(last, tiling.token_blocks),
                end=final_of(blocks, tiling.token_blocks),
            ),
            np.stack([token * blocks, np.full(len(tiling), blocks)], axis=1),
        ),
        "w": Beats(
            w_port.pack(bits=w, n=n),
            np.stack([output * beats, np.full(len(tiling), beats)], axis=1),
        ),
        "y": Beats(
            y_port.pack(
                value=rows,
                last=final_of(config.drain, len(tiling) * len(found)),
                error=np.zeros(len(rows), np.uint8),
            )
        ),
    }


def _activations(config: NMConfig, layer: NMLayer, tiling: Tiling) -> NDArray[np.int8]:
    """Blocks of each block of tokens, ``(beats, rows * M)``."""
    padded = np.pad(layer.x, ((0, 0), (0, -layer.x.shape[1] % config.m)))
    blocks = tiling.blocks_of_tokens(padded)
    by_row = blocks.reshape(len(blocks), config.rows, -1, config.m)
    return by_row.transpose(0, 2, 1, 3).reshape(-1, config.rows * config.m)


def _weights(config: NMConfig, layer: NMLayer, tiling: Tiling) -> NDArray[np.uint8]:
    """Packed rows of each block of outputs, a byte of each column a beat, ``(beats, columns)``."""
    more = tiling.output_blocks * config.columns - layer.outputs
    values = np.pad(layer.values, ((0, more), (0, 0), (0, 0)))
    some = np.broadcast_to(np.arange(layer.n, dtype=np.uint8), (more, *values.shape[1:]))
    indices = np.concatenate([layer.indices, some])  # legal slots of rows that are none
    packed = pack(values, indices, config.pattern(layer.n), BEAT_BITS)
    return tiling.blocks_of_outputs(packed).transpose(0, 2, 1).reshape(-1, config.columns)


def schedule(config: NMConfig, layer: NMLayer) -> Schedule:
    """Golden schedule of a layer: every tile in one run."""
    beats = traffic(config, layer)
    pattern, tiling = config.pattern(layer.n), layer.tiling(config)
    groups = np.tile(layer.group_blocks(config), len(tiling)) * layer.n  # slots
    final = _final_slots(config, pattern, groups)
    ends = np.zeros(groups.sum(), bool)  # whether a slot is a group's final one
    ends[np.cumsum(groups) - 1] = True
    issued = np.empty(len(ends), np.int64)
    issued[ends] = final
    begins = np.concatenate([[pulls_of(pattern) + 1], final[:-1] + 1])
    issued[~ends] = ranges(begins, groups - 1)
    taken = np.concatenate([[pulls_of(pattern)], issued[layer.n - 1 : -1 : layer.n]])
    waits = final - begins - (groups - 1)
    north, west = config.stages
    first = final + north + west
    cycles = {
        "x": taken,
        "w": _beats_taken(pattern, taken, layer.values.shape[1]),
        "y": (first[:, None] + np.arange(config.drain)).ravel(),
    }
    pulses = {
        "macs": Pulses(issued, np.full(issued.size, config.macs_per_step)),
        "x_beats": Pulses.strobes(cycles["x"]),
        "w_beats": Pulses.strobes(cycles["w"]),
        "y_beats": Pulses.strobes(cycles["y"]),
        "tiles": Pulses.strobes(final),
        "stall_operands": Pulses.strobes(np.zeros(0, np.int64)),
        "stall_drain": Pulses.strobes(ranges(final - waits, waits)),
        "stall_out": Pulses.strobes(np.zeros(0, np.int64)),
    }
    return Schedule(beats, cycles, pulses)


def pulls_of(pattern: Pattern) -> int:
    """Cycles in which the bits of a block are collected, a byte at most in each."""
    return -(-pattern.block_bits // BEAT_BITS)


def _final_slots(config: NMConfig, pattern: Pattern, slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cycle of each group's final slot."""
    gaps = np.maximum(slots, config.drain)
    gaps[0] = pulls_of(pattern) + slots[0]
    return np.cumsum(gaps)


def _beats_taken(pattern: Pattern, taken: NDArray[np.int64], blocks: int) -> NDArray[np.int64]:
    """Cycles in which beats of weights are taken.

    The bits of block b are pulled from ``taken[b-1]`` on, a byte a cycle and then the rest; a beat
    is taken where what is left of the one before does not suffice.
    """
    pulls = pulls_of(pattern)
    begins = np.concatenate([[0], taken[:-1]])
    cycles = begins[:, None] + np.arange(pulls)
    upto = np.minimum(np.arange(1, pulls + 1) * BEAT_BITS, pattern.block_bits)
    bits = (np.arange(blocks)[:, None] * pattern.block_bits + upto).ravel()  # of a row, after pull
    needed = -(-bits // BEAT_BITS)
    fresh = np.diff(needed, prepend=0) > 0
    return cycles.ravel()[np.tile(fresh, len(taken) // blocks)]


def workload(_: NMConfig, layer: NMLayer) -> Workload:
    """Shape and N of the layer, and features whose sums leave together."""
    tokens, in_features = layer.x.shape
    settings, weight_group = NMSettings(n=layer.n), int(layer.weight_group)
    return Workload(tokens, in_features, layer.outputs, settings, weight_group)


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
    sizes = group_blocks(config, in_features, weight_group)
    slots = sizes * n
    gaps = np.maximum(slots, config.drain)
    blocks = int(sizes.sum())
    totals = {
        "macs": tiles * blocks * n * config.macs_per_step,
        "x_beats": tiles * blocks,
        "w_beats": tiles * -(-blocks * pattern.block_bits // BEAT_BITS),
        "y_beats": tiles * len(sizes) * config.drain,
        "tiles": tiles * len(sizes),
        "stall_operands": 0,
        "stall_drain": int(tiles * (gaps - slots).sum() - (gaps - slots)[0]),
        "stall_out": 0,
    }
    final = pulls_of(pattern) + int(tiles * gaps.sum() - (gaps - slots)[0])
    front = Counts(final + sum(config.stages) + config.drain, totals, float(tiles * blocks * n))
    if not config.grouped:
        return front
    return joined_counts(config, front, tiles, len(sizes), tiles * int(gaps[1:].sum()))


ARRAY = Design(
    name="nm_array",
    summary="systolic array on N:M-sparse INT4 weights, read packed",
    law="ceil(L/8) + sum over weight groups of max(blocks*N, R/D) + R/P + C/P + R/D, "
    "L bits of a block; the first group without its maximum",
    ports=ports,
    events=events,
    bandwidth=bandwidth,
    schedule=schedule,
    traffic=traffic,
    workload=workload,
    cycles=cycles,
    hardware="nibbleforge.hw.nm.array:NMArray",
    stimuli="nibbleforge.tb.tb_nm:ARRAY",
)

GROUPED = joined(
    ARRAY,
    "nm_grouped",
    hardware="nibbleforge.hw.nm.array:NMGrouped",
    stimuli="nibbleforge.tb.tb_nm:GROUPED",
    sums_of=group_sums,
)


def design(config: NMConfig) -> Design:
    """What the configuration leads to: the array alone, or joined to the dequantizer."""
    return GROUPED if config.grouped else ARRAY


_PRESETS: dict[str, Config] = {
    "paper": NMConfig(dequant=GroupScales()),
    "m8": NMConfig(m=8, dequant=GroupScales()),
    "m16": NMConfig(m=16, dequant=GroupScales(), dequant_rows=2),
    "channel": NMConfig(),
    "systolic": NMConfig(span=1),
    "tiny": NMConfig(rows=4, columns=6, span=2, max_k=64),
    "fpga": NMConfig(rows=4, columns=4, span=2, max_k=4096, dequant=GroupScales()),
}

UNIT = Unit(
    name="nm",
    summary="systolic array on N:M-sparse INT4 weights: N of M at run time, packed as stored",
    config=NMConfig,
    presets=_PRESETS,
    designs=lambda config: (design(config),),
    takes="layer",
    settings=NMSettings,
    simulation="nibbleforge.sim.units.nm:prepare",
)

UNITS = (UNIT,)
