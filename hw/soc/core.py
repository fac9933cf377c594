"""The core: a unit that runs whole layers from a bus."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from amaranth.hdl import (
    Cat,
    ClockDomain,
    ClockSignal,
    Const,
    Module,
    Mux,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.lib.wiring import In, Member, Out

from ...golden.contract.design import Design
from ...golden.contract.ports import Port
from ...golden.soc.config import SIDES, CoreConfig, ShellConfig, family
from ...golden.soc.designs import core_design
from ...golden.soc.memory import Rows, fetching
from ...golden.soc.registers import made_ports, result_ports, stored
from ...golden.soc.unit import PREFIX, events, result_room
from ..lib.base import Part, Unit, connect, events_layout
from ..lib.emission import place
from ..units import component
from .collector import collector_of
from .counters import Counters, CountersConfig
from .loader import (
    OUTPUTS,
    TOKENS,
    LoadedPort,
    Loader,
    LoaderConfig,
    Side,
    SideConfig,
    SingleBlock,
    expected,
)
from .memory import ReadMaster, ReadMasterConfig
from .registers import CHANNELS, RegisterFile
from .rows import RowFetcher, RowFetcherConfig
from .store import PortStore, StoreConfig

ENGINE_ERRORS = ("unknown_port", "wrong_block", "wrong_length", "unit")
_ENGINE_STATES = ("waits_tokens", "waits_outputs", "waits_results", "waits_memory")


def store_config(config: CoreConfig, port: Port) -> StoreConfig:
    """Buffer of a port."""
    return StoreConfig(
        width=port.sent.width,
        bus=config.bus_width,
        token_blocks=config.token_blocks,
        output_blocks=config.output_blocks,
        of_tokens=port.belongs == "tokens",
        depth=config.depth(port),
        variable=port.block == "last",
        parts=any(field.made == "part" for field in port.fields),
    )


def engine_members(
    config: ShellConfig,
    unit: Unit,
    settings: Mapping[str, int],
    states: Iterable[str],
    errors: Iterable[str],
) -> dict[str, Member]:
    """Ports of an engine: settings, control, streams in and out, what it waits for and notes."""
    return {
        **{name: In(width) for name, width in settings.items()},
        "start": In(1),
        "busy": In(1),
        "drain": In(1),
        "in_valid": In(1),
        "in_ready": Out(1),
        "in_data": In(config.bus_width),
        "out_valid": Out(1),
        "out_ready": In(1),
        "out_data": Out(config.bus_width),
        "out_last": Out(1),
        "finished": Out(1),
        **{name: Out(1) for name in states},
        "events": Out(events_layout(events(unit.design, config))),
        **{f"error_{name}": Out(1) for name in errors},
    }


def connect_loader(
    m: Module, engine: Any, loader: Loader, ports: list[Value], places: list[Value]
) -> None:
    """Packets and errors of a loader; ports and places of blocks that its sides expect."""
    m.d.comb += [
        loader.busy.eq(engine.busy),
        loader.drain.eq(engine.drain),
        loader.valid.eq(engine.in_valid),
        loader.data.eq(engine.in_data),
        engine.in_ready.eq(loader.ready),
        loader.port_expected.eq(expected(ports, "port")),
        loader.block_expected.eq(expected(places, "block")),
        engine.error_unknown_port.eq(loader.unknown_port),
        engine.error_wrong_block.eq(loader.wrong_block),
        engine.error_wrong_length.eq(loader.wrong_length),
    ]


def fill(m: Module, store: PortStore, loader: Loader, number: int, side: Side, data: Value) -> None:
    """A port's buffer from the loader, half by half."""
    m.d.comb += [
        store.write.eq(loader.write[number]),
        store.write_half.eq(side.write_half),
        store.block.eq(loader.block),
        store.word.eq(loader.word),
        store.column.eq(loader.column),
        store.data.eq(data),
        store.read_half.eq(side.read_half),
    ]


