"""Dequantizer: integer sums of weight groups to FP32, scaled and added up over a tile.

Every integer array shares it. Per group in ascending order, starting from +0 and rounding each
operation once: ``sum = sum + acc * d`` for symmetric weights; for asymmetric ones (GGUF Q4_1,
``w = d * u + min``, stored as ``q = u - 8``) ``sum = sum + acc * d``, then
``sum = sum + acc_1 * min``, with ``acc = acc_s + 8 * acc_1`` exactly in integers. The schedule is
the one that the docstring of :class:`nibbleforge.hw.dequantizer.Dequantizer` states.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Parameter
from pydantic import model_validator

from .arithmetic.floating import add, int_to_fp32, multiply
from .contract.config import Config
from .contract.design import Design, Unit
from .contract.errors import UserError
from .contract.events import Counts, Event
from .contract.ports import Field, Port
from .contract.schedule import Beats, Pulses, Schedule, ranges
from .contract.tiling import Tiling
from .contract.workload import Profile, Workload

OFFSET = 8  # q = u - 8
SCALE_BITS = 16
RESULT_BITS = 32


class FloatLatencies(Config):
    """Depths of the FP32 pipelines."""

    convert_latency: int = Parameter(default=1, ge=1, le=3)
    """Cycles of the conversion to FP32."""
    multiply_latency: int = Parameter(default=2, ge=1, le=3)
    """Cycles of the multiplication."""
    add_latency: int = Parameter(default=3, ge=1, le=4)
    """Cycles of the addition, which alone is in the loop of the running sum."""


class DequantizerConfig(FloatLatencies):
    """Parameters of the dequantizer."""

    rows: int = Parameter(default=16, ge=1, le=256)
    """Tokens a tile (R)."""
    columns: int = Parameter(default=16, ge=1, le=256)
    """Outputs a tile (C)."""
    rows_per_beat: int = Parameter(default=1, ge=1, le=16)
    """Rows of sums taken in a cycle ; divides rows, 1 for asymmetric weights."""
    acc_bits: int = Parameter(default=25, ge=2, le=48)
    """Bits of a signed sum of activations times weights."""
    asymmetric: bool = False
    """Whether weights have a minimum beside their scale."""
    ones_bits: int = Parameter(default=16, ge=2, le=48)
    """Bits of a signed sum of activations; matters only for asymmetric weights."""
    errors: bool = False
    """Whether sums come with ``error``, which then all results of their tile have set."""

    @model_validator(mode="after")
    def _check_rows(self) -> "DequantizerConfig":
        if self.rows % self.rows_per_beat:
            raise UserError(
                "rows_per_beat must divide rows, "
                f"got rows_per_beat {self.rows_per_beat}, rows {self.rows}."
            )
        if self.asymmetric and self.rows_per_beat > 1:
            raise UserError(
                f"rows_per_beat must be 1 for asymmetric weights, got {self.rows_per_beat}."
            )
        return self

    @property
    def idle(self) -> frozenset[str]:
        """Symmetric weights need no sums of activations."""
        return frozenset() if self.asymmetric else frozenset({"ones_bits"})

    @property
    def beats(self) -> int:
        """Beats of sums a weight group, and of results a tile (R / ``rows_per_beat``)."""
        return self.rows // self.rows_per_beat

    @property
    def lanes(self) -> int:
        """Sums a beat (``rows_per_beat`` * C)."""
        return self.rows_per_beat * self.columns

    @property
    def passes(self) -> int:
        """Times a weight group goes through the array: scales, then minima."""
        return 2 if self.asymmetric else 1

    @property
    def value_bits(self) -> int:
        """Bits of the integer that is converted."""
        if not self.asymmetric:
            return self.acc_bits
        return max(self.acc_bits, self.ones_bits + 3) + 1

    @property
    def latency(self) -> int:
        """Cycles from a row of sums to its result."""
        return self.convert_latency + self.multiply_latency + self.add_latency

    @property
    def period(self) -> int:
        """Cycles between passes over the same running sums."""
        return max(self.beats, self.add_latency)


def _none(dtype: type) -> NDArray:
    return np.zeros((0, 0), dtype)


@dataclass(frozen=True)
class GroupSums:
    """Integer sums of weight groups and their scales, one tile after the other.

    Attributes
    ----------
    acc
        Sums of activations times weights, ``(groups, rows, columns)``.
    d
        Scales, finite float16, ``(groups, columns)``.
    last
        Final group of a tile, ``(groups,)``; True at the end.
    ones
        Sums of activations, ``(groups, rows)``; empty for symmetric weights.
    minimum
        Minima, finite float16, ``(groups, columns)``; empty for symmetric weights.
    error
        Whether sums of a group come with an error, ``(groups,)``; empty: none does.
    """

    acc: NDArray[np.signedinteger]
    d: NDArray[np.float16]
    last: NDArray[np.bool_]
    ones: NDArray[np.signedinteger] = field(default_factory=lambda: _none(np.int64))
    minimum: NDArray[np.float16] = field(default_factory=lambda: _none(np.float16))
    error: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    @property
    def runs(self) -> int:
        """Tiles: after each of them the unit is as after a reset."""
        return int(np.count_nonzero(self.last))

    def part(self, runs: slice) -> "GroupSums":
        """Some tiles alone."""
        starts, sizes = _tiles(self.last)
        groups = slice(starts[runs.start], starts[runs.stop - 1] + sizes[runs.stop - 1])
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return GroupSums(**{n: rows[groups] if rows.size else rows for n, rows in given.items()})


def check(config: DequantizerConfig, sums: GroupSums) -> None:
    """Raise :class:`UserError` unless the unit takes the operands."""
    groups = len(sums.acc)
    per_row, per_column = (groups, config.rows), (groups, config.columns)
    none = (0, 0)
    expected = {
        "acc": (np.integer, (groups, config.rows, config.columns)),
        "d": (np.float16, per_column),
        "last": (np.bool_, (groups,)),
        "ones": (np.integer, per_row if config.asymmetric else none),
        "minimum": (np.float16, per_column if config.asymmetric else none),
        "error": (np.bool_, (groups,) if config.errors and sums.error.size else (0,)),
    }
    for name, (kind, shape) in expected.items():
        array = getattr(sums, name)
        if not np.issubdtype(array.dtype, kind) or array.shape != shape:
            raise UserError(
                f"{name} must be {_KINDS[kind]} of shape {shape}, got {array.dtype} {array.shape}."
            )
    if not groups or not sums.last[-1]:
        raise UserError("the final weight group must end a tile.")
    for name, bits in (("acc", config.acc_bits), ("ones", config.ones_bits)):
        integers = getattr(sums, name)
        half = 1 << (bits - 1)
        if integers.size and (integers.min() < -half or integers.max() >= half):
            raise UserError(f"{name} must fit {bits} bits, got {integers.min()}..{integers.max()}.")
    for name in ("d", "minimum"):
        wrong = ~np.isfinite(getattr(sums, name))
        if wrong.any():
            raise UserError(f"{name} must be finite, got {getattr(sums, name)[wrong][0]}.")


_KINDS = {np.integer: "integers", np.float16: "float16", np.bool_: "booleans"}


def compute(config: DequantizerConfig, sums: GroupSums) -> NDArray[np.float32]:
    """FP32 results, ``(tiles, rows, columns)``."""
    check(config, sums)
    starts, sizes = _tiles(sums.last)
    total = np.zeros((len(starts), config.rows, config.columns), np.float32)
    for position in range(sizes.max()):
        tiles = np.flatnonzero(sizes > position)
        for integers, scales in terms(config, sums, starts[tiles] + position):
            values = int_to_fp32(integers, config.value_bits)
            total[tiles] = add(total[tiles], multiply(values, scales[:, None, :]))
    return total


def terms(
    config: DequantizerConfig, sums: GroupSums, groups: NDArray[np.intp]
) -> Sequence[tuple[NDArray[np.int64], NDArray[np.float16]]]:
    """Integers and their factors that weight groups add to the running sums, in order."""
    acc = sums.acc[groups].astype(np.int64)
    if not config.asymmetric:
        return ((acc, sums.d[groups]),)
    ones = sums.ones[groups].astype(np.int64)[:, :, None]
    return ((acc + OFFSET * ones, sums.d[groups]), (ones, sums.minimum[groups]))


def _tiles(last: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First weight group of each tile and how many groups it has."""
    ends = np.flatnonzero(last) + 1
    starts = np.concatenate([[0], ends[:-1]])
    return starts, ends - starts


