"""Rows in memory: what a core needs to fetch them, and how they lie there.

Row i of a matrix is at ``base + i * stride``: its beats, each filled up to a beat of memory, and
then a beat with its word.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Parameter

from ..contract.config import Config
from ..contract.errors import UserError
from ..contract.events import Event
from ..contract.ports import WORD_BITS, Field, Port
from .config import CoreConfig, ShellConfig, family

C = TypeVar("C", bound=Config)

LENGTH_BITS = 8
"""Bits of a burst's length in AXI."""

WIDEST = 1024
"""Most bits of a beat in AXI."""

PAGE = 4096
"""Bytes that a burst of AXI does not leave."""

_AT_ONCE = 1 << 16  # beats unpacked at a time: bounds the temporary arrays


class FetchingConfig(CoreConfig[C], Generic[C]):
    """Parameters of a core around a unit that asks for rows."""

    address_bits: int = Parameter(default=32, ge=16, le=64)
    """Bits of a byte address of the memory with the rows."""
    burst: int = Parameter(default=64, ge=1, le=256)
    """Most beats of a burst."""
    rows_ahead: int = Parameter(default=16, ge=1, le=256)
    """Rows that are asked for ahead."""


def config_around(unit: type[Config], *, fetches: bool = False) -> type[CoreConfig]:
    """The configuration of cores around units with such parameters, which may ask for rows."""
    if fetches:
        return FetchingConfig[unit]  # type: ignore[valid-type]
    return CoreConfig[unit]  # type: ignore[valid-type]


@dataclass(frozen=True)
class Rows:
    """What a unit declares of the rows that it asks for.

    Attributes
    ----------
    request, answers
        Its ports.
    """

    request: Port
    answers: Port

    @classmethod
    def of(cls, ports: tuple[Port, ...]) -> Self | None:
        """Of a unit with these ports, if it asks for rows."""
        request = [port for port in ports if port.belongs == "request"]
        answers = [port for port in ports if port.belongs == "answers"]
        return cls(*request, *answers) if request and answers else None

    @property
    def supported(self) -> bool:
        """Whether all is declared that a core needs to know."""
        asked = {field.made for field in self.request.fields}
        given = {field.made for field in self.answers.fields}
        whole = asked == {"matrix", "row", "count"}
        return whole and given == {"", "matrix", "row", "block", "word"} and bool(self.request.asks)

    @property
    def word_bits(self) -> int:
        """Bits of a row's word."""
        return next(field.width for field in self.answers.fields if field.made == "word")

    @property
    def element_bits(self) -> int:
        """Bits of a beat of a row."""
        return self.answers.sent.width

    @property
    def data_bits(self) -> int:
        """Bits of a beat of memory: a power of two."""
        return max(WORD_BITS, 1 << (max(self.element_bits, self.word_bits) - 1).bit_length())

    @property
    def beat_bytes(self) -> int:
        """Bytes of a beat of memory."""
        return self.data_bits // 8

    @property
    def most_beats(self) -> int:
        """Beats of memory of the longest row, that of its word included."""
        return max(matrix.most for matrix in self.request.asks) + 1

    @cached_property
    def families(self) -> dict[str, int]:
        """Families of equally long rows, and the beats of the longest one."""
        longest: dict[str, int] = {}
        for matrix in self.request.asks:
            longest[matrix.family] = max(matrix.most, longest.get(matrix.family, 0))
        return longest


def fetching(config: ShellConfig, ports: tuple[Port, ...]) -> tuple[FetchingConfig, Rows] | None:
    """The core as one that fetches rows for a unit with these ports, and these rows, if it does.

    Raises
    ------
    UserError
        The rows are wider than AXI.
    """
    rows = Rows.of(ports)
    if rows is None or not isinstance(config, FetchingConfig):
        return None
    if rows.data_bits > WIDEST:
        raise UserError(
            f"a beat of rows must have at most {WIDEST} bits, as in AXI, got {rows.element_bits}."
        )
    return config, rows


# --- what follows from the declaration --------------------------------------------------------


