"""ReGLU FFNs as the command line calls them: presets, and the design of every configuration.

Source of the idea: arXiv 2603.14110.
"""

from ..contract.design import Design, Unit
from .config import RegluConfig, RegluSettings, bandwidth, events, ports
from .schedule import schedule, supplied, traffic
from .timing import cycles, workload

REGLU_FFN = Design(
    name="reglu_ffn",
    summary="ReGLU FFN that reads the rows of predicted neurons only",
    law="ceil(d/lanes) * (r + gate + up + down rows) + D * ceil(r/lanes) a token, "
    "2 * ceil(d/lanes) for x and y, and cycles without a row: latency at the start and the end",
    ports=ports,
    events=events,
    bandwidth=bandwidth,
    schedule=schedule,
    traffic=traffic,
    workload=workload,
    cycles=cycles,
    hardware="nibbleforge.hw.reglu.ffn:RegluFFN",
    stimuli="nibbleforge.tb.tb_reglu:FFN",
    supplied=supplied,
)

SMALL = RegluConfig(lanes=64, max_features=576, max_neurons=1536, max_rank=64)
"""For a model as small as SmolLM2-135M."""

UNIT = Unit(
    name="reglu",
    summary="neuron-skipping ReGLU FFN with a training-free low-rank predictor",
    config=RegluConfig,
    presets={
        "paper": RegluConfig(),
        "early_exit": RegluConfig(predictor=False),
        "small": SMALL,
        "tiny": RegluConfig(
            lanes=4,
            max_features=20,
            max_neurons=24,
            max_rank=8,
            in_flight=3,
            survivors=4,
            mask_group=8,
        ),
        "fpga": RegluConfig(
            lanes=8, max_features=1024, max_neurons=4096, max_rank=64, survivors=64, mask_group=32
        ),
    },
    designs=lambda _: (REGLU_FFN,),
    takes="ffn",
    settings=RegluSettings,
    simulation="nibbleforge.sim.units.reglu:prepare",
)

UNITS = (UNIT,)
