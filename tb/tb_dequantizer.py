"""Stimuli of the dequantizer."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..golden.arithmetic.floating import add, int_to_fp32, multiply
from ..golden.dequantizer import DequantizerConfig, GroupSums, compute, terms
from .stimuli import Stimuli

SMALL = (
    DequantizerConfig(columns=2, acc_bits=4),
    DequantizerConfig(columns=2, acc_bits=4, asymmetric=True, ones_bits=4),
)
"""Units that multiply every integer with every scale."""

EXACT_BITS = 25  # integers up to here are exact in FP32


def random_config(rng: np.random.Generator) -> DequantizerConfig:
    """A small unit of any kind; illegal combinations are drawn, too."""
    return DequantizerConfig(
        rows=int(rng.choice([1, 2, 3, 4, 5, 8])),
        columns=int(rng.integers(1, 6)),
        rows_per_beat=int(rng.choice([1, 1, 2, 4])),
        acc_bits=int(rng.integers(2, 49)),
        asymmetric=bool(rng.integers(0, 2)),
        ones_bits=int(rng.integers(2, 49)),
        convert_latency=int(rng.integers(1, 4)),
        multiply_latency=int(rng.integers(1, 4)),
        add_latency=int(rng.integers(1, 5)),
        errors=bool(rng.integers(0, 2)),
    )


def random_sums(config: DequantizerConfig, rng: np.random.Generator) -> GroupSums:
    """Tiles of a few weight groups; often a group takes back what the one before added."""
    sizes = rng.integers(1, 6, rng.integers(1, 7))
    last = np.zeros(sizes.sum(), bool)
    last[np.cumsum(sizes) - 1] = True
    groups, rows, columns = len(last), config.rows, config.columns
    acc = _integers(rng, config.acc_bits, (groups, rows, columns))
    ones = _integers(rng, config.ones_bits, (groups, rows))
    d, minimum = (random_scales(rng, (groups, columns)) for _ in range(2))
    for group in np.flatnonzero(~last[:-1] & (rng.random(groups - 1) < 0.3)):
        acc[group + 1] = np.maximum(-acc[group], 1 - (1 << (config.acc_bits - 1)))
        acc[group + 1] = np.minimum(acc[group + 1], (1 << (config.acc_bits - 1)) - 1)
        ones[group + 1] = np.minimum(-ones[group], (1 << (config.ones_bits - 1)) - 1)
        d[group + 1], minimum[group + 1] = d[group], minimum[group]
    error = rng.random(groups) < rng.choice([0.1, 0.5])
    some = {"error": error} if config.errors else {}
    if not config.asymmetric:
        return GroupSums(acc, d, last, **some)
    return GroupSums(acc, d, last, ones, minimum, **some)


def waiting_sums(config: DequantizerConfig, rng: np.random.Generator) -> GroupSums:
    """All groups of one tile."""
    sums = random_sums(config, rng)
    return replace(sums, last=np.arange(len(sums.last)) == len(sums.last) - 1)


def _integers(rng: np.random.Generator, bits: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Integers of every size, extremes and zeros among them."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    values = rng.integers(low, high, shape, endpoint=True) >> rng.integers(0, bits, shape)
    return np.where(rng.random(shape) < 0.2, rng.choice([low, high, 0], shape), values)


def random_scales(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float16]:
    """Finite FP16 numbers: any, subnormal ones, zeros, some of like size."""
    bits = rng.integers(0, 31 << 10, shape)
    kind = rng.choice(4, shape, p=[0.3, 0.1, 0.1, 0.5])
    like = (bits & 0x7FF) + (12 << 10)
    chosen = np.choose(kind, [bits, bits & 0x3FF, np.zeros_like(bits), like])
    sign = rng.integers(0, 2, shape) << 15
    return (chosen | sign).astype(np.uint16).view(np.float16)


def exhaustive_scales(config: DequantizerConfig) -> GroupSums:
    """Every integer of a row's index times every finite scale, each in a tile of its own."""
    finite = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = finite[np.isfinite(finite)]
    groups = -(-len(finite) // config.columns)
    d = np.resize(finite, (groups, config.columns))
    values = np.resize(np.arange(-8, 8), config.rows)
    acc = np.broadcast_to(values[:, None], (groups, config.rows, config.columns))
    last = np.ones(groups, bool)
    if not config.asymmetric:
        return GroupSums(acc, d, last)
    ones = np.broadcast_to(np.roll(values, 3), (groups, config.rows))
    return GroupSums(acc, d, last, ones, np.roll(d, groups // 3, axis=0))


def bins(config: DequantizerConfig, sums: GroupSums) -> dict[str, bool]:
    """Functional bins, and whether these operands hit them."""
    sizes = np.diff(np.flatnonzero(np.concatenate([[True], sums.last])))
    scales = np.abs(sums.d)
    half = 1 << (config.acc_bits - 1)
    facts = {
        "single tile": len(sizes) == 1,
        "several tiles": len(sizes) > 1,
        "tile of one weight group": (sizes == 1).any(),
        "tile of several weight groups": (sizes > 1).any(),
        "subnormal scale": ((scales > 0) & (scales < np.finfo(np.float16).tiny)).any(),
        "zero scale": (scales == 0).any(),
        "negative scale": (sums.d < 0).any(),
        "smallest sum": (sums.acc == -half).any(),
        "largest sum": (sums.acc == half - 1).any(),
        "result of zero": (compute(config, sums) == 0).any(),
        **_roundings(config, sums),
    }
    if config.errors:
        errors = _tile_errors(sums)
        final_errors = sums.error[sums.last] if sums.error.size else errors
        facts["tile without an error after one"] = (errors[:-1] & ~errors[1:]).any()
        facts["error before the final weight group alone"] = (errors & ~final_errors).any()
    return facts


def _tile_errors(sums: GroupSums) -> NDArray[np.bool_]:
    """Which tiles have a weight group with an error; none where nothing is said of errors."""
    starts = np.flatnonzero(np.concatenate([[True], sums.last[:-1]]))
    error = sums.error if sums.error.size else np.zeros_like(sums.last)
    return np.logical_or.reduceat(error, starts)


def _roundings(config: DequantizerConfig, sums: GroupSums) -> dict[str, bool]:
    """What happens to conversions, products and running sums."""
    found: dict[str, bool] = {}
    total = np.zeros(sums.acc.shape[1:], np.float32)
    for group, last in enumerate(sums.last):
        for integers, scales in terms(config, sums, np.array([group])):
            value = int_to_fp32(integers[0], config.value_bits)
            product = multiply(value, scales)
            before, total = total, add(total, product)
            moved = product != 0
            facts = {
                "product rounds": product != value.astype(np.float64) * scales,
                "product of -0": ~moved & np.signbit(product),
                "running sum cancels": moved & (total == 0),
                "running sum rounds": total != before.astype(np.float64) + product,
                "running sum absorbs the product": moved & (total == before),
                "product absorbs the running sum": (before != 0) & (total == product),
            }
            if config.value_bits > EXACT_BITS:
                facts["conversion rounds"] = value.astype(np.int64) != integers[0]
            found |= {n: where.any() or found.get(n, False) for n, where in facts.items()}
        if last:
            total = np.zeros_like(total)
    return found


def corner_sums(config: DequantizerConfig) -> GroupSums:
    """Tiles of two groups: a power of two, then one that meets it at every distance and sign."""
    span = config.acc_bits - 1
    first, second = (grid.ravel() for grid in np.meshgrid(np.arange(span), np.arange(span)))
    pairs = np.stack([1 << first, (1 << second) + first % 3 - 1], 1)
    values = np.concatenate([pairs, -pairs, pairs * [1, -1]]).ravel()
    values = np.clip(values, -(1 << span), (1 << span) - 1)
    each = config.columns * config.rows
    acc = np.repeat(values, each).reshape(-1, config.rows, config.columns)
    exponents = np.arange(len(acc)) // 7 % 30 + 1
    scales = (exponents << 10).astype(np.uint16).view(np.float16)
    d = np.repeat(scales[:, None], config.columns, axis=1)
    last = np.arange(len(acc)) % 2 == 1
    if not config.asymmetric:
        return GroupSums(acc, d, last)
    ones = np.clip(acc[:, :, 0], -(1 << config.ones_bits - 1), (1 << config.ones_bits - 1) - 1)
    return GroupSums(acc, d, last, ones, np.roll(d, 3, axis=0))


DEQUANTIZER = Stimuli(
    operands=GroupSums,
    config=random_config,
    random=random_sums,
    corners=corner_sums,
    small=SMALL,
    exhaustive=exhaustive_scales,
    bins=bins,
    few=lambda config: False,
    waiting=waiting_sums,
    goals="nibbleforge.tb.goals_dequantizer:GOALS",
)
