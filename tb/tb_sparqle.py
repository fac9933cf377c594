"""Stimuli of the hybrid array."""

from typing import Any

import numpy as np

from ..golden.contract.layer import Layer
from ..golden.contract.schedule import Schedule
from ..golden.sparqle import format as hybrid
from ..golden.sparqle.config import SparqleConfig
from .stimuli import Stimuli
from .tb_sparqle_illegal import with_wrong_bitmaps

SMALL = (
    SparqleConfig(rows=16, columns=4, max_k=64),
    SparqleConfig(rows=16, columns=4, max_k=64, recode="twos"),
    SparqleConfig(rows=4, columns=4, max_k=64, k=2, beat=4),
    SparqleConfig(rows=16, columns=4, max_k=64, sharing=4, chunk=16, asymmetric=True),
)
"""Arrays that multiply every activation with every weight."""


def random_config(rng: np.random.Generator) -> SparqleConfig:
    """A small array of any kind; illegal combinations are drawn, too."""
    values: dict[str, Any] = {
        "k": int(rng.choice([2, 4, 4, 4])),
        "recode": str(rng.choice(["balanced", "twos"])),
        "group": int(rng.choice([4, 8, 16, 32])),
        "beat": int(rng.choice([1, 2, 4, 8])),
        "rows": int(rng.integers(1, 7)),
        "columns": int(rng.integers(1, 5)),
        "chunk": int(rng.choice([4, 8, 16, 32])),
        "weight_banks": int(rng.integers(2, 5)),
        "sharing": int(rng.choice([1, 1, 2, 3])),
        "queue": int(rng.integers(1, 5)),
        "max_k": int(rng.choice([1, 30, 200])),
        "asymmetric": bool(rng.integers(2)),
    }
    return SparqleConfig(**values)


def random_layer(config: SparqleConfig, rng: np.random.Generator) -> Layer:
    """A layer of a few tiles with ragged edges, tokens of every density among each other."""
    longest = min(config.max_k, 4 * config.span)
    lengths = [1, config.group + 1, int(rng.integers(1, longest + 1)), longest]
    features = min(longest, int(rng.choice(lengths)))
    tokens = int(rng.integers(1, 2 * config.rows + 2))
    outputs = int(rng.integers(1, 2 * config.columns + 2))
    return layer(config, rng, tokens, features, outputs)