# --- ports and events -------------------------------------------------------------------------


def ports(config: DequantizerConfig) -> tuple[Port, ...]:
    """Ports of the unit."""
    columns = config.columns
    value = Field("value", config.acc_bits, "sum of each column", True, config.lanes)
    ones = Field("ones", config.ones_bits, "sum of the row's activations", True)
    d = Field("d", SCALE_BITS, "FP16 scale of each column", count=columns)
    minimum = Field("minimum", SCALE_BITS, "FP16 minimum of each column", count=columns)
    y: tuple[Field, ...] = (
        Field(
            "value", RESULT_BITS, "FP32 result of each column", count=config.lanes, floating=True
        ),
        Field("last", 1, "final rows of the tile", made="block"),
    )
    row_end = Field("last", 1, "final rows of the weight group")
    tile_end = Field("last", 1, "final weight group of the tile", made="block")
    x: tuple[Field, ...] = (value, ones, row_end) if config.asymmetric else (value, row_end)
    if config.errors:
        x = (*x, Field("error", 1, "the weight group has an error; the same on all of its beats"))
        y = (*y, Field("error", 1, "a weight group of this tile had an error", made="error"))
    scale = (d, minimum, tile_end) if config.asymmetric else (d, tile_end)
    return (
        Port("x", "in", x, "sums of a weight group, D rows a beat, row 0 first"),
        Port("scale", "in", scale, "scales, one weight group a beat"),
        Port("y", "out", y, "results of a tile, D rows a beat, row 0 first"),
    )


