"""A memory on the chip: answers the bursts of a core that reads rows."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out
from pydantic import Field as Parameter

from ...golden.contract.config import Config
from ...golden.soc.memory import LENGTH_BITS
from ..lib.base import Part
from ..lib.memories import address_bits, buffer_of
from .axi import WORD

_SLAVE_ERROR = 2


class RowMemoryConfig(Config):
    """Parameters of the memory."""

    words: int = Parameter(ge=1)
    """Words of 32 bits, in whole beats."""
    data_bits: int = Parameter(ge=WORD)
    """Bits of a beat, a power of two."""
    address_bits: int
    """Bits of an address in bytes."""

    @property
    def lanes(self) -> int:
        """Words of a beat."""
        return self.data_bits // WORD

    @property
    def beats(self) -> int:
        """Beats of the memory."""
        return self.words // self.lanes


class RowMemory(Part[RowMemoryConfig]):
    """Block RAM that is read in bursts, one after the other, and written a word at a time.

    * A burst accepted in cycle c is answered from c + 2 on, a beat a cycle as fast as they are
      taken. The next one is accepted in the cycle after its final beat was read.
    * Beats beyond the memory come with an error.
    * A word is not read in the cycle in which it is written.
    """

    def __init__(self, config: RowMemoryConfig):
        super().__init__(
            config,
            {
                "m_axi_araddr": In(config.address_bits),
                "m_axi_arlen": In(LENGTH_BITS),
                "m_axi_arvalid": In(1),
                "m_axi_arready": Out(1),
                "m_axi_rdata": Out(config.data_bits),
                "m_axi_rresp": Out(2),
                "m_axi_rlast": Out(1),
                "m_axi_rvalid": Out(1),
                "m_axi_rready": In(1),
                "memory_write": In(1),
                "memory_word": In(WORD),
                "memory_data": In(WORD),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        shift = (config.data_bits // 8 - 1).bit_length()
        busy = Signal()
        beat = Signal(config.address_bits - shift)
        left = Signal(LENGTH_BITS)
        read = Signal()
        outside = Signal()
        m.d.comb += [
            self.m_axi_arready.eq(~busy),
            read.eq(busy & (~self.m_axi_rvalid | self.m_axi_rready)),
            self.m_axi_rresp.eq(Mux(outside, _SLAVE_ERROR, 0)),
        ]
        with m.If(self.m_axi_arvalid & self.m_axi_arready):
            m.d.sync += [
                busy.eq(1),
                beat.eq(self.m_axi_araddr[shift:]),
                left.eq(self.m_axi_arlen),
            ]
        with m.If(read):
            m.d.sync += [
                beat.eq(beat + 1),
                left.eq(left - 1),
                busy.eq(left != 0),
                outside.eq(beat >= config.beats),
                self.m_axi_rlast.eq(left == 0),
                self.m_axi_rvalid.eq(1),
            ]
        with m.Elif(self.m_axi_rready):
            m.d.sync += self.m_axi_rvalid.eq(0)
        self._words(m, read, beat)
        return m

    def _words(self, m: Module, read: Signal, beat: Signal) -> None:
        """A memory for each word of a beat."""
        config = self.config
        column_bits = (config.lanes - 1).bit_length()
        place = Signal(address_bits(config.beats))
        m.d.comb += place.eq(self.memory_word[column_bits:])
        found = []
        for lane in range(config.lanes):
            memory = buffer_of(m, f"lane_{lane}", WORD, config.beats)
            write, fetch = memory.write_port(), memory.read_port()
            mine = self.memory_word[:column_bits] == lane if column_bits else 1
            m.d.comb += [
                write.en.eq(self.memory_write & mine),
                write.addr.eq(place),
                write.data.eq(self.memory_data),
                fetch.en.eq(read),
                fetch.addr.eq(beat),
            ]
            found.append(fetch.data)
        m.d.comb += self.m_axi_rdata.eq(Cat(found))
