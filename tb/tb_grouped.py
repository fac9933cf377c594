"""Stimuli of integer arrays joined to the dequantizer, made from those of the array alone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..golden.contract.layer import Layer
from ..golden.contract.schedule import Schedule
from ..golden.dense import DenseConfig
from ..golden.dequantizer import FloatLatencies
from ..golden.grouped import GroupedLayer, GroupScales, compute, group_sums
from ..golden.sparqle.config import SparqleConfig
from . import tb_dense, tb_sparqle
from .stimuli import Stimuli
from .tb_dequantizer import random_config as random_dequantizer
from .tb_dequantizer import random_scales
from .tb_sparqle_illegal import with_wrong_bitmaps

Draw = Callable[[Any, np.random.Generator, int, int, int], Layer]
"""Random operands of a shape: ``draw(config, rng, tokens, features, outputs)``."""

SMALL_DENSE = (
    DenseConfig(rows=16, columns=4, dequant=GroupScales(weight_group=4)),
    DenseConfig(rows=4, columns=4, dequant=GroupScales(weight_group=4), passes=1, k=2),
)
SMALL_SPARQLE = (
    SparqleConfig(rows=16, columns=4, dequant=GroupScales(weight_group=8), group=8, chunk=8),
    SparqleConfig(
        rows=4, columns=4, dequant=GroupScales(weight_group=8), group=4, chunk=8, beat=4,
        asymmetric=True,
    ),
)  # fmt: skip
"""Arrays that multiply every activation with every weight, and the sums with scales."""

MOST_GROUPS = 3


def random_dense(rng: np.random.Generator) -> DenseConfig:
    """A small dense array of any kind with group scales."""
    return _with_groups(tb_dense.random_config(rng), rng, [4, 8, 16])


def random_sparqle(rng: np.random.Generator) -> SparqleConfig:
    """A small hybrid array of any kind with group scales; illegal combinations are drawn, too."""
    return _with_groups(tb_sparqle.random_config(rng), rng, [4, 8, 16, 32])


def _with_groups(config: Any, rng: np.random.Generator, sizes: list[int]) -> Any:
    group = int(rng.choice(sizes))
    latencies = random_dequantizer(rng)
    return config.replace(
        dequant=GroupScales(
            weight_group=group,
            **{name: getattr(latencies, name) for name in FloatLatencies.model_fields},
        ),
        max_k=group * int(rng.integers(1, MOST_GROUPS + 1)),
    )


def random_dense_layer(config: DenseConfig, rng: np.random.Generator) -> GroupedLayer:
    """A layer of a few tiles and weight groups with ragged edges."""
    return _random_layer(config, rng, tb_dense.layer)


def random_sparqle_layer(config: SparqleConfig, rng: np.random.Generator) -> GroupedLayer:
    """A layer of a few tiles and weight groups with ragged edges, tokens of every density."""
    return _random_layer(config, rng, tb_sparqle.layer)


def sparqle_layer(
    config: SparqleConfig, rng: np.random.Generator, tokens: int, outputs: int
) -> GroupedLayer:
    """Random operands of so many tokens and outputs, and of a few weight groups."""
    return _layer(config, rng, tb_sparqle.layer, tokens, outputs)


def _random_layer(config: Any, rng: np.random.Generator, draw: Draw) -> GroupedLayer:
    tokens = int(rng.integers(1, 2 * config.rows + 2))
    outputs = int(rng.integers(1, 2 * config.columns + 2))
    return _layer(config, rng, draw, tokens, outputs)


def _layer(
    config: Any, rng: np.random.Generator, draw: Draw, tokens: int, outputs: int
) -> GroupedLayer:
    groups = int(rng.integers(1, min(MOST_GROUPS, config.max_k // config.weight_group) + 1))
    layer = draw(config, rng, tokens, groups * config.weight_group, outputs)
    return _scaled(config, layer, *(random_scales(rng, (outputs, groups)) for _ in range(2)))


def waiting_dense(config: DenseConfig, rng: np.random.Generator) -> GroupedLayer:
    """Tiles of several weight groups, in each of two blocks of tokens."""
    shape = (2 * config.rows, _features(config), config.columns + 1)
    return _unscaled(config, tb_dense.layer(config, rng, *shape))


def waiting_sparqle(config: SparqleConfig, rng: np.random.Generator) -> GroupedLayer:
    """The same without zero high halves."""
    low, _ = config.activation_range
    w = rng.integers(-8, 8, (config.columns + 1, _features(config))).astype(np.int8)
    return _unscaled(config, Layer(np.full((2 * config.rows, w.shape[1]), low, np.int16), w))


def _features(config: Any) -> int:
    """Of all weight groups of a tile that the array takes, six at most."""
    return int(min(config.max_k // config.weight_group, 6) * config.weight_group)


def _unscaled(config: Any, layer: Layer) -> GroupedLayer:
    ones = np.ones((len(layer.w), layer.x.shape[1] // config.weight_group), np.float16)
    return _scaled(config, layer, ones, ones)


def under_way(schedule: Schedule) -> int:
    """The dequantizer has the first weight group of a tile, the array works on the second."""
    return int(schedule.cycles["scale"][0]) + 1


def corner_dense(config: DenseConfig) -> GroupedLayer:
    """The dense array's extreme sums, scaled by powers of two."""
    return _corner_layer(config, tb_dense.corner_layer(config))


