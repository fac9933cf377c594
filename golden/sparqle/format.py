"""Hybrid format of SPARQLe: dense LSB nibbles, non-zero MSB nibbles, precision bitmap.

A 2k-bit activation ``q = msb * 2^k + lsb`` is stored as its k-bit LSB half always, and its k-bit
MSB half only if that is not zero, which one bit of a bitmap says. Source: SPARQLe, arXiv
2606.00365. Its public abstract leaves open how negatives are coded, the group size and the rule by
which small values are clipped; for these this module holds our own definition.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator

from ..arithmetic.quantise import Recode, storage_dtype
from ..contract.config import Config
from ..contract.errors import UserError

SCALE_BITS = 32


def _power_of_two(name: str, low: int, high: int) -> AfterValidator:
    """Validator: a power of two in ``low..high``."""

    def check(value: int) -> int:
        if not low <= value <= high or value & (value - 1):
            raise ValueError(f"{name} must be a power of two in {low}..{high}, got {value}.")
        return value

    return AfterValidator(check)


class HybridFormat(Config):
    """Parameters of the hybrid format; our definition where the abstract is silent."""

    k: Literal[2, 4, 8] = 4
    """Bits of each half of an activation."""

    recode: Recode = "balanced"
    """``balanced``: LSBs signed, so that small negatives have no MSBs; ``twos``: LSBs unsigned."""

    group: Annotated[int, _power_of_two("group", 4, 128)] = 64
    """Elements along in_features per bitmap word: 16..128 in use, below for exhaustive tests."""

    lanes: Annotated[int, Field(ge=1)] = 1
    """Sub-streams of values; lane j holds the elements whose index is j modulo lanes."""

    beat: Annotated[int, _power_of_two("beat", 1, 64)] = 8
    """Non-zero MSBs per beat of a values stream."""

    @model_validator(mode="after")
    def _lanes_divide_group(self) -> "HybridFormat":
        if self.group % self.lanes:
            raise ValueError(
                f"lanes must divide group, got {self.lanes} lanes and group {self.group}."
            )
        return self

    @property
    def q_min(self) -> int:
        """Smallest activation of the format."""
        return -(1 << (2 * self.k - 1))

    @property
    def q_max(self) -> int:
        """Largest activation of the format."""
        top = (1 << (2 * self.k - 1)) - 1
        return top - (1 << (self.k - 1)) if self.recode == "balanced" else top

    @property
    def limit(self) -> int:
        """Quantiser limit for k = 2, 4, 8: balanced 5, 119, 32639; twos 7, 127, 32767."""
        return self.q_max

    @property
    def sparse_min(self) -> int:
        """Smallest activation whose MSB half is zero."""
        return -(1 << (self.k - 1)) if self.recode == "balanced" else 0

    @property
    def sparse_max(self) -> int:
        """Largest activation whose MSB half is zero."""
        return self.sparse_min + (1 << self.k) - 1

    @property
    def beat_bytes(self) -> int:
        """Bytes a beat of values takes in memory."""
        return -(-self.beat * self.k // 8)

    @property
    def break_even(self) -> float:
        """Share of zero MSBs above which the format is smaller than 2k bits per element."""
        return 1 / self.k

    def bits_per_activation(self, msb_zero_share: float) -> float:
        """Size law ``2k + 1 - k*s``: bits per element before padding and scales."""
        return 2 * self.k + 1 - self.k * msb_zero_share


@dataclass(frozen=True, eq=False)
class Packed:
    """A tensor in the hybrid format.

    Everything is little-endian: element ``i`` of width ``w`` sits in bits ``[i*w, (i+1)*w)``. The
    in_features are padded with zeros to whole groups (``padded_features``).

    Attributes
    ----------
    format
        Parameters of the format.
    tokens, in_features
        Shape of the tensor.
    lsb
        ``(tokens, padded_features * k / 8)``, uint8: every LSB half.
    bitmap
        ``(tokens, ceil(padded_features / 8))``, uint8: bit i of a token is set iff its
        element i has MSBs.
    values
        ``(beats, beat_bytes)``, uint8: beats of ``beat`` non-zero MSB halves, ascending; unused
        ones are 0.
    first_beat
        ``(tokens * lanes + 1,)``, int64: row of ``values`` with the first beat of stream
        ``token * lanes + lane``; the stream ends before the first beat of the next. A token (and
        lane) without MSBs has no beat.
    """

    format: HybridFormat
    tokens: int
    in_features: int
    lsb: NDArray[np.uint8]
    bitmap: NDArray[np.uint8]
    values: NDArray[np.uint8]
    first_beat: NDArray[np.int64]

    @property
    def padded_features(self) -> int:
        """In_features rounded up to whole groups."""
        return -(-self.in_features // self.format.group) * self.format.group

    @property
    def msb_zero_share(self) -> float:
        """Share s of elements, padding left out, whose MSB half is zero; 0..1."""
        present = int(np.bitwise_count(self.bitmap).sum(dtype=np.int64))
        return 1 - present / (self.tokens * self.in_features)

    @property
    def bits_per_activation(self) -> float:
        """Bits per element before padding and scales: ``2k + 1 - k*s``."""
        return self.format.bits_per_activation(self.msb_zero_share)

    @property
    def bits_per_activation_padded(self) -> float:
        """Bits per element as stored: LSBs, bitmap and values, each with its padding.

        The scales and the table ``first_beat`` are not counted.
        """
        stored = self.lsb.nbytes + self.bitmap.nbytes + self.values.nbytes
        return 8 * stored / (self.tokens * self.in_features)

    @property
    def bits_per_activation_with_scales(self) -> float:
        """:attr:`bits_per_activation_padded` and one fp32 scale per token."""
        return self.bits_per_activation_padded + SCALE_BITS / self.in_features


def split(format: HybridFormat, q: NDArray[np.integer]) -> tuple[NDArray, NDArray[np.int8]]:
    """Split activations into halves, ``q = msb * 2^k + lsb``.

    Parameters
    ----------
    format
        Parameters of the format.
    q
        Integers of any shape in ``q_min..q_max``.

    Returns
    -------
    lsb
        int8 in ``-2^(k-1)..2^(k-1)-1`` (balanced), or uint8 in ``0..2^k-1`` (two's complement).
    msb
        int8 in ``-2^(k-1)..2^(k-1)-1``.

    Raises
    ------
    UserError
        If ``q`` is not integer or out of range.
    """
    q = _in_range(format, q)
    low = _unsigned(format, q)
    lsb = _signed(format, low) if format.recode == "balanced" else low
    msb = (q - lsb.astype(q.dtype)) >> format.k
    return lsb, msb.astype(np.int8, copy=False)


def join(
    format: HybridFormat, lsb: NDArray[np.integer], msb: NDArray[np.integer]
) -> NDArray[np.signedinteger]:
    """Inverse of :func:`split`: int8, or int16 for k = 8."""
    dtype = storage_dtype(format.limit)
    return (msb.astype(dtype) << format.k) + lsb.astype(dtype)


def enhance(
    format: HybridFormat, q: NDArray[np.integer], tau_lo: int, tau_hi: int
) -> NDArray[np.signedinteger]:
    """Raise MSB sparsity: clip values just outside the range without MSBs to that range.

    ``sparse_max + 1 .. sparse_max + tau_hi`` become ``sparse_max``;
    ``sparse_min - tau_lo .. sparse_min - 1`` become ``sparse_min``. Lossless for tau = 0.
    The paper announces such an algorithm; the rule is our definition.

    Parameters
    ----------
    format
        Parameters of the format.
    q
        Integers of any shape in ``q_min..q_max``.
    tau_lo, tau_hi
        Thresholds below and above, >= 0; also the greatest change of a value.

    Returns
    -------
    ndarray
        As ``q``; int8, or int16 for k = 8.

    Raises
    ------
    UserError
        If ``q`` is not integer or out of range, or a threshold is negative.
    """
    if tau_lo < 0 or tau_hi < 0:
        raise UserError(f"tau must not be negative, got tau_lo={tau_lo} and tau_hi={tau_hi}.")
    q = _in_range(format, q)
    low, high = format.sparse_min, format.sparse_max
    near = (q >= low - tau_lo) & (q <= high + tau_hi)
    return np.where(near, np.clip(q, low, high), q)


def encode(format: HybridFormat, q: NDArray[np.integer]) -> Packed:
    """Pack quantised activations.

    Parameters
    ----------
    format
        Parameters of the format.
    q
        ``(tokens, in_features)`` in ``q_min..q_max``, at least one of each.

    Returns
    -------
    Packed

    Raises
    ------
    UserError
        If ``q`` is not such a matrix.
    """
    if q.ndim != 2 or q.size == 0:
        raise UserError(f"q must be 2-D (tokens, in_features) and not empty, got shape {q.shape}.")
    tokens, in_features = q.shape
    lsb, msb = split(format, np.pad(q, ((0, 0), (0, -in_features % format.group))))
    present = msb != 0
    slots, beats = _slots(format, present)
    nibbles = _unsigned(format, _pad_slots(format, _to_streams(format, msb)))[slots]
    return Packed(
        format,
        tokens,
        in_features,
        lsb=_pack_nibbles(format, _unsigned(format, lsb)),
        bitmap=np.packbits(present, axis=1, bitorder="little"),
        values=_pack_nibbles(format, nibbles.reshape(-1, format.beat)),
        first_beat=np.concatenate([[0], np.cumsum(beats)]),
    )


def decode(format: HybridFormat, packed: Packed) -> NDArray[np.signedinteger]:
    """Unpack activations: inverse of :func:`encode`.

    Parameters
    ----------
    format
        Parameters of the format that the receiver is built for.
    packed
        A tensor in that format.

    Returns
    -------
    ndarray
        ``(tokens, in_features)``, int8, or int16 for k = 8.

    Raises
    ------
    UserError
        If ``packed`` has another format, or its values do not match its bitmap.
    """
    if packed.format != format:
        raise UserError(f"packed activations must have format {format}, got {packed.format}.")
    present = masks(packed).reshape(packed.tokens, packed.padded_features)
    slots, beats = _slots(format, present)
    if beats.sum() != len(packed.values):
        raise UserError(
            f"the bitmap asks for {beats.sum()} beats of values, got {len(packed.values)}."
        )
    streams = np.zeros(slots.shape, np.int8)
    streams[slots] = _signed(format, value_nibbles(packed).reshape(-1))
    msb = _from_streams(format, streams[:, : slots.shape[1] - (format.beat - 1)])
    low = _unpack_nibbles(format, packed.lsb, packed.padded_features)
    lsb = _signed(format, low) if format.recode == "balanced" else low
    return np.ascontiguousarray(join(format, lsb, msb)[:, : packed.in_features])


def masks(packed: Packed) -> NDArray[np.bool_]:
    """Where MSBs are not zero: ``(tokens, groups, group)``, padding False."""
    bits = np.unpackbits(packed.bitmap, axis=1, count=packed.padded_features, bitorder="little")
    return bits.view(np.bool_).reshape(packed.tokens, -1, packed.format.group)


def value_nibbles(packed: Packed) -> NDArray[np.uint8]:
    """Non-zero MSBs as unsigned k-bit patterns: ``(beats, beat)``, unused ones 0."""
    return _unpack_nibbles(packed.format, packed.values, packed.format.beat)


def _in_range(format: HybridFormat, q: NDArray[np.integer]) -> NDArray[np.signedinteger]:
    """``q`` in the narrowest integer type, after a check of its range."""
    if not np.issubdtype(q.dtype, np.integer):
        raise UserError(f"q must be integer, got {q.dtype.name}.")
    if q.size and (q.min() < format.q_min or q.max() > format.q_max):
        raise UserError(
            f"q must be in {format.q_min}..{format.q_max} for recode={format.recode} and"
            f" k={format.k}, got {q.min()}..{q.max()}."
        )
    return q.astype(storage_dtype(format.limit), copy=False)


def _unsigned(format: HybridFormat, values: NDArray[np.integer]) -> NDArray[np.uint8]:
    """The low k bits of each value."""
    return values.astype(np.uint8) & np.uint8((1 << format.k) - 1)


def _signed(format: HybridFormat, nibbles: NDArray[np.uint8]) -> NDArray[np.int8]:
    """k-bit patterns read as two's complement."""
    unused = 8 - format.k
    return (nibbles << unused).view(np.int8) >> unused


def _to_streams(format: HybridFormat, elements: NDArray) -> NDArray:
    """``(tokens, features)`` to ``(tokens * lanes, features / lanes)``, lane = index mod lanes."""
    tokens, features = elements.shape
    by_lane = elements.reshape(tokens, features // format.lanes, format.lanes).swapaxes(1, 2)
    return by_lane.reshape(tokens * format.lanes, features // format.lanes)


def _from_streams(format: HybridFormat, streams: NDArray) -> NDArray:
    """Inverse of :func:`_to_streams`."""
    rows, per_lane = streams.shape
    by_token = streams.reshape(rows // format.lanes, format.lanes, per_lane).swapaxes(1, 2)
    return by_token.reshape(rows // format.lanes, per_lane * format.lanes)


def _pad_slots(format: HybridFormat, streams: NDArray) -> NDArray:
    """Append to each stream as many zeros as its last beat may need."""
    return np.pad(streams, ((0, 0), (0, format.beat - 1)))


def _slots(
    format: HybridFormat, present: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which elements of the padded streams are stored, in order, and the beats of each stream.

    Selecting also as many of the appended zeros as fill a stream's last beat makes every stream
    whole beats, so one boolean index packs (or unpacks) all of them.
    """
    slots = _pad_slots(format, _to_streams(format, present))
    counts = np.count_nonzero(slots, axis=1)
    fill = np.arange(format.beat - 1) < (-counts % format.beat)[:, None]
    slots[:, slots.shape[1] - (format.beat - 1) :] = fill
    return slots, -(-counts // format.beat)


def _pack_nibbles(format: HybridFormat, nibbles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack k-bit patterns along the last axis, little-endian, rows to whole bytes."""
    per_byte = 8 // format.k
    short = -nibbles.shape[1] % per_byte
    full = np.pad(nibbles, ((0, 0), (0, short))) if short else nibbles
    packed = full[:, ::per_byte].copy()
    for i in range(1, per_byte):
        packed |= full[:, i::per_byte] << (i * format.k)
    return packed


def _unpack_nibbles(
    format: HybridFormat, packed: NDArray[np.uint8], count: int
) -> NDArray[np.uint8]:
    """Inverse of :func:`_pack_nibbles`: ``count`` patterns a row."""
    per_byte = 8 // format.k
    nibbles = np.empty((*packed.shape, per_byte), np.uint8)
    for i in range(per_byte):
        nibbles[..., i] = packed >> (i * format.k)
    nibbles &= np.uint8((1 << format.k) - 1)
    return nibbles.reshape(len(packed), packed.shape[1] * per_byte)[:, :count]
