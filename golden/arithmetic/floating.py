"""FP32 arithmetic of the hardware: conversions, product and sum, each rounded once.

Numbers are IEEE-754 binary32, rounded to nearest with ties to even; nothing is fused. Operands are
finite; a result that overflows becomes infinite. There are no subnormals: a subnormal operand
counts as a zero of its sign, and a result below 2^-126 before rounding becomes one.

That is plain IEEE-754 for every value of the units: they start from integers and finite FP16
scales, of which subnormal ones are normal in FP32, so that every value is a multiple of 2^-24, or
of 2^-53 under a group exponent of Anda. Nor is any too large: products of a 48-bit integer and a
scale stay below 2^63, and a million of them below 2^83. FP16 results have subnormal numbers.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field as Parameter

from ..contract.config import Config

SMALLEST = 2.0**-126
"""Smallest positive normal number."""
FP16_MAX = 65504.0
"""Largest finite FP16 number."""

Overflow = Literal["saturate", "inf"]


class IntToFloatConfig(Config):
    """Parameters of the conversion of integers."""

    bits: int = Parameter(default=25, ge=2, le=64)
    """Bits of the signed integer; up to 25 the conversion is exact."""
    stages: int = Parameter(default=1, ge=1, le=3)
    """Cycles of latency."""


class FloatMultiplyConfig(Config):
    """Parameters of the multiplier."""

    significand: Literal[11, 24] = 24
    """Bits of the second operand's significand, hidden one included: 11 for a widened FP16."""
    first: Literal[11, 24] = 24
    """Bits of the first operand's significand."""
    bounded: bool = False
    """Whether results are known to be 0 or normal and finite, which then need not be checked."""
    stages: int = Parameter(default=1, ge=1, le=3)
    """Cycles of latency."""

    @property
    def operand_bits(self) -> int:
        """Bits of an operand: of two widened FP16 only the upper ones, the others are 0."""
        return 1 + 8 + max(self.first, self.significand) - 1


class HalfToFloatConfig(Config):
    """Parameters of the conversion from FP16."""

    bits: Literal[19, 32] = 32
    """Upper bits of the FP32 number that are given; below the upper 19 all are 0."""


class FloatAddConfig(Config):
    """Parameters of the adder."""

    bounded: bool = False
    """Whether results are known to be 0 or normal and finite, which then need not be checked."""
    stages: int = Parameter(default=1, ge=1, le=4)
    """Cycles of latency."""


class FloatToHalfConfig(Config):
    """Parameters of the conversion to FP16."""

    overflow: Literal["saturate", "inf"] = "saturate"
    """What becomes of numbers that round beyond 65504, the infinite ones included."""
    stages: int = Parameter(default=1, ge=1, le=2)
    """Cycles of latency."""


def int_to_fp32(v: ArrayLike, bits: int) -> NDArray[np.float32]:
    """Signed integers of up to 64 bits in FP32.

    Raises
    ------
    ValueError
        An integer does not fit ``bits`` bits.
    """
    integers = np.asarray(v, np.int64)
    half = 1 << (bits - 1)
    if integers.size and (int(integers.min()) < -half or int(integers.max()) >= half):
        raise ValueError(
            f"{bits} bits cannot hold all integers of {integers.min()}..{integers.max()}."
        )
    return integers.astype(np.float32)


def multiply(a: ArrayLike, b: ArrayLike) -> NDArray[np.float32]:
    """Product of finite FP32 or FP16 numbers."""
    exact = _operand(a).astype(np.float64) * _operand(b).astype(np.float64)  # 48 bits: exact
    with np.errstate(over="ignore", under="ignore"):
        return _without_subnormals(exact.astype(np.float32), exact)


def add(a: ArrayLike, b: ArrayLike) -> NDArray[np.float32]:
    """Sum of finite FP32 or FP16 numbers; operands that cancel give +0."""
    with np.errstate(over="ignore"):
        total = _operand(a) + _operand(b)
    return _without_subnormals(total, total)


def fp32_to_fp16(values: ArrayLike, overflow: Overflow = "saturate") -> NDArray[np.float16]:
    """FP32 numbers in FP16, subnormal ones included, rounded to nearest even.

    Parameters
    ----------
    values
        FP32 numbers of any shape; infinite ones count as overflow, NaN stays NaN.
    overflow
        What becomes of results beyond FP16: 65504 with their sign (``saturate``), or infinite.

    Returns
    -------
    ndarray
        As ``values``.
    """
    wide = np.asarray(values, np.float32)
    if overflow == "saturate":
        wide = np.clip(wide, -FP16_MAX, FP16_MAX)
    with np.errstate(over="ignore", under="ignore"):
        return wide.astype(np.float16)


def _operand(values: ArrayLike) -> NDArray[np.float32]:
    """Values widened to FP32, which is exact, without subnormals."""
    wide = np.asarray(np.asarray(values), np.float32)
    return _without_subnormals(wide, wide)


def _without_subnormals(
    values: NDArray[np.float32], exact: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Values, but a zero of the same sign where the exact value is below the normal numbers."""
    zero = np.copysign(np.float32(0), values)
    return np.where(np.abs(exact) < SMALLEST, zero, values)
