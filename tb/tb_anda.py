"""Stimuli of the bit-plane array."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..golden.anda.config import AndaConfig, GroupArrayConfig
from ..golden.anda.format import MANTISSA_MAX, Anda
from ..golden.anda.values import AndaLayer, GroupOperands, compute
from .stimuli import Stimuli
from .tb_dequantizer import random_scales

SMALL = (
    AndaConfig(group=16, rows=4, columns=4, weight_beat=16, output="fp16"),
    AndaConfig(group=16, rows=4, columns=4, weight_beat=16, asymmetric=True, tree="binary"),
)
"""Arrays that multiply every mantissa of 11 bits with every weight."""


def random_config(rng: np.random.Generator) -> AndaConfig:
    """A small array of any kind."""
    columns = int(rng.integers(1, 5))
    values: dict[str, Any] = {
        "group": int(rng.choice([16, 16, 32, 64])),
        "rows": int(rng.integers(1, 5)),
        "columns": columns,
        "max_mantissa": int(rng.choice([1, 4, 11, MANTISSA_MAX])),
        "sign_plane": str(rng.choice(["banked", "serial"])),
        "fp_share": int(rng.choice([n for n in range(1, columns + 1) if columns % n == 0])),
        "weight_beat": int(rng.choice([1, 4, 16])),
        "asymmetric": bool(rng.integers(2)),
        "output": str(rng.choice(["fp32", "fp16"])),
        "tree": str(rng.choice(["carry_save", "carry_save", "binary"])),
        "weight_registers": str(rng.choice(["column", "column", "processor"])),
        "convert_latency": int(rng.integers(1, 4)),
        "multiply_latency": int(rng.integers(1, 4)),
        "add_latency": int(rng.integers(1, 5)),
    }
    return AndaConfig(**values)


def random_layer(config: AndaConfig, rng: np.random.Generator) -> AndaLayer:
    """A layer of a few tiles with ragged edges, mantissas and weight groups of every kind."""
    return layer(config, rng, *random_shape(config, rng))


def random_shape(config: GroupArrayConfig, rng: np.random.Generator) -> tuple[int, int, int]:
    """Tokens, in_features and outputs."""
    features = int(rng.choice([1, config.group, int(rng.integers(1, 4 * config.group))]))
    tokens = int(rng.integers(1, 2 * config.rows + 2))
    outputs = int(rng.integers(1, 2 * config.columns + 2))
    return tokens, features, outputs


def layer(
    config: AndaConfig, rng: np.random.Generator, tokens: int, features: int, outputs: int
) -> AndaLayer:
    """Random operands of a shape; numbers of like and of very different size."""
    mantissa = int(rng.integers(1, config.max_mantissa + 1))
    operands = drawn(config, rng, tokens, features, outputs)
    return AndaLayer(mantissa=mantissa, **operands)


def drawn(
    config: GroupArrayConfig, rng: np.random.Generator, tokens: int, features: int, outputs: int
) -> dict[str, Any]:
    """Operands of arrays on groups, by name."""
    weight_group = config.group * int(rng.integers(1, 4))
    w = rng.integers(-8, 8, (outputs, features))
    w = np.where(rng.random(w.shape) < 0.2, rng.choice([-8, 7], w.shape), w)
    shape = (outputs, -(-features // weight_group))
    d, minimum = (random_scales(rng, shape) for _ in range(2))
    return {
        "x": numbers(rng, tokens, features, config.group),
        "w": w.astype(np.int8),
        "d": d,
        "weight_group": weight_group,
        **({"minimum": minimum} if config.asymmetric else {}),
    }


def numbers(
    rng: np.random.Generator, tokens: int, features: int, group: int
) -> NDArray[np.float16]:
    """Finite FP16 numbers: groups of any, of like size, subnormal, of zeros, of the largest."""
    shape = (tokens, features)
    bits = rng.integers(0, 31 << 10, shape)
    like = (bits & 0xFFF) + (12 << 10)
    largest = np.full(shape, (31 << 10) - 1)
    kinds = rng.choice(5, (tokens, -(-features // group)), p=[0.3, 0.3, 0.15, 0.1, 0.15])
    kind = np.repeat(kinds, group, axis=1)[:, :features]
    chosen = np.choose(kind, [bits, like, bits & 0x3FF, np.zeros_like(bits), largest])
    sign = rng.integers(0, 2, shape) * rng.choice([0, 1, 1], (tokens, 1)) << 15
    return (chosen | sign).astype(np.uint16).view(np.float16)


def corner_layer(config: AndaConfig) -> AndaLayer:
    """The largest sums of either sign, and every element alone."""
    return AndaLayer(mantissa=config.max_mantissa, **corners(config))


def corners(config: GroupArrayConfig) -> dict[str, Any]:
    """Their operands, by name."""
    features = 2 * config.group
    largest = np.full((2, features), np.finfo(np.float16).max, np.float16)
    largest[1] *= -1
    alone = np.eye(config.group, features, dtype=np.float16)
    alone[1::2] *= -1
    x = np.concatenate([largest, alone])
    w = np.resize(np.array([-8, 7], np.int8), (config.columns + 1, 1)).repeat(features, axis=1)
    w[-1] = np.resize(np.arange(-8, 8), features)
    d = np.ones((len(w), 1), np.float16)
    optional = {"minimum": -d} if config.asymmetric else {}
    return {"x": x, "w": w, "d": d, "weight_group": features, **optional}


def waiting_layer(config: AndaConfig, rng: np.random.Generator) -> AndaLayer:
    """Several tiles of several groups, each of which takes scales."""
    mantissa = int(rng.integers(1, config.max_mantissa + 1))
    return AndaLayer(mantissa=mantissa, **waiting(config, rng, 2 * config.columns))


def waiting(config: GroupArrayConfig, rng: np.random.Generator, outputs: int) -> dict[str, Any]:
    """Their operands, by name."""
    operands = drawn(config, rng, 2 * config.rows, 4 * config.group, outputs)
    operands["weight_group"] = config.group
    for name in {"d", "minimum"} & operands.keys():
        operands[name] = np.ones((outputs, 4), np.float16)
    return operands


def bins(config: AndaConfig, operands: AndaLayer) -> dict[str, bool]:
    """Functional bins, and whether these operands hit them."""
    mantissa = operands.mantissa
    y = compute(config, operands)
    facts = {
        "mantissa of 1 bit": mantissa == 1,
        "longest mantissa": mantissa == config.max_mantissa,
        **shared_bins(config, operands, operands.encoded(config), y),
    }
    if config.output == "fp16":
        facts["saturated result"] = (np.abs(y) == np.finfo(np.float16).max).any()
    return facts


def shared_bins(
    config: GroupArrayConfig, operands: GroupOperands, anda: Anda, y: NDArray[np.floating]
) -> dict[str, bool]:
    """Functional bins of all arrays on groups, and whether operands and results hit them."""
    tiling, groups = operands.tiling(config), operands.groups(config)
    mantissa, magnitudes = anda.mantissa, anda.magnitude
    scales = np.abs(operands.d)
    facts = {
        "single tile": len(tiling) == 1,
        "several tiles": len(tiling) > 1,
        "single group": groups == 1,
        "several groups": groups > 1,
        "several weight groups": operands.d.shape[1] > 1,
        "several groups a weight group": operands.d.shape[1] < groups,
        "padded group": operands.x.shape[1] % config.group != 0,
        "group of zeros": (magnitudes.reshape(-1, config.group) == 0).all(axis=1).any(),
        "negative zero": (anda.sign & (magnitudes == 0)).any(),
        "element shifted out": ((magnitudes[:, : anda.in_features] == 0) & (operands.x != 0)).any(),
        "largest magnitude": (magnitudes >> max(mantissa - 11, 0)).max()
        == (1 << min(mantissa, 11)) - 1,
        "smallest exponent": (anda.exponent == 1).any(),
        "largest exponent": (anda.exponent == 30).any(),
        "smallest weight": (operands.w == -8).any(),
        "subnormal scale": ((scales > 0) & (scales < np.finfo(np.float16).tiny)).any(),
        "negative scale": (operands.d < 0).any(),
        "result of zero": (y == 0).any(),
    }
    if config.rows > 1:
        facts["ragged token edge"] = len(operands.x) % config.rows != 0
    if config.columns > 1:
        facts["ragged output edge"] = len(operands.w) % config.columns != 0
    return facts


def exhaustive_products(config: AndaConfig) -> AndaLayer:
    """Every 11-bit mantissa times every weight, alone in its group; signs take turns."""
    significands = np.arange(2048, dtype=np.uint16)
    signs = (significands % 2).astype(np.uint16) << np.uint16(15)
    x = np.zeros((2048, config.group), np.float16)
    x[:, 5] = (significands | signs).view(np.float16)  # exponents 0 and 1
    w = np.zeros((16, config.group), np.int8)
    w[:, 5] = np.arange(-8, 8)
    d = np.full((16, 1), 2.0**10, np.float16)
    optional = {"minimum": -d} if config.asymmetric else {}
    return AndaLayer(x, 11, w, d, config.group, **optional)


def with_mantissa(config: AndaConfig, mantissa: int, seed: int) -> AndaLayer:
    """Random operands of a few tiles for a mantissa."""
    rng = np.random.default_rng(seed)
    operands = layer(config, rng, 2 * config.rows - 1, 3 * config.group - 5, config.columns + 1)
    return replace(operands, mantissa=mantissa)


ARRAY = Stimuli(
    operands=AndaLayer,
    config=random_config,
    random=random_layer,
    corners=corner_layer,
    small=SMALL,
    exhaustive=exhaustive_products,
    bins=bins,
    few=lambda config: False,
    waiting=waiting_layer,
)