def memory_ports(config: FetchingConfig, rows: Rows) -> tuple[Port, Port]:
    """Channels of the AXI4 master: addresses of bursts, and their beats."""
    ar = (
        Field("addr", config.address_bits, "address in bytes"),
        Field("len", LENGTH_BITS, "beats but one"),
    )
    r = (
        Field("data", WORD_BITS, "a beat of memory", count=rows.data_bits // WORD_BITS),
        Field("resp", 2, "0 done, else an error"),
        Field("last", 1, "final beat of the burst"),
    )
    return (
        Port("m_axi_ar", "out", ar, "bursts asked for"),
        Port("m_axi_r", "in", r, "beats of bursts"),
    )


MEMORY_EVENTS = (
    Event("bursts", "work", "bursts asked of memory"),
    Event("memory_beats", "work", "beats taken from memory"),
    Event("stall_memory", "time", "cycles that a row is awaited and memory gives no beat"),
)
"""Events of a core that fetches rows."""


def memory_settings(
    config: FetchingConfig, rows: Rows, ports: tuple[Port, ...]
) -> Iterator[tuple[str, int, str]]:
    """Name, bits and meaning of the registers that say where rows are, and how long.

    ``ports`` are those of blocks, whose lengths are registers already.
    """
    known = {family(port) for port in ports}
    for name, most in rows.families.items():
        if name not in known:
            yield f"{name}_beats", most.bit_length(), f"beats of a row of {name}, at least 1"
    low = min(config.address_bits, WORD_BITS)
    for matrix in rows.request.asks:
        yield f"{matrix.name}_base", low, f"address of row 0 of {matrix.name} in bytes"
        if config.address_bits > low:
            name = f"{matrix.name}_base_high"
            yield name, config.address_bits - low, f"bits from {low} on of that address"
        yield f"{matrix.name}_stride", low, f"bytes from a row of {matrix.name} to the next"


# --- an image of memory -----------------------------------------------------------------------


@dataclass(frozen=True)
class Image:
    """All rows as they lie in memory, from an address on that is a multiple of a beat.

    Attributes
    ----------
    content
        ``(bytes,)``.
    beat_bytes
        Bytes of a beat of memory.
    base
        Matrix to the offset of its row 0, in bytes.
    stride
        Matrix to the bytes from a row to the next.
    beats
        Family to the beats of its rows.
    """

    content: NDArray[np.uint8]
    beat_bytes: int
    base: dict[str, int]
    stride: dict[str, int]
    beats: dict[str, int]

    @classmethod
    def of(cls, rows: Rows, words: NDArray[np.uint32]) -> Self:
        """Lay out rows.

        Parameters
        ----------
        rows
            What is declared of them.
        words
            Beats of all rows as the port of answers has them, in any order of rows.
        """
        size = rows.beat_bytes
        taken = [_Taken.of(rows, part) for part in _parts(words)]
        found = _Taken(*(np.concatenate(column) for column in zip(*taken, strict=True)))
        ends = np.flatnonzero(found.last)
        lengths = np.diff(ends, prepend=-1)
        place = np.arange(len(words)) - np.repeat(ends - lengths + 1, lengths)
        beats = np.zeros(len(words), np.int64)
        base: dict[str, int] = {}
        stride: dict[str, int] = {}
        longest: dict[str, int] = {}
        total = 0
        for matrix in rows.request.asks:
            mine = found.matrix == matrix.code
            length = int(lengths[found.matrix[ends] == matrix.code].max(initial=1))
            base[matrix.name], stride[matrix.name] = total * size, (length + 1) * size
            longest[matrix.family] = max(length, longest.get(matrix.family, 0))
            beats[mine] = total + found.row[mine] * (length + 1) + place[mine]
            total += (int(found.row[mine].max(initial=-1)) + 1) * (length + 1)
        content = np.zeros((total, size), np.uint8)
        content[beats] = found.elements
        content[beats[ends] + 1, : found.word.shape[1]] = found.word[ends]
        return cls(content.ravel(), size, base, stride, longest)

    def settings(self, config: FetchingConfig, address: int) -> dict[str, int]:
        """Registers where the image begins at an address.

        Raises
        ------
        UserError
            It does not lie in memory as a whole, or between beats.
        """
        if address % self.beat_bytes:
            raise UserError(
                f"rows must begin at a multiple of {self.beat_bytes} bytes, got {address:#x}."
            )
        if address < 0 or address + len(self.content) > 1 << config.address_bits:
            raise UserError(
                f"rows of {len(self.content)} bytes from address {address:#x} on do not fit "
                f"addresses of {config.address_bits} bits."
            )
        found = {f"{name}_beats": beats for name, beats in self.beats.items()}
        for name, offset in self.base.items():
            high, low = divmod(address + offset, 1 << WORD_BITS)
            found |= {f"{name}_base": low, f"{name}_stride": self.stride[name]}
            if config.address_bits > WORD_BITS:
                found[f"{name}_base_high"] = high
        return found


@dataclass(frozen=True)
class _Taken:
    """Beats of rows taken apart: bytes of elements and of the word, and three numbers."""

    elements: NDArray[np.uint8]
    word: NDArray[np.uint8]
    matrix: NDArray[np.int64]
    row: NDArray[np.int64]
    last: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Rows, words: NDArray[np.uint32]) -> Self:
        """Of beats of the port of answers."""
        raw = np.ascontiguousarray(words, "<u4").view(np.uint8)
        bits = np.unpackbits(raw, axis=1, bitorder="little")
        columns: dict[str, list[NDArray[np.uint8]]] = {}
        start = 0
        for field in rows.answers.fields:
            columns.setdefault(field.made, []).append(bits[:, start : start + field.bits])
            start += field.bits
        elements = np.zeros((len(words), rows.data_bits), np.uint8)
        elements[:, : rows.element_bits] = np.concatenate(columns[""], axis=1)
        numbers = (_numbers(columns[made][0]) for made in ("matrix", "row", "block"))
        return cls(_bytes(elements), _bytes(columns["word"][0]), *numbers)

    def __iter__(self) -> Iterator[NDArray]:
        return iter((self.elements, self.word, self.matrix, self.row, self.last))


def _parts(words: NDArray[np.uint32]) -> Iterator[NDArray[np.uint32]]:
    return (words[first : first + _AT_ONCE] for first in range(0, len(words), _AT_ONCE))


def _bytes(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.packbits(bits, axis=1, bitorder="little")


def _numbers(bits: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Unsigned integers of their bits."""
    return bits.astype(np.int64) @ (1 << np.arange(bits.shape[1]))
