"""Areas of dense arrays on operands of fewer bits, all with elements of many lanes."""

from dataclasses import replace

from ...golden.dense import DenseConfig
from .area import LONGEST, Array, Found

ARRAYS = tuple(
    Array(preset, "dense2k", preset, runs=1)
    for preset in ("lanes16", "w4a7", "w4a6", "w3a8", "w2a8")
)
"""The first is what the others are compared with."""

TINY = tuple(replace(array, values={"rows": 2, "columns": 2, "max_k": LONGEST}) for array in ARRAYS)


def row(found: Found, usual: Found) -> list[object]:
    """Widths, area of the array, of a lane, and over the usual widths; path."""
    config = found.config_as(DenseConfig)
    lane = found.area / config.macs_per_step
    return [
        found.array.name,
        f"INT{config.weight_bits}",
        f"INT{config.bits_per_activation}",
        found.spread,
        f"{lane:,.5g}",
        f"{found.area / usual.area:.3f}",
        found.path,
    ]
