"""The registers of a core: one typed list, from which hardware, headers and drivers are made."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ..contract.design import Design
from ..contract.errors import UserError
from ..contract.events import Event
from ..contract.ports import Port
from ..version import VERSION
from .config import SIDES, STREAM, CoreConfig, ShellConfig, family
from .memory import Rows, fetching, memory_settings

BYTES = 4
ADDRESS_BITS = 12
IDENTIFICATION = int.from_bytes(b"nbfg", "big")
COUNTERS = 0x800
"""Address of the first counter."""
LENGTH_BITS = 16

Access = Literal["constant", "command", "status", "sticky", "setting", "mask", "counter"]

MEANINGS: dict[Access, str] = {
    "constant": "read only, always the same",
    "command": "writing 1 acts, reads as 0",
    "status": "read only",
    "sticky": "stays 1 until 1 is written to it",
    "setting": "read and write; refused while the core is busy",
    "mask": "read and write",
    "counter": "read only; as it was at the latest snapshot",
}


@dataclass(frozen=True)
class Bits:
    """A field of a register."""

    name: str
    lsb: int
    width: int
    meaning: str


@dataclass(frozen=True)
class Register:
    """A 32-bit word of the register map.

    Attributes
    ----------
    name, offset, access
        Name, address in bytes, and what reads and writes do.
    fields
        Its bits, the least significant first; bits without a field read as 0.
    meaning
        One line.
    value
        What it reads as when constant, else after reset.
    """

    name: str
    offset: int
    access: Access
    fields: tuple[Bits, ...]
    meaning: str
    value: int = 0

    @property
    def width(self) -> int:
        """Bits up to the most significant field."""
        return max(field.lsb + field.width for field in self.fields)

    @property
    def mask(self) -> int:
        """Bits that belong to a field."""
        return sum(((1 << field.width) - 1) << field.lsb for field in self.fields)

    @property
    def written(self) -> bool:
        """Whether software may write it."""
        return self.access in ("command", "sticky", "setting", "mask")

    def bit(self, name: str) -> int:
        """Position of a field's least significant bit."""
        return next(field.lsb for field in self.fields if field.name == name)


COMMANDS = (
    ("start", "run what the settings describe; refused while busy"),
    ("soft_reset", "give up what is under way: reset the unit, the buffers and the stream in"),
    ("snapshot", "copy all counters to where they can be read"),
)

ERRORS = (
    ("refused", "a setting was written, or a start given, while busy"),
    ("no_shape", "a start with no blocks"),
    ("unknown_port", "a packet for a port that there is not; drained as one word a beat"),
    ("wrong_block", "a packet that is not the next of its side; drained"),
    ("wrong_length", "a packet longer or shorter than its port takes; drained"),
    ("unit", "the unit reported an error with its results"),
)
"""What every core notes."""

LAYER_ERRORS = (("memory", "the memory answered with an error, where rows come from one"),)
"""What a core that runs layers notes beside that."""

STREAM_ERRORS = (
    ("late", "the unit gave results after a longer pause than `quiet`; dropped"),
    ("overflow", "the unit gave more results than a half of their buffer holds; dropped"),
)
"""What a core around a unit of plain streams notes beside that."""

INTERRUPTS = (
    ("done", "a layer or run has ended"),
    ("error", "an error has been noted"),
)


def _named(side: str) -> str:
    return "the stream" if side in STREAM else side


def states(streams: bool) -> tuple[tuple[str, str], ...]:
    """Bits of ``status``: name and meaning."""
    memory = ("waits_memory", "the unit waits for rows from memory, where it asks for some")
    sides = STREAM if streams else SIDES
    return (
        ("busy", "a layer or run is under way"),
        ("done", "the final word has left, since the latest start"),
        ("counting", "the latest snapshot is not yet complete"),
        *((f"waits_{side}", f"the unit waits for blocks of {_named(side)}") for side in sides),
        ("waits_results", "the unit waits until results have left"),
        *(() if streams else (memory,)),
        ("input_waiting", "a word waits at the stream in"),
    )


@dataclass(frozen=True)
class RegisterMap:
    """All registers of a core.

    Attributes
    ----------
    name
        Of the core.
    registers
        In ascending order of addresses.
    events
        What is counted, in the order of counters.
    sides
        What blocks belong to; each has a register with their number.
    """

    name: str
    registers: tuple[Register, ...]
    events: tuple[Event, ...]
    sides: tuple[str, ...] = SIDES

    def __getitem__(self, name: str) -> Register:
        for register in self.registers:
            if register.name == name:
                return register
        raise KeyError(f"there is no register {name!r}")

    def __contains__(self, name: str) -> bool:
        return any(register.name == name for register in self.registers)

    def of(self, *access: Access) -> tuple[Register, ...]:
        """Registers of some kinds."""
        return tuple(register for register in self.registers if register.access in access)