def layer(
    config: SparqleConfig, rng: np.random.Generator, tokens: int, features: int, outputs: int
) -> Layer:
    """Random operands of a shape; densities and extreme values of every kind."""
    low, high = config.activation_range
    sparse = rng.integers(config.sparse_min, config.sparse_max + 1, (tokens, features))
    dense = rng.integers(low, high + 1, sparse.shape)
    dense = np.where(rng.random(dense.shape) < 0.2, rng.choice([low, high], dense.shape), dense)
    density = rng.choice([0, 0.05, 0.25, 0.5, 0.9, 1], (tokens, 1))
    stretch = rng.random((tokens, 1 + features // config.chunk)) < 0.3  # chunks without any
    quiet = np.repeat(stretch, config.chunk, axis=1)[:, :features]
    x = np.where((rng.random(dense.shape) < density) & ~quiet, dense, sparse)
    w = rng.integers(-8, 8, (outputs, features))
    w = np.where(rng.random(w.shape) < 0.2, rng.choice([-8, 7], w.shape), w)
    return Layer(x.astype(np.int16), w.astype(np.int8))


def waiting_layer(config: SparqleConfig, rng: np.random.Generator) -> Layer:
    """Tiles without zero high halves, of more chunks than there are weight banks."""
    features = config.span * (config.weight_banks + 2)
    low, _ = config.activation_range
    w = rng.integers(-8, 8, (2 * config.columns, features)).astype(np.int8)
    return Layer(np.full((config.rows, features), low, np.int16), w)


def corner_layer(config: SparqleConfig) -> Layer:
    """Every feature is the only one with a high half, and the only one without.

    The other halves and the weights are extreme.
    """
    low, high = config.activation_range
    features = min(config.max_k, config.span + 1)
    only = np.eye(features, dtype=bool)
    present = np.concatenate([only, ~only, only[:1] & False])
    sparse = np.where(np.arange(features) % 2, config.sparse_min, config.sparse_max)
    dense = np.where(np.arange(len(present)) % 2, low, high)[:, None]
    outputs = np.arange(config.columns + 1)[:, None] + np.arange(features)
    w = np.where(outputs % 2, -8, 7)
    return Layer(np.where(present, dense, sparse).astype(np.int16), w.astype(np.int8))


def bins(config: SparqleConfig, operands: Layer) -> dict[str, bool]:
    """Functional bins, and whether these operands hit them."""
    low, high = config.activation_range
    tiling = operands.tiling(config)
    _, msb = hybrid.split(config.format, operands.x)
    present = msb != 0
    tokens, features = present.shape
    counts = np.count_nonzero(present, axis=1)
    facts = {
        "token without high halves": (counts == 0).any(),
        "token of high halves only": (counts == features).any(),
        "tile of one input feature": features == 1,
        "tile drains longer than it computes": features == 1 and len(tiling) > 1,
        "several tiles": len(tiling) > 1,
        "smallest activation and weight": (operands.x == low).any() and (operands.w == -8).any(),
        "largest activation and weight": (operands.x == high).any() and (operands.w == 7).any(),
    }
    if config.max_k > config.chunk:
        chunks = np.add.reduceat(present, np.arange(0, features, config.chunk), axis=1)
        some_without = (chunks == 0).any(axis=1) & (chunks > 0).any(axis=1)
        several = features > config.chunk
        facts["several chunks"] = several
        facts["short last chunk"] = several and features % config.chunk != 0
        facts["chunk without high halves beside one with"] = some_without.any()
        deciles = np.minimum(9, (10 * (1 - counts / features)).astype(int))
        facts |= {f"sparsity decile {decile}": decile in deciles for decile in range(10)}
    if config.rows > 1:
        facts["ragged token edge"] = tokens % config.rows != 0
    if config.columns > 1:
        facts["ragged output edge"] = len(operands.w) % config.columns != 0
    if config.beat > 1:
        facts["partly filled beat"] = (counts % config.beat != 0).any()
    if config.sharing > 1:
        facts["gated row"] = _gated(config, operands, present)
    return facts


def _gated(config: SparqleConfig, operands: Layer, present: np.ndarray) -> bool:
    """Whether rows that share a list differ."""
    blocks = operands.tiling(config).blocks_of_tokens(present)
    shared = blocks.reshape(-1, config.sharing, present.shape[1])
    return bool((shared.any(axis=1) != shared.all(axis=1)).any())


def exhaustive_products(config: SparqleConfig) -> Layer:
    """Every activation times every weight, each product alone in an accumulator."""
    low, high = config.activation_range
    return Layer(
        np.arange(low, high + 1)[:, None].astype(np.int32),
        np.arange(-8, 8)[:, None].astype(np.int8),
    )


def illegal_run(config: SparqleConfig, rng: np.random.Generator) -> Schedule:
    """A run of several tiles; in one of those between, bitmaps are of another length."""
    features = min(config.max_k, int(rng.integers(1, 3 * config.span + 1)))
    drawn = layer(config, rng, 2 * config.rows + 1, features, config.columns + 1)
    return with_wrong_bitmaps(config, drawn, rng, layer)


ARRAY = Stimuli(
    operands=Layer,
    config=random_config,
    random=random_layer,
    corners=corner_layer,
    small=SMALL,
    exhaustive=exhaustive_products,
    bins=bins,
    waiting=waiting_layer,
    illegal=illegal_run,
    goals="nibbleforge.tb.goals_sparqle:GOALS",
)
