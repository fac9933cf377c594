"""N:M structured-sparse INT4 weights: of every ``m`` weights along in_features, ``n`` are stored.

A block of ``m`` weights becomes ``n`` slots: a value and where in the block it stands. Block bits:
value j at bit 4j, slots in ascending index; then at ``4 * n`` either ``n`` indices of log2(m) bits
or a bitmap of ``m`` bits with exactly ``n`` ones; ``n = m`` stores neither. Blocks follow each
other without gaps, each row is zero-padded to whole beats, and scales are a stream of their own.
Relatives: VEGETA, arXiv 2302.08687; arXiv 2512.24713 (withdrawn). The layout is our definition.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arithmetic.quantise import (
    INT4_BITS,
    INT4_MAX,
    INT4_MIN,
    QuantisedWeights,
    check_matrix,
    quantise_weights,
)
from ..contract.errors import UserError
from .pattern import Pattern, check_group

_BITS_AT_ONCE = 1 << 24  # of a stream, a byte each: bounds the temporary arrays


class Slots(NamedTuple):
    """What is stored of a sparse matrix, before packing.

    Attributes
    ----------
    values
        ``(out_features, blocks, n)``, int8 in [-8, 7].
    indices
        ``(out_features, blocks, n)``, uint8, ascending within a block. In a short last block they
        may point at padding; the value is 0 there.
    """

    values: NDArray[np.int8]
    indices: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class SparseWeights:
    """Pruned INT4 weights with FP16 scales, as a dense matrix.

    Attributes
    ----------
    weights
        The integers, 0 where pruned, and their scales.
    keep
        ``(out_features, in_features)``, bool: which weights survive. One may be 0 all the same.
    """

    weights: QuantisedWeights
    keep: NDArray[np.bool_]


def quantise_sparse(w: ArrayLike, keep_mask: ArrayLike, group: int = 128) -> SparseWeights:
    """Quantise the weights that survive pruning to symmetric INT4.

    ``scale = fp16(max |survivor| / 7)``, ``q = clip(rint(w / scale), -7, 7)`` in fp32; scale 0
    gives q = 0. Pruned weights are 0 and so leave the scale of their group as it is.

    Parameters
    ----------
    w
        ``(out_features, in_features)``, floating point, finite, where pruned too.
    keep_mask
        ``(out_features, in_features)``, bool: which weights survive.
    group
        Input features that share a scale: 32, 64 or 128, pruned ones counted.

    Raises
    ------
    UserError
        If an argument is not as above, or a scale overflows FP16.
    """
    check_group(group)
    floats = check_matrix("weights", w)
    keep = _check_mask(keep_mask, floats.shape)
    survivors = np.where(keep, floats, floats.dtype.type(0))
    return SparseWeights(quantise_weights(survivors, "group", group), keep)


def slots(q: NDArray[np.int8], keep: NDArray[np.bool_], pattern: Pattern) -> Slots:
    """Gather what survives of every block.

    Parameters
    ----------
    q
        ``(out_features, in_features)``, int8.
    keep
        ``(out_features, in_features)``, bool: at most ``n`` of every ``m``, padding not counted.
        Where a block keeps fewer, its lowest other places fill the slots, with value 0.
    pattern
        ``n`` and ``m``.

    Raises
    ------
    UserError
        If a block keeps more than ``n``, or ``keep`` is not as above.
    """
    _check_mask(keep, q.shape)
    rows, blocks = len(q), pattern.blocks(q.shape[1])
    values = np.empty((rows, blocks, pattern.n), np.int8)
    indices = np.empty((rows, blocks, pattern.n), np.uint8)
    for part in _parts(rows, blocks * pattern.m * 8):  # numpy indexes with 8 bytes
        kept = _blocked(keep[part], pattern)
        _check_counts(kept, pattern, part.start)
        indices[part] = _places(pattern)[_codes(kept)]
        survivors = np.where(kept, _blocked(q[part], pattern), np.int8(0))
        values[part] = np.take_along_axis(survivors, indices[part], axis=2)
    return Slots(values, indices)


def dense(
    values: NDArray[np.int8], indices: NDArray[np.uint8], pattern: Pattern, in_features: int
) -> NDArray[np.int8]:
    """The dense matrix ``(out_features, in_features)`` int8 that slots stand for.

    Raises
    ------
    UserError
        If the slots are illegal, see :class:`Slots`, or not as many as ``in_features`` need.
    """
    _check_slots(values, indices, pattern)
    rows, blocks = values.shape[:2]
    if blocks != pattern.blocks(in_features):
        raise UserError(
            f"{in_features} in_features at {pattern} take {pattern.blocks(in_features)} blocks,"
            f" got {blocks}."
        )
    q = np.zeros((rows, blocks, pattern.m), np.int8)
    for part in _parts(rows, blocks * pattern.n * 8):
        _check_padding(values[part], indices[part], pattern, in_features, part.start)
        np.put_along_axis(q[part], indices[part], values[part], axis=2)
    return np.ascontiguousarray(q.reshape(rows, -1)[:, :in_features])


# --- the packed stream ------------------------------------------------------------------------


def pack(
    values: NDArray[np.int8], indices: NDArray[np.uint8], pattern: Pattern, beat_bits: int
) -> NDArray[np.uint8]:
    """Pack slots into the stream a unit reads.

    Parameters
    ----------
    values, indices
        ``(out_features, blocks, n)``, see :class:`Slots`.
    pattern
        ``n``, ``m`` and the encoding of places.
    beat_bits
        Bits of a beat, a multiple of 8.

    Returns
    -------
    ndarray
        ``(out_features, bytes)``, uint8, each row whole beats; bit i of a row is bit i % 8 of its
        byte i // 8.

    Raises
    ------
    UserError
        If an argument is not as above.
    """
    _check_slots(values, indices, pattern)
    rows, blocks = values.shape[:2]
    packed = np.zeros((rows, pattern.row_bytes(blocks * pattern.m, beat_bits)), np.uint8)
    for part in _parts(rows, blocks * pattern.block_bits):
        bits = _bits(values[part].view(np.uint8), INT4_BITS)
        if pattern.metadata == "index":
            bits = np.concatenate([bits, _bits(indices[part], pattern.index_bits)], axis=2)
        elif pattern.metadata == "bitmap":
            codes = np.bitwise_or.reduce(np.left_shift(np.uint16(1), indices[part]), axis=2)
            bits = np.concatenate([bits, _bits_of_codes(codes, pattern)], axis=2)
        stream = np.packbits(bits.reshape(len(bits), -1), axis=1, bitorder="little")
        packed[part, : stream.shape[1]] = stream
    return packed


def unpack(stream: NDArray[np.uint8], pattern: Pattern, beat_bits: int, in_features: int) -> Slots:
    """Take a packed stream apart; the inverse of :func:`pack`.

    Parameters
    ----------
    stream
        ``(out_features, bytes)``, uint8.
    pattern, beat_bits
        As it was packed.
    in_features
        Columns of the dense matrix.

    Raises
    ------
    UserError
        If rows are of another length, indices do not ascend, a bitmap has not exactly ``n`` ones, a
        slot that points at padding is not 0, or what fills the last beat is not 0.
    """
    _check_stream(stream, pattern, beat_bits, in_features)
    rows, blocks = len(stream), pattern.blocks(in_features)
    values = np.empty((rows, blocks, pattern.n), np.int8)
    indices = np.empty((rows, blocks, pattern.n), np.uint8)
    for part in _parts(rows, stream.shape[1] * 8):
        everything = np.unpackbits(stream[part], axis=1, bitorder="little")
        _check_zeros(everything[:, blocks * pattern.block_bits :], pattern, blocks, part.start)
        bits = everything[:, : blocks * pattern.block_bits].reshape(-1, blocks, pattern.block_bits)
        nibbles = _numbers(bits[:, :, : INT4_BITS * pattern.n], INT4_BITS)
        values[part] = (nibbles ^ np.uint8(8)).view(np.int8) - np.int8(8)  # sign extension
        indices[part] = _read_places(bits[:, :, INT4_BITS * pattern.n :], pattern, part.start)
        _check_padding(values[part], indices[part], pattern, in_features, part.start)
    return Slots(values, indices)


def _read_places(bits: NDArray[np.uint8], pattern: Pattern, first: int) -> NDArray[np.uint8]:
    """Checked indices out of the metadata bits ``(rows, blocks, bits)``; ``first`` row is named."""
    if pattern.metadata == "none":
        return np.broadcast_to(np.arange(pattern.m, dtype=np.uint8), (*bits.shape[:2], pattern.m))
    if pattern.metadata == "index":
        indices = _numbers(bits, pattern.index_bits)
        _check_ascending(indices, first)
        return indices
    ones = bits.sum(axis=2, dtype=np.uint8)
    wrong = ones != pattern.n
    if wrong.any():
        row, block = np.argwhere(wrong)[0]
        raise UserError(
            f"the bitmap of row {row + first}, block {block} must have exactly {pattern.n} ones,"
            f" got {ones[row, block]}."
        )
    return _places(pattern)[_codes(bits)]


# --- bits -------------------------------------------------------------------------------------


def _parts(rows: int, bits: int) -> Iterator[slice]:
    """Slices of rows that are worked on at a time, by the bits of a row."""
    step = max(1, _BITS_AT_ONCE // max(1, bits))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _blocked(matrix: NDArray, pattern: Pattern) -> NDArray:
    """``(rows, blocks, m)``, padded with 0."""
    short = -matrix.shape[1] % pattern.m
    full = np.pad(matrix, ((0, 0), (0, short))) if short else matrix
    return full.reshape(len(matrix), -1, pattern.m)


def _bits(numbers: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """The low bits of ``(rows, blocks, n)``, the least first: ``(rows, blocks, n * width)``."""
    every = np.arange(1 << width, dtype=np.uint8)[:, None]
    table = np.unpackbits(every, axis=1, count=width, bitorder="little")
    return table[numbers & np.uint8(len(table) - 1)].reshape(*numbers.shape[:2], -1)


def _numbers(bits: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Inverse of :func:`_bits`."""
    fields = bits.reshape(*bits.shape[:2], -1, width)
    numbers = fields[..., 0].copy()
    for bit in range(1, width):
        numbers |= fields[..., bit] << np.uint8(bit)
    return numbers


