"""Results of several ports on their way out: packets, one a port and block."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out
from pydantic import Field as Parameter

from ...golden.contract.config import Config
from ...golden.soc.config import HEADER_BITS
from ..lib.base import Part
from ..lib.memories import address_bits, buffer_of, named
from .pieces import chosen, pieces


class SentPort(Config):
    """What the sender knows of a port of results."""

    width: int = Parameter(ge=1)
    """Bits of a beat."""
    depth: int = Parameter(ge=1)
    """Most beats of a block."""


class SenderConfig(Config):
    """Parameters of the sender."""

    ports: tuple[SentPort, ...]
    """Ports in the order of their numbers."""
    bus: int
    """Bits of a bus word."""

    def words(self, port: int) -> int:
        """Words of a beat."""
        return -(-self.ports[port].width // self.bus)


class Sender(Part[SenderConfig]):
    """Beats of several ports in, packets out: a header with port and beats, then the beats.

    A half of every port's buffer fills with a block's beats until ``ends_block``; then the block
    leaves, port after port, while the other half fills. ``roomy``: a half is free.

    * Schedule: a block that ends in cycle e is offered from e + 1 on, a word a cycle, headers
      included; its half is free in the cycle after its final word.
    * A beat for which the half has no room is dropped, which ``overflow`` says.
    """

    def __init__(self, config: SenderConfig):
        pushes = {f"row_{i}": In(port.width) for i, port in enumerate(config.ports)}
        super().__init__(
            config,
            {
                **pushes,
                "push": In(len(config.ports)),
                "ends_block": In(1),
                "ends_layer": In(1),
                "block_packets": In(1),
                "roomy": Out(1),
                "overflow": Out(1),
                "valid": Out(1),
                "ready": In(1),
                "data": Out(config.bus),
                "last": Out(1),
                "finished": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        full = Signal(2)
        finals = Signal(2)
        write_half = Signal()
        read_half = Signal()
        sent = Signal()
        ends_send = Signal()
        is_final = Signal()
        m.d.comb += [
            is_final.eq(_of_half(finals, read_half)),
            self.roomy.eq(~_of_half(full, write_half)),
            self.valid.eq(_of_half(full, read_half)),
            sent.eq(self.valid & self.ready),
        ]
        m.d.sync += [
            write_half.eq(write_half ^ self.ends_block),
            read_half.eq(read_half ^ ends_send),
        ]
        freed = [Signal(name=f"frees_{half}") for half in range(2)]
        for half in range(2):
            fills = Signal(name=f"fills_{half}")
            m.d.comb += [
                fills.eq(self.ends_block & (write_half == half)),
                freed[half].eq(ends_send & (read_half == half)),
            ]
            with m.If(fills):
                m.d.sync += [full[half].eq(1), finals[half].eq(self.ends_layer)]
            with m.Elif(freed[half]):
                m.d.sync += full[half].eq(0)

        port = Signal(range(max(2, len(self.config.ports))))
        row = Signal(range(max(port.depth for port in self.config.ports) + 1))
        word = Signal(range(max(2, *(self.config.words(i) for i in range(len(self.config.ports))))))
        in_rows = Signal()
        next_row = Signal(len(row) + 1)
        next_word = Signal(len(word) + 1)
        following = Signal.like(row)
        counts, words = self._buffers(m, (write_half, read_half), freed, following, word)
        count = Signal(max(map(len, counts)))
        data = Signal(self.config.bus, name="row_word")
        most_words = Signal.like(next_word, name="words_a_row")
        ends_row = Signal()
        ends_packet = Signal()
        packet_sent = Signal()
        final_packet = Signal()
        sizes = [Const(self.config.words(i), len(most_words)) for i in range(len(counts))]
        m.d.comb += [
            next_row.eq(row + 1),
            next_word.eq(word + 1),
            count.eq(chosen(counts, port)),
            data.eq(chosen(words, port)),
            most_words.eq(chosen(sizes, port)),
            final_packet.eq(port == len(self.config.ports) - 1),
            ends_row.eq(in_rows & (next_word == most_words)),
            ends_packet.eq(Mux(in_rows, ends_row & (next_row == count), count == 0)),
            packet_sent.eq(sent & ends_packet),
            following.eq(Mux(sent & ends_row, next_row, row)),
            ends_send.eq(packet_sent & final_packet),
            self.data.eq(Mux(in_rows, data, self._header(port, count))),
            self.last.eq(ends_packet & final_packet & (self.block_packets | is_final)),
            self.finished.eq(ends_send & is_final),
        ]
        with m.If(sent):
            m.d.sync += [
                in_rows.eq(~ends_packet),
                row.eq(Mux(ends_packet, 0, following)),
                word.eq(Mux(in_rows & ~ends_row, next_word, 0)),
            ]
        if len(self.config.ports) > 1:
            with m.If(packet_sent):
                m.d.sync += port.eq(Mux(final_packet, 0, port + 1))
        return m

    def _buffers(
        self,
        m: Module,
        halves: tuple[Signal, Signal],
        freed: list[Signal],
        row: Signal,
        word: Signal,
    ) -> tuple[list[Value], list[Value]]:
        """Beats that each port's half holds, and the word of its row that leaves.

        ``halves`` are the ones that are written and read; ``freed`` says which becomes empty.
        """
        write_half, read_half = halves
        counts: list[Value] = []
        words: list[Value] = []
        lost = Signal(len(self.config.ports))
        for i, port in enumerate(self.config.ports):
            bits = address_bits(port.depth)
            memory = buffer_of(m, f"rows_{i}", port.width, 2 << bits)
            write = named(memory.write_port(), f"write_{i}")
            read = named(memory.read_port(), f"read_{i}")
            held = [Signal(range(port.depth + 1), name=f"held_{i}_{half}") for half in range(2)]
            filling = Signal(range(port.depth + 1), name=f"filling_{i}")
            count = Signal(range(port.depth + 1), name=f"count_{i}")
            room = Signal(name=f"room_{i}")
            leaving = Signal(self.config.bus, name=f"word_{i}")
            m.d.comb += [
                filling.eq(_of_half(held, write_half)),
                count.eq(_of_half(held, read_half)),
                room.eq(filling != port.depth),
                leaving.eq(chosen(pieces(read.data, self.config.bus), word)),
                write.en.eq(self.push[i] & room),
                write.addr.eq(Cat(filling[:bits], write_half)),
                write.data.eq(getattr(self, f"row_{i}")),
                read.addr.eq(Cat(row[:bits], Const(0, bits - len(row[:bits])), read_half)),
                lost[i].eq(self.push[i] & ~room),
            ]
            for half in range(2):
                with m.If(freed[half]):
                    m.d.sync += held[half].eq(0)
                with m.Elif(write.en & (write_half == half)):
                    m.d.sync += held[half].eq(held[half] + 1)
            counts.append(count)
            words.append(leaving)
        m.d.comb += self.overflow.eq(lost.any())
        return counts, words

    def _header(self, port: Value, count: Value) -> Value:
        """Header of a packet."""
        number, block, beats = HEADER_BITS.values()
        return Cat(port, Const(0, number - len(port) + block), count, Const(0, beats - len(count)))


def _of_half(values: Signal | list[Signal], half: Value) -> Value:
    """The bit or number of a half."""
    return Mux(half, values[1], values[0])
