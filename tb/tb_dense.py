"""Stimuli of the dense array."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..golden.contract.elements import TREES
from ..golden.contract.layer import Layer, signed_range
from ..golden.dense import DenseConfig
from .stimuli import Stimuli

SMALL = (
    DenseConfig(rows=16, columns=4, passes=2),
    DenseConfig(rows=16, columns=4, passes=2, recode="twos"),
    DenseConfig(rows=16, columns=4, passes=1),
    DenseConfig(rows=4, columns=4, passes=2, k=2),
    DenseConfig(rows=4, columns=4, passes=1, k=2),
    DenseConfig(rows=16, columns=16, passes=2, k=8),
    DenseConfig(rows=16, columns=4, passes=1, tree="carry_save"),
    DenseConfig(rows=16, columns=4, passes=2, tree="carry_save", recode="twos"),
    DenseConfig(rows=16, columns=4, passes=1, k=2, lanes=2, tree="carry_save"),
    DenseConfig(rows=16, columns=4, passes=1, k=2, lanes=2, tree="pair_sums"),
    DenseConfig(rows=4, columns=4, passes=2, k=2, lanes=2, tree="pair_sums"),
    DenseConfig(rows=16, columns=4, passes=1, lanes=8, tree="pair_sums"),
    DenseConfig(rows=16, columns=4, passes=1, k=2, lanes=2, tree="packed"),
    DenseConfig(rows=16, columns=4, passes=1, lanes=8, tree="packed"),
    DenseConfig(rows=16, columns=4, passes=2, lanes=8, tree="packed", recode="twos"),
    DenseConfig(rows=4, columns=4, passes=1, activation_bits=5),
    DenseConfig(rows=4, columns=4, passes=1, activation_bits=6, lanes=8, tree="pair_sums"),
    DenseConfig(rows=4, columns=4, passes=1, activation_bits=7, lanes=8, tree="packed"),
    DenseConfig(rows=4, columns=4, passes=1, k=2, activation_bits=3, lanes=2, tree="carry_save"),
    DenseConfig(rows=4, columns=4, passes=1, k=2, activation_bits=3, lanes=2, tree="pair_sums"),
    DenseConfig(rows=4, columns=4, passes=2, weight_bits=3),
    DenseConfig(rows=4, columns=4, passes=1, weight_bits=3, lanes=8, tree="carry_save"),
    DenseConfig(rows=4, columns=4, passes=1, weight_bits=3, k=2, lanes=2, tree="pair_sums"),
    DenseConfig(rows=4, columns=4, passes=1, weight_bits=3, lanes=8, tree="packed"),
    DenseConfig(rows=4, columns=4, passes=1, weight_bits=2, lanes=8, tree="pair_sums"),
    DenseConfig(rows=4, columns=4, passes=2, weight_bits=2, k=2, lanes=2, tree="carry_save"),
)
"""Arrays that multiply every activation with every weight."""

LONGEST = 64  # beats of a tile of random layers


def random_config(rng: np.random.Generator) -> DenseConfig:
    """A small array of any kind."""
    values: dict[str, Any] = {
        "rows": int(rng.integers(1, 9)),
        "columns": int(rng.integers(1, 9)),
        "k": int(rng.choice([2, 4, 4, 8])),
        "weight_bits": int(rng.choice([4, 4, 3, 2])),
        "passes": int(rng.integers(1, 3)),
        "recode": str(rng.choice(["balanced", "twos"])),
        "lanes": int(rng.choice([1, 1, 2, 3, 8, 16])),
        "tree": str(rng.choice(TREES)),
        "max_k": int(rng.choice([1, 2, 30, int(rng.integers(1, 1 << 20))])),
    }
    if values["passes"] == 1 and rng.random() < 0.5:
        k = values["k"]
        values["activation_bits"] = int(rng.integers(k + 1, 2 * k + 1))
    return DenseConfig(**values)


def random_layer(config: DenseConfig, rng: np.random.Generator) -> Layer:
    """A layer of a few tiles with ragged edges; sometimes shorter in K than the array has rows."""
    beats = int(rng.choice([0, 1, 2, config.rows, config.rows + 3, 24, LONGEST]))
    features = min(config.max_k, max(1, beats * config.lanes - int(rng.integers(config.lanes))))
    tokens = int(rng.integers(1, 2 * config.rows + 2))
    outputs = int(rng.integers(1, 2 * config.columns + 2))
    return layer(config, rng, tokens, features, outputs)


def layer(
    config: DenseConfig, rng: np.random.Generator, tokens: int, features: int, outputs: int
) -> Layer:
    """Random operands of a shape, extreme values among them."""
    low, high = config.activation_range
    x = rng.integers(low, high + 1, (tokens, features))
    x = np.where(rng.random(x.shape) < 0.2, rng.choice([low, high, 0, -1], x.shape), x)
    least, most = signed_range(config.weight_bits)
    w = rng.integers(least, most + 1, (outputs, features))
    w = np.where(rng.random(w.shape) < 0.2, rng.choice([least, most], w.shape), w)
    return Layer(x.astype(np.int16), w.astype(np.int8))


def waiting_layer(config: DenseConfig, rng: np.random.Generator) -> Layer:
    """Two tiles of a few beats, in each of two blocks of tokens."""
    features = min(config.max_k, 4 * config.lanes)
    return layer(config, rng, 2 * config.rows, features, config.columns + 1)


def corner_layer(config: DenseConfig) -> Layer:
    """Several tiles of extreme products only: sums as large as a few features can make them."""
    low, high = config.activation_range
    least, most = signed_range(config.weight_bits)
    extremes = np.array([*product((low, high, -1), (least, most)), (0, -1)])
    features = min(config.max_k, 24)
    x = np.resize(extremes[:, 0], (2 * config.rows + 1, 1)).repeat(features, 1)
    w = np.resize(np.roll(extremes[:, 1], 1), (config.columns + 1, 1)).repeat(features, 1)
    return Layer(x.astype(np.int16), w.astype(np.int8))


def bins(config: DenseConfig, operands: Layer) -> dict[str, bool]:
    """Functional bins, and whether these operands hit them."""
    tiling = operands.tiling(config)
    features = operands.x.shape[1]
    low, high = config.activation_range
    least, most = signed_range(config.weight_bits)
    facts = {
        "tile of one input feature": features == 1,
        "several tiles": len(tiling) > 1,
        "single tile": len(tiling) == 1,
        "ragged output edge": len(operands.w) % config.columns != 0,
        "smallest activation times smallest weight": (
            (operands.x == low).any() and (operands.w == least).any()
        ),
        "largest activation times largest weight": (
            (operands.x == high).any() and (operands.w == most).any()
        ),
    }
    if config.lanes > 1:
        facts["short final beat"] = features % config.lanes != 0
        facts["full final beat"] = features % config.lanes == 0
    if config.rows > 1:
        facts["ragged token edge"] = len(operands.x) % config.rows != 0
    if config.rows > config.passes:
        longer = config.passes * config.beats(features) < config.rows
        facts["tile drains longer than it computes"] = longer and len(tiling) > 1
    return facts


def exhaustive_products(config: DenseConfig) -> Layer:
    """Every activation times every weight, each product alone in an accumulator, in every lane.

    With two lanes of 4-bit activations, every pair of activations with every pair of weights.
    """
    low, high = config.activation_range
    least, most = signed_range(config.weight_bits)
    activations, weights = np.arange(low, high + 1), np.arange(least, most + 1)
    if config.lanes == 2 and config.k == 2:
        x, w = _pairs(activations), _pairs(weights)
    else:
        x = np.kron(np.eye(config.lanes, dtype=np.int32), activations[:, None])
        w = np.repeat(weights[:, None], config.lanes, axis=1)
    return Layer(x.astype(np.int32), w.astype(np.int8))


def _pairs(values: NDArray) -> NDArray:
    """Every value with every value."""
    return np.stack(np.meshgrid(values, values), axis=-1).reshape(-1, 2)


ARRAY = Stimuli(
    operands=Layer,
    config=random_config,
    random=random_layer,
    corners=corner_layer,
    small=[config for config in SMALL if config.passes == 2],
    exhaustive=exhaustive_products,
    bins=bins,
    waiting=waiting_layer,
)
ARRAY_2K = replace(ARRAY, small=[config for config in SMALL if config.passes == 1])
