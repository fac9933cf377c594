"""Anda as the command line calls it: presets, and the design that each configuration leads to."""

from ..contract.config import Config
from ..contract.design import Design, Unit
from .compressed import COMPRESSED
from .compressor import UNIT as COMPRESSOR_UNIT
from .config import AndaConfig, AndaSettings, bandwidth, events, ports
from .schedule import schedule, traffic
from .timing import cycles, workload

ARRAY = Design(
    name="anda_array",
    summary="bit-serial array: one plane of mantissas times INT4 weights a cycle",
    law="per group max(M (+ 1 if serial), passes * max(fp_share, add_latency), G / weight_beat); "
    "fill and drain as the schedule says",
    ports=ports,
    events=events,
    bandwidth=bandwidth,
    schedule=schedule,
    traffic=traffic,
    workload=workload,
    cycles=cycles,
    hardware="nibbleforge.hw.anda.array:AndaArray",
    stimuli="nibbleforge.tb.tb_anda:ARRAY",
    wide=True,
)

_PRESETS: dict[str, Config] = {
    "paper": AndaConfig(),
    "tiny": AndaConfig(group=16, rows=3, columns=4, fp_share=2, weight_beat=8, max_mantissa=12),
    "fpga": AndaConfig(group=32, rows=4, columns=4, max_mantissa=11, multiply_latency=3),
    "q4_1": AndaConfig(group=32, asymmetric=True, fp_share=2, add_latency=2, weight_beat=8),
    "chained": AndaConfig(group=32, rows=4, columns=4, max_mantissa=11, output="anda"),
}

UNIT = Unit(
    name="anda",
    summary="bit-serial array on grouped shared-exponent activations: M cycles a group",
    config=AndaConfig,
    presets=_PRESETS,
    designs=lambda config: (COMPRESSED if config.output == "anda" else ARRAY,),
    takes="layer",
    settings=AndaSettings,
    simulation="nibbleforge.sim.units.anda:prepare",
)

UNITS = (UNIT, COMPRESSOR_UNIT)
