"""Declared prices of what no Liberty file has: memories, and clock gates where a library has none.

A table is a TOML file in ``sim/tech``: the library whose unit it uses and, for every kind of
memory, prices with their source and the memories it suits.
"""

import math
import tomllib
from pathlib import Path

from pydantic import Field

from ...golden.contract.config import Config
from ...golden.contract.errors import UserError
from .memories import Memory

TECH = Path(__file__).parents[1] / "tech"
TRANSISTORS = "transistors"  # what a table of transistor counts has for a library


class Macro(Config):
    """A memory that a vendor's library has."""

    words: int = Field(ge=1)
    """Words."""
    width: int = Field(ge=1)
    """Bits of a word."""
    area: float = Field(gt=0)
    """Its area."""
    access_ns: float = Field(gt=0)
    """From the clock edge to the data."""


class MemoryPrice(Config):
    """What a kind of memory costs, and which memories it suits.

    A memory costs ``fixed + words * word + width * column + bits * (bit + reads * read
    + (writes - 1) * write)``, and ``address`` for every address bit of a clocked read port. One
    with more than ``most_words`` words or ``most_width`` bits a word is made of equal parts.
    """

    kind: str
    """Name of the kind."""
    source: str
    """Where the prices come from."""
    fixed: float = Field(default=0.0, ge=0)
    """Price of a memory of any size."""
    word: float = Field(default=0.0, ge=0)
    """Price of a word, whatever its width."""
    column: float = Field(default=0.0, ge=0)
    """Price of a bit of the width, whatever the words."""
    bit: float = Field(gt=0)
    """Price of a bit."""
    read: float = Field(default=0.0, ge=0)
    """Price of a read port, per bit."""
    write: float = Field(default=0.0, ge=0)
    """Price of a write port beside the first, per bit."""
    address: float = Field(default=0.0, ge=0)
    """Price of a bit of the register that a clocked read port keeps its address in."""
    access_ns: float = Field(default=0.0, ge=0)
    """From the clock edge or the address to the data."""
    access_word_ns: float = Field(default=0.0, ge=0)
    """So much more for every word."""
    least_bits: int = Field(default=0, ge=0)
    """Smallest memory of this kind."""
    most_words: int | None = Field(default=None, ge=1)
    """Most words of a part; any number where it is not given."""
    most_width: int | None = Field(default=None, ge=1)
    """Widest part; any width where it is not given."""
    most_reads: int | None = Field(default=None, ge=1)
    """Most read ports; any number where it is not given."""
    most_writes: int | None = Field(default=None, ge=1)
    """Most write ports; any number where it is not given."""
    synchronous: bool = False
    """Whether every read must be clocked."""
    macro: list[Macro] = Field(default_factory=list)
    """Macros that the prices were fitted to."""

    def suits(self, memory: Memory) -> bool:
        """Whether a memory can be of this kind."""
        return (
            memory.bits >= self.least_bits
            and memory.reads <= (self.most_reads or memory.reads)
            and memory.writes <= (self.most_writes or memory.writes)
            and (memory.synchronous or not self.synchronous)
        )

    def price(self, memory: Memory) -> float:
        """Price of a memory."""
        ports = memory.reads * self.read + (memory.writes - 1) * self.write
        registers = sum(memory.clocked) * memory.address_bits * self.address
        return self.area_of(memory.words, memory.width) + memory.bits * ports + registers

    def area_of(self, words: int, width: int) -> float:
        """Price of words of a width, without what further ports cost."""
        rows = math.ceil(words / (self.most_words or words))
        columns = math.ceil(width / (self.most_width or width))
        around = rows * columns * self.fixed + columns * words * self.word
        return around + rows * width * self.column + words * width * self.bit

    def access_of(self, words: int) -> float:
        """Access time of so many words in ns."""
        return self.access_ns + min(words, self.most_words or words) * self.access_word_ns


class GatePrice(Config):
    """What a clock gate costs in a library that has none."""

    source: str
    """Where the price comes from."""
    area: float = Field(gt=0)
    """Its area."""


class PriceTable(Config):
    """Prices in the unit of one library; the cheapest kind that suits a memory is taken."""

    library: str
    """Name of the library, or ``transistors``."""
    unit: str
    """What the unit of the library is."""
    memory: list[MemoryPrice] = Field(min_length=1)
    """Kinds of memories."""
    clock_gate: GatePrice | None = None
    """Modelled clock gate; None where the library has one, or nobody knows."""

    def kind_of(self, memory: Memory) -> MemoryPrice:
        """Kind that a memory is made of.

        Raises
        ------
        UserError
            No kind suits it.
        """
        kinds = [kind for kind in self.memory if kind.suits(memory)]
        if not kinds:
            raise UserError(
                f"no kind in the memory table for {self.library} suits {memory.name} of "
                f"{memory.module}: {memory}."
            )
        return min(kinds, key=lambda kind: kind.price(memory))


def read_table(path: Path) -> PriceTable:
    """Read a memory table.

    Raises
    ------
    UserError
        The file cannot be read, is not TOML, or is not a memory table.
    """
    try:
        return PriceTable(**tomllib.loads(path.read_text()))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}.") from error
    except UserError as error:
        raise UserError(f"{path} is not a memory table: {error}") from error
    except ValueError as error:  # not TOML, not UTF-8
        raise UserError(f"{path} is not a memory table: {error}.") from error


def find_table(library: str) -> PriceTable | None:
    """Table for a library among those that come with nibbleforge."""
    tables = (read_table(path) for path in sorted(TECH.glob("*.toml")))
    return next((table for table in tables if table.library == library), None)
