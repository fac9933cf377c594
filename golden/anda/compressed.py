"""Anda from layer to layer: the bit-plane array with the compressor behind it.

Source: Anda, arXiv 2411.15982, whose results go back into the format that they came from. Rows of
FP16 results go straight into the compressor, C results of a token a beat, so that G of them make a
group of R lanes; tiles come in the order of :mod:`nibbleforge.golden.contract.tiling`, outputs
innermost.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..contract.design import Design
from ..contract.errors import UserError
from ..contract.events import Counts, Event, event_of_part
from ..contract.layer import check_integer
from ..contract.ports import Field, Port
from ..contract.schedule import Beats, Pulses, Schedule, Traffic, ranges
from ..contract.workload import Workload
from . import compressor as anda_compressor
from . import config as anda_config
from . import schedule as anda_schedule
from . import timing as anda_timing
from . import values as anda_values
from .compressor import MANTISSA_BITS, CompressorConfig, LaneGroups
from .config import AndaConfig, AndaSettings
from .format import MANTISSA_MAX, Anda, check_mantissa, encode
from .values import AndaLayer

PREFIX = "compressor_"
"""Begins the names of the compressor's events."""


@dataclass(frozen=True)
class CompressedLayer(AndaLayer):
    """Operands of one layer whose results are compressed.

    Attributes
    ----------
    result_mantissa
        Bits of a result's mantissa, 1..16.
    """

    result_mantissa: int = field(kw_only=True)


def array_config(config: AndaConfig) -> AndaConfig:
    """The array alone."""
    return config.replace(output="fp16")


def compressor_config(config: AndaConfig) -> CompressorConfig:
    """The compressor behind it: a lane for every row, C elements of a lane a beat."""
    return CompressorConfig(
        group=config.group, lanes=config.rows, lanes_per_beat=1, beat=config.columns
    )


def check(config: AndaConfig, layer: CompressedLayer) -> None:
    """Raise :class:`UserError` unless the unit takes the operands."""
    anda_values.check(array_config(config), layer)
    check_integer("result_mantissa", layer.result_mantissa)
    check_mantissa(layer.result_mantissa)
    _check_outputs(config, len(layer.w))


def _check_outputs(config: AndaConfig, outputs: int) -> None:
    if outputs % config.group:
        raise UserError(f"outputs must be a multiple of group = {config.group}, got {outputs}.")


def compute(config: AndaConfig, layer: CompressedLayer) -> Anda:
    """Results in the number format, ``(tokens, outputs)``."""
    check(config, layer)
    y = np.asarray(anda_values.compute(array_config(config), layer), np.float16)
    return encode(config, layer.result_mantissa, y)


def gathered(config: AndaConfig, tokens: int, fields: Mapping[str, NDArray]) -> Anda:
    """Results in the number format from what left the unit, block after block.

    Parameters
    ----------
    tokens
        Tokens of the layer; the final block may have more rows.
    fields
        ``PORT.FIELD`` to ``(blocks of tokens, groups of outputs, beats, elements)``.
    """
    rows, group = config.rows, config.group
    planes = fields["y_plane.bits"]
    blocks, groups, mantissa, _ = planes.shape
    magnitude = np.einsum("bgpe,p->bge", planes, 1 << np.arange(mantissa)[::-1])

    def by_token(values: NDArray, each: int) -> NDArray:
        found = values.reshape(blocks, groups, rows, each).swapaxes(1, 2)
        return found.reshape(-1, groups * each)[:tokens]

    exponent = by_token(fields["y_exponent.value"], 1).astype(np.uint8)
    return Anda(
        group=group,
        mantissa=mantissa,
        in_features=groups * group,
        sign=by_token(fields["y_sign.word"], group).astype(np.bool_),
        magnitude=by_token(magnitude, group).astype(np.uint16),
        exponent=exponent,
        nonfinite=np.zeros(exponent.shape, np.bool_),
    )


def lane_groups(config: AndaConfig, layer: CompressedLayer) -> LaneGroups:
    """What the compressor gets: groups of one block of tokens after the other."""
    y = np.asarray(anda_values.compute(array_config(config), layer), np.float16).view(np.uint16)
    groups = y.shape[1] // config.group
    tiling = layer.tiling(config)
    blocks = tiling.blocks_of_tokens(y)
    by_token = blocks.reshape(len(blocks), config.rows, groups, config.group)
    values = np.ascontiguousarray(by_token.swapaxes(1, 2)).reshape(-1, config.rows, config.group)
    mantissa = np.full(len(values), layer.result_mantissa, np.uint8)
    return LaneGroups(values, mantissa)


def ports(config: AndaConfig) -> tuple[Port, ...]:
    """Ports of the unit."""
    *inputs, _ = anda_config.ports(array_config(config))
    _, sign, exponent, plane = anda_compressor.ports(compressor_config(config))
    exponent = replace(exponent, fields=exponent.fields[:1])  # FP16 results saturate
    bits, last = plane.fields
    plane = replace(plane, fields=(bits, replace(last, made="block")), most=MANTISSA_MAX)
    mantissa = Field(
        "value", MANTISSA_BITS, "M of the group; outside 1..16 taken as 16", made="setting"
    )
    tiles = config.group // config.columns
    results = (replace(sign, beats=1), replace(exponent, beats=1), plane)
    return (
        *inputs,
        Port("y_mantissa", "in", (mantissa,), "one beat a group of results", "results"),
        *(replace(p, name=f"y_{p.name}", belongs="results", tiles=tiles) for p in results),
    )


