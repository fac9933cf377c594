"""Stimuli of the N:M array, alone and joined to the dequantizer."""

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..golden import dequantizer
from ..golden.arithmetic.quantise import INT4_BITS
from ..golden.contract.schedule import Beats, Schedule
from ..golden.grouped import GroupScales
from ..golden.nm.config import NMConfig, ports
from ..golden.nm.format import slots
from ..golden.nm.schedule import schedule, traffic
from ..golden.nm.unit import GROUPED as GROUPED_DESIGN
from ..golden.nm.values import NMLayer, compute, dealt, dequantised, group_sums, sums
from .stimuli import Stimuli
from .tb_dequantizer import random_scales
from .tb_grouped import under_way

MOST_GROUPS = 3

SMALL = (
    NMConfig(rows=8, columns=8, span=4, m=4, max_k=64),
    NMConfig(rows=4, columns=8, span=4, m=8, max_k=64, dequant_rows=4),
    NMConfig(rows=8, columns=8, span=4, m=4, max_k=64, lanes=2, tree="carry_save"),
)
"""Arrays that take every pattern of ``n`` of ``m`` weights, and every product."""

SMALL_GROUPED = (
    NMConfig(rows=8, columns=8, span=4, m=4, max_k=64, dequant=GroupScales(weight_group=32)),
)


def random_config(rng: np.random.Generator) -> NMConfig:
    """A small array of any kind; illegal combinations are drawn, too."""
    span = int(rng.choice([1, 2, 3]))
    m: Literal[4, 8, 16] = rng.choice([4, 8, 16]).item()
    return NMConfig(
        rows=span * int(rng.integers(1, 4)),
        columns=span * int(rng.integers(1, 4)),
        m=m,
        span=span,
        dequant_rows=int(rng.choice([1, 1, span])),
        lanes=int(rng.choice([1, 1, 2, 3, 8])),
        tree=rng.choice(["operators", "carry_save"]).item(),
        max_k=int(rng.integers(1, 13)) * m,
    )


def random_grouped_config(rng: np.random.Generator) -> NMConfig:
    """The same with group scales; illegal combinations are drawn, too."""
    config = random_config(rng)
    group = int(rng.choice([16, 32]))
    return config.replace(
        max_k=group * int(rng.integers(1, MOST_GROUPS + 1)),
        dequant=GroupScales(
            weight_group=group,
            add_latency=int(rng.integers(1, 4)),
            multiply_latency=int(rng.integers(1, 4)),
        ),
    )


def random_layer(config: NMConfig, rng: np.random.Generator) -> NMLayer:
    """A layer of a few tiles with ragged edges, any N, sums of all or of groups."""
    few = min(3 * config.m, config.max_k)
    most = int(rng.choice([few, config.max_k, config.max_k]))
    features = int(rng.choice([int(rng.integers(1, most + 1)), most]))
    tokens = int(rng.integers(1, 2 * config.rows + 2))
    outputs = int(rng.integers(1, 2 * config.columns + 2))
    n = int(rng.choice([1, config.m, int(rng.integers(1, config.m + 1))]))
    return layer(config, rng, n, tokens, features, outputs)