# --- from a unit's declaration -----------------------------------------------------------------


def is_stream(ports: tuple[Port, ...]) -> bool:
    """Whether a unit has plain streams alone."""
    return all(port.belongs in STREAM for port in ports)


def stored(ports: tuple[Port, ...]) -> tuple[Port, ...]:
    """Inputs whose blocks are kept in buffers; their order numbers them in packets."""
    return tuple(p for p in ports if p.direction == "in" and p.belongs in sides(ports))


def result_port(ports: tuple[Port, ...]) -> Port:
    """The port of results, where there is one."""
    (port,) = result_ports(ports)
    return port


def result_ports(ports: tuple[Port, ...]) -> tuple[Port, ...]:
    """Ports of results, numbered in this order where they leave in packets."""
    belong = STREAM[0] if is_stream(ports) else "results"
    return tuple(port for port in ports if port.direction == "out" and port.belongs == belong)


def in_packets(ports: tuple[Port, ...]) -> bool:
    """Whether results leave in packets: those of several ports, or of streams."""
    return is_stream(ports) or len(result_ports(ports)) > 1


def made_ports(ports: tuple[Port, ...]) -> tuple[Port, ...]:
    """Inputs that go with results and that registers of their names make."""
    return tuple(port for port in ports if port.direction == "in" and port.belongs == "results")


def sides(ports: tuple[Port, ...]) -> tuple[str, ...]:
    """What blocks belong to, as far as there are some."""
    belong = {port.belongs for port in ports if port.direction == "in"}
    return tuple(side for side in (STREAM if is_stream(ports) else SIDES) if side in belong)


def check_supported(design: Design, ports: tuple[Port, ...]) -> None:
    """Raise :class:`UserError` unless the core can run a unit with these ports."""
    rows = Rows.of(ports)
    fetched = (rows.request, rows.answers) if rows and rows.supported and design.supplied else ()
    made = made_ports(ports)
    known = (*fetched, *stored(ports), *made, *result_ports(ports))
    settings = all([field.made for field in port.fields] == ["setting"] for port in made)
    if "tokens" not in sides(ports) or len(known) != len(ports) or not settings:
        raise UserError(
            f"the core takes units whose inputs are blocks of tokens and outputs and that give "
            f"results, or plain streams alone; {design.name} is none."
        )


def check_tiles(config: CoreConfig, ports: tuple[Port, ...]) -> None:
    """Raise :class:`UserError` unless a pass ends with a block of results."""
    for port in result_ports(ports):
        if config.output_blocks % port.tiles:
            raise UserError(
                f"output_blocks must be a multiple of {port.tiles}, so many tiles give a block of "
                f"{port.name}, got {config.output_blocks}."
            )


def register_map(design: Design, config: ShellConfig, events: tuple[Event, ...]) -> RegisterMap:
    """Registers of a core around a unit.

    Parameters
    ----------
    design
        The unit.
    config
        The core.
    events
        Everything that is counted.
    """
    ports = design.ports(config.unit)
    settings = _STREAM_SETTINGS
    if isinstance(config, CoreConfig):
        check_tiles(config, ports)
        settings = list(_settings(config, ports))
    registers = (
        *_fixed(design, config),
        *(
            Register(name, 0x40 + BYTES * i, "setting", (Bits(name, 0, width, text),), text)
            for i, (name, width, text) in enumerate(settings)
        ),
        *_counters(events),
    )
    offsets = [register.offset for register in registers]
    if offsets != sorted(set(offsets)) or offsets[-1] >= 1 << ADDRESS_BITS:
        raise UserError(f"the registers of {design.name} do not fit {1 << ADDRESS_BITS} bytes.")
    return RegisterMap(f"core_{design.name}", registers, events, sides(ports))


