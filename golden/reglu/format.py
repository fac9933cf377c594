"""Fixed point of the integer ReGLU FFN: factors ``mult / 2**shift``, and exact products.

Source: our definition.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..contract.errors import UserError

MULT_BITS, SHIFTS = 16, (1, 47)
LARGEST_FACTOR = ((1 << MULT_BITS) - 1) / 2


class FixedPoint(NamedTuple):
    """Factors ``mult / 2**shift``.

    Attributes
    ----------
    mult
        uint16; 0 for a factor of 0.
    shift
        uint8, 1..47, of the same shape.
    """

    mult: NDArray[np.uint16]
    shift: NDArray[np.uint8]


class Factor(NamedTuple):
    """One factor ``mult / 2**shift`` in plain integers, as :class:`FixedPoint`."""

    mult: int
    shift: int

    @classmethod
    def of(cls, single: FixedPoint) -> "Factor":
        """The only one of factors without a dimension."""
        return cls(int(single.mult), int(single.shift))


def fixed_point(factor: ArrayLike) -> FixedPoint:
    """The nearest ``mult / 2**shift`` with the largest mult of 16 bits.

    Parameters
    ----------
    factor
        Of any shape, in 0..32767.5. Below 2**-32 the mult gets shorter, down to 0.

    Raises
    ------
    UserError
        If a factor is not as above.
    """
    exact = np.asarray(factor, np.float64)
    possible = (exact >= 0) & (exact <= LARGEST_FACTOR)
    if not possible.all():
        worst = exact[~possible].flat[0]
        raise UserError(f"a factor in fixed point must be in 0..{LARGEST_FACTOR}, got {worst:g}.")
    _, exponent = np.frexp(exact)  # 2**(exponent - 1) <= exact < 2**exponent
    shift = np.clip(MULT_BITS - exponent, *SHIFTS)
    mult = np.rint(np.ldexp(exact, shift)).astype(np.int64)
    carried = mult == 1 << MULT_BITS
    shift = shift - carried
    mult = np.where(carried, mult >> 1, mult)
    unused = np.where(mult == 0, SHIFTS[0], shift)
    return FixedPoint(mult.astype(np.uint16), unused.astype(np.uint8))


def between(scale: ArrayLike, other: float) -> FixedPoint:
    """The factor ``scale / other`` from one scale to another.

    It is 0 where the other is, as nothing was seen to scale, and at most the largest possible: by
    that, 1 saturates at 8 and at 16 bits already.

    Parameters
    ----------
    scale
        At least 0, of any shape.
    other
        At least 0.
    """
    exact = np.asarray(scale, np.float64)
    if not other:
        return fixed_point(exact * 0)
    with np.errstate(over="ignore"):
        return fixed_point(np.minimum(exact / other, LARGEST_FACTOR))


def multiply_shift(v: ArrayLike, mult: ArrayLike, shift: ArrayLike, bits: int) -> NDArray[np.int64]:
    """``(v * mult + 2**(shift - 1)) >> shift``, saturated to ``bits`` bits, signed.

    Parameters
    ----------
    v
        Integers of at most 32 bits, signed.
    mult, shift
        0..65535 and 1..47; shapes broadcast.
    bits
        Of the result.
    """
    shift = np.asarray(shift, np.int64)
    exact = np.asarray(v, np.int64) * np.asarray(mult, np.int64)  # 48 bits
    rounded = (exact + (np.int64(1) << (shift - 1))) >> shift
    return np.clip(rounded, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def exact_product(x: NDArray[np.integer], w: NDArray[np.integer]) -> NDArray[np.int32]:
    """``x @ w.T`` of INT8 operands as INT32; float64 sums are exact below 2**53."""
    return (x.astype(np.float64) @ w.astype(np.float64).T).astype(np.int32)
