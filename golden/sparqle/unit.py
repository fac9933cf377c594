"""SPARQLe as the command line calls it: presets, and the design that each configuration leads to.

Source: SPARQLe, arXiv 2606.00365; what is ours is said in :mod:`.config` and :mod:`.format`.
"""

from ..contract.config import Config
from ..contract.design import Design, Unit
from ..grouped import GroupScales, joined
from .config import SparqleConfig, SparqleSettings, bandwidth, events, ports
from .schedule import schedule, traffic
from .timing import cycles, workload

ARRAY = Design(
    name="sparqle_array",
    summary="hybrid-precision array: dense pass over low halves, sparse pass over high halves",
    law="per chunk and row group: length + popcount of its bitmaps; a tile ends with its slowest "
    "row group; rows + 5 more a run",
    ports=ports,
    events=events,
    bandwidth=bandwidth,
    schedule=schedule,
    traffic=traffic,
    workload=workload,
    cycles=cycles,
    hardware="nibbleforge.hw.sparqle.array:SparqleArray",
    stimuli="nibbleforge.tb.tb_sparqle:ARRAY",
)

GROUPED = joined(
    ARRAY,
    "sparqle_grouped",
    hardware="nibbleforge.hw.sparqle.array:SparqleGrouped",
    stimuli="nibbleforge.tb.tb_grouped:SPARQLE",
)

_PRESETS: dict[str, Config] = {
    "paper": SparqleConfig(),
    "tiny": SparqleConfig(
        rows=4, columns=3, group=8, beat=2, chunk=16, sharing=2, queue=2, max_k=64
    ),
    "vector": SparqleConfig(rows=1, columns=256),
    "fpga": SparqleConfig(rows=4, columns=4, group=32, chunk=16, max_k=4096),
    "q4_1": SparqleConfig(
        dequant=GroupScales(weight_group=32, convert_latency=2),
        asymmetric=True,
        group=32,
        chunk=32,
    ),
}


def design(config: SparqleConfig) -> Design:
    """What the configuration leads to: the array alone, or joined to the dequantizer."""
    return GROUPED if config.grouped else ARRAY


UNIT = Unit(
    name="sparqle",
    summary="hybrid-precision array: skips activations' high halves that are 0",
    config=SparqleConfig,
    presets=_PRESETS,
    designs=lambda config: (design(config),),
    takes="layer",
    settings=SparqleSettings,
    simulation="nibbleforge.sim.units.sparqle:prepare",
)

UNITS = (UNIT,)
