"""FIGNA-like baseline: array that multiplies whole aligned mantissas by INT4 weights.

After FIGNA (HPCA 2024); the definition is ours. Number format and results are those of the
bit-plane array with the same mantissa (:mod:`nibbleforge.golden.anda.format`,
:mod:`nibbleforge.golden.anda.dots`), and so are post-processors and their timing
(:mod:`nibbleforge.golden.anda.timing`). Mantissas may also be rounded to the nearest: with M = 7
and G = 32 they are the elements of MXINT8 (OCP Microscaling Formats 1.0). The schedule is the one
that the docstring of :class:`nibbleforge.hw.figna.FignaArray` states.
"""

from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Parameter
from pydantic import model_validator

from .anda import dots as anda_dots
from .anda import timing as anda_timing
from .anda.config import RESULT_BITS, GroupArrayConfig, check_part, exponent_port, scale_port
from .anda.format import MANTISSA_MAX, Anda, Rounding, encode
from .anda.schedule import exponent_words, joined, scale_words, weight_words
from .anda.timing import shape_of
from .anda.values import GroupOperands, check_operands, check_weight_group
from .contract.config import Config
from .contract.design import Design, Unit
from .contract.elements import Tree, check_tree
from .contract.events import Counts, Event
from .contract.layer import WEIGHT_BITS
from .contract.ports import Field, Port, port_of
from .contract.schedule import Pulses, Schedule, Traffic, final_of
from .contract.tiling import Tiling
from .contract.workload import Workload


class FignaConfig(GroupArrayConfig):
    """Parameters of the mantissa array."""

    mantissa: int = Parameter(default=14, ge=4, le=MANTISSA_MAX)
    """Bits of a mantissa (M), hidden one included."""
    lanes: int = Parameter(default=16, ge=1, le=64)
    """Elements that a processor multiplies a cycle (L)."""
    tree: Tree = "pair_sums"
    """How an element adds up the products of its lanes."""
    rounding: Rounding = "truncate"
    """How activations lose bits on their way to mantissas; the array takes these as they are."""

    @model_validator(mode="after")
    def _check_lanes(self) -> Self:
        check_part(self, "lanes", "group")
        check_tree(self.tree, self.lanes)
        return self

    @property
    def idle(self) -> frozenset[str]:
        """Mantissas come rounded: the hardware is the same."""
        return frozenset({"rounding"})

    @property
    def largest_mantissa(self) -> int:
        """Most bits of a mantissa."""
        return self.mantissa

    @property
    def operand_bits(self) -> int:
        """Bits of a signed mantissa."""
        return self.mantissa + 1

    @property
    def beats(self) -> int:
        """Beats of operands a group."""
        return self.group // self.lanes

    @property
    def group_cycles(self) -> int:
        """Cycles a group takes in steady state."""
        return max(self.beats, self.passes * self.period)

    @property
    def macs_per_step(self) -> int:
        """Multiply-accumulates the array does in one step."""
        return self.rows * self.columns * self.lanes


class FignaSettings(Config):
    """How weights are prepared for the hardware."""

    weight_group: Literal[16, 32, 64, 128] = 128
    """Input features that share a scale; a multiple of the activations' group."""


@dataclass(frozen=True)
class FignaLayer(GroupOperands):
    """Operands of one layer.

    Attributes
    ----------
    x
        Activations, finite float16, ``(tokens, in_features)``.
    w
        Weights in [-8, 7], int8, ``(outputs, in_features)``.
    d
        Scales, finite float16, ``(outputs, weight groups)``.
    weight_group
        Input features that share a scale; a multiple of the activations' group, or at least
        in_features.
    minimum
        Minima, finite float16, ``(outputs, weight groups)``; empty for symmetric weights.
    """

    x: NDArray[np.float16]
    w: NDArray[np.int8]
    d: NDArray[np.float16]
    weight_group: int
    minimum: NDArray[np.float16] = field(default_factory=lambda: np.zeros((0, 0), np.float16))

    def encoded(self, config: FignaConfig) -> Anda:
        """The activations in the number format."""
        return encode(config, config.mantissa, self.x, config.rounding)


