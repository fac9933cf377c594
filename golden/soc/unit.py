"""Core as a unit: its ports and events, and the schedule of a layer.

The schedule is the one that the docstring of :class:`nibbleforge.hw.soc.core.Core` states.
"""

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract.design import Design
from ..contract.errors import UserError
from ..contract.events import Event
from ..contract.ports import WORD_BITS, Field, Port
from ..contract.schedule import Answers, Beats, Pulses, Schedule, Traffic, ranges
from ..contract.workload import Profile, Workload
from .blocks import LayerBlocks, Operands
from .config import CoreConfig, ResultPacking, ShellConfig
from .memory import MEMORY_EVENTS, Rows, fetching, memory_ports
from .order import Pass
from .packets import joined_packets
from .registers import (
    ADDRESS_BITS,
    BYTES,
    Register,
    RegisterMap,
    in_packets,
    register_map,
    result_port,
    result_ports,
    sides,
)
from .supply import FetchedRows

PREFIX = "core_"
"""Begins the names of the core's designs and own events."""

CHECK = 1  # cycles from a packet's header until it is let in, if there is room
PRIME = 2  # cycles from a pass's start to the first beat offered to the unit
FETCH = 2  # cycles from a beat of results to its first word
TURNS = 2  # cycles between two visits of a counter's neighbours
SETTLE = 8  # cycles after a run's end until nothing counts any more
READ = 3  # cycles a read takes


@dataclass(frozen=True)
class CoreRun:
    """A layer on a core.

    Attributes
    ----------
    operands
        Of the unit.
    outputs_stay
        Whether blocks of outputs stay while tokens pass, or the reverse.
    tile_packets
        Whether each tile ends a packet of the stream out, or the layer alone.
    address
        Where the rows that the unit asks for begin in memory, a multiple of a beat of memory.
    latency
        Cycles from a burst to its first beat, at least 1, ``(n,)``: of n bursts, then again.
    """

    operands: Operands
    outputs_stay: bool = False
    tile_packets: bool = False
    address: int = 0
    latency: NDArray[np.integer] = field(default_factory=lambda: np.array([20]))


@dataclass(frozen=True, eq=False)
class RunProfile(Profile):
    """The run that a workload stands for."""

    run: Any


@dataclass(frozen=True, eq=False)
class CoreProfile(RunProfile):
    """A layer."""

    run: CoreRun

    def check(self, tokens: int, in_features: int) -> None:
        """Raise :class:`UserError` unless the run is one of this shape."""
        if self.run.operands.x.shape != (tokens, in_features):
            raise UserError(f"the run is not one of {tokens} tokens and {in_features} in_features.")


# --- ports and events -------------------------------------------------------------------------


def all_ports(design: Design, config: ShellConfig) -> tuple[Port, ...]:
    """Ports of a core around a unit: those of every core, and those to memory if it needs one."""
    fetched = fetching(config, design.ports(config.unit))
    return (*ports(config), *(memory_ports(*fetched) if fetched else ()))


