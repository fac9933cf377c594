"""Schedule of the N:M-sparse array in full detail: every beat and event of a run.

The schedule is the one that the docstring of :class:`nibbleforge.hw.nm.array.NMArray` states;
:mod:`.timing` has its law.
"""

import numpy as np
from numpy.typing import NDArray

from ..contract.schedule import Beats, Pulses, Schedule, Traffic, final_of, ranges
from ..contract.tiling import Tiling
from .config import BEAT_BITS, NMConfig, ports
from .format import pack
from .pattern import Pattern
from .timing import final_slots, pulls_of
from .values import NMLayer, check, sums


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
    """Blocks of each block of tokens, ``(beats, rows * m)``."""
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
    final = final_slots(config, pattern, groups)
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
