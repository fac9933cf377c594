"""Stimuli of every design by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..golden.bitmap import Groups
from ..golden.dense import Layer
from . import tb_bitmap, tb_dense


@dataclass(frozen=True)
class Stimuli:
    """Where a design's operands come from.

    Attributes
    ----------
    random
        ``random(config, rng)``: small random operands.
    exhaustive
        ``exhaustive(config)``: the unit's small space in full.
    bins, all_bins
        Functional bins that operands hit, and all that must be hit.
    operands
        Class of the operands; its fields are arrays.
    """

    random: Callable[[Any, Any], Any]
    exhaustive: Callable[[Any], Any]
    bins: Callable[[Any, Any], set[str]]
    all_bins: Callable[[Any], set[str]]
    operands: type


_BITMAP = Stimuli(
    tb_bitmap.random_groups, tb_bitmap.exhaustive_groups, tb_bitmap.bins, tb_bitmap.all_bins, Groups
)

STIMULI: dict[str, Stimuli] = {
    "bitmap_decoder": _BITMAP,
    "bitmap_encoder": _BITMAP,
    "dense_array": Stimuli(
        tb_dense.random_layer, tb_dense.exhaustive_products, tb_dense.bins, tb_dense.all_bins, Layer
    ),
}