def ports(config: ShellConfig) -> tuple[Port, ...]:
    """Ports of every core: an AXI4-Lite slave, a stream in, a stream out."""
    address = (Field("addr", ADDRESS_BITS, "address in bytes"),)
    w = (Field("data", WORD_BITS, "data"), Field("strb", BYTES, "bytes written: all"))
    b = (Field("resp", 2, "0 done, 2 refused"),)
    r = (Field("data", WORD_BITS, "data"), Field("resp", 2, "0 done, 2 no such register"))
    words = Field("data", WORD_BITS, "a bus word", count=config.bus_width // WORD_BITS)
    last = Field("last", 1, "final word of the tile or layer")
    return (
        Port("s_axi_aw", "in", address, "addresses of writes"),
        Port("s_axi_w", "in", w, "data of writes"),
        Port("s_axi_b", "out", b, "responses to writes"),
        Port("s_axi_ar", "in", address, "addresses of reads"),
        Port("s_axi_r", "out", r, "responses to reads"),
        Port("s_axis", "in", (words,), "packets of blocks"),
        Port("m_axis", "out", (words, last), "results"),
    )


def events(design: Design, config: ShellConfig) -> tuple[Event, ...]:
    """Events of the unit, and of the core around it."""
    own = (
        Event("load_words", "work", "words taken from the stream in"),
        Event("result_words", "work", "words given to the stream out"),
        Event("passes", "work", "passes begun"),
        Event("busy", "time", "cycles from a start to the layer's end"),
        Event("stall_load", "time", "cycles that a pass waits for blocks"),
        Event("stall_results", "time", "cycles that a pass waits for results to leave"),
    )
    fetched = MEMORY_EVENTS if Rows.of(design.ports(config.unit)) else ()
    return (
        *design.events(config.unit),
        *(Event(PREFIX + e.name, e.kind, e.meaning, e.width) for e in (*own, *fetched)),
    )


def registers(design: Design, config: ShellConfig) -> RegisterMap:
    """Registers of a core."""
    return register_map(design, config, events(design, config))


def bandwidth(design: Design, config: ShellConfig) -> dict[str, float]:
    """Bits per cycle that the law assumes on each input."""
    inputs = (port for port in all_ports(design, config) if port.direction == "in")
    return {port.name: float(port.width) for port in inputs}


# --- schedule ---------------------------------------------------------------------------------


@dataclass
class _Timing:
    """Cycles of a layer, worked out as packets come.

    Attributes
    ----------
    start
        First cycle in which the core is busy.
    fetched
        The rows that it asks memory for, if any.
    taken, rows, words
        Cycles of every word in, every beat of results, every word out.
    pulses
        Event to cycles and increments of each pass.
    """

    design: Design
    config: CoreConfig
    layer: LayerBlocks
    operands: Operands
    start: int
    fetched: FetchedRows | None = None
    taken: list[NDArray[np.int64]] = field(default_factory=list)
    rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    firsts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    pulses: dict[str, list[Pulses]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        loops = self.layer.loops(self.config)
        self.results = result_ports(self.design.ports(self.config.unit))
        self.row_words = ResultPacking(self.results[0].sent, self.config.bus_width).words
        self.room = result_room(self.design, self.config)
        full: dict[tuple[str, int], int] = {}
        released: dict[tuple[str, int], int] = {}
        waiting = loops.passes()
        idle = self.start
        now = self.start
        for load in loops.loads():
            bank = (load.side, load.group)
            for words in self.layer.packets(self.config, load):
                opened = max(now + CHECK, released.get((load.side, load.group - 2), 0))
                data = opened + 1 + np.arange(len(words) - 1)
                self.taken.append(np.concatenate([[now], data]))
                now = opened + len(words)
            if load.final:
                full[bank] = now
            while waiting and all(item in full for item in waiting[0].groups.items()):
                one = waiting.pop(0)
                idle = self._run(one, idle, max(full[item] for item in one.groups.items()))
                released |= {(side, one.groups[side]): idle for side in one.released}

    def _run(self, one: Pass, idle: int, loaded: int) -> int:
        """Run a pass; returns the first cycle in which the next one may begin."""
        loaded = max(idle, loaded)
        begin = max(loaded, self._roomy())
        self._note("stall_load", np.arange(idle, loaded))
        self._note("stall_results", np.arange(loaded, begin))
        self._note("passes", np.array([begin]))
        empty = max(
            blocks.leading_empty(getattr(one, blocks.port.belongs)) for blocks in self.layer.ports
        )
        zero = begin + PRIME + empty
        tiling = self.layer.tiling
        schedule = self._alone(
            zero,
            self.operands.part(
                slice(one.tokens.start * tiling.rows, one.tokens.stop * tiling.rows),
                slice(one.outputs.start * tiling.columns, one.outputs.stop * tiling.columns),
            ),
        )
        for name, pulses in schedule.events.items():
            moved = Pulses(pulses.cycles + zero, pulses.increments)
            self.pulses.setdefault(name, []).append(moved)
        return self._give(one, zero, schedule) + 1

    def _alone(self, zero: int, operands: Operands) -> Schedule:
        """What the unit does with some operands from this cycle on."""
        if self.fetched is None or self.design.supplied is None:
            return self.design.schedule(self.config.unit, operands)
        self.fetched.zero = zero
        return self.design.supplied(self.config.unit, operands, self.fetched)

    def _roomy(self) -> int:
        """First cycle in which the results of a whole pass have room."""
        most = 2 * self.room - self.room  # beats that may still wait
        must_be_gone = len(self.rows) - most
        return int(self.firsts[must_be_gone - 1]) if must_be_gone > 0 else 0

    def _give(self, one: Pass, zero: int, schedule: Schedule) -> int:
        """Let the results of a pass leave one after the other; the cycle that ends the pass."""
        rows = zero + schedule.cycles[self.results[0].name]
        steps = self.row_words * np.arange(len(rows))
        ready = rows + FETCH
        if len(self.firsts):
            ready[0] = max(ready[0], self.firsts[-1] + self.row_words)
        firsts = steps + np.maximum.accumulate(ready - steps)
        self.rows = np.concatenate([self.rows, rows])
        self.firsts = np.concatenate([self.firsts, firsts])
        return int(rows[-1])

    def _words(self) -> NDArray[np.int64]:
        """Cycles of every word out."""
        return ranges(self.firsts, np.full(len(self.firsts), self.row_words))

    def _note(self, name: str, cycles: NDArray[np.int64]) -> None:
        self.pulses.setdefault(PREFIX + name, []).append(Pulses.strobes(cycles))

    def finished(self) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, Pulses]]:
        """Cycles of words in and out, and of every event."""
        taken = np.concatenate(self.taken)
        words = self._words()
        self._note("load_words", taken)
        self._note("result_words", words)
        self._note("busy", np.arange(self.start, words[-1] + 1))
        fetched = self.fetched.pulses() if self.fetched else {}
        self.pulses |= {PREFIX + name: [pulses] for name, pulses in fetched.items()}
        joined = {
            name: Pulses(
                np.concatenate([pulses.cycles for pulses in parts]),
                np.concatenate([pulses.increments for pulses in parts]),
            )
            for name, parts in self.pulses.items()
        }
        return taken, words, joined


