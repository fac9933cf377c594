"""Core around a unit of plain streams: its configuration, its blocks, and the schedule of a run.

What passes such a unit has neither tokens nor outputs that tiles share, so that blocks pass once,
in order. A block is a piece of the streams after which the unit is as after a reset. The schedule
is the one that the docstring of :class:`nibbleforge.hw.soc.stream.StreamCore` states.
"""

from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Parameter

from ..contract.config import Config
from ..contract.design import Design
from ..contract.errors import UserError
from ..contract.ports import Port
from ..contract.schedule import Beats, Pulses, Schedule
from ..contract.workload import Workload
from .config import Packing, ShellConfig, family, header
from .packets import joined_packets, result_packets
from .registers import LENGTH_BITS, result_ports, stored
from .unit import CHECK, PREFIX, PRIME, RunProfile, Session, ports, registers

C = TypeVar("C", bound=Config)


class StreamCoreConfig(ShellConfig[C], Generic[C]):
    """Parameters of a core around a unit of plain streams."""

    quiet: int = Parameter(default=32, ge=1, le=1 << 12)
    """Cycles without results after which a block whose beats were all taken is over."""

    def blocks(self, side: str) -> int:
        """Blocks that a half of the buffers holds."""
        return 1


def stream_config_around(unit: type[Config]) -> type[StreamCoreConfig]:
    """The configuration of cores around units of plain streams with such parameters."""
    return StreamCoreConfig[unit]  # type: ignore[valid-type]


class Runs(Protocol):
    """Operands that can be cut where the unit is as after a reset."""

    @property
    def runs(self) -> int:
        """Pieces that cannot be cut any further."""

    def part(self, runs: slice) -> Self:
        """Some of them alone."""


@dataclass(frozen=True)
class StreamRun:
    """A run on a core.

    Attributes
    ----------
    operands
        Of the unit.
    block_packets
        Whether the results of each block end a packet of the stream out, or those of the run alone.
    """

    operands: Runs
    block_packets: bool = False


@dataclass(frozen=True, eq=False)
class StreamProfile(RunProfile):
    """A run of streams; its shape is that of the unit's own workload."""

    run: StreamRun

    def check(self, tokens: int, in_features: int) -> None:
        """Nothing: the operands alone decide."""


# --- blocks -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class StreamBlocks:
    """A run as a core takes it.

    Attributes
    ----------
    ports
        Of the unit.
    schedules
        Of the unit alone, on each block.
    """

    ports: tuple[Port, ...]
    schedules: list[Schedule]

    @classmethod
    def of(cls, design: Design, config: StreamCoreConfig, operands: Runs) -> Self:
        """Cut a run into blocks, as long as the buffers allow.

        Raises
        ------
        UserError
            The unit does not take the operands, a piece is longer than a buffer, or the unit pauses
        longer than ``quiet``.
        """
        parts = [operands.part(part) for part in cut(design, config, operands)]
        found = cls(
            design.ports(config.unit), [design.schedule(config.unit, part) for part in parts]
        )
        for schedule in found.schedules:
            found._check_pauses(config, schedule)
        return found

    def _check_pauses(self, config: StreamCoreConfig, schedule: Schedule) -> None:
        """Refuse a block with a pause that looks like its end."""
        fed = self._fed(schedule)
        given = [schedule.cycles[port.name] for port in result_ports(self.ports)]
        later = np.concatenate([[fed], *(cycles[cycles > fed] for cycles in given)])
        pause = int(np.diff(np.sort(later)).max(initial=0))
        if pause > config.quiet:
            raise UserError(
                f"the unit gives results after a pause of {pause} cycles: quiet must be at least "
                f"{pause}, got {config.quiet}."
            )

    def _fed(self, schedule: Schedule) -> int:
        """Cycle in which the unit takes its final beat of a block."""
        return max(int(schedule.cycles[p.name].max(initial=0)) for p in stored(self.ports))

    def final(self, block: int) -> int:
        """Cycle of the unit's final beat of a block, in or out."""
        schedule = self.schedules[block]
        given = [schedule.cycles[port.name] for port in result_ports(self.ports)]
        return max(self._fed(schedule), *(int(cycles.max(initial=0)) for cycles in given))

    @property
    def settings(self) -> dict[str, int]:
        """Register name to value."""
        most = (1 << LENGTH_BITS) - 1
        if len(self.schedules) > most:
            raise UserError(f"a run must have at most {most} blocks.")
        return {"stream": len(self.schedules)}

    @property
    def error(self) -> bool:
        """Whether the unit reports an error with its results."""
        return any(
            bool(port.unpack(schedule.beats[port.name].expand())[field.name].any())
            for port in result_ports(self.ports)
            for field in port.fields
            if field.made == "error"
            for schedule in self.schedules
        )

    def packets(self, config: StreamCoreConfig, block: int) -> list[NDArray[np.uint32]]:
        """Packets of a block, one a port, each ``(words, bus / 32)`` with its header."""
        found = []
        for number, port in enumerate(stored(self.ports)):
            beats = self.schedules[block].beats[port.name].expand()
            packed = Packing(port.sent.width, config.bus_width).pack(beats)
            found.append(np.concatenate([header(config, number, 0, len(beats)), packed]))
        return found

    def stream(self, config: StreamCoreConfig) -> NDArray[np.uint32]:
        """Everything that passes the stream in, ``(words, bus / 32)``."""
        blocks = range(len(self.schedules))
        return np.concatenate([words for b in blocks for words in self.packets(config, b)])

    def result_packets(self, config: StreamCoreConfig, block: int) -> NDArray[np.uint32]:
        """Everything that a block gives, ``(words, bus / 32)``: a packet a port."""
        return result_packets(config, result_ports(self.ports), self.schedules[block].beats)


