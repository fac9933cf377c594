"""Stimuli of every design by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..golden.anda import AndaLayer
from ..golden.anda_compressed import CompressedLayer
from ..golden.anda_compressor import LaneGroups
from ..golden.bitmap import Groups
from ..golden.config import Config
from ..golden.dequantizer import GroupSums
from ..golden.figna import FignaLayer
from ..golden.fp16 import Fp16Layer
from ..golden.grouped import GroupedLayer
from ..golden.layer import Layer
from ..golden.nm import NMLayer
from ..golden.reglu_run import FfnRun
from ..golden.schedule import Schedule
from . import (
    tb_anda,
    tb_anda_compressed,
    tb_anda_compressor,
    tb_bitmap,
    tb_dense,
    tb_dequantizer,
    tb_figna,
    tb_fp16,
    tb_grouped,
    tb_nm,
    tb_reglu,
    tb_sparqle,
)


@dataclass(frozen=True)
class Stimuli:
    """Where a design's operands come from.

    Attributes
    ----------
    config
        ``config(rng)``: a small random configuration; an illegal draw raises ``UserError``.
    random
        ``random(config, rng)``: small random operands.
    corners
        ``corners(config)``: operands with a purpose, where random ones seldom go.
    small, exhaustive
        Configurations with a small space, and ``exhaustive(config)``: that space in full.
    bins, all_bins
        Functional bins that operands hit, and all that must be hit.
    operands
        Class of the operands; its fields are arrays.
    illegal
        ``illegal(config, rng)``: schedule of a run that must report an error, if there is any.
    """

    config: Callable[[Any], Config]
    random: Callable[[Any, Any], Any]
    corners: Callable[[Any], Any]
    small: Sequence[Config]
    exhaustive: Callable[[Any], Any]
    bins: Callable[[Any, Any], set[str]]
    all_bins: Callable[[Any], set[str]]
    operands: type
    illegal: Callable[[Any, Any], Schedule] | None = None


def _dense(passes: int) -> Stimuli:
    """The dense arrays differ in the configurations of which all operands are tried."""
    return Stimuli(
        tb_dense.random_config,
        tb_dense.random_layer,
        tb_dense.corner_layer,
        tuple(config for config in tb_dense.SMALL if config.passes == passes),
        tb_dense.exhaustive_products,
        tb_dense.bins,
        tb_dense.all_bins,
        Layer,
    )


def _dense_grouped(passes: int) -> Stimuli:
    """As for the arrays alone."""
    return Stimuli(
        tb_grouped.random_dense,
        tb_grouped.random_dense_layer,
        tb_grouped.corner_dense,
        tuple(config for config in tb_grouped.SMALL_DENSE if config.passes == passes),
        tb_grouped.exhaustive_dense,
        tb_grouped.bins,
        tb_grouped.all_bins,
        GroupedLayer,
    )


STIMULI: dict[str, Stimuli] = {
    "anda_array": Stimuli(
        tb_anda.random_config,
        tb_anda.random_layer,
        tb_anda.corner_layer,
        tb_anda.SMALL,
        tb_anda.exhaustive_products,
        tb_anda.bins,
        tb_anda.all_bins,
        AndaLayer,
    ),
    "anda_compressed": Stimuli(
        tb_anda_compressed.random_config,
        tb_anda_compressed.random_layer,
        tb_anda_compressed.corner_layer,
        tb_anda_compressed.SMALL,
        tb_anda_compressed.exhaustive_products,
        tb_anda_compressed.bins,
        tb_anda_compressed.all_bins,
        CompressedLayer,
    ),
    "bitmap_decoder": Stimuli(
        tb_bitmap.random_config,
        tb_bitmap.random_groups,
        tb_bitmap.corner_groups,
        tb_bitmap.SMALL_DECODERS,
        tb_bitmap.exhaustive_groups,
        tb_bitmap.bins,
        tb_bitmap.all_bins,
        Groups,
    ),
    "bitmap_encoder": Stimuli(
        tb_bitmap.random_config,
        tb_bitmap.random_groups,
        tb_bitmap.corner_groups,
        tb_bitmap.SMALL_ENCODERS,
        tb_bitmap.exhaustive_groups,
        tb_bitmap.bins,
        tb_bitmap.all_bins,
        Groups,
    ),
    "dense_array": _dense(passes=2),
    "dense2k_array": _dense(passes=1),
    "sparqle_array": Stimuli(
        tb_sparqle.random_config,
        tb_sparqle.random_layer,
        tb_sparqle.corner_layer,
        tb_sparqle.SMALL,
        tb_sparqle.exhaustive_products,
        tb_sparqle.bins,
        tb_sparqle.all_bins,
        Layer,
    ),
    "dense_grouped": _dense_grouped(passes=2),
    "dense2k_grouped": _dense_grouped(passes=1),
    "sparqle_grouped": Stimuli(
        tb_grouped.random_sparqle,
        tb_grouped.random_sparqle_layer,
        tb_grouped.corner_sparqle,
        tb_grouped.SMALL_SPARQLE,
        tb_grouped.exhaustive_sparqle,
        tb_grouped.bins,
        tb_grouped.all_bins,
        GroupedLayer,
    ),
    "dequantizer": Stimuli(
        tb_dequantizer.random_config,
        tb_dequantizer.random_sums,
        tb_dequantizer.corner_sums,
        tb_dequantizer.SMALL,
        tb_dequantizer.exhaustive_scales,
        tb_dequantizer.bins,
        tb_dequantizer.all_bins,
        GroupSums,
    ),
    "figna_array": Stimuli(
        tb_figna.random_config,
        tb_figna.random_layer,
        tb_figna.corner_layer,
        tb_figna.SMALL,
        tb_figna.exhaustive_products,
        tb_figna.bins,
        tb_figna.all_bins,
        FignaLayer,
    ),
    "fp16_array": Stimuli(
        tb_fp16.random_config,
        tb_fp16.random_layer,
        tb_fp16.corner_layer,
        tb_fp16.SMALL,
        tb_fp16.exhaustive_products,
        tb_fp16.bins,
        tb_fp16.all_bins,
        Fp16Layer,
    ),
    "nm_array": Stimuli(
        tb_nm.random_config,
        tb_nm.random_layer,
        tb_nm.corner_layer,
        tb_nm.SMALL,
        tb_nm.exhaustive,
        tb_nm.bins,
        tb_nm.all_bins,
        NMLayer,
        tb_nm.illegal_run,
    ),
    "nm_grouped": Stimuli(
        tb_nm.random_grouped_config,
        tb_nm.random_layer,
        tb_nm.corner_layer,
        tb_nm.SMALL_GROUPED,
        tb_nm.exhaustive,
        tb_nm.bins,
        tb_nm.all_bins,
        NMLayer,
    ),
    "skipping_ffn": Stimuli(
        tb_reglu.random_config,
        tb_reglu.random_run,
        tb_reglu.corner_run,
        tb_reglu.SMALL,
        tb_reglu.exhaustive_neurons,
        tb_reglu.bins,
        tb_reglu.all_bins,
        FfnRun,
        tb_reglu.illegal_run,
    ),
    "anda_compressor": Stimuli(
        tb_anda_compressor.random_config,
        tb_anda_compressor.random_groups,
        tb_anda_compressor.corner_groups,
        tb_anda_compressor.SMALL,
        tb_anda_compressor.exhaustive_groups,
        tb_anda_compressor.bins,
        tb_anda_compressor.all_bins,
        LaneGroups,
    ),
}
