"""Systolic array on N:M-sparse INT4 weights: operands, and what it computes.

Source of the idea: arXiv 2512.24713 (withdrawn); relatives: VEGETA, arXiv 2302.08687. The format
is :mod:`.format`.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .. import dequantizer
from ..contract.errors import UserError
from ..contract.layer import Cuttable, check_integer, check_shape
from ..contract.schedule import final_of
from ..contract.tiling import Tiling
from ..dequantizer import GroupSums
from ..grouped import check_scales
from .config import NMConfig
from .format import dense


@dataclass(frozen=True)
class NMLayer(Cuttable):
    """Operands of one layer.

    Attributes
    ----------
    x
        Activations, int8, ``(tokens, in_features)``.
    values
        Weights of the slots in [-8, 7], int8, ``(outputs, blocks, n)``.
    indices
        Where in their block they stand, ascending, uint8, ``(outputs, blocks, n)``.
    weight_group
        Input features whose sums leave together: a multiple of ``m``, or at least in_features.
    d
        Scales of weight groups, finite float16, ``(outputs, groups)``; empty without.
    """

    BY_OUTPUT: ClassVar[tuple[str, ...]] = ("values", "indices", "d")

    x: NDArray[np.int8]
    values: NDArray[np.int8]
    indices: NDArray[np.uint8]
    weight_group: int
    d: NDArray[np.float16] = field(default_factory=lambda: np.zeros((0, 0), np.float16))

    @property
    def n(self) -> int:
        """Slots of a block."""
        return self.values.shape[2]

    @property
    def outputs(self) -> int:
        """Rows of the weight matrix."""
        return len(self.values)

    def tiling(self, config: NMConfig) -> Tiling:
        """Tiles of the layer on the array; each takes all weight groups."""
        return Tiling(len(self.x), self.outputs, config.rows, config.columns)

    def halves(self, config: NMConfig) -> tuple["NMLayer", "NMLayer"] | None:
        """As :meth:`nibbleforge.golden.contract.layer.Cuttable.halves`, at the end of a block."""
        middle = self.values.shape[1] // 2
        if config.grouped or self.weight_group < self.x.shape[1] or not middle:
            return None
        first, second = (
            replace(self, x=x, values=values, indices=indices)
            for x, values, indices in zip(
                np.split(self.x, [middle * config.m], axis=1),
                np.split(self.values, [middle], axis=1),
                np.split(self.indices, [middle], axis=1),
                strict=True,
            )
        )
        return first, second

    def group_blocks(self, config: NMConfig) -> NDArray[np.int64]:
        """Blocks of each weight group; the final one may have fewer."""
        return group_blocks(config, self.x.shape[1], self.weight_group)


def group_blocks(config: NMConfig, in_features: int, weight_group: int) -> NDArray[np.int64]:
    """Blocks of each weight group; the final one may have fewer."""
    blocks = -(-in_features // config.m)
    each = min(blocks, weight_group // config.m + (weight_group % config.m > 0))
    starts = np.arange(0, blocks, each)
    return np.minimum(each, blocks - starts)


def dealt(config: NMConfig, layer: NMLayer) -> NDArray[np.int64]:
    """Which block each lane of each beat has, ``(beats, lanes)``; -1 where a group has none left.

    Blocks of a weight group go to the lanes in turn; every group begins with lane 0.
    """
    sizes = layer.group_blocks(config)
    beats = config.beats(sizes)
    places = np.arange(beats.sum() * config.lanes)
    group = np.repeat(np.arange(len(sizes)), beats * config.lanes)
    within = places - (np.cumsum(beats) - beats)[group] * config.lanes
    block = within + (np.cumsum(sizes) - sizes)[group]
    return np.where(within < sizes[group], block, -1).reshape(-1, config.lanes)


def check(config: NMConfig, layer: NMLayer) -> None:
    """Raise :class:`UserError` unless the array takes the operands; scales are not its own."""
    x = layer.x
    if x.ndim != 2 or x.dtype != np.int8 or not x.size:
        raise UserError(
            f"activations must be a matrix of int8 and not empty, got {x.dtype} {x.shape}."
        )
    if layer.values.ndim != 3:
        raise UserError(f"values must be (outputs, blocks, N), got shape {layer.values.shape}.")
    tokens, in_features = x.shape
    check_integer("weight_group", layer.weight_group)
    check_weight_group(config, layer.weight_group, in_features)
    summed = min(in_features, layer.weight_group)
    check_shape(config, tokens, summed, layer.outputs)
    dense(layer.values, layer.indices, config.pattern(layer.n), in_features)  # refuses others


def check_grouped(config: NMConfig, layer: NMLayer) -> None:
    """Raise :class:`UserError` unless the array joined to the dequantizer takes the operands."""
    check(config, layer)
    tokens, in_features = layer.x.shape
    check_shape(config, tokens, in_features, layer.outputs)
    check_scales("d", layer.d, (layer.outputs, len(layer.group_blocks(config))))


def check_weight_group(config: NMConfig, weight_group: int, in_features: int) -> None:
    """Refuse weight groups that blocks straddle, or that the dequantizer is not made for."""
    if config.grouped and weight_group != config.weight_group:
        raise UserError(f"the weight group must be {config.weight_group}, got {weight_group}.")
    if weight_group < 1 or (weight_group % config.m and weight_group < in_features):
        raise UserError(
            f"m must divide the weight group, got m {config.m}, weight group {weight_group}."
        )


def sums(config: NMConfig, layer: NMLayer) -> NDArray[np.int64]:
    """Exact ``x @ w.T`` of each weight group, ``(groups, tokens, outputs)`` int64.

    Float64 products and sums are exact here: every partial sum stays below 2**53.
    """
    check(config, layer)
    features = layer.x.shape[1]
    w = dense(layer.values, layer.indices, config.pattern(layer.n), features)
    ends = np.cumsum(layer.group_blocks(config)) * config.m
    parts = np.split(np.arange(features), ends[:-1])
    x, w64 = layer.x.astype(np.float64), w.astype(np.float64)
    return np.stack([x[:, part] @ w64[:, part].T for part in parts]).astype(np.int64)


def compute(config: NMConfig, layer: NMLayer) -> NDArray[np.int64]:
    """Exact ``x @ w.T``, ``(tokens, outputs)`` int64."""
    return sums(config, layer).sum(axis=0)


def group_sums(config: NMConfig, layer: NMLayer) -> GroupSums:
    """What the dequantizer gets, in run order."""
    check_grouped(config, layer)
    tiling, found = layer.tiling(config), sums(config, layer)
    acc = np.stack([tiling.split_result(group) for group in found], axis=1)  # tile, group
    scales = tiling.blocks_of_outputs(layer.d).transpose(0, 2, 1)  # block, group, column
    return GroupSums(
        acc=acc.reshape(-1, config.rows, config.columns),
        d=np.ascontiguousarray(scales[tiling.order[:, 1]]).reshape(-1, config.columns),
        last=final_of(len(found), len(tiling)),
    )


def dequantised(config: NMConfig, layer: NMLayer) -> NDArray[np.float32]:
    """FP32 results of the array joined to the dequantizer, ``(tokens, outputs)``."""
    tiles = dequantizer.compute(config.dequantizer, group_sums(config, layer))
    return layer.tiling(config).join_result(tiles)