def corner_sparqle(config: SparqleConfig) -> GroupedLayer:
    """The hybrid array's lone high halves, scaled by powers of two."""
    return _corner_layer(config, tb_sparqle.corner_layer(config))


def _corner_layer(config: Any, layer: Layer) -> GroupedLayer:
    groups = max(1, layer.x.shape[1] // config.weight_group)
    features = groups * config.weight_group
    x, w = (np.resize(matrix, (len(matrix), features)) for matrix in (layer.x, layer.w))
    exponents = np.arange(len(w) * groups).reshape(-1, groups) % 30 - 14
    scales = np.ldexp(np.float16(1), exponents)
    return _scaled(config, Layer(x, w), scales, -scales)


def _scaled(config: Any, layer: Layer, d: NDArray, minimum: NDArray) -> GroupedLayer:
    if config.dequantizer.asymmetric:
        return GroupedLayer(layer.x, layer.w, d, minimum)
    return GroupedLayer(layer.x, layer.w, d)


def exhaustive_dense(config: DenseConfig) -> GroupedLayer:
    """Every activation times every weight, scaled by a few numbers of every size."""
    return _exhaustive(config, tb_dense.exhaustive_products(config))


def exhaustive_sparqle(config: SparqleConfig) -> GroupedLayer:
    """Every activation times every weight, scaled by a few numbers of every size."""
    return _exhaustive(config, tb_sparqle.exhaustive_products(config))


def _exhaustive(config: Any, layer: Layer) -> GroupedLayer:
    padding = ((0, 0), (0, config.weight_group - 1))
    x, w = (np.pad(matrix, padding) for matrix in (layer.x, layer.w))
    scales = random_scales(np.random.default_rng(0), (len(w), 1))
    return _scaled(config, Layer(x, w), scales, scales[::-1])


def bins(config: Any, operands: GroupedLayer) -> dict[str, bool]:
    """Functional bins, and whether these operands hit them."""
    low, high = config.activation_range
    tiling = operands.tiling(config)
    sums = group_sums(config, operands)
    scales = np.abs(operands.d)
    facts = {
        "single weight group": operands.groups == 1,
        "single tile": len(tiling) == operands.groups,
        "several tiles": len(tiling) > operands.groups,
        "smallest activation and weight": (operands.x == low).any() and (operands.w == -8).any(),
        "largest activation and weight": (operands.x == high).any() and (operands.w == 7).any(),
        "subnormal scale": ((scales > 0) & (scales < np.finfo(np.float16).tiny)).any(),
        "zero scale": (scales == 0).any(),
        "negative scale": (operands.d < 0).any(),
        "negative sum": (sums.acc < 0).any(),
        "result of zero": (compute(config, operands) == 0).any(),
    }
    if config.max_k > config.weight_group:
        facts["several weight groups"] = operands.groups > 1
    if config.rows > 1:
        facts["ragged token edge"] = len(operands.x) % config.rows != 0
    if config.columns > 1:
        facts["ragged output edge"] = len(operands.w) % config.columns != 0
    return facts


def illegal_sparqle(config: SparqleConfig, rng: np.random.Generator) -> Schedule:
    """A run of several tiles; in a weight group between others, bitmaps are of another length."""
    drawn = sparqle_layer(config, rng, 2 * config.rows + 1, config.columns + 1)
    return with_wrong_bitmaps(config, drawn, rng, tb_sparqle.layer)


DENSE = Stimuli(
    operands=GroupedLayer,
    config=random_dense,
    random=random_dense_layer,
    corners=corner_dense,
    small=[config for config in SMALL_DENSE if config.passes == 2],
    exhaustive=exhaustive_dense,
    bins=bins,
    waiting=waiting_dense,
    under_way=under_way,
)
DENSE_2K = replace(DENSE, small=[config for config in SMALL_DENSE if config.passes == 1])


SPARQLE = Stimuli(
    operands=GroupedLayer,
    config=random_sparqle,
    random=random_sparqle_layer,
    corners=corner_sparqle,
    small=SMALL_SPARQLE,
    exhaustive=exhaustive_sparqle,
    bins=bins,
    waiting=waiting_sparqle,
    under_way=under_way,
    illegal=illegal_sparqle,
)
