"""Dense output-stationary array: the baselines ``dense`` (two passes) and ``dense2k`` (one).

``dense`` works off both k-bit halves of a 2k-bit activation one after the other on k-bit
multipliers; ``dense2k`` takes the whole activation at once on 2k-bit ones. A beat holds ``lanes``
(L) consecutive input features, a short final one filled up with 0. The schedule is the one that the
docstring of :class:`nibbleforge.hw.dense.DenseArray` states.
"""

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Parameter
from pydantic import model_validator

from .contract.config import Config, OptionalInt
from .contract.design import Design, Unit
from .contract.elements import Tree, check_lanes, check_tree
from .contract.errors import UserError
from .contract.events import Counts, Event
from .contract.layer import (
    WEIGHT_BITS,
    Layer,
    accumulator_bits,
    check,
    check_shape,
    dense_events,
    signed_range,
    sums,
    workload,
)
from .contract.ports import Field, Port
from .contract.schedule import Beats, Pulses, Schedule, final_of
from .contract.tiling import Tiling
from .contract.workload import Workload
from .dequantizer import DequantizerConfig
from .grouped import GroupedConfig, GroupScales, joined, joined_counts, weight_groups


class DenseConfig(GroupedConfig):
    """Parameters of the dense array."""

    rows: int = Parameter(default=16, ge=1, le=256)
    """Tokens a tile (R)."""
    columns: int = Parameter(default=16, ge=1, le=256)
    """Outputs a tile (C)."""
    k: Literal[2, 4, 8] = 4
    """Bits of half an activation; activations have 2k bits, or fewer by ``activation_bits``."""
    activation_bits: OptionalInt = None
    """Bits of an activation, k + 1 to 2k with one pass; none: 2k."""
    weight_bits: Literal[2, 3, 4] = 4
    """Bits of a weight."""
    passes: Literal[1, 2] = 2
    """1: one pass on 2k-bit multipliers; 2: low half, then high half, on k-bit multipliers."""
    recode: Literal["balanced", "twos"] = "balanced"
    """Coding of the halves; matters only with two passes."""
    lanes: int = Parameter(default=1, ge=1, le=32)
    """Input features a beat, which an element multiplies and adds up in one step (L)."""
    tree: Tree = "operators"
    """How an element adds up the products of its lanes."""
    max_k: int = Parameter(default=14336, ge=1, le=1 << 20)
    """Largest in_features; sizes the accumulators."""

    @model_validator(mode="after")
    def _check(self) -> "DenseConfig":
        self._check_activation_bits()
        check_tree(self.tree, self.lanes)
        if self.grouped:
            self._check_max_k(self.max_k)
            check_lanes(self.lanes, self.weight_group)
            self._check_pace()
        return self

    def _check_activation_bits(self) -> None:
        """Refuse halves of other than k bits, and widths that belong to another k."""
        least, most = self.k + 1, 2 * self.k
        if self.passes == 2 and self.bits_per_activation != most:
            raise UserError(
                f"activation_bits must be 2k = {most} with passes 2, got {self.activation_bits}."
            )
        if not least <= self.bits_per_activation <= most:
            raise UserError(
                f"activation_bits must be in {least}..{most} with k {self.k}, "
                f"got {self.activation_bits}."
            )

    def _check_pace(self) -> None:
        """Refuse weight groups that end faster than the dequantizer takes them."""
        needed = self.scales.add_latency
        if max(self.passes * self.beats(self.weight_group), self.rows) < needed:
            raise UserError(
                f"a weight group must take at least add_latency = {needed} cycles: lanes must be "
                f"smaller, or weight_group or rows larger, got {self.lanes}, {self.weight_group} "
                f"and {self.rows}."
            )

    @property
    def idle(self) -> frozenset[str]:
        """Without halves there is no coding of them; usual widths need not be said."""
        changes_nothing = {
            "recode": self.passes == 1,
            "activation_bits": self.bits_per_activation == 2 * self.k,
            "weight_bits": self.weight_bits == WEIGHT_BITS,
        }
        return frozenset(name for name, idle in changes_nothing.items() if idle)

    @property
    def dequantizer(self) -> DequantizerConfig:
        """The dequantizer behind the array."""
        return self._dequantizer(
            rows=self.rows, columns=self.columns, acc_bits=self.array.accumulator_bits
        )

    @property
    def bits_per_activation(self) -> int:
        """Bits of an activation."""
        return 2 * self.k if self.activation_bits is None else self.activation_bits

    @property
    def activation_range(self) -> tuple[int, int]:
        """Smallest and largest activation that the array multiplies exactly."""
        low, high = signed_range(self.bits_per_activation)
        spare = 1 << (self.k - 1) if self.passes == 2 and self.recode == "balanced" else 0
        return low, high - spare

    @property
    def operand_bits(self) -> int:
        """Bits of the signed activation operand of a multiplier."""
        if self.passes == 1:
            return self.bits_per_activation
        return self.k + (self.recode == "twos")

    @property
    def accumulator_bits(self) -> int:
        """Bits of an accumulator: enough for max_k products of any accepted operands."""
        return accumulator_bits(self.bits_per_activation, self.max_k, self.weight_bits)

    @property
    def macs_per_step(self) -> int:
        """Multiply-accumulates the array does in one step."""
        return self.rows * self.columns * self.lanes

    def beats(self, in_features: int) -> int:
        """Beats of a tile on each input."""
        return -(-in_features // self.lanes)


# --- ports and events -------------------------------------------------------------------------


def ports(config: DenseConfig) -> tuple[Port, ...]:
    """Ports of the array; lane j of row (or column) n is element n * lanes + j."""
    rows, columns, lanes = config.rows, config.columns, config.lanes
    x = (
        Field(
            "value",
            config.bits_per_activation,
            "activation of each row and lane",
            True,
            rows * lanes,
        ),
        Field("last", 1, "final beat of the tile", made="part"),
    )
    weights = columns * lanes
    w = (Field("value", config.weight_bits, "weight of each column and lane", True, weights),)
    y = (
        Field("value", config.accumulator_bits, "sum of each column", True, columns),
        Field("last", 1, "final row of the tile", made="block"),
    )
    return (
        Port("x", "in", x, "activations, L input features a beat", "tokens"),
        Port("w", "in", w, "weights, L input features a beat", "outputs"),
        Port("y", "out", y, "results, one row a beat, row 0 first", "results", beats=rows),
    )


def events(config: DenseConfig) -> tuple[Event, ...]:
    """Events of the array."""
    return dense_events(config.macs_per_step)


def bandwidth(config: DenseConfig) -> dict[str, float]:
    """Bits per cycle on each input in steady state."""
    return {
        "x": (config.rows * config.lanes * config.bits_per_activation + 1) / config.passes,
        "w": config.columns * config.lanes * config.weight_bits / config.passes,
    }


# --- schedule and law -------------------------------------------------------------------------


def schedule(config: DenseConfig, layer: Layer) -> Schedule:
    """Golden schedule of a layer: every tile of its tiling in one run."""
    check(config, layer)
    tiling = layer.tiling(config)
    beats = config.beats(layer.features)
    work = config.passes * beats
    period = max(work, config.rows)
    ends = work + period * np.arange(len(tiling))  # final step of each tile
    starts = np.concatenate([[1], ends[:-1] + 1])
    taken = (starts[:, None] - 1 + config.passes * np.arange(beats)).ravel()
    steps = starts[:, None] + np.arange(work)
    steps[:, -1] = ends
    rows = (ends[:, None] + 1 + np.arange(config.rows)).ravel()
    waits = (ends[1:, None] - 1 - np.arange(period - work)).ravel()
    every = np.full(steps.size, config.macs_per_step)
    pulses = {
        "macs": Pulses(steps.ravel().astype(np.int64), every.astype(np.int64)),
        "x_beats": Pulses.strobes(taken),
        "w_beats": Pulses.strobes(taken),
        "y_beats": Pulses.strobes(rows),
        "tiles": Pulses.strobes(ends),
        "stall_operands": Pulses.strobes(np.zeros(0, np.int64)),
        "stall_drain": Pulses.strobes(np.sort(waits)),
    }
    return Schedule(traffic(config, layer), {"x": taken, "w": taken, "y": rows}, pulses)


def traffic(config: DenseConfig, layer: Layer) -> dict[str, Beats]:
    """Payloads of every port for a layer, operands as segments so that nothing is copied."""
    check(config, layer)
    x_port, w_port, y_port = ports(config)
    tiling = layer.tiling(config)
    beats = config.beats(layer.features)
    x = _by_beat(config, tiling.blocks_of_tokens(layer.x))
    w = _by_beat(config, tiling.blocks_of_outputs(layer.w))
    y = tiling.split_result(sums(config, layer))
    token, output = tiling.order.T
    return {
        "x": Beats(
            x_port.pack(value=x, last=final_of(beats, tiling.token_blocks)),
            np.stack([token * beats, np.full(len(tiling), beats)], axis=1),
        ),
        "w": Beats(
            w_port.pack(value=w),
            np.stack([output * beats, np.full(len(tiling), beats)], axis=1),
        ),
        "y": Beats(
            y_port.pack(
                value=y.reshape(-1, config.columns), last=final_of(config.rows, len(tiling))
            )
        ),
    }


def _by_beat(config: DenseConfig, blocks: NDArray) -> NDArray:
    """``(blocks, n, features)`` to ``(blocks * beats, n * lanes)``, filled up with 0."""
    number, size, features = blocks.shape
    lanes, beats = config.lanes, config.beats(features)
    padded = np.pad(blocks, ((0, 0), (0, 0), (0, beats * lanes - features)))
    by_beat = padded.reshape(number, size, beats, lanes).transpose(0, 2, 1, 3)
    return by_beat.reshape(-1, size * lanes)


def cycles(config: DenseConfig, workload: Workload) -> Counts:
    """Counts of a layer in one free-flowing run."""
    tokens, in_features, outputs = workload.layer
    check_shape(config, tokens, in_features, outputs)
    tiles = len(Tiling(tokens, outputs, config.rows, config.columns))
    if not config.grouped:
        return _cycles(config, tiles, in_features)
    groups = weight_groups(config, in_features)
    array = config.array
    work = config.passes * config.beats(config.weight_group)
    between = (groups - 1) * max(work, config.rows)
    front = _cycles(array, tiles * groups, config.weight_group)
    return joined_counts(config, front, tiles, groups, tiles * between)


def _cycles(config: DenseConfig, tiles: int, in_features: int) -> Counts:
    """Counts of so many tiles."""
    beats = config.beats(in_features)
    work = config.passes * beats
    period = max(work, config.rows)
    totals = {
        "macs": tiles * work * config.macs_per_step,
        "x_beats": tiles * beats,
        "w_beats": tiles * beats,
        "y_beats": tiles * config.rows,
        "tiles": tiles,
        "stall_operands": 0,
        "stall_drain": (tiles - 1) * (period - work),
    }
    return Counts(1 + work + (tiles - 1) * period + config.rows, totals, float(tiles * work))


ARRAY = Design(
    name="dense_array",
    summary="dense output-stationary array, one or two passes over weights of 2 to 4 bits",
    law="1 + work + (tiles - 1) * max(work, rows) + rows, work = passes * ceil(K/lanes)",
    ports=ports,
    events=events,
    bandwidth=bandwidth,
    schedule=schedule,
    traffic=traffic,
    workload=workload,
    cycles=cycles,
    hardware="nibbleforge.hw.dense:DenseArray",
    stimuli="nibbleforge.tb.tb_dense:ARRAY",
)


GROUPED = joined(
    ARRAY,
    "dense_grouped",
    hardware="nibbleforge.hw.dense:DenseGrouped",
    stimuli="nibbleforge.tb.tb_grouped:DENSE",
)
ARRAY_2K = replace(ARRAY, name="dense2k_array", stimuli="nibbleforge.tb.tb_dense:ARRAY_2K")
GROUPED_2K = joined(
    ARRAY_2K,
    "dense2k_grouped",
    hardware="nibbleforge.hw.dense:DenseGrouped",
    stimuli="nibbleforge.tb.tb_grouped:DENSE_2K",
)


def design(config: DenseConfig) -> Design:
    """What the configuration leads to: the array alone, or joined to the dequantizer.

    The names tell one pass (``dense2k``) from two (``dense``).
    """
    if config.passes == 2:
        return GROUPED if config.grouped else ARRAY
    return GROUPED_2K if config.grouped else ARRAY_2K


def _presets(passes: Literal[1, 2]) -> dict[str, Config]:
    strong = DenseConfig(passes=passes, lanes=16, tree="pair_sums")
    return {
        "paper": DenseConfig(passes=passes),
        "tiny": DenseConfig(rows=3, columns=5, max_k=64, passes=passes),
        "vector": DenseConfig(rows=1, columns=256, passes=passes),
        "fpga": DenseConfig(rows=4, columns=4, max_k=4096, passes=passes),
        "q4_0": DenseConfig(passes=passes, dequant=GroupScales(weight_group=32)),
        "lanes16": strong,
        "w3a8": strong.replace(weight_bits=3),
        "w2a8": strong.replace(weight_bits=2),
    }


def _presets_of_few_bits() -> dict[str, Config]:
    """Arrays for activations of fewer than 2k bits, which one pass alone takes."""
    strong = DenseConfig(passes=1, lanes=16, tree="pair_sums")
    return {f"w4a{bits}": strong.replace(activation_bits=bits) for bits in (6, 7)}


UNIT = Unit(
    name="dense",
    summary="baseline: both halves of every activation on k-bit multipliers, 2K cycles a tile",
    config=DenseConfig,
    presets=_presets(passes=2),
    designs=lambda config: (design(config),),
    takes="layer",
    simulation="nibbleforge.sim.units.dense:prepare",
)

UNIT_2K = Unit(
    name="dense2k",
    summary="baseline: whole activations on 2k-bit multipliers, K cycles a tile",
    config=DenseConfig,
    presets={**_presets(passes=1), **_presets_of_few_bits()},
    designs=lambda config: (design(config),),
    takes="layer",
    simulation="nibbleforge.sim.units.dense:prepare",
)

UNITS = (UNIT, UNIT_2K)