def events(config: DequantizerConfig) -> tuple[Event, ...]:
    """Events of the unit."""
    return (
        Event("groups", "work", "weight groups taken"),
        Event("rows", "work", "beats of rows of sums taken"),
        Event("products", "work", "products sent to running sums", config.lanes.bit_length()),
        Event("results", "work", "beats of rows of results written"),
        Event(
            "stall_operands",
            "time",
            "cycles within a tile that wait for sums or scales",
            waits_for={"x": 1, "scale": 1},
        ),
        Event("stall_loop", "time", "cycles that wait for running sums still being added up"),
        Event("stall_out", "time", "cycles a result waits for the consumer", waits_for={"y": 1}),
    )


def bandwidth(config: DequantizerConfig) -> dict[str, float]:
    """Bits per cycle on each input in steady state."""
    x, scale, _ = ports(config)
    cycles = config.passes * config.period
    return {"x": x.width * config.beats / cycles, "scale": scale.width / cycles}


# --- schedule and law -------------------------------------------------------------------------


def schedule(
    config: DequantizerConfig, sums: GroupSums, arrivals: NDArray[np.int64] | None = None
) -> Schedule:
    """Golden schedule of a run.

    Parameters
    ----------
    arrivals
        Cycle in which the first row of each weight group is there, the others following one a
        cycle; by default everything is from cycle 0 on.
    """
    check(config, sums)
    rows = np.arange(config.beats)
    starts, waits = _starts(config, sums, arrivals)
    groups, results = starts[:, 0], starts[sums.last, -1] + config.latency
    taken, written = ((first[:, None] + rows).ravel() for first in (groups, results))
    steps = (starts.ravel()[:, None] + rows).ravel()
    unfinished = np.ones(starts.shape, bool)
    unfinished[sums.last, -1] = False
    loop = starts[unfinished][:, None] + np.arange(config.beats, config.period)
    pulses = {
        "groups": Pulses.strobes(groups),
        "rows": Pulses.strobes(taken),
        "products": Pulses(steps.astype(np.int64), np.full(steps.size, config.lanes)),
        "results": Pulses.strobes(written),
        "stall_operands": Pulses.strobes(ranges(groups - waits, waits)),
        "stall_loop": Pulses.strobes(loop.ravel()),
        "stall_out": Pulses.strobes(np.zeros(0, np.int64)),
    }
    cycles = {"x": taken, "scale": groups, "y": written}
    return Schedule(traffic(config, sums), cycles, pulses)


