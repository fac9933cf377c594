"""Anda format: groups of FP16 activations with one exponent and mantissas of M bits.

A group keeps, per element, a sign and an M-bit mantissa that includes the hidden bit, and the
largest exponent of the group once. Mantissas are aligned to it by truncation. Source: Anda, arXiv
2411.15982; what becomes of NaN and Inf is our definition.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arithmetic.quantise import check_matrix
from ..contract.config import Config
from ..contract.errors import UserError

EXPONENT_BITS = 5
SIGNIFICAND_BITS = 11  # of FP16, hidden bit included
BIAS = 15
LARGEST = 0x7BFF  # magnitude bits of 65504, the largest finite FP16 number
MANTISSA_MAX = 16

Rounding = Literal["truncate", "nearest"]
"""How mantissas lose bits.

``truncate``: towards zero, as Anda has it. ``nearest``: to the nearest, ties to even; what would
need more than M bits becomes the largest mantissa, ``2^M - 1``.
"""

ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)
"""All of them."""


class AndaFormat(Config):
    """Parameters of the Anda format; the mantissa is a run-time setting beside them."""

    group: Literal[16, 32, 64] = 64
    """Elements along in_features that share an exponent (G)."""


@dataclass(frozen=True, eq=False)
class Anda:
    """A tensor in the Anda format: ``(-1)^sign * magnitude * 2^(exponent - 15 - (M - 1))``.

    The in_features are padded with +0 to whole groups (``padded_features``).

    Attributes
    ----------
    group
        Elements that share an exponent (G).
    mantissa
        Bits of a magnitude (M), 1..16.
    in_features
        Elements of a token, padding left out.
    sign
        ``(tokens, padded_features)``, bool; kept where the magnitude is 0.
    magnitude
        ``(tokens, padded_features)``, uint16 in ``0..2^M-1``.
    exponent
        ``(tokens, groups)``, uint8 in 1..30, biased as in FP16.
    nonfinite
        ``(tokens, groups)``, bool: whether the group held NaN or Inf.
    """

    group: int
    mantissa: int
    in_features: int
    sign: NDArray[np.bool_]
    magnitude: NDArray[np.uint16]
    exponent: NDArray[np.uint8]
    nonfinite: NDArray[np.bool_]

    @property
    def tokens(self) -> int:
        """Rows of the tensor."""
        return self.sign.shape[0]

    @property
    def padded_features(self) -> int:
        """In_features rounded up to whole groups."""
        return self.sign.shape[1]

    @property
    def groups(self) -> int:
        """Groups of a token."""
        return self.exponent.shape[1]

    @property
    def bits_per_element(self) -> float:
        """Bits per element before padding: ``M + 1 + 5/G``."""
        return self.mantissa + 1 + EXPONENT_BITS / self.group

    def scale(self) -> NDArray[np.float64]:
        """What an integer 1 stands for: ``2^(exponent - 15 - (M - 1))``, ``(tokens, groups)``."""
        return np.ldexp(1.0, self.exponent.astype(np.int32) - (BIAS + self.mantissa - 1))

    def integers(self) -> NDArray[np.int32]:
        """Signed magnitudes, ``(tokens, padded_features)``."""
        signed = self.magnitude.astype(np.int32)
        return np.negative(signed, out=signed, where=self.sign)

    def decode(self) -> NDArray[np.float64]:
        """Exact values, ``(tokens, in_features)``; a magnitude 0 gives a zero of its sign."""
        values = self.magnitude * np.repeat(self.scale(), self.group, axis=1)
        np.negative(values, out=values, where=self.sign)
        return np.ascontiguousarray(values[:, : self.in_features])

    def planes(self) -> NDArray[np.bool_]:
        """Bit-plane layout, ``(tokens, groups, 1 + M, group)``.

        Row 0 is the sign word, rows 1..M are the mantissa planes, most significant first.
        """
        magnitude = self.magnitude.reshape(self.tokens, self.groups, self.group)
        planes = np.empty((self.tokens, self.groups, 1 + self.mantissa, self.group), np.bool_)
        planes[:, :, 0] = self.sign.reshape(magnitude.shape)
        for bit in range(self.mantissa):
            planes[:, :, self.mantissa - bit] = magnitude >> bit & 1
        return planes


def check_mantissa(mantissa: int) -> None:
    """Raise :class:`UserError` unless a mantissa has 1..16 bits."""
    if not 1 <= mantissa <= MANTISSA_MAX:
        raise UserError(f"mantissa must be in 1..{MANTISSA_MAX}, got {mantissa}.")


def to_fp16(name: str, x: ArrayLike) -> NDArray[np.float16]:
    """Take activations that the user supplied.

    Parameters
    ----------
    name
        What the matrix is, as it begins the error sentence.
    x
        ``(tokens, in_features)``, floating point, finite; int8 counts as quantised with scale 1.

    Returns
    -------
    ndarray
        ``(tokens, in_features)``, each value rounded once to FP16.

    Raises
    ------
    UserError
        If ``x`` is not such a matrix, or a value overflows FP16.
    """
    check_matrix(name, x)
    given = np.asarray(x)  # float64 must not be rounded twice
    with np.errstate(over="ignore"):
        half = np.ascontiguousarray(given, np.float16)
    infinite = np.isinf(half)
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        raise UserError(
            f"{name} must fit FP16 (at most 65504), got {given[row, column]}"
            f" in row {row}, column {column}."
        )
    return half


def encode(
    format: AndaFormat, mantissa: int, x: NDArray[np.float16], rounding: Rounding = "truncate"
) -> Anda:
    """Align every group to its largest exponent and round.

    NaN and Inf become the largest magnitude, 65504, with their sign.

    Parameters
    ----------
    format
        Parameters of the format.
    mantissa
        Bits of a mantissa (M), 1..16; above 11 the alignment keeps bits below FP16's own.
    x
        ``(tokens, in_features)``, float16, any bit pattern, at least one of each.
    rounding
        How mantissas lose bits.

    Returns
    -------
    Anda

    Raises
    ------
    UserError
        If ``mantissa`` or ``x`` is not as above.
    """
    check_mantissa(mantissa)
    if x.dtype.type is not np.float16 or x.ndim != 2 or x.size == 0:
        raise UserError(
            "x must be 2-D float16 (tokens, in_features) and not empty,"
            f" got {x.dtype.name} of shape {x.shape}."
        )
    bits = _padded(format, x).view(np.uint16)
    size = (bits & 0x7FFF).reshape(len(x), -1, format.group)
    nonfinite: NDArray[np.bool_] = np.any(size > LARGEST, axis=2)
    np.minimum(size, LARGEST, out=size)
    exponent = np.maximum(size >> 10, 1)  # of a subnormal number, 1
    significand = size - ((exponent - 1) << 10)
    largest = exponent.max(axis=2)
    shift = largest[:, :, None] - exponent + max(SIGNIFICAND_BITS - mantissa, 0)
    wide = significand << max(mantissa - SIGNIFICAND_BITS, 0)
    magnitude = wide >> shift  # numpy: 0 for shifts of 16 and more, too
    if rounding == "nearest":
        nearest = np.rint(np.ldexp(wide, -shift.astype(np.int32)))  # exact until rounded to even
        magnitude = np.minimum(nearest, (1 << mantissa) - 1).astype(np.uint16)
    return Anda(
        format.group,
        mantissa,
        x.shape[1],
        sign=bits >= 0x8000,
        magnitude=magnitude.reshape(bits.shape),
        exponent=largest.astype(np.uint8),
        nonfinite=nonfinite,
    )


def _padded(format: AndaFormat, x: NDArray[np.float16]) -> NDArray[np.float16]:
    """A copy in native byte order, padded with +0 to whole groups."""
    tokens, in_features = x.shape
    padded = np.zeros((tokens, in_features + -in_features % format.group), np.float16)
    padded[:, :in_features] = x
    return padded