def cut(design: Design, config: StreamCoreConfig, operands: Runs) -> list[slice]:
    """Pieces of each block: as many as fit a half of every buffer."""
    declared = design.ports(config.unit)
    room = np.array([config.depth(port) for port in declared])
    sizes = piece_beats(design, config, operands)
    for port, beats, most in zip(declared, sizes.max(axis=0), room, strict=True):
        if beats > most:
            raise UserError(
                f"a block of {port.name} has {beats} beats and the core holds {most}: "
                f"depths.{family(port)} must be larger."
            )
    blocks, start, held = [], 0, np.zeros(len(declared), np.int64)
    for piece, beats in enumerate(sizes):
        if (held + beats > room).any():
            blocks.append(slice(start, piece))
            start, held = piece, np.zeros_like(held)
        held += beats
    return [*blocks, slice(start, operands.runs)]


def piece_beats(design: Design, config: StreamCoreConfig, operands: Runs) -> NDArray[np.int64]:
    """Beats that each piece has on each port, ``(pieces, ports)``.

    Raises
    ------
    UserError
        The unit does not take the operands, or they do not end with a piece.
    """
    pieces = (operands.part(slice(piece, piece + 1)) for piece in range(operands.runs))
    found = np.array([_beats(design, config, piece) for piece in pieces])
    if not found.size or (found.sum(axis=0) != _beats(design, config, operands)).any():
        raise UserError(f"a run of {design.name} must end where the unit is as after a reset.")
    return found


def _beats(design: Design, config: StreamCoreConfig, operands: Runs) -> list[int]:
    """Beats on each port."""
    traffic = design.traffic(config.unit, operands)
    return [len(traffic[port.name]) for port in design.ports(config.unit)]


# --- schedule ---------------------------------------------------------------------------------


