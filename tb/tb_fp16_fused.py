"""Stimuli of the FP16 array with fused dot products."""

from typing import Any

import numpy as np

from ..golden.fp16 import Fp16Layer
from ..golden.fp16_fused import Fp16FusedConfig, sums
from .stimuli import Stimuli
from .tb_fp16 import LONGEST, cancelling, exhaustive_products, powers_of_two, shape_bins

SMALL = (
    Fp16FusedConfig(rows=4, columns=8, lanes=1),
    Fp16FusedConfig(rows=4, columns=2, lanes=2, guard=9, multiplier="operators", convert_latency=1),
)
"""Arrays that multiply every finite number with some."""


def random_config(rng: np.random.Generator) -> Fp16FusedConfig:
    """A small array of any kind."""
    values: dict[str, Any] = {
        "rows": int(rng.integers(1, 6)),
        "columns": int(rng.integers(1, 5)),
        "lanes": int(rng.choice([1, 2, 4, 8, 16])),
        "guard": int(rng.integers(0, 10)),
        "multiplier": str(rng.choice(["operators", "carry_save"])),
        "convert_latency": int(rng.integers(1, 4)),
        "max_k": int(rng.choice([1, 2, 30, int(rng.integers(1, 1 << 20))])),
    }
    return Fp16FusedConfig(**values)


def random_layer(config: Fp16FusedConfig, rng: np.random.Generator) -> Fp16Layer:
    """A layer of a few tiles with ragged edges; sometimes of fewer beats than rows."""
    lanes = config.lanes
    lengths = [1, 2, lanes, lanes + 1, lanes * (config.rows + 3), 4 * lanes, LONGEST]
    features = min(config.max_k, int(rng.choice(lengths)))
    tokens = int(rng.integers(1, 2 * config.rows + 2))
    outputs = int(rng.integers(1, 2 * config.columns + 2))
    return layer(config, rng, tokens, features, outputs)


def layer(
    config: Fp16FusedConfig, rng: np.random.Generator, tokens: int, features: int, outputs: int
) -> Fp16Layer:
    """Random operands of a shape; often a product takes back one of this beat or the one before.

    Sometimes the first beat has small numbers alone, so that the exponent grows far.
    """
    distance = int(rng.choice([1, config.lanes]))
    drawn = cancelling(rng, tokens, features, outputs, distance)
    if features == 2 and rng.random() < 0.6:  # nothing is left of the sum
        drawn.x[:, 1], drawn.w[:, 1] = -drawn.x[:, 0], drawn.w[:, 0]
    if rng.random() < 0.4:
        for matrix in (drawn.x, drawn.w):
            first = matrix[:, : config.lanes].view(np.uint16)
            first &= 0x83FF
    return drawn


def waiting_layer(config: Fp16FusedConfig, rng: np.random.Generator) -> Fp16Layer:
    """Two blocks of outputs of a few beats each."""
    return layer(config, rng, config.rows, 4 * config.lanes, 2 * config.columns + 1)


def corner_layer(config: Fp16FusedConfig) -> Fp16Layer:
    """Several tiles where powers of two meet at every distance and sign."""
    return powers_of_two(config, min(config.max_k, 12 * config.lanes + 1))


def bins(config: Fp16FusedConfig, operands: Fp16Layer) -> dict[str, bool]:
    """Functional bins, and whether these operands hit them."""
    total, peak = sums(config, operands)
    sizes, _ = sums(config, Fp16Layer(np.abs(operands.x), np.abs(operands.w)))
    first = Fp16Layer(operands.x[:, : config.lanes], operands.w[:, : config.lanes])
    _, begun = sums(config, first)
    exact = operands.x.astype(np.float64) @ operands.w.astype(np.float64).T
    facts = {
        **shape_bins(config, operands),
        "sum rounds": (np.ldexp(total.astype(np.float64), peak - 50 - config.guard) != exact).any(),
        "sum cancels": ((total == 0) & (sizes != 0)).any(),
    }
    if config.max_k > config.lanes:
        facts["exponent grows"] = (peak > begun).any()
        facts["exponent grows far"] = (peak - begun >= 32).any()
    return facts


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
