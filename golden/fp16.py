"""FP16 array with FP32 accumulation: the "GPU-like" baseline ``fp16``.

What it computes is ours, defined operation by operation, each rounded once to nearest even and
nothing fused. A beat holds ``lanes`` consecutive input features, a short final one filled up with
+0. Every lane of an element has ``add_latency`` FP32 sums that start from +0: products of lane j in
beats i, i + ``add_latency``, i + 2 * ``add_latency``, ... go to sum (i, j), in this order. At the
tile's end the ``add_latency * lanes`` sums are added up as a balanced tree: numbered
``i * lanes + j``, neighbours are added, the lower number first, until one is left; where their
number is odd, the last goes on as it is.

Products of two finite FP16 numbers are multiples of 2^-48 below 2^32 with 22 significant bits:
exact in FP32. Sums of up to 2^20 of them stay multiples of 2^-48 and below 2^53: nothing
overflows, nothing is subnormal, and no sum is -0. So this is plain IEEE-754.

The schedule is the one that the docstring of :class:`nibbleforge.hw.fp16.Fp16Array` states.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Parameter

from .contract.config import Config
from .contract.design import Design, Unit
from .contract.errors import UserError
from .contract.events import Counts, Event
from .contract.layer import Cuttable, check_matrices, check_shape, dense_events
from .contract.ports import Field, Port
from .contract.schedule import Beats, Pulses, Schedule, final_of
from .contract.tiling import Tiling
from .contract.workload import Workload

OPERAND_BITS = 16
RESULT_BITS = 32


class Fp16Config(Config):
    """Parameters of the FP16 array."""

    rows: int = Parameter(default=16, ge=1, le=256)
    """Tokens a tile (R)."""
    columns: int = Parameter(default=16, ge=1, le=256)
    """Outputs a tile (C)."""
    lanes: Literal[1, 2, 4, 8] = 4
    """Input features a beat, and multipliers of a processing element."""
    multiply_latency: int = Parameter(default=1, ge=1, le=3)
    """Cycles of a multiplication."""
    add_latency: int = Parameter(default=1, ge=1, le=4)
    """Cycles of an addition, and sums that each lane keeps."""
    max_k: int = Parameter(default=14336, ge=1, le=1 << 20)
    """Largest in_features."""

    @property
    def sums(self) -> int:
        """Sums of an element: ``add_latency`` a lane."""
        return self.lanes * self.add_latency

    @property
    def reduce_latency(self) -> int:
        """Cycles from a row of sums to its results."""
        return self.add_latency * (self.sums - 1).bit_length()

    @property
    def lead(self) -> int:
        """Steps from a tile's final one to that in which its sums go to the result registers."""
        return self.multiply_latency + 1

    @property
    def result_latency(self) -> int:
        """Cycles from then to the first row of results."""
        return self.add_latency + self.reduce_latency

    @property
    def macs_per_step(self) -> int:
        """Multiply-accumulates the array does in one step."""
        return self.rows * self.columns * self.lanes

    def beats(self, in_features: int) -> int:
        """Beats of each operand a tile."""
        return -(-in_features // self.lanes)

    def steps(self, in_features: int) -> int:
        """Steps a tile: every sum takes its turn equally often."""
        return -(-self.beats(in_features) // self.add_latency) * self.add_latency

    def period(self, in_features: int) -> int:
        """Cycles from tile to tile."""
        return max(self.steps(in_features), self.rows)


class HalfConfig(Protocol):
    """What the configurations of arrays that take FP16 operands have in common."""

    @property
    def rows(self) -> int:
        """Tokens a tile (R)."""

    @property
    def columns(self) -> int:
        """Outputs a tile (C)."""

    @property
    def lanes(self) -> int:
        """Input features a beat."""

    @property
    def max_k(self) -> int:
        """Largest in_features."""

    @property
    def lead(self) -> int:
        """Steps from a tile's final one to that in which its sums go to the result registers."""

    @property
    def result_latency(self) -> int:
        """Cycles from then to the first row of results."""

    @property
    def macs_per_step(self) -> int:
        """Multiply-accumulates the array does in one step."""

    def beats(self, in_features: int) -> int:
        """Beats of each operand a tile."""

    def steps(self, in_features: int) -> int:
        """Steps a tile."""

    def period(self, in_features: int) -> int:
        """Cycles from tile to tile."""


@dataclass(frozen=True)
class Fp16Layer(Cuttable):
    """Operands of one layer.

    Attributes
    ----------
    x
        Activations, finite float16, ``(tokens, in_features)``.
    w
        Weights, finite float16, ``(outputs, in_features)``.
    """

    x: NDArray[np.float16]
    w: NDArray[np.float16]

    def tiling(self, config: HalfConfig) -> Tiling:
        """Tiles of the layer on an array."""
        return Tiling(len(self.x), len(self.w), config.rows, config.columns)


def check(config: HalfConfig, layer: Fp16Layer) -> None:
    """Raise :class:`UserError` unless the array takes the operands."""
    check_matrices(layer.x, layer.w, np.float16, "float16")
    check_shape(config, len(layer.x), layer.x.shape[1], len(layer.w))
    for name, matrix in (("activations", layer.x), ("weights", layer.w)):
        wrong = ~np.isfinite(matrix)
        if wrong.any():
            raise UserError(f"{name} must be finite, got {matrix[wrong][0]}.")


def compute(config: Fp16Config, layer: Fp16Layer) -> NDArray[np.float32]:
    """Results, ``(tokens, outputs)``."""
    check(config, layer)
    return reduce(sums(config, layer))


def sums(config: Fp16Config, layer: Fp16Layer) -> NDArray[np.float32]:
    """Sums of all elements at their tile's end, ``(sums, tokens, outputs)``, as numbered above."""
    x, w = (in_beats(config, matrix).astype(np.float32) for matrix in (layer.x, layer.w))
    shape = (config.add_latency, config.lanes, len(layer.x), len(layer.w))
    total = np.zeros(shape, np.float32)
    for beat in range(x.shape[1]):
        total[beat % config.add_latency] += x[:, beat].T[:, :, None] * w[:, beat].T[:, None, :]
    return total.reshape(-1, *shape[2:])


def reduce(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum along the first axis as a balanced tree of neighbours."""
    while len(values) > 1:
        even = len(values) // 2 * 2
        values = np.concatenate([values[0:even:2] + values[1:even:2], values[even:]])
    return values[0]


def in_beats(config: HalfConfig, matrix: NDArray[np.float16]) -> NDArray[np.float16]:
    """``(n, in_features)`` to ``(n, beats, lanes)``, filled up with +0."""
    beats = config.beats(matrix.shape[1])
    padded = np.zeros((len(matrix), beats * config.lanes), np.float16)
    padded[:, : matrix.shape[1]] = matrix
    return padded.reshape(len(matrix), beats, config.lanes)


# --- ports and events -------------------------------------------------------------------------


def ports(config: HalfConfig) -> tuple[Port, ...]:
    """Ports of the array; lane j of row (or column) n is element n * lanes + j."""
    rows, columns, lanes = config.rows, config.columns, config.lanes
    x = (
        Field("value", OPERAND_BITS, "FP16 activation of each row and lane", count=rows * lanes),
        Field("last", 1, "final input features of the tile", made="block"),
    )
    w = Field("value", OPERAND_BITS, "FP16 weight of each column and lane", count=columns * lanes)
    y = (
        Field("value", RESULT_BITS, "FP32 sum of each column", count=columns, floating=True),
        Field("last", 1, "final row of the tile", made="block"),
    )
    return (
        Port("x", "in", x, "activations, one input feature a lane and beat", "tokens"),
        Port("w", "in", (w,), "weights, one input feature a lane and beat", "outputs"),
        Port("y", "out", y, "results, one row a beat, row 0 first", "results", beats=config.rows),
    )


def events(config: HalfConfig) -> tuple[Event, ...]:
    """Events of the array."""
    return dense_events(config.macs_per_step)


def bandwidth(config: HalfConfig) -> dict[str, float]:
    """Bits per cycle on each input in steady state."""
    lane_bits = config.lanes * OPERAND_BITS
    return {"x": float(config.rows * lane_bits + 1), "w": float(config.columns * lane_bits)}


# --- schedule and law -------------------------------------------------------------------------


def schedule(config: Fp16Config, layer: Fp16Layer) -> Schedule:
    """Golden schedule of a layer: every tile of its tiling in one run."""
    return schedule_of(config, layer, traffic(config, layer))


def schedule_of(config: HalfConfig, layer: Fp16Layer, payloads: dict[str, Beats]) -> Schedule:
    """Schedule of an array whose sums leave through stages behind its result registers."""
    tiles = np.arange(len(layer.tiling(config)))
    features = layer.x.shape[1]
    steps, period = config.steps(features), config.period(features)
    lead = config.lead
    wait = period - steps

    def cycle(step: NDArray[np.int64]) -> NDArray[np.int64]:
        """Cycle of a step: behind the waits of all tiles whose sums come not later."""
        return step + wait * np.clip((step - lead) // steps - 1, 0, tiles[-1])

    works = cycle((1 + tiles[:, None] * steps + np.arange(config.beats(features))).ravel())
    taken = np.concatenate([[0], works[:-1]])
    finals = (tiles + 1) * steps
    kept = cycle(finals + lead)  # the sums go to the result registers
    rows = kept[:, None] + config.result_latency + np.arange(config.rows)
    waits = kept[1:, None] - wait + np.arange(wait)
    pulses = {
        "macs": Pulses(works, np.full(works.size, config.macs_per_step)),
        "x_beats": Pulses.strobes(taken),
        "w_beats": Pulses.strobes(taken),
        "y_beats": Pulses.strobes(rows.ravel()),
        "tiles": Pulses.strobes(cycle(finals)),
        "stall_operands": Pulses.strobes(np.zeros(0, np.int64)),
        "stall_drain": Pulses.strobes(waits.ravel()),
    }
    return Schedule(payloads, {"x": taken, "w": taken, "y": rows.ravel()}, pulses)


def traffic(config: Fp16Config, layer: Fp16Layer) -> dict[str, Beats]:
    """Payloads of every port for a layer."""
    return traffic_of(config, layer, compute(config, layer))


def traffic_of(
    config: HalfConfig, layer: Fp16Layer, results: NDArray[np.float32]
) -> dict[str, Beats]:
    """Payloads of every port for results, operands as segments so that nothing is copied."""
    x_port, w_port, y_port = ports(config)
    tiling = layer.tiling(config)
    beats = config.beats(layer.x.shape[1])
    x = _by_beat(config, tiling.blocks_of_tokens(layer.x))
    w = _by_beat(config, tiling.blocks_of_outputs(layer.w))
    y = tiling.split_result(results).view(np.uint32)
    token, output = tiling.order.T
    lengths = np.full(len(tiling), beats)
    return {
        "x": Beats(
            x_port.pack(value=x, last=final_of(beats, tiling.token_blocks)),
            np.stack([token * beats, lengths], axis=1),
        ),
        "w": Beats(w_port.pack(value=w), np.stack([output * beats, lengths], axis=1)),
        "y": Beats(
            y_port.pack(
                value=y.reshape(-1, config.columns), last=final_of(config.rows, len(tiling))
            )
        ),
    }


def _by_beat(config: HalfConfig, blocks: NDArray[np.float16]) -> NDArray[np.uint16]:
    """``(blocks, n, in_features)`` to bit patterns ``(blocks * beats, n * lanes)``."""
    number, size, features = blocks.shape
    beats = in_beats(config, blocks.reshape(-1, features))
    by_beat = beats.reshape(number, size, -1, config.lanes).transpose(0, 2, 1, 3)
    return by_beat.reshape(-1, size * config.lanes).view(np.uint16)


def workload(_: HalfConfig, layer: Fp16Layer) -> Workload:
    """Shape of the layer."""
    tokens, in_features = layer.x.shape
    return Workload(tokens, in_features, len(layer.w))


def cycles(config: HalfConfig, workload: Workload) -> Counts:
    """Counts of a layer in one free-flowing run."""
    tokens, in_features, outputs = workload.layer
    check_shape(config, tokens, in_features, outputs)
    tiles = len(Tiling(tokens, outputs, config.rows, config.columns))
    beats, steps = config.beats(in_features), config.steps(in_features)
    period = config.period(in_features)
    latency = config.lead - 1 + config.result_latency
    totals = {
        "macs": tiles * beats * config.macs_per_step,
        "x_beats": tiles * beats,
        "w_beats": tiles * beats,
        "y_beats": tiles * config.rows,
        "tiles": tiles,
        "stall_operands": 0,
        "stall_drain": (tiles - 1) * (period - steps),
    }
    total = 1 + steps + (tiles - 1) * period + latency + config.rows
    return Counts(total, totals, float(tiles * beats))


ARRAY = Design(
    name="fp16_array",
    summary="output-stationary array, FP16 operands, FP32 sums, several features a cycle",
    law="1 + steps + (tiles - 1) * max(steps, rows) + rows + multiply_latency + "
    "add_latency * (1 + ceil(log2(lanes*add_latency))), "
    "steps = ceil(ceil(K/lanes) / add_latency) * add_latency",
    ports=ports,
    events=events,
    bandwidth=bandwidth,
    schedule=schedule,
    traffic=traffic,
    workload=workload,
    cycles=cycles,
    hardware="nibbleforge.hw.fp16:Fp16Array",
    stimuli="nibbleforge.tb.tb_fp16:ARRAY",
)

UNIT = Unit(
    name="fp16",
    summary="baseline: FP16 activations and weights, FP32 accumulation, as on a GPU",
    config=Fp16Config,
    presets={
        "paper": Fp16Config(),
        "tiny": Fp16Config(rows=3, columns=2, lanes=2, add_latency=2, max_k=64),
        "fpga": Fp16Config(rows=4, columns=4, lanes=1, add_latency=2, max_k=4096),
    },
    designs=lambda _: (ARRAY,),
    takes="layer",
    simulation="nibbleforge.sim.units.fp16:prepare",
)

UNITS = (UNIT,)