@dataclass
class _PacketTiming(_Timing):
    """The same where results have several ports: packets of a pass leave after its end."""

    sent: list[NDArray[np.int64]] = field(default_factory=list)

    def _roomy(self) -> int:
        """First cycle in which a half of the results' buffers is free."""
        return int(self.sent[-2][-1]) + 1 if len(self.sent) >= 2 else 0

    def _give(self, one: Pass, zero: int, schedule: Schedule) -> int:
        end = zero + max(int(schedule.cycles[port.name].max()) for port in self.results)
        first = max([end, *(int(words[-1]) for words in self.sent[-1:])]) + 1
        words = self.layer.result_packets(self.config, self.results, one)
        self.sent.append(first + np.arange(len(words)))
        return end

    def _words(self) -> NDArray[np.int64]:
        return np.concatenate(self.sent)


def result_room(design: Design, config: CoreConfig) -> int:
    """Beats of results of the largest pass; the buffer holds twice as many."""
    declared = design.ports(config.unit)
    return max(pass_beats(config, declared, port) for port in result_ports(declared))


def pass_beats(config: CoreConfig, declared: tuple[Port, ...], port: Port) -> int:
    """Most beats of a port of results in a pass."""
    tiles = prod(config.blocks(side) for side in sides(declared))
    return tiles // port.tiles * config.tile_beats(port)


