"""Memories of a design: found in its netlist and kept out of synthesis."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

Pricing = Literal["table", "registers"]
PRICINGS: tuple[Pricing, ...] = get_args(Pricing)

BOX = "nibbleforge_memory_"  # prefix of the modules that stand for memories


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