class Engine(Part[CoreConfig]):
    """Everything that a soft reset resets: the unit, its buffers, the streams.

    Parameters
    ----------
    config
        The core.
    unit
        The hardware of the unit.
    settings
        Name and bits of every setting.
    """

    def __init__(self, config: CoreConfig, unit: Unit, settings: dict[str, int]):
        self.unit = unit
        self.settings = settings
        declared = unit.design.ports(config.unit)
        self.stored = stored(declared)
        self.results = result_ports(declared)
        self.made = made_ports(declared)
        self.rows = Rows.of(declared)
        fetched = fetching(config, declared)
        self.fetcher = RowFetcher(RowFetcherConfig.of(*fetched)) if fetched else None
        memory = {}
        if self.fetcher:
            members = self.fetcher.signature.members
            memory = {name: members[name] for name in ("bursts", "beats")}
        super().__init__(
            config,
            {
                **memory,
                **engine_members(
                    config, unit, settings, _ENGINE_STATES, (*ENGINE_ERRORS, "memory")
                ),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        go = Signal()
        ends_pass = Signal()
        sides, loader = self._loading(m, platform)
        self._stores(m, platform, sides, loader, go, ends_pass)
        place(m, platform, "unit", self.unit)
        self._fetch(m, platform)
        room, ends_layer = self._results(m, platform, sides, ends_pass)
        self._sequence(m, sides, go, ends_pass, room, ends_layer)
        self._count(m, go)
        return m

    def _loading(self, m: Module, platform: object) -> tuple[list[Side], Loader]:
        """Packets to places in the buffers."""
        config = self.config
        facts = []
        for port in self.stored:
            store = store_config(config, port)
            facts.append(
                LoadedPort(
                    side=SIDES.index(port.belongs),
                    lanes=store.packing.lanes,
                    words=store.packing.words,
                    depth=store.depth,
                    variable=store.variable,
                )
            )
        parameters = LoaderConfig(
            bus=config.bus_width,
            token_blocks=config.token_blocks,
            output_blocks=config.output_blocks,
            ports=tuple(facts),
        )
        loader = Loader(parameters)
        place(m, platform, "loader", loader)
        sides = []
        for number, name in enumerate(SIDES):
            ports = parameters.side_ports(number)
            kind = Side if ports else SingleBlock
            side = kind(SideConfig(blocks=parameters.blocks(number), ports=ports))
            place(m, platform, f"{name}_side", side)
            m.d.comb += [
                side.start.eq(self.start),
                side.blocks.eq(self._setting(name)),
                side.loaded.eq(loader.loaded[number]),
            ]
            sides.append(side)
        m.d.comb += loader.room.eq(self._room(m, sides))
        connect_loader(
            m, self, loader, [side.port for side in sides], [side.place for side in sides]
        )
        for i, port in enumerate(self.stored):
            if port.block == "fixed":
                m.d.comb += getattr(loader, f"beats_{i}").eq(self._beats(port))
        return sides, loader

    def _room(self, m: Module, sides: list[Side]) -> Value:
        """Sides that may be loaded: a group that passes comes after the one that stays for it."""
        outputs_stay = self._setting("outputs_stay")
        stays_loaded = Signal(2)  # groups that stay and whose sweep has not been loaded
        tokens, outputs = sides
        ends_stay = Signal()
        ends_sweep = Signal()
        m.d.comb += [
            ends_stay.eq(Mux(outputs_stay, outputs.ends_group, tokens.ends_group)),
            ends_sweep.eq(Mux(outputs_stay, tokens.ends_sweep, outputs.ends_sweep)),
        ]
        m.d.sync += stays_loaded.eq(stays_loaded + ends_stay - ends_sweep)
        with m.If(self.start):
            m.d.sync += stays_loaded.eq(0)
        may_pass = Signal()
        m.d.comb += may_pass.eq(stays_loaded != 0)
        return Cat(
            tokens.room & Mux(outputs_stay, may_pass, ~tokens.complete),
            outputs.room & Mux(outputs_stay, ~outputs.complete, may_pass),
        )

    def _setting(self, name: str) -> Value:
        """A setting; 0 where the unit has no use for it."""
        return getattr(self, name) if name in self.settings else Const(0)

    def _beats(self, port: Port) -> Value:
        return getattr(self, f"{family(port)}_beats")

    def _stores(
        self,
        m: Module,
        platform: object,
        sides: list[Side],
        loader: Loader,
        go: Signal,
        ends_pass: Signal,
    ) -> None:
        """Buffers, and the unit's inputs made from them; all begin in the same cycle."""
        open_now = Signal()
        opened = Signal()
        running = Signal()
        all_primed = Signal()
        primed = []
        for i, port in enumerate(self.stored):
            store = PortStore(store_config(self.config, port))
            place(m, platform, f"store_{port.name}", store)
            side = sides[SIDES.index(port.belongs)]
            fill(m, store, loader, i, side, self.in_data)
            m.d.comb += [
                store.go.eq(go),
                store.token_count.eq(sides[TOKENS].count),
                store.output_count.eq(sides[OUTPUTS].count),
            ]
            if store.config.variable:
                m.d.comb += [store.set_beats.eq(loader.set_beats[i]), store.beats.eq(loader.beats)]
            else:
                m.d.comb += store.beats.eq(self._beats(port))
            if store.config.parts:
                m.d.comb += store.part.eq(getattr(self, f"{family(port)}_part"))
            self._feed(m, port, store, open_now)
            primed.append(store.primed)
        m.d.comb += [
            all_primed.eq(Cat(*primed).all()),
            open_now.eq(running & (opened | all_primed)),
        ]
        with m.If(go):
            m.d.sync += running.eq(1)
        with m.Elif(ends_pass):
            m.d.sync += [running.eq(0), opened.eq(0)]
        with m.Elif(open_now):
            m.d.sync += opened.eq(1)

    def _feed(self, m: Module, port: Port, store: PortStore, open_now: Value) -> None:
        """An input of the unit from its buffer."""
        stream = getattr(self.unit, port.name)
        m.d.comb += [
            stream.valid.eq(store.valid & open_now),
            store.ready.eq(stream.ready & open_now),
        ]
        start = 0
        for field in port.fields:
            target = Value.cast(getattr(stream.payload, field.name))
            if field.made == "block":
                m.d.comb += target.eq(store.ends_block)
            elif field.made == "part":
                m.d.comb += target.eq(store.ends_part)
            elif field.made == "setting":
                m.d.comb += target.eq(getattr(self, field.name))
            else:
                m.d.comb += target.eq(store.payload[start : start + field.bits])
                start += field.bits

    def _fetch(self, m: Module, platform: object) -> None:
        """Rows that the unit asks for, from memory."""
        fetcher, rows = self.fetcher, self.rows
        if fetcher is None or rows is None:
            return
        place(m, platform, "fetcher", fetcher)
        connect(m, fetcher.bursts, self.bursts)
        connect(m, self.beats, fetcher.beats)
        m.d.comb += [self.error_memory.eq(fetcher.error), self.waits_memory.eq(fetcher.awaits)]
        for matrix in fetcher.config.matrices:
            name = matrix.name
            base = Cat(self._setting(f"{name}_base"), self._setting(f"{name}_base_high"))
            m.d.comb += [
                getattr(fetcher, f"base_{name}").eq(base),
                getattr(fetcher, f"stride_{name}").eq(self._setting(f"{name}_stride")),
            ]
        for name in fetcher.config.families:
            m.d.comb += getattr(fetcher, f"beats_{name}").eq(self._setting(f"{name}_beats"))
        self._ask(m, fetcher, getattr(self.unit, rows.request.name), rows.request)
        self._answer(m, fetcher, getattr(self.unit, rows.answers.name), rows.answers)

    def _ask(self, m: Module, fetcher: RowFetcher, request: Any, port: Port) -> None:
        """Requests of the unit, by what its fields are."""
        asked = fetcher.request
        m.d.comb += [asked.valid.eq(request.valid), request.ready.eq(asked.ready)]
        for field in port.fields:
            m.d.comb += asked.payload[field.made].eq(request.payload[field.name])

    def _answer(self, m: Module, fetcher: RowFetcher, answers: Any, port: Port) -> None:
        """Rows for the unit, by what the fields of its port are."""
        given = fetcher.rows
        row = given.payload
        m.d.comb += [answers.valid.eq(given.valid), given.ready.eq(answers.ready)]
        made = {"matrix": row.matrix, "row": row.row, "word": row.word, "block": row.last}
        start = 0
        for field in port.fields:
            target = Value.cast(answers.payload[field.name])
            if field.made:
                m.d.comb += target.eq(made[field.made])
            else:
                m.d.comb += target.eq(row.elements[start : start + field.bits])
                start += field.bits

    def _results(
        self, m: Module, platform: object, sides: list[Side], ends_pass: Signal
    ) -> tuple[Value, Signal]:
        """Results to the stream out, and where a pass ends."""
        config, (port,) = self.config, self.results
        y = getattr(self.unit, port.name)
        collector = collector_of(port, config.bus_width, result_room(self.unit.design, config))
        place(m, platform, "collector", collector)
        most = config.tile_beats(port)
        size = Const(port.beats) if port.beats else getattr(self, f"{port.name}_beats")
        beat = Signal(range(max(2, most)))
        token_block = Signal(range(max(2, config.token_blocks)))
        output_block = Signal(range(max(2, config.output_blocks)))
        next_beat = Signal(len(beat) + 1)
        next_token = Signal(len(token_block) + 1)
        next_output = Signal(len(output_block) + 1)
        push = Signal()
        ends_tile = Signal()
        final_output = Signal()
        final_token = Signal()
        ends_layer = sides[TOKENS].holds_final & sides[OUTPUTS].holds_final
        row = [
            Value.cast(getattr(y.payload, field.name)) for field in port.fields if not field.made
        ]
        m.d.comb += [
            y.ready.eq(1),  # a pass begins only when all its results have room
            next_beat.eq(beat + 1),
            next_token.eq(token_block + 1),
            next_output.eq(output_block + 1),
            final_output.eq(next_output == sides[OUTPUTS].count),
            final_token.eq(next_token == sides[TOKENS].count),
            push.eq(y.valid),
            ends_tile.eq(push & (next_beat == size)),
            ends_pass.eq(ends_tile & final_output & final_token),
            collector.push.eq(push),
            collector.row.eq(Cat(*row)),
            collector.ends_tile.eq(ends_tile),
            collector.ends_layer.eq(ends_pass & ends_layer),
            collector.tile_packets.eq(self.tile_packets),
            collector.ready.eq(self.out_ready),
            self.out_valid.eq(collector.valid),
            self.out_data.eq(collector.data),
            self.out_last.eq(collector.last),
            self.finished.eq(collector.finished),
        ]
        if any(field.made == "error" for field in port.fields):
            m.d.comb += self.error_unit.eq(push & y.payload.error)
        with m.If(push):
            m.d.sync += beat.eq(Mux(ends_tile, 0, next_beat))
        with m.If(ends_tile):
            m.d.sync += output_block.eq(Mux(final_output, 0, next_output))
            with m.If(final_output):
                m.d.sync += token_block.eq(Mux(final_token, 0, next_token))
        return collector.roomy, ends_layer

    def _sequence(
        self,
        m: Module,
        sides: list[Side],
        go: Signal,
        ends_pass: Signal,
        room: Value,
        ends_layer: Value,
    ) -> None:
        """Pass after pass: the side that passes is given free at once, the other after a sweep."""
        tokens, outputs = sides
        outputs_stay = self._setting("outputs_stay")
        idle = Signal(init=1)
        over = Signal()
        waits = Signal()
        loaded = Signal()
        wants_room = Signal()
        m.d.comb += [
            waits.eq(self.busy & idle & ~over),
            loaded.eq(tokens.full & outputs.full),
            wants_room.eq(waits & loaded),
            go.eq(wants_room & room),
            self.waits_tokens.eq(waits & ~tokens.full),
            self.waits_outputs.eq(waits & ~outputs.full),
            self.waits_results.eq(wants_room & ~room),
            tokens.free.eq(ends_pass & (outputs_stay | outputs.holds_final)),
            outputs.free.eq(ends_pass & (~outputs_stay | tokens.holds_final)),
        ]
        with m.If(go):
            m.d.sync += idle.eq(0)
        with m.Elif(ends_pass):
            m.d.sync += idle.eq(1)
        with m.If(self.start):
            m.d.sync += over.eq(0)
        with m.Elif(ends_pass & ends_layer):
            m.d.sync += over.eq(1)
        m.d.comb += [
            self.events[PREFIX + "stall_load"].eq(waits & ~loaded),
            self.events[PREFIX + "stall_results"].eq(self.waits_results),
        ]

    def _count(self, m: Module, go: Signal) -> None:
        """Events of the unit and of the core."""
        for name in self.unit.events.shape().members:
            m.d.comb += self.events[name].eq(self.unit.events[name])
        m.d.comb += [
            self.events[PREFIX + "load_words"].eq(self.in_valid & self.in_ready & self.busy),
            self.events[PREFIX + "result_words"].eq(self.out_valid & self.out_ready),
            self.events[PREFIX + "passes"].eq(go),
            self.events[PREFIX + "busy"].eq(self.busy),
        ]
        if self.fetcher:
            m.d.comb += [
                self.events[PREFIX + "bursts"].eq(self.bursts.valid & self.bursts.ready),
                self.events[PREFIX + "memory_beats"].eq(self.beats.valid & self.beats.ready),
                self.events[PREFIX + "stall_memory"].eq(self.waits_memory),
            ]


class Core(Unit[CoreConfig]):
    """Runs whole layers on a unit: blocks in, results out, registers beside.

    Software writes the layer's settings, then a start. Blocks come in packets on ``s_axis`` in the
    order of :class:`nibbleforge.golden.soc.order.Loops`; results leave on ``m_axis``.

    * Buffers have two halves a side, tokens and outputs. A pass runs all tiles of a half of tokens
      and a half of outputs; meanwhile the other halves are loaded. A pass begins when its halves
      are full, the one before has ended and all its results have room.
    * Throughput: per pass the longest of loading, computing and draining.
    * Schedule: ``begin = max(end of the pass before + 1, halves full, room)``; all inputs of the
      unit offer their first beats in ``begin + 2``, later by the number of empty blocks that a port
      begins with, and the unit does what its own schedule says; a row of results leaves from two
      cycles later on, a bus word a cycle. Loading is as :class:`.loader.Loader` states.
    * ``busy`` lasts from the cycle after the start to that of the final word.
    * Rows that the unit asks for come from memory: requests are always taken,
      :class:`.rows.RowFetcher` says when bursts are asked for, and a burst is offered on
      ``m_axi_ar`` in the next cycle. After a soft reset those under way come to their end first.

    Stalls between passes while blocks are missing or results have not left.

    Parameters
    ----------
    config
        See :class:`nibbleforge.golden.soc.config.CoreConfig`.
    design
        The unit.
    """

    outer: Callable[[Design], Design] = staticmethod(core_design)
    engine_kind: type[Any] = Engine

    def __init__(self, config: Any, design: Design):
        self.inner = design
        super().__init__(config, self.outer(design), {"irq": Out(1)})
        self.registers = RegisterFile(config, design)
        settings = {register.name: register.width for register in self.registers.map.of("setting")}
        self.engine = self.engine_kind(config, component(design, config.unit), settings)
        widths = tuple(event.width for event in self.registers.map.events)
        self.counters = Counters(CountersConfig(widths=widths))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        file, engine, counters = self.registers, self.engine, self.counters
        soft_reset = Signal()
        m.domains.engine = ClockDomain("engine", local=True)
        m.d.comb += [
            ClockSignal("engine").eq(ClockSignal()),
            ResetSignal("engine").eq(ResetSignal() | soft_reset),
        ]
        m.d.sync += soft_reset.eq(file.soft_reset)
        place(m, platform, "registers", file)
        place(m, platform, "counters", counters)
        place(m, platform, "engine", engine, domain="engine")
        for name in CHANNELS:
            port = next(p for p in self.design.ports(self.config) if p.name == name)
            outer, inside = getattr(self, name), getattr(file, name)
            connect(m, *((outer, inside) if port.direction == "in" else (inside, outer)))
        self._streams(m)
        self._reach_memory(m, platform, soft_reset)
        for name in engine.settings:
            m.d.comb += getattr(engine, name).eq(getattr(file, name))
        for name in (*file.states, *(f"error_{error}" for error in file.errors)):
            if hasattr(engine, name) and name not in ("busy", "waits_memory"):
                m.d.comb += getattr(file, name).eq(getattr(engine, name))
        m.d.comb += [
            engine.start.eq(file.start),
            engine.busy.eq(file.busy),
            engine.drain.eq(file.drain),
            file.finished.eq(engine.finished),
            file.input_waiting.eq(self.s_axis.valid & ~file.busy),
            file.counting.eq(counters.counting),
            file.counter_write.eq(counters.write),
            file.counter_address.eq(counters.address),
            file.counter_data.eq(counters.data),
            counters.snapshot.eq(file.snapshot),
            counters.lost.eq(file.sets),
            counters.events.eq(engine.events.as_value()),
            self.events.eq(engine.events),
            self.irq.eq(file.irq),
        ]
        return m

    def _reach_memory(self, m: Module, platform: object, soft_reset: Value) -> None:
        """The engine's bursts to the pins; those under way outlive a soft reset."""
        file, engine = self.registers, self.engine
        if engine.fetcher is None:
            return
        parameters = engine.fetcher.config
        master = ReadMaster(
            ReadMasterConfig(
                address_bits=parameters.address_bits,
                data_bits=parameters.data_bits,
                bursts=parameters.rows_ahead * parameters.most_beats,
            )
        )
        place(m, platform, "read_master", master)
        connect(m, engine.bursts, master.bursts)
        connect(m, master.beats, engine.beats)
        connect(m, master.ar, self.m_axi_ar)
        connect(m, self.m_axi_r, master.r)
        m.d.comb += [
            master.flush.eq(soft_reset),
            file.waits_memory.eq(engine.waits_memory | master.flushing),
        ]

    def _streams(self, m: Module) -> None:
        """The streams in and out."""
        engine = self.engine
        m.d.comb += [
            engine.in_valid.eq(self.s_axis.valid),
            engine.in_data.eq(self.s_axis.payload.as_value()),
            self.s_axis.ready.eq(engine.in_ready),
            self.m_axis.valid.eq(engine.out_valid),
            self.m_axis.payload.eq(Cat(engine.out_data, engine.out_last)),
            engine.out_ready.eq(self.m_axis.ready),
        ]
