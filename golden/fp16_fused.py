"""FP16 array whose dot products are fused: the strong baseline ``fp16_fused``.

What it computes is ours. An element aligns the products of a beat once, adds them up as integers,
and normalises only when a tile ends. A beat holds ``lanes`` consecutive input features, a short
final one filled up with +0.

An FP16 number is ``s * 2^(e - 25)``: ``s`` its significand of 11 bits with a sign, ``e`` its
exponent field, 1 for subnormal numbers and zeros. A product is ``p * 2^(e - 50)`` with
``|p| <= 2047^2 < 2^22`` and ``e = ex + ew`` in 2..60. An element has a sum: an integer A and an
exponent E that stand for ``A * 2^(E - 50 - F)``, F being ``guard``. A tile starts with A = 0 and
E = 0. A beat takes them to

* ``E' = max(E, e of all lanes)``, and
* ``A' = round(A / 2^(E' - E)) + sum of sign(p) * round(|p| * 2^F / 2^(E' - e)) over all lanes``

where ``round(v) = floor(v + 1/2)``: to nearest, halves up, and by magnitude for products. At the
tile's end ``A * 2^(E - 50 - F)`` is rounded once to FP32, to nearest even.

Nothing overflows: a product adds at most ``2047^2 * 2^F`` to ``|A|``, and shifting makes no integer
larger (``|round(A / 2^n)| <= |A|``). So A has at most ``max_k * 2047^2 * 2^F`` and, with its sign,
:attr:`Fp16FusedConfig.accumulator_bits` bits. Results lie between ``2^(-48 - F)`` and 2^53: they
are 0 or normal numbers of FP32.

How far off is it? A product shifted by no more than F is exact. Any other rounding, of a product
or of A, is off by half a unit ``2^(E - 50 - F)`` at most, and units only grow. With E the final
exponent, K products and n beats after which E grew, the sum before the rounding to FP32 is off by
at most ``(K + n) / 2`` units. The largest product has at least 2^(20 + F) units unless it had a
subnormal factor.

The schedule is the one that the docstring of :class:`nibbleforge.hw.fp16_fused.Fp16FusedArray`
states.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Parameter

from .contract.config import Config
from .contract.design import Design, Unit
from .contract.schedule import Beats, Schedule
from .fp16 import (
    Fp16Layer,
    bandwidth,
    check,
    cycles,
    events,
    in_beats,
    ports,
    schedule_of,
    traffic_of,
    workload,
)

SIGNIFICAND_BITS = 11
EXPONENT_BITS = 5
PRODUCT_BITS = 2 * SIGNIFICAND_BITS
LARGEST = 2047**2
"""Largest magnitude of a product of significands."""
SCALE = 50
"""A product of significands with exponent e counts ``2^(e - SCALE)``."""


class Fp16FusedConfig(Config):
    """Parameters of the FP16 array with fused dot products."""

    rows: int = Parameter(default=16, ge=1, le=256)
    """Tokens a tile (R)."""
    columns: int = Parameter(default=16, ge=1, le=256)
    """Outputs a tile (C)."""
    lanes: Literal[1, 2, 4, 8, 16, 32] = 16
    """Input features a beat, whose products an element adds up in one step (L)."""
    guard: int = Parameter(default=4, ge=0, le=9)
    """Bits of sums below the last bit of the largest product (F)."""
    multiplier: Literal["operators", "carry_save"] = "carry_save"
    """``operators``: ``*``, as DSP blocks want it; ``carry_save``: full adders."""
    convert_latency: int = Parameter(default=3, ge=1, le=3)
    """Cycles of the rounding to FP32."""
    max_k: int = Parameter(default=14336, ge=1, le=1 << 20)
    """Largest in_features; sizes the accumulators."""

    @property
    def accumulator_bits(self) -> int:
        """Bits of an accumulator: enough for ``max_k`` of the largest products."""
        return ((self.max_k * LARGEST) << self.guard).bit_length() + 1

    @property
    def lead(self) -> int:
        """Steps from a tile's final one to that in which its sums go to the result registers."""
        return 2

    @property
    def result_latency(self) -> int:
        """Cycles from then to the first row of results."""
        return 1 + self.convert_latency

    @property
    def macs_per_step(self) -> int:
        """Multiply-accumulates the array does in one step."""
        return self.rows * self.columns * self.lanes

    def beats(self, in_features: int) -> int:
        """Beats of each operand a tile."""
        return -(-in_features // self.lanes)

    def steps(self, in_features: int) -> int:
        """Steps a tile: one a beat."""
        return self.beats(in_features)

    def period(self, in_features: int) -> int:
        """Cycles from tile to tile."""
        return max(self.steps(in_features), self.rows)


# --- values -----------------------------------------------------------------------------------

_BLOCK = 1 << 20  # products at once


def compute(config: Fp16FusedConfig, layer: Fp16Layer) -> NDArray[np.float32]:
    """Results, ``(tokens, outputs)``."""
    integers, exponents = sums(config, layer)
    exact = np.ldexp(integers.astype(np.float64), exponents - SCALE - config.guard)
    return exact.astype(np.float32)


def sums(config: Fp16FusedConfig, layer: Fp16Layer) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A and E of all elements at their tile's end, ``(tokens, outputs)`` each."""
    check(config, layer)
    size = max(1, _BLOCK // (len(layer.w) * config.lanes))
    w = _split(in_beats(config, layer.w))
    blocks = [
        _sums(config, _split(in_beats(config, layer.x[i : i + size])), w)
        for i in range(0, len(layer.x), size)
    ]
    integers, exponents = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return integers, exponents


_Split = tuple[NDArray[np.int64], NDArray[np.int64]]


def _split(numbers: NDArray[np.float16]) -> _Split:
    """Significands with their signs, and exponents."""
    bits = numbers.view(np.uint16).astype(np.int64)
    field, fraction = bits >> 10 & 31, bits & 1023
    significand = fraction + np.where(field > 0, 1024, 0)
    return np.where(bits >> 15, -significand, significand), np.maximum(field, 1)


def _sums(config: Fp16FusedConfig, x: _Split, w: _Split) -> _Split:
    """A and E of operands ``(n, beats, lanes)``, a beat after the other."""
    (x_value, x_exponent), (w_value, w_exponent) = x, w
    total = np.zeros((len(x_value), len(w_value)), np.int64)
    peak = np.zeros_like(total)
    for beat in range(x_value.shape[1]):
        products = x_value[:, None, beat] * w_value[None, :, beat]
        exponents = x_exponent[:, None, beat] + w_exponent[None, :, beat]
        higher = np.maximum(peak, exponents.max(axis=2))
        aligned = shifted(np.abs(products) << config.guard, higher[:, :, None] - exponents)
        total = shifted(total, higher - peak) + (np.sign(products) * aligned).sum(axis=2)
        peak = higher
    return total, peak


def shifted(values: NDArray[np.int64], distance: NDArray[np.int64]) -> NDArray[np.int64]:
    """Values over ``2^distance`` to nearest, halves up; magnitudes below 2^62."""
    return ((values << 1 >> distance) + 1) >> 1


# --- schedule ---------------------------------------------------------------------------------


def schedule(config: Fp16FusedConfig, layer: Fp16Layer) -> Schedule:
    """Golden schedule of a layer: every tile of its tiling in one run."""
    return schedule_of(config, layer, traffic(config, layer))


def traffic(config: Fp16FusedConfig, layer: Fp16Layer) -> dict[str, Beats]:
    """Payloads of every port for a layer."""
    return traffic_of(config, layer, compute(config, layer))


ARRAY = Design(
    name="fp16_fused_array",
    summary="output-stationary array, FP16 operands, fused dot products, one rounding a result",
    law="3 + steps + (tiles - 1) * max(steps, rows) + rows + convert_latency, "
    "steps = ceil(K/lanes)",
    ports=ports,
    events=events,
    bandwidth=bandwidth,
    schedule=schedule,
    traffic=traffic,
    workload=workload,
    cycles=cycles,
    hardware="nibbleforge.hw.fp16_fused:Fp16FusedArray",
    stimuli="nibbleforge.tb.tb_fp16_fused:ARRAY",
    wide=True,
)

UNIT = Unit(
    name="fp16_fused",
    summary="baseline: FP16 activations and weights, fused dot products, results in FP32",
    config=Fp16FusedConfig,
    presets={
        "paper": Fp16FusedConfig(),
        "lanes8": Fp16FusedConfig(lanes=8),
        "lanes32": Fp16FusedConfig(lanes=32),
        "tiny": Fp16FusedConfig(rows=3, columns=2, lanes=4, convert_latency=1, max_k=64),
        "fpga": Fp16FusedConfig(rows=4, columns=4, lanes=4, multiplier="operators", max_k=4096),
    },
    designs=lambda _: (ARRAY,),
    takes="layer",
    simulation="nibbleforge.sim.units.fp16_fused:prepare",
)

UNITS = (UNIT,)
