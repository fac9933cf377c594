"""Parameters of a core, and how it packs what passes its bus."""

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Parameter
from pydantic import field_validator, model_validator

from ..contract.config import Config
from ..contract.errors import UserError
from ..contract.ports import WORD_BITS, Field, Port

C = TypeVar("C", bound=Config)

HEADER_BITS = {"port": 8, "block": 8, "beats": 16}
"""Fields of a packet's header, the first in the least significant bits."""

SIDES: tuple[Literal["tokens", "outputs"], ...] = ("tokens", "outputs")
"""What blocks of a layer belong to."""

STREAM: tuple[Literal["stream"]] = ("stream",)
"""What all blocks of a unit without layers belong to."""


class ShellConfig(Config, Generic[C]):
    """Parameters that cores around units of all kinds have."""

    unit: C
    """Parameters of the unit."""
    bus_width: Literal[32, 64, 128] = 32
    """Bits of a word of the stream in and out."""
    block_beats: int = Parameter(default=512, ge=2, le=1 << 15)
    """Beats of the longest block, a power of two."""
    depths: dict[str, int] = Parameter(default_factory=dict)
    """The same for single families of ports."""

    def __hash__(self) -> int:
        return hash(self.canonical_json())  # a mapping has no hash of its own

    @field_validator("unit", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        """Parameters of the unit as JSON has them."""
        wanted = cls.model_fields["unit"].annotation
        return wanted(**value) if isinstance(value, dict) and isinstance(wanted, type) else value

    @model_validator(mode="after")
    def _check_depths(self) -> "ShellConfig[C]":
        longest = {"block_beats": self.block_beats}
        longest |= {f"depths.{family}": beats for family, beats in self.depths.items()}
        for name, beats in longest.items():
            if beats < 2 or beats & (beats - 1):
                raise UserError(f"{name} must be a power of two of at least 2, got {beats}.")
        return self

    def blocks(self, side: str) -> int:
        """Blocks that a half of the buffers of a side holds."""
        raise TypeError("a core says what its buffers hold")

    def depth(self, port: Port) -> int:
        """Beats of a port's longest block, a power of two."""
        most = self.block_beats if port.most is None else max(2, port.most)
        return self.depths.get(family(port), min(self.block_beats, 1 << (most - 1).bit_length()))


class CoreConfig(ShellConfig[C], Generic[C]):
    """Parameters of a core that runs layers."""

    token_blocks: int = Parameter(default=4, ge=1, le=256)
    """Blocks of tokens that a half of the buffers holds."""
    output_blocks: int = Parameter(default=4, ge=1, le=256)
    """Blocks of outputs that a half of the buffers holds."""
    result_beats: int = Parameter(default=16, ge=1, le=1 << 12)
    """Most beats of a tile's results, where the unit does not fix their number."""

    def blocks(self, side: str) -> int:
        """Blocks that a half of the buffers of a side holds."""
        return self.token_blocks if side == "tokens" else self.output_blocks

    def tile_beats(self, port: Port) -> int:
        """Most beats of a tile's results."""
        return port.beats or port.most or self.result_beats


def family(port: Port) -> str:
    """Name of the family of ports whose blocks are equally long."""
    return port.family or port.name


# --- packing ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Packing:
    """How beats of a port become bus words.

    A beat takes ``words`` whole words, the least significant first; or, where
    it is at most half as wide as the bus, ``lanes`` beats share a word, each in ``bus / lanes``
    bits. Every block starts with a word of its own.

    Attributes
    ----------
    width, bus
        Bits of a beat and of a word.
    """

    width: int
    bus: int

    @property
    def lanes(self) -> int:
        """Beats that share a word, a power of two."""
        return 1 << max(0, (self.bus // self.width).bit_length() - 1)

    @property
    def words(self) -> int:
        """Words that a beat takes."""
        return -(-self.width // self.bus)

    def size(self, beats: int) -> int:
        """Words of a block."""
        return -(-beats // self.lanes) * self.words

    def pack(self, beats: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Beats of a block, ``(beats, 32-bit words)``, to bus words, ``(words, bus / 32)``."""
        bits = np.unpackbits(np.ascontiguousarray(beats, "<u4").view(np.uint8), axis=1,
                             bitorder="little")[:, : self.width]  # fmt: skip
        room = self.bus * self.words // self.lanes
        padded = np.zeros((-(-len(bits) // self.lanes) * self.lanes, room), np.uint8)
        padded[: len(bits), : self.width] = bits
        packed = np.packbits(padded.reshape(-1, self.bus), axis=1, bitorder="little")
        return packed.view("<u4")


def header(config: ShellConfig, port: int, block: int, beats: int) -> NDArray[np.uint32]:
    """Header of a packet, one bus word."""
    word = np.zeros((1, config.bus_width // WORD_BITS), np.uint32)
    word[0, 0] = (
        port | block << HEADER_BITS["port"] | beats << (HEADER_BITS["port"] + HEADER_BITS["block"])
    )
    return word


def container(width: int) -> int:
    """Bits of an element of results on the bus: 8, 16, 32 or 64."""
    return max(8, 1 << (width - 1).bit_length())


@dataclass(frozen=True)
class ResultPacking:
    """How a row of results becomes bus words: elements widened to whole containers.

    Attributes
    ----------
    port
        The results as they are sent.
    bus
        Bits of a word.
    """

    port: Port
    bus: int

    @property
    def width(self) -> int:
        """Bits of a row with its elements widened."""
        return sum(container(field.width) * (field.count or 1) for field in self.port.fields)

    @property
    def words(self) -> int:
        """Words of a row."""
        return -(-self.width // self.bus)

    @property
    def widened(self) -> Port:
        """The row as the bus has it."""
        fields = tuple(
            Field(field.name, container(field.width), field.meaning, field.signed, field.count)
            for field in self.port.fields
        )
        rest = self.words * self.bus - self.width
        padding = (Field("padding", 8, "0", count=rest // 8),) if rest else ()
        return Port(self.port.name, "out", (*fields, *padding), self.port.meaning)

    def pack(self, rows: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Rows as the port has them to bus words, ``(words, bus / 32)``."""
        values: dict[str, Any] = dict(self.port.unpack(rows))
        wide = self.widened
        for field in wide.fields:
            if field.name == "padding":
                values["padding"] = np.zeros((len(rows), field.count or 0), np.uint8)
        return wide.pack(**values).reshape(-1, self.bus // WORD_BITS)

    def unpack(self, words: NDArray[np.uint32]) -> dict[str, NDArray[np.int64]]:
        """Bus words to the fields of whole rows."""
        rows = words.reshape(-1, self.words * self.bus // WORD_BITS)
        fields = self.widened.unpack(rows)
        return {name: values for name, values in fields.items() if name != "padding"}