def _fixed(design: Design, config: ShellConfig) -> Iterator[Register]:
    """Registers that every core has."""
    streams = is_stream(design.ports(config.unit))
    held = STREAM if streams else SIDES
    digest = config.config_hash
    major, minor, patch = (int(part) for part in VERSION.split(".")[:3])
    geometry = (
        Bits("bus_bytes", 0, 8, "bytes of a word of the streams"),
        *(
            Bits(f"{side.removesuffix('s')}_blocks", 8 + 12 * i, 10,
                 f"blocks of {_named(side)} that a half of the buffers holds")
            for i, side in enumerate(held)
        ),
    )  # fmt: skip
    sizes = (config.bus_width // 8, *(config.blocks(side) for side in held))
    packed = sum(size << bits.lsb for size, bits in zip(sizes, geometry, strict=True))
    yield _constant("identification", 0x00, IDENTIFICATION, 'the letters "nbfg"')
    version = major << 16 | minor << 8 | patch
    yield _constant("version", 0x04, version, "version of the generator: major, minor, patch")
    yield _constant("hash_high", 0x08, int(digest[:8], 16), "bits 255..224 of the config hash")
    yield _constant("hash_low", 0x0C, int(digest[8:16], 16), "bits 223..192 of the config hash")
    yield Register("geometry", 0x10, "constant", geometry, "extent of the core", packed)
    if streams:  # a configuration may lead to several designs
        name = zlib.crc32(design.name.encode())
        yield _constant("design", 0x14, name, "CRC-32 of the name of the unit's design")
    yield Register("control", 0x20, "command", _flags(COMMANDS), "what the core is to do")
    yield Register("status", 0x24, "status", _flags(states(streams)), "what the core does")
    errors = (*ERRORS, *(STREAM_ERRORS if streams else LAYER_ERRORS))
    yield Register("errors", 0x28, "sticky", _flags(errors), "what went wrong")
    yield Register("irq_enable", 0x2C, "mask", _flags(INTERRUPTS), "what raises irq")
    yield Register("irq_pending", 0x30, "sticky", _flags(INTERRUPTS), "what has happened")
    drain = (Bits("drain", 0, 1, "take and drop words of the stream in while idle"),)
    yield Register("drain", 0x34, "mask", drain, "to be rid of words after a soft reset")


def _constant(name: str, offset: int, value: int, meaning: str) -> Register:
    return Register(name, offset, "constant", (Bits(name, 0, 32, meaning),), meaning, value)


def _flags(names: tuple[tuple[str, str], ...]) -> tuple[Bits, ...]:
    return tuple(Bits(name, i, 1, meaning) for i, (name, meaning) in enumerate(names))


_STREAM_SETTINGS = [
    ("block_packets", 1, "TLAST: 0 at the end of the run, 1 at the end of each block's results"),
    ("stream", LENGTH_BITS, "blocks of the run, at least 1"),
]
"""The same as :func:`_settings` of a core around a unit of plain streams."""


def _settings(config: CoreConfig, ports: tuple[Port, ...]) -> Iterator[tuple[str, int, str]]:
    """Name, bits and meaning of what describes a layer."""
    present = sides(ports)
    if "outputs" in present:
        yield "outputs_stay", 1, "loop order: 0 blocks of tokens stay while outputs pass, 1 reverse"
    yield "tile_packets", 1, "TLAST: 0 at the end of the layer, 1 at the end of each tile"
    for side in present:
        yield side, LENGTH_BITS, f"blocks of {side} of the layer, at least 1"
    seen = set()
    for port in stored(ports):
        name = family(port)
        if name in seen:
            continue
        seen.add(name)
        width = config.depth(port).bit_length()
        if port.block == "fixed":
            yield f"{name}_beats", width, f"beats of a block of {name}, at least 1"
        if any(field.made == "part" for field in port.fields):
            yield f"{name}_part", width, f"beats of {name} between those with last, at least 1"
    for port in result_ports(ports):
        if port.beats is None:
            width = config.tile_beats(port).bit_length()
            yield f"{port.name}_beats", width, "beats of a tile's results, at least 1"
    for port in stored(ports):
        for field in port.fields:
            if field.made == "setting":
                yield field.name, field.width, field.meaning
    for port in made_ports(ports):
        yield port.name, port.width, port.fields[0].meaning
    if fetched := fetching(config, ports):
        yield from memory_settings(*fetched, stored(ports))


def _counters(events: tuple[Event, ...]) -> Iterator[Register]:
    for i, event in enumerate(events):
        for half, part in enumerate(("low", "high")):
            name = f"{event.name}_{part}"
            bits = (Bits(name, 0, 32, f"bits {32 * half + 31}..{32 * half} of the counter"),)
            offset = COUNTERS + BYTES * (2 * i + half)
            yield Register(name, offset, "counter", bits, event.meaning)