def _codes(ones: NDArray) -> NDArray[np.uint16]:
    """Bitmaps ``(rows, blocks, m)`` as numbers ``(rows, blocks)``, place i in bit i."""
    codes = np.zeros(ones.shape[:2], np.uint16)
    for place in range(ones.shape[2]):
        codes |= ones[:, :, place].astype(np.uint16) << np.uint16(place)
    return codes


def _bits_of_codes(codes: NDArray[np.uint16], pattern: Pattern) -> NDArray[np.uint8]:
    """Inverse of :func:`_codes`."""
    octets = np.ascontiguousarray(codes).astype("<u2").view(np.uint8).reshape(*codes.shape, 2)
    return np.unpackbits(octets, axis=2, count=pattern.m, bitorder="little")


@cache
def _places(pattern: Pattern) -> NDArray[np.uint8]:
    """For every bitmap as a number the ``n`` places, ``(2^m, n)``.

    With fewer ones than ``n``, the lowest zeros are taken as well; with more, the highest ones are
    not.
    """
    codes = np.arange(1 << pattern.m)[:, None]
    zeros = codes >> np.arange(pattern.m) & 1 ^ 1
    first = np.argsort(zeros, axis=1, kind="stable")[:, : pattern.n]
    return np.sort(first, axis=1).astype(np.uint8)


