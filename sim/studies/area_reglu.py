"""Areas of the neuron-skipping FFN."""

from ...golden.reglu.config import RegluConfig
from .area import SCALE, Array, Found

ARRAYS = tuple(
    Array(preset, "reglu", preset, runs=3)
    for preset in ("tiny", "fpga", "small", "early_exit", "paper")
)


def row(found: Found) -> list[object]:
    """Sizes and area of a preset."""
    config = found.config_as(RegluConfig)
    rank = f"{config.max_rank:,}" if config.predictor else "none"
    sizes = f"{config.max_features:,}, {config.max_neurons:,}, {rank}"
    return [found.array.name, config.lanes, sizes, found.spread, found.memories / SCALE, found.path]
