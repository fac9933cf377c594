"""Stimuli of the neuron-skipping ReGLU FFN."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..golden.contract.schedule import Beats, Schedule
from ..golden.reglu.config import RegluConfig, ports
from ..golden.reglu.ffn import INT8_LIMIT, INT16_LIMIT
from ..golden.reglu.format import SHIFTS, FixedPoint, exact_product, multiply_shift
from ..golden.reglu.predictor import scores
from ..golden.reglu.schedule import schedule
from ..golden.reglu.thresholds import ALWAYS
from ..golden.reglu.values import FfnRun, compute
from .stimuli import Stimuli

LARGEST_LATENCY = 200
MOST_EXHAUSTED = 4  # neurons

SMALL = (
    RegluConfig(
        lanes=4,
        max_features=12,
        max_neurons=4,
        max_rank=4,
        double_relu=True,
        in_flight=3,
        survivors=2,
        mask_group=4,
    ),
    RegluConfig(
        lanes=3,
        max_features=12,
        max_neurons=4,
        max_rank=4,
        in_flight=2,
        survivors=4,
        mask_group=4,
    ),
)
"""Units that go through everything that can become of their neurons."""


def random_config(rng: np.random.Generator) -> RegluConfig:
    """A small unit of any kind."""
    lanes = int(rng.integers(1, 7))
    return RegluConfig(
        lanes=lanes,
        max_features=int(rng.integers(1, 4 * lanes + 1)),
        max_neurons=int(rng.integers(1, 25)),
        max_rank=int(rng.integers(1, 3 * lanes + 1)),
        predictor=bool(rng.random() < 0.8),
        double_relu=bool(rng.integers(2)),
        in_flight=int(rng.integers(1, 6)),
        survivors=int(rng.integers(1, 9)),
        mask_group=rng.choice([4, 8, 16]).item(),
    )


def random_run(config: RegluConfig, rng: np.random.Generator) -> FfnRun:
    """A few tokens of any shape; the extreme integers are frequent."""
    shape = _shape(config, rng)
    share = float(rng.choice([0, 1, rng.random()], p=[0.1, 0.1, 0.8]))
    found = drawn(config, rng, int(rng.integers(1, 4)), shape, share)
    if share == 1:  # all neurons add
        x, gate, up = (_positive(matrix) for matrix in (found.x, found.gate, found.up))
        return replace(found, x=x, gate=gate, up=up)
    return found


def _shape(config: RegluConfig, rng: np.random.Generator) -> tuple[int, int, int]:
    """d, D and r."""
    d = _size(rng, config.max_features, 4 * config.lanes)
    D = _size(rng, config.max_neurons, _most_neurons(config))
    rank = _size(rng, config.max_rank, 2 * config.lanes + 1) if config.predictor else 0
    return d, D, rank


def _positive(matrix: NDArray[np.int8]) -> NDArray[np.int8]:
    """The same without signs, and without zeros."""
    return np.abs(matrix.astype(np.int16)).clip(1, INT8_LIMIT).astype(np.int8)


def _most_neurons(config: RegluConfig) -> int:
    """Of random runs: of large units none that takes long."""
    return min(config.max_neurons, 2 * config.mask_group + 3)


def _size(rng: np.random.Generator, most: int, some: int) -> int:
    """The largest, or a smaller one; of large units none that takes long."""
    most = min(most, some)
    return int(rng.choice([most, int(rng.integers(1, most + 1))]))


def drawn(
    config: RegluConfig,
    rng: np.random.Generator,
    tokens: int,
    shape: tuple[int, int, int],
    share: float,
) -> FfnRun:
    """Random operands of a shape.

    Parameters
    ----------
    shape
        d, D and r.
    share
        Neurons that are predicted, roughly.
    """
    d, D, rank = shape
    x = _int8(rng, (tokens, d))
    gate, up, down = (_int8(rng, (D, d)) for _ in range(3))
    a, b = _int8(rng, (rank, d)), _int8(rng, (D, rank))
    to_z8 = _factors(rng, exact_product(x, a), INT8_LIMIT)
    to_g16 = _factors(rng, exact_product(x, gate), INT16_LIMIT)
    to_u16 = _factors(rng, exact_product(x, up), INT16_LIMIT)
    h_mult, h_shift = _factors(rng, np.full((1, 1), INT16_LIMIT**2 // 4), INT8_LIMIT)
    p = scores(x, a, b, FixedPoint(*to_z8))
    return FfnRun(
        x=x,
        gate=gate,
        up=up,
        down=down,
        gate_mult=to_g16[0],
        gate_shift=to_g16[1],
        up_mult=to_u16[0],
        up_shift=to_u16[1],
        h_mult=int(h_mult[0]),
        h_shift=int(h_shift[0]),
        a=a,
        b=b,
        z_mult=to_z8[0],
        z_shift=to_z8[1],
        thresholds=_thresholds(rng, p, share),
        latency=_latency(rng),
    )


def _int8(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.int8]:
    """All integers of 8 bits; one matrix in five is of extreme ones alone."""
    extreme = rng.choice([-128, 127, 0], shape)
    any_other = rng.integers(-128, 128, shape)
    share = 1.0 if rng.random() < 0.2 else 0.2
    return np.where(rng.random(shape) < share, extreme, any_other).astype(np.int8)


def _factors(
    rng: np.random.Generator, sums: NDArray[np.integer], limit: int
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """A mult and shift a column: those that bring sums to about their limit, and any others."""
    largest = np.abs(sums.astype(np.float64)).max(axis=0, initial=1)
    mult = rng.integers(0, 1 << 16, largest.shape)
    fits = np.ceil(np.log2(np.maximum(largest * mult / limit, 1)))
    shift = np.clip(fits + rng.integers(-1, 3, largest.shape), *SHIFTS)
    anything = rng.integers(SHIFTS[0], SHIFTS[1] + 1, largest.shape)
    shift = np.where(rng.random(largest.shape) < 0.1, anything, shift)
    return mult.astype(np.uint16), shift.astype(np.uint8)


def _thresholds(
    rng: np.random.Generator, p: NDArray[np.integer], share: float
) -> NDArray[np.int32]:
    """Scores of some token, so that some are equal to them; or nothing is as small, or as large."""
    some = np.quantile(p, 1 - share, axis=0, method="nearest")
    chosen = np.where(rng.random(len(some)) < 0.1, ALWAYS, some)
    if share in (0, 1):
        chosen = np.full(len(some), ALWAYS if share else -ALWAYS - 1)
    return chosen.astype(np.int32)


def _latency(rng: np.random.Generator) -> NDArray[np.int64]:
    """One for all requests, or any for each."""
    some = rng.integers(1, LARGEST_LATENCY + 1, int(rng.choice([1, 17])))
    return np.minimum(some, int(rng.choice([1, 10, LARGEST_LATENCY])))


def corner_run(config: RegluConfig) -> FfnRun:
    """More survivors than wait, then tokens without any: rare in random ones."""
    rng = np.random.default_rng(0)
    D = min(config.max_neurons, config.survivors + 40)
    d = min(config.max_features, 2 * config.lanes + 1)
    rank = min(config.max_rank, config.lanes + 1) if config.predictor else 0
    found = drawn(config, rng, 3, (d, D, rank), 1.0)
    x = found.x.copy()
    x[1] = 0  # every g is 0
    x[2] = INT8_LIMIT
    full = np.full(D, 0xFFFF, np.uint16)
    return replace(
        found,
        x=x,
        gate=_positive(found.gate),
        up=_positive(found.up),
        gate_mult=full,
        gate_shift=np.full(D, SHIFTS[0], np.uint8),  # saturates
        h_mult=0xFFFF,
        h_shift=30,
        latency=np.ones(1, np.int64),
    )


def exhaustive_neurons(config: RegluConfig) -> FfnRun:
    """Everything that can become of all neurons: predicted or not, gate and up positive or not.

    Larger units get a few neurons.
    """
    D = min(config.max_neurons, config.max_features // 3, config.max_rank, MOST_EXHAUSTED)
    choices = np.arange(1 << 3 * D)[:, None] >> np.arange(3 * D) & 1
    signs = (2 * choices - 1).astype(np.int8)
    unit, nothing = np.eye(D, dtype=np.int8), np.zeros((D, D), np.int8)
    rng = np.random.default_rng(0)
    one = np.ones(D, np.uint16)
    least = np.ones(D, np.uint8)
    return FfnRun(
        x=signs * np.int8(100),
        gate=np.hstack([nothing, 50 * unit, nothing]),
        up=np.hstack([nothing, nothing, 60 * unit]),
        down=_int8(rng, (D, 3 * D)),
        gate_mult=one,
        gate_shift=least,
        up_mult=one,
        up_shift=least,
        h_mult=1,
        h_shift=16,
        a=np.hstack([unit, nothing, nothing]),
        b=100 * unit,
        z_mult=one,
        z_shift=least,
        thresholds=np.zeros(D, np.int32),
        latency=np.array([1, 1, 3, 8, 2]),
    )


def waiting_run(config: RegluConfig, rng: np.random.Generator) -> FfnRun:
    """Tokens that need every port more than once."""
    d = min(config.max_features, 2 * config.lanes + 1)
    rank = min(config.max_rank, config.lanes) if config.predictor else 0
    return drawn(config, rng, 2, (d, min(config.max_neurons, 8), rank), 0.5)


def illegal_run(config: RegluConfig, rng: np.random.Generator) -> Schedule:
    """A run whose second token gets a beat of another row, or one that ends too soon or too late.

    ``error`` is on every beat of outputs of that token; the unit goes on by what it asked for.
    """
    operands = drawn(config, rng, int(rng.integers(3, 5)), _shape(config, rng), rng.random())
    golden = schedule(config, operands)
    _, rows_port, _, y_port = ports(config)
    words = golden.beats["rows"].expand()
    leaves = golden.cycles["y"].reshape(len(operands.x), -1)
    second = (golden.cycles["rows"] > leaves[0, -1]) & (golden.cycles["rows"] < leaves[1, 0])
    beat = int(rng.choice(np.flatnonzero(second)))
    fields = rows_port.unpack(words[beat : beat + 1])
    name = str(rng.choice(["matrix", "row", "last"]))
    fields[name] = fields[name] ^ 1
    words[beat] = rows_port.pack(**fields)[0]
    outputs = y_port.unpack(golden.beats["y"].words)
    outputs["error"] = np.repeat(np.arange(len(leaves)) == 1, leaves.shape[1])
    rows = replace(golden.beats["rows"], words=words, segments=None)
    beats = golden.beats | {"rows": rows, "y": Beats(y_port.pack(**outputs))}
    return replace(golden, beats=beats)


# --- functional bins ------------------------------------------------------------------------------


def bins(config: RegluConfig, operands: FfnRun) -> dict[str, bool]:
    """Functional bins, and whether these operands hit them."""
    d, D, rank = operands.shape
    outcome = compute(config, operands)
    predicted, positive, adding = (
        getattr(outcome.neurons, name) for name in ("predicted", "positive", "adding")
    )
    g = exact_product(operands.x, operands.gate)
    u = exact_product(operands.x, operands.up)
    g16 = multiply_shift(g, operands.gate_mult, operands.gate_shift, bits=16)
    u16 = multiply_shift(u, operands.up_mult, operands.up_shift, bits=16)
    h = multiply_shift(np.maximum(g16, 0) * u16, operands.h_mult, operands.h_shift, bits=64)
    facts: dict[str, Any] = {
        "single token": len(operands.x) == 1,
        "several tokens": len(operands.x) > 1,
        "features of one beat": d <= config.lanes,
        "false positive": (predicted & ~positive).any(),
        "no neuron adds": not adding.any(axis=1).all(),
        "all neurons add": adding.all(axis=1).any(),
        "saturated gate": (adding & (g16 == INT16_LIMIT)).any(),
        "saturated up": (adding & (np.abs(u16) >= INT16_LIMIT)).any(),
        "clipped h": (adding & (np.abs(h) > INT8_LIMIT)).any(),
        "h of zero": (adding & (h == 0)).any(),
        "negative up": (predicted & positive & (u < 0)).any(),
        "same latency": len(operands.latency) == 1,
        "random latency": len(operands.latency) > 1,
    }
    if config.max_features > config.lanes:
        facts["features of several beats"] = d > config.lanes
    if config.lanes > 1:
        facts["short final beat"] = d % config.lanes != 0
    if _most_neurons(config) > config.survivors:
        facts["more neurons than survivors wait"] = config.survivors < D
    if config.double_relu:
        facts["up ends a neuron"] = (positive & ~adding).any()
    if config.predictor:
        ends = np.arange(0, D, config.mask_group)
        facts |= {
            "rank of one beat": rank <= config.lanes,
            "no neuron predicted": not predicted.any(axis=1).all(),
            "all neurons predicted": predicted.all(axis=1).any(),
            "word of the mask without neurons": (
                not np.logical_or.reduceat(predicted, ends, axis=1).all()
            ),
            "short word of the mask": D % config.mask_group != 0,
            "missed neuron": (~predicted & (g > 0)).any(),
        }
        if config.max_rank > config.lanes:
            facts["rank of several beats"] = rank > config.lanes
        if config.max_neurons > config.mask_group:
            facts["several words of the mask"] = config.mask_group < D
    return facts


FFN = Stimuli(
    operands=FfnRun,
    config=random_config,
    random=random_run,
    corners=corner_run,
    small=SMALL,
    exhaustive=exhaustive_neurons,
    bins=bins,
    waiting=waiting_run,
    illegal=illegal_run,
    goals="nibbleforge.tb.goals_reglu:GOALS",
)