# --- checks -----------------------------------------------------------------------------------


def _check_mask(keep_mask: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    keep = np.asarray(keep_mask)
    if keep.dtype != np.bool_ or keep.shape != shape:
        raise UserError(
            f"the mask must be bool of shape {shape}, got {keep.dtype.name} of shape {keep.shape}."
        )
    return keep


def _check_counts(kept: NDArray[np.bool_], pattern: Pattern, first: int) -> None:
    counts = kept.sum(axis=2, dtype=np.uint8)
    if counts.max() > pattern.n:
        row, block = np.argwhere(counts > pattern.n)[0]
        raise UserError(
            f"row {row + first}, block {block} must keep at most {pattern.n} of {pattern.m}"
            f" weights, got {counts[row, block]}."
        )


def _check_slots(values: NDArray[np.int8], indices: NDArray[np.uint8], pattern: Pattern) -> None:
    """Refuse slots that no block can hold."""
    for name, array, dtype in (("values", values, np.int8), ("indices", indices, np.uint8)):
        if array.dtype != dtype or array.ndim != 3 or array.shape[2] != pattern.n or not array.size:
            raise UserError(
                f"{name} must be {np.dtype(dtype).name} (out_features, blocks, {pattern.n}),"
                f" not empty, got {array.dtype.name} {array.shape}."
            )
    if values.shape != indices.shape:
        raise UserError(f"values have shape {values.shape}, but indices {indices.shape}.")
    _check_range("values", values, INT4_MIN, INT4_MAX)
    _check_range("indices", indices, 0, pattern.m - 1)
    _check_ascending(indices, 0)


def _check_range(name: str, array: NDArray, low: int, high: int) -> None:
    if array.min() < low or array.max() > high:
        row, block, slot = np.argwhere((array < low) | (array > high))[0]
        raise UserError(
            f"{name} of row {row}, block {block} must be in {low}..{high},"
            f" got {array[row, block, slot]}."
        )


def _check_ascending(indices: NDArray[np.uint8], first: int) -> None:
    disordered = indices[:, :, 1:] <= indices[:, :, :-1]
    if disordered.any():
        row, block, _ = np.argwhere(disordered)[0]
        raise UserError(
            f"indices of row {row + first}, block {block} must ascend,"
            f" got {indices[row, block].tolist()}."
        )


def _check_padding(
    values: NDArray[np.int8],
    indices: NDArray[np.uint8],
    pattern: Pattern,
    in_features: int,
    first: int,
) -> None:
    """Refuse a value that stands beyond the last input feature."""
    real = in_features - (values.shape[1] - 1) * pattern.m  # places of the last block
    wrong = (indices[:, -1] >= real) & (values[:, -1] != 0)
    if wrong.any():
        row, slot = np.argwhere(wrong)[0]
        raise UserError(
            f"row {row + first}, block {values.shape[1] - 1} must hold 0 where it points at"
            f" padding, got {values[row, -1, slot]} at index {indices[row, -1, slot]}."
        )


def _check_stream(
    stream: NDArray[np.uint8], pattern: Pattern, beat_bits: int, in_features: int
) -> None:
    if in_features < 1:
        raise UserError(f"in_features must be at least 1, got {in_features}.")
    length = pattern.row_bytes(in_features, beat_bits)
    if stream.dtype != np.uint8 or stream.ndim != 2 or not len(stream):
        raise UserError(
            f"a packed stream must be uint8 (out_features, bytes), not empty,"
            f" got {stream.dtype.name} {stream.shape}."
        )
    if stream.shape[1] != length:
        raise UserError(
            f"a packed row of {in_features} in_features at {pattern} must have {length} bytes,"
            f" got {stream.shape[1]}."
        )


def _check_zeros(bits: NDArray[np.uint8], pattern: Pattern, blocks: int, first: int) -> None:
    """Refuse ones after the last block of a row."""
    if bits.any():
        row, bit = np.argwhere(bits)[0]
        raise UserError(
            f"row {row + first} must hold only zeros after block {blocks - 1},"
            f" got a one in bit {blocks * pattern.block_bits + bit}."
        )
