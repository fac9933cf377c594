"""Results on their way out: a buffer, and rows widened to bus words."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out
from pydantic import Field as Parameter

from ...golden.contract.config import Config
from ...golden.contract.ports import Port
from ...golden.soc.config import ResultPacking, container
from ..lib.base import Part
from ..lib.memories import buffer_of
from .pieces import chosen, pieces


class CollectorConfig(Config):
    """Parameters of the collector."""

    layout: tuple[tuple[int, bool, int], ...]
    """Width, sign and number of elements of each field of a row."""
    bus: int
    """Bits of a bus word."""
    room: int = Parameter(ge=1)
    """Rows of the largest pass; the buffer holds twice as many."""

    @classmethod
    def of(cls, port: Port, bus: int, room: int) -> "CollectorConfig":
        """For a port of results as it is sent."""
        layout = tuple((field.width, field.signed, field.count or 1) for field in port.fields)
        return cls(layout=layout, bus=bus, room=room)

    @property
    def width(self) -> int:
        """Bits of a row."""
        return sum(width * count for width, _, count in self.layout)


class Collector(Part[CollectorConfig]):
    """Rows in, bus words out, elements widened to 8, 16, 32 or 64 bits.

    A row pushed in cycle c is offered from c + 2 on, a word a cycle. ``roomy``: a whole pass fits.
    """

    def __init__(self, config: CollectorConfig, words: int):
        self.words = words
        super().__init__(
            config,
            {
                "push": In(1),
                "row": In(config.width),
                "ends_tile": In(1),
                "ends_layer": In(1),
                "tile_packets": In(1),
                "roomy": Out(1),
                "valid": Out(1),
                "ready": In(1),
                "data": Out(config.bus),
                "last": Out(1),
                "finished": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        size = 1 << (2 * config.room - 1).bit_length()
        memory = buffer_of(m, "rows", config.width + 2, size)
        write = memory.write_port()
        read = memory.read_port()
        write_pointer = Signal(range(memory.depth))
        read_pointer = Signal(range(memory.depth))
        count = Signal(range(memory.depth + 1))
        fetch = Signal()
        sent = Signal()
        index = Signal(range(max(2, self.words)))
        final_word = Signal()
        row_sent = Signal()
        m.d.comb += [
            final_word.eq(index == self.words - 1),
            write.en.eq(self.push),
            write.addr.eq(write_pointer),
            write.data.eq(Cat(self.row, self.ends_tile, self.ends_layer)),
            read.en.eq(fetch),
            read.addr.eq(read_pointer),
            self.roomy.eq(count <= config.room),
            sent.eq(self.valid & self.ready),
            row_sent.eq(sent & final_word),
            fetch.eq((count != 0) & (~self.valid | row_sent)),
        ]
        m.d.sync += [
            write_pointer.eq(write_pointer + self.push),
            read_pointer.eq(read_pointer + fetch),
            count.eq(count + self.push - fetch),
        ]
        with m.If(fetch):
            m.d.sync += self.valid.eq(1)
        with m.Elif(row_sent):
            m.d.sync += self.valid.eq(0)
        with m.If(sent):
            m.d.sync += index.eq(Mux(final_word, 0, index + 1))
        row, ends_tile, ends_layer = (
            read.data[: config.width],
            read.data[config.width],
            read.data[config.width + 1],
        )
        m.d.comb += [
            self.data.eq(chosen(pieces(self._widened(row), config.bus), index)),
            self.last.eq(final_word & (ends_layer | (ends_tile & self.tile_packets))),
            self.finished.eq(row_sent & ends_layer),
        ]
        return m

    def _widened(self, row: Value) -> Value:
        """The row with its elements in whole containers, filled up with zeros."""
        parts: list[Value] = []
        start = total = 0
        for width, signed, count in self.config.layout:
            wide = container(width)
            for _ in range(count):
                element = row[start : start + width]
                fill = element[-1].replicate(wide - width) if signed else Const(0, wide - width)
                parts.append(Cat(element, fill))
                start += width
                total += wide
        return Cat(*parts, Const(0, self.words * self.config.bus - total))


def collector_of(port: Port, bus: int, room: int) -> Collector:
    """The collector of a port of results."""
    return Collector(CollectorConfig.of(port.sent, bus, room), ResultPacking(port.sent, bus).words)
