"""Ports and payloads as data: hardware, testbench, drivers and manifest share these declarations.

A payload is a sequence of fields, packed little-endian without gaps: the first field in the least
significant bits, element ``i`` of an array field at bit ``i * width`` of that field. On the host a
beat is ``ceil(width / 32)`` little-endian 32-bit words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .rows import MatrixRows

WORD_BITS = 32

Made = Literal["", "block", "part", "setting", "error", "matrix", "row", "count", "word"]
Belongs = Literal["tokens", "outputs", "results", "stream", "request", "answers"]


@dataclass(frozen=True)
class Field:
    """Field of a payload: ``count`` elements of ``width`` bits, a scalar if ``count`` is None.

    ``made`` says how a core makes the field, which then does not pass its bus: ``block`` is set in
    the final beat of a block, ``part`` also in the final one of every part of it, ``setting`` is a
    register, and ``error`` of an output is kept in a register. Of a request, ``matrix``, ``row``
    and ``count`` say which rows it is for; answers repeat the first two, end each row with
    ``block``, and have its ``word`` there. All fields of a plain stream pass. ``floating``:
    elements are IEEE 754 numbers.
    """

    name: str
    width: int
    meaning: str
    signed: bool = False
    count: int | None = None
    made: Made = ""
    floating: bool = False

    @property
    def bits(self) -> int:
        """Bits the whole field takes."""
        return self.width * (1 if self.count is None else self.count)


@dataclass(frozen=True)
class Port:
    """A valid/ready stream of a unit: name, direction as the unit sees it, payload fields.

    Attributes
    ----------
    belongs
        What beats belong to: blocks of ``tokens`` or of ``outputs``, which tiles share; the
        ``results`` of a tile; a ``request`` or the ``answers`` to it; else a plain ``stream``.
    block
        Whether all blocks of a layer have as many beats (``fixed``), or each its own number.
    family
        Ports of one family have blocks of the same length; by default a port is alone.
    beats
        Beats of a block where the configuration alone says it.
    most
        Most beats of a block where the configuration alone says it.
    asks
        Of requests: the matrices whose rows they are for.
    ahead
        Of requests: how many of them wait for rows at most.
    tiles
        Of results: tiles, one after the other along outputs, that give a block together.
    """

    name: str
    direction: Literal["in", "out"]
    fields: tuple[Field, ...]
    meaning: str
    belongs: Belongs = "stream"
    block: Literal["fixed", "last"] = "fixed"
    family: str = ""
    beats: int | None = None
    most: int | None = None
    asks: tuple[MatrixRows, ...] = ()
    ahead: int = 0
    tiles: int = 1

    @cached_property
    def width(self) -> int:
        """Payload width in bits."""
        return sum(field.bits for field in self.fields)

    @cached_property
    def words(self) -> int:
        """32-bit words of one beat on the host."""
        return -(-self.width // WORD_BITS)

    @cached_property
    def sent(self) -> "Port":
        """The same with the fields alone that pass a core's bus."""
        streams = self.belongs == "stream"
        return replace(self, fields=tuple(f for f in self.fields if streams or not f.made))

    @cached_property
    def scalars(self) -> int:
        """Numbers in one beat: those of array fields count each."""
        return sum(field.count or 1 for field in self.fields)

    def pack(self, **values: ArrayLike) -> NDArray[np.uint32]:
        """Pack one array per field, leading dimension the beats, into ``(beats, words)``."""
        arrays = {name: np.asarray(value) for name, value in values.items()}
        if set(arrays) != {field.name for field in self.fields}:
            raise KeyError(f"port {self.name} has fields {[f.name for f in self.fields]}")
        beats = next(iter(arrays.values())).shape[0]
        bits = np.zeros((beats, self.words * WORD_BITS), np.uint8)
        start = 0
        for field in self.fields:
            column = _to_bits(arrays[field.name], field)
            bits[:, start : start + field.bits] = column.reshape(beats, field.bits)
            start += field.bits
        return np.packbits(bits, axis=1, bitorder="little").view("<u4")

    def unpack(self, words: NDArray[np.uint32]) -> dict[str, NDArray[np.int64]]:
        """Inverse of :meth:`pack`; array fields come back as ``(beats, count)`` int64."""
        raw = np.ascontiguousarray(words, "<u4").view(np.uint8)
        bits = np.unpackbits(raw, axis=1, bitorder="little")
        fields: dict[str, NDArray[np.int64]] = {}
        start = 0
        for field in self.fields:
            fields[field.name] = _from_bits(bits[:, start : start + field.bits], field)
            start += field.bits
        return fields

    def describe(self, words: NDArray[np.uint32]) -> Mapping[str, int | list[int]]:
        """One beat as a readable mapping of field names to values."""
        unpacked = self.unpack(words.reshape(1, -1))
        return {name: value[0].tolist() for name, value in unpacked.items()}


def port_of(declared: tuple[Port, ...], name: str) -> Port:
    """The port of this name."""
    return next(port for port in declared if port.name == name)


def _to_bits(values: NDArray, field: Field) -> NDArray[np.uint8]:
    """Two's-complement bits of each element, least significant first, last axis = bits."""
    low, high = (
        (-(1 << (field.width - 1)), 1 << (field.width - 1))
        if field.signed
        else (0, 1 << field.width)
    )
    if values.size and (int(values.min()) < low or int(values.max()) >= high):
        raise ValueError(
            f"field {field.name} of {field.width} bits cannot hold {values.min()}..{values.max()}"
        )
    if field.width == 1:
        return values.astype(np.uint8)[..., None]
    size = next(size for size in (1, 2, 4, 8) if 8 * size >= field.width)
    raw = np.ascontiguousarray(values.astype(f"<{'i' if field.signed else 'u'}{size}"))[..., None]
    return np.unpackbits(raw.view(np.uint8), axis=-1, bitorder="little")[..., : field.width]


def _from_bits(bits: NDArray[np.uint8], field: Field) -> NDArray[np.int64]:
    """Inverse of :func:`_to_bits` over ``(beats, field.bits)``."""
    count = 1 if field.count is None else field.count
    columns = bits.reshape(-1, count, field.width)
    padded = np.zeros((*columns.shape[:2], 64), np.uint8)
    padded[..., : field.width] = columns
    if field.signed:
        padded[..., field.width :] = columns[..., -1:]
    values = np.packbits(padded, axis=-1, bitorder="little").view("<i8")[..., 0]
    return values[:, 0] if field.count is None else values
