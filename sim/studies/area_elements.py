"""Areas of a lane: dense arrays whose elements make one product a cycle, and many."""

from dataclasses import replace

from ...golden.dense import DenseConfig
from .area import LONGEST, Array, Found

ARRAYS = tuple(
    Array(f"{lanes}, {tree}", "dense2k", "paper", {"lanes": lanes, "tree": tree}, runs=1)
    for lanes, tree in (
        (1, "operators"),
        (16, "operators"),
        (16, "carry_save"),
        (8, "pair_sums"),
        (16, "pair_sums"),
        (32, "pair_sums"),
    )
)

TINY = tuple(
    replace(array, preset="tiny", values={**array.values, "max_k": LONGEST}) for array in ARRAYS
)


def row(found: Found, single: Found) -> list[object]:
    """Area of the array, of a lane, over that of the element of one lane, and path."""
    config = found.config_as(DenseConfig)
    lane = found.area / config.macs_per_step
    over = lane / (single.area / single.config_as(DenseConfig).macs_per_step)
    return [
        config.lanes,
        config.tree,
        found.spread,
        f"{lane:,.5g}",
        f"{over:.2f}",
        found.report.full_adders,
        found.path,
    ]