def layer(
    config: NMConfig,
    rng: np.random.Generator,
    n: int,
    tokens: int,
    features: int,
    outputs: int,
) -> NMLayer:
    """Random operands of a shape; the extreme integers are frequent."""
    x = _often(rng.integers(-128, 128, (tokens, features)), rng, [-128, 127]).astype(np.int8)
    w = _often(rng.integers(-8, 8, (outputs, features)), rng, [-8, 7, 0])
    blocks = -(-features // config.m)
    order = rng.random((outputs, blocks, config.m)).argsort(axis=2).argsort(axis=2)
    keep = (order < n).reshape(outputs, -1)[:, :features]
    values, indices = slots(np.where(keep, w, 0).astype(np.int8), keep, config.pattern(n))
    if config.grouped:
        groups = -(-features // config.weight_group)
        d = random_scales(rng, (outputs, groups))
        return NMLayer(x, values, indices, config.weight_group, d)
    group = int(rng.choice([features, config.m, config.m * int(rng.integers(1, blocks + 1))]))
    return NMLayer(x, values, indices, group)


def waiting_layer(config: NMConfig, rng: np.random.Generator) -> NMLayer:
    """Tiles that need every port more than once before they end: a byte holds a block."""
    features = min(config.max_k, 8 * config.lanes * config.m)
    drawn = layer(config, rng, 1, 2 * config.rows, features, config.columns + 1)
    return replace(drawn, weight_group=features)


def waiting_grouped(config: NMConfig, rng: np.random.Generator) -> NMLayer:
    """Tiles of several weight groups."""
    features = min(config.max_k, 6 * config.weight_group)
    return layer(config, rng, 1, 2 * config.rows, features, config.columns + 1)


def _often(matrix: NDArray, rng: np.random.Generator, extremes: list[int]) -> NDArray:
    return np.where(rng.random(matrix.shape) < 0.3, rng.choice(extremes, matrix.shape), matrix)


def corner_layer(config: NMConfig) -> NMLayer:
    """The largest sums of either sign; dense, so that accumulators fill."""
    features = config.max_k
    x = np.resize(np.array([[-128], [127]], np.int8), (config.rows + 1, features))
    w = np.resize(np.array([[-8], [7]], np.int8), (config.columns + 1, features))
    return _with_scales(config, x, w, np.ones(w.shape, bool), config.m)


def _with_scales(
    config: NMConfig, x: NDArray, w: NDArray, keep: NDArray[np.bool_], n: int
) -> NMLayer:
    values, indices = slots(w.astype(np.int8), keep, config.pattern(n))
    features = x.shape[1]
    if not config.grouped:
        return NMLayer(x.astype(np.int8), values, indices, features)
    groups = -(-features // config.weight_group)
    exponents = np.arange(len(w) * groups).reshape(-1, groups) % 30 - 14
    d = np.ldexp(np.float16(1), exponents)
    return NMLayer(x.astype(np.int8), values, indices, config.weight_group, d)


def patterns(config: NMConfig, n: int) -> NMLayer:
    """Every choice of ``n`` of ``m``, one an output, with distinct weights and activations."""
    chosen = np.array(list(combinations(range(config.m), n)))
    keep = np.zeros((len(chosen), config.m), bool)
    np.put_along_axis(keep, chosen, True, axis=1)
    w = np.resize(np.arange(-8, 8), keep.shape)
    x = np.resize(np.arange(-128, 128, 5), (config.rows, config.m))
    return _with_scales(config, x, np.where(keep, w, 0), keep, n)


def exhaustive(config: NMConfig) -> NMLayer:
    """Every choice of half of a block, one after the other, and every activation and weight."""
    n = config.m // 2
    chosen = np.array(list(combinations(range(config.m), n)))
    blocks = config.max_k // config.m
    rows = -(-max(len(chosen), 16) // blocks) * blocks
    keep = np.zeros((rows * blocks, config.m), bool)
    np.put_along_axis(keep, np.resize(chosen, (len(keep), n)), True, axis=1)
    keep = keep.reshape(rows, -1)
    w = np.resize(np.arange(-8, 8), (keep.shape[1], rows)).T
    x = (np.arange(256)[:, None] + 37 * np.arange(keep.shape[1])) % 256 - 128
    return _with_scales(config, x, np.where(keep, w, 0), keep, n)


def illegal_run(config: NMConfig, rng: np.random.Generator) -> Schedule:
    """A run of several tiles; of one between, a block is no legal one in a column, or N is none.

    ``error`` is on every beat of sums of the weight group, or of all groups of the tile. Places
    that are there twice are used twice, places that a bitmap lacks are place 0, of too many the
    lowest N count, and an illegal N is taken as M.
    """
    drawn, illegal = _illegal_layer(config, rng)
    golden = schedule(config, drawn)
    port = ports(config)[2]
    fields = port.unpack(golden.beats["y"].words)
    fields["value"] = illegal.sums.reshape(fields["value"].shape)
    fields["error"] = np.repeat(illegal.error, config.drain)
    beats = golden.beats | {"w": illegal.w, "y": Beats(port.pack(**fields))}
    return replace(golden, beats=beats)


def illegal_grouped(config: NMConfig, rng: np.random.Generator) -> Schedule:
    """The same of the array joined to the dequantizer: ``error`` is on all results of the tile."""
    drawn, illegal = _illegal_layer(config, rng)
    golden = GROUPED_DESIGN.schedule(config, drawn)
    right = group_sums(config, drawn)
    changed = replace(right, acc=illegal.sums.reshape(right.acc.shape), error=illegal.error.ravel())
    behind = dequantizer.traffic(config.dequantizer, changed)
    return replace(golden, beats=golden.beats | {"w": illegal.w, "y": behind["y"]})


@dataclass(frozen=True)
class _Illegal:
    """What an illegal run differs in.

    Attributes
    ----------
    w
        Beats of packed weights.
    sums
        ``(tiles, groups, rows, columns)``.
    error
        ``(tiles, groups)``.
    """

    w: Beats
    sums: NDArray[np.int64]
    error: NDArray[np.bool_]


def _illegal_layer(config: NMConfig, rng: np.random.Generator) -> tuple[NMLayer, _Illegal]:
    """A layer of several tiles, and what becomes of it with something illegal in one between."""
    few = min(3 * config.m, config.max_k)
    if config.grouped:
        few = int(rng.integers(1, min(MOST_GROUPS * config.weight_group, config.max_k) + 1))
    n = int(rng.integers(1, config.m + 1))
    pattern = config.pattern(n)
    shape = 2 * config.rows + 1, few, config.columns + 1
    if n == config.m or (n == 1 and pattern.metadata == "index"):  # every index is legal
        n = config.m
        drawn = layer(config, rng, n, *shape)
        return drawn, _with_n(config, drawn, rng)
    drawn = layer(config, rng, n, *shape)
    return drawn, _with_metadata(config, drawn, rng)


def _legal(config: NMConfig, drawn: NMLayer) -> NDArray[np.int64]:
    """Sums ``(tiles, groups, rows, columns)``."""
    tiling = drawn.tiling(config)
    return np.stack([tiling.split_result(group) for group in sums(config, drawn)], axis=1)


def _weights(config: NMConfig, drawn: NMLayer) -> dict[str, NDArray[np.int64]]:
    """Fields of the packed weights, ``(tiles, beats, ...)``."""
    words = traffic(config, drawn)["w"].expand()
    tiles = len(drawn.tiling(config))
    return {
        name: field.reshape(tiles, len(words) // tiles, *field.shape[1:])
        for name, field in ports(config)[1].unpack(words).items()
    }


def _packed(config: NMConfig, fields: dict[str, NDArray[np.int64]]) -> Beats:
    """Inverse of :func:`_weights`."""
    flat = {name: field.reshape(-1, *field.shape[2:]) for name, field in fields.items()}
    return Beats(ports(config)[1].pack(**flat))


def _between(rng: np.random.Generator, number: int) -> int:
    """Neither the first nor the last."""
    return int(rng.integers(1, number - 1))


def _with_n(config: NMConfig, drawn: NMLayer, rng: np.random.Generator) -> _Illegal:
    """The packed weights of a tile come with an N outside 1..M."""
    found, fields = _legal(config, drawn), _weights(config, drawn)
    tile = _between(rng, len(found))
    fields["n"][tile, 0] = rng.choice([0, config.m + 1])
    error = np.zeros(found.shape[:2], bool)
    error[tile] = True
    return _Illegal(_packed(config, fields), found, error)


def _with_metadata(config: NMConfig, drawn: NMLayer, rng: np.random.Generator) -> _Illegal:
    """The metadata of a tile's block are in one column all ones, or all zeros."""
    found, fields = _legal(config, drawn), _weights(config, drawn)
    tiling, pattern, n = drawn.tiling(config), config.pattern(drawn.n), drawn.n
    ones = bool(rng.integers(2))
    tile, column = _between(rng, len(found)), int(rng.integers(config.columns))
    block = int(rng.integers(drawn.values.shape[1]))
    ((beat, lane),) = np.argwhere(dealt(config, drawn) == block)
    octets = fields["bits"][tile, :, column * config.lanes + lane]
    bits = np.unpackbits(octets.astype(np.uint8), bitorder="little")
    first = beat * pattern.block_bits
    bits[first + INT4_BITS * n : first + pattern.block_bits] = ones
    octets[:] = np.packbits(bits, bitorder="little")

    if pattern.metadata == "index":
        places = np.full(n, config.m - 1 if ones else 0)
    else:
        places = np.arange(n) if ones else np.zeros(n, int)
    token, output = tiling.order[tile]
    x = np.pad(drawn.x, ((0, 0), (0, -drawn.x.shape[1] % config.m))).astype(np.int64)
    x = tiling.blocks_of_tokens(x)[token][:, block * config.m : (block + 1) * config.m]
    row = output * config.columns + column
    if row < drawn.outputs:  # others are padding, whose values are 0
        moved = x[:, places] - x[:, drawn.indices[row, block]]
        change = moved @ drawn.values[row, block].astype(np.int64)
    else:
        change = np.zeros(config.rows, np.int64)
    group = int(np.searchsorted(np.cumsum(drawn.group_blocks(config)), block, side="right"))
    found[tile, group, :, column] += change
    error = np.zeros(found.shape[:2], bool)
    error[tile, group] = True
    return _Illegal(_packed(config, fields), found, error)


def bins(config: NMConfig, operands: NMLayer) -> dict[str, bool]:
    """Functional bins, and whether these operands hit them."""
    tiling = operands.tiling(config)
    pattern = config.pattern(operands.n)
    blocks = operands.group_blocks(config)
    groups = config.beats(blocks) * operands.n
    facts: dict[str, Any] = {
        "single slot": operands.n == 1,
        "dense": operands.n == config.m,
        "indices": pattern.metadata == "index",
        "short block": operands.x.shape[1] % config.m != 0,
        "single tile": len(tiling) == 1,
        "several tiles": len(tiling) > 1,
        "group does not wait": (groups > config.drain).any(),
        "smallest activation and weight": (operands.x == -128).any()
        and (operands.values == -8).any(),
        "largest activation and weight": (operands.x == 127).any() and (operands.values == 7).any(),
        "slot of zero": (operands.values == 0).any(),
    }
    if config.grouped:
        scales = np.abs(operands.d)
        y = dequantised(config, operands)
        facts |= {
            "subnormal scale": ((scales > 0) & (scales < np.finfo(np.float16).tiny)).any(),
            "zero scale": (scales == 0).any(),
            "negative result": (y < 0).any(),
        }
    else:
        facts["negative sum"] = (compute(config, operands) < 0).any()
        facts["padded row"] = operands.values.shape[1] * pattern.block_bits % 8 != 0
    if not config.grouped or config.max_k > config.weight_group:
        facts["several weight groups"] = len(groups) > 1
        facts["short weight group"] = len(groups) > 1 and groups[-1] != groups[0]
    if "bitmap" in {config.pattern(n).metadata for n in range(1, config.m + 1)}:
        facts["bitmaps"] = pattern.metadata == "bitmap"
    if config.lanes > 1:
        facts["short final beat"] = (blocks % config.lanes != 0).any()
        facts["full final beat"] = (blocks % config.lanes == 0).any()
    if config.drain > 1:
        waits = (groups < config.drain).any() and len(tiling) > 1
        facts["group waits for results to leave"] = waits
    if config.rows > 1:
        facts["ragged token edge"] = len(operands.x) % config.rows != 0
    if config.columns > 1:
        facts["ragged output edge"] = operands.outputs % config.columns != 0
    return facts


ARRAY = Stimuli(
    operands=NMLayer,
    config=random_config,
    random=random_layer,
    corners=corner_layer,
    small=SMALL,
    exhaustive=exhaustive,
    bins=bins,
    waiting=waiting_layer,
    illegal=illegal_run,
    goals="nibbleforge.tb.goals_nm:GOALS",
)


GROUPED = Stimuli(
    operands=NMLayer,
    config=random_grouped_config,
    random=random_layer,
    corners=corner_layer,
    small=SMALL_GROUPED,
    exhaustive=exhaustive,
    bins=bins,
    waiting=waiting_grouped,
    under_way=under_way,
    illegal=illegal_grouped,
)