def events(config: AndaConfig) -> tuple[Event, ...]:
    """Events of the unit."""
    array, compressor = array_config(config), compressor_config(config)
    *inputs, _ = (port.name for port in anda_config.ports(array))
    x, *results = (port.name for port in anda_compressor.ports(compressor))
    renamed = {name: (f"y_{name}",) for name in results}
    after = ("y_mantissa", *(f"y_{name}" for name in results))
    behind = (e for e in anda_compressor.events(compressor) if e.name != "nonfinite")
    return (
        *(event_of_part(event, {"y": after}) for event in anda_config.events(array)),
        *(event_of_part(event, {x: inputs, **renamed}, PREFIX) for event in behind),
    )


def bandwidth(config: AndaConfig) -> dict[str, float]:
    """As the array, and at most a mantissa every G / C tiles of one group."""
    array = array_config(config)
    cycles = config.group // config.columns * array.group_cycles(1)
    return {**anda_config.bandwidth(array), "y_mantissa": MANTISSA_BITS / cycles}


def traffic(config: AndaConfig, layer: CompressedLayer) -> Traffic:
    """Payloads of every port."""
    check(config, layer)
    return _merged(
        config, anda_schedule.traffic(array_config(config), layer), lane_groups(config, layer)
    )


def _merged(config: AndaConfig, front: Traffic, results: LaneGroups) -> Traffic:
    """Traffic of the joined unit: what lies between the two is gone."""
    behind = anda_compressor.traffic(compressor_config(config), results)
    inner = anda_compressor.ports(compressor_config(config))[2]
    declared = {port.name: port for port in ports(config)}
    exponents = inner.unpack(behind["exponent"].words)["value"]
    words = {
        **front,
        "y_mantissa": Beats(declared["y_mantissa"].pack(value=results.mantissa)),
        "y_sign": behind["sign"],
        "y_exponent": Beats(declared["y_exponent"].pack(value=exponents)),
        "y_plane": behind["plane"],
    }
    return {name: words[name] for name in declared}


def schedule(config: AndaConfig, layer: CompressedLayer) -> Schedule:
    """Golden schedule of a layer."""
    check(config, layer)
    unit, results = compressor_config(config), lane_groups(config, layer)
    front = anda_schedule.schedule(array_config(config), layer)
    rows = front.cycles["y"].reshape(-1, unit.beats)
    opened, final = rows[:, 0], rows[:, -1]
    planes = ranges(final + 1, results.planes)
    behind = {
        "x_beats": rows.ravel(),
        "groups": final,
        "planes": planes,
        "stall_input": ranges(*_waits(opened, final, layer.result_mantissa)),
        "stall_out": np.zeros(0, np.int64),
    }
    cycles = {
        **front.cycles,
        "y_mantissa": opened,
        "y_sign": final + 1,
        "y_exponent": final + 1,
        "y_plane": planes,
    }
    return Schedule(
        _merged(config, front.beats, results),
        {port.name: cycles[port.name] for port in ports(config)},
        {
            **front.events,
            **{PREFIX + name: Pulses.strobes(at) for name, at in behind.items()},
        },
    )


def _waits(
    opened: NDArray[np.int64], final: NDArray[np.int64], mantissa: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the compressor waits for the rest of a group and has no plane: first cycle, length."""
    begins = opened + 1
    begins[1:] = np.maximum(begins[1:], final[:-1] + mantissa + 1)
    return begins, np.maximum(final + 1 - begins, 0)


def workload(config: AndaConfig, layer: CompressedLayer) -> Workload:
    """That of the array, and the mantissa of the results."""
    front = anda_timing.workload(config, layer)
    settings = front.settings_as(AndaSettings)
    return replace(front, settings=settings.replace(result_mantissa=layer.result_mantissa))


def cycles(config: AndaConfig, workload: Workload) -> Counts:
    """Counts of a layer in one free-flowing run."""
    settings = workload.settings_as(AndaSettings)
    mantissa, result_mantissa = settings.mantissa, settings.result_mantissa
    _check_outputs(config, workload.layer[2])
    array, unit = array_config(config), compressor_config(config)
    front = anda_timing.cycles(array, workload)
    tiles, depth = anda_timing.shape_of(array, workload)
    tiles_of_group = config.group // config.columns
    first = anda_timing.first_rows(array, array.beats(mantissa), depth, tiles)
    first = first.reshape(-1, tiles_of_group)
    _, waits = _waits(first[:, 0], first[:, -1] + config.rows - 1, result_mantissa)
    groups = tiles // tiles_of_group
    behind = {
        "x_beats": groups * unit.beats,
        "groups": groups,
        "planes": groups * result_mantissa,
        "stall_input": int(waits.sum()),
        "stall_out": 0,
    }
    totals = {**front.events, **{PREFIX + name: total for name, total in behind.items()}}
    return Counts(front.cycles + result_mantissa, totals, front.ideal_cycles)


COMPRESSED = Design(
    name="anda_compressed",
    summary="bit-serial array joined to the compressor: from Anda to Anda",
    law="that of anda_array, and M of the results",
    ports=ports,
    events=events,
    bandwidth=bandwidth,
    schedule=schedule,
    traffic=traffic,
    workload=workload,
    cycles=cycles,
    hardware="nibbleforge.hw.anda.compressed:AndaCompressed",
    stimuli="nibbleforge.tb.tb_anda_compressed:ARRAY",
    wide=True,
)
