"""Memories of a design: found in its netlist, kept out of synthesis, priced from a declared table.

A table is a TOML file in ``sim/tech``: the library whose unit it uses and, for every kind of
memory, prices with their source and the memories it suits.
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field

from ...golden.contract.config import Config
from ...golden.contract.errors import UserError

Pricing = Literal["table", "registers"]
PRICINGS: tuple[Pricing, ...] = get_args(Pricing)

TECH = Path(__file__).parents[1] / "tech"
TRANSISTORS = "transistors"  # what a table of transistor counts has for a library
BOX = "nibbleforge_memory_"  # prefix of the modules that stand for memories


class MemoryPrice(Config):
    """What a kind of memory costs, and which memories it suits.

    A memory costs ``fixed + bits * (bit + reads * read + (writes - 1) * write)``, and ``address``
    for every address bit of a clocked read port.
    """

    kind: str
    """Name of the kind."""
    source: str
    """Where the prices come from."""
    fixed: float = Field(default=0.0, ge=0)
    """Price of a memory of any size."""
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
    least_bits: int = Field(default=0, ge=0)
    """Smallest memory of this kind."""
    most_reads: int | None = Field(default=None, ge=1)
    """Most read ports; any number where it is not given."""
    most_writes: int | None = Field(default=None, ge=1)
    """Most write ports; any number where it is not given."""
    synchronous: bool = False
    """Whether every read must be clocked."""

    def suits(self, memory: "Memory") -> bool:
        """Whether a memory can be of this kind."""
        return (
            memory.bits >= self.least_bits
            and memory.reads <= (self.most_reads or memory.reads)
            and memory.writes <= (self.most_writes or memory.writes)
            and (memory.synchronous or not self.synchronous)
        )

    def price(self, memory: "Memory") -> float:
        """Price of a memory."""
        ports = memory.reads * self.read + (memory.writes - 1) * self.write
        registers = sum(memory.clocked) * memory.address_bits * self.address
        return self.fixed + memory.bits * (self.bit + ports) + registers


class MemoryTable(Config):
    """Prices in the unit of one library; the first kind that suits a memory is taken."""

    library: str
    """Name of the library, or ``transistors``."""
    unit: str
    """What the unit of the library is."""
    memory: list[MemoryPrice] = Field(min_length=1)
    """Kinds of memories."""

    def kind_of(self, memory: "Memory") -> MemoryPrice:
        """Entry that applies to a memory.

        Raises
        ------
        UserError
            No kind suits it.
        """
        for entry in self.memory:
            if entry.suits(memory):
                return entry
        raise UserError(
            f"no kind in the memory table for {self.library} suits {memory.name} of "
            f"{memory.module}: {memory}."
        )


@dataclass(frozen=True)
class Memory:
    """A memory in one module of a design.

    Attributes
    ----------
    box
        Name of the module that stands for it.
    module, name
        Module it is in, and its name there.
    words, width
        Size.
    clocked
        For every read port, whether it is clocked.
    writes
        Write ports.
    address_bits
        Width of an address.
    """

    box: str
    module: str
    name: str
    words: int
    width: int
    clocked: tuple[bool, ...]
    writes: int
    address_bits: int

    @property
    def bits(self) -> int:
        """Capacity."""
        return self.words * self.width

    @property
    def reads(self) -> int:
        """Read ports."""
        return len(self.clocked)

    @property
    def synchronous(self) -> bool:
        """Whether every read is clocked."""
        return all(self.clocked)

    def __str__(self) -> str:
        clocking = "clocked" if self.synchronous else "unclocked"
        ports = f"{self.reads} {clocking} read, {self.writes} write ports"
        return f"{self.words} x {self.width} bits, {ports}"


def read_table(path: Path) -> MemoryTable:
    """Read a memory table.

    Raises
    ------
    UserError
        The file cannot be read, is not TOML, or is not a memory table.
    """
    try:
        return MemoryTable(**tomllib.loads(path.read_text()))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}.") from error
    except UserError as error:
        raise UserError(f"{path} is not a memory table: {error}") from error
    except ValueError as error:  # not TOML, not UTF-8
        raise UserError(f"{path} is not a memory table: {error}.") from error


def find_table(library: str) -> MemoryTable | None:
    """Table for a library among those that come with nibbleforge."""
    tables = (read_table(path) for path in sorted(TECH.glob("*.toml")))
    return next((table for table in tables if table.library == library), None)


# In the netlist

_MODULE = re.compile(r"^module \\?(\S+)$", re.MULTILINE)
_MEMORY = re.compile(r"^  cell \$mem_v2 (\S+)\n(.*?)^  end\n", re.MULTILINE | re.DOTALL)
_PARAMETER = re.compile(r"^    parameter (?:signed )?\\(\w+) (\S+)$", re.MULTILINE)
_CONNECTION = re.compile(r"^    connect .*\n", re.MULTILINE)


def box_memories(rtlil: str) -> tuple[str, list[Memory]]:
    """Put an empty module in the place of every memory that is written; ROMs remain.

    Returns
    -------
    The RTLIL without those memories, and the memories.
    """
    memories: list[Memory] = []

    def replace(match: re.Match[str]) -> str:
        parameters = dict(_PARAMETER.findall(match[2]))
        if _integer(parameters["WR_PORTS"]) == 0:
            return match[0]
        *_, owner = _MODULE.finditer(rtlil, 0, match.start())
        memory = Memory(
            f"{BOX}{len(memories)}",
            owner[1],
            match[1].lstrip("\\"),
            _integer(parameters["SIZE"]),
            _integer(parameters["WIDTH"]),
            _flags(parameters["RD_CLK_ENABLE"])[: _integer(parameters["RD_PORTS"])],
            _integer(parameters["WR_PORTS"]),
            _integer(parameters["ABITS"]),
        )
        memories.append(memory)
        connections = "".join(_CONNECTION.findall(match[2]))
        return f"  cell \\{memory.box} {match[1]}\n{connections}  end\n"

    text = _MEMORY.sub(replace, rtlil)
    return text + "".join(_box(memory) for memory in memories), memories


def _box(memory: Memory) -> str:
    """Empty module with the ports of a memory."""
    ports = (
        f"  wire width {width} {'output' if name == 'RD_DATA' else 'input'} {i} \\{name}\n"
        for i, (name, width) in enumerate(box_ports(memory).items(), 1)
    )
    return f"attribute \\blackbox 1\nmodule \\{memory.box}\n{''.join(ports)}end\n"


def box_ports(memory: Memory) -> dict[str, int]:
    """Ports of the module that stands for a memory, with their widths."""
    r, w = memory.reads, memory.writes
    read = {"CLK": r, "EN": r, "ARST": r, "SRST": r}
    read |= {"ADDR": r * memory.address_bits, "DATA": r * memory.width}
    write = {"CLK": w, "EN": w * memory.width}
    write |= {"ADDR": w * memory.address_bits, "DATA": w * memory.width}
    return {f"RD_{k}": v for k, v in read.items()} | {f"WR_{k}": v for k, v in write.items()}


def _integer(text: str) -> int:
    """RTLIL constant as a number."""
    width, quote, bits = text.partition("'")
    return int(bits.replace("x", "0"), 2) if quote else int(width)


def _flags(text: str) -> tuple[bool, ...]:
    """RTLIL constant as bits, least significant first."""
    _, quote, bits = text.partition("'")
    return tuple(bit == "1" for bit in reversed(bits if quote else f"{int(text):b}"))
