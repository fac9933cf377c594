"""Stimuli of the FP16 array."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..golden.fp16 import Fp16Config, Fp16Layer, HalfConfig, sums
from .stimuli import Stimuli

SMALL = (
    Fp16Config(rows=4, columns=8, lanes=1),
    Fp16Config(rows=4, columns=2, lanes=2, multiply_latency=3, add_latency=4),
)
"""Arrays that multiply every finite number with some."""

LONGEST = 64  # in_features of random layers, of most arrays
LARGEST = 0x7BFF  # 65504
FACTORS = (0xBC01, 0x03FF, 0x7BFF, 0x3555, 0x8001, 0x3C00, 0x0400, 0x8000)
"""Near -1, subnormal and largest numbers, a third, 1, smallest normal number, -0."""


def random_config(rng: np.random.Generator) -> Fp16Config:
    """A small array of any kind."""
    values: dict[str, Any] = {
        "rows": int(rng.integers(1, 6)),
        "columns": int(rng.integers(1, 5)),
        "lanes": int(rng.choice([1, 2, 4, 8])),
        "multiply_latency": int(rng.integers(1, 4)),
        "add_latency": int(rng.integers(1, 5)),
        "max_k": int(rng.choice([1, 2, 30, int(rng.integers(1, 1 << 20))])),
    }
    return Fp16Config(**values)


def random_layer(config: Fp16Config, rng: np.random.Generator) -> Fp16Layer:
    """A layer of a few tiles with ragged edges; sometimes of fewer beats than rows or sums."""
    turns = config.lanes * config.add_latency
    several = [config.lanes * (config.rows + 3), 3 * turns + config.lanes]
    lengths = [1, 2, turns, turns + 1, *several, LONGEST]
    features = min(config.max_k, int(rng.choice(lengths)))
    tokens = int(rng.integers(1, 2 * config.rows + 2))
    outputs = int(rng.integers(1, 2 * config.columns + 2))
    return layer(config, rng, tokens, features, outputs)


def layer(
    config: Fp16Config, rng: np.random.Generator, tokens: int, features: int, outputs: int
) -> Fp16Layer:
    """Random operands of a shape; often a product takes back the one before it in its sum."""
    return cancelling(rng, tokens, features, outputs, config.sums)


def cancelling(
    rng: np.random.Generator, tokens: int, features: int, outputs: int, distance: int
) -> Fp16Layer:
    """Random operands of a shape; often a product takes back one so many features before it."""
    x, w = halves(rng, (tokens, features)), halves(rng, (outputs, features))
    back = np.flatnonzero(rng.random(max(0, features - distance)) < 0.3)
    x[:, back + distance], w[:, back + distance] = -x[:, back], w[:, back]
    return Fp16Layer(x, w)


def waiting_layer(config: Fp16Config, rng: np.random.Generator) -> Fp16Layer:
    """Two blocks of outputs of a few beats each."""
    features = 4 * config.add_latency * config.lanes
    return layer(config, rng, config.rows, features, 2 * config.columns + 1)


def halves(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float16]:
    """Finite FP16 numbers: any, subnormal ones, zeros, some of like size, the largest."""
    bits = rng.integers(0, 31 << 10, shape)
    kind = rng.choice(5, shape, p=[0.3, 0.1, 0.1, 0.45, 0.05])
    like = (bits & 0x7FF) + (14 << 10)
    chosen = np.choose(kind, [bits, bits & 0x3FF, bits * 0, like, bits * 0 + LARGEST])
    return _floats(chosen | rng.integers(0, 2, shape) << 15)


def corner_layer(config: Fp16Config) -> Fp16Layer:
    """Several tiles where powers of two meet at every distance and sign."""
    return powers_of_two(config, min(config.max_k, 4 * config.sums + 1))


def powers_of_two(config: HalfConfig, features: int) -> Fp16Layer:
    """Powers of two, and numbers near them, at every distance and of every sign."""
    feature = np.arange(features)
    token = np.arange(2 * config.rows + 1)[:, None]
    exponent = (7 * feature + 5 * token + feature // 8) % 31
    x = exponent << 10 | (feature * token) % 3 * 0x1FF | (feature + token // 2) % 2 << 15
    output = np.arange(config.columns + 1)[:, None]
    w = (30 - (5 * feature + output) % 31) << 10 | feature % 2 | output % 2 << 15
    return Fp16Layer(_floats(x), _floats(w))


def exhaustive_products(config: HalfConfig) -> Fp16Layer:
    """Every finite number times some, each product alone in a tile."""
    every = np.arange(1 << 16)
    finite = _floats(every[every >> 10 & 31 != 31])
    return Fp16Layer(finite[:, None], _floats(np.array(FACTORS))[: config.columns, None])


def _floats(bits: NDArray[np.integer]) -> NDArray[np.float16]:
    return bits.astype(np.uint16).view(np.float16)


def bins(config: Fp16Config, operands: Fp16Layer) -> dict[str, bool]:
    """Functional bins, and whether these operands hit them."""
    beats = config.beats(operands.x.shape[1])
    facts = {
        **shape_bins(config, operands, shortest=config.add_latency),
        "whole turns": beats % config.add_latency == 0,
        **_roundings(config, operands),
    }
    if config.add_latency > 1:
        facts["turn filled up"] = beats % config.add_latency != 0
    return facts


def shape_bins(config: HalfConfig, operands: Fp16Layer, shortest: int = 1) -> dict[str, bool]:
    """Bins of the tiling and the operands; a tile has at least so many steps."""
    tiling = operands.tiling(config)
    features = operands.x.shape[1]
    sizes = np.abs(operands.x)
    facts = {
        "tile of one beat": config.beats(features) == 1,
        "several tiles": len(tiling) > 1,
        "single tile": len(tiling) == 1,
        "subnormal operand": ((sizes > 0) & (sizes < np.finfo(np.float16).tiny)).any(),
        "zero operand": (sizes == 0).any(),
        "largest operand": (sizes == np.finfo(np.float16).max).any(),
    }
    if config.rows > shortest:
        longer = config.steps(features) < config.rows
        facts["tile drains longer than it computes"] = longer and len(tiling) > 1
    if config.lanes > 1:
        facts["short final beat"] = features % config.lanes != 0
    if config.rows > 1:
        facts["ragged token edge"] = len(operands.x) % config.rows != 0
    if config.columns > 1:
        facts["ragged output edge"] = len(operands.w) % config.columns != 0
    return facts


def _roundings(config: Fp16Config, operands: Fp16Layer) -> dict[str, bool]:
    """What happens to the sums."""
    total = sums(config, operands)
    sizes = sums(config, Fp16Layer(np.abs(operands.x), np.abs(operands.w)))
    exact = operands.x.astype(np.float64) @ operands.w.astype(np.float64).T
    return {
        "sum rounds": (total.astype(np.float64).sum(axis=0) != exact).any(),
        "sum cancels": ((total == 0) & (sizes != 0)).any(),
    }


ARRAY = Stimuli(
    operands=Fp16Layer,
    config=random_config,
    random=random_layer,
    corners=corner_layer,
    small=SMALL,
    exhaustive=exhaustive_products,
    bins=bins,
    few=lambda config: False,
    waiting=waiting_layer,
)