def compute(config: FignaConfig, layer: FignaLayer) -> NDArray[np.float32]:
    """Results, ``(tokens, outputs)``."""
    check_operands(config, layer)
    return anda_dots.compute(layer.encoded(config), layer.weights(config))


# --- ports and events -------------------------------------------------------------------------


def ports(config: FignaConfig) -> tuple[Port, ...]:
    """Ports of the array."""
    mantissas, weights = config.rows * config.lanes, config.columns * config.lanes
    x = (
        Field("value", config.operand_bits, "signed mantissas of each row", True, mantissas),
        Field("last", 1, "final beat of the group", made="part"),
    )
    w = (Field("value", WEIGHT_BITS, "weights of each column", True, weights),)
    y = (
        Field(
            "value",
            RESULT_BITS["fp32"],
            "FP32 result of each column",
            count=config.columns,
            floating=True,
        ),
        Field("last", 1, "final row of the tile", made="block"),
    )
    return (
        exponent_port(config),
        Port("x", "in", x, "mantissas, elements of a group in ascending order", "tokens"),
        Port("w", "in", w, "weights of the same elements as the beat of mantissas", "outputs"),
        scale_port(config),
        Port("y", "out", y, "results, one row a beat, row 0 first", "results", beats=config.rows),
    )


def events(config: FignaConfig) -> tuple[Event, ...]:
    """Events of the array."""
    return (
        Event("macs", "work", "multiply-accumulates done", config.macs_per_step.bit_length()),
        Event("groups", "work", "groups worked off"),
        Event("x_beats", "work", "beats of mantissas read"),
        Event("w_beats", "work", "beats of weights read"),
        Event("scales", "work", "beats of scales read"),
        Event("products", "work", "products sent to running sums", config.products.bit_length()),
        Event("y_beats", "work", "rows of results written"),
        Event("tiles", "work", "tiles whose final products were sent"),
        Event(
            "stall_operands",
            "time",
            "cycles within a tile that wait for mantissas or weights",
            waits_for={"exponent": 1, "x": 1, "w": 1, "scale": 1},
        ),
        Event(
            "stall_post",
            "time",
            "cycles a group's final beat waits for the post-processors",
            waits_for={"y": 1},  # the group behind the one that waits
        ),
        Event(
            "stall_drain",
            "time",
            "cycles final products wait for the tile before to drain",
            waits_for={"y": 1},
        ),
    )


def bandwidth(config: FignaConfig) -> dict[str, float]:
    """Bits per cycle on each input in steady state; scales for weight groups of 128."""
    beats = {"x": config.beats, "w": config.beats, "scale": config.group / 128}
    return {
        port.name: port.width * beats.get(port.name, 1) / config.group_cycles
        for port in ports(config)
        if port.direction == "in"
    }


# --- schedule and law -------------------------------------------------------------------------


def traffic(config: FignaConfig, layer: FignaLayer) -> Traffic:
    """Payloads of every port for a layer, operands as segments so that nothing is copied."""
    y = compute(config, layer)
    anda, declared = layer.encoded(config), ports(config)
    tiling = layer.tiling(config)
    words = {
        "exponent": exponent_words(config, anda, layer),
        "x": _mantissas(config, anda, tiling),
        "w": weight_words(port_of(declared, "w"), config, layer, config.lanes, by_element=False),
        "scale": scale_words(config, layer),
    }
    return joined(declared, tiling, words, y.view(np.uint32))


def _mantissas(config: FignaConfig, anda: Anda, tiling: Tiling) -> NDArray[np.uint32]:
    """Words of the port of mantissas, token block after token block."""
    blocks = tiling.blocks_of_tokens(anda.integers())
    beats = blocks.reshape(len(blocks), config.rows, -1, config.lanes).transpose(0, 2, 1, 3)
    return port_of(ports(config), "x").pack(
        value=beats.reshape(-1, config.rows * config.lanes),
        last=final_of(config.beats, len(blocks) * anda.groups),
    )


