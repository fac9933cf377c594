"""Stimuli of the mantissa array."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..golden.anda.format import ROUNDINGS, SIGNIFICAND_BITS, Anda, encode
from ..golden.contract.elements import TREES
from ..golden.figna import FignaConfig, FignaLayer, compute
from .stimuli import Stimuli
from .tb_anda import corners, drawn, random_shape, shared_bins, waiting

_SMALL = FignaConfig(group=16, rows=4, columns=4, mantissa=11, fp_share=4)
SMALL = (
    _SMALL,
    _SMALL.replace(tree="carry_save"),
    _SMALL.replace(tree="operators", fp_share=2, asymmetric=True),
    _SMALL.replace(tree="packed"),
)
"""Arrays that multiply every mantissa of 11 bits with every weight."""


def random_config(rng: np.random.Generator) -> FignaConfig:
    """A small array of any kind."""
    columns = int(rng.integers(1, 5))
    tree = str(rng.choice(TREES))
    values: dict[str, Any] = {
        "group": int(rng.choice([16, 16, 32, 64])),
        "rows": int(rng.integers(1, 5)),
        "columns": columns,
        "mantissa": int(rng.integers(4, 17)),
        "lanes": int(rng.choice([2 if tree == "pair_sums" else 1, 2, 4, 8, 16])),
        "fp_share": int(rng.choice([n for n in range(1, columns + 1) if columns % n == 0])),
        "asymmetric": bool(rng.integers(2)),
        "tree": tree,
        "rounding": str(rng.choice(ROUNDINGS)),
        "convert_latency": int(rng.integers(1, 4)),
        "multiply_latency": int(rng.integers(1, 4)),
        "add_latency": int(rng.integers(1, 5)),
    }
    return FignaConfig(**values)


def random_layer(config: FignaConfig, rng: np.random.Generator) -> FignaLayer:
    """A layer of a few tiles with ragged edges and weight groups of every kind."""
    return layer(config, rng, *random_shape(config, rng))


def layer(
    config: FignaConfig, rng: np.random.Generator, tokens: int, features: int, outputs: int
) -> FignaLayer:
    """Random operands of a shape; numbers of like and of very different size."""
    return FignaLayer(**drawn(config, rng, tokens, features, outputs))


def corner_layer(config: FignaConfig) -> FignaLayer:
    """The largest sums of either sign, and every element alone."""
    return FignaLayer(**corners(config))


def waiting_layer(config: FignaConfig, rng: np.random.Generator) -> FignaLayer:
    """Several tiles of several groups, each of which takes scales."""
    return FignaLayer(**waiting(config, rng, 2 * config.columns))


def bins(config: FignaConfig, operands: FignaLayer) -> dict[str, bool]:
    """Functional bins, and whether these operands hit them."""
    y = compute(config, operands)
    encoded = operands.encoded(config)
    facts = shared_bins(config, operands, encoded, y)
    if config.rounding == "nearest":
        cut = encode(config, config.mantissa, operands.x).magnitude
        facts["magnitude rounded up"] = bool((encoded.magnitude > cut).any())
        if config.mantissa < SIGNIFICAND_BITS:
            facts["magnitude that does not fit"] = _saturated(config, operands.x, encoded)
    return facts


def _saturated(config: FignaConfig, x: NDArray[np.float16], encoded: Anda) -> bool:
    """Whether the nearest integer to a number is ``2^M``, which mantissas do not have."""
    largest = (1 << config.mantissa) - 1
    steps = encoded.scale().repeat(config.group, axis=1)[:, : encoded.in_features]
    return bool((np.abs(x) >= (largest + 0.5) * steps).any())


def exhaustive_products(config: FignaConfig) -> FignaLayer:
    """Every 11-bit mantissa of either sign times every weight, alone in its group."""
    significands = np.arange(2048, dtype=np.uint16)
    both = np.concatenate([significands, significands | np.uint16(1 << 15)])
    x = np.zeros((len(both), config.group), np.float16)
    x[:, 5] = both.view(np.float16)  # exponents 0 and 1
    w = np.zeros((16, config.group), np.int8)
    w[:, 5] = np.arange(-8, 8)
    d = np.full((16, 1), 2.0**10, np.float16)
    optional = {"minimum": -d} if config.asymmetric else {}
    return FignaLayer(x, w, d, config.group, **optional)


ARRAY = Stimuli(
    operands=FignaLayer,
    config=random_config,
    random=random_layer,
    corners=corner_layer,
    small=SMALL,
    exhaustive=exhaustive_products,
    bins=bins,
    waiting=waiting_layer,
)
