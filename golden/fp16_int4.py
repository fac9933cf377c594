"""Baseline ``fp16_int4``: FP16 activations times INT4 weights without FP16 multipliers.

Activations come as they lie in memory. After the pre-alignment of FIGNA (HPCA 2024); the
definition is ours. An aligner in front of each row turns G elements into one exponent and signed
mantissas of M bits, once for all columns (:func:`nibbleforge.golden.anda.format.encode`). The array
behind them is that of :mod:`.figna`, and so are operands, results and what is refused. The schedule
is the one that the docstring of :class:`nibbleforge.hw.fp16_int4.Fp16Int4Array` states.
"""

from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Parameter
from pydantic import model_validator

from . import figna
from .anda.format import MANTISSA_MAX
from .contract.config import Config
from .contract.design import Design, Unit
from .contract.errors import UserError
from .contract.events import Counts, Event, event_of_part
from .contract.ports import Field, Port, port_of
from .contract.schedule import Beats, Pulses, Schedule, Traffic, final_of
from .contract.workload import Workload
from .figna import FignaConfig, FignaLayer, FignaSettings
from .fp16 import OPERAND_BITS


class Fp16Int4Config(FignaConfig):
    """Parameters of the mantissa array behind aligners."""

    mantissa: int = Parameter(default=11, ge=4, le=MANTISSA_MAX)
    """Bits of a mantissa (M), hidden one included."""
    lanes: int = Parameter(default=16, ge=1, le=64)
    """Elements that an aligner takes, and a processor multiplies, a cycle (L)."""

    @model_validator(mode="after")
    def _check_rounding(self) -> Self:
        if self.rounding != "truncate":
            raise UserError(f"rounding must be truncate: aligners cut off, got {self.rounding}.")
        return self

    @property
    def array(self) -> FignaConfig:
        """The array behind the aligners."""
        return FignaConfig(**self.model_dump())


def compute(config: Fp16Int4Config, layer: FignaLayer) -> NDArray[np.float32]:
    """Results, ``(tokens, outputs)``."""
    return figna.compute(config.array, layer)


# --- ports and events -------------------------------------------------------------------------


def ports(config: Fp16Int4Config) -> tuple[Port, ...]:
    """Ports of the array."""
    _, _, *others = figna.ports(config.array)
    elements = config.rows * config.lanes
    x = (
        Field("value", OPERAND_BITS, "finite FP16 patterns of each row", count=elements),
        Field("fresh", 1, "in a group's final beat: the group takes the next scales"),
        Field("last", 1, "final beat of the tile", made="block"),
    )
    meaning = "activations, elements of a group in ascending order"
    return (Port("x", "in", x, meaning, "tokens"), *others)


def events(config: Fp16Int4Config) -> tuple[Event, ...]:
    """Events of the array behind the aligners, and beats that these take."""
    inside = {"exponent": ("x",)}
    return (
        Event("fp16_beats", "work", "beats of activations read"),
        *(event_of_part(event, inside) for event in figna.events(config.array)),
    )


def bandwidth(config: Fp16Int4Config) -> dict[str, float]:
    """Bits per cycle on each input in steady state; scales for weight groups of 128."""
    behind = figna.bandwidth(config.array)
    x, *others = (port for port in ports(config) if port.direction == "in")
    return {
        x.name: x.width * config.beats / config.group_cycles,
        **{port.name: behind[port.name] for port in others},
    }


# --- schedule and law -------------------------------------------------------------------------


def traffic(config: Fp16Int4Config, layer: FignaLayer) -> Traffic:
    """Payloads of every port for a layer, operands as segments so that nothing is copied."""
    return _merged(config, layer, figna.traffic(config.array, layer))


def _merged(config: Fp16Int4Config, layer: FignaLayer, behind: Traffic) -> Traffic:
    """Traffic of the joined unit: activations for what the aligners make of them."""
    x = Beats(_activations(config, layer), behind["x"].segments)
    others = {port.name: behind[port.name] for port in ports(config)[1:]}
    return {"x": x, **others}


def _activations(config: Fp16Int4Config, layer: FignaLayer) -> NDArray[np.uint32]:
    """Words of the port of activations, token block after token block."""
    groups, beats = layer.groups(config), config.beats
    padded = np.pad(layer.x, ((0, 0), (0, -layer.x.shape[1] % config.group)))
    blocks = layer.tiling(config).blocks_of_tokens(padded.view(np.uint16))
    values = blocks.reshape(len(blocks), config.rows, -1, config.lanes).transpose(0, 2, 1, 3)
    fresh = np.repeat(layer.fresh(config), beats) & final_of(beats, groups)
    return port_of(ports(config), "x").pack(
        value=values.reshape(-1, config.rows * config.lanes),
        fresh=np.tile(fresh, len(blocks)),
        last=final_of(groups * beats, len(blocks)),
    )


def schedule(config: Fp16Int4Config, layer: FignaLayer) -> Schedule:
    """Golden schedule of a layer: that of the array, when the aligners have the first group."""
    behind, latency = figna.schedule(config.array, layer), config.beats
    cycles = {name: cycles + latency for name, cycles in behind.cycles.items()}
    cycles["w"][0] = 0  # waits within the array
    mantissas = cycles["x"]  # a beat of a group makes room for that of the next one
    cycles["x"] = np.concatenate([np.arange(latency), mantissas[:-latency]])
    fired = {
        "fp16_beats": Pulses.strobes(cycles["x"]),
        **{
            name: Pulses(pulses.cycles + latency, pulses.increments)
            for name, pulses in behind.events.items()
        },
        "w_beats": Pulses.strobes(cycles["w"]),
    }
    return Schedule(
        _merged(config, layer, behind.beats),
        {port.name: cycles[port.name] for port in ports(config)},
        fired,
    )


def workload(config: Fp16Int4Config, layer: FignaLayer) -> Workload:
    """Shape of the layer, and features that share a scale."""
    return figna.workload(config.array, layer)


def cycles(config: Fp16Int4Config, workload: Workload) -> Counts:
    """Counts of a layer in one free-flowing run."""
    behind = figna.cycles(config.array, workload)
    totals = {"fp16_beats": behind.events["x_beats"], **behind.events}
    return replace(behind, cycles=config.beats + behind.cycles, events=totals)


ARRAY = Design(
    name="fp16_int4_array",
    summary="aligners of FP16 activations in front of the bit-parallel array",
    law="that of figna_array, and G / lanes cycles in which the aligners take the first group",
    ports=ports,
    events=events,
    bandwidth=bandwidth,
    schedule=schedule,
    traffic=traffic,
    workload=workload,
    cycles=cycles,
    hardware="nibbleforge.hw.fp16_int4:Fp16Int4Array",
    stimuli="nibbleforge.tb.tb_fp16_int4:ARRAY",
)

_PRESETS: dict[str, Config] = {
    "paper": Fp16Int4Config(),
    "tiny": Fp16Int4Config(group=16, rows=3, columns=4, lanes=4, fp_share=2),
    "fpga": Fp16Int4Config(
        group=32, rows=4, columns=4, lanes=4, tree="operators", multiply_latency=3
    ),
    "m14": Fp16Int4Config(mantissa=14),
    "m8": Fp16Int4Config(mantissa=8),
}

UNIT = Unit(
    name="fp16_int4",
    summary="baseline: FP16 activations, aligned at the array's edge, times INT4 weights",
    config=Fp16Int4Config,
    presets=_PRESETS,
    designs=lambda _: (ARRAY,),
    takes="layer",
    settings=FignaSettings,
    simulation="nibbleforge.sim.units.fp16_int4:prepare",
)

UNITS = (UNIT,)