def schedule(config: FignaConfig, layer: FignaLayer) -> Schedule:
    """Golden schedule of a layer: every tile in one run."""
    check_operands(config, layer)
    groups = layer.groups(config)
    tiles = anda_timing.run(config, config.beats, groups, len(layer.tiling(config)))
    steps = anda_timing.steps(config.beats, tiles)
    taken = anda_timing.taken(steps)
    begins = taken[:, 0]
    cycles = {
        "exponent": begins,
        "x": taken.ravel(),
        "w": taken.ravel(),
        "scale": begins[np.tile(layer.fresh(config), len(tiles))],
        "y": anda_timing.leaving(config, tiles),
    }
    own = {
        "macs": Pulses(steps.ravel(), np.full(steps.size, config.macs_per_step)),
        "x_beats": Pulses.strobes(cycles["x"]),
        "w_beats": Pulses.strobes(cycles["w"]),
        "scales": Pulses.strobes(cycles["scale"]),
        "y_beats": Pulses.strobes(cycles["y"]),
        **anda_timing.pulses(config, tiles),
    }
    fired = {event.name: own[event.name] for event in events(config)}
    return Schedule(traffic(config, layer), cycles, fired)


def workload(_: FignaConfig, layer: FignaLayer) -> Workload:
    """Shape of the layer, and features that share a scale."""
    tokens, in_features = layer.x.shape
    return Workload(tokens, in_features, len(layer.w), weight_group=layer.weight_group)


def cycles(config: FignaConfig, workload: Workload) -> Counts:
    """Counts of a layer in one free-flowing run."""
    _, in_features, _ = workload.layer
    tiles, groups = shape_of(config, workload)
    weight_group = workload.weight_group or workload.settings_as(FignaSettings).weight_group
    check_weight_group(config, weight_group, in_features)
    spent, waits = anda_timing.totals(config, config.beats, groups, tiles)
    steps = tiles * groups * config.beats
    found = {
        "macs": steps * config.macs_per_step,
        "groups": tiles * groups,
        "x_beats": steps,
        "w_beats": steps,
        "scales": tiles * -(-in_features // weight_group),
        "products": tiles * groups * config.passes * config.rows * config.columns,
        "y_beats": tiles * config.rows,
        "tiles": tiles,
        **waits,
    }
    return Counts(spent, {event.name: found[event.name] for event in events(config)}, float(steps))


ARRAY = Design(
    name="figna_array",
    summary="bit-parallel array: L whole mantissas times INT4 weights a processor and cycle",
    law="per group max(G / lanes, passes * max(fp_share, add_latency)); "
    "fill and drain as the schedule says",
    ports=ports,
    events=events,
    bandwidth=bandwidth,
    schedule=schedule,
    traffic=traffic,
    workload=workload,
    cycles=cycles,
    hardware="nibbleforge.hw.figna:FignaArray",
    stimuli="nibbleforge.tb.tb_figna:ARRAY",
)

_PRESETS: dict[str, Config] = {
    "paper": FignaConfig(),
    "tiny": FignaConfig(group=16, rows=3, columns=4, mantissa=11, lanes=2, fp_share=2),
    "fpga": FignaConfig(
        group=32, rows=4, columns=4, mantissa=11, lanes=4, tree="operators", multiply_latency=3
    ),
    "m11": FignaConfig(mantissa=11),
    "m8": FignaConfig(mantissa=8),
    "mxint8": FignaConfig(group=32, mantissa=7, fp_share=2, add_latency=2, rounding="nearest"),
}

UNIT = Unit(
    name="figna",
    summary="baseline: bit-parallel array on grouped shared-exponent activations",
    config=FignaConfig,
    presets=_PRESETS,
    designs=lambda _: (ARRAY,),
    takes="layer",
    settings=FignaSettings,
    simulation="nibbleforge.sim.units.figna:prepare",
)

UNITS = (UNIT,)
