"""Output sums of the neuron-skipping FFN: the y memory, and how it leaves."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from ...golden.contract.ports import port_of
from ...golden.reglu.config import RegluConfig, ports
from ..lib.base import Part, payload_layout
from ..lib.memories import address_bits, memory_of
from .rows import PRODUCT_BITS


class OutputSums(Part[RegluConfig]):
    """y, a word for every beat.

    ``clear`` sets the word at ``place`` to 0. ``add`` adds ``products``, which come a cycle later,
    to the word at ``address``, whose next read may be two cycles later. After ``drain`` words 0 to
    ``last`` leave, with ``error``; ``done`` with the last one.
    """

    def __init__(self, config: RegluConfig):
        y = port_of(ports(config), "y")
        address = address_bits(config.x_words)
        super().__init__(
            config,
            {
                "clear": In(1),
                "place": In(address),
                "add": In(1),
                "address": In(address),
                "products": In(config.lanes * PRODUCT_BITS),
                "drain": In(1),
                "last": In(address),
                "error": In(1),
                "y": Out(stream.Signature(payload_layout(y))),
                "done": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, y = self.config, self.y
        memory = memory_of(m, "y_words", config.lanes * config.y_bits, config.x_words)
        read = memory.read_port()
        write = memory.write_port()
        free = Signal(name="y_free")
        m.d.comb += free.eq(~y.valid | y.ready)
        next_word, draining = self._drain(m, free)
        added = Signal()
        address = Signal.like(self.address, name="added_address")
        m.d.sync += added.eq(self.add)
        with m.If(self.add):
            m.d.sync += address.eq(self.address)
        sums = Signal(len(read.data))
        for lane in range(config.lanes):
            total = read.data.word_select(lane, config.y_bits).as_signed()
            product = self.products.word_select(lane, PRODUCT_BITS).as_signed()
            new_sum = Signal(signed(config.y_bits), name=f"sum_{lane}")
            m.d.comb += [
                new_sum.eq(total + product),
                sums.word_select(lane, config.y_bits).eq(new_sum),
            ]
        m.d.comb += [
            read.en.eq(free & (draining | self.add)),
            read.addr.eq(Mux(draining, next_word, self.address)),
            write.en.eq(added | self.clear),
            write.addr.eq(Mux(added, address, self.place)),
            write.data.eq(Mux(added, sums, 0)),
            y.payload.value.as_value().eq(read.data),
        ]
        return m

    def _drain(self, m: Module, free: Signal) -> tuple[Signal, Signal]:
        """The word that is read for the next beat, and whether there is one."""
        y = self.y
        word = Signal.like(self.address)
        draining = Signal()
        final = Signal(name="final_word")
        last = Signal(name="y_last")
        error = Signal(name="y_error")
        m.d.comb += [
            final.eq(word == self.last),
            y.payload.last.eq(last),
            y.payload.error.eq(error),
            self.done.eq(y.valid & y.ready & last),
        ]
        with m.If(self.drain):
            m.d.sync += [draining.eq(1), word.eq(0)]
        with m.If(free):
            m.d.sync += [
                y.valid.eq(draining),
                last.eq(final),
                error.eq(self.error),
            ]
            with m.If(draining):
                m.d.sync += [word.eq(word + 1), draining.eq(~final)]
        return word, draining
