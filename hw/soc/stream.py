"""The core around a unit of plain streams: blocks pass once, in order."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from ...golden.contract.ports import Port
from ...golden.soc.config import STREAM
from ...golden.soc.designs import stream_core_design
from ...golden.soc.registers import STREAM_ERRORS, result_ports, stored
from ...golden.soc.stream import StreamCoreConfig
from ...golden.soc.unit import PREFIX
from ..lib.base import Part, Unit
from ..lib.emission import place
from .core import ENGINE_ERRORS, Core, connect_loader, engine_members, fill
from .loader import LoadedPort, Loader, LoaderConfig, Side, SideConfig
from .sender import Sender, SenderConfig, SentPort
from .store import PortStore, StoreConfig


class StreamEngine(Part[StreamCoreConfig]):
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

    fetcher = None  # no streams come from memory

    def __init__(self, config: StreamCoreConfig, unit: Unit, settings: dict[str, int]):
        self.unit = unit
        self.settings = settings
        declared = unit.design.ports(config.unit)
        self.stored = stored(declared)
        self.results = result_ports(declared)
        errors = (*ENGINE_ERRORS, *(name for name, _ in STREAM_ERRORS))
        states = ("waits_stream", "waits_results")
        super().__init__(config, engine_members(config, unit, settings, states, errors))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        go = Signal()
        running = Signal()
        ends_block = Signal()
        side, loader = self._loading(m, platform)
        place(m, platform, "unit", self.unit)
        fed = self._stores(m, platform, side, loader, go, running)
        sender = self._results(m, platform, running)
        self._sequence(m, side, sender, go, running, ends_block)
        self._end(m, fed, running, ends_block)
        self._count(m, go)
        return m

    def _loading(self, m: Module, platform: object) -> tuple[Side, Loader]:
        """Packets to the half of the buffers that fills."""
        stores = [self._store_config(port) for port in self.stored]
        facts = tuple(
            LoadedPort(
                side=0,
                lanes=store.packing.lanes,
                words=store.packing.words,
                depth=store.depth,
                variable=True,
            )
            for store in stores
        )
        loader = Loader(
            LoaderConfig(bus=self.config.bus_width, token_blocks=1, output_blocks=1, ports=facts)
        )
        side = Side(SideConfig(blocks=1, ports=len(facts)))
        place(m, platform, "loader", loader)
        place(m, platform, "side", side)
        none = Const(0, 1)
        m.d.comb += [
            side.start.eq(self.start),
            side.blocks.eq(getattr(self, STREAM[0])),
            side.loaded.eq(loader.loaded[0]),
            loader.room.eq(side.room & ~side.complete),
        ]
        connect_loader(m, self, loader, [side.port, none], [side.place, none])
        return side, loader

    def _store_config(self, port: Port) -> StoreConfig:
        """Buffer of a port: a block a half."""
        return StoreConfig(
            width=port.sent.width,
            bus=self.config.bus_width,
            token_blocks=1,
            output_blocks=1,
            of_tokens=True,
            depth=self.config.depth(port),
            variable=True,
        )

    def _stores(
        self, m: Module, platform: object, side: Side, loader: Loader, go: Signal, running: Signal
    ) -> Value:
        """The unit's inputs from the buffers, all from the same cycle on; whether all was taken."""
        open_now = Signal()
        opened = Signal()
        primed = []
        fed = []
        for i, port in enumerate(self.stored):
            store = PortStore(self._store_config(port))
            place(m, platform, f"store_{port.name}", store)
            stream = getattr(self.unit, port.name)
            fill(m, store, loader, i, side, self.in_data)
            m.d.comb += [
                store.go.eq(go),
                store.token_count.eq(1),
                store.output_count.eq(1),
                store.set_beats.eq(loader.set_beats[i]),
                store.beats.eq(loader.beats),
                stream.valid.eq(store.valid & open_now),
                stream.payload.eq(store.payload),
                store.ready.eq(stream.ready & open_now),
            ]
            primed.append(store.primed)
            fed.append(~store.valid)
        m.d.comb += open_now.eq(running & (opened | Cat(*primed).all()))
        m.d.sync += opened.eq(open_now)
        return opened & Cat(*fed).all()

    def _results(self, m: Module, platform: object, running: Signal) -> Sender:
        """Results to packets; those of a unit that should have given all are dropped."""
        config = self.config
        ports = tuple(
            SentPort(width=port.sent.width, depth=config.depth(port)) for port in self.results
        )
        sender = Sender(SenderConfig(ports=ports, bus=config.bus_width))
        place(m, platform, "sender", sender)
        late, noted = [], []
        for i, port in enumerate(self.results):
            stream = getattr(self.unit, port.name)
            m.d.comb += [
                stream.ready.eq(1),  # a block begins only when a half is free
                sender.push[i].eq(stream.valid & running),
                getattr(sender, f"row_{i}").eq(stream.payload),
            ]
            late.append(stream.valid & ~running)
            if any(field.made == "error" for field in port.fields):
                noted.append(sender.push[i] & stream.payload.error)
        m.d.comb += [
            sender.block_packets.eq(self.block_packets),
            sender.ready.eq(self.out_ready),
            self.out_valid.eq(sender.valid),
            self.out_data.eq(sender.data),
            self.out_last.eq(sender.last),
            self.finished.eq(sender.finished),
            self.error_unit.eq(Cat(0, *noted).any()),
            self.error_late.eq(Cat(*late).any()),
            self.error_overflow.eq(sender.overflow),
        ]
        return sender

    def _sequence(
        self,
        m: Module,
        side: Side,
        sender: Sender,
        go: Signal,
        running: Signal,
        ends_block: Signal,
    ) -> None:
        """Block after block."""
        over = Signal()
        waits = Signal()
        m.d.comb += [
            waits.eq(self.busy & ~running & ~over),
            go.eq(waits & side.full & sender.roomy),
            self.waits_stream.eq(waits & ~side.full),
            self.waits_results.eq(waits & side.full & ~sender.roomy),
            side.free.eq(ends_block),
            sender.ends_block.eq(ends_block),
            sender.ends_layer.eq(side.holds_final),
            self.events[PREFIX + "stall_load"].eq(self.waits_stream),
            self.events[PREFIX + "stall_results"].eq(self.waits_results),
        ]
        with m.If(go):
            m.d.sync += running.eq(1)
        with m.Elif(ends_block):
            m.d.sync += running.eq(0)
        with m.If(self.start):
            m.d.sync += over.eq(0)
        with m.Elif(ends_block & side.holds_final):
            m.d.sync += over.eq(1)

    def _end(self, m: Module, fed: Value, running: Signal, ends_block: Signal) -> None:
        """A block is over when all was taken and nothing came for a while."""
        still = Signal()
        count = Signal(range(max(2, self.config.quiet)))
        gives = Cat(getattr(self.unit, port.name).valid for port in self.results).any()
        m.d.comb += [
            still.eq(running & fed & ~gives),
            ends_block.eq(still & (count == self.config.quiet - 1)),
        ]
        m.d.sync += count.eq(Mux(still & ~ends_block, count + 1, 0))

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


