"""N:M sparsity as the command line calls it: presets, and the design that each leads to.

Source of the idea: arXiv 2512.24713 (withdrawn); relatives: VEGETA, arXiv 2302.08687.
"""

from ..contract.config import Config
from ..contract.design import Design, Unit
from ..grouped import GroupScales, joined
from .config import NMConfig, NMSettings, bandwidth, events, ports
from .schedule import schedule, traffic
from .timing import cycles, workload
from .values import group_sums

ARRAY = Design(
    name="nm_array",
    summary="systolic array on N:M-sparse INT4 weights, read packed",
    law="ceil(block_bits/8) + sum over weight groups of max(slots, out) + R/span + C/span + out, "
    "slots = ceil(blocks/lanes)*n, out = R/dequant_rows; the first group counts its slots even "
    "where out is larger",
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
    "lanes16": NMConfig(lanes=16, tree="carry_save"),
    "tiny": NMConfig(rows=4, columns=6, span=2, max_k=64),
    "fpga": NMConfig(rows=4, columns=4, span=2, max_k=4096, dequant=GroupScales()),
}

UNIT = Unit(
    name="nm",
    summary="systolic array on N:M-sparse INT4 weights: n of m at run time, packed as stored",
    config=NMConfig,
    presets=_PRESETS,
    designs=lambda config: (design(config),),
    takes="layer",
    settings=NMSettings,
    simulation="nibbleforge.sim.units.nm:prepare",
)

UNITS = (UNIT,)