def _starts(
    config: DequantizerConfig, sums: GroupSums, arrivals: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start of each pass, ``(groups, passes)``; cycles each group waits for sums within a tile."""
    opens = np.zeros(len(sums.last), bool)  # groups that start from +0
    opens[_tiles(sums.last)[0]] = True
    gaps = (config.passes - 1) * config.period + np.where(opens, config.beats, config.period)
    gaps[0] = 0
    arrivals = np.zeros(len(gaps), np.int64) if arrivals is None else arrivals
    ready = np.cumsum(gaps)
    first = ready + np.maximum.accumulate(arrivals - ready)
    waits = np.where(opens, 0, np.diff(first, prepend=0) - gaps)
    return first[:, None] + config.period * np.arange(config.passes), waits


def traffic(config: DequantizerConfig, sums: GroupSums) -> dict[str, Beats]:
    """Payloads of every port."""
    y = compute(config, sums)
    x_port, scale_port, y_port = ports(config)
    row_end = np.arange(config.beats) == config.beats - 1
    x = {"value": sums.acc.reshape(-1, config.lanes), "last": np.tile(row_end, len(sums.acc))}
    scale = {"d": sums.d.view(np.uint16), "last": sums.last}
    if config.asymmetric:
        x["ones"] = sums.ones.ravel()
        scale["minimum"] = sums.minimum.view(np.uint16)
    words = y.view(np.uint32).reshape(-1, config.lanes)
    results = {"value": words, "last": np.tile(row_end, len(y))}
    if config.errors:
        error = sums.error if sums.error.size else np.zeros(len(sums.acc), np.bool_)
        tiles = np.logical_or.reduceat(error, _tiles(sums.last)[0])
        x["error"], results["error"] = (np.repeat(e, config.beats) for e in (error, tiles))
    return {
        "x": Beats(x_port.pack(**x)),
        "scale": Beats(scale_port.pack(**scale)),
        "y": Beats(y_port.pack(**results)),
    }


@dataclass(frozen=True, eq=False)
class TileGroups(Profile):
    """A run of tiles that differ in their number of weight groups.

    Attributes
    ----------
    sizes
        Weight groups of each tile, at least 1, ``(tiles,)``.
    """

    sizes: NDArray[np.integer]

    def check(self, tokens: int, in_features: int) -> None:
        """As :meth:`nibbleforge.golden.contract.workload.Profile.check`."""
        if self.sizes.ndim != 1 or not self.sizes.size or self.sizes.min() < 1:
            raise UserError(
                "a run needs at least one tile, and every tile at least one weight group."
            )


def workload(config: DequantizerConfig, sums: GroupSums) -> Workload:
    """Weight groups of every tile, each counted as one feature."""
    _, sizes = _tiles(sums.last)
    extent = (len(sizes) * config.rows, int(sizes.max()), config.columns)
    return Workload(*extent, weight_group=1, profile=TileGroups(sizes))


def cycles(config: DequantizerConfig, workload: Workload) -> Counts:
    """Counts of one free-flowing run.

    Without :class:`TileGroups` all tiles of the layer have the weight groups of its in_features.
    """
    if isinstance(workload.profile, TileGroups):
        return _cycles(config, workload.profile.sizes)
    tokens, in_features, outputs = workload.layer
    if workload.weight_group is None:
        raise UserError("the workload of the dequantizer needs weight_group.")
    tiles = len(Tiling(tokens, outputs, config.rows, config.columns))
    return _cycles(config, np.full(tiles, -(-in_features // workload.weight_group)))


def _cycles(config: DequantizerConfig, sizes: NDArray[np.integer]) -> Counts:
    """Counts of a run of tiles with so many weight groups each."""
    tiles, number = len(sizes), int(sizes.sum())
    steps = number * config.passes * config.beats
    idle = (number * config.passes - tiles) * (config.period - config.beats)
    totals = {
        "groups": number,
        "rows": number * config.beats,
        "products": steps * config.lanes,
        "results": tiles * config.beats,
        "stall_operands": 0,
        "stall_loop": idle,
        "stall_out": 0,
    }
    return Counts(steps + idle + config.latency, totals, float(steps))


DEQUANTIZER = Design(
    name="dequantizer",
    summary="integer sums of weight groups to FP32, scaled and added up over a tile",
    law="latency + sum over tiles of (passes*groups - 1) * max(out, add_latency) + out, "
    "out = R/rows_per_beat",
    ports=ports,
    events=events,
    bandwidth=bandwidth,
    schedule=schedule,
    traffic=traffic,
    workload=workload,
    cycles=cycles,
    hardware="nibbleforge.hw.dequantizer:Dequantizer",
    stimuli="nibbleforge.tb.tb_dequantizer:DEQUANTIZER",
)

UNIT = Unit(
    name="dequantizer",
    summary="shared by the integer arrays: group scales, group minima, FP32 running sums",
    config=DequantizerConfig,
    presets={
        "paper": DequantizerConfig(),
        "asymmetric": DequantizerConfig(asymmetric=True),
        "tiny": DequantizerConfig(rows=3, columns=5, acc_bits=18, add_latency=4),
        "vector": DequantizerConfig(rows=1),
        "fpga": DequantizerConfig(
            rows=4, columns=4, convert_latency=2, multiply_latency=3, add_latency=4
        ),
    },
    designs=lambda _: (DEQUANTIZER,),
    takes="stream",
)

UNITS = (UNIT,)