class StreamCore(Core):
    """Passes whole runs through a unit: blocks in, results out, registers beside.

    Software writes the number of blocks, then a start. A block is a packet for each input of the
    unit on ``s_axis``, in order; its results leave on ``m_axis`` as a packet for each output.

    * Buffers have two halves, a block each: while the unit takes one, the next one is loaded and
      the results of the one before leave. A block begins when all its packets are there, the block
      before is over and a half of the results' buffers is free.
    * A block is over when the unit has taken all of it and has given nothing for ``quiet`` cycles.
    * Throughput: per block the longest of loading, computing and draining.
    * Schedule: ``begin = max(end of the block before + 1, packets there, half free)``; all inputs
      of the unit offer their first beats in ``begin + 2``, and the unit does what its own schedule
      says, until cycle f; the block is over in ``f + quiet``, and its packets leave from the next
      cycle on, a bus word a cycle. Loading is as :class:`.loader.Loader` states; the half of a
      block is free in the cycle after it is over.
    * ``busy`` lasts from the cycle after the start to that of the final word.

    Stalls between blocks while packets are missing or results have not left.

    Parameters
    ----------
    config
        See :class:`nibbleforge.golden.soc.stream.StreamCoreConfig`.
    design
        The unit.
    """

    outer = staticmethod(stream_core_design)
    engine_kind = StreamEngine