def result_words(design: Design, config: CoreConfig, run: CoreRun, layer: LayerBlocks) -> Beats:
    """Everything that leaves the stream out."""
    declared = design.ports(config.unit)
    if in_packets(declared):
        return _packet_words(config, run, layer, result_ports(declared))
    words = layer.result_words(config, result_port(declared))
    outputs = layer.tiling.output_blocks
    order = [
        token * outputs + output
        for one in layer.loops(config).passes()
        for token, output in one.tiles
    ]
    last = np.zeros(words[:, :, 0].shape, np.uint8)
    last[:, -1] = run.tile_packets
    last[-1, -1] = 1
    every = words[order].reshape(-1, config.bus_width // WORD_BITS)
    return Beats(ports(config)[-1].pack(data=every, last=last.ravel()))


def _packet_words(
    config: CoreConfig, run: CoreRun, layer: LayerBlocks, results: tuple[Port, ...]
) -> Beats:
    """Everything that leaves the stream out in packets."""
    passes = layer.loops(config).passes()
    words = [layer.result_packets(config, results, one) for one in passes]
    return Beats(joined_packets(ports(config)[-1], words, run.tile_packets))


@dataclass(frozen=True)
class Session:
    """What software does with a core to run a layer, and what it reads: checked like any traffic.

    Attributes
    ----------
    before
        Reads at the beginning.
    writes
        Register and value, the final one the start.
    after
        Reads after the layer, and after a snapshot.
    """

    before: tuple[tuple[Register, int], ...]
    writes: tuple[tuple[Register, int], ...]
    after: tuple[tuple[Register, int], ...]

    @classmethod
    def of(
        cls,
        known: RegisterMap,
        settings: dict[str, int],
        totals: dict[str, int],
        noted: tuple[str, ...] = (),
    ) -> "Session":
        """Set everything, start, and read back everything that does not depend on stalls.

        ``noted`` are the errors that the core notes.
        """
        control = known["control"]
        pending, status = known["irq_pending"], known["status"]
        writes = [(register, settings[register.name]) for register in known.of("setting")]
        writes.append((known["irq_enable"], 1 << known["irq_enable"].bit("done")))
        counters = [
            (known[f"{event.name}_{half}"], totals[event.name] >> 32 * i & 0xFFFFFFFF)
            for event in known.events
            if event.kind == "work"
            for i, half in enumerate(("low", "high"))
        ]
        return cls(
            before=tuple((register, register.value) for register in known.of("constant")),
            writes=(*writes, (control, 1 << control.bit("start"))),
            after=(
                (status, 1 << status.bit("done")),
                (known["errors"], sum(1 << known["errors"].bit(name) for name in noted)),
                (pending, 1 << pending.bit("done") | bool(noted) << pending.bit("error")),
                *writes,
                *counters,
            ),
        )

    def schedule(
        self, config: ShellConfig, known: RegisterMap, end: int, words: int
    ) -> tuple[Traffic, dict[str, NDArray[np.int64]]]:
        """Traffic and cycles of the register channels; ``end`` is the layer's final word."""
        aw, w, b, ar, r, *_ = ports(config)
        control = known["control"]
        writes = (*self.writes, (control, 1 << control.bit("snapshot")))
        snapshot = end + SETTLE
        written = np.append(np.arange(len(self.writes)), snapshot)
        settled = 2 * TURNS * len(known.events) + SETTLE
        reads = (*self.before, *self.after)
        first = max(snapshot + 1 + settled, READ * len(self.before))
        asked = np.concatenate(
            [READ * np.arange(len(self.before)), first + READ * np.arange(len(self.after))]
        )
        finished = np.append(np.zeros(len(self.writes), np.int64), words)
        counted = np.repeat([0, len(writes)], [len(self.before), len(self.after)])
        waits = Answers("m_axis", finished, np.full(words, SETTLE))
        waits_again = Answers("s_axi_b", counted, np.full(len(writes), settled))
        beats = {
            "s_axi_aw": Beats(aw.pack(addr=_offsets(writes)), answers=waits),
            "s_axi_w": Beats(
                w.pack(data=_values(writes), strb=np.full(len(writes), 15)), answers=waits
            ),
            "s_axi_b": Beats(b.pack(resp=np.zeros(len(writes), np.uint8))),
            "s_axi_ar": Beats(ar.pack(addr=_offsets(reads)), answers=waits_again),
            "s_axi_r": Beats(r.pack(data=_values(reads), resp=np.zeros(len(reads), np.uint8))),
        }
        cycles = {
            "s_axi_aw": written,
            "s_axi_w": written,
            "s_axi_b": written + 1,
            "s_axi_ar": asked,
            "s_axi_r": asked + READ - 1,
        }
        return beats, cycles


def _offsets(accesses: tuple[tuple[Register, int], ...]) -> NDArray[np.int64]:
    return np.array([register.offset for register, _ in accesses])


def _values(accesses: tuple[tuple[Register, int], ...]) -> NDArray[np.int64]:
    return np.array([value for _, value in accesses])


def schedule(design: Design, config: CoreConfig, run: CoreRun) -> Schedule:
    """Golden schedule of a layer: settings, start, the layer, counters."""
    known = registers(design, config)
    layer = LayerBlocks.of(design, config, run.operands, outputs_stay=run.outputs_stay)
    settings = {**layer.settings, "tile_packets": int(run.tile_packets)}
    start = len(known.of("setting")) + 2  # the cycle after the start's
    fetched = _fetched(design, config, run, layer)
    if layer.image and fetched:
        settings |= layer.image.settings(fetched.config, run.address)
    kind = _PacketTiming if in_packets(design.ports(config.unit)) else _Timing
    timing = kind(design, config, layer, run.operands, start, fetched)
    taken, words, pulses = timing.finished()
    totals = {name: int(pulse.increments.sum()) for name, pulse in pulses.items()}
    session = Session.of(known, settings, totals)
    beats, cycles = session.schedule(config, known, int(words[-1]), len(words))
    beats |= {
        "s_axis": Beats(layer.stream(config)),
        "m_axis": result_words(design, config, run, layer),
    }
    cycles |= {"s_axis": taken, "m_axis": words}
    if fetched:
        beats |= fetched.beats()
        cycles |= fetched.cycles()
    return Schedule(
        {port.name: beats[port.name] for port in all_ports(design, config)},
        cycles,
        {event.name: pulses[event.name] for event in known.events},
    )


def _fetched(
    design: Design, config: CoreConfig, run: CoreRun, layer: LayerBlocks
) -> FetchedRows | None:
    """The rows that a layer asks memory for, if its unit asks for any."""
    fetched = fetching(config, design.ports(config.unit))
    if fetched is None or layer.image is None:
        return None
    return FetchedRows(*fetched, layer.image, run.address, run.latency)


def workload(config: CoreConfig, run: CoreRun) -> Workload:
    """Workload of a layer: the run itself, since packets of any length decide."""
    tiling = run.operands.tiling(config.unit).results
    features = run.operands.x.shape[1]
    return Workload(tiling.tokens, features, tiling.outputs, profile=CoreProfile(run))