@dataclass
class _Timing:
    """Cycles of a run, worked out block after block.

    Attributes
    ----------
    start
        First cycle in which the core is busy.
    taken, words
        Cycles of every word in and out.
    ended, sent
        Of every block, the cycle in which it is over, and that of its final word out.
    pulses
        Event to cycles and increments of each block.
    """

    config: StreamCoreConfig
    run: StreamBlocks
    start: int
    taken: list[NDArray[np.int64]] = field(default_factory=list)
    words: list[NDArray[np.int64]] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    pulses: dict[str, list[Pulses]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        now = self.start
        for block in range(len(self.run.schedules)):
            now = self._load(block, now)
            self._compute(block, now)
            self._send(block)
        self._note("load_words", np.concatenate(self.taken))
        self._note("result_words", np.concatenate(self.words))
        self._note("busy", np.arange(self.start, self.sent[-1] + 1))

    def _load(self, block: int, now: int) -> int:
        """Take a block from this cycle on; returns the first cycle in which it is there."""
        free = self.ended[block - 2] + 1 if block >= 2 else 0
        for words in self.run.packets(self.config, block):
            opened = max(now + CHECK, free)
            self.taken.append(np.concatenate([[now], opened + np.arange(1, len(words))]))
            now = opened + len(words)
        return now

    def _compute(self, block: int, full: int) -> None:
        """Run the unit on a block that is there from a cycle on."""
        idle = self.ended[-1] + 1 if self.ended else self.start
        loaded = max(idle, full)
        begin = max(loaded, self.sent[block - 2] + 1) if block >= 2 else loaded
        self._note("stall_load", np.arange(idle, loaded))
        self._note("stall_results", np.arange(loaded, begin))
        self._note("passes", np.array([begin]))
        schedule = self.run.schedules[block]
        zero = begin + PRIME
        for name, pulses in schedule.events.items():
            moved = Pulses(pulses.cycles + zero, pulses.increments)
            self.pulses.setdefault(name, []).append(moved)
        self.ended.append(zero + self.run.final(block) + self.config.quiet)

    def _send(self, block: int) -> None:
        """Results of a block leave once it is over and those of the one before have left."""
        first = max([self.ended[block] + 1, *(end + 1 for end in self.sent[-1:])])
        words = first + np.arange(len(self.run.result_packets(self.config, block)))
        self.words.append(words)
        self.sent.append(int(words[-1]))

    def _note(self, name: str, cycles: NDArray[np.int64]) -> None:
        self.pulses.setdefault(PREFIX + name, []).append(Pulses.strobes(cycles))

    def events(self) -> dict[str, Pulses]:
        """When every event fires."""
        return {
            name: Pulses(
                np.concatenate([pulses.cycles for pulses in parts]),
                np.concatenate([pulses.increments for pulses in parts]),
            )
            for name, parts in self.pulses.items()
        }


def _result_words(config: StreamCoreConfig, run: StreamRun, blocks: StreamBlocks) -> Beats:
    """Everything that leaves the stream out."""
    found = [blocks.result_packets(config, block) for block in range(len(blocks.schedules))]
    return Beats(joined_packets(ports(config)[-1], found, run.block_packets))


def schedule(design: Design, config: StreamCoreConfig, run: StreamRun) -> Schedule:
    """Golden schedule of a run: settings, start, the run, counters."""
    known = registers(design, config)
    blocks = StreamBlocks.of(design, config, run.operands)
    settings = {**blocks.settings, "block_packets": int(run.block_packets)}
    start = len(known.of("setting")) + 2  # the cycle after the start's
    timing = _Timing(config, blocks, start)
    pulses = timing.events()
    words = np.concatenate(timing.words)
    totals = {name: int(pulse.increments.sum()) for name, pulse in pulses.items()}
    session = Session.of(known, settings, totals, ("unit",) * blocks.error)
    beats, cycles = session.schedule(config, known, int(words[-1]), len(words))
    beats |= {
        "s_axis": Beats(blocks.stream(config)),
        "m_axis": _result_words(config, run, blocks),
    }
    return Schedule(
        {port.name: beats[port.name] for port in ports(config)},
        {**cycles, "s_axis": np.concatenate(timing.taken), "m_axis": words},
        {event.name: pulses[event.name] for event in known.events},
    )


def workload(design: Design, config: StreamCoreConfig, run: StreamRun) -> Workload:
    """Workload of a run: that of the unit, and the run itself, whose packets decide."""
    own = design.workload(config.unit, run.operands)
    return replace(own, profile=StreamProfile(run))
